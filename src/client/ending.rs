//! What the end of a session means: an outcome, or why to try again.

use super::Replaced;
use super::event::{Event, Outcome};
use super::session::{Ashore, End};
use super::source::Failure;
use crate::proto::message::RefuseCode;
use crate::proto::sender::{Config, Ending};

/// The same, or that the source was replaced.
pub(super) fn ended(end: End, ashore: &Ashore, config: &Config) -> Result<Result<Outcome, Replaced>, String> {
    match end {
        End::Source(Failure::Replaced) => Ok(Err(Replaced { allowance_left: config.allow_mass_delete })),
        end => end_of(end, ashore).map(Ok),
    }
}

/// What a session's end means: the outcome, or why to try again.
fn end_of(end: End, ashore: &Ashore) -> Result<Outcome, String> {
    match end {
        End::Passed(Ending::Identical) => Ok(match ashore.source.snapshots.borrow().as_ref() {
            Some(snapshot) if snapshot.scanned.unreadable > 0 => Outcome::Partial,
            _ => Outcome::InStep,
        }),
        End::Passed(Ending::Partial) => Ok(Outcome::Partial),
        End::Passed(Ending::Held) => Ok(Outcome::Held),
        End::Passed(Ending::Failed) => {
            let text =
                "the destination could not take everything that was named; push again when that is put right"
                    .to_owned();
            ashore.events.event(Event::Error { text });
            Ok(Outcome::Failed)
        }
        End::Stopped => Ok(stopped(ashore)),
        End::Source(failure) => {
            ashore.events.event(Event::Error { text: format!("the source cannot be read: {failure}") });
            Ok(Outcome::Failed)
        }
        End::Nested(text) => {
            ashore.events.event(Event::Error { text });
            Ok(Outcome::Failed)
        }
        End::Refused { text, code: RefuseCode::Busy } => {
            if ashore.once {
                ashore.events.event(Event::Error {
                    text: format!("the destination is {text}; wait for that one to end, or stop it"),
                });
                return Ok(Outcome::NoConnection);
            }
            Err(text)
        }
        End::Refused { text, code } => {
            ashore.events.event(Event::Error { text });
            let is_about_keys = matches!(code, RefuseCode::NotAuthorised | RefuseCode::Rights);
            Ok(if is_about_keys { Outcome::NotAuthorised } else { Outcome::Failed })
        }
        End::Breach(why) if ashore.once => {
            let text = format!("{why}; install the same version of strait on both sides");
            ashore.events.event(Event::Error { text });
            Ok(Outcome::Failed)
        }
        End::Broken(why) | End::Breach(why) => Err(why),
    }
}

/// A signal ends a watch in order; a push that did not get to its end has verified nothing.
pub(super) fn stopped(ashore: &Ashore) -> Outcome {
    if !ashore.once {
        return Outcome::InStep;
    }
    let text = "stopped before the destination was in step; push again to go on".to_owned();
    ashore.events.event(Event::Error { text });
    Outcome::Failed
}
