//! How large the source was lately: what goes in slices is to be seen as one.
//!
//! Pure. The guard judges a pass; a slow `rm -rf` under a watch makes many passes, each of them small. A name that
//! moves, or goes and comes back, does not make a tree smaller; only what is really going does.

use super::guard::is_mass_loss;
use std::collections::VecDeque;

/// How far back it remembers.
const WINDOW_MS: u64 = 3_600_000;
/// Sizes are kept this far apart, which bounds their number.
const STEP_MS: u64 = 60_000;
/// So many at most.
const N_SIZES: usize = (WINDOW_MS / STEP_MS) as usize + 2;

/// The most entries that a source had within the last hour.
///
/// Once more has gone than may go unasked, it does not forget until the source has grown again: what is held back
/// must not go by itself an hour later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// Moments and sizes, each smaller than the one before.
    sizes: VecDeque<(u64, u64)>,
}

impl Lately {
    /// From what [`Lately::ages`] told, as if the present were this moment.
    pub fn of_ages(now_ms: u64, ages: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut lately = Self::default();
        for (age_ms, size) in ages.into_iter().take(N_SIZES) {
            let at_ms = now_ms.saturating_sub(age_ms);
            // What is in no order was not told by it.
            let follows = |&(before_ms, before): &(u64, u64)| before_ms <= at_ms && before > size;
            if lately.sizes.back().is_none_or(follows) {
                lately.sizes.push_back((at_ms, size));
            }
        }
        lately
    }

    /// How many milliseconds ago the source had how many entries, as far as that counts.
    pub fn ages(&self, now_ms: u64) -> impl Iterator<Item = (u64, u64)> {
        self.sizes.iter().map(move |(at_ms, size)| (now_ms.saturating_sub(*at_ms), *size))
    }

    /// Notes how many entries the source has, and returns the most that it had.
    pub fn note(&mut self, now_ms: u64, n_entries: u64) -> u64 {
        while self.sizes.back().is_some_and(|(_, size)| *size <= n_entries) {
            self.sizes.pop_back();
        }
        if self.sizes.back().is_none_or(|(at_ms, _)| at_ms + STEP_MS <= now_ms) {
            self.sizes.push_back((now_ms, n_entries));
        }
        while let [(at_ms, size), _, ..] = self.sizes.make_contiguous()
            && *at_ms + WINDOW_MS < now_ms
            && !is_mass_loss(*size, n_entries)
        {
            self.sizes.pop_front();
        }
        self.sizes.front().map_or(n_entries, |(_, size)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    #[test]
    fn the_most_of_an_hour_is_remembered_and_then_less() {
        let mut lately = Lately::default();
        assert_eq!(lately.note(0, 1_000), 1_000);
        assert_eq!(lately.note(10 * MINUTE_MS, 900), 1_000);
        assert_eq!(lately.note(11 * MINUTE_MS, 1_200), 1_200);
        assert_eq!(lately.note(40 * MINUTE_MS, 1_100), 1_200);
        assert_eq!(lately.note(70 * MINUTE_MS, 1_000), 1_200);
        assert_eq!(lately.note(72 * MINUTE_MS, 1_000), 1_100);
        assert_eq!(lately.note(500 * MINUTE_MS, 1_000), 1_000);
    }

    #[test]
    fn what_lost_more_than_half_is_remembered_until_it_has_grown() {
        let mut lately = Lately::default();
        lately.note(0, 1_000);
        for minute in 1..10_000 {
            assert_eq!(lately.note(minute * MINUTE_MS, 499), 1_000);
        }
        assert_eq!(lately.note(10_001 * MINUTE_MS, 500), 500);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut lately = Lately::default();
        for at in 0..100_000 {
            lately.note(at * 60, 1_000_000 - at);
        }
        assert!(lately.sizes.len() <= N_SIZES, "{}", lately.sizes.len());
    }

    #[test]
    fn what_it_told_is_what_it_is_made_of_again() {
        let mut lately = Lately::default();
        for (minute, size) in [(100, 1_000), (120, 900), (140, 700)] {
            lately.note(minute * MINUTE_MS, size);
        }
        let again = Lately::of_ages(2_000 * MINUTE_MS, lately.ages(150 * MINUTE_MS));
        assert_eq!(
            again.ages(2_000 * MINUTE_MS).collect::<Vec<_>>(),
            lately.ages(150 * MINUTE_MS).collect::<Vec<_>>()
        );
        let mut again = again;
        assert_eq!(again.note(2_009 * MINUTE_MS, 700), 1_000);
        assert_eq!(again.note(2_011 * MINUTE_MS, 700), 900);
    }

    #[test]
    fn ages_that_it_never_told_make_no_memory_that_cannot_be() {
        let ages = [(50, 10), (60, 9), (40, 11), (30, 8)].map(|(age, size)| (age * MINUTE_MS, size));
        let lately = Lately::of_ages(1_000 * MINUTE_MS, ages);
        assert_eq!(lately.ages(1_000 * MINUTE_MS).collect::<Vec<_>>(), [ages[0], ages[3]]);
        let many = Lately::of_ages(0, (0..1_000_000).map(|n| (0, 2_000_000 - n)));
        assert_eq!(many.sizes.len(), N_SIZES);
    }
}
