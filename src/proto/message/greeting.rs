//! The greeting and the state of the receiver: who is there, what it keeps, how far it is.

use super::{RequestId, RootId, ScopeId, Text};
use crate::delta::ops::bytes;
use crate::model::limits::*;
use crate::model::{ContentHash, List, Meta, RelPath};
use serde::{Deserialize, Serialize};

/// Capability: op Prefix may be sent.
pub const CAN_PREFIX: u64 = 1 << 0;
/// Capability: body Over may be sent.
pub const CAN_OVER: u64 = 1 << 1;
/// Capability: `AskBlocks` and body Runs may be sent.
pub const CAN_RUNS: u64 = 1 << 2;
/// Capability: `Rotate` may be sent.
pub const CAN_ROTATE: u64 = 1 << 3;
/// Capability: a large directory may be listed by its ranges, and ranges be asked for.
pub const CAN_RANGES: u64 = 1 << 4;
/// What this build takes, as either end.
pub const CAPABILITIES: u64 = CAN_PREFIX | CAN_OVER | CAN_RUNS | CAN_ROTATE | CAN_RANGES;

/// What a sender is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Sends changes; holds the lease.
    Push,
    /// Asks and compares, sends no change.
    Plan,
    Audit,
    Pull,
}

/// The sender's greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub capabilities: u64,
    /// Kept from start to start.
    pub client: [u8; 16],
    /// New at each start.
    pub process: [u8; 16],
    pub name: Text,
    /// Empty: the default root.
    pub root_name: Text,
    pub role: Role,
    pub scope: ScopeId,
    pub keeps: Option<Keeps>,
    /// Oldest scan of the destination that the sender accepts.
    pub fresh_ms: u64,
    /// Changes that follow at once count only for this root id and this root.
    pub ahead: Option<(RootId, ContentHash)>,
    pub ticket: Option<[u8; 16]>,
    pub extra: List<Extra, EXTRAS>,
}

/// A field that this version does not know; keys from 0x8000 on must be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    pub key: u16,
    #[serde(with = "bytes")]
    pub value: Vec<u8>,
}

impl Extra {
    /// In `Hello`, 16 bytes that name the source; in `Welcome`, those of the source that this
    /// destination last took removals from. Both may be missing.
    pub const SOURCE: u16 = 1;

    /// A list with the name of a source, or an empty one.
    pub fn of_source(id: Option<[u8; 16]>) -> List<Self, EXTRAS> {
        let extra = id.map(|id| Self { key: Self::SOURCE, value: id.to_vec() });
        List::new(extra.into_iter().collect())
    }

    /// The name of a source among extra fields.
    pub fn source_in(extras: &[Self]) -> Option<[u8; 16]> {
        let extra = extras.iter().find(|extra| extra.key == Self::SOURCE)?;
        extra.value.as_slice().try_into().ok()
    }
}

/// What a destination can keep of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// Times are rounded down to a multiple of this.
    pub time_step_ns: u32,
    pub mode_mask: u16,
    pub symlinks: bool,
    pub folds_case: bool,
    pub name_bytes: u16,
}

impl Keeps {
    /// A file system of Linux: everything.
    pub const ALL: Keeps = Keeps {
        time_step_ns: 1,
        mode_mask: Meta::MODE_MASK,
        symlinks: true,
        folds_case: false,
        name_bytes: 255,
    };
}

/// Frozen for all versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    pub code: RefuseCode,
    pub lowest: u16,
    pub highest: u16,
    pub text: Text,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseCode {
    Version,
    NotAuthorised,
    Busy,
    NoSuchRoot,
    Rights,
    Limit,
}

/// The receiver's greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub capabilities: u64,
    pub root_id: RootId,
    pub lease: u64,
    pub keeps: Keeps,
    pub rights: u8,
    /// Content bytes that may be under way, `FIRST_CREDIT_BYTES` included.
    pub credit: u64,
    pub partials: List<PartialInfo, PARTIALS>,
    pub open_transfers: u16,
    pub unacknowledged: u32,
    pub extra: List<Extra, EXTRAS>,
}

/// What came of a transfer that was broken off earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialInfo {
    pub name: [u8; 16],
    pub hash: ContentHash,
    pub size: u64,
    pub have: u64,
    pub path: RelPath,
}

/// What the receiver knows of its own tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootState {
    /// It walks: nothing can be asked yet.
    Walking {
        done: u64,
    },
    /// It hashes contents that it does not know: directories can be listed, changes sent.
    Hashing {
        done: u64,
        total: u64,
    },
    Complete {
        root: ContentHash,
        entries: u64,
        age_ms: u64,
        unreadable: u64,
    },
}

/// Why a root is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootReason {
    Greeting,
    Drift,
    Check(RequestId),
}
