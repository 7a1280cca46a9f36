//! Ops that lean on the basis itself: a stretch of many small ops and literals becomes one frame over the basis's
//! corresponding range, if that is shorter. This side has the range from the shadow, else the parts of it that the
//! target copies.
//!
//! Sits between the sieve and the frames that are sent. What it reads of the target a second time is not
//! compared again: the content hash decides, and a wrong byte costs a round of repair.

mod copied;
mod cost;
mod places;

pub use self::copied::Copied;
use self::copied::read_exact;
use self::cost::{Cost, carried};
use self::places::Places;
use crate::delta::ops::Op;
use crate::delta::sieve::ReadAt;
use crate::model::limits::{DELTA_AIM_BYTES, KIB, MIB, OPS};
use crate::net::squeeze::{Presser, Tables, squeeze_over};
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError};

/// How stretches are cut, and how far around its place the basis is taken for one.
struct Bounds {
    /// A copy, or zeros, of this length stand for themselves: they end a stretch.
    long: u64,
    stretch: u64,
    margin: u64,
    tables: Tables,
}

/// Measured over a tar of two kernels and two builds of a program: with stretches of 2 MiB, as much around them and tables of
/// twice the size the tar took a little more, the program a little less, and both a fifth to a third more time.
const HELD: Bounds =
    Bounds { long: 128 * KIB as u64, stretch: MIB as u64, margin: MIB as u64, tables: Tables::Wide };
/// Where copies are all that is known there is less to find. Measured over a tar of two kernels: as many bytes as with
/// stretches of 2 MiB, as much around them and tables of eight times the size, in a sixth of the time.
const COPIED: Bounds = Bounds {
    long: 64 * KIB as u64,
    stretch: 512 * KIB as u64,
    margin: 256 * KIB as u64,
    tables: Tables::Narrow,
};
/// Stretches up to here have little around them to look at.
const SHORT_BYTES: u64 = 256 * KIB as u64;
/// What the basis holds around the place that corresponds: little for a short stretch.
const MARGIN_SHORT: u64 = 64 * KIB as u64;
/// Copies shorter than this may stand anywhere, and say nothing of the place.
const ANCHOR_BYTES: u64 = 256;
/// A stretch whose frame is too long is halved, down to this.
const HALVED_BYTES: u64 = 256 * KIB as u64;
/// What a frame over a prefix costs beside its bytes.
const PREFIX_COST: usize = 18;
/// Stretches that are passed over after frames did not pay, at most.
const PASS_OVER: u32 = 16;

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

/// Where this side has the bytes of the basis from.
pub enum Known<'r> {
    /// The shadow, any range of them.
    Held(&'r mut ReadBasis<'r>),
    /// The target, where it copies them.
    Copied(Copied),
}

