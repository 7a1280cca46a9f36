//! What a sender without signatures asks for: which ranges of the basis, in blocks of which size.
//!
//! Pure planning from tags; a bad answer costs bytes, never correctness.

use super::blocks::{KEPT_STRONG_BYTES, block_bytes_for};
use super::groups::{GroupTags, node_bytes};
use crate::model::limits::{
    ASK_ANSWER_BYTES, ASK_RANGES, BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, KIB, STRONG_BYTES_MAX, STRONG_BYTES_MIN,
};

/// Bytes that a range is widened by on each side, so that what moved a little across its border matches.
const WIDENED_BY: u64 = 4 * KIB as u64;
/// Signatures of one file are asked for in so many answers at most.
pub const ANSWERS: u64 = 8;
/// The signature that is kept may cost so much more than the best one: less than is known of what will be needed.
const HARDLY_MORE: f64 = 1.02;
/// Bytes that an edit itself costs as literal.
const EDIT_BYTES: f64 = 64.0;

/// What is expected of a basis in a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// Share of the basis that stands in the target at all, and edits for each byte of that share.
    pub share: f64,
    pub edits_per_byte: f64,
    /// Wire bytes for each literal byte.
    pub literal_cost: f64,
}

impl Likeness {
    /// Where groups tell how much differs in its place: each edit spoils the node that it falls into.
    pub fn of_groups(target: &GroupTags, basis: &GroupTags, literal_cost: f64) -> Self {
        let (n_different, n_common) = differing(target, basis);
        let stood = 1.0 - n_different as f64 / n_common.max(1) as f64;
        let edits = -stood.max(0.5 / n_common.max(1) as f64).ln() / node_bytes(basis.level) as f64;
        // Of the ranges that are asked for only: they hold all the edits.
        let dense = edits * n_common.max(1) as f64 / n_different.max(1) as f64;
        Self { share: 1.0, edits_per_byte: dense, literal_cost }
    }

    /// Wire bytes of a range's signature and the literals that are left with it.
    fn cost(&self, range_bytes: f64, block_bytes: f64, entry_bytes: f64) -> f64 {
        let found = self.share * (-self.edits_per_byte * (block_bytes + EDIT_BYTES)).exp();
        range_bytes * (entry_bytes / block_bytes + self.literal_cost * (1.0 - found))
    }
}

/// Nodes that differ at the same place, and nodes that both have.
pub fn differing(target: &GroupTags, basis: &GroupTags) -> (u64, u64) {
    let pairs = target.tags.iter().zip(&basis.tags);
    let n_common = pairs.len() as u64;
    (pairs.filter(|(target, basis)| target != basis).count() as u64, n_common)
}

/// Whether nearly nothing stands in its place: it was moved, or is another content.
pub fn is_elsewhere(target: &GroupTags, basis: &GroupTags) -> bool {
    let (n_different, n_common) = differing(target, basis);
    n_common > 0 && n_different * 8 > n_common * 7
}

/// The ranges (offset, length) of the basis whose signature the sender needs, by offset, apart from each
/// other, at most [`ASK_RANGES`]: around the nodes that differ at the same offset. Both tags are of the
/// same level; otherwise all is taken to differ.
pub fn needed_ranges(target: &GroupTags, basis: &GroupTags, basis_size: u64) -> Vec<(u64, u64)> {
    let node = node_bytes(basis.level);
    let n_nodes = basis_size.div_ceil(node);
    let is_level = target.level == basis.level;
    let differs = |i: usize| !is_level || target.tags.get(i) != basis.tags.get(i);
    // Nodes past the basis's end need its tail only, nodes past the target's end nothing.
    let n_common = n_nodes.min(target.tags.len() as u64);
    let different: Vec<u64> = (0..n_common).filter(|i| differs(*i as usize)).collect();
    if different.is_empty() || basis_size == 0 {
        return Vec::new();
    }
    if !is_level {
        return vec![(0, basis_size)];
    }
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for i in different {
        let start = (i * node).saturating_sub(WIDENED_BY);
        let end = ((i + 1) * node + WIDENED_BY).min(basis_size);
        match ranges.last_mut() {
            Some((_, held_end)) if start <= *held_end => *held_end = end,
            _ => ranges.push((start, end)),
        }
    }
    join_ends(&mut ranges, ASK_RANGES);
    ranges.into_iter().map(|(start, end)| (start, end - start)).collect()
}

