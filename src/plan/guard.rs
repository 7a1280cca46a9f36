//! Whether deletes may go: the last look before something vanishes at the destination.
//!
//! Pure. It judges the deletes of one pass as a whole. That each of them comes from a complete
//! listing of its own directory is the planner's part: names of an unreadable directory never
//! become deletes, and do not hold those of others.

use crate::model::{Dir, Node, Tree};

/// Entries that may go, however many of all they are: emptying a small tree is an ordinary thing to do.
const FREE_DELETES: u64 = 100;
/// Share of the destination's entries that may go, in percent.
const SHARE_PERCENT: u64 = 10;
/// The same when a running watch saw the names go: somebody is at work there.
const SEEN_SHARE_PERCENT: u64 = 50;

/// What became of the source's root directory since the destination last had it whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootChange {
    /// It is the same directory, or nothing is known of an earlier one.
    #[default]
    None,
    /// Another directory has its name.
    Replaced,
    /// Another file system is there, or, since the machine was started anew, another directory: what held the
    /// source is not mounted, most likely.
    OtherDevice,
}

/// What is known of the deletes of one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletes {
    /// Entries that would go, with all that is below them.
    pub n_deletes: u64,
    /// Entries at the destination before the pass.
    pub n_before: u64,
    /// Of these, what the source holds as well: the same path, kind and content.
    pub n_matching: u64,
    /// Entries of the source, and the most that it had within the last hour of a watch.
    pub n_source: u64,
    pub n_lately: u64,
    /// A running watch with a healthy root reported every one of them.
    pub seen_as_events: bool,
    /// Every directory of the source could be listed.
    pub listing_complete: bool,
    pub root: RootChange,
    /// The destination last had another source.
    pub other_source: bool,
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
        "the source is not the directory it was, of another file system or since before the last boot, and hardly \
         anything in it is known: was it unmounted? {n_deletes} deletes wait until it is back. If this is meant, say \
         --allow-mass-delete once"
    )]
    Unmounted { n_deletes: u64 },
    #[error(
        "the source is not the directory it was, and only {n_matching} of {n_before} entries at the destination are in \
         it; {n_deletes} deletes wait until it is back. If it was replaced on purpose, say --allow-mass-delete once"
    )]
    Replaced { n_deletes: u64, n_matching: u64, n_before: u64 },
    #[error(
        "this destination had another source, and only {n_matching} of its {n_before} entries are in this one; \
         {n_deletes} deletes wait. If this source shall take its place, say --allow-mass-delete once"
    )]
    OtherSource { n_deletes: u64, n_matching: u64, n_before: u64 },
    #[error(
        "the source could not be listed completely; {n_deletes} deletes wait until it can. Leave out what cannot be \
         read with --exclude, or say --allow-mass-delete once"
    )]
    Listing { n_deletes: u64 },
    #[error(
        "{n_deletes} of {n_before} entries at the destination would be deleted, more than {percent} %. \
         If that is meant, say --allow-mass-delete once"
    )]
    Mass { n_deletes: u64, n_before: u64, percent: u64 },
    #[error(
        "the source has only {n_source} of the {n_lately} entries that it had within the last hour: is something \
         removing it bit by bit? {n_deletes} deletes wait. If that is meant, start again with --allow-mass-delete"
    )]
    Slices { n_deletes: u64, n_source: u64, n_lately: u64 },
}

/// Decides on the deletes of one pass.
///
/// Names in a directory that could not be listed are not among them: the planner leaves those alone,
/// whatever is allowed.
pub fn rule(deletes: &Deletes) -> Ruling {
    let Deletes { n_deletes, n_before, n_matching, .. } = *deletes;
    if n_deletes == 0 {
        return Ruling::Go;
    }
    if deletes.never {
        return Ruling::Never;
    }
    if deletes.allowed_once {
        return Ruling::Go;
    }
    if !deletes.listing_complete {
        return Ruling::Held(Reason::Listing { n_deletes });
    }
    let is_foreign = u128::from(n_matching) * 2 < u128::from(n_before);
    if is_foreign && deletes.root == RootChange::OtherDevice {
        return Ruling::Held(Reason::Unmounted { n_deletes });
    }
    if let Some(reason) = mass_reason(deletes, is_foreign) {
        return Ruling::Held(reason);
    }
    // However small this pass is: it may be a slice of something.
    if is_mass_loss(deletes.n_lately, deletes.n_source) {
        let Deletes { n_source, n_lately, .. } = *deletes;
        return Ruling::Held(Reason::Slices { n_deletes, n_source, n_lately });
    }
    Ruling::Go
}

/// Why more deletes than are free are held.
fn mass_reason(deletes: &Deletes, is_foreign: bool) -> Option<Reason> {
    let Deletes { n_deletes, n_before, n_matching, .. } = *deletes;
    if n_deletes <= FREE_DELETES {
        return None;
    }
    if is_foreign && deletes.root == RootChange::Replaced {
        return Some(Reason::Replaced { n_deletes, n_matching, n_before });
    }
    if is_foreign && deletes.other_source {
        return Some(Reason::OtherSource { n_deletes, n_matching, n_before });
    }
    let is_seen = deletes.seen_as_events && deletes.root == RootChange::None;
    let percent = if is_seen { SEEN_SHARE_PERCENT } else { SHARE_PERCENT };
    is_more_than(n_deletes, percent, n_before).then_some(Reason::Mass { n_deletes, n_before, percent })
}

