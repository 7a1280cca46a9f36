//! The group tree of a content: the BLAKE3 chaining value of each aligned 64 KiB group.
//!
//! It comes for free with the content hash and shows, by comparing values, which groups of two
//! contents are equal at the same offset. It never stands for a content: only its root does.

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::model::limits::{FILE_BYTES, GROUP_BYTES, GROUP_LEVEL};
use crate::model::{ContentHash, Tag};

const GROUP: u64 = GROUP_BYTES as u64;

/// Chaining values of the groups of one content of more than [`GROUP_BYTES`] bytes, in order; the
/// last group may be short.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupTree {
    size: u64,
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
pub fn node_bytes(level: u8) -> u64 {
    debug_assert!(level <= GROUP_LEVEL);
    GROUP << level.min(GROUP_LEVEL)
}

/// Chaining value of one group (at most [`GROUP_BYTES`] bytes) that starts at `offset`, for contents of
/// more than one group.
pub fn group_value(bytes: &[u8], offset: u64) -> ChainingValue {
    debug_assert!(bytes.len() <= GROUP_BYTES && offset.is_multiple_of(GROUP));
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

impl GroupTree {
    /// Computes the tree of a content in memory; none up to one group.
    pub fn compute(bytes: &[u8]) -> Option<Self> {
        let values = bytes.chunks(GROUP_BYTES).zip(0..).map(|(group, i)| group_value(group, i * GROUP));
        (bytes.len() > GROUP_BYTES)
            .then(|| Self { size: bytes.len() as u64, bytes: values.collect::<Vec<_>>().into_flattened() })
    }

    /// Makes a tree of values that were computed here or checked elsewhere.
    ///
    /// # Errors
    /// The number of values is not that of the groups of `size` bytes.
    pub fn from_values(size: u64, values: Vec<ChainingValue>) -> Result<Self, GroupsError> {
        check_count(size, values.len() as u64, values.len() * 32)?;
        Ok(Self { size, bytes: values.into_flattened() })
    }

    /// Reads the form that [`GroupTree::as_bytes`] writes.
    ///
    /// # Errors
    /// The length does not fit the size. Whether the values are right only [`GroupTree::root`] tells.
    pub fn parse(size: u64, bytes: Vec<u8>) -> Result<Self, GroupsError> {
        let (values, rest) = bytes.as_chunks::<32>();
        let n_values = if rest.is_empty() { values.len() as u64 } else { 0 };
        check_count(size, n_values, bytes.len())?;
        Ok(Self { size, bytes })
    }

    /// The values, 32 bytes each, in order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of groups.
    pub fn n_groups(&self) -> usize {
        self.values().len()
    }

    /// The groups' values in order.
    pub fn values(&self) -> &[ChainingValue] {
        self.bytes.as_chunks().0
    }

    /// The content hash.
    pub fn root(&self) -> ContentHash {
        ContentHash(self.node(0, self.values().len(), self.size, true))
    }

    /// Values of the nodes of `GROUP_BYTES << level` bytes, in order; the last may be short. One node
    /// that covers all is the root: its value is the content hash.
    pub fn level(&self, level: u8) -> Vec<ChainingValue> {
        let node_groups = 1usize << level.min(GROUP_LEVEL);
        if self.values().len() <= node_groups {
            return vec![self.root().0];
        }
        let starts = (0..self.values().len()).step_by(node_groups);
        starts
            .map(|first| {
                let last = (first + node_groups).min(self.values().len());
                let bytes = (self.size - first as u64 * GROUP).min(node_bytes(level));
                self.node(first, last, bytes, false)
            })
            .collect()
    }

    /// The values of a level, cut to tags.
    pub fn tags(&self, level: u8) -> GroupTags {
        let tags = match level {
            0 => self.values().iter().map(tag_of).collect(),
            _ => self.level(level).iter().map(tag_of).collect(),
        };
        GroupTags { level, tags }
    }

    /// Value of the subtree over groups `first..last`, which are `bytes` long together.
    fn node(&self, first: usize, last: usize, bytes: u64, root: bool) -> ChainingValue {
        if last - first == 1 {
            debug_assert!(!root, "a tree has two groups or more");
            return self.values()[first];
        }
        let left_bytes = left_subtree_len(bytes);
        let middle = first + (left_bytes / GROUP) as usize;
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

fn check_count(size: u64, n_values: u64, received: usize) -> Result<(), GroupsError> {
    if size <= GROUP || size > FILE_BYTES {
        return Err(GroupsError::Size(size));
    }
    let expected = n_nodes(size, 0);
    match n_values == expected {
        true => Ok(()),
        false => Err(GroupsError::Values { size, expected, received }),
    }
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
            assert_eq!(tree.n_groups() as u64, n_nodes(size as u64, 0));
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
    fn bytes_come_back_and_a_wrong_count_is_refused() {
        let tree = GroupTree::compute(&content(GROUP_BYTES * 3 + 1)).unwrap();
        let bytes = tree.as_bytes().to_vec();
        assert_eq!(GroupTree::parse(tree.size(), bytes.clone()).unwrap(), tree);
        for wrong in [&bytes[..96], &bytes[..127], &[]] {
            assert!(matches!(GroupTree::parse(tree.size(), wrong.to_vec()), Err(GroupsError::Values { .. })));
        }
        assert_eq!(GroupTree::parse(u64::MAX, bytes), Err(GroupsError::Size(u64::MAX)));
    }
}
