//! One pass over a content: content hash, group tree, chunk map and block signature from the same bytes.
//!
//! Sits where contents are first seen (scan at the sender, stage at the receiver). Where an earlier version
//! is known, what hangs on groups that are equal at the same offset is carried over: then only what changed
//! is cut into chunks and blocks. Memory is bounded by what it makes: 32 bytes a group, 12 bytes a chunk and
//! 10 bytes a block. Huge contents have larger groups, and at a sender then no chunk map, then no signature.

use blake3::hazmat::ChainingValue;

pub use super::earlier::Earlier;
pub use super::entries::Reread;

use super::blocks::{BlockSignature, block_bytes_for};
use super::chunks::{ChunkMap, Cutter};
use super::cores::{both, n_cores};
use super::earlier::Equal;
use super::entries::{Blocks, SPREAD_BYTES};
use super::groups::{GroupTree, kept_level, node_bytes};
use super::hashed::HashedGroups;
use crate::model::ContentHash;
use crate::model::limits::{GIB, PACK_FILE_BYTES};

/// Contents up to here are signed by a receiver: 42 MB of entries, held while one comes in.
const SIGNED_BYTES: u64 = 16 * GIB;
/// Contents up to here get a chunk map from a sender: some 15 MB, and 25 MB of the earlier version to compare with.
const CHUNKED_BYTES: u64 = 64 * GIB;
/// Contents up to here are signed by a sender: 21 MB, twice. Of larger ones it asks for the ranges that it needs.
const SENDER_SIGNED_BYTES: u64 = 128 * GIB;

/// What is known of a content after one pass over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentIndex {
    pub hash: ContentHash,
    pub size: u64,
    /// None up to `PACK_FILE_BYTES`, which is one group, nor where a content that was expected to be huge is one
    /// group of the huge.
    pub groups: Option<GroupTree>,
    /// None up to `PACK_FILE_BYTES`, when only the hash was asked for, or where too much was not seen.
    pub signature: Option<BlockSignature>,
    /// None up to `PACK_FILE_BYTES`, or when not asked for.
    pub chunks: Option<ChunkMap>,
}

/// Indexes a content that comes in pieces of any length, in order.
pub struct Indexer {
    size: u64,
    hashed: HashedGroups,
    kept: Option<Kept>,
}

/// What is made beside hash and group tree.
struct Kept {
    blocks: Blocks,
    /// None at a receiver.
    cutter: Option<Cutter>,
    earlier: Option<Earlier>,
}

impl Indexer {
    /// Starts a pass; the expected size chooses the block size and need not be right.
    pub fn new(expected_size: u64) -> Self {
        Self::over(expected_size, None)
    }

    /// Starts a pass over what may be a later version of a content.
    pub fn over(expected_size: u64, earlier: Option<Earlier>) -> Self {
        Self::at_level(kept_level(expected_size), expected_size, earlier)
    }

    /// The same with groups of a level.
    pub(super) fn at_level(level: u8, expected_size: u64, earlier: Option<Earlier>) -> Self {
        let kept = (expected_size <= SENDER_SIGNED_BYTES).then(|| Kept {
            blocks: Blocks::new(block_bytes_for(expected_size)),
            cutter: (expected_size <= CHUNKED_BYTES).then(Cutter::default),
            earlier,
        });
        Self { size: 0, hashed: HashedGroups::resume(level, Vec::new()), kept }
    }

    /// Starts a pass for hash, group tree and block signature: what a receiver keeps. No signature of a content
    /// that is small or huge.
    pub fn signing(expected_size: u64, earlier: Option<Earlier>) -> Self {
        if !(PACK_FILE_BYTES + 1..=SIGNED_BYTES).contains(&expected_size) {
            return Self::hash_only(expected_size);
        }
        let blocks = Blocks::new(block_bytes_for(expected_size));
        Self { kept: Some(Kept { blocks, cutter: None, earlier }), ..Self::hash_only(expected_size) }
    }

    /// Starts a pass for hash and group tree only.
    pub fn hash_only(expected_size: u64) -> Self {
        Self::resume(expected_size, Vec::new())
    }

    /// Goes on behind whole groups of which only the values are known, of the level that is kept of such a content; for
    /// hash and group tree alone.
    pub fn resume(expected_size: u64, values: Vec<ChainingValue>) -> Self {
        let level = kept_level(expected_size);
        let size = values.len() as u64 * node_bytes(level);
        Self { size, hashed: HashedGroups::resume(level, values), kept: None }
    }

    /// Values of the whole groups so far, but for the one that [`Indexer::open_value`] gives.
    pub fn values(&self) -> &[ChainingValue] {
        self.hashed.values()
    }

    /// Value of the last group, if it is whole and still open: more may come, or it may be all.
    pub fn open_value(&self) -> Option<ChainingValue> {
        self.hashed.open_value()
    }

    /// Takes the next bytes. Large pieces are worked on by all cores: from 1 MiB on where blocks get entries, from 4 MiB
    /// on where they are hashed alone.
    pub fn update(&mut self, bytes: &[u8]) {
        let n_cores = n_cores();
        self.size += bytes.len() as u64;
        self.hashed.update(bytes, n_cores);
        if let Some(kept) = &mut self.kept {
            kept.update(bytes, &self.hashed, n_cores);
        }
    }

