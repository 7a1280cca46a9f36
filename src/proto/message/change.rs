//! Changes as they travel: files, packs, metadata as columns, removals.

use super::ChangeId;
use crate::delta::ops::{Basis, bytes};
use crate::delta::small::Run;
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, List, Meta, Name, RelPath, Time};
use serde::{Deserialize, Serialize};

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
    /// Literals, and copies from what the path holds.
    Runs(List<Run, RUNS>),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PutAnswer {
    Go,
    Already,
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

impl PackBody {
    /// Content bytes in it: what costs credit.
    pub fn content_bytes(&self) -> u64 {
        match self {
            PackBody::Whole(bytes) | PackBody::Over(bytes) => bytes.len() as u64,
            PackBody::Same { .. } => 0,
            PackBody::Runs(runs) => runs.iter().map(|run| run.literal.len() as u64).sum(),
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
