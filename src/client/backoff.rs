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
        let share = f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX);
        let wait = self.ceiling.mul_f64(share).max(Duration::from_millis(20));
        self.ceiling = (self.ceiling * 2).min(BACKOFF.1);
        wait
    }
}
