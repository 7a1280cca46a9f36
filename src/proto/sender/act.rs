//! What the sender's machine asks of the floor above, and what it tells it.

use super::Guess;
use crate::delta::ops::{Basis, Op};
use crate::model::{ContentHash, Leaf, RelPath, Tag, Tree};
use crate::plan::change::Change;
use crate::plan::guard::RootChange;
use crate::proto::message::{ChangeId, Down, Refusal, RefuseCode, RootId, RootState, Up};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One thing to do, in order; the answers are said at each.
#[derive(Clone, Debug)]
pub enum Action {
    Send(Up),
    /// Answered by `acknowledged`.
    LoadAcknowledged {
        root_id: RootId,
    },
    /// The destination is known to hold this tree now; a cache, to be kept when convenient.
    SaveAcknowledged {
        root_id: RootId,
        tree: Tree,
    },
    /// Read small files and symlinks whole, and compare with the hash; answered by `batch_read` with their bodies:
    /// `Whole`, or `Over` for those whose path holds a content that is named here, with its size.
    ReadBatch {
        batch: u64,
        wants: Vec<Want>,
        held: Vec<Option<(ContentHash, u64)>>,
    },
    /// Begin to compute a delta of the target's bytes from `start` on; a frame only comes when it is pulled.
    /// `hurry`: newer versions will not stop it; a snapshot of the file is to be read, where one can be made.
    OpenDelta {
        id: ChangeId,
        want: Want,
        bases: Vec<KnownBasis>,
        start: u64,
        /// No other content may be leant on: the last try was refused for that.
        alone: bool,
        hurry: bool,
    },
    /// One more frame is wanted, at most [`OP_BYTES`](crate::model::limits::OP_BYTES) of content. It
    /// may wait until the link has sent what stands before it, and whatever is to be sent meanwhile
    /// overtakes it: so a small change waits for one frame. Answered by `frame`, `finished`, `unready` or `ask`.
    Pull {
        id: ChangeId,
    },
    /// Send again, as literals, what differs from these chaining values; then `finished`.
    Repair {
        id: ChangeId,
        level: u8,
        values: Vec<[u8; 32]>,
    },
    /// The receiver's answer to a question of this transfer.
    Answer {
        id: ChangeId,
        answer: Down,
    },
    /// The transfer is over, one way or the other.
    CloseDelta {
        id: ChangeId,
    },
    /// These entries were not what the last scan said; answered by `source`, until which the pass
    /// does not end.
    Rescan {
        paths: Vec<RelPath>,
    },
    Tell(News),
    Close,
}

/// A file or symlink as the scan saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub path: RelPath,
    pub leaf: Leaf,
}

/// What the receiver holds and a delta may lean on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBasis {
    pub basis: Basis,
    /// Unknown when only a tag was listed; of a partial, that of the content that it is the beginning of.
    pub hash: Option<ContentHash>,
    /// Bytes that it has.
    pub size: u64,
}

/// Why a file of the source was not read as it was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is another by now, or gone.
    Changed,
    Unreadable(String),
}

/// A question of a transfer to the receiver; the machine numbers it. Without `of` it is about the first basis
/// that the transfer was announced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Groups {
        of: Option<Basis>,
        level: u8,
        first: u64,
        n: u32,
    },
    Signature {
        of: Option<Basis>,
        ranges: Vec<(u64, u64)>,
        block_bytes: u32,
        strong_bytes: u8,
    },
    /// Which of these chunks the destination holds; [`LIST_ITEMS`](crate::model::limits::LIST_ITEMS) at most.
    Have {
        tags: Vec<Tag>,
    },
}

/// A frame of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaFrame {
    pub at: u64,
    pub ops: Vec<Op>,
}

/// The source as it was scanned.
#[derive(Clone, Debug)]
pub struct Source {
    pub tree: Tree,
    /// Paths that could not be read: neither changed nor removed at the destination.
    pub untouched: BTreeSet<RelPath>,
    /// Whether every directory could be listed.
    pub is_listed: bool,
    /// What a running watch saw go: each with all that was below it.
    pub seen_gone: Arc<BTreeSet<RelPath>>,
    pub root: RootChange,
    /// The most entries that it had lately; never less than it has.
    pub n_lately: u64,
}

/// What the machine tells the program.
#[derive(Clone, Debug)]
pub enum News {
    Welcomed(Guess),
    Destination(RootState),
    /// A pass begins, or goes on with more: so many changes, and with what is under way so many files that are not done
    /// and bytes of these that were not sent. The changes themselves come along in a dry run, and where something is
    /// removed, as it is not seen afterwards what that was.
    Planned {
        changes: Vec<Change>,
        n_changes: u64,
        n_files: u64,
        content_bytes: u64,
    },
    /// Content bytes of a transfer that have been sent, of its size.
    Streamed {
        path: RelPath,
        target_bytes: u64,
    },
    /// Verified and durable; `existed`: something was at the path before.
    Done {
        change: Change,
        existed: bool,
    },
    Refused {
        path: RelPath,
        why: Refusal,
    },
    Unreadable {
        path: RelPath,
        why: String,
    },
    /// A removed directory stays at the destination, for the names in it that are left out.
    Stays {
        path: RelPath,
    },
    Held(String),
    /// The one pass that was allowed to delete whatever it wants is over.
    AllowanceUsed,
    /// The destination is the source, verified; or all of it that can be.
    InStep {
        root: ContentHash,
        ending: Ending,
    },
    /// The receiver refused the session or ended it.
    Ended {
        text: String,
        refused: Option<RefuseCode>,
    },
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Identical,
    /// Some entries were left out; they were named before.
    Partial,
    /// Removals wait for a word of the user.
    Held,
    /// The destination could not take everything.
    Failed,
}
