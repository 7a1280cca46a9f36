//! The messages of protocol version 1, as values whose bounds hold once they are decoded.
//!
//! The order of the variants is their number on the wire and never changes; a wider message is a
//! new number. Units: lengths and offsets in bytes, times as in [`Time`].

use crate::delta::ops::{Basis, Op, bytes};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag, Time};
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
}

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

/// A directory to be listed, whole or only the ranges that begin with these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDir {
    pub dir: RelPath,
    pub ranges: List<Name, LIST_RANGES>,
}

/// Announces a file; its `Delta` frames and an `End` follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub id: ChangeId,
    pub path: RelPath,
    pub meta: Meta,
    pub size: u64,
    pub hash: ContentHash,
    pub bases: List<Basis, PUT_BASES>,
    pub resume: Option<([u8; 16], u64)>,
    pub wait: bool,
}

/// Small files that travel together, directory by directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    pub id: ChangeId,
    pub dirs: List<PackDir, PACK_DIRS>,
    pub files: List<PackFile, PACK_FILES>,
    /// BLAKE3 over the files' content hashes in order.
    pub hash: ContentHash,
}

/// A directory of a pack: the next `n_files` files lie in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackDir {
    pub path: RelPath,
    pub meta: Option<Meta>,
    pub n_files: u32,
}

/// A file of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackFile {
    pub name: Name,
    pub meta: Meta,
    pub size: u32,
    pub body: PackBody,
}

/// Where the bytes of a packed file come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackBody {
    Whole(#[serde(with = "bytes")] Vec<u8>),
    Same {
        basis: Basis,
    },
    /// A zstd frame with what the path holds as prefix.
    Over(#[serde(with = "bytes")] Vec<u8>),
}

/// New metadata for entries of one directory, as columns; no names: for the directory itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMeta {
    pub id: ChangeId,
    pub dir: RelPath,
    pub names: List<Name, LIST_ITEMS>,
    /// (how many, mode)
    pub modes: List<(u32, u16), LIST_ITEMS>,
    /// Each as difference to the one before; the first to 0.
    pub secs: List<i64, LIST_ITEMS>,
    pub nanos: List<u32, LIST_ITEMS>,
}

/// One topmost path that goes, and how much the sender believes to be below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub path: RelPath,
    pub kind: Kind,
    pub n_below: u64,
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
    pub partials: List<PartialInfo, 64>,
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

/// A part of the answer to `List`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub request: RequestId,
    pub dir: RelPath,
    /// Directory hash, when it is known whole.
    pub hash: Option<ContentHash>,
    pub n_below: u64,
    pub body: ListingBody,
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingBody {
    Ranges(List<RangeInfo, LIST_ITEMS>),
    Entries(List<EntryInfo, LIST_ITEMS>),
    Missing,
}

/// A run of names of a large directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeInfo {
    pub first: Name,
    pub tag: Tag,
    pub n: u32,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
    pub name: Name,
    pub kind: Kind,
    pub meta: Meta,
    pub size: u64,
    pub hash: EntryHash,
    /// Entries below a directory.
    pub n_below: u64,
}

/// As much of a hash as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryHash {
    Tag(Tag),
    Full(ContentHash),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PutAnswer {
    Go,
    Already,
}

/// Why a change was not made, or an item of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    BasisGone { index: u32 },
    Drifted { tag: Tag },
    MoreThanSaid { n: u64 },
    NoParent,
    WrongKind,
    NotEmpty,
    NameTaken { by: Name },
    NameUnfit,
    KindUnfit,
    CannotKeep,
    OtherDevice,
    NoSpace { need: u64, free: u64 },
    NoInodes,
    Quota,
    ReadOnly,
    Io { errno: i32 },
    HashDiffers,
    Rights,
    Limit,
    Cancelled,
}

/// What a sender does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The trees are not what the sender believes: look again, plan again.
    Compare,
    /// Send it again without a basis.
    WithoutBasis,
    /// Said once, exit 3; offered again when it changes.
    Exception,
    /// The destination is full: wait for space.
    WaitForSpace,
    /// The destination has a fault: again after a while.
    Again,
    /// Nothing: the sender itself gave it up.
    Nothing,
}

