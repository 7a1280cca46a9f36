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
        self.hashed.close();
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
mod tests {
    use super::*;
    use crate::delta::blocks::{KEPT_STRONG_BYTES, RangeSignature};
    use crate::model::limits::{GROUP_BYTES, MIB};

    fn content(size: usize) -> Vec<u8> {
        (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn indexed(bytes: &[u8], piece_bytes: usize) -> ContentIndex {
        let mut indexer = Indexer::new(bytes.len() as u64);
        bytes.chunks(piece_bytes).for_each(|piece| indexer.update(piece));
        indexer.finish()
    }

    #[test]
    fn pieces_of_any_length_give_what_the_whole_gives() {
        for size in [GROUP_BYTES + 1, GROUP_BYTES * 2, 3 * MIB + 777] {
            let bytes = content(size);
            let whole = ContentIndex {
                hash: ContentHash::of(&bytes),
                size: size as u64,
                groups: GroupTree::compute(&bytes),
                signature: Some(RangeSignature::compute(0, &bytes, 509, KEPT_STRONG_BYTES)),
                chunks: Some(ChunkMap::compute(&bytes)),
            };
            for piece_bytes in [37, 509, 1000, GROUP_BYTES, GROUP_BYTES + 1, MIB + 5, 4 * MIB] {
                assert_eq!(indexed(&bytes, piece_bytes), whole, "{size} bytes in pieces of {piece_bytes}");
            }
        }
    }

    #[test]
    fn one_group_has_a_hash_only() {
        for size in [0, 1, 1024, GROUP_BYTES - 1, GROUP_BYTES] {
            let bytes = content(size);
            for piece_bytes in [999, GROUP_BYTES] {
                let index = indexed(&bytes, piece_bytes);
                assert_eq!(index.hash, ContentHash::of(&bytes), "{size} bytes");
                assert_eq!((index.groups, index.signature, index.chunks), (None, None, None));
            }
        }
    }

    #[test]
    fn groups_taken_by_their_values_are_signed_by_the_earlier_version_and_at_their_edges_read() {
        let old = content(4 * MIB + 777);
        let mut new = old.clone();
        new[MIB + 5] ^= 1;
        new[3 * MIB..3 * MIB + 9_000].fill(7);
        let expected = RangeSignature::compute(0, &new, 509, KEPT_STRONG_BYTES);
        let values = GroupTree::compute(&new).unwrap().values().to_vec();
        let pass = |earlier| {
            let mut indexer = Indexer::signing(new.len() as u64, earlier);
            let mut n_reread = 0;
            for (group, bytes) in new.chunks(GROUP_BYTES).enumerate() {
                match group {
                    16 | 48 => indexer.update(bytes),
                    _ => indexer.carry(&values[group..=group], bytes.len() as u64),
                }
            }
            let index = indexer.finish_rereading(&mut |at, buffer| {
                n_reread += buffer.len();
                buffer.copy_from_slice(&new[at as usize..][..buffer.len()]);
                true
            });
            assert_eq!(index.hash, ContentHash::of(&new));
            assert_eq!(index.signature, Some(expected.clone()));
            assert_eq!(index.chunks, None);
            n_reread
        };
        let known = indexed(&old, MIB);
        let earlier = Earlier::new(known.groups.unwrap(), known.signature, None);
        // Two edges at each of two groups, and the short end.
        let unit = 8 * 509;
        assert_eq!(pass(Some(earlier)), 4 * unit + new.len() % unit);
        let n_seen_units = 2 * (GROUP_BYTES / unit - 1);
        assert!((new.len() - pass(None)).abs_diff(n_seen_units * unit) <= 2 * unit, "all but what it saw");
    }

    #[test]
    fn a_pass_is_as_an_earlier_version_was_until_a_group_differs() {
        let (old, mut new) = (content(4 * GROUP_BYTES), content(4 * GROUP_BYTES));
        new[2 * GROUP_BYTES + 1] ^= 1;
        let known = indexed(&old, MIB);
        let earlier = Earlier::new(known.groups.unwrap(), known.signature, known.chunks);
        let mut indexer = Indexer::over(new.len() as u64, Some(earlier));
        // A group counts when the next begins.
        for is_as_earlier in [true, true, true, false] {
            assert_eq!(indexer.is_as_earlier(), is_as_earlier);
            let n_seen = indexer.size as usize;
            indexer.update(&new[n_seen..n_seen + GROUP_BYTES]);
        }
        assert!(!Indexer::new(0).is_as_earlier() && Indexer::hash_only(0).is_as_earlier());
    }

    #[test]
    fn without_what_was_not_seen_there_is_no_signature() {
        let bytes = content(3 * GROUP_BYTES);
        let mut indexer = Indexer::signing(bytes.len() as u64, None);
        indexer.carry(&GroupTree::compute(&bytes).unwrap().values()[..1], GROUP_BYTES as u64);
        indexer.update(&bytes[GROUP_BYTES..]);
        let index = indexer.finish();
        assert_eq!((index.hash, index.signature), (ContentHash::of(&bytes), None));
    }

    #[test]
    fn holes_count_as_zeros() {
        let mut indexer = Indexer::new(0);
        indexer.update(b"data");
        indexer.update_zeros(2 * MIB as u64 + 3);
        indexer.update(b"more");
        let zeros = vec![0; 2 * MIB + 3];
        let mut expected = Indexer::new(0);
        expected.update(&[b"data", &zeros[..], b"more"].concat());
        assert_eq!(indexer.finish(), expected.finish());
    }

    #[test]
    fn holes_anywhere_count_as_zeros() {
        for (head, len) in [(0, 1), (0, GROUP_BYTES), (0, GROUP_BYTES + 1), (GROUP_BYTES, 3 * GROUP_BYTES)]
            .into_iter()
            .chain([(GROUP_BYTES + 7, MIB), (100, 5 * MIB), (2 * GROUP_BYTES - 1, 1), (8 * 509, 8 * 509)])
        {
            let head = content(head);
            let mut indexer = Indexer::new((head.len() + len + 6) as u64);
            indexer.update(&head);
            indexer.update_zeros(len as u64);
            indexer.update(b"tail");
            indexer.update_zeros(2);
            let whole = [&head[..], &vec![0; len], b"tail\0\0"].concat();
            assert_eq!(indexer.finish(), indexed(&whole, whole.len()), "{} and {len} zeros", head.len());
        }
    }

    #[test]
    fn carried_groups_give_what_their_bytes_give() {
        let bytes = content(GROUP_BYTES * 5 + 9);
        let tree = GroupTree::compute(&bytes).unwrap();
        for (from, to) in [(0, 3), (1, 2), (2, 5), (0, 6), (5, 6)] {
            let (start, end) = (from * GROUP_BYTES, bytes.len().min(to * GROUP_BYTES));
            let mut indexer = Indexer::hash_only(bytes.len() as u64);
            indexer.update(&bytes[..start]);
            indexer.carry(&tree.values()[from..to], (end - start) as u64);
            indexer.update(&bytes[end..]);
            assert_eq!(indexer.finish().groups.as_ref(), Some(&tree), "groups {from} to {to}");
        }
    }

    #[test]
    fn hash_only_has_the_group_tree_and_no_signature() {
        let bytes = content(GROUP_BYTES * 2 + 9);
        let mut indexer = Indexer::hash_only(bytes.len() as u64);
        indexer.update(&bytes);
        let index = indexer.finish();
        assert_eq!((index.groups, index.signature), (GroupTree::compute(&bytes), None));
    }

    #[test]
    fn what_an_earlier_version_has_equal_is_carried_over() {
        let old = content(4 * MIB + 99);
        let mut edited = old.clone();
        edited[3 * MIB..3 * MIB + 4_096].fill(9);
        let versions =
            [edited, old[..3 * MIB + 5].to_vec(), [&old[..], &content(MIB)].concat(), old[7..].to_vec()];
        for new in versions {
            let fresh = indexed(&new, MIB);
            for piece_bytes in [70_001, MIB, 2 * MIB + 9] {
                let ContentIndex { groups, signature, chunks, .. } = indexed(&old, MIB);
                let earlier = Earlier::new(groups.expect("more than one group"), signature, chunks);
                let mut indexer = Indexer::over(new.len() as u64, Some(earlier));
                new.chunks(piece_bytes).for_each(|piece| indexer.update(piece));
                assert_eq!(indexer.finish(), fresh, "{} bytes in pieces of {piece_bytes}", new.len());
            }
        }
    }

    #[test]
    fn carried_entries_are_not_computed_again() {
        // An earlier version whose signature is a lie: what is carried over shows it.
        let bytes = content(2 * MIB);
        let ContentIndex { groups, chunks, .. } = indexed(&bytes, MIB);
        let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
        let lie = RangeSignature::compute(0, &other, 509, KEPT_STRONG_BYTES);
        let earlier = Earlier::new(groups.expect("more than one group"), Some(lie.clone()), chunks);
        let mut indexer = Indexer::over(bytes.len() as u64, Some(earlier));
        bytes.chunks(MIB).for_each(|piece| indexer.update(piece));
        let made = indexer.finish().signature.expect("it has one");
        let n_carried =
            made.entries().chunks(10).zip(lie.entries().chunks(10)).filter(|(a, b)| a == b).count();
        assert!(n_carried * 10 > made.n_blocks() * 9, "{n_carried} of {}", made.n_blocks());
    }
}
