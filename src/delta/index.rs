//! One pass over a content: content hash, group tree, chunk map and block signature from the same bytes.
//!
//! Sits where contents are first seen (scan at the sender, stage at the receiver). Where an earlier version
//! is known, what hangs on groups that are equal at the same offset is carried over: then only what changed
//! is cut into chunks and blocks. Memory is bounded by what it makes: 32 bytes a group, 12 bytes a chunk and
//! 10 bytes a block.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt};

use super::blocks::{BlockSignature, KEPT_STRONG_BYTES, LANES, block_bytes_for, entries_of, entry_bytes};
use super::chunks::{Chunk, ChunkMap, Cutter};
use super::cores::{both, n_cores, on_cores};
use super::groups::{GroupTree, group_value};
use super::zeros::ZEROS;
use crate::model::ContentHash;
use crate::model::limits::{GROUP_BYTES, MIB, PACK_FILE_BYTES};

const GROUP: u64 = GROUP_BYTES as u64;
/// Updates from here on are spread over the cores.
const SPREAD_BYTES: usize = MIB;

/// What is known of a content after one pass over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentIndex {
    pub hash: ContentHash,
    pub size: u64,
    /// None up to `PACK_FILE_BYTES`, which is one group.
    pub groups: Option<GroupTree>,
    /// None up to `PACK_FILE_BYTES`, or when only the hash was asked for.
    pub signature: Option<BlockSignature>,
    /// None up to `PACK_FILE_BYTES`, or when only the hash was asked for.
    pub chunks: Option<ChunkMap>,
}

/// What is known of an earlier version of a content, as far as it is kept.
pub struct Earlier {
    groups: GroupTree,
    signature: Option<BlockSignature>,
    chunks: Vec<(u64, Chunk)>,
}

impl Earlier {
    pub fn new(groups: GroupTree, signature: Option<BlockSignature>, chunks: Option<ChunkMap>) -> Self {
        let chunks = chunks.map(|map| map.iter().collect()).unwrap_or_default();
        Self { groups, signature, chunks }
    }
}

/// Indexes a content that comes in pieces of any length, in order.
pub struct Indexer {
    size: u64,
    values: Vec<ChainingValue>,
    /// The group that is not complete yet.
    group: Hasher,
    group_bytes: usize,
    kept: Option<Kept>,
}

/// What is made beside hash and group tree.
struct Kept {
    blocks: Blocks,
    cutter: Cutter,
    earlier: Option<Earlier>,
}

/// The entries so far, and the blocks that do not fill all lanes yet.
struct Blocks {
    block_bytes: u32,
    entries: Vec<u8>,
    open: Vec<u8>,
}

/// Which groups are those of an earlier version.
#[derive(Clone, Copy)]
struct Equal<'a> {
    earlier: Option<&'a Earlier>,
    values: &'a [ChainingValue],
}

impl Indexer {
    /// Starts a pass; the expected size chooses the block size and need not be right.
    pub fn new(expected_size: u64) -> Self {
        Self::over(expected_size, None)
    }

    /// Starts a pass over what may be a later version of a content.
    pub fn over(expected_size: u64, earlier: Option<Earlier>) -> Self {
        let block_bytes = block_bytes_for(expected_size);
        let blocks = Blocks { block_bytes, entries: Vec::new(), open: Vec::new() };
        Self { kept: Some(Kept { blocks, cutter: Cutter::default(), earlier }), ..Self::hash_only() }
    }

    /// Starts a pass for hash and group tree only.
    pub fn hash_only() -> Self {
        Self { size: 0, values: Vec::new(), group: Hasher::new(), group_bytes: 0, kept: None }
    }

    /// Goes on behind whole groups of which only the values are known; for hash and group tree alone.
    pub fn resume(values: Vec<ChainingValue>) -> Self {
        Self { size: values.len() as u64 * GROUP, values, ..Self::hash_only() }
    }

    /// Values of the whole groups so far, but for the one that [`Indexer::open_value`] gives.
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// Value of the last group, if it is whole and still open: more may come, or it may be all.
    pub fn open_value(&self) -> Option<ChainingValue> {
        (self.group_bytes == GROUP_BYTES).then(|| self.group.finalize_non_root())
    }

