//! Sieve and rebuild against each other: what is sent makes the target, and costs what it should.

use std::cell::Cell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::slice;

use proptest::prelude::*;

use super::blocks::{RangeSignature, apply, block_bytes_for};
use super::groups::GroupTree;
use super::needs::{Likeness, needed_ranges, request_block_bytes};
use super::ops::Op;
use super::rebuild::{Bases, Sink, rebuild};
use super::sieve::{Against, DeltaError, DeltaStats, KnownBasis, ReadAt, Target, sieve};
use crate::model::ContentHash;
use crate::model::limits::{DELTA_AIM_BYTES, GROUP_BYTES, MIB, OPS};

mod bases;
mod beside;
mod hostile;
mod huge;

const GROUP: usize = GROUP_BYTES;

/// Bytes that no compressor and no sieve finds anything in (xorshift, Marsaglia 2003).
pub(super) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
}

struct Held<'a>(Vec<&'a [u8]>);

impl Bases for Held<'_> {
    fn len(&self, basis: u32) -> Option<u64> {
        self.0.get(basis as usize).map(|bytes| bytes.len() as u64)
    }

    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0[basis as usize].read_at(buf, offset)
    }
}

#[derive(Default)]
struct Made {
    bytes: Vec<u8>,
    holes: u64,
}

impl Sink for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.holes += len;
        self.bytes.resize(self.bytes.len() + len as usize, 0);
        Ok(())
    }
}

fn offered<'a>(bytes: &'a Vec<u8>, groups: &'a Option<GroupTree>, holes: &'a [Range<u64>]) -> Target<'a> {
    let hash = ContentHash::of(bytes);
    Target { content: bytes, size: bytes.len() as u64, hash, groups: groups.as_ref(), holes }
}

fn known(basis: &[u8]) -> KnownBasis {
    let block_bytes = block_bytes_for(basis.len() as u64);
    KnownBasis {
        index: 0,
        size: basis.len() as u64,
        groups: GroupTree::compute(basis).map(|groups| groups.tags(0)),
        signatures: vec![RangeSignature::compute(0, basis, block_bytes, 8)],
    }
}

/// Sends and rebuilds, and returns the target from `from` on with what it cost.
fn sent(basis: &[u8], known: Option<&KnownBasis>, target: Target, from: u64) -> (Made, DeltaStats) {
    let against = Against { bases: known.map_or(&[], slice::from_ref), ..Against::default() };
    sent_against(&[basis], against, target, from)
}

/// The same against several bases.
fn sent_against(bases: &[&[u8]], against: Against, target: Target, from: u64) -> (Made, DeltaStats) {
    let mut frames = Vec::new();
    let mut emit = |at, ops: Vec<Op>| {
        frames.push((at, ops));
        ControlFlow::Continue(())
    };
    let stats = sieve(target, against, from, &mut emit).unwrap();
    let (mut made, mut at) = (Made::default(), from);
    for (first, ops) in &frames {
        assert_eq!(*first, at, "frames join");
        assert!(!ops.is_empty() && ops.len() <= OPS);
        assert!(ops.iter().map(Op::wire_bytes).sum::<usize>() <= DELTA_AIM_BYTES);
        for op in ops {
            at += rebuild(op, at, &mut Held(bases.to_vec()), &mut made, &mut Vec::new()).unwrap();
        }
    }
    assert_eq!(at, target.size);
    let found = stats.by_groups + stats.by_chunks + stats.by_blocks;
    assert_eq!(found + stats.zeros + stats.literal, target.size - from, "{stats:?}");
    assert_eq!(found, stats.same + stats.copied + stats.blocks_target, "{stats:?}");
    assert_eq!(frames.len() as u64, stats.n_frames);
    (made, stats)
}

/// Sends a target against everything that can be known of a basis, and checks that it arrives.
fn cost(basis: &[u8], target: &Vec<u8>) -> DeltaStats {
    let groups = GroupTree::compute(target);
    let (made, stats) = sent(basis, Some(&known(basis)), offered(target, &groups, &[]), 0);
    assert!(made.bytes == *target);
    stats
}

/// One change of a content: what, where (of 2^16), how long.
type Edit = (u8, u16, usize);

