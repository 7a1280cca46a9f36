//! The messages of protocol version 1, as values whose bounds hold once they are decoded.
//!
//! The order of the variants is their number on the wire and never changes; a wider message is a
//! new number. Units: lengths and offsets in bytes, times as in [`Time`].

mod change;
mod greeting;
mod listing;
mod refusal;
mod text;

pub use change::*;
pub use greeting::*;
pub use listing::*;
pub use refusal::*;
pub use text::Text;

use crate::delta::ops::{Basis, Op, bytes};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, List, Meta, RelPath, Tag, Time};
use serde::{Deserialize, Serialize};

/// Protocol version that this build speaks.
pub const VERSION: u16 = 1;

/// Hash of the options that decide what is in the tree.
pub type ScopeId = [u8; 16];

/// Names a destination for ever; made when it is first used.
pub type RootId = [u8; 16];

/// Numbers a change on its connection; rises by one.
pub type ChangeId = u64;

/// Numbers a question on its connection.
pub type RequestId = u32;

/// From the sender to the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    Hello(Box<Hello>),
    /// Changes count from here; carries the root that the sender has seen, if there was one.
    Begin {
        root: Option<ContentHash>,
    },
    List {
        request: RequestId,
        dirs: List<ListDir, LIST_DIRS>,
        full: bool,
    },
    AskGroups {
        request: RequestId,
        basis: Basis,
        level: u8,
        first: u64,
        n: u32,
    },
    AskSignature {
        request: RequestId,
        basis: Basis,
        ranges: List<(u64, u64), ASK_RANGES>,
        block_bytes: u32,
        strong_bytes: u8,
    },
    AskHave {
        request: RequestId,
        tags: List<Tag, ASK_HAVE>,
    },
    Put(Box<Put>),
    Delta {
        id: ChangeId,
        at: u64,
        ops: List<Op, OPS>,
    },
    End {
        id: ChangeId,
    },
    Cancel {
        id: ChangeId,
        keep: bool,
    },
    Pack(Box<Pack>),
    MakeDir {
        id: ChangeId,
        path: RelPath,
        meta: Meta,
    },
    Link {
        id: ChangeId,
        path: RelPath,
        target: Target,
        mtime: Time,
    },
    SetMeta(Box<SetMeta>),
    Move {
        id: ChangeId,
        from: RelPath,
        to: RelPath,
        kind: Kind,
        tag: Tag,
    },
    Swap {
        id: ChangeId,
        a: RelPath,
        a_tag: Tag,
        b: RelPath,
        b_tag: Tag,
    },
    Remove {
        id: ChangeId,
        items: List<Removal, LIST_ITEMS>,
    },
    Leave {
        id: ChangeId,
        paths: List<RelPath, LIST_ITEMS>,
    },
    Check {
        request: RequestId,
        deep: bool,
    },
    Ping(u64),
    Pong(u64),
    Bye {
        code: ByeCode,
        text: Text,
    },
    /// For the names of blocks of small files; only where both ends offered `CAN_RUNS`.
    AskBlocks {
        request: RequestId,
        files: List<AskedFile, PACK_FILES>,
    },
    /// What each path names goes to the next one, what the last names to the first, in one change;
    /// only where both ends say that they [`CAN_ROTATE`].
    Rotate {
        id: ChangeId,
        ring: List<(RelPath, Tag), ROTATE_NAMES>,
    },
}

/// From the receiver to the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// Frozen for all versions: its bytes are written by `frame`, not by bincode.
    Refuse(Refuse),
    Welcome(Box<Welcome>),
    Root {
        state: RootState,
        why: RootReason,
    },
    Listing(Box<Listing>),
    Groups {
        request: RequestId,
        found: Option<ContentFound>,
        level: u8,
        first: u64,
        tags: List<Tag, ASK_GROUPS>,
    },
    Signature {
        request: RequestId,
        found: Option<ContentFound>,
        block_bytes: u32,
        strong_bytes: u8,
        range: (u64, u64),
        #[serde(with = "bytes")]
        entries: Vec<u8>,
        more: bool,
    },
    Have {
        request: RequestId,
        found: List<HaveChunk, LIST_ITEMS>,
    },
    Answer {
        id: ChangeId,
        answer: PutAnswer,
    },
    Mismatch {
        id: ChangeId,
        round: u8,
        level: u8,
        first: u64,
        values: List<[u8; 32], MISMATCH_HASHES>,
    },
    Done {
        ids: List<(ChangeId, u32), LIST_ITEMS>,
        root: Option<ContentHash>,
    },
    Refused {
        id: ChangeId,
        item: Option<u32>,
        why: Refusal,
    },
    Credit {
        grants: List<(ChangeId, u64), OPEN_TRANSFERS>,
    },
    Notice(Notice),
    Ping(u64),
    Pong(u64),
    Bye {
        code: ByeCode,
        text: Text,
    },
    /// The names of the blocks of each file that was asked for, in order; none where it is not there.
    Blocks {
        request: RequestId,
        files: List<Option<BlockNames>, PACK_FILES>,
    },
}

impl Down {
    /// The answer to a question for the signature of a basis that is not there.
    pub fn no_signature(request: RequestId, block_bytes: u32, strong_bytes: u8) -> Self {
        let (range, entries) = ((0, 0), Vec::new());
        Down::Signature { request, found: None, block_bytes, strong_bytes, range, entries, more: false }
    }
}

/// The content behind a `Basis` of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentFound {
    pub hash: ContentHash,
    pub size: u64,
}

/// Where a chunk that was asked for is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveChunk {
    pub index: u32,
    pub hash: ContentHash,
    pub offset: u64,
    pub len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    SpaceBack,
    Low {
        bytes: u64,
        inodes: u64,
    },
    KeepsChanged(Keeps),
    PartialDropped([u8; 16]),
    /// A directory that was to be removed stays, for the names in it that were set aside.
    Stays {
        path: RelPath,
    },
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByeCode {
    /// The sender has nothing more to do.
    Finished,
    /// The program was asked to end.
    Stopping,
    /// The peer broke the protocol.
    Breach,
    /// Another connection took the lease.
    Fenced,
    /// The destination cannot be used any more.
    Fault,
}

impl Up {
    /// The change's id, for messages that begin or make one.
    pub fn change_id(&self) -> Option<ChangeId> {
        match self {
            Up::Put(put) => Some(put.id),
            Up::Pack(pack) => Some(pack.id),
            Up::SetMeta(set_meta) => Some(set_meta.id),
            Up::MakeDir { id, .. }
            | Up::Link { id, .. }
            | Up::Move { id, .. }
            | Up::Swap { id, .. }
            | Up::Rotate { id, .. }
            | Up::Remove { id, .. }
            | Up::Leave { id, .. } => Some(*id),
            _ => None,
        }
    }
}

impl Up {
    /// Content bytes in it: what costs credit.
    pub fn content_bytes(&self) -> u64 {
        match self {
            Up::Delta { ops, .. } => ops.iter().map(|op| op.wire_bytes() as u64).sum(),
            Up::Pack(pack) => pack.files.iter().map(|file| file.body.content_bytes()).sum(),
            _ => 0,
        }
    }
}