    /// Takes the next bytes. Pieces of 1 MiB and more are worked on by all cores.
    pub fn update(&mut self, bytes: &[u8]) {
        self.update_on(bytes, n_cores());
    }

    /// Takes the next bytes on this core, where the others have other work.
    pub fn update_alone(&mut self, bytes: &[u8]) {
        self.update_on(bytes, 1);
    }

    fn update_on(&mut self, bytes: &[u8], n_cores: usize) {
        self.size += bytes.len() as u64;
        let groups_at = self.fill_group(bytes);
        let groups = &bytes[groups_at..];
        let groups = &groups[..groups.len() - groups.len() % GROUP_BYTES];
        self.hash_groups(groups, n_cores);
        let rest = &bytes[groups_at + groups.len()..];
        if !rest.is_empty() {
            self.group.set_input_offset(self.values.len() as u64 * GROUP).update(rest);
            self.group_bytes = rest.len();
        }
        if let Some(kept) = &mut self.kept {
            kept.update(bytes, &self.values, n_cores);
        }
    }

    /// Takes `len` zeros, a hole of the source, without a byte of memory for them. Long ones are worked on by all
    /// cores; their blocks all have one entry, and their chunks one name.
    pub fn update_zeros(&mut self, len: u64) {
        self.size += len;
        if let Some(kept) = &mut self.kept {
            kept.blocks.zeros(len);
            kept.cutter.zeros(len);
        }
        let mut left = len;
        while left > 0 && (self.group_bytes > 0 || self.values.is_empty()) {
            left -= self.fill_group(&ZEROS[..left.min(GROUP) as usize]) as u64;
        }
        self.zero_groups((left / GROUP) as usize);
        let rest = (left % GROUP) as usize;
        if rest > 0 {
            self.group.set_input_offset(self.values.len() as u64 * GROUP).update(&ZEROS[..rest]);
            self.group_bytes = rest;
        }
    }

    /// Takes `len` bytes by the values of their groups, which were computed earlier of the same bytes at the same
    /// offset. For a pass without a signature, over a content of more than one group.
    ///
    /// # Panics
    /// When they do not start at a border of groups, or are not as many groups as `len` bytes have.
    pub fn carry(&mut self, values: &[ChainingValue], len: u64) {
        assert!(self.kept.is_none(), "blocks need the bytes");
        assert!(self.size.is_multiple_of(GROUP), "groups are carried over whole");
        assert_eq!(values.len() as u64, len.div_ceil(GROUP));
        if self.group_bytes > 0 {
            self.close_group();
        }
        self.size += len;
        self.values.extend_from_slice(values);
    }

    /// Ends the pass.
    pub fn finish(mut self) -> ContentIndex {
        let size = self.size;
        if size <= PACK_FILE_BYTES {
            let hash = ContentHash(*self.group.finalize().as_bytes());
            return ContentIndex { hash, size, groups: None, signature: None, chunks: None };
        }
        if self.group_bytes > 0 {
            self.close_group();
        }
        let (mut signature, mut chunks) = (None, None);
        if let Some(kept) = self.kept.take() {
            let (made, map) = kept.finish(size, &self.values);
            (signature, chunks) = (Some(made), Some(map));
        }
        let groups = GroupTree::from_values(size, self.values).expect("a value for each group");
        ContentIndex { hash: groups.root(), size, groups: Some(groups), signature, chunks }
    }

    /// Fills the open group and returns how many bytes went into it. The first group is always filled
    /// here and closed only when more comes: while it is alone, its hash is the content's.
    fn fill_group(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || self.group_bytes == 0 && !self.values.is_empty() {
            return 0;
        }
        let n_taken = (GROUP_BYTES - self.group_bytes).min(bytes.len());
        self.group.update(&bytes[..n_taken]);
        self.group_bytes += n_taken;
        if n_taken < bytes.len() {
            self.close_group();
        }
        n_taken
    }

