//! Whether deletes may go: the last look before something vanishes at the destination.
//!
//! Pure. It judges the deletes of one pass as a whole. That each of them comes from a complete
//! listing of its own directory is the planner's part: names of an unreadable directory never
//! become deletes, and do not hold those of others.

/// Entries that always may go: emptying a small tree is an ordinary thing to do.
const FREE_DELETES: u64 = 100;
/// Share of the destination's entries that may go, in percent.
const SHARE_PERCENT: u64 = 10;
/// The same when a running watch saw the names go: somebody is at work there.
const SEEN_SHARE_PERCENT: u64 = 50;

/// What is known of the deletes of one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletes {
    /// Entries that would go, with all that is below them.
    pub n_deletes: u64,
    /// Entries at the destination before the pass.
    pub n_before: u64,
    /// A running watch with a healthy root reported every one of them.
    pub seen_as_events: bool,
    /// The listings that these deletes rest on are complete, that of the root among them.
    pub listing_complete: bool,
    /// The source root is there, mounted, and the directory it was.
    pub root_same: bool,
    /// The user said to let one such pass go.
    pub allowed_once: bool,
    /// The user said never to delete.
    pub never: bool,
}

/// What becomes of the deletes. Everything else of the pass goes on in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    Go,
    /// They wait; the reason is for the user.
    Held(Reason),
    /// They are not wanted at all.
    Never,
}

/// Why deletes are held. Its text says what would let them go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error(
        "the source is not the directory it was (missing, unmounted or replaced); {n_deletes} deletes wait until it is back. \
         If it was replaced on purpose, say --allow-mass-delete once"
    )]
    Root { n_deletes: u64 },
    #[error("the source could not be listed completely; {n_deletes} deletes wait until it can")]
    Listing { n_deletes: u64 },
    #[error(
        "{n_deletes} of {n_before} entries at the destination would be deleted, more than {percent} %. \
         If that is meant, say --allow-mass-delete once"
    )]
    Mass { n_deletes: u64, n_before: u64, percent: u64 },
}

/// Decides on the deletes of one pass.
///
/// An allowance lets a mass delete go and a replaced root with it, never one that rests on an
/// incomplete listing: then nobody knows what would be deleted.
pub fn rule(deletes: &Deletes) -> Ruling {
    let Deletes { n_deletes, n_before, .. } = *deletes;
    if n_deletes == 0 {
        return Ruling::Go;
    }
    if deletes.never {
        return Ruling::Never;
    }
    if !deletes.listing_complete {
        return Ruling::Held(Reason::Listing { n_deletes });
    }
    if deletes.allowed_once {
        return Ruling::Go;
    }
    if !deletes.root_same {
        return Ruling::Held(Reason::Root { n_deletes });
    }
    let percent = if deletes.seen_as_events { SEEN_SHARE_PERCENT } else { SHARE_PERCENT };
    if n_deletes > FREE_DELETES && is_more_than(n_deletes, percent, n_before) {
        return Ruling::Held(Reason::Mass { n_deletes, n_before, percent });
    }
    Ruling::Go
}

/// Whether `part` is more than `percent` of `whole`, without overflow.
fn is_more_than(part: u64, percent: u64, whole: u64) -> bool {
    u128::from(part) * 100 > u128::from(whole) * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Deletes = Deletes {
        n_deletes: 0,
        n_before: 0,
        seen_as_events: false,
        listing_complete: true,
        root_same: true,
        allowed_once: false,
        never: false,
    };

    #[test]
    fn only_a_large_part_of_a_large_tree_is_held() {
        for (n_deletes, n_before, held, held_when_seen) in [
            (0, 0, false, false),
            (1, 1, false, false),
            (100, 100, false, false),
            (101, 101, true, true),
            (101, 202, true, false),
            (101, 1_009, true, false),
            (101, 1_010, false, false),
            (100, 1_000_000, false, false),
            (100_000, 1_000_000, false, false),
            (100_001, 1_000_000, true, false),
            (500_000, 1_000_000, true, false),
            (500_001, 1_000_000, true, true),
            (u64::MAX, u64::MAX, true, true),
            (u64::MAX / 2, u64::MAX, true, false),
        ] {
            let ruling = |seen_as_events| rule(&Deletes { n_deletes, n_before, seen_as_events, ..CALM });
            let is_held = |ruling| matches!(ruling, Ruling::Held(Reason::Mass { .. }));
            assert_eq!(is_held(ruling(false)), held, "{n_deletes} of {n_before}");
            assert_eq!(is_held(ruling(true)), held_when_seen, "{n_deletes} of {n_before}, seen");
        }
    }

    #[test]
    fn an_unhealthy_source_holds_even_one_delete() {
        let one = Deletes { n_deletes: 1, n_before: 5, seen_as_events: true, ..CALM };
        for (deletes, ruling) in [
            (one, Ruling::Go),
            (Deletes { root_same: false, ..one }, Ruling::Held(Reason::Root { n_deletes: 1 })),
            (Deletes { listing_complete: false, ..one }, Ruling::Held(Reason::Listing { n_deletes: 1 })),
            (Deletes { root_same: false, allowed_once: true, ..one }, Ruling::Go),
            (
                Deletes { listing_complete: false, allowed_once: true, ..one },
                Ruling::Held(Reason::Listing { n_deletes: 1 }),
            ),
            (Deletes { root_same: false, n_deletes: 0, ..one }, Ruling::Go),
        ] {
            assert_eq!(rule(&deletes), ruling, "{deletes:?}");
        }
    }

    #[test]
    fn an_allowance_lets_a_mass_delete_go() {
        let all = Deletes { n_deletes: 5_000, n_before: 5_000, ..CALM };
        assert_eq!(rule(&Deletes { allowed_once: true, ..all }), Ruling::Go);
    }

    #[test]
    fn never_stands_above_every_allowance() {
        let one = Deletes { n_deletes: 1, n_before: 1, never: true, allowed_once: true, ..CALM };
        assert_eq!(rule(&one), Ruling::Never);
    }

    #[test]
    fn the_reason_carries_its_numbers() {
        let Ruling::Held(reason) = rule(&Deletes { n_deletes: 300, n_before: 900, ..CALM }) else {
            panic!("300 of 900 are held");
        };
        let text = reason.to_string();
        assert!(text.contains("300 of 900") && text.contains("10 %"), "{text}");
    }
}
