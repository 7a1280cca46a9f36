//! `--bwlimit`: how fast bytes may leave, as a steady stream.
//!
//! A pure clock of when the next bytes may go; the segment writer sleeps as it says. The kernel's
//! own pacing is not used: measured, it lets bursts through that double a low rate.

use std::num::NonZeroU64;
use std::str::FromStr;
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

/// A text is not a rate. Class: fatal (the command line is wrong).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a rate; write KiB in a second as a plain number (`512`), or a number with a suffix: \
         `512k`, `1.5m`, `2MiB` (powers of 1024), `2MB` (powers of 1000), `900b` (bytes); `0` is no limit"
)]
pub struct RateError(String);

impl Rate {
    /// A rate in bytes a second; `None` for zero.
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_second).map(Self)
    }

    /// Bytes in a second.
    pub fn bytes_per_second(self) -> u64 {
        self.0.get()
    }

    /// Parses what `--bwlimit` takes, as rsync users expect: a plain number is KiB a second;
    /// suffixes `k`, `m`, `g`, `t` (also with `iB`) are powers of 1024, with `B` powers of 1000, `b` alone
    /// is bytes; fractions are allowed; case does not matter. Zero is `None`: no limit.
    ///
    /// # Errors
    /// [`RateError`] for anything else, and for more than a TiB a second.
    pub fn parse(text: &str) -> Result<Option<Self>, RateError> {
        let error = || RateError(text.to_string());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = trimmed.split_at(digits);
        let unit = unit_bytes(&suffix.trim().to_ascii_lowercase()).ok_or_else(error)?;
        let number = f64::from_str(number).map_err(|_| error())?;
        let bytes = (number * unit).round();
        if !(0.0..=1024f64.powi(4)).contains(&bytes) {
            return Err(error());
        }
        // A rate too small to be seen is not the same as none.
        if bytes == 0.0 && number > 0.0 {
            return Err(error());
        }
        Ok(Self::new(bytes as u64))
    }
}

fn unit_bytes(suffix: &str) -> Option<f64> {
    match suffix {
        "b" => return Some(1.0),
        "" => return Some(1024.0),
        _ => {}
    }
    let power = "kmgt".find(suffix.chars().next()?)? as i32 + 1;
    match &suffix[1..] {
        "" | "ib" => Some(1024f64.powi(power)),
        "b" => Some(1000f64.powi(power)),
        _ => None,
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

    fn parsed(text: &str) -> Option<u64> {
        Rate::parse(text).unwrap().map(Rate::bytes_per_second)
    }

    #[test]
    fn rates_are_written_as_for_rsync() {
        assert_eq!(parsed("512"), Some(512 * 1024));
        assert_eq!(parsed("512k"), Some(512 * 1024));
        assert_eq!(parsed("2M"), Some(2 << 20));
        assert_eq!(parsed("1.5MiB"), Some(3 << 19));
        assert_eq!(parsed("1.5m"), Some(3 << 19));
        assert_eq!(parsed("2MB"), Some(2_000_000));
        assert_eq!(parsed("900b"), Some(900));
        assert_eq!(parsed("0.5"), Some(512));
        assert_eq!(parsed("0"), None);
    }

    #[test]
    fn what_is_no_rate_is_refused_with_examples() {
        for text in
            ["", "fast", "-1", "1x", "1kk", "k", "1e9", "9999999999t", "0.00001b", "1..2", "inf", "1é"]
        {
            let error = Rate::parse(text).unwrap_err();
            assert!(error.to_string().contains("512k"), "{text}");
        }
    }

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
