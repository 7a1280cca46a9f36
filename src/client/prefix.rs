//! Ops that lean on the basis itself: where this side holds the receiver's version too, a stretch of many
//! small ops and literals becomes one frame over the basis's corresponding range, if that is shorter.
//!
//! Sits between the sieve and the frames that are sent. What it reads of the target a second time is not
//! compared again: the content hash decides, and a wrong byte costs a round of repair.

mod places;

use self::places::Places;
use crate::delta::ops::Op;
use crate::delta::sieve::ReadAt;
use crate::model::limits::{DELTA_AIM_BYTES, KIB, MIB, OPS, PREFIX_TARGET_BYTES};
use crate::net::squeeze::{PREFIX_LEVEL, Presser, squeeze_over};
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError};

/// A copy, or zeros, of this length stand for themselves: they end a stretch.
const LONG_BYTES: u64 = 128 * KIB as u64;
/// Stretches up to here have little around them to look at.
const SHORT_BYTES: u64 = 256 * KIB as u64;
/// What the basis holds around the place that corresponds: little for a short stretch. For the others even where
/// much was found: over two builds of a program 512 KiB cost 13 % more bytes.
const MARGIN_SHORT: u64 = 64 * KIB as u64;
const MARGIN: u64 = 2 * MIB as u64;
/// Copies shorter than this may stand anywhere, and say nothing of the place.
const ANCHOR_BYTES: u64 = 256;
/// A stretch whose frame is too long is halved, down to this.
const HALVED_BYTES: u64 = 256 * KIB as u64;
/// Ops cheaper than this are not worth a frame.
const CHEAP_BYTES: usize = 64;
/// What an op costs beside its bytes.
const OP_COST: usize = 6;
const PREFIX_COST: usize = 18;
/// Stretches that are passed over after frames did not pay, at most.
const PASS_OVER: u32 = 16;
/// Level at which the cost of ops is judged: that of the stream.
const STREAM_LEVEL: i32 = 3;

/// One compressor at a time in this process: see `PREFIX_SQUEEZER_BYTES`.
static ONE: Mutex<()> = Mutex::new(());

/// Takes frames of ops and gives frames of ops that make the same.
pub type Emit<'e> = dyn FnMut(u64, Vec<Op>) -> ControlFlow<()> + 'e;

/// Bytes of a range of the basis, as far as this side holds it.
pub type ReadBasis<'r> = dyn FnMut(Range<u64>) -> Option<Vec<u8>> + 'r;

/// What frames over prefixes settled, in bytes of the target and on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub target: u64,
    pub wire: u64,
}

/// The stretch that is being gathered, and the frame that is being filled.
pub struct Recoder<'r> {
    read_basis: &'r mut ReadBasis<'r>,
    /// Its number among the bases of the transfer, and its size.
    basis: (u32, u64),
    target: &'r dyn ReadAt,
    target_size: u64,
    /// Whether bytes are dear now.
    is_worth: &'r dyn Fn() -> bool,
    presser: Presser,
    stretch: Vec<Op>,
    stretch_at: u64,
    stretch_len: u64,
    /// (target, basis): the places that correspond, as the last copy before the stretch says.
    before: Option<(u64, u64)>,
    frame: Vec<Op>,
    frame_at: u64,
    frame_wire: usize,
    /// How many stretches are passed over, and after how many failures in a row.
    n_passed_over: u32,
    n_vain: u32,
    settled: Settled,
}

impl<'r> Recoder<'r> {
    pub fn new(
        read_basis: &'r mut ReadBasis<'r>,
        basis: (u32, u64),
        target: &'r dyn ReadAt,
        target_size: u64,
        is_worth: &'r dyn Fn() -> bool,
    ) -> Self {
        Self {
            read_basis,
            basis,
            target,
            target_size,
            is_worth,
            presser: Presser::default(),
            stretch: Vec::new(),
            stretch_at: 0,
            stretch_len: 0,
            before: None,
            frame: Vec::new(),
            frame_at: 0,
            frame_wire: 0,
            n_passed_over: 0,
            n_vain: 0,
            settled: Settled::default(),
        }
    }

    pub fn settled(&self) -> Settled {
        self.settled
    }

    /// Takes the next frame of the sieve; target offsets join without gap.
    pub fn take(&mut self, at: u64, ops: Vec<Op>, emit: &mut Emit) -> ControlFlow<()> {
        let mut at = at;
        for op in ops {
            let len = op.target_len();
            let is_bare = matches!(op, Op::Same { .. } | Op::Copy { .. } | Op::Zeros { .. });
            if matches!(op, Op::Use { .. })
                || (is_bare && len >= LONG_BYTES)
                || len > PREFIX_TARGET_BYTES as u64
            {
                let next = self.anchors(&op, at).map(|anchors| anchors[0]);
                self.end_stretch(next, emit)?;
                self.before = self.anchors(&op, at).map(|anchors| anchors[1]).or(self.before);
                self.put(at, op, emit)?;
            } else {
                if self.stretch_len + len > PREFIX_TARGET_BYTES as u64 {
                    self.end_stretch(self.anchors(&op, at).map(|anchors| anchors[0]), emit)?;
                }
                if self.stretch.is_empty() {
                    self.stretch_at = at;
                }
                self.stretch_len += len;
                self.stretch.push(op);
            }
            at += len;
        }
        ControlFlow::Continue(())
    }

    /// Gives away what there is.
    pub fn finish(&mut self, emit: &mut Emit) -> ControlFlow<()> {
        self.end_stretch(None, emit)?;
        self.flush(emit)
    }