/// Joins the ranges (offset, length) with the narrowest gaps until there are `most`.
pub fn join_closest(ranges: &mut Vec<(u64, u64)>, most: usize) {
    let mut ends: Vec<(u64, u64)> = ranges.iter().map(|(start, len)| (*start, start + len)).collect();
    join_ends(&mut ends, most);
    *ranges = ends.into_iter().map(|(start, end)| (start, end - start)).collect();
}

/// The same for ranges (start, end).
fn join_ends(ranges: &mut Vec<(u64, u64)>, most: usize) {
    if ranges.len() <= most {
        return;
    }
    let mut gaps: Vec<u64> = ranges.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
    gaps.sort_unstable();
    let n_joins = ranges.len() - most;
    let widest = gaps[n_joins - 1];
    // Gaps as wide as the widest are joined only as often as needed.
    let mut n_widest = gaps[..n_joins].iter().filter(|gap| **gap == widest).count();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(most);
    for (start, end) in ranges.drain(..) {
        match joined.last_mut() {
            Some((_, held_end)) if start - *held_end < widest => *held_end = end,
            Some((_, held_end)) if start - *held_end == widest && n_widest > 0 => {
                n_widest -= 1;
                *held_end = end;
            }
            _ => joined.push((start, end)),
        }
    }
    *ranges = joined;
}

/// Block bytes and strong bytes to ask for in ranges of together `range_bytes`: the size at which signature
/// and literals together are least, and no smaller than [`ANSWERS`] answers have room for. None where
/// literals alone cost less, or hardly more.
pub fn request_block_bytes(range_bytes: u64, likeness: &Likeness) -> Option<(u32, u8)> {
    let strong_bytes = strong_bytes_for(range_bytes);
    let entry_bytes = 4 + u64::from(strong_bytes);
    // Each range may end with a short block.
    let answer_bytes = ANSWERS * (ASK_ANSWER_BYTES as u64 - ASK_RANGES as u64 * entry_bytes);
    let room = range_bytes.saturating_mul(entry_bytes).div_ceil(answer_bytes);
    let least = room.clamp(u64::from(BLOCK_BYTES_MIN) + 1, u64::from(BLOCK_BYTES_MAX));
    let (n, entry) = (range_bytes as f64, entry_bytes as f64);
    let sizes = std::iter::successors(Some(least), |size| Some(size + size / 8));
    let sizes = sizes.take_while(|size| *size <= u64::from(BLOCK_BYTES_MAX));
    let cost = |size: u64| likeness.cost(n, size as f64, entry);
    let best = sizes.min_by(|one, other| cost(*one).total_cmp(&cost(*other)))?;
    let literals = likeness.literal_cost * n;
    (cost(best) < literals * 0.98).then_some((best as u32 | 1, strong_bytes))
}

/// The blocks of the signature that the receiver keeps of a content of `size` bytes, with ranges widened to whole
/// ones, if that costs hardly more than `asked`, the best block and strong bytes: then it has nothing to read.
pub fn kept_blocks(
    ranges: &[(u64, u64)],
    size: u64,
    asked: (u32, u8),
    likeness: &Likeness,
) -> Option<(Vec<(u64, u64)>, u32)> {
    let (block_bytes, strong_bytes) = asked;
    let kept = block_bytes_for(size);
    if strong_bytes > KEPT_STRONG_BYTES {
        return None;
    }
    let block = u64::from(kept);
    let mut wide: Vec<(u64, u64)> = Vec::new();
    for &(offset, len) in ranges {
        let (start, end) = (offset / block * block, (offset + len).next_multiple_of(block).min(size));
        match wide.last_mut() {
            Some((_, held_end)) if start <= *held_end => *held_end = end.max(*held_end),
            _ => wide.push((start, end)),
        }
    }
    let wide: Vec<(u64, u64)> = wide.into_iter().map(|(start, end)| (start, end - start)).collect();
    let bytes_of = |ranges: &[(u64, u64)]| ranges.iter().map(|(_, len)| len).sum::<u64>() as f64;
    let entry = 4.0 + f64::from(strong_bytes);
    let cost = |ranges: &[(u64, u64)], block: u32| likeness.cost(bytes_of(ranges), f64::from(block), entry);
    (cost(&wide, kept) <= HARDLY_MORE * cost(ranges, block_bytes)).then_some((wide, kept))
}

