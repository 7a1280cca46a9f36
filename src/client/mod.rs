//! The sender: one of the two programs.

pub mod event;
pub mod options;

use event::{Event, Outcome, Report};
use options::ClientOptions;
use std::path::Path;

/// Brings a destination in step with a source, once or until told to stop, and says what happens.
pub fn run(_options: ClientOptions, events: &'static dyn Report) -> Outcome {
    events.event(Event::Error { text: "the sender is not built yet".into() });
    Outcome::Failed
}

/// The public key of this side in the form that `--authorize` and `--server-key` take.
///
/// Makes the identity when there is none.
///
/// # Errors
/// One sentence with the next step.
pub fn public_key(_identity: Option<&Path>) -> Result<String, String> {
    Err("keys are not built yet".into())
}
