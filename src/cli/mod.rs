//! Floor 5: the command line in, events and an exit code out.
//!
//! Only owner of `clap`, `indicatif` and `tracing-subscriber`. It does no work of its own: it
//! turns words into options, starts one program and says what that program reports.

pub mod args;
pub mod heaps;
mod json;
mod lines;
mod progress;
mod receiving;
mod report;
mod sending;
mod text;
mod words;

use crate::client::event::{Event, Outcome, Report};
use args::{Command, Parsed};
use report::Reporter;
use std::ffi::OsString;

/// Runs one command line, program name first, to its end.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Outcome {
    let Parsed { say, command } = match args::parse(words) {
        Ok(parsed) => parsed,
        Err(refusal) => return refusal.tell(),
    };
    if say.trace {
        trace_to_stderr();
    }
    be_quiet_about_damage();
    // One for the whole process, so that tasks and threads of the programs may keep it.
    let reporter: &'static Reporter = Box::leak(Box::new(Reporter::new(say)));
    let is_answer = !matches!(command, Command::Send(_) | Command::Serve(_));
    let outcome = match command {
        Command::Send(options) => crate::client::run(options, reporter),
        Command::Serve(options) => crate::server::run(options, reporter),
        Command::Status(asked) => {
            let asked = asked.as_ref().map(|(source, destination)| (source.as_path(), destination));
            crate::client::status::run(asked, reporter)
        }
        Command::Aside(aside) => crate::server::aside::run(aside, reporter),
        Command::Key(identity) => match crate::client::public_key(identity.as_deref()) {
            Ok(key) => reporter.key(&key),
            Err(text) => {
                reporter.event(Event::Error { text });
                Outcome::Failed
            }
        },
    };
    if is_answer { reporter.finish_answer(outcome) } else { reporter.finish(outcome) }
}

/// A panic that means a damaged store is told as an event; all others are shown as ever.
fn be_quiet_about_damage() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !crate::store::is_guarded() {
            usual(panic);
        }
    }));
}

/// Shows the programs' own trace, for whoever looks for a fault.
fn trace_to_stderr() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
