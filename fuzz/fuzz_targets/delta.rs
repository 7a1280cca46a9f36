//! A delta of a peer is applied as `fast_rsync::apply` applies it, or refused; and what the sieve sends,
//! through its frames, makes the target again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use std::ops::ControlFlow;
use strait::delta::blocks::{RangeSignature, apply};
use strait::delta::groups::GroupTree;
use strait::delta::ops::Op;
use strait::delta::rebuild::{Bases, Sink, rebuild};
use strait::delta::sieve::{Against, KnownBasis, Target, sieve};
use strait::model::ContentHash;
use strait_fuzz::Draw;

/// Copies out of so small a basis cannot blow up: even `fast_rsync::apply` stays small.
const BASIS_BYTES: usize = 255;

fuzz_target!(|bytes: &[u8]| {
    let mut draw = Draw::new(bytes);
    match draw.below(2) {
        0 => {
            let basis = draw.some_bytes(BASIS_BYTES);
            let target_len = draw.u32() as usize & 0xffff;
            let mut delta = 0x7273_0236_u32.to_be_bytes().to_vec();
            let has_magic = !draw.seldom(16);
            delta.truncate(if has_magic { 4 } else { 0 });
            delta.extend(draw.rest());
            same_as_fast_rsync(&basis, &delta, target_len);
        }
        _ => round_trip(&mut draw),
    }
});

fn same_as_fast_rsync(basis: &[u8], delta: &[u8], target_len: usize) {
    let mut expected = Vec::new();
    let whole = fast_rsync::apply(basis, delta, &mut expected);
    match apply(basis, delta, target_len) {
        Ok(made) => {
            whole.expect("what is taken here is a delta there too");
            assert_eq!(made, expected);
            assert_eq!(made.len(), target_len);
        }
        Err(_) => assert!(whole.is_err() || expected.len() != target_len, "a good delta was refused"),
    }
    if whole_is_taken(basis, delta, expected.len()) {
        let op = Op::Blocks {
            basis: 0,
            offset: 0,
            len: basis.len() as u32,
            target_len: expected.len() as u32,
            delta: delta.to_vec(),
        };
        assert_eq!(made_of(&[op], &[basis]), expected);
    }
}

fn whole_is_taken(basis: &[u8], delta: &[u8], target_len: usize) -> bool {
    apply(basis, delta, target_len).is_ok()
}

/// A target that was edited from two bases, sent and made again.
fn round_trip(draw: &mut Draw) {
    let bases = [content(draw), content(draw)];
    let mut target = bases[0].clone();
    for _ in 0..draw.below(8) {
        let at = draw.u32() as usize % (target.len() + 1);
        match draw.below(5) {
            0 => drop(target.drain(at..(at + draw.below(200)).min(target.len()))),
            1 => drop(target.splice(at..at, draw.some_bytes(64))),
            2 => target.truncate(at),
            3 => {
                let from = draw.u32() as usize % (bases[1].len() + 1);
                drop(target.splice(at..at, bases[1][from..].iter().take(3_000).copied().collect::<Vec<_>>()));
            }
            _ => target.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1),
        }
    }
    let block_bytes = [509, 65, 127][draw.below(3)];
    let known: Vec<KnownBasis> =
        bases.iter().zip(0..).map(|(basis, at)| known(basis, at, block_bytes)).collect();
    let against = Against { bases: &known[..draw.below(3)], ..Against::default() };
    let groups = GroupTree::compute(&target);
    let hash = ContentHash::of(&target);
    let offered =
        Target { content: &target, size: target.len() as u64, hash, groups: groups.as_ref(), holes: &[] };
    let mut sent = Vec::new();
    let mut emit = |_: u64, ops: Vec<Op>| {
        sent.extend(ops);
        ControlFlow::Continue(())
    };
    sieve(offered, against, 0, &mut emit).expect("the target stands still");
    assert!(made_of(&sent, &[&bases[0], &bases[1]]) == target, "the ops make another content");
}

fn content(draw: &mut Draw) -> Vec<u8> {
    let mut bytes = Vec::new();
    // More than a group only now and then: it costs as much as fifty small ones.
    let times = if draw.seldom(32) { 64 } else { 8 };
    for _ in 0..draw.below(12) {
        let (byte, n) = (draw.byte(), draw.below(200) * draw.below(times));
        let noise = draw.array::<8>();
        bytes.extend((0..n).map(|at| byte ^ noise[at % 8].wrapping_mul((at / 8) as u8)));
    }
    bytes
}

fn known(basis: &[u8], index: u32, block_bytes: u32) -> KnownBasis {
    KnownBasis {
        index,
        size: basis.len() as u64,
        groups: GroupTree::compute(basis).map(|groups| groups.tags(0)),
        signatures: vec![RangeSignature::compute(0, basis, block_bytes, 8)],
    }
}

struct Held<'b>(&'b [&'b [u8]]);

impl Bases for Held<'_> {
    fn len(&self, basis: u32) -> Option<u64> {
        self.0.get(basis as usize).map(|bytes| bytes.len() as u64)
    }

    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0[basis as usize].get(offset as usize..).unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
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

fn made_of(ops: &[Op], bases: &[&[u8]]) -> Vec<u8> {
    let mut made = Made::default();
    for op in ops {
        let at = made.0.len() as u64;
        rebuild(op, at, &mut Held(bases), &mut made, &mut Vec::new()).expect("our own ops are carried out");
    }
    made.0
}
