//! What the receiver's machine asks of the disk.

use crate::delta::ops::{Op, PartialName};
use crate::model::{ContentHash, Kind, Leaf, Meta, RelPath, Tag, Time, Tree};
use crate::proto::message::{AskedFile, ChangeId, Down, PackBody, Refusal, RequestId, Target};
use std::collections::BTreeSet;

/// One thing to do. The disk does them in order and answers as said at each.
#[derive(Clone, Debug)]
pub enum Action {
    Send(Down),
    /// Walk the destination; answered by `walked`, then `hashed` for each content that was not
    /// known, then `hashed_all` if there were any. `deep`: believe no known hash.
    /// `skip`: names set aside, not to be hashed.
    Walk {
        deep: bool,
        skip: BTreeSet<RelPath>,
    },
    /// Hash these directories' files before others.
    HashFirst {
        dirs: Vec<RelPath>,
    },
    /// Open a stage and the bases of a transfer; a failure is answered by `staged`. `resume`: the stage is
    /// this partial, cut to so many bytes; when it is gone that is `BasisGone` of [`RESUMED`].
    Open {
        id: ChangeId,
        offer: Offer,
        bases: Vec<BasisRef>,
        resume: Option<(PartialName, u64)>,
    },
    /// Open one more basis of a transfer.
    AddBasis {
        id: ChangeId,
        basis: BasisRef,
    },
    /// Write ops from a target offset on; answered by `written` with the same number of bytes.
    Write {
        id: ChangeId,
        at: u64,
        ops: Vec<Op>,
        wire_bytes: u64,
    },
    /// Hash what was staged and compare; answered by `staged` or `mismatched`.
    Seal {
        id: ChangeId,
        hash: ContentHash,
    },
    /// Stage small files and compare their one hash; answered by `written` and `pack_staged`.
    StagePack {
        id: ChangeId,
        files: Vec<PackedFile>,
        hash: ContentHash,
        wire_bytes: u64,
    },
    /// Throw away what was staged for a change.
    Drop {
        id: ChangeId,
    },
    /// A transfer was given up: what came of it stays as the partial `Sent(id)`.
    Keep {
        id: ChangeId,
    },
    /// Throw away a partial that nobody needs any more.
    Forget {
        of: PartialName,
    },
    /// Make these steps in order, then set the metadata of these directories (deepest first), and
    /// make all durable; answered by `committed`, one result for each step.
    Commit {
        steps: Vec<Step>,
        dirs: Vec<(RelPath, Meta)>,
    },
    /// Answer a question about a content; by `answered`, in as many parts as are needed.
    Ask(Question),
    /// Keep the names that are set aside.
    SaveLeft(BTreeSet<RelPath>),
    Close,
}

/// Index in `BasisGone` that means the partial to be resumed, not one of the bases.
pub const RESUMED: u32 = u32::MAX;

/// What a transfer is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub path: RelPath,
    pub size: u64,
    pub hash: ContentHash,
}

/// Where the disk finds a basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasisRef {
    /// A file of the destination.
    File { path: RelPath, leaf: Leaf },
    /// The first `len` bytes of what came of a transfer of the content `hash`.
    Partial { of: PartialName, len: u64, hash: ContentHash },
}

impl BasisRef {
    /// Bytes that it has.
    pub fn size(&self) -> u64 {
        match self {
            BasisRef::File { leaf, .. } => leaf.size,
            BasisRef::Partial { len, .. } => *len,
        }
    }

    /// Hash of the file, or of the content that a partial is the beginning of.
    pub fn hash(&self) -> Option<ContentHash> {
        match self {
            BasisRef::File { leaf, .. } => leaf.content.whole(),
            BasisRef::Partial { hash, .. } => Some(*hash),
        }
    }
}

/// A small file to be staged.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedFile {
    pub meta: Meta,
    pub size: u32,
    pub body: PackBody,
    /// For a body that is the same as a basis.
    pub basis: Option<BasisRef>,
}

/// Names a staged file: the change, and which file of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    pub id: ChangeId,
    pub index: u32,
}

/// What the machine believes to be at a path before a step; something else is drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Nothing,
    Leaf(Leaf),
    Dir,
}

/// One operation on the tree of the destination.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Install {
        staged: Staged,
        path: RelPath,
        meta: Meta,
        expect: Expect,
    },
    MakeDir {
        path: RelPath,
        meta: Meta,
    },
    Link {
        path: RelPath,
        target: Target,
        mtime: Time,
        expect: Expect,
    },
    SetMeta {
        path: RelPath,
        kind: Kind,
        meta: Meta,
    },
    Move {
        from: RelPath,
        to: RelPath,
        moved: Expect,
        replaced: Expect,
    },
    /// What each path names goes to the next one, what the last names to the first: two or more.
    /// Between, a path is absent or what it was or shall be; of two, never absent.
    Rotate {
        ring: Vec<RelPath>,
    },
    Remove {
        path: RelPath,
        expect: Expect,
    },
}

/// What became of a group.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One for each step.
    pub results: Vec<Result<(), Refusal>>,
    /// Why all of the group counts as refused, also a change that takes no step, as the new time of a directory.
    pub refused: Option<Refusal>,
    /// A step that is told as refused was made all the same, or half of it: what stands there is not known.
    pub is_uncertain: bool,
}

/// A question about contents that the destination holds.
#[derive(Clone, Debug)]
pub enum Question {
    Groups {
        request: RequestId,
        basis: BasisRef,
        level: u8,
        first: u64,
        n: u32,
    },
    Signature {
        request: RequestId,
        basis: BasisRef,
        ranges: Vec<(u64, u64)>,
        block_bytes: u32,
        strong_bytes: u8,
    },
    /// Names of the blocks of small files; none for one that is not there.
    Blocks {
        request: RequestId,
        files: Vec<(Option<BasisRef>, AskedFile)>,
    },
    /// Where these chunks stand in the files of a tree.
    Have {
        request: RequestId,
        tags: Vec<Tag>,
        tree: Tree,
    },
}

/// The result of a walk.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    pub tree: Tree,
    pub n_unreadable: u64,
    pub bytes_to_hash: u64,
}