impl Refusal {
    /// What follows from it.
    pub fn next_step(&self) -> NextStep {
        match self {
            Refusal::Drifted { .. }
            | Refusal::MoreThanSaid { .. }
            | Refusal::NoParent
            | Refusal::WrongKind
            | Refusal::NotEmpty => NextStep::Compare,
            Refusal::BasisGone { .. } => NextStep::WithoutBasis,
            Refusal::NameTaken { .. }
            | Refusal::NameUnfit
            | Refusal::KindUnfit
            | Refusal::CannotKeep
            | Refusal::OtherDevice
            | Refusal::HashDiffers
            | Refusal::Rights
            | Refusal::Limit => NextStep::Exception,
            Refusal::NoSpace { .. } | Refusal::NoInodes | Refusal::Quota => NextStep::WaitForSpace,
            Refusal::ReadOnly | Refusal::Io { .. } => NextStep::Again,
            Refusal::Cancelled => NextStep::Nothing,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Refusal::BasisGone { .. } => write!(f, "the version it was based on is gone there"),
            Refusal::Drifted { .. } => write!(f, "it was changed at the destination meanwhile"),
            Refusal::MoreThanSaid { n } => write!(f, "there are {n} entries below it, more than expected"),
            Refusal::NoParent => write!(f, "its directory is missing at the destination"),
            Refusal::WrongKind => write!(f, "something of another kind has its name at the destination"),
            Refusal::NotEmpty => write!(f, "the directory is not empty at the destination"),
            Refusal::NameTaken { by } => write!(f, "the destination does not tell its name from `{by}`"),
            Refusal::NameUnfit => write!(f, "the destination cannot store its name"),
            Refusal::KindUnfit => write!(f, "the destination cannot store entries of its kind"),
            Refusal::CannotKeep => write!(f, "the destination did not keep its mode or time"),
            Refusal::OtherDevice => write!(f, "another file system is mounted there at the destination"),
            Refusal::NoSpace { need: 0, .. } => write!(f, "the destination's disk is full"),
            Refusal::NoSpace { need, free } => {
                write!(f, "the destination's disk is full ({need} bytes needed, {free} free)")
            }
            Refusal::NoInodes => write!(f, "the destination's disk has no room for more files"),
            Refusal::Quota => write!(f, "the quota at the destination is used up"),
            Refusal::ReadOnly => write!(f, "the destination is read-only"),
            Refusal::Io { errno } => {
                write!(f, "the destination's disk failed: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Refusal::HashDiffers => write!(f, "what arrived did not match its hash after every repair"),
            Refusal::Rights => write!(f, "this client has no right to change it"),
            Refusal::Limit => write!(f, "it is beyond a limit of the destination"),
            Refusal::Cancelled => write!(f, "it was given up"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    SpaceBack,
    Low { bytes: u64, inodes: u64 },
    KeepsChanged(Keeps),
    PartialDropped([u8; 16]),
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

/// At most 512 bytes of UTF-8 for people; control characters are escaped when it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Takes a text, cut at 512 bytes.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].to_owned())
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        crate::model::path::write_escaped(self.0.as_bytes(), f)
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > TEXT_BYTES {
            return Err(serde::de::Error::custom("a text is too long"));
        }
        Ok(Self(text))
    }
}

/// The target of a symlink: 1 to 4,095 bytes without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Target(#[serde(with = "bytes")] Vec<u8>);

impl Target {
    /// Checks and takes the bytes of a target.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let fits = (1..=LINK_TARGET_BYTES).contains(&bytes.len()) && !bytes.contains(&0);
        fits.then_some(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let target = bytes::deserialize(deserializer)?;
        Self::parse(target).ok_or_else(|| serde::de::Error::custom("a symlink's target is unfit"))
    }
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

impl PackBody {
    fn content_bytes(&self) -> u64 {
        match self {
            PackBody::Whole(bytes) | PackBody::Over(bytes) => bytes.len() as u64,
            PackBody::Same { .. } => 0,
        }
    }
}

impl SetMeta {
    /// New metadata of these entries of a directory, as columns.
    pub fn of(id: ChangeId, dir: RelPath, rows: &[(Name, Meta)]) -> Self {
        let mut modes: Vec<(u32, u16)> = Vec::new();
        let mut secs = Vec::with_capacity(rows.len());
        let mut before = 0i64;
        for (_, meta) in rows {
            match modes.last_mut() {
                Some((n, mode)) if *mode == meta.mode => *n += 1,
                _ => modes.push((1, meta.mode)),
            }
            secs.push(meta.mtime.secs.wrapping_sub(before));
            before = meta.mtime.secs;
        }
        Self {
            id,
            dir,
            names: List::new(rows.iter().map(|(name, _)| name.clone()).collect()),
            modes: List::new(modes),
            secs: List::new(secs),
            nanos: List::new(rows.iter().map(|(_, meta)| meta.mtime.nanos).collect()),
        }
    }

    /// The columns as rows; `None` when they do not fit together or a row is not valid.
    pub fn rows(&self) -> Option<Vec<(Option<Name>, Meta)>> {
        let n = self.names.len().max(1);
        let n_modes: u64 = self.modes.iter().map(|(run, _)| u64::from(*run)).sum();
        if self.secs.len() != n || self.nanos.len() != n || n_modes != n as u64 {
            return None;
        }
        let modes = self.modes.iter().flat_map(|&(run, mode)| std::iter::repeat_n(mode, run as usize));
        let mut secs = 0i64;
        let mut rows = Vec::with_capacity(n);
        for (index, mode) in modes.enumerate() {
            secs = secs.wrapping_add(self.secs[index]);
            let meta = Meta { mode, mtime: Time { secs, nanos: self.nanos[index] } };
            if !meta.is_valid() {
                return None;
            }
            rows.push((self.names.get(index).cloned(), meta));
        }
        Some(rows)
    }
}