/// The stretch that is being gathered, and the frame that is being filled.
pub struct Recoder<'r> {
    known: Known<'r>,
    bounds: &'static Bounds,
    /// Its number among the bases of the transfer, and its size.
    basis: (u32, u64),
    target: &'r dyn ReadAt,
    target_size: u64,
    /// Whether bytes are dear now.
    is_worth: &'r dyn Fn() -> bool,
    cost: Cost,
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
        known: Known<'r>,
        basis: (u32, u64),
        target: &'r dyn ReadAt,
        target_size: u64,
        is_worth: &'r dyn Fn() -> bool,
    ) -> Self {
        let (bounds, cost) = match known {
            Known::Held(_) => (&HELD, Cost::Alone(Presser::default())),
            Known::Copied(_) => (&COPIED, Cost::After(Vec::new())),
        };
        Self {
            known,
            bounds,
            basis,
            target,
            target_size,
            is_worth,
            cost,
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
            if let Known::Copied(copied) = &mut self.known {
                copied.note(&op, at);
            }
            let is_bare = matches!(op, Op::Same { .. } | Op::Copy { .. } | Op::Zeros { .. });
            if matches!(op, Op::Use { .. })
                || (is_bare && len >= self.bounds.long)
                || len > self.bounds.stretch
            {
                let next = self.anchors(&op, at).map(|anchors| anchors[0]);
                self.end_stretch(next, emit)?;
                self.before = self.anchors(&op, at).map(|anchors| anchors[1]).or(self.before);
                self.put(at, op, emit)?;
            } else {
                if self.stretch_len + len > self.bounds.stretch {
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
        if !(self.is_worth)() {
            return None;
        }
        let len = range.end - range.start;
        let bytes = carried(ops);
        let frames = match self.cost.is_cheap(ops.len(), bytes.len(), len) {
            true => None,
            false if self.n_passed_over > 0 => {
                self.n_passed_over -= 1;
                None
            }
            false => {
                let frames = self.tried(ops, &bytes, range, places);
                self.count(len, frames.as_deref());
                frames
            }
        };
        self.cost.remember(&bytes);
        frames
    }

    fn tried(&mut self, ops: &[Op], bytes: &[u8], range: Range<u64>, places: &Places) -> Option<Vec<Op>> {
        let cost = self.cost.of(ops.len(), bytes)?;
        let literal: u64 =
            ops.iter().map(|op| if let Op::Literal(bytes) = op { bytes.len() as u64 } else { 0 }).sum();
        let len = range.end - range.start;
        let margin = match places.is_empty() || literal * 2 > len {
            false if len < SHORT_BYTES => MARGIN_SHORT,
            true if len < SHORT_BYTES && !places.is_empty() => 2 * MARGIN_SHORT,
            _ => self.bounds.margin,
        };
        let frames = self.frames(range, margin, places)?;
        let wire = frames.iter().map(|op| op.wire_bytes() + PREFIX_COST).sum::<usize>();
        (wire < cost).then_some(frames)
    }

    /// Counts what came of a stretch.
    fn count(&mut self, target_len: u64, frames: Option<&[Op]>) {
        match frames {
            Some(frames) => {
                self.n_vain = 0;
                self.settled.target += target_len;
                self.settled.wire += frames.iter().map(|op| op.wire_bytes() as u64).sum::<u64>();
            }
            None => {
                self.n_passed_over = (1 << self.n_vain).min(PASS_OVER) - 1;
                self.n_vain = (self.n_vain + 1).min(8);
            }
        }
    }

    fn frames(&mut self, range: Range<u64>, margin: u64, places: &Places) -> Option<Vec<Op>> {
        let len = (range.end - range.start) as usize;
        let mut target = vec![0; len];
        read_exact(self.target, &mut target, range.start)?;
        if let Some(frame) = self.frame(places.range(&range, margin), &target)? {
            return Some(vec![frame]);
        }
        drop(target);
        if len as u64 <= HALVED_BYTES {
            return None;
        }
        let middle = range.start + (range.end - range.start) / 2;
        let mut frames = self.frames(range.start..middle, margin, places)?;
        frames.extend(self.frames(middle..range.end, margin, places)?);
        Some(frames)
    }

    /// A frame over what is known of a range of the basis: none when nothing is, or when it would not make the target
    /// for sure, and none inside when it would not fit into an op.
    fn frame(&mut self, basis: Range<u64>, target: &[u8]) -> Option<Option<Op>> {
        let op = |offset, len: usize, frame| Op::Prefix {
            basis: self.basis.0,
            offset,
            len: len as u32,
            target_len: target.len() as u32,
            frame,
        };
        match &mut self.known {
            Known::Held(read_basis) => {
                let start = basis.start;
                let prefix = read_basis(basis)?;
                let frame = squeeze_alone(&prefix, target, self.bounds.tables);
                Some(frame.map(|frame| op(start, prefix.len(), frame)))
            }
            Known::Copied(copied) => {
                let mut pieced = copied.range(&basis, self.target)?;
                pieced.fill_unlike(target);
                let Some(frame) = squeeze_alone(&pieced.bytes, target, self.bounds.tables) else {
                    return Some(None);
                };
                let is_sure = pieced.makes(&frame, target);
                is_sure.then(|| Some(op(pieced.offset, pieced.bytes.len(), frame)))
            }
        }
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

/// A frame over a prefix, made when no other is.
fn squeeze_alone(prefix: &[u8], target: &[u8], tables: Tables) -> Option<Vec<u8>> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    squeeze_over(prefix, target, tables)
}

#[cfg(test)]
#[path = "prefix_tests.rs"]
mod tests;
