//! What a hostile or broken peer may try: it is refused, or costs bounded time.

use std::time::{Duration, Instant};

use super::super::blocks::SignatureError;
use super::super::rebuild::RebuildError;
use super::*;

/// Bytes of windows that a hostile signature is made of here: to make it takes longer than to bear it.
const WINDOWS_BYTES: usize = 64 * MIB;

/// The weak hash of every sixteenth window of a target's beginning, under strong hashes that never match.
fn hostile_signature(target: &[u8], block_bytes: u32) -> RangeSignature {
    let block = block_bytes as usize;
    let starts = (0..(2 * MIB).min(target.len() - block)).step_by(16).take(WINDOWS_BYTES / block);
    let mut entries = Vec::new();
    for start in starts {
        let signature = RangeSignature::compute(0, &target[start..start + block], block_bytes, 4);
        entries.extend_from_slice(&signature.entries()[..4]);
        entries.extend_from_slice(&[0; 4]);
    }
    let len = entries.len() as u64 / 8 * u64::from(block_bytes);
    RangeSignature::parse(0, len, block_bytes, 4, entries).unwrap()
}

#[test]
fn hostile_signature_costs_bounded_time() {
    // Of a content that repeats itself each block matches again and again.
    let large: Vec<u8> = noise(16 * 1_024, 17).into_iter().cycle().take(16 * MIB).collect();
    for target in [noise(4 * GROUP, 16), large] {
        let groups = GroupTree::compute(&target);
        for block_bytes in [509, 4_093, 65_521_u32] {
            let hostile = hostile_signature(&target, block_bytes);
            let size = hostile.len();
            let known = KnownBasis { index: 0, size, groups: None, signatures: vec![hostile] };
            let start = Instant::now();
            let (made, stats) = sent(&[], Some(&known), offered(&target, &groups, &[]), 0);
            let took = start.elapsed();
            assert!(made.bytes == target);
            assert_eq!(stats.literal, target.len() as u64);
            let what = format!("{} bytes, blocks of {block_bytes}: {took:?}", target.len());
            println!("{what}");
            assert!(took < Duration::from_secs(2), "{what}");
        }
    }
}

#[test]
fn signatures_with_bad_numbers_are_refused() {
    let parse = |block_bytes, strong_bytes, n_bytes| {
        RangeSignature::parse(0, 1_000, block_bytes, strong_bytes, vec![0; n_bytes]).unwrap_err()
    };
    for block_bytes in [0, 1, 63, 64, 512, 65_522, 65_536, u32::MAX] {
        assert_eq!(parse(block_bytes, 8, 12), SignatureError::BlockBytes(block_bytes));
    }
    for strong_bytes in [0, 3, 17, 255] {
        assert_eq!(parse(501, strong_bytes, 12), SignatureError::StrongBytes(strong_bytes));
    }
    for n_bytes in [0, 12, 23, 25, 36] {
        assert_eq!(
            parse(501, 8, n_bytes),
            SignatureError::Entries { n_blocks: 2, expected: 24, received: n_bytes }
        );
    }
    let range = RangeSignature::parse(u64::MAX, 1_000, 501, 8, vec![0; 12]);
    assert!(matches!(range, Err(SignatureError::Range { .. })));
}

#[test]
fn signature_comes_back_and_its_parts_are_those_of_the_parts() {
    let basis = noise(10_000, 17);
    let signature = RangeSignature::compute(5_000, &basis, 101, 8);
    assert_eq!(RangeSignature::from_bytes(&signature.to_bytes()).unwrap(), signature);
    let part = signature.sub_range(5_150..5_310);
    assert_eq!(part, RangeSignature::compute(5_101, &basis[101..404], 101, 8));
    assert!(signature.sub_range(0..10).is_empty());
    assert!(signature.sub_range(20_000..30_000).is_empty());
    assert_eq!(signature.sub_range(0..u64::MAX), signature);
}

