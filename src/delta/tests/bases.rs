//! Several bases at once: each is used by groups, blocks and known copies, wherever it stands in the list.

use super::super::ops::Basis;
use super::super::sieve::KnownCopy;
use super::*;

fn all_known(bases: &[&[u8]]) -> Vec<KnownBasis> {
    (0..).zip(bases).map(|(index, basis)| KnownBasis { index, ..known(basis) }).collect()
}

#[test]
fn groups_and_blocks_of_every_basis_are_used() {
    let (first, second) = (noise(MIB, 21), noise(MIB, 22));
    // A head of the first in its place, a group of the second in its place, a moved part of each.
    let target = [
        &first[..3 * GROUP],
        &second[3 * GROUP..5 * GROUP],
        &second[700_000..900_000],
        b"between",
        &first[400_001..600_000],
    ]
    .concat();
    let groups = GroupTree::compute(&target);
    let bases = [&first[..], &second];
    let known = all_known(&bases);
    let against = Against { bases: &known, ..Against::default() };
    let (made, stats) = sent_against(&bases, against, offered(&target, &groups, &[]), 0);
    assert!(made.bytes == target);
    assert_eq!(stats.by_groups, 5 * GROUP as u64);
    assert!(stats.literal < 4 * 509 + 7, "{stats:?}");
}

#[test]
fn known_copies_are_not_read_and_added_bases_come_first() {
    let (held, new) = (noise(MIB, 23), noise(5_000, 24));
    let target = [&held[10_000..500_000], &new, &held[500_000..]].concat();
    let groups = GroupTree::compute(&target);
    let copies = [
        KnownCopy { at: 0, len: 490_000, basis: 0, offset: 10_000 },
        KnownCopy { at: 495_000, len: held.len() as u64 - 500_000, basis: 0, offset: 500_000 },
    ];
    let added = [Basis::Content { hash: ContentHash::of(&held) }];
    let against = Against { bases: &[], copies: &copies, added: &added };
    let (made, stats) = sent_against(&[&held], against, offered(&target, &groups, &[]), 0);
    assert!(made.bytes == target);
    assert_eq!((stats.literal, stats.by_chunks), (5_000, target.len() as u64 - 5_000));
    assert_eq!((stats.read, stats.n_ops), (GROUP as u64, 4));
}

#[test]
fn a_basis_that_only_comes_second_is_enough() {
    let basis = noise(MIB, 25);
    let target = [b"head", &basis[..], b"tail"].concat();
    let groups = GroupTree::compute(&target);
    let known = [KnownBasis { index: 1, ..known(&basis) }];
    let against = Against { bases: &known, ..Against::default() };
    let (made, stats) = sent_against(&[b"other", &basis], against, offered(&target, &groups, &[]), 0);
    assert!(made.bytes == target);
    assert!(stats.literal <= 509 + 8, "{stats:?}");
}
