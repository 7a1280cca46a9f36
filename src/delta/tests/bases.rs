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
    let against = Against { copies: &copies, added: &added, ..Against::default() };
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

#[test]
fn hints_spare_comparing_and_change_no_op() {
    let basis = noise(2 * MIB, 26);
    // Each piece holds whole blocks and parts of some at its ends; between them stands what no hint tells.
    let target: Vec<u8> = basis.chunks(150_000).flat_map(|piece| [piece, b"inserted"].concat()).collect();
    let groups = GroupTree::compute(&target);
    let hint = |piece: u64| KnownCopy {
        at: piece * 150_008 + 1_000,
        len: 70_001,
        basis: 0,
        offset: piece * 150_000 + 1_000,
    };
    let hints: Vec<KnownCopy> = (0..13).map(hint).collect();
    let known = [known(&basis)];
    let sent = |hints: &[KnownCopy]| {
        let against = Against { bases: &known, hints, ..Against::default() };
        let (made, stats) = sent_against(&[&basis], against, offered(&target, &groups, &[]), 0);
        assert!(made.bytes == target);
        stats
    };
    assert_eq!(sent(&hints), sent(&[]));
}

#[test]
fn blocks_inside_a_hint_are_believed_and_those_at_its_ends_are_not() {
    let basis = noise(MIB, 27);
    let mut target = [b"head", &basis[..]].concat();
    // In the middle of the hint, and in the block that its end cuts.
    target[500_000] ^= 1;
    target[600_010] ^= 1;
    let groups = GroupTree::compute(&target);
    let hints = [KnownCopy { at: 400_004, len: 200_000, basis: 0, offset: 400_000 }];
    let known = [known(&basis)];
    let against = Against { bases: &known, hints: &hints, ..Against::default() };
    let (mut at, mut copied) = (0, Vec::new());
    let mut emit = |_: u64, ops: Vec<Op>| {
        for op in &ops {
            if let Op::Copy { len, .. } = op {
                copied.push(at..at + len);
            }
            at += op.target_len();
        }
        ControlFlow::Continue(())
    };
    sieve(offered(&target, &groups, &[]), against, 0, &mut emit).unwrap();
    let is_copied = |place: u64| copied.iter().any(|run| run.contains(&place));
    assert!(is_copied(500_000) && !is_copied(600_010), "{copied:?}");
}
