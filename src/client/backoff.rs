//! How long to wait before the next attempt to connect.

use crate::net::Secret;
use std::time::{Duration, Instant};

/// Waits between attempts grow from the first to the second, each with full jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Full-jitter backoff.
pub struct Backoff {
    ceiling: Duration,
    /// When trying began, or last brought something about.
    pub since: Instant,
}

impl Backoff {
    pub fn new() -> Self {
        Self { ceiling: BACKOFF.0, since: Instant::now() }
    }

    /// An attempt was worth it: the next waits are short again.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// The next wait: anything up to a ceiling that doubles.
    pub fn next(&mut self) -> Duration {
        let random = Secret::random().0;
        self.next_of(f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX))
    }

    /// The same, of a share of the ceiling from 0 to 1.
    fn next_of(&mut self, share: f64) -> Duration {
        let wait = self.ceiling.mul_f64(share).max(Duration::from_millis(20));
        self.ceiling = (self.ceiling * 2).min(BACKOFF.1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_half_a_second_to_thirty_and_all_below_it_may_come() {
        let mut backoff = Backoff::new();
        for ceiling in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let mut low = Backoff { ceiling: backoff.ceiling, since: backoff.since };
            assert_eq!(low.next_of(0.0), Duration::from_millis(20), "never at once");
            assert_eq!(backoff.next_of(1.0), Duration::from_secs_f64(ceiling));
        }
        backoff.reset();
        let waits: Vec<Duration> = (0..32).map(|_| Backoff::new().next()).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(500)));
        assert!(waits.iter().min() < waits.iter().max(), "no two clients wait alike");
        assert_eq!(backoff.next_of(1.0), Duration::from_millis(500));
    }
}
