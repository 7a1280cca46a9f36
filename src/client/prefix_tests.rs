//! Frames over prefixes make what the ops before them made, and only where that is shorter.

use super::cost::OP_COST;
use super::*;
use crate::delta::blocks::RangeSignature;
use crate::delta::groups::GroupTree;
use crate::delta::rebuild::{Bases, Sink, rebuild};
use crate::delta::sieve::{Against, KnownBasis, Target, sieve};
use crate::model::ContentHash;
use crate::net::squeeze::{expand_over, squeeze_over};
use proptest::prelude::*;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

fn noise(n_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

struct Held<'a>(&'a [u8]);

impl Bases for Held<'_> {
    fn len(&self, basis: u32) -> Option<u64> {
        (basis == 0).then_some(self.0.len() as u64)
    }

    fn read_at(&mut self, _basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn expand(&self, prefix: &[u8], frame: &[u8], target_bytes: usize) -> Option<Vec<u8>> {
        expand_over(prefix, frame, target_bytes)
    }
}

#[derive(Default)]
struct Made(Vec<u8>);

impl Sink for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.0.resize(self.0.len() + len as usize, 0);
        Ok(())
    }
}

/// The frames of the sieve, after the recoder, and what frames over prefixes settled.
fn recoded(
    basis: &[u8],
    target: &[u8],
    read_basis: &ReadBasis,
    reread: &[u8],
    is_worth: bool,
) -> (Vec<(u64, Vec<Op>)>, Settled) {
    recoded_over(Known::Held(read_basis), basis, target, &reread.to_vec(), &|| is_worth)
}

/// The same where this side knows of the basis what the target copies.
fn recoded_by_copies(basis: &[u8], target: &[u8]) -> (Vec<(u64, Vec<Op>)>, Settled) {
    recoded_over(Known::Copied(Copied::new(0)), basis, target, &target.to_vec(), &|| true)
}

fn recoded_over<'r>(
    known: Known<'r>,
    basis: &[u8],
    target: &[u8],
    reread: &'r dyn ReadAt,
    is_worth: &'r dyn Fn() -> bool,
) -> (Vec<(u64, Vec<Op>)>, Settled) {
    let (groups, basis_groups) = (GroupTree::compute(target), GroupTree::compute(basis));
    let offered_basis = KnownBasis {
        index: 0,
        size: basis.len() as u64,
        groups: basis_groups.map(|groups| groups.tags(0)),
        signatures: vec![RangeSignature::compute(0, basis, 509, 8)],
    };
    let content: &dyn ReadAt = &target.to_vec();
    let hash = ContentHash::of(target);
    let offered = Target { content, size: target.len() as u64, hash, groups: groups.as_ref(), holes: &[] };
    let mut sent = Vec::new();
    let mut send = |at, ops| {
        sent.push((at, ops));
        ControlFlow::Continue(())
    };
    let of = Recoding {
        known,
        basis: (0, basis.len() as u64),
        target: reread,
        target_size: target.len() as u64,
        is_worth,
    };
    let against = Against { bases: std::slice::from_ref(&offered_basis), ..Against::default() };
    let settled = of.run(|recoder| {
        sieve(offered, against, 0, &mut |at, ops| recoder.take(at, ops, &mut send)).expect("a delta");
        assert!(recoder.finish(&mut send).is_continue());
        recoder.settled()
    });
    (sent, settled)
}

fn made_of(basis: &[u8], frames: &[(u64, Vec<Op>)]) -> Vec<u8> {
    let mut made = Made::default();
    for (at, ops) in frames {
        assert_eq!(*at, made.0.len() as u64, "frames join");
        assert!(ops.len() <= OPS);
        let wire: usize = ops.iter().map(Op::wire_bytes).sum();
        assert!(wire <= DELTA_AIM_BYTES || ops.iter().any(|op| matches!(op, Op::Prefix { .. })));
        assert!(wire <= crate::model::limits::OP_BYTES);
        for op in ops {
            rebuild(op, made.0.len() as u64, &mut Held(basis), &mut made, &mut Vec::new())
                .expect("our own ops");
        }
    }
    made.0
}

fn wire_bytes(frames: &[(u64, Vec<Op>)]) -> usize {
    frames.iter().flat_map(|(_, ops)| ops).map(|op| op.wire_bytes() + OP_COST).sum()
}

fn n_prefixes(frames: &[(u64, Vec<Op>)]) -> usize {
    frames.iter().flat_map(|(_, ops)| ops).filter(|op| matches!(op, Op::Prefix { .. })).count()
}

fn whole(basis: &[u8]) -> impl Fn(Range<u64>) -> Option<Vec<u8>> {
    |range| Some(basis[range.start as usize..range.end as usize].to_vec())
}

/// Every 3,000 bytes one is inserted, and its neighbour another.
fn edited(basis: &[u8]) -> Vec<u8> {
    let mut target = Vec::new();
    for piece in basis.chunks(3_000) {
        target.extend_from_slice(piece);
        target.push(7);
        let last = target.len() - 2;
        target[last] ^= 1;
    }
    target
}