    /// Takes the next bytes, whole groups from a border of groups on, but not the first: their values were computed
    /// elsewhere. Large pieces are worked on by all cores where blocks get entries.
    pub fn update_hashed(&mut self, bytes: &[u8], values: &[ChainingValue]) {
        debug_assert!(self.size > 0 && self.size.is_multiple_of(self.group_bytes()));
        self.size += bytes.len() as u64;
        self.hashed.carry(values);
        if let Some(kept) = &mut self.kept {
            kept.update(bytes, &self.hashed, n_cores());
        }
    }

    /// Bytes of a group.
    pub fn group_bytes(&self) -> u64 {
        node_bytes(self.hashed.level())
    }

    /// Whether only hashes are made of what comes now, as of what came last: it is what the earlier version has.
    pub fn is_as_earlier(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| {
            let equal = equal(&kept.earlier, &self.hashed);
            kept.earlier.is_some() && (equal.values.is_empty() || equal.holds_last(1))
        })
    }

    /// Takes `len` zeros, a hole of the source, without a byte of memory for them. Long ones are worked on by all
    /// cores; their blocks all have one entry, and their chunks one name.
    pub fn update_zeros(&mut self, len: u64) {
        self.size += len;
        if let Some(kept) = &mut self.kept {
            kept.zeros(len, &self.hashed);
        }
        self.hashed.zeros(len);
    }

    /// Takes `len` bytes by the values of their groups, which were computed earlier of the same bytes at the same
    /// offset. For a pass without a chunk map, over a content of more than one group.
    ///
    /// # Panics
    /// When they do not start at a border of groups, or are not as many groups as `len` bytes have.
    pub fn carry(&mut self, values: &[ChainingValue], len: u64) {
        assert!(self.kept.as_ref().is_none_or(|kept| kept.cutter.is_none()), "chunks need the bytes");
        let group = node_bytes(self.hashed.level());
        assert!(self.size.is_multiple_of(group), "groups are carried over whole");
        assert_eq!(values.len() as u64, len.div_ceil(group));
        self.size += len;
        self.hashed.carry(values);
        if let Some(kept) = &mut self.kept {
            kept.skip(len, &self.hashed);
        }
    }

    /// Ends the pass.
    pub fn finish(self) -> ContentIndex {
        self.finish_rereading(&mut |_, _| false)
    }

    /// Ends the pass; blocks of which not all bytes were seen are read with `reread`.
    pub fn finish_rereading(mut self, reread: &mut Reread) -> ContentIndex {
        let size = self.size;
        if size <= PACK_FILE_BYTES || self.hashed.is_one() {
            let hash = self.hashed.only_hash();
            return ContentIndex { hash, size, groups: None, signature: None, chunks: None };
        }
        self.hashed.close_open();
        let (mut signature, mut chunks) = (None, None);
        if let Some(kept) = self.kept.take() {
            (signature, chunks) = kept.finish(size, &self.hashed, reread);
        }
        let values = self.hashed.into_values();
        let groups = GroupTree::from_values(size, values).expect("a value for each group");
        ContentIndex { hash: groups.root(), size, groups: Some(groups), signature, chunks }
    }
}

fn equal<'a>(earlier: &'a Option<Earlier>, hashed: &'a HashedGroups) -> Equal<'a> {
    Equal { earlier: earlier.as_ref(), values: hashed.values(), level: hashed.level() }
}

impl Kept {
    /// Takes the next bytes, whose whole groups are hashed.
    fn update(&mut self, bytes: &[u8], hashed: &HashedGroups, n_cores: usize) {
        let Self { blocks, cutter, earlier } = self;
        let equal = equal(earlier, hashed);
        let Some(cutter) = cutter else { return blocks.update(bytes, n_cores, equal) };
        let is_new = !equal.holds_last(bytes.len() as u64);
        let is_worth = n_cores > 1 && bytes.len() >= SPREAD_BYTES && is_new;
        // One core cuts chunks meanwhile.
        let block_cores = (n_cores - 1).max(1);
        let cut = || cutter.update(bytes, n_cores, equal);
        both(is_worth, || blocks.update(bytes, block_cores, equal), cut);
    }

    fn zeros(&mut self, len: u64, hashed: &HashedGroups) {
        self.blocks.zeros(len, equal(&self.earlier, hashed));
        if let Some(cutter) = &mut self.cutter {
            cutter.zeros(len);
        }
    }

    /// Passes over bytes that are not seen.
    fn skip(&mut self, len: u64, hashed: &HashedGroups) {
        self.blocks.skip(len, equal(&self.earlier, hashed));
    }

    fn finish(
        self,
        size: u64,
        hashed: &HashedGroups,
        reread: &mut Reread,
    ) -> (Option<BlockSignature>, Option<ChunkMap>) {
        let chunks = self.cutter.map(|cutter| cutter.finish(equal(&self.earlier, hashed)));
        (self.blocks.finish(size, reread), chunks)
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
