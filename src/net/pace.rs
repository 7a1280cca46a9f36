//! `--bwlimit`: how fast bytes may leave, as a steady stream.
//!
//! A pure clock of when the next bytes may go; the segment writer sleeps as it says. The kernel's
//! own pacing is not used: measured, it lets bursts through that double a low rate.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// What may be caught up after a timer that fired late or a pause, as time at the full rate.
const CATCH_UP: Duration = Duration::from_millis(20);
/// Bytes of TCP and IP headers of one full packet, and what it carries beside them.
const HEADER_BYTES: u64 = 52;
const SEGMENT_BYTES: u64 = 1_448;
/// Header and seal of one TLS record.
const RECORD_BYTES: u64 = 22;
/// The largest chunk: one full TLS record.
const CHUNK_BYTES: usize = 16 * 1024;

/// Bytes in a second that may leave, headers included; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// A rate in bytes a second; `None` for zero.
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_second).map(Self)
    }

    /// Bytes in a second.
    pub fn bytes_per_second(self) -> u64 {
        self.0.get()
    }
}

/// Says when the next bytes may leave. Pure: the time comes in.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: Rate,
    /// When all that left so far has passed at the set rate.
    free_at: Option<Instant>,
}

impl Pace {
    /// A pace with nothing sent yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, free_at: None }
    }

    /// How many bytes to send at a time: what passes in a twentieth of a second, at least 1 KiB
    /// (smaller ones would be mostly headers) and at most 16 KiB.
    pub fn chunk_bytes(&self) -> usize {
        usize::try_from(self.rate.bytes_per_second() / 20).unwrap_or(CHUNK_BYTES).clamp(1024, CHUNK_BYTES)
    }

    /// Takes the right to send `bytes`, and says how long to wait before sending them.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let start = self.free_at.map_or(now, |free_at| free_at.max(earliest));
        let lasts = wire_bytes(bytes) as f64 / self.rate.bytes_per_second() as f64;
        self.free_at = Some(start + Duration::from_secs_f64(lasts));
        start.saturating_duration_since(now)
    }
}

/// What so many bytes cost on the link with the headers of TLS, TCP and IP: the limit holds there,
/// where the user measures it.
fn wire_bytes(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes + RECORD_BYTES + bytes.div_ceil(SEGMENT_BYTES) * HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends for ten seconds as the writer does; gives (time, wire bytes) of each chunk.
    fn simulate(rate: u64, timer_is_late_by: Duration) -> Vec<(Duration, u64)> {
        let start = Instant::now();
        let (mut pace, mut now, mut sent) = (Pace::new(Rate::new(rate).unwrap()), start, Vec::new());
        while now < start + Duration::from_secs(10) {
            let chunk = pace.chunk_bytes();
            let wait = pace.take(chunk, now);
            if !wait.is_zero() {
                now += wait + timer_is_late_by;
            }
            sent.push((now - start, wire_bytes(chunk)));
        }
        sent
    }

    fn most_within(sent: &[(Duration, u64)], window: Duration) -> u64 {
        let sum = |from: Duration| {
            sent.iter().filter(|(at, _)| *at >= from && *at < from + window).map(|(_, bytes)| bytes).sum()
        };
        sent.iter().step_by(sent.len() / 200 + 1).map(|(at, _)| sum(*at)).max().unwrap()
    }

    #[test]
    fn the_rate_is_kept_over_seconds_and_within_each_tenth_of_one() {
        for rate in [32 * 1024, 256 * 1024, 4 << 20] {
            let sent = simulate(rate, Duration::from_millis(1));
            let total: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
            let ratio = total as f64 / (rate * 10) as f64;
            assert!((0.98..=1.02).contains(&ratio), "{rate}: {ratio}");
            let most = most_within(&sent, Duration::from_millis(100));
            assert!(most <= rate / 10 * 2 + 1024, "{rate}: {most} bytes in a tenth of a second");
        }
    }

    #[test]
    fn a_pause_earns_no_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::new(100_000).unwrap());
        pace.take(5_000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(5_000, later), Duration::ZERO);
        assert!(pace.take(5_000, later) >= Duration::from_millis(25));
    }
}
