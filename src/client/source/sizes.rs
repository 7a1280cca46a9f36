//! How large the source was lately, kept from one watch to the next.
//!
//! What is being removed bit by bit must not go on because the watch was started again meanwhile.

use crate::plan::lately::Lately;
use crate::server::contents::KnownContents;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The word of the cache that holds it: moments in milliseconds of the clock and sizes, 8 bytes each.
const LATELY: &str = "lately";
/// The own clock begins here, so that there are moments before.
const FIRST_MS: u64 = 1 << 40;

/// What is remembered of the source's size, and where it is kept.
pub struct Sizes {
    lately: Lately,
    begun: Instant,
    /// As it is kept; `None` where it is not.
    kept: Option<Lately>,
}

impl Sizes {
    /// Of a source that is looked at once: nothing is remembered.
    pub fn of_once() -> Self {
        Self { lately: Lately::default(), begun: Instant::now(), kept: None }
    }

    /// What the last watch left.
    pub fn of_watch(known: &KnownContents) -> Self {
        let now_ms = clock_ms();
        let word = known.cache().word(LATELY).unwrap_or_default();
        let numbers: Vec<u64> =
            word.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let ages =
            numbers.as_chunks::<2>().0.iter().map(|[at_ms, size]| (now_ms.saturating_sub(*at_ms), *size));
        let lately = Lately::of_ages(FIRST_MS, ages);
        Self { kept: Some(lately.clone()), lately, begun: Instant::now() }
    }

    /// Forgets it: what is gone may go.
    pub fn forget(known: &KnownContents) {
        if known.cache().word(LATELY).is_some_and(|word| !word.is_empty())
            && let Err(error) = known.cache().set_word(LATELY, &[])
        {
            tracing::warn!(%error, "how large the source was is not forgotten");
        }
    }

    /// Notes how many entries the source has; returns the most that it had within an hour.
    pub fn note(&mut self, known: &Arc<KnownContents>, n_entries: u64) -> u64 {
        let now_ms = FIRST_MS + self.begun.elapsed().as_millis() as u64;
        let n_lately = self.lately.note(now_ms, n_entries);
        if self.kept.as_ref().is_some_and(|kept| *kept != self.lately) {
            self.kept = Some(self.lately.clone());
            let clock_ms = clock_ms();
            let numbers =
                self.lately.ages(now_ms).flat_map(|(age_ms, size)| [clock_ms.saturating_sub(age_ms), size]);
            let word: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
            match known.cache().set_word(LATELY, &word) {
                // Seldom: sizes are kept a minute apart, and deletes may follow at once.
                Ok(()) => known.sync(),
                Err(error) => tracing::warn!(%error, "how large the source was is not remembered"),
            }
        }
        n_lately
    }
}

fn clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