#[test]
fn many_small_edits_cost_a_few_bytes_each() {
    let basis = noise(5 << 20, 1);
    let target = edited(&basis);
    let (plain, _) = recoded(&basis, &target, &whole(&basis), &target, false);
    let (frames, settled) = recoded(&basis, &target, &whole(&basis), &target, true);
    assert!(made_of(&basis, &frames) == target);
    assert!(made_of(&basis, &plain) == target);
    assert_eq!(n_prefixes(&plain), 0, "bytes are not dear");
    let n_edits = basis.len() / 3_000;
    assert!(wire_bytes(&frames) < 20 * n_edits, "{} bytes for {n_edits}", wire_bytes(&frames));
    assert!(wire_bytes(&frames) * 10 < wire_bytes(&plain));
    assert!(settled.target > 4 << 20 && settled.wire < 100_000, "{settled:?}");
}

#[test]
fn a_page_that_changed_a_little_is_looked_up_in_its_own_place() {
    let basis = noise(4 << 20, 2);
    let mut target = basis.clone();
    for at in (0..64).map(|index| 2_000_000 + index * 61) {
        target[at] ^= 0x55;
    }
    let (frames, _) = recoded(&basis, &target, &whole(&basis), &target, true);
    assert!(made_of(&basis, &frames) == target);
    assert!(wire_bytes(&frames) < 700, "{} bytes", wire_bytes(&frames));
}

/// Every second range that is asked for is lost, in one way or another; the others become frames.
fn every_second_is(lost: impl Fn() -> Option<Vec<u8>> + Sync) {
    let basis = noise(5 << 20, 3);
    let target = edited(&basis);
    let n_asked = AtomicUsize::new(0);
    let lossy = |range: Range<u64>| match n_asked.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => lost(),
        _ => whole(&basis)(range),
    };
    let (frames, settled) = recoded(&basis, &target, &lossy, &target, true);
    assert!(made_of(&basis, &frames) == target);
    assert!(settled.target > 0 && settled.target < 5 << 20, "{settled:?}");
}

#[test]
fn what_the_shadow_has_lost_travels_as_ops() {
    every_second_is(|| None);
}

#[test]
fn a_fault_in_an_attempt_lets_its_stretch_travel_as_ops() {
    every_second_is(|| panic!("a fault, as the test wants it"));
}

/// Some stretches become frames and some do not, so that others are passed over.
#[test]
fn the_same_is_sent_however_the_cores_take_turns() {
    let basis = noise(12 << 20, 16);
    let mut target = edited(&basis);
    target[..5 << 20].copy_from_slice(&noise(5 << 20, 17));
    target[7 << 20..9 << 20].copy_from_slice(&noise(2 << 20, 18));
    let (first, settled) = recoded(&basis, &target, &whole(&basis), &target, true);
    assert!(made_of(&basis, &first) == target);
    assert!(n_prefixes(&first) > 1 && settled.target < 4 << 20, "{settled:?}");
    for _ in 0..4 {
        assert!(recoded(&basis, &target, &whole(&basis), &target, true).0 == first);
    }
}

#[test]
fn a_file_cut_short_while_it_is_read_again_travels_as_ops() {
    let basis = noise(1 << 20, 4);
    let target = edited(&basis);
    let (frames, settled) = recoded(&basis, &target, &whole(&basis), &target[..1_000], true);
    assert!(made_of(&basis, &frames) == target);
    assert_eq!(settled, Settled::default());
}

#[test]
fn unrelated_content_is_not_tried_window_by_window() {
    let (basis, target) = (noise(16 << 20, 5), noise(64 << 20, 6));
    let n_asked = AtomicUsize::new(0);
    let counted = |range: Range<u64>| {
        n_asked.fetch_add(1, Ordering::Relaxed);
        Some(basis[range.start as usize..range.end as usize].to_vec())
    };
    let (frames, settled) = recoded(&basis, &target, &counted, &target, true);
    assert!(made_of(&basis, &frames) == target);
    assert_eq!(settled, Settled::default());
    let n_asked = n_asked.into_inner();
    assert!(n_asked <= 40, "{n_asked} times for 32 windows");
}

/// `n_bytes` of pieces of 24 bytes from anywhere in a content: too short for the sieve to find.
fn pieces_of(content: &[u8], n_bytes: usize, seed: u64) -> Vec<u8> {
    let places = noise(n_bytes.div_ceil(24) * 4, seed);
    let mut bytes: Vec<u8> = places
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|place| {
            let at = u32::from_le_bytes(*place) as usize % (content.len() - 24);
            content[at..at + 24].to_vec()
        })
        .collect();
    bytes.truncate(n_bytes);
    bytes
}

/// In the middle of every 20,000 bytes stand 2,000 others instead, of pieces of what is around them.
fn rewritten(basis: &[u8]) -> Vec<u8> {
    let mut target = basis.to_vec();
    for at in (0..target.len() - 20_000).step_by(20_000) {
        let new = pieces_of(&basis[at..at + 8_000], 2_000, at as u64);
        target[at + 9_000..at + 11_000].copy_from_slice(&new);
    }
    target
}

