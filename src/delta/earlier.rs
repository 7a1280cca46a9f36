//! What of an earlier version still holds: groups that are equal at the same offset keep their chunks and blocks, and
//! a chunk that moved is expected to be followed by those that followed it.

use std::collections::HashMap;

use blake3::hazmat::ChainingValue;

use super::blocks::BlockSignature;
use super::chunks::{Chunk, ChunkMap};
use super::groups::{GroupTree, node_bytes};
use crate::model::Tag;

/// Chunks of an earlier version that are followed wherever they went; of more (8 GiB or so) only those that stayed
/// are known again.
const FOLLOWED_CHUNKS: usize = 1 << 17;

/// What is known of an earlier version of a content, as far as it is kept.
pub struct Earlier {
    groups: GroupTree,
    pub(super) signature: Option<BlockSignature>,
    chunks: Vec<(u64, Chunk)>,
    /// Where in `chunks` a name stands.
    places: HashMap<Tag, u32>,
}

impl Earlier {
    pub fn new(groups: GroupTree, signature: Option<BlockSignature>, chunks: Option<ChunkMap>) -> Self {
        let chunks: Vec<(u64, Chunk)> = chunks.map(|map| map.iter().collect()).unwrap_or_default();
        let followed = if chunks.len() > FOLLOWED_CHUNKS { &[] } else { &chunks[..] };
        let places = (0..).zip(followed).map(|(place, (_, chunk))| (chunk.tag, place)).collect();
        Self { groups, signature, chunks, places }
    }
}

/// Which groups are those of an earlier version.
#[derive(Clone, Copy)]
pub(super) struct Equal<'a> {
    pub(super) earlier: Option<&'a Earlier>,
    /// Of the target, as far as it is hashed.
    pub(super) values: &'a [ChainingValue],
    /// The level that these values are of.
    pub(super) level: u8,
}

impl Equal<'_> {
    /// Where no earlier version is known.
    pub(super) const NONE: Equal<'static> = Equal { earlier: None, values: &[], level: 0 };

    /// Whether all groups that a range touches are hashed, and equal to those of the earlier version.
    pub(super) fn holds(&self, start: u64, len: u64) -> bool {
        let Some(earlier) = self.earlier.filter(|earlier| earlier.groups.finest() == self.level) else {
            return false;
        };
        let node = node_bytes(self.level);
        let groups = (start / node) as usize..(start + len).div_ceil(node) as usize;
        match (self.values.get(groups.clone()), earlier.groups.values().get(groups)) {
            (Some(own), Some(held)) => own == held,
            _ => false,
        }
    }

    /// Whether the last whole groups, of so many bytes, are equal.
    pub(super) fn holds_last(&self, len: u64) -> bool {
        let end = self.values.len() as u64 * node_bytes(self.level);
        self.holds(end.saturating_sub(len), len.min(end))
    }

    /// The chunk of the earlier version that starts at an offset, if its bytes are equal.
    pub(super) fn chunk(&self, at: u64) -> Option<Chunk> {
        let chunks = &self.earlier?.chunks;
        let (start, chunk) = chunks[chunks.partition_point(|(start, _)| *start < at)..].first()?;
        (*start == at && self.holds(at, u64::from(chunk.len))).then_some(*chunk)
    }

    /// The chunk that followed one of this name in the earlier version: what to expect behind it. Not its last one,
    /// which the end cut.
    pub(super) fn after(&self, tag: Tag) -> Option<Chunk> {
        let earlier = self.earlier?;
        let (_, inner) = earlier.chunks.split_last()?;
        let place = *earlier.places.get(&tag)? as usize;
        inner.get(place + 1).map(|(_, chunk)| *chunk)
    }

    /// Whether chunks of the earlier version may be met again elsewhere.
    pub(super) fn may_follow(&self) -> bool {
        self.earlier.is_some_and(|earlier| !earlier.places.is_empty())
    }
}