/// Cuts ranges (offset, length), by offset, into questions whose answers have room for their entries.
pub fn questions(ranges: &[(u64, u64)], block_bytes: u32, strong_bytes: u8) -> Vec<Vec<(u64, u64)>> {
    let entry_bytes = 4 + u64::from(strong_bytes);
    let most = ASK_ANSWER_BYTES as u64 / entry_bytes;
    let mut questions: Vec<Vec<(u64, u64)>> = Vec::new();
    let (mut question, mut room) = (Vec::new(), most);
    for &(mut offset, mut len) in ranges {
        while len > 0 {
            if room == 0 || question.len() == ASK_RANGES {
                questions.push(std::mem::take(&mut question));
                room = most;
            }
            let now = len.min(room * u64::from(block_bytes));
            question.push((offset, now));
            room -= now.div_ceil(u64::from(block_bytes));
            (offset, len) = (offset + now, len - now);
        }
    }
    if !question.is_empty() {
        questions.push(question);
    }
    questions
}

/// Strong bytes at which one false match in about 2^20 such files is expected: each offset of the target
/// may meet each block, and the weak hash is worth 24 bits.
fn strong_bytes_for(range_bytes: u64) -> u8 {
    let position_bits = u64::BITS - range_bytes.leading_zeros();
    let block_bits = position_bits.saturating_sub(9);
    let bits = (position_bits + block_bits + 20).saturating_sub(24);
    (bits.div_ceil(8) as u8).clamp(STRONG_BYTES_MIN, STRONG_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::blocks::check_sizes;
    use crate::model::Tag;

    const GROUP: u64 = crate::model::limits::GROUP_BYTES as u64;
    const LIKE: Likeness = Likeness { share: 1.0, edits_per_byte: 1e-6, literal_cost: 0.5 };

    fn tags(values: impl IntoIterator<Item = u64>) -> GroupTags {
        GroupTags { level: 0, tags: values.into_iter().map(|value| Tag(value.to_le_bytes())).collect() }
    }

    #[test]
    fn equal_tags_need_nothing() {
        assert_eq!(needed_ranges(&tags(0..9), &tags(0..9), 9 * GROUP - 5), []);
    }

    #[test]
    fn each_difference_needs_its_surroundings() {
        let changed = (0..100).map(|i| if i == 0 || i == 50 || i == 99 { 1000 } else { i });
        let ranges = needed_ranges(&tags(changed), &tags(0..100), 100 * GROUP - 5);
        let wide = WIDENED_BY;
        assert_eq!(
            ranges,
            [(0, GROUP + wide), (50 * GROUP - wide, GROUP + 2 * wide), (99 * GROUP - wide, GROUP + wide - 5)]
        );
    }

    #[test]
    fn append_needs_only_the_tail() {
        let longer = tags((0..99).chain(1000..1400));
        assert_eq!(
            needed_ranges(&longer, &tags(0..100), 100 * GROUP - 5),
            [(99 * GROUP - WIDENED_BY, GROUP + WIDENED_BY - 5)]
        );
    }

    #[test]
    fn head_insert_stands_elsewhere_and_a_foreign_level_needs_the_whole_basis() {
        assert!(is_elsewhere(&tags(1000..1100), &tags(0..100)));
        assert!(!is_elsewhere(&tags((0..20).chain(1000..1080)), &tags(0..100)));
        let other = GroupTags { level: 1, ..tags(0..100) };
        assert_eq!(needed_ranges(&tags(0..100), &other, 200 * GROUP), [(0, 200 * GROUP)]);
    }

    #[test]
    fn too_many_ranges_are_joined_at_the_narrowest_gaps() {
        let n = ASK_RANGES as u64 * 16;
        let changed = (0..n).map(|i| if i % 8 == 0 { n + i } else { i });
        let ranges = needed_ranges(&tags(changed), &tags(0..n), n * GROUP);
        assert_eq!(ranges.len(), ASK_RANGES);
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
        for i in (0..n).step_by(8) {
            assert!(ranges.iter().any(|(start, len)| (*start..start + len).contains(&(i * GROUP))));
        }
    }

    #[test]
    fn asked_sizes_are_allowed_and_their_answers_fit() {
        for power in 10..=40 {
            for edits in [1.0, 30.0, 1_000.0, 1_000_000.0] {
                let range_bytes = 1_u64 << power;
                let likeness = Likeness { edits_per_byte: edits / range_bytes as f64, ..LIKE };
                let Some((block_bytes, strong_bytes)) = request_block_bytes(range_bytes, &likeness) else {
                    continue;
                };
                check_sizes(block_bytes, strong_bytes).unwrap();
                let ranges = [(5, range_bytes / 2), (range_bytes, range_bytes - range_bytes / 2)];
                let questions = questions(&ranges, block_bytes, strong_bytes);
                for question in &questions {
                    let n_blocks: u64 =
                        question.iter().map(|(_, len)| len.div_ceil(block_bytes.into())).sum();
                    assert!(n_blocks * (4 + u64::from(strong_bytes)) <= ASK_ANSWER_BYTES as u64);
                }
                assert_eq!(questions.iter().flatten().map(|(_, len)| len).sum::<u64>(), range_bytes);
                assert!(power > 35 || questions.len() as u64 <= ANSWERS + 1, "{power}: {}", questions.len());
            }
        }
    }

    #[test]
    fn more_edits_want_finer_blocks_and_strangers_none() {
        let size = |edits_per_byte| request_block_bytes(1 << 24, &Likeness { edits_per_byte, ..LIKE });
        let (coarse, fine) = (size(1e-7).unwrap().0, size(1e-4).unwrap().0);
        assert!(coarse > 10_000 && (200..1_000).contains(&fine), "{coarse} {fine}");
        assert_eq!(request_block_bytes(1 << 24, &Likeness { share: 0.0, ..LIKE }), None);
    }

    #[test]
    fn kept_blocks_are_asked_for_whole_where_they_cost_hardly_more() {
        let (size, block) = (100 * GROUP, 509);
        let ranges = [(0, GROUP), (50 * GROUP, GROUP), (51 * GROUP + 100, 3), (99 * GROUP, GROUP)];
        let (wide, kept) = kept_blocks(&ranges, size, (509, 6), &LIKE).unwrap();
        assert_eq!((kept, wide.len()), (block, 3), "two meet");
        for ((offset, len), asked) in wide.iter().zip([0, 50 * GROUP, 99 * GROUP]) {
            assert!(offset % u64::from(block) == 0 && *offset <= asked && offset + len >= asked + GROUP);
            assert!((offset + len) % u64::from(block) == 0 || offset + len == size);
        }
        assert_eq!(kept_blocks(&ranges, size, (509, 7), &LIKE), None, "its strong hashes are too short");
        assert_eq!(kept_blocks(&ranges, size, (20_001, 6), &LIKE), None, "it is far too fine");
    }

    #[test]
    fn edits_are_counted_from_the_groups_that_they_spoil() {
        let changed = (0..1_000).map(|i| if i % 10 == 0 { 5_000 + i } else { i });
        let likeness = Likeness::of_groups(&tags(changed), &tags(0..1_000), 1.0);
        let edits = likeness.edits_per_byte * (100 * GROUP) as f64;
        assert!((100.0..110.0).contains(&edits), "{edits}");
    }
}
