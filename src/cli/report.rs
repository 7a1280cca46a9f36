//! Decides for each event whether, where and in which form it is said.
//!
//! Information goes to standard output, trouble and the progress line to standard error. With
//! `serve --stdio` standard output carries the protocol, and everything goes to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::args::{Loudness, Say};
use super::json;
use super::lines::{self, Line};
use super::progress::{Meter, ProgressLine};
use crate::client::event::{Event, Outcome, Report};

/// How often progress is said where it can not be drawn over.
const PLAIN_EVERY_MS: u64 = 10_000;
const JSON_EVERY_MS: u64 = 1_000;
/// The same of how far behind it is, which may be for days.
const PLAIN_BEHIND_EVERY_MS: u64 = 600_000;
const JSON_BEHIND_EVERY_MS: u64 = 10_000;

/// Says events on this process's standard streams.
pub struct Reporter {
    say: Say,
    started: Instant,
    is_terminal: bool,
    state: Mutex<State>,
    progress_line: ProgressLine,
    /// Why standard output did not take everything.
    unwritten: OnceLock<io::Error>,
}

#[derive(Default)]
struct State {
    meter: Meter,
    /// When progress was last said as a line of its own.
    said_ms: Option<u64>,
    said_behind_ms: Option<u64>,
}

impl Reporter {
    pub fn new(say: Say) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let draws = is_terminal && !say.json && say.loudness > Loudness::Quiet;
        Self {
            say,
            started: Instant::now(),
            is_terminal,
            state: Mutex::default(),
            progress_line: ProgressLine::new(draws),
            unwritten: OnceLock::new(),
        }
    }

    /// Prints the public key, whatever else is said or not.
    pub fn key(&self, key: &str) -> Outcome {
        self.print(false, &if self.say.json { json::key_line(key, unix_ms()) } else { key.to_string() });
        Outcome::InStep
    }

    /// Says the end of the run.
    pub fn finish(&self, outcome: Outcome) -> Outcome {
        self.progress_line.clear();
        if self.say.json {
            self.print(false, &json::end_line(outcome, unix_ms()));
        }
        outcome
    }

    /// The same of a run that was for its answer alone: one that could not be written has failed.
    pub fn finish_answer(&self, outcome: Outcome) -> Outcome {
        let outcome = self.finish(self.of_answer(outcome));
        if let Some(error) = self.unwritten.get() {
            self.print(true, &unwritten_text(error));
        }
        self.of_answer(outcome)
    }

    fn of_answer(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::InStep if self.unwritten.get().is_some() => Outcome::Failed,
            outcome => outcome,
        }
    }

    fn say_line(&self, Line { from, is_trouble, text }: Line, event: &Event) {
        if from > self.say.loudness {
            return;
        }
        if self.say.json {
            self.print(false, &json::event_line(event, unix_ms()));
        } else {
            self.progress_line.aside(|| self.print(is_trouble, &text));
        }
    }

    fn say_progress(&self, state: &mut State, event: &Event, now_ms: u64) {
        if self.say.loudness == Loudness::Quiet {
            return;
        }
        let (said_ms, json_every_ms, plain_every_ms) = match event {
            Event::Behind(_) => (&mut state.said_behind_ms, JSON_BEHIND_EVERY_MS, PLAIN_BEHIND_EVERY_MS),
            _ => (&mut state.said_ms, JSON_EVERY_MS, PLAIN_EVERY_MS),
        };
        if self.say.json {
            if is_due(said_ms, now_ms, json_every_ms) {
                self.print(false, &json::event_line(event, unix_ms()));
            }
        } else if self.is_terminal {
            self.progress_line.show(state.meter.text(now_ms));
        } else if let Some(text) = state.meter.text(now_ms)
            && is_due(said_ms, now_ms, plain_every_ms)
        {
            self.print(false, &text);
        }
    }

    /// A stream that takes nothing does not stop the work: `finish_answer` is told where that was all there is.
    fn print(&self, is_trouble: bool, text: &str) {
        if is_trouble || self.say.stdout_taken {
            let _ = writeln!(io::stderr().lock(), "{text}");
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Some(error) = unwritten(writeln!(stdout, "{text}").and_then(|()| stdout.flush())) {
            let _ = self.unwritten.set(error);
        }
    }
}

impl Report for Reporter {
    fn event(&self, event: Event) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A thread that died while it said something left the meter as it was: good enough.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.meter.see(&event, now_ms) {
            self.say_progress(&mut state, &event, now_ms);
        } else {
            if !state.meter.has_work() {
                self.progress_line.clear();
            }
            if let Some(line) = lines::line(&event) {
                self.say_line(line, &event);
            }
        }
    }
}

/// What kept text from standard output; nothing where its reader has gone and does not want to know.
pub fn unwritten(written: io::Result<()>) -> Option<io::Error> {
    written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

pub fn unwritten_text(error: &io::Error) -> String {
    format!("error: nothing or not everything was written to standard output: {error}")
}

/// Whether `every_ms` have passed since it was last due; if so, it is due now.
fn is_due(last_ms: &mut Option<u64>, now_ms: u64, every_ms: u64) -> bool {
    let due = last_ms.is_none_or(|last_ms| now_ms >= last_ms.saturating_add(every_ms));
    if due {
        *last_ms = Some(now_ms);
    }
    due
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_due_at_once_and_then_now_and_then() {
        let mut last_ms = None;
        let due: Vec<bool> = [0, 500, 999, 1_000, 1_500, 2_100]
            .iter()
            .map(|&now_ms| is_due(&mut last_ms, now_ms, 1_000))
            .collect();
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