/// Whether a tree of so many entries has lost more than even a watch that saw it all may delete unasked.
pub(super) fn is_mass_loss(n_before: u64, n_now: u64) -> bool {
    let n_lost = n_before.saturating_sub(n_now);
    n_lost > FREE_DELETES && is_more_than(n_lost, SEEN_SHARE_PERCENT, n_before)
}

/// How many entries of `have` are in `want` too: the same path, kind and content; metadata aside.
pub fn n_matching(have: &Tree, want: &Tree) -> u64 {
    let mut n = 0;
    count_matching(have.root(), want.root(), &mut n);
    n
}

fn count_matching(have: &Dir, want: &Dir, n: &mut u64) {
    if have.has_same_entries(want) {
        *n += have.n_below();
        return;
    }
    for (name, old) in have.entries().iter() {
        match (old, want.get(name)) {
            (Node::Dir(old), Some(Node::Dir(new))) => {
                *n += 1;
                count_matching(old, new, n);
            }
            (Node::Leaf(old), Some(Node::Leaf(new))) => {
                *n += u64::from(old.kind == new.kind && old.content.tag() == new.content.tag());
            }
            _ => {}
        }
    }
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
        n_matching: 0,
        n_source: 0,
        n_lately: 0,
        seen_as_events: false,
        listing_complete: true,
        root: RootChange::None,
        other_source: false,
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
            let replaced =
                Deletes { n_deletes, n_before, seen_as_events: true, n_matching: n_before, ..CALM };
            let ruling = rule(&Deletes { root: RootChange::Replaced, ..replaced });
            assert_eq!(is_held(ruling), held, "what was seen in another root does not count");
        }
    }

    #[test]
    fn small_deletes_are_held_once_they_have_become_a_mass_together() {
        for (n_lately, n_source, is_held) in [
            (1_000, 1_000, false),
            (1_000, 500, false),
            (1_000, 499, true),
            (200, 99, true),
            (200, 100, false),
        ] {
            let slice = Deletes {
                n_deletes: 1,
                n_before: n_source + 1,
                n_source,
                n_lately,
                seen_as_events: true,
                ..CALM
            };
            let held = Ruling::Held(Reason::Slices { n_deletes: 1, n_source, n_lately });
            assert_eq!(rule(&slice) == held, is_held, "{n_source} of {n_lately}");
            assert_eq!(rule(&Deletes { allowed_once: true, ..slice }), Ruling::Go);
        }
    }

    #[test]
    fn a_source_that_could_not_be_listed_holds_even_one_delete() {
        let one =
            Deletes { n_deletes: 1, n_before: 5, seen_as_events: true, listing_complete: false, ..CALM };
        assert_eq!(rule(&one), Ruling::Held(Reason::Listing { n_deletes: 1 }));
        assert_eq!(rule(&Deletes { allowed_once: true, ..one }), Ruling::Go);
        assert_eq!(rule(&Deletes { n_deletes: 0, ..one }), Ruling::Go);
    }

    #[test]
    fn an_unmounted_source_holds_however_small_it_is() {
        for n_deletes in [1, 100, 5_000] {
            let gone = Deletes { n_deletes, n_before: n_deletes, root: RootChange::OtherDevice, ..CALM };
            assert_eq!(rule(&gone), Ruling::Held(Reason::Unmounted { n_deletes }));
            assert_eq!(rule(&Deletes { allowed_once: true, ..gone }), Ruling::Go);
        }
        // Mounted again under another number: nearly everything is there.
        let again =
            Deletes { n_deletes: 3, n_before: 10, n_matching: 7, root: RootChange::OtherDevice, ..CALM };
        assert_eq!(rule(&again), Ruling::Go);
    }

    #[test]
    fn a_replaced_root_or_another_source_holds_past_a_hundred_when_fewer_than_half_match() {
        let few = Deletes { n_deletes: 101, n_before: 10_000, n_matching: 4_999, ..CALM };
        let replaced = |deletes| Deletes { root: RootChange::Replaced, ..deletes };
        let other = |deletes| Deletes { other_source: true, ..deletes };
        assert_eq!(rule(&few), Ruling::Go);
        assert!(matches!(rule(&replaced(few)), Ruling::Held(Reason::Replaced { .. })));
        assert!(matches!(rule(&other(few)), Ruling::Held(Reason::OtherSource { .. })));
        for enough in [Deletes { n_matching: 5_000, ..few }, Deletes { n_deletes: 100, ..few }] {
            assert_eq!(rule(&replaced(enough)), Ruling::Go);
            assert_eq!(rule(&other(enough)), Ruling::Go);
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