    /// Whole groups of zeros.
    fn zero_groups(&mut self, n_groups: usize) {
        let first = self.values.len();
        let n_parts = if n_groups < SPREAD_BYTES / GROUP_BYTES { 1 } else { n_cores() };
        let border = |part: usize| first + n_groups * part / n_parts;
        let work = |part: usize| {
            let groups = border(part)..border(part + 1);
            groups.map(|group| group_value(&ZEROS[..GROUP_BYTES], group as u64 * GROUP)).collect::<Vec<_>>()
        };
        for values in on_cores(n_parts, &work) {
            self.values.extend(values);
        }
    }

    fn close_group(&mut self) {
        self.values.push(self.group.finalize_non_root());
        // Not `reset`: `set_input_offset` wants a hasher that never had another offset.
        self.group = Hasher::new();
        self.group_bytes = 0;
    }

    /// Hashes whole groups.
    fn hash_groups(&mut self, groups: &[u8], n_cores: usize) {
        let first = self.values.len();
        let n_parts = if groups.len() < SPREAD_BYTES { 1 } else { n_cores };
        let values = on_cores(n_parts, &|part| {
            let at = first + n_units(groups, GROUP_BYTES) * part / n_parts;
            let own = share(groups, GROUP_BYTES, part, n_parts).chunks_exact(GROUP_BYTES).zip(at..);
            own.map(|(group, at)| group_value(group, at as u64 * GROUP)).collect::<Vec<_>>()
        });
        values.into_iter().for_each(|values| self.values.extend(values));
    }
}

impl Kept {
    /// Takes the next bytes, whose whole groups have these values.
    fn update(&mut self, bytes: &[u8], values: &[ChainingValue], n_cores: usize) {
        let Self { blocks, cutter, earlier } = self;
        let equal = Equal { earlier: earlier.as_ref(), values };
        let is_new = !equal.holds_last(bytes.len() as u64);
        let is_worth = n_cores > 1 && bytes.len() >= SPREAD_BYTES && is_new;
        // One core cuts chunks meanwhile.
        let block_cores = (n_cores - 1).max(1);
        let cut = || cutter.update(bytes, n_cores, |at| equal.chunk(at));
        both(is_worth, || blocks.update(bytes, block_cores, equal), cut);
    }

    fn finish(mut self, size: u64, values: &[ChainingValue]) -> (BlockSignature, ChunkMap) {
        let equal = Equal { earlier: self.earlier.as_ref(), values };
        let chunks = self.cutter.finish(|at| equal.chunk(at));
        let (block_bytes, open) = (self.blocks.block_bytes, &self.blocks.open);
        self.blocks.entries.extend(entries_of(open, block_bytes, KEPT_STRONG_BYTES));
        let entries = self.blocks.entries;
        let signature = BlockSignature::parse(0, size, block_bytes, KEPT_STRONG_BYTES, entries);
        (signature.expect("an entry for each block"), chunks)
    }
}

impl Equal<'_> {
    /// Whether all groups that a range touches are hashed, and equal to those of the earlier version.
    fn holds(&self, start: u64, len: u64) -> bool {
        let Some(earlier) = self.earlier else { return false };
        let groups = (start / GROUP) as usize..(start + len).div_ceil(GROUP) as usize;
        match (self.values.get(groups.clone()), earlier.groups.values().get(groups)) {
            (Some(own), Some(held)) => own == held,
            _ => false,
        }
    }

    /// Whether the last whole groups, of so many bytes, are equal.
    fn holds_last(&self, len: u64) -> bool {
        let end = self.values.len() as u64 * GROUP;
        self.holds(end.saturating_sub(len), len.min(end))
    }

    /// The chunk of the earlier version that starts at an offset, if its bytes are equal.
    fn chunk(&self, at: u64) -> Option<Chunk> {
        let chunks = &self.earlier?.chunks;
        let (start, chunk) = chunks[chunks.partition_point(|(start, _)| *start < at)..].first()?;
        (*start == at && self.holds(at, u64::from(chunk.len))).then_some(*chunk)
    }
}

impl Blocks {
    /// Bytes of the blocks that are hashed at once.
    fn unit_bytes(&self) -> usize {
        self.block_bytes as usize * LANES
    }

