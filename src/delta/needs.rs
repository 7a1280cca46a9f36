//! What a sender without signatures asks for: which ranges of the basis, in blocks of which size.
//!
//! Pure planning from tags; a bad answer costs bytes, never correctness.

use super::groups::{GroupTags, node_bytes};
use crate::model::limits::{
    ASK_ANSWER_BYTES, ASK_RANGES, BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, GROUP_BYTES, STRONG_BYTES_MAX,
    STRONG_BYTES_MIN,
};

/// Bytes that a range is widened by on each side, so that small shifts match.
const WIDENED_BY: u64 = GROUP_BYTES as u64;

/// The ranges (offset, length) of the basis whose signature the sender needs, by offset, apart from each
/// other, at most [`ASK_RANGES`]: around the nodes that differ at the same offset; the whole basis when
/// nearly all do. Both tags are of the same level; otherwise all is taken to differ.
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
    if different.len() as u64 * 8 > n_nodes * 7 {
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
    join_closest(&mut ranges, ASK_RANGES);
    ranges.into_iter().map(|(start, end)| (start, end - start)).collect()
}

/// Joins the ranges (start, end) with the narrowest gaps until there are `most`.
fn join_closest(ranges: &mut Vec<(u64, u64)>, most: usize) {
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

/// Block bytes and strong bytes to ask for, where `n_edits` edits are expected in ranges of together
/// `range_bytes`: the size at which signature and literals together are least, sqrt(12 n / edits), and no
/// smaller than an answer has room for.
///
/// Ranges of more than about 32 GiB do not fit one answer at the largest block and are asked in parts.
pub fn request_block_bytes(range_bytes: u64, n_edits: u64) -> (u32, u8) {
    let strong_bytes = strong_bytes_for(range_bytes);
    let entry_bytes = 4 + u64::from(strong_bytes);
    let best = (entry_bytes as f64 * range_bytes as f64 / n_edits.max(1) as f64).sqrt() as u64;
    // Each range may end with a short block.
    let answer_bytes = ASK_ANSWER_BYTES as u64 - ASK_RANGES as u64 * entry_bytes;
    let room = range_bytes.saturating_mul(entry_bytes).div_ceil(answer_bytes);
    let block_bytes = best.max(room).clamp(u64::from(BLOCK_BYTES_MIN) + 1, u64::from(BLOCK_BYTES_MAX));
    (block_bytes as u32 | 1, strong_bytes)
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

    const GROUP: u64 = GROUP_BYTES as u64;

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
        assert_eq!(ranges, [(0, 2 * GROUP), (49 * GROUP, 3 * GROUP), (98 * GROUP, 2 * GROUP - 5)]);
    }

    #[test]
    fn append_needs_only_the_tail() {
        let longer = tags((0..99).chain(1000..1400));
        assert_eq!(needed_ranges(&longer, &tags(0..100), 100 * GROUP - 5), [(98 * GROUP, 2 * GROUP - 5)]);
    }

    #[test]
    fn head_insert_and_foreign_level_need_the_whole_basis() {
        assert_eq!(needed_ranges(&tags(1000..1100), &tags(0..100), 100 * GROUP), [(0, 100 * GROUP)]);
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
    fn asked_sizes_are_allowed_and_their_answer_fits() {
        for power in 0..=34 {
            for n_edits in [0, 1, 30, 1_000, 1_000_000] {
                let range_bytes = 1_u64 << power;
                let (block_bytes, strong_bytes) = request_block_bytes(range_bytes, n_edits);
                check_sizes(block_bytes, strong_bytes).unwrap();
                let n_blocks = range_bytes / u64::from(block_bytes) + ASK_RANGES as u64;
                let answer = n_blocks * (4 + u64::from(strong_bytes));
                assert!(answer <= ASK_ANSWER_BYTES as u64, "{range_bytes} {n_edits}: {answer}");
            }
        }
    }
}
