//! Ops put into frames: in target order, adjacent ones merged, each frame within the limits.

use std::ops::ControlFlow;

use super::ops::Op;
use super::place::Place;
use crate::model::limits::{DELTA_AIM_BYTES, OP_BYTES, OPS};

const _: () = assert!(DELTA_AIM_BYTES <= OP_BYTES, "a literal fills a frame at most");

/// What takes one frame: the target offset of its first op, and its ops.
pub type Emit<'a> = dyn FnMut(u64, Vec<Op>) -> ControlFlow<()> + 'a;

/// What a delta was made of, in target bytes; `delta_wire` and `literal` are also what it carries.
///
/// `by_groups`, `by_chunks`, `by_blocks`, `zeros` and `literal` add up to the target; so do `same`, `copied`,
/// `blocks_target`, `zeros` and `literal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaStats {
    /// Found by each sieve.
    pub by_groups: u64,
    pub by_chunks: u64,
    pub by_blocks: u64,
    /// From basis 0 at the same offset.
    pub same: u64,
    /// Zeros.
    pub zeros: u64,
    /// Copied from elsewhere in a basis.
    pub copied: u64,
    /// Made by `fast_rsync` deltas, whose own length is `delta_wire`.
    pub blocks_target: u64,
    pub delta_wire: u64,
    /// As they are.
    pub literal: u64,
    /// Target bytes that were read and compared with the offer.
    pub read: u64,
    pub n_ops: u64,
    pub n_frames: u64,
}

impl DeltaStats {
    /// Content bytes on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.literal + self.delta_wire
    }
}

/// The sieve that found a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Groups,
    Chunks,
    Blocks,
}

/// The receiver of frames wants no more.
#[derive(Debug)]
pub(super) struct Stopped;

/// The frame that is being filled.
pub(super) struct Frames<'a> {
    emit: &'a mut Emit<'a>,
    /// Target offset of the frame, and where the target stands.
    first: u64,
    at: u64,
    ops: Vec<Op>,
    wire: usize,
    pub(super) stats: DeltaStats,
}

impl<'a> Frames<'a> {
    pub(super) fn new(at: u64, emit: &'a mut Emit<'a>) -> Self {
        Self { emit, first: at, at, ops: Vec::new(), wire: 0, stats: DeltaStats::default() }
    }

    /// Where the target stands.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn zeros(&mut self, more: u64) -> Result<(), Stopped> {
        self.stats.zeros += more;
        self.at += more;
        match self.ops.last_mut() {
            Some(Op::Zeros { len }) => *len += more,
            _ => self.push(Op::Zeros { len: more })?,
        }
        Ok(())
    }

    /// `more` bytes of a basis; those of basis 0 at the same offset become `Same`.
    pub(super) fn copy(&mut self, from: Place, more: u64, found: Found) -> Result<(), Stopped> {
        *match found {
            Found::Groups => &mut self.stats.by_groups,
            Found::Chunks => &mut self.stats.by_chunks,
            Found::Blocks => &mut self.stats.by_blocks,
        } += more;
        let is_same = from == Place::new(0, self.at);
        *if is_same { &mut self.stats.same } else { &mut self.stats.copied } += more;
        self.at += more;
        match self.ops.last_mut() {
            Some(Op::Same { len }) if is_same => *len += more,
            _ if is_same => self.push(Op::Same { len: more })?,
            Some(Op::Copy { basis, offset, len }) if Place::new(*basis, *offset).plus(*len) == from => {
                *len += more
            }
            _ => self.push(Op::Copy { basis: from.basis(), offset: from.offset(), len: more })?,
        }
        Ok(())
    }

    pub(super) fn literal(&mut self, mut bytes: &[u8]) -> Result<(), Stopped> {
        self.stats.literal += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = DELTA_AIM_BYTES.saturating_sub(self.wire);
            if room == 0 {
                self.flush()?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.at += now.len() as u64;
            match self.ops.last_mut() {
                Some(Op::Literal(held)) => held.extend_from_slice(now),
                _ => self.push(Op::Literal(now.to_vec()))?,
            }
            self.wire += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// An op that makes nothing of the target.
    pub(super) fn add(&mut self, op: Op) -> Result<(), Stopped> {
        debug_assert!(op.target_len() == 0);
        self.push(op)
    }

    /// A `Blocks` op whose delta is at most [`DELTA_AIM_BYTES`] long.
    pub(super) fn blocks(&mut self, op: Op) -> Result<(), Stopped> {
        let wire = op.wire_bytes();
        if self.wire > 0 && self.wire + wire > DELTA_AIM_BYTES {
            self.flush()?;
        }
        self.stats.blocks_target += op.target_len();
        self.stats.by_blocks += op.target_len();
        self.stats.delta_wire += wire as u64;
        self.at += op.target_len();
        self.push(op)?;
        self.wire += wire;
        Ok(())
    }

    /// Adds an op that moved `at` already.
    fn push(&mut self, op: Op) -> Result<(), Stopped> {
        if self.ops.len() == OPS {
            let at = self.at;
            self.at -= op.target_len();
            self.flush()?;
            self.at = at;
        }
        self.ops.push(op);
        Ok(())
    }

    /// Gives away what there is.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        if self.ops.is_empty() {
            return Ok(());
        }
        let ops = std::mem::take(&mut self.ops);
        self.stats.n_ops += ops.len() as u64;
        self.stats.n_frames += 1;
        self.wire = 0;
        let first = std::mem::replace(&mut self.first, self.at);
        match (self.emit)(first, ops) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stopped),
        }
    }
}

