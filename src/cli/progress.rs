//! The progress line: how far, how fast, how long still. Only owner of `indicatif`.
//!
//! `Meter` computes the text from events and a clock that is handed in; `ProgressLine` draws it.

use std::collections::VecDeque;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::behind_text;
use super::text::{count, length, percent, rate, size, thousands};
use crate::client::event::{Behind, Event, Progress};

/// Nothing is drawn for work that ends sooner.
const SILENT_MS: u64 = 1_000;
/// The rate is that of the last few seconds.
const WINDOW_MS: u64 = 5_000;
/// Samples of the rate lie at least this far apart, which bounds how many are kept.
const SAMPLE_MS: u64 = 100;

/// Follows the events of one stretch of work and tells how far it is.
#[derive(Debug, Default)]
pub struct Meter {
    began_ms: Option<u64>,
    stage: Stage,
    /// (time, content bytes done), oldest first.
    samples: VecDeque<(u64, u64)>,
    behind: Behind,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Scanning {
        entries: u64,
        bytes_hashed: u64,
        bytes_to_hash: u64,
    },
    Sending(Progress),
    /// Changes wait, and nothing is sent.
    Behind,
}

impl Meter {
    /// Takes an event at a time; returns whether it moved the line.
    pub fn see(&mut self, event: &Event, now_ms: u64) -> bool {
        match event {
            Event::Scanning { entries, bytes_hashed, bytes_to_hash } => {
                self.stage = Stage::Scanning {
                    entries: *entries,
                    bytes_hashed: *bytes_hashed,
                    bytes_to_hash: *bytes_to_hash,
                };
                self.sample(now_ms, *bytes_hashed);
            }
            Event::Progress(progress) => {
                if !matches!(self.stage, Stage::Sending(_)) {
                    self.samples.clear();
                }
                self.stage = Stage::Sending(*progress);
                self.sample(now_ms, progress.content_done);
            }
            Event::Behind(behind) if behind.changes > 0 => {
                self.behind = *behind;
                if matches!(self.stage, Stage::Idle) {
                    self.stage = Stage::Behind;
                    // It is told only after a while.
                    self.began_ms.get_or_insert(now_ms.saturating_sub(SILENT_MS));
                }
            }
            Event::Behind(_)
            | Event::PassDone(_)
            | Event::Received(_)
            | Event::Disconnected { .. }
            | Event::ClientLeft { .. }
            | Event::Stopping { .. }
            | Event::Error { .. } => {
                *self = Self::default();
                return false;
            }
            _ => return false,
        }
        self.began_ms.get_or_insert(now_ms);
        true
    }

    /// Whether a stretch of work is on.
    pub fn has_work(&self) -> bool {
        self.began_ms.is_some()
    }

    /// The text of the line; `None` while there is no work, or too little to speak of.
    pub fn text(&self, now_ms: u64) -> Option<String> {
        if now_ms.saturating_sub(self.began_ms?) < SILENT_MS {
            return None;
        }
        match &self.stage {
            Stage::Idle => None,
            Stage::Scanning { entries, bytes_hashed, bytes_to_hash } => {
                let mut text = format!("scanning: {}", count(*entries, "entry", "entries"));
                if *bytes_to_hash > 0 {
                    text += &format!(", hashed {} of {}", size(*bytes_hashed), size(*bytes_to_hash));
                    text += &self.pace(bytes_to_hash.saturating_sub(*bytes_hashed));
                }
                Some(text)
            }
            Stage::Sending(progress) if self.behind.changes > 0 => {
                Some(format!("{}, {} behind", self.sending(progress), length(self.behind.oldest_ms)))
            }
            Stage::Sending(progress) => Some(self.sending(progress)),
            Stage::Behind => Some(behind_text(&self.behind)),
        }
    }

    fn sending(&self, progress: &Progress) -> String {
        let Progress { files_done, files_total, content_done, content_total, .. } = *progress;
        format!(
            "{} %, {} of {}, {} of {}{}, {} on the wire",
            percent(content_done, content_total),
            size(content_done),
            size(content_total),
            thousands(files_done),
            count(files_total, "file", "files"),
            self.pace(content_total.saturating_sub(content_done)),
            size(progress.wire_sent.saturating_add(progress.wire_received)),
        )
    }

    /// Rate and time left, as far as they are known.
    fn pace(&self, left_bytes: u64) -> String {
        match self.bytes_per_s() {
            Some(bytes_per_s) if bytes_per_s >= 1.0 => {
                // A float too large for u64 saturates.
                let left_ms = (left_bytes as f64 / bytes_per_s * 1_000.0) as u64;
                format!(", {}, {} left", rate(bytes_per_s), length(left_ms))
            }
            _ => String::new(),
        }
    }