/// A few blocks are hashed in lanes that others do not fill: each has the entry it has alone.
#[test]
fn blocks_have_the_same_entries_whatever_stands_beside_them() {
    let basis = noise(25 * 101, 19);
    for len in (0..=20 * 101).step_by(101).flat_map(|len| [len, len + 1, len + 100]) {
        let signature = RangeSignature::compute(0, &basis[..len], 101, 8);
        let alone = basis[..len].chunks(101).map(|block| RangeSignature::compute(0, block, 101, 8));
        assert_eq!(signature.entries(), alone.flat_map(|block| block.entries().to_vec()).collect::<Vec<_>>());
    }
}

#[test]
fn ops_outside_of_a_basis_are_refused() {
    let basis = noise(1_000, 18);
    let ops = [
        Op::Same { len: 1_001 },
        Op::Copy { basis: 0, offset: 999, len: 2 },
        Op::Copy { basis: 1, offset: 0, len: 1 },
        Op::Blocks { basis: 0, offset: 900, len: 101, target_len: 5, delta: vec![] },
    ];
    for op in ops {
        let refused = rebuild(&op, 0, &mut Held(vec![&basis]), &mut Made::default(), &mut Vec::new());
        assert!(matches!(refused, Err(RebuildError::Range { .. })), "{op:?}");
    }
    let past_the_end =
        rebuild(&Op::Zeros { len: 1 }, u64::MAX, &mut Held(vec![]), &mut Made::default(), &mut Vec::new());
    assert!(matches!(past_the_end, Err(RebuildError::Op(_))));
}

/// Bases whose frames hold what they expand to.
struct Plain<'a>(Held<'a>);

impl Bases for Plain<'_> {
    fn len(&self, basis: u32) -> Option<u64> {
        self.0.len(basis)
    }

    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(basis, buf, offset)
    }

    fn expand(&self, prefix: &[u8], frame: &[u8], _target_bytes: usize) -> Option<Vec<u8>> {
        Some([prefix, frame].concat())
    }
}

#[test]
fn a_frame_over_a_prefix_makes_exactly_what_it_says_or_nothing() {
    let basis = noise(1_000, 18);
    let prefix = |offset, len, target_len| Op::Prefix { basis: 0, offset, len, target_len, frame: vec![7] };
    let carry_out = |op: &Op| {
        let mut made = Made::default();
        rebuild(op, 0, &mut Plain(Held(vec![&basis])), &mut made, &mut Vec::new()).map(|_| made.bytes)
    };
    assert_eq!(carry_out(&prefix(998, 2, 3)).unwrap(), [basis[998], basis[999], 7]);
    assert!(matches!(carry_out(&prefix(999, 2, 3)), Err(RebuildError::Range { .. })));
    assert!(matches!(carry_out(&prefix(u64::MAX, 2, 3)), Err(RebuildError::Op(_))));
    assert!(matches!(carry_out(&prefix(0, 2, 2)), Err(RebuildError::Prefix { .. })));
    assert!(matches!(carry_out(&prefix(0, 2, 4)), Err(RebuildError::Prefix { .. })));
    for (len, target_len) in [(u32::MAX, 3), (2, u32::MAX)] {
        assert!(matches!(carry_out(&prefix(0, len, target_len)), Err(RebuildError::Op(_))));
    }
    // Where nothing expands frames, none is taken.
    let refused =
        rebuild(&prefix(0, 2, 3), 0, &mut Held(vec![&basis]), &mut Made::default(), &mut Vec::new());
    assert!(matches!(refused, Err(RebuildError::Prefix { .. })));
}

#[test]
fn a_delta_that_makes_less_or_more_than_said_is_refused() {
    let basis = noise(10_000, 19);
    let delta = RangeSignature::compute(0, &basis, 101, 8).diff(&basis[..5_000], 10_000).unwrap();
    assert_eq!(apply(&basis, &delta, 5_000).unwrap(), &basis[..5_000]);
    assert!(apply(&basis, &delta, 4_999).is_err());
    assert!(apply(&basis, &delta, 5_001).is_err());
    assert!(apply(&basis[..4_000], &delta, 5_000).is_err());
}
