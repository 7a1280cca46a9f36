//! What the two programs say while they work: plain data, told to a `Report`.
//!
//! The programs never print and never format for people; the command line does (`cli/report.rs`,
//! `cli/json.rs`). Events are serialised under the names they have here: changing a name or the meaning
//! of a field changes what `--json` promises (`docs/operations.md`).

pub use super::status::{Stand, Status};
use crate::model::path::write_escaped;
use crate::model::{Kind, RelPath};
use serde::{Serialize, Serializer};
use std::error::Error;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// The bytes of a path that is told about; shown escaped.
///
/// Wider than `RelPath` on purpose: a path that is too long or too deep must be named too.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(Vec<u8>);

impl Shown {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&RelPath> for Shown {
    fn from(path: &RelPath) -> Self {
        Self(path.as_path().as_os_str().as_bytes().to_vec())
    }
}

impl From<RelPath> for Shown {
    fn from(path: RelPath) -> Self {
        Self::from(&path)
    }
}

impl From<&Path> for Shown {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Shown {
    /// The exact text where the bytes are UTF-8, else escaped (`cli/json.rs` then adds the bytes).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_str(self),
        }
    }
}

/// One change of the destination, made or planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Create {
        kind: What,
        path: Shown,
        size_bytes: u64,
    },
    /// New content, or a new target of a symlink.
    Update {
        kind: What,
        path: Shown,
        size_bytes: u64,
    },
    Meta {
        path: Shown,
    },
    Move {
        from: Shown,
        path: Shown,
    },
    /// Two names exchange what they hold.
    Swap {
        from: Shown,
        path: Shown,
    },
    /// `entries_below` is 0 but for directories.
    Remove {
        kind: What,
        path: Shown,
        entries_below: u64,
    },
}

/// A kind of entry, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    File,
    Dir,
    Link,
}

impl From<Kind> for What {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => What::File,
            Kind::Dir => What::Dir,
            Kind::Link => What::Link,
        }
    }
}

/// How far a pass is. All but the rates' base only grow within one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub files_done: u64,
    pub files_total: u64,
    /// Bytes of content that are in step, and of all that changed, as they lie in the files.
    pub content_done: u64,
    pub content_total: u64,
    /// Bytes on the wire of this pass, both directions.
    pub wire_sent: u64,
    pub wire_received: u64,
}

/// How far the destination is behind a source that is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Changes that are not there yet.
    pub changes: u64,
    /// Content of these that was not sent, as it lies in the files: the wire takes less.
    pub content_bytes: u64,
    /// How long the oldest of them has been waiting.
    pub oldest_ms: u64,
}

/// What a scan of the source found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scanned {
    pub files: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Names left out: beginning with a dot, matching a pattern, neither file, directory nor symlink.
    pub hidden: u64,
    pub excluded: u64,
    pub special: u64,
    /// Entries that could not be read; each was `Skipped`.
    pub unreadable: u64,
}

/// One pass, when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What the source holds within the scope.
    pub files: u64,
    pub dirs: u64,
    pub links: u64,
    /// What this pass did at the destination: contents new or renewed, renames, removals, metadata alone.
    pub changed: u64,
    pub moved: u64,
    pub deleted: u64,
    pub metadata: u64,
    /// Bytes of the files that changed, as they lie there now.
    pub content_bytes: u64,
    pub wire_sent: u64,
    pub wire_received: u64,
    /// How the files that are not packed were made.
    #[serde(flatten)]
    pub found: Found,
    /// Bytes of content that did not have to travel: `content_bytes` less `wire_sent`, never below 0.
    pub saved: u64,
    /// Content of large files, and number of small ones, that travelled as differences to copies in the shadow;
    /// the bytes of these differences; what the shadow takes on the disk.
    pub prefix_target: u64,
    pub prefix_files: u64,
    pub prefix_wire: u64,
    pub shadow_bytes: u64,
    pub hidden: u64,
    pub excluded: u64,
    pub special: u64,
    /// Entries that are not in step and were named: above 0 means exit 3.
    pub partial: u64,
    /// Set by a dry run, which did nothing: how many changes it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<u64>,
    /// Why deletes wait: set means exit 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    pub elapsed_ms: u64,
    /// The root hash both sides agree on, in hex; empty while they do not.
    pub root: String,
}

/// Bytes of the new versions of large files, by what found them at the destination; what nothing found is
/// literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Groups of 64 KiB that stand in their place.
    pub by_groups: u64,
    /// Chunks, wherever and in whichever content they stand.
    pub by_chunks: u64,
    /// Blocks at any offset.
    pub by_blocks: u64,
    /// Long runs of zeros.
    pub zeros: u64,
    pub literal: u64,
}

/// What a receiver took in one stretch of work, until it was in step again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    pub client: String,
    pub changed: u64,
    pub moved: u64,
    pub deleted: u64,
    pub metadata: u64,
    pub wire_received: u64,
    pub wire_sent: u64,
    pub elapsed_ms: u64,
    pub root: String,
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