    fn sample(&mut self, now_ms: u64, bytes: u64) {
        let is_back = self.samples.back().is_some_and(|&(_, before)| bytes < before);
        if is_back {
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|&(at_ms, _)| now_ms < at_ms + SAMPLE_MS) {
            return;
        }
        self.samples.push_back((now_ms, bytes));
        while self.samples.len() > 2 && self.samples[1].0 + WINDOW_MS <= now_ms {
            self.samples.pop_front();
        }
    }

    fn bytes_per_s(&self) -> Option<f64> {
        let (&(first_ms, first), &(last_ms, last)) = (self.samples.front()?, self.samples.back()?);
        (last_ms > first_ms).then(|| (last - first) as f64 * 1_000.0 / (last_ms - first_ms) as f64)
    }
}

/// Draws one line at the foot of a terminal, and steps aside for the lines above it.
pub struct ProgressLine(ProgressBar);

impl ProgressLine {
    /// A line on standard error; draws nothing when that is no terminal or `is_wanted` is false.
    pub fn new(is_wanted: bool) -> Self {
        let target = if is_wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        bar.finish_and_clear();
        Self(bar)
    }

    /// Draws a text in the place of the one before; takes the line away for `None`.
    pub fn show(&self, text: Option<String>) {
        let Some(text) = text else {
            return self.clear();
        };
        if self.0.is_finished() {
            self.0.reset();
        }
        self.0.set_message(text);
        self.0.tick();
    }

    pub fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Runs what prints above the line.
    pub fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::Summary;

    const MIB: u64 = 1 << 20;

    fn sending(done: u64) -> Event {
        Event::Progress(Progress {
            files_done: 1,
            files_total: 40,
            content_done: done,
            content_total: 100 * MIB,
            wire_sent: done / 2,
            wire_received: 0,
        })
    }

    #[test]
    fn the_line_tells_share_files_rate_and_time_left() {
        let mut meter = Meter::default();
        meter.see(&sending(0), 0);
        meter.see(&sending(10 * MIB), 2_000);
        assert_eq!(
            meter.text(2_000).expect("two seconds are worth a line"),
            "10 %, 10.0 MiB of 100 MiB, 1 of 40 files, 5.00 MiB/s, 18 s left, 5.00 MiB on the wire"
        );
    }

    #[test]
    fn the_first_second_is_silent() {
        let mut meter = Meter::default();
        assert_eq!(meter.text(0), None);
        meter.see(&sending(MIB), 500);
        assert_eq!(meter.text(1_499), None);
        assert!(meter.text(1_500).is_some());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        for second in 0..10 {
            meter.see(&sending(second * 8 * MIB), second * 1_000);
        }
        for second in 10..20 {
            meter.see(&sending(72 * MIB + (second - 9) * MIB), second * 1_000);
        }
        let text = meter.text(20_000).expect("there is work");
        assert!(text.contains("1.00 MiB/s"), "{text}");
        assert!(meter.samples.len() < 60);
    }

    #[test]
    fn what_waits_is_told_alone_and_beside_what_is_sent() {
        let mut meter = Meter::default();
        let behind = |oldest_ms| Event::Behind(Behind { changes: 3, content_bytes: 5 * MIB, oldest_ms });
        assert!(meter.see(&behind(42_000), 5_000));
        assert_eq!(meter.text(5_000).as_deref(), Some("3 changes, 5.00 MiB behind for 42 s"));
        meter.see(&sending(MIB), 5_100);
        meter.see(&behind(43_000), 6_100);
        let text = meter.text(6_100).expect("there is work");
        assert!(text.ends_with("512 KiB on the wire, 43 s behind"), "{text}");
        assert!(!meter.see(&Event::Behind(Behind::default()), 7_000));
        assert_eq!(meter.text(9_000), None);
    }

    #[test]
    fn the_end_of_a_pass_empties_the_line() {
        let mut meter = Meter::default();
        meter.see(&sending(MIB), 0);
        assert!(!meter.see(&Event::PassDone(Summary::default()), 5_000));
        assert_eq!(meter.text(9_000), None);
    }

    #[test]
    fn a_total_that_is_not_known_yet_harms_nothing() {
        let mut meter = Meter::default();
        meter.see(&Event::Progress(Progress::default()), 0);
        meter.see(&Event::Progress(Progress { content_done: 5, ..Progress::default() }), 2_000);
        assert!(meter.text(2_000).expect("a line").starts_with("100 %, 5 B of 0 B"));
    }
}
