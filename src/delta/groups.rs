//! The group tree of a content: the BLAKE3 chaining value of each aligned 64 KiB group.
//!
//! It comes for free with the content hash and shows, by comparing values, which groups of two
//! contents are equal at the same offset. It never stands for a content: only its root does.

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::model::limits::{FILE_BYTES, GROUP_BYTES, GROUP_LEVEL, TREE_GROUPS, TREE_LEVEL};
use crate::model::{ContentHash, Tag};

const GROUP: u64 = GROUP_BYTES as u64;

/// Chaining values of the groups of one content of more than [`GROUP_BYTES`] bytes, in order; the
/// last group may be short. Of a huge content they may be those of larger nodes, each of which is one subtree
/// of groups.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupTree {
    size: u64,
    /// A value covers `GROUP_BYTES << finest` bytes.
    finest: u8,
    /// The values one after the other, as they are stored: of a large content they are not held twice.
    bytes: Vec<u8>,
}

/// Tags of the nodes of a content's group tree at one level, as a peer sends them.
///
/// Enough to plan with, never enough to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTags {
    /// A node covers `GROUP_BYTES << level` bytes.
    pub level: u8,
    /// One for each node, from the start of the content.
    pub tags: Vec<Tag>,
}

/// Why a group tree is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupsError {
    /// Contents of one group or less have no tree, and no file is larger than `FILE_BYTES`.
    #[error("a content of {0} bytes has no group tree")]
    Size(u64),
    /// The values do not fit the size.
    #[error("a content of {size} bytes has {expected} groups, not {received} bytes of values")]
    Values { size: u64, expected: u64, received: usize },
}

/// Number of nodes that a content of `size` bytes has at a level.
pub fn n_nodes(size: u64, level: u8) -> u64 {
    size.div_ceil(node_bytes(level))
}

/// Bytes that a node of a level covers.
pub const fn node_bytes(level: u8) -> u64 {
    debug_assert!(level <= GROUP_LEVEL);
    GROUP << if level < GROUP_LEVEL { level } else { GROUP_LEVEL }
}

/// The level whose nodes are kept of a content of `size` bytes: at most `TREE_GROUPS` of them, and more only where
/// they would be larger than `TREE_LEVEL` says.
pub fn kept_level(size: u64) -> u8 {
    (0..TREE_LEVEL).find(|level| n_nodes(size, *level) <= TREE_GROUPS).unwrap_or(TREE_LEVEL)
}

/// Bytes that each value covers which is kept of a content of `size` bytes.
pub fn kept_bytes(size: u64) -> u64 {
    node_bytes(kept_level(size))
}

