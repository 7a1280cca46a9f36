//! What is done otherwise for huge contents, on small ones: groups of a coarser level.

use super::*;
use crate::delta::index::{ContentIndex, Earlier, Indexer};
use crate::model::limits::GIB;

fn indexed(level: u8, bytes: &[u8], earlier: Option<Earlier>, piece_bytes: usize) -> ContentIndex {
    let mut indexer = Indexer::at_level(level, bytes.len() as u64, earlier);
    bytes.chunks(piece_bytes).for_each(|piece| indexer.update(piece));
    indexer.finish()
}

fn earlier(level: u8, bytes: &[u8]) -> Earlier {
    let ContentIndex { groups, signature, chunks, .. } = indexed(level, bytes, None, MIB);
    Earlier::new(groups.expect("more than one group"), signature, chunks)
}

/// The same index, with the tree that larger groups make.
fn coarse(index: ContentIndex, level: u8) -> ContentIndex {
    let tree = index.groups.map(|groups| GroupTree::from_values(index.size, groups.level(level)).unwrap());
    ContentIndex { groups: tree, ..index }
}

#[test]
fn larger_groups_change_nothing_but_the_tree() {
    for size in [2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB + 777] {
        let bytes = noise(size, 3);
        let fine = indexed(0, &bytes, None, MIB);
        for level in 1..=3 {
            for piece_bytes in [70_001, GROUP, MIB, 4 * MIB] {
                let index = indexed(level, &bytes, None, piece_bytes);
                assert_eq!(index, coarse(fine.clone(), level), "{size} bytes at {level} by {piece_bytes}");
            }
        }
    }
}

#[test]
fn holes_in_larger_groups_count_as_zeros() {
    for (head, len) in [(0, 3 * MIB), (1, MIB), (GROUP, 5 * GROUP), (MIB - 1, 2 * MIB + 5), (MIB, 2 * MIB)] {
        let mut bytes = noise(head, 5);
        let mut indexer = Indexer::at_level(2, (head + len + 4) as u64, None);
        indexer.update(&bytes);
        indexer.update_zeros(len as u64);
        indexer.update(b"tail");
        bytes.resize(head + len, 0);
        bytes.extend(b"tail");
        assert_eq!(indexer.finish(), indexed(2, &bytes, None, MIB), "{head} and {len} zeros");
    }
}

#[test]
fn a_content_that_shrank_to_one_large_group_has_its_hash() {
    for size in [GROUP + 1, 4 * GROUP] {
        let bytes = noise(size, 8);
        let index = indexed(2, &bytes, None, GROUP);
        assert_eq!((index.hash, index.groups), (ContentHash::of(&bytes), None));
    }
}

#[test]
fn an_earlier_version_is_compared_at_its_own_level_only() {
    let old = noise(4 * MIB + 99, 11);
    let mut new = old.clone();
    new[3 * MIB..3 * MIB + 4_096].fill(9);
    let fresh = indexed(0, &new, None, MIB);
    for (level, earlier_level) in [(2, 2), (2, 0), (0, 2), (3, 2)] {
        for piece_bytes in [70_001, MIB, 2 * MIB + 9] {
            let earlier = earlier(earlier_level, &old);
            let index = indexed(level, &new, Some(earlier), piece_bytes);
            assert_eq!(index, coarse(fresh.clone(), level), "{level} over {earlier_level} by {piece_bytes}");
        }
    }
    let mut indexer = Indexer::at_level(2, old.len() as u64, Some(earlier(2, &old)));
    indexer.update(&old[..2 * MIB]);
    assert!(indexer.is_as_earlier());
    let mut indexer = Indexer::at_level(2, old.len() as u64, Some(earlier(0, &old)));
    indexer.update(&old[..2 * MIB]);
    assert!(!indexer.is_as_earlier());
}

#[test]
fn larger_groups_are_sieved_and_verified() {
    let old = noise(6 * MIB + 99, 21);
    let mut new = old.clone();
    new[3 * MIB + 5..3 * MIB + 99].fill(9);
    for level in [1, 3, 5] {
        let groups = indexed(level, &new, None, MIB).groups;
        let finest = groups.as_ref().map(GroupTree::finest);
        assert_eq!(finest, Some(level));
        let basis = KnownBasis {
            groups: indexed(level, &old, None, MIB).groups.map(|groups| groups.tags(0)),
            ..known(&old)
        };
        for from in [0, 3 * MIB as u64 + 50] {
            let (made, stats) = sent(&old, Some(&basis), offered(&new, &groups, &[]), from);
            assert!(made.bytes == new[from as usize..]);
            assert!(stats.literal < 1_200, "{stats:?}");
        }
        // Tags that are finer than the tree say nothing.
        let (made, stats) = sent(&old, Some(&known(&old)), offered(&new, &groups, &[]), 0);
        assert!(made.bytes == new);
        assert_eq!(stats.by_groups, 0);
        let mut moved = new.clone();
        moved[3 * MIB] ^= 1;
        let target = Target { content: &moved, ..offered(&new, &groups, &[]) };
        let against = Against { bases: slice::from_ref(&basis), ..Against::default() };
        let stopped = sieve(target, against, 0, &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(stopped, Err(DeltaError::Changed { .. })), "{stopped:?}");
    }
}

#[test]
fn a_sender_keeps_less_of_what_is_huge() {
    let made = |size: u64| {
        let mut indexer = Indexer::new(size);
        indexer.update(&noise(5 * MIB, 2));
        let index = indexer.finish();
        (index.groups.unwrap().finest(), index.signature.is_some(), index.chunks.is_some())
    };
    assert_eq!(made(16 * GIB), (0, true, true));
    assert_eq!(made(64 * GIB), (2, true, true));
    assert_eq!(made(100 * GIB), (3, true, false));
    assert_eq!(made(1_024 * GIB), (5, false, false));
}