/// Gives a frame in parts of at most `most` bytes on the wire, as far as literals can be cut and ops end there; `at` is the
/// target offset of its first op.
///
/// # Errors
/// The first of `emit`.
pub fn split_frame<E>(
    mut at: u64,
    ops: Vec<Op>,
    most: usize,
    emit: &mut dyn FnMut(u64, Vec<Op>) -> Result<(), E>,
) -> Result<(), E> {
    let mut part = Vec::new();
    let (mut part_bytes, mut part_len) = (0, 0);
    for op in ops {
        let mut rest = Some(op);
        while let Some(op) = rest.take() {
            let room = most.saturating_sub(part_bytes);
            let op = match op {
                Op::Literal(mut bytes) if bytes.len() > room && room > 0 => {
                    rest = Some(Op::Literal(bytes.split_off(room)));
                    Op::Literal(bytes)
                }
                op if op.wire_bytes() > room && !part.is_empty() => {
                    rest = Some(op);
                    emit(at, std::mem::take(&mut part))?;
                    at += part_len;
                    (part_bytes, part_len) = (0, 0);
                    continue;
                }
                op => op,
            };
            part_bytes += op.wire_bytes();
            part_len += op.target_len();
            part.push(op);
        }
    }
    if part.is_empty() { Ok(()) } else { emit(at, part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(fill: impl FnOnce(&mut Frames) -> Result<(), Stopped>) -> Vec<(u64, Vec<Op>)> {
        let mut got = Vec::new();
        let mut emit = |at, ops| {
            got.push((at, ops));
            ControlFlow::Continue(())
        };
        let mut frames = Frames::new(7, &mut emit);
        fill(&mut frames).and_then(|()| frames.flush()).unwrap();
        got
    }

    #[test]
    fn adjacent_ops_merge() {
        let got = frames_of(|frames| {
            frames.copy(Place::new(0, 7), 3, Found::Groups)?;
            frames.copy(Place::new(0, 10), 5, Found::Blocks)?;
            frames.copy(Place::new(0, 100), 5, Found::Blocks)?;
            frames.copy(Place::new(0, 105), 5, Found::Chunks)?;
            frames.copy(Place::new(1, 110), 5, Found::Chunks)?;
            frames.literal(b"ab")?;
            frames.literal(b"cd")
        });
        let ops = vec![
            Op::Same { len: 8 },
            Op::Copy { basis: 0, offset: 100, len: 10 },
            Op::Copy { basis: 1, offset: 110, len: 5 },
            Op::Literal(b"abcd".to_vec()),
        ];
        assert_eq!(got, [(7, ops)]);
    }

    #[test]
    fn frames_keep_their_limits_and_join_without_gap() {
        let got = frames_of(|frames| {
            frames.literal(&vec![1; DELTA_AIM_BYTES * 2 + 5])?;
            for i in 0..OPS as u64 * 2 {
                frames.copy(Place::new(1, i * 10), 2, Found::Chunks)?;
            }
            frames.literal(&vec![2; DELTA_AIM_BYTES])
        });
        let mut at = 7;
        for (first, ops) in &got {
            assert_eq!(*first, at);
            assert!(ops.len() <= OPS);
            assert!(ops.iter().map(Op::wire_bytes).sum::<usize>() <= DELTA_AIM_BYTES);
            ops.iter().for_each(|op| op.check().unwrap());
            at += ops.iter().map(Op::target_len).sum::<u64>();
        }
        assert_eq!(at, 7 + 3 * DELTA_AIM_BYTES as u64 + 5 + 4 * OPS as u64);
    }

    #[test]
    fn a_frame_for_a_thin_link_is_cut_where_literals_and_ops_let_it() {
        let noise: Vec<u8> = (0..10_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let ops =
            vec![Op::Same { len: 100 }, Op::Literal(noise.clone()), Op::Zeros { len: 7 }, Op::Literal(noise)];
        let mut parts: Vec<(u64, Vec<Op>)> = Vec::new();
        let add = &mut |at, ops| -> Result<(), ()> {
            parts.push((at, ops));
            Ok(())
        };
        split_frame(50, ops.clone(), 16 << 10, add).unwrap();
        let mut at = 50;
        for (start, part) in &parts {
            assert_eq!(*start, at);
            assert!(part.iter().map(Op::wire_bytes).sum::<usize>() <= 16 << 10);
            at += part.iter().map(Op::target_len).sum::<u64>();
        }
        assert_eq!(at, 50 + 100 + 80_000 + 7);
        assert_eq!(parts.len(), 5);
        let mut whole = Vec::new();
        split_frame(0, ops.clone(), 1 << 20, &mut |at, ops| -> Result<(), ()> {
            whole.push((at, ops));
            Ok(())
        })
        .unwrap();
        assert_eq!(whole, [(0, ops)]);
    }
}
