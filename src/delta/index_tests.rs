//! One pass over a content gives what the whole gives, however it comes.

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
    let n_carried = made.entries().chunks(10).zip(lie.entries().chunks(10)).filter(|(a, b)| a == b).count();
    assert!(n_carried * 10 > made.n_blocks() * 9, "{n_carried} of {}", made.n_blocks());
}