/// Chaining value of one group, or of a node of a kept level, that starts at `offset`, for contents of more than
/// one of them.
pub fn group_value(bytes: &[u8], offset: u64) -> ChainingValue {
    debug_assert!(bytes.len() as u64 <= node_bytes(TREE_LEVEL) && offset.is_multiple_of(GROUP));
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

impl GroupTree {
    /// Computes the tree of a content in memory; none up to one group.
    pub fn compute(bytes: &[u8]) -> Option<Self> {
        let values = bytes.chunks(GROUP_BYTES).zip(0..).map(|(group, i)| group_value(group, i * GROUP));
        (bytes.len() > GROUP_BYTES).then(|| Self {
            size: bytes.len() as u64,
            finest: 0,
            bytes: values.collect::<Vec<_>>().into_flattened(),
        })
    }

    /// Makes a tree of values that were computed here or checked elsewhere, of groups or of the nodes of one
    /// kept level.
    ///
    /// # Errors
    /// The number of values is not that of the nodes of `size` bytes at any of these levels.
    pub fn from_values(size: u64, values: Vec<ChainingValue>) -> Result<Self, GroupsError> {
        Self::parse(size, values.into_flattened())
    }

    /// Reads the form that [`GroupTree::as_bytes`] writes: how many values there are tells what each covers.
    ///
    /// # Errors
    /// The length does not fit the size. Whether the values are right only [`GroupTree::root`] tells.
    pub fn parse(size: u64, bytes: Vec<u8>) -> Result<Self, GroupsError> {
        if size <= GROUP || size > FILE_BYTES {
            return Err(GroupsError::Size(size));
        }
        let (values, rest) = bytes.as_chunks::<32>();
        // Of two levels one has fewer nodes, as long as there are two or more.
        let fits =
            |level: &u8| rest.is_empty() && values.len() >= 2 && n_nodes(size, *level) == values.len() as u64;
        match (0..=TREE_LEVEL).find(fits) {
            Some(finest) => Ok(Self { size, finest, bytes }),
            None => Err(GroupsError::Values { size, expected: n_nodes(size, 0), received: bytes.len() }),
        }
    }

    /// The values, 32 bytes each, in order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Finest level that is known: 0 where each value is one group's.
    pub fn finest(&self) -> u8 {
        self.finest
    }

    /// Whether the finest level is the one that is kept of such a content. Of one that grew while it was read it may not be.
    pub fn is_of_kept_level(&self) -> bool {
        self.finest == kept_level(self.size)
    }

    /// The values of the finest level in order.
    pub fn values(&self) -> &[ChainingValue] {
        self.bytes.as_chunks().0
    }

    /// The content hash.
    pub fn root(&self) -> ContentHash {
        ContentHash(self.node(0, self.values().len(), self.size, true))
    }

    /// Values of the nodes of `GROUP_BYTES << level` bytes, in order; the last may be short. One node
    /// that covers all is the root: its value is the content hash. Below the finest level, that one's.
    pub fn level(&self, level: u8) -> Vec<ChainingValue> {
        let level = level.clamp(self.finest, GROUP_LEVEL);
        let node_values = 1usize << (level - self.finest);
        if self.values().len() <= node_values {
            return vec![self.root().0];
        }
        let starts = (0..self.values().len()).step_by(node_values);
        starts
            .map(|first| {
                let last = (first + node_values).min(self.values().len());
                let bytes = (self.size - first as u64 * node_bytes(self.finest)).min(node_bytes(level));
                self.node(first, last, bytes, false)
            })
            .collect()
    }

    /// The values of a level, cut to tags; below the finest level, that one's.
    pub fn tags(&self, level: u8) -> GroupTags {
        let level = level.max(self.finest);
        let tags = match level == self.finest {
            true => self.values().iter().map(tag_of).collect(),
            false => self.level(level).iter().map(tag_of).collect(),
        };
        GroupTags { level, tags }
    }

    /// Value of the subtree over the values `first..last`, which cover `bytes` together.
    fn node(&self, first: usize, last: usize, bytes: u64, root: bool) -> ChainingValue {
        if last - first == 1 {
            debug_assert!(!root, "a tree has two groups or more");
            return self.values()[first];
        }
        let left_bytes = left_subtree_len(bytes);
        let middle = first + (left_bytes / node_bytes(self.finest)) as usize;
        let left = self.node(first, middle, left_bytes, false);
        let right = self.node(middle, last, bytes - left_bytes, false);
        match root {
            true => *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes(),
            false => merge_subtrees_non_root(&left, &right, Mode::Hash),
        }
    }
}

/// The first eight bytes of a node's value.
pub fn tag_of(value: &ChainingValue) -> Tag {
    ContentHash(*value).tag()
}

impl std::fmt::Debug for GroupTree {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "GroupTree({} bytes, {:?})", self.size, self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn root_is_what_b3sum_prints() {
        let group = GROUP_BYTES;
        let powers = (1..=5).map(|power| group << power).flat_map(|n| [n - 1, n, n + 1]);
        let others =
            [group + 1, group * 3, group * 3 + 5, group * 5 - 1024, group * 7 + 1024, group * 11 + 7];
        for size in powers.chain(others) {
            let bytes = content(size);
            let tree = GroupTree::compute(&bytes).expect("more than one group");
            assert_eq!(tree.root(), ContentHash::of(&bytes), "{size} bytes");
            assert_eq!(tree.values().len() as u64, n_nodes(size as u64, 0));
        }
    }

    #[test]
    fn one_group_has_no_tree() {
        assert!(GroupTree::compute(&content(GROUP_BYTES)).is_none());
        assert_eq!(GroupTree::parse(GROUP, vec![0; 32]), Err(GroupsError::Size(GROUP)));
    }

    #[test]
    fn each_level_is_the_subtrees_of_the_one_below() {
        let bytes = content(GROUP_BYTES * 11 + 7);
        let tree = GroupTree::compute(&bytes).unwrap();
        assert_eq!(tree.level(0), tree.values());
        for level in 1..4 {
            let node = GROUP_BYTES << level;
            let expected = bytes.chunks(node).enumerate().map(|(i, piece)| {
                Hasher::new().set_input_offset((i * node) as u64).update(piece).finalize_non_root()
            });
            assert_eq!(tree.level(level), expected.collect::<Vec<_>>(), "level {level}");
        }
        assert_eq!(tree.level(4), [tree.root().0]);
        assert_eq!(tree.level(GROUP_LEVEL), [tree.root().0]);
        assert_eq!(tree.tags(14).tags, [tree.root().tag()]);
    }

    #[test]
    fn larger_nodes_make_the_same_tree_from_their_level_on() {
        for size in [GROUP_BYTES * 11 + 7, GROUP_BYTES * 16, GROUP_BYTES * 16 + 1] {
            let fine = GroupTree::compute(&content(size)).unwrap();
            for finest in 1..4 {
                let coarse = GroupTree::from_values(size as u64, fine.level(finest)).unwrap();
                assert_eq!((coarse.finest(), coarse.root()), (finest, fine.root()));
                for level in finest..=GROUP_LEVEL {
                    assert_eq!(coarse.level(level), fine.level(level), "{size} bytes, {finest}, {level}");
                    assert_eq!(coarse.tags(level), fine.tags(level));
                }
                assert_eq!(coarse.tags(0), fine.tags(finest));
                assert_eq!(GroupTree::parse(size as u64, coarse.as_bytes().to_vec()).unwrap(), coarse);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_up_to_the_coarsest_level() {
        let group_tree = TREE_GROUPS * GROUP;
        assert_eq!(
            [1, group_tree, group_tree + 1, 4 * group_tree, 1 << 46].map(kept_level),
            [0, 0, 1, 2, TREE_LEVEL]
        );
    }

    #[test]
    fn bytes_come_back_and_a_wrong_count_is_refused() {
        let tree = GroupTree::compute(&content(GROUP_BYTES * 3 + 1)).unwrap();
        let bytes = tree.as_bytes().to_vec();
        assert_eq!(GroupTree::parse(tree.size(), bytes.clone()).unwrap(), tree);
        for wrong in [&bytes[..96], &bytes[..127], &bytes[..32], &[]] {
            assert!(matches!(GroupTree::parse(tree.size(), wrong.to_vec()), Err(GroupsError::Values { .. })));
        }
        assert_eq!(GroupTree::parse(u64::MAX, bytes), Err(GroupsError::Size(u64::MAX)));
    }
}