#[test]
fn where_only_copies_are_known_literals_lean_on_them() {
    let basis = noise(1 << 20, 7);
    let target = rewritten(&basis);
    let never = &|_: Range<u64>| panic!("no shadow is asked");
    let (plain, _) = recoded(&basis, &target, never, &target, false);
    let (frames, settled) = recoded_by_copies(&basis, &target);
    assert!(made_of(&basis, &frames) == target);
    assert!(settled.target > 900_000, "{settled:?}");
    assert!(wire_bytes(&frames) * 2 < wire_bytes(&plain), "{} bytes", wire_bytes(&frames));
}

#[test]
fn a_frame_that_leans_on_what_is_not_known_is_not_sent() {
    // The one byte that stands nowhere in the basis is what its hole is filled with.
    let basis: Vec<u8> = noise(120_000, 9).into_iter().map(|byte| byte.min(254)).collect();
    let (hole, mut target) = (50_000 / 509 * 509, basis.clone());
    target[50_000..53_000].copy_from_slice(&pieces_of(&basis[20_000..45_000], 3_000, 15));
    let (sure, _) = recoded_by_copies(&basis, &target);
    assert!(made_of(&basis, &sure) == target);
    assert_eq!(n_prefixes(&sure), 1, "it is worth a frame");
    let tempting = [&basis[hole - 24..hole], &[255; 3]].concat();
    target[51_000..51_027].copy_from_slice(&tempting);
    let (frames, settled) = recoded_by_copies(&basis, &target);
    assert!(made_of(&basis, &frames) == target);
    assert_eq!((n_prefixes(&frames), settled), (0, Settled::default()));
}

#[test]
fn a_match_in_a_hole_is_noticed_whatever_the_hole_is_filled_with() {
    let basis = noise(30_000, 10);
    let mut copied = Copied::new(0);
    copied.note(&Op::Same { len: 10_000 }, 0);
    copied.note(&Op::Copy { basis: 0, offset: 20_000, len: 10_000 }, 20_000);
    let pieced = || {
        let mut pieced = copied.range(&(1_000..30_000), &basis).expect("two copies");
        pieced.fill_unlike(&[1; 10]);
        pieced
    };
    let frame_of = |target: &[u8]| squeeze_over(&pieced().bytes, target, Tables::Narrow).expect("a frame");
    assert_eq!((pieced().offset, pieced().bytes.len()), (1_000, 29_000));
    let known = [&basis[25_000..28_000], b"and what is new", &basis[2_000..5_000]].concat();
    assert!(pieced().makes(&frame_of(&known), &known));
    let leaning = [&known[..], &basis[9_900..10_000], &[0; 4]].concat();
    let frame = frame_of(&leaning);
    assert!(expand_over(&pieced().bytes, &frame, leaning.len()).as_ref() == Some(&leaning));
    assert!(!pieced().makes(&frame, &leaning));
}

#[test]
fn nothing_is_leant_on_where_nothing_is_copied() {
    let copied = Copied::new(0);
    assert!(copied.range(&(0..100), &noise(100, 11)).is_none());
    let (basis, target) = (noise(200_000, 12), vec![b'a'; 200_000]);
    let (frames, settled) = recoded_by_copies(&basis, &target);
    assert!(made_of(&basis, &frames) == target);
    assert_eq!(settled, Settled::default());
}

#[test]
fn a_file_cut_short_travels_as_ops_where_only_copies_are_known() {
    let basis = noise(1 << 20, 13);
    let target = rewritten(&basis);
    let known = Known::Copied(Copied::new(0));
    let (frames, settled) = recoded_over(known, &basis, &target, &target[..1_000].to_vec(), &|| true);
    assert!(made_of(&basis, &frames) == target);
    assert_eq!(settled, Settled::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_edits_are_made_right(
        seed: u64,
        size in 1usize..600_000,
        edits in prop::collection::vec((0usize..600_000, 0usize..90_000, 0usize..5_000), 0..12),
    ) {
        let basis = noise(size, seed);
        let mut target = basis.clone();
        for (number, (at, cut, put)) in edits.into_iter().enumerate() {
            let at = at % (target.len() + 1);
            let end = (at + cut).min(target.len());
            target.splice(at..end, noise(put, seed ^ number as u64));
        }
        let (frames, _) = recoded(&basis, &target, &whole(&basis), &target, true);
        prop_assert!(made_of(&basis, &frames) == target);
    }

    #[test]
    fn any_edits_are_made_right_by_what_is_copied(
        seed: u64,
        size in 30_000usize..600_000,
        n_letters in 1u8..=255,
        edits in prop::collection::vec((0usize..600_000, 0usize..9_000, 0usize..9_000), 0..12),
    ) {
        let mut basis = noise(size, seed);
        basis.iter_mut().for_each(|byte| *byte %= n_letters);
        let mut target = basis.clone();
        for (number, (at, cut, put)) in edits.into_iter().enumerate() {
            let at = at % (target.len() + 1);
            let end = (at + cut).min(target.len());
            target.splice(at..end, pieces_of(&basis, put, seed ^ number as u64));
        }
        let (frames, _) = recoded_by_copies(&basis, &target);
        prop_assert!(made_of(&basis, &frames) == target);
    }
}