fn edited(basis: &[u8], edits: &[Edit], seed: u64) -> Vec<u8> {
    let mut target = basis.to_vec();
    for (i, (kind, place, len)) in edits.iter().enumerate() {
        let start = (target.len() * usize::from(*place)) >> 16;
        let end = (start + len).min(target.len());
        let new = noise(*len, seed + i as u64);
        match kind {
            0 => target[start..end].copy_from_slice(&new[..end - start]),
            1 => drop(target.splice(start..start, new)),
            2 => drop(target.drain(start..end)),
            3 => target.truncate(start.max(target.len() / 2)),
            4 => target.extend(new),
            5 => target[start..end].fill(0),
            6 => drop(target.splice(start..start, vec![0; GROUP + len])),
            _ => {
                let moved: Vec<u8> = target.drain(start..end).collect();
                let to = target.len() / 3;
                drop(target.splice(to..to, moved));
            }
        }
    }
    target
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let len = prop_oneof![1_usize..20, 1_usize..3_000, 1_usize..150_000];
    proptest::collection::vec((0_u8..8, any::<u16>(), len), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_edits_arrive(size in 0_usize..500_000, edits in edits(), seed in 0_u64..1_000, from in any::<u16>()) {
        let basis = noise(size, seed);
        let target = edited(&basis, &edits, seed + 1);
        let groups = GroupTree::compute(&target);
        let offer = offered(&target, &groups, &[]);
        let mut known = known(&basis);
        prop_assert!(sent(&basis, Some(&known), offer, 0).0.bytes == target);
        let from = (target.len() * usize::from(from)) >> 16;
        prop_assert!(sent(&basis, Some(&known), offer, from as u64).0.bytes == target[from..]);
        known.groups = GroupTree::compute(&basis).map(|groups| groups.tags(1));
        prop_assert!(sent(&basis, Some(&known), offer, 0).0.bytes == target);
        known.groups = None;
        prop_assert!(sent(&basis, Some(&known), offer, 0).0.bytes == target);
        let (made, stats) = sent(&basis, None, offer, 0);
        prop_assert!(made.bytes == target);
        prop_assert_eq!(stats.zeros + stats.literal, target.len() as u64);
    }

    #[test]
    fn asked_ranges_in_two_block_sizes_arrive(edits in edits(), seed in 0_u64..1_000) {
        let basis = noise(900_000, seed);
        let target = edited(&basis, &edits, seed + 1);
        let groups = GroupTree::compute(&target);
        let Some(tags) = groups.as_ref().map(|groups| groups.tags(0)) else { return Ok(()) };
        let mut known = known(&basis);
        let ranges = needed_ranges(&tags, known.groups.as_ref().unwrap(), basis.len() as u64);
        let range_bytes: u64 = ranges.iter().map(|range| range.1).sum();
        let likeness = Likeness::of_groups(&tags, known.groups.as_ref().unwrap(), 1.0);
        let Some((block_bytes, strong_bytes)) = request_block_bytes(range_bytes, &likeness) else {
            return Ok(());
        };
        let sign = |(offset, len): &(u64, u64), block_bytes| {
            let range = &basis[*offset as usize..(*offset + *len) as usize];
            RangeSignature::compute(*offset, range, block_bytes, strong_bytes)
        };
        let coarse = ranges.iter().map(|range| sign(range, block_bytes));
        known.signatures = coarse.chain(ranges.iter().take(1).map(|range| sign(range, 129))).collect();
        prop_assert!(sent(&basis, Some(&known), offered(&target, &groups, &[]), 0).0.bytes == target);
    }

    #[test]
    fn any_bytes_as_a_delta_or_a_stored_signature_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = apply(&[1; 1000], &bytes, 500);
        let _ = RangeSignature::from_bytes(&bytes);
        let _ = GroupTree::parse(GROUP as u64 * 3, bytes.clone());
    }
}

#[test]
fn equal_contents_are_not_read() {
    let basis = noise(MIB, 1);
    let stats = cost(&basis, &basis.clone());
    assert_eq!((stats.same, stats.read, stats.n_ops), (MIB as u64, 0, 1));
}

#[test]
fn one_edited_byte_costs_a_block() {
    let basis = noise(8 * MIB + 5, 2);
    for place in [0, 70_000, 4 * MIB, 4 * MIB - 1, 8 * MIB - 2_000] {
        let mut target = basis.clone();
        target[place] ^= 1;
        let stats = cost(&basis, &target);
        assert!(stats.wire_bytes() <= 1_021, "at {place}: {stats:?}");
        assert!(stats.read <= GROUP as u64 + 2_048);
    }
}

#[test]
fn head_insert_costs_itself() {
    let basis = noise(8 * MIB + 5, 3);
    let target = [&[7; 100], &basis[..]].concat();
    let stats = cost(&basis, &target);
    assert!(stats.wire_bytes() <= 100 + 1_021, "{stats:?}");
    assert!(stats.n_ops < 8, "{stats:?}");
}

#[test]
fn scattered_inserts_cost_about_a_block_each() {
    let basis = noise(2 * MIB, 4);
    let target: Vec<u8> = basis.chunks(50_000).flat_map(|piece| [piece, b"insert"].concat()).collect();
    let n_inserts = basis.len().div_ceil(50_000) as u64;
    let stats = cost(&basis, &target);
    assert!(stats.wire_bytes() <= n_inserts * 2 * 509, "{stats:?}");
}

