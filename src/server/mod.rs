//! The receiver: one of the two programs.

mod asks;
mod commit;
mod contents;
mod hasher;
pub mod options;
mod refusal;
mod shore;
mod stage;
mod worker;

use crate::client::event::{Event, Outcome, Report};
use options::ServerOptions;

/// Serves a destination until told to stop, and says what happens.
pub fn run(_options: ServerOptions, events: &dyn Report) -> Outcome {
    events.event(Event::Error { text: "the receiver is not built yet".into() });
    Outcome::Failed
}
