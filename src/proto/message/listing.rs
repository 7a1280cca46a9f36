//! Questions for directories, and their answers.

use super::RequestId;
use crate::delta::ops::bytes;
use crate::delta::small::{NAME_BYTES, Part, n_names};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag};
use serde::{Deserialize, Serialize};

/// A directory to be listed, whole or only the ranges that begin with these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDir {
    pub dir: RelPath,
    pub ranges: List<Name, LIST_RANGES>,
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

/// A small file whose blocks are to be named: ranges of whole blocks from its start, each with a short last
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedFile {
    pub path: RelPath,
    pub parts: List<Part, NAMED_RANGES>,
    pub block_bytes: u32,
}

impl AskedFile {
    /// Bytes of the answer.
    pub fn answer_bytes(&self) -> usize {
        self.parts.iter().map(|(_, len)| n_names(*len, self.block_bytes) * NAME_BYTES).sum()
    }
}

/// Names of blocks, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockNames(#[serde(with = "bytes")] pub Vec<u8>);