#[test]
fn dense_edits_become_blocks() {
    let basis = noise(3 * GROUP, 5);
    let target: Vec<u8> = basis.chunks(2_000).flat_map(|piece| [piece, b"insert"].concat()).collect();
    let stats = cost(&basis, &target);
    assert!(stats.blocks_target > 0, "{stats:?}");
    assert!(stats.wire_bytes() < target.len() as u64 / 2, "{stats:?}");
}

#[test]
fn append_costs_itself() {
    let basis = noise(3 * MIB + 777, 6);
    let target = [&basis[..], &noise(5_000, 7)].concat();
    let stats = cost(&basis, &target);
    assert_eq!(stats.wire_bytes(), 5_000);
}

#[test]
fn unrelated_bytes_cost_themselves() {
    let (basis, target) = (noise(3 * MIB, 8), noise(3 * MIB, 9));
    let stats = cost(&basis, &target);
    assert_eq!(stats.wire_bytes(), target.len() as u64);
    assert!(stats.n_ops * 16 < target.len() as u64 / 1_000);
}

#[test]
fn zeros_and_holes_cost_nothing() {
    let mut target = noise(40 * GROUP, 10);
    target[3 * GROUP..30 * GROUP].fill(0);
    let groups = GroupTree::compute(&target);
    let (made, stats) = sent(&[], None, offered(&target, &groups, &[]), 0);
    assert!(made.bytes == target);
    assert_eq!((stats.zeros, made.holes), (27 * GROUP as u64, 27 * GROUP as u64));
    let hole = 3 * GROUP as u64..30 * GROUP as u64;
    let (made, stats) = sent(&[], None, offered(&target, &groups, slice::from_ref(&hole)), 0);
    assert!(made.bytes == target);
    assert_eq!((stats.zeros, stats.read), (27 * GROUP as u64, 13 * GROUP as u64));
}

#[test]
fn zeros_of_a_basis_stay_holes() {
    let mut basis = noise(9 * GROUP, 11);
    basis[2 * GROUP + 100..7 * GROUP + 5].fill(0);
    let mut made = Made::default();
    rebuild(&Op::Same { len: basis.len() as u64 }, 0, &mut Held(vec![&basis]), &mut made, &mut Vec::new())
        .unwrap();
    assert!(made.bytes == basis);
    assert_eq!(made.holes, 4 * GROUP as u64);
}

/// Notes how much it is given at once.
struct Pieces(Vec<usize>);

impl Sink for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.push(bytes.len());
        Ok(())
    }

    fn zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn copies_go_through_one_buffer_that_a_core_holds_near() {
    let basis = noise(32 * GROUP, 13);
    let (mut pieces, mut buffer) = (Pieces(Vec::new()), Vec::new());
    for offset in [0, 7] {
        let op = Op::Copy { basis: 0, offset, len: 24 * GROUP as u64 };
        rebuild(&op, 0, &mut Held(vec![&basis]), &mut pieces, &mut buffer).unwrap();
    }
    assert_eq!(pieces.0, [512 << 10; 6]);
    assert_eq!(buffer.len(), 512 << 10);
}

#[test]
fn a_source_that_moved_is_told_and_not_sent() {
    let offer_of = noise(4 * GROUP, 12);
    let groups = GroupTree::compute(&offer_of);
    let mut now = offer_of.clone();
    now[2 * GROUP + 9] ^= 1;
    for (now, at) in [(now, 2 * GROUP), (offer_of[..3 * GROUP + 7].to_vec(), 3 * GROUP + 7)] {
        let target = Target { content: &now, ..offered(&offer_of, &groups, &[]) };
        let mut emit = |_, _| panic!("nothing of it may be sent");
        let error = sieve(target, Against::default(), 0, &mut emit).unwrap_err();
        assert!(matches!(error, DeltaError::Changed { at: found } if found == at as u64), "{error:?}");
    }
    let small = noise(100, 13);
    let target = Target { content: &small, ..offered(&small, &None, &[]) };
    let target = Target { hash: ContentHash::of(b"other"), ..target };
    let error = sieve(target, Against::default(), 0, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, DeltaError::Changed { at: 0 }));
}

#[test]
fn a_stopped_delta_emits_no_more() {
    let target = noise(MIB, 14);
    let groups = GroupTree::compute(&target);
    let n_frames = Cell::new(0);
    let mut emit = |_, _| {
        n_frames.set(n_frames.get() + 1);
        ControlFlow::Break(())
    };
    let error = sieve(offered(&target, &groups, &[]), Against::default(), 0, &mut emit).unwrap_err();
    assert!(matches!(error, DeltaError::Stopped { .. }));
    assert_eq!(n_frames.get(), 1);
}

#[test]
fn an_offer_that_contradicts_itself_is_refused() {
    let target = noise(2 * GROUP, 15);
    for (groups, from) in [(None, 0), (GroupTree::compute(&target), 2 * GROUP as u64 + 1)] {
        let error = sieve(offered(&target, &groups, &[]), Against::default(), from, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert!(matches!(error, Err(DeltaError::Offer { .. })));
    }
}
