//! What the two programs say while they work: plain data, told to a `Report`.
//!
//! The programs never print and never format for people; the command line does (`cli/report.rs`,
//! `cli/json.rs`). Events are serialised under the names they have here: changing a name or the meaning
//! of a field changes what `--json` promises (`docs/operations.md`).

mod change;
mod counts;

pub use super::status::{Stand, Status};
pub use change::{Change, Shown, What};
pub use counts::{Behind, Found, Progress, Received, Scanned, Summary};

use serde::Serialize;
use std::error::Error;

/// Takes events as they happen, from any thread.
pub trait Report: Send + Sync {
    /// Takes one event. Returns soon; never panics, never waits for the peer.
    fn event(&self, event: Event);
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Verified identical, or ended in order.
    InStep,
    Failed,
    /// The command line makes no sense.
    Usage,
    /// In step but for entries that could not be read here or kept there; each was named.
    Partial,
    /// In step but for deletes that wait for a human's word.
    Held,
    /// The other end does not know this side's key, or this side not the other's.
    NotAuthorised,
    /// Nobody answers, or the destination is busy with another client.
    NoConnection,
}

impl Outcome {
    /// The exit code that the README and `--help` document.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::InStep => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Partial => 3,
            Outcome::Held => 4,
            Outcome::NotAuthorised => 5,
            Outcome::NoConnection => 6,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A fact worth saying once: owners or hard links that are not kept, modes that are masked.
    Note {
        text: String,
    },
    /// It can not go on yet and tries by itself: `for_what` ("the server at host:port") and why.
    Waiting {
        for_what: String,
        why: String,
    },
    /// The two sides know each other.
    Connected {
        peer: String,
    },
    /// The link broke; tried again after `retry_ms`, or not at all.
    Disconnected {
        why: String,
        retry_ms: Option<u64>,
    },
    /// Either side reads its tree. Hashing is counted against what has to be hashed, as known so far.
    Scanning {
        entries: u64,
        bytes_hashed: u64,
        bytes_to_hash: u64,
    },
    Scanned(Scanned),
    /// One entry that stays out of step: unreadable here, or not to be kept there. Exit 3.
    Skipped {
        path: Shown,
        why: String,
    },
    /// One change that a dry run found.
    Planned(Change),
    /// One change that is verified and durable at the destination.
    Applied(Change),
    /// How the large files of a pass were made; said before it is over.
    Made(Found),
    Progress(Progress),
    /// While a watch has something to bring about that takes more than a second, connected or not; of nothing
    /// once it is done.
    Behind(Behind),
    PassDone(Summary),
    /// Deletes wait for a human's word; all else goes on. Exit 4.
    Held {
        reason: String,
    },
    /// A receiver is ready. `ticket_line` is the whole line to run on another machine.
    Listening {
        address: String,
        dest: Shown,
        ticket_line: Option<String>,
    },
    ClientConnected {
        client: String,
        peer: String,
    },
    /// A client was turned away before it learned anything.
    ClientRefused {
        peer: String,
        why: String,
    },
    ClientLeft {
        client: String,
        why: String,
    },
    Received(Received),
    /// The cache was damaged or foreign, was set aside and is made again.
    CacheRebuilt {
        why: String,
    },
    /// Something that the trash keeps; `path` is missing when its record was lost.
    Trashed {
        id: String,
        path: Option<Shown>,
        kind: What,
        removed_at_ms: u64,
        disk_bytes: u64,
        entries_below: u64,
    },
    /// Something was copied out of the trash, to `path` below `to`.
    Restored {
        path: Shown,
        to: Shown,
        entries: u64,
        size_bytes: u64,
    },
    /// So many entries are gone from the trash for good.
    Emptied {
        entries: u64,
    },
    /// What a push or watch of this user does, or how it ended.
    Status(Box<Status>),
    /// A client that a destination lets in.
    Authorised {
        key: String,
        note: String,
    },
    /// Asked to end, by a signal or because the other end closed.
    Stopping {
        why: String,
    },
    /// It went wrong, in one sentence with the next step.
    Error {
        text: String,
    },
}

impl Event {
    /// An `Error` that tells an error and its causes in one line.
    pub fn failed(error: &dyn Error) -> Self {
        Event::Error { text: sentence(error) }
    }
}

/// Joins an error and its causes with colons, leaving out a cause that is told already.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RelPath;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the source {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn causes_are_told_once_and_in_order() {
        let inner = || std::io::Error::other("no such file");
        assert_eq!(sentence(&Outer("/a", inner())), "cannot read the source /a: no such file");
        assert_eq!(sentence(&Outer("no such file", inner())), "cannot read the source no such file");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        use Outcome::*;
        let outcomes = [InStep, Failed, Usage, Partial, Held, NotAuthorised, NoConnection];
        assert_eq!(outcomes.map(Outcome::exit_code), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_root_is_shown_as_a_dot() {
        assert_eq!(Shown::from(RelPath::root()).to_string(), ".");
    }
}