    fn end_stretch(&mut self, next: Option<(u64, u64)>, emit: &mut Emit) -> ControlFlow<()> {
        let ops = std::mem::take(&mut self.stretch);
        let (at, len) = (self.stretch_at, std::mem::take(&mut self.stretch_len));
        let places = self.places(&ops, at, next);
        let shorter = self.shorter(&ops, at..at + len, &places);
        self.before = places.last().or(self.before);
        let mut at = at;
        for op in shorter.unwrap_or(ops) {
            let len = op.target_len();
            self.put(at, op, emit)?;
            at += len;
        }
        ControlFlow::Continue(())
    }

    /// Where an op's first byte stands in target and basis, and where its end does.
    fn anchors(&self, op: &Op, at: u64) -> Option<[(u64, u64); 2]> {
        let (of, from, from_len, len) = match op {
            Op::Same { len } => (0, at, *len, *len),
            Op::Copy { basis, offset, len } if *len >= ANCHOR_BYTES => (*basis, *offset, *len, *len),
            Op::Blocks { basis, offset, len, target_len, .. } => {
                (*basis, *offset, u64::from(*len), u64::from(*target_len))
            }
            _ => return None,
        };
        (of == self.basis.0).then_some([(at, from), (at + len, from + from_len)])
    }

    fn places(&self, ops: &[Op], at: u64, next: Option<(u64, u64)>) -> Places {
        let mut found: Vec<(u64, u64)> = self.before.into_iter().collect();
        let mut at = at;
        for op in ops {
            found.extend(self.anchors(op, at).into_iter().flatten());
            at += op.target_len();
        }
        found.extend(next);
        Places { anchors: found, target_size: self.target_size, basis_size: self.basis.1 }
    }

    /// Frames over prefixes that make the same as these ops, if they are shorter on the wire.
    fn shorter(&mut self, ops: &[Op], range: Range<u64>, places: &Places) -> Option<Vec<Op>> {
        let cost = self.cost(ops);
        if cost < CHEAP_BYTES || !(self.is_worth)() {
            return None;
        }
        if self.n_passed_over > 0 {
            self.n_passed_over -= 1;
            return None;
        }
        let literal: u64 =
            ops.iter().map(|op| if let Op::Literal(bytes) = op { bytes.len() as u64 } else { 0 }).sum();
        let len = range.end - range.start;
        let margin = match places.is_empty() || literal * 2 > len {
            false if len < SHORT_BYTES => MARGIN_SHORT,
            true if len < SHORT_BYTES && !places.is_empty() => 2 * MARGIN_SHORT,
            _ => MARGIN,
        };
        let frames = self.frames(range, margin, places);
        let wire = |ops: &[Op]| ops.iter().map(|op| op.wire_bytes() + PREFIX_COST).sum::<usize>();
        let frames = frames.filter(|frames| wire(frames) < cost);
        match &frames {
            Some(frames) => {
                self.n_vain = 0;
                self.settled.target += len;
                self.settled.wire += frames.iter().map(|op| op.wire_bytes() as u64).sum::<u64>();
            }
            None => {
                self.n_passed_over = (1 << self.n_vain).min(PASS_OVER) - 1;
                self.n_vain = (self.n_vain + 1).min(8);
            }
        }
        frames
    }

    /// What ops cost on the wire, about: their bytes as the stream squeezes them.
    fn cost(&mut self, ops: &[Op]) -> usize {
        let mut bytes = Vec::new();
        for op in ops {
            match op {
                Op::Literal(literal) => bytes.extend_from_slice(literal),
                Op::Blocks { delta, .. } => bytes.extend_from_slice(delta),
                _ => {}
            }
        }
        let squeezed = if bytes.is_empty() { 0 } else { self.presser.squeeze(&bytes, STREAM_LEVEL).len() };
        squeezed + ops.len() * OP_COST
    }

    fn frames(&mut self, range: Range<u64>, margin: u64, places: &Places) -> Option<Vec<Op>> {
        let len = (range.end - range.start) as usize;
        let basis = places.range(&range, margin);
        let prefix = (self.read_basis)(basis.clone())?;
        let mut target = vec![0; len];
        let mut n_read = 0;
        while n_read < len {
            match self.target.read_at(&mut target[n_read..], range.start + n_read as u64) {
                Ok(0) | Err(_) => return None,
                Ok(n) => n_read += n,
            }
        }
        let made = {
            let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            squeeze_over(&prefix, &target, PREFIX_LEVEL)
        };
        drop((prefix, target));
        if let Some(frame) = made {
            let (offset, len) = (basis.start, (basis.end - basis.start) as u32);
            let target_len = (range.end - range.start) as u32;
            return Some(vec![Op::Prefix { basis: self.basis.0, offset, len, target_len, frame }]);
        }
        if len as u64 <= HALVED_BYTES {
            return None;
        }
        let middle = range.start + (range.end - range.start) / 2;
        let mut frames = self.frames(range.start..middle, margin, places)?;
        frames.extend(self.frames(middle..range.end, margin, places)?);
        Some(frames)
    }

    fn put(&mut self, at: u64, op: Op, emit: &mut Emit) -> ControlFlow<()> {
        let wire = op.wire_bytes();
        let is_full = self.frame_wire > 0 && self.frame_wire + wire > DELTA_AIM_BYTES;
        if is_full || self.frame.len() == OPS {
            self.flush(emit)?;
        }
        if self.frame.is_empty() {
            self.frame_at = at;
        }
        self.frame_wire += wire;
        self.frame.push(op);
        ControlFlow::Continue(())
    }

    fn flush(&mut self, emit: &mut Emit) -> ControlFlow<()> {
        self.frame_wire = 0;
        match std::mem::take(&mut self.frame) {
            ops if ops.is_empty() => ControlFlow::Continue(()),
            ops => emit(self.frame_at, ops),
        }
    }
}

#[cfg(test)]
#[path = "prefix_tests.rs"]
mod tests;