    fn update(&mut self, bytes: &[u8], n_cores: usize, equal: Equal) {
        let mut here = self.fill(bytes);
        let unit = self.unit_bytes();
        let last = bytes.len() - (bytes.len() - here) % unit;
        while here < last {
            if let Some(entries) = self.held(0, equal) {
                self.entries.extend_from_slice(entries);
                here += unit;
                continue;
            }
            let n_left = n_units(&bytes[here..last], unit);
            let n_changed = (0..n_left).take_while(|ahead| self.held(*ahead, equal).is_none()).count();
            self.compute(&bytes[here..here + n_changed * unit], n_cores);
            here += n_changed * unit;
        }
        self.open.extend_from_slice(&bytes[here..]);
    }

    /// The earlier version's entries of the unit that stands `ahead` of the next, if its bytes are equal.
    fn held<'e>(&self, ahead: usize, equal: Equal<'e>) -> Option<&'e [u8]> {
        let held = equal.earlier?.signature.as_ref()?;
        let is_like = held.block_bytes() == self.block_bytes && held.strong_bytes() == KEPT_STRONG_BYTES;
        let unit_entries = LANES * entry_bytes(KEPT_STRONG_BYTES);
        // Only whole units come before the end.
        let number = self.entries.len() / unit_entries + ahead;
        let unit = self.unit_bytes() as u64;
        let is_equal = is_like && equal.holds(number as u64 * unit, unit);
        is_equal.then(|| held.entries().get(number * unit_entries..(number + 1) * unit_entries))?
    }

    /// Entries of whole units.
    fn compute(&mut self, bytes: &[u8], n_cores: usize) {
        let (unit, block_bytes) = (self.unit_bytes(), self.block_bytes);
        let n_parts = if bytes.len() < SPREAD_BYTES { 1 } else { n_cores };
        let entries = on_cores(n_parts, &|part| {
            entries_of(share(bytes, unit, part, n_parts), block_bytes, KEPT_STRONG_BYTES)
        });
        entries.into_iter().for_each(|entries| self.entries.extend(entries));
    }

    /// Fills the open blocks and returns how many bytes went into them.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        if self.open.is_empty() {
            return 0;
        }
        let n_taken = (self.unit_bytes() - self.open.len()).min(bytes.len());
        self.open.extend_from_slice(&bytes[..n_taken]);
        if self.open.len() == self.unit_bytes() {
            self.entries.extend(entries_of(&self.open, self.block_bytes, KEPT_STRONG_BYTES));
            self.open.clear();
        }
        n_taken
    }

    /// Takes zeros: the entries of one unit of them stand for all.
    fn zeros(&mut self, len: u64) {
        let unit = self.unit_bytes();
        let filled = self.fill(&ZEROS[..len.min(unit as u64) as usize]);
        let left = len - filled as u64;
        if left >= unit as u64 {
            let entries = entries_of(&ZEROS[..unit], self.block_bytes, KEPT_STRONG_BYTES);
            (0..left / unit as u64).for_each(|_| self.entries.extend_from_slice(&entries));
        }
        self.open.extend_from_slice(&ZEROS[..(left % unit as u64) as usize]);
    }
}

/// The part of `n_parts` of the whole units of `bytes`.
fn share(bytes: &[u8], unit: usize, part: usize, n_parts: usize) -> &[u8] {
    let border = |part: usize| n_units(bytes, unit) * part / n_parts * unit;
    &bytes[border(part)..border(part + 1)]
}

fn n_units(bytes: &[u8], unit: usize) -> usize {
    bytes.len() / unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::blocks::RangeSignature;

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
            let mut indexer = Indexer::hash_only();
            indexer.update(&bytes[..start]);
            indexer.carry(&tree.values()[from..to], (end - start) as u64);
            indexer.update(&bytes[end..]);
            assert_eq!(indexer.finish().groups.as_ref(), Some(&tree), "groups {from} to {to}");
        }
    }

    #[test]
    fn hash_only_has_the_group_tree_and_no_signature() {
        let bytes = content(GROUP_BYTES * 2 + 9);
        let mut indexer = Indexer::hash_only();
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
