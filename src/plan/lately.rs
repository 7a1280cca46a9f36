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

/// The most entries that a source had within the last hour.
///
/// Once more has gone than may go unasked, it does not forget until the source has grown again: what is held back
/// must not go by itself an hour later.
#[derive(Debug, Default)]
pub struct Lately {
    /// Moments and sizes, each smaller than the one before.
    sizes: VecDeque<(u64, u64)>,
}

impl Lately {
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
        assert!(lately.sizes.len() <= (WINDOW_MS / STEP_MS) as usize + 2, "{}", lately.sizes.len());
    }
}
