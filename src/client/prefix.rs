//! Ops that lean on the basis itself: a stretch of many small ops and literals becomes one frame over the basis's
//! corresponding range, if that is shorter. This side has the range from the shadow, else the parts of it that the
//! target copies.
//!
//! Sits between the sieve and the frames that are sent. What it reads of the target a second time is not
//! compared again: the content hash decides, and a wrong byte costs a round of repair.

mod attempt;
mod copied;
mod cost;
mod places;
mod turns;

use self::attempt::Attempt;
pub use self::copied::Copied;
use self::cost::{Cost, carried};
use self::places::Places;
use self::turns::{Done, Outcome, Turns};
use crate::delta::ops::Op;
use crate::delta::sieve::ReadAt;
use crate::model::limits::{DELTA_AIM_BYTES, KIB, MIB, OPS};
use crate::net::squeeze::Tables;
use std::ops::{ControlFlow, Range};
use std::thread::{self, Scope};

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
/// Copies shorter than this may stand anywhere, and say nothing of the place.
const ANCHOR_BYTES: u64 = 256;
/// Stretches that are passed over after frames did not pay, at most.
const PASS_OVER: u32 = 16;

/// Takes frames of ops and gives frames of ops that make the same.
pub type Emit<'e> = dyn FnMut(u64, Vec<Op>) -> ControlFlow<()> + 'e;

/// Bytes of a range of the basis, as far as this side holds it.
pub type ReadBasis<'r> = dyn Fn(Range<u64>) -> Option<Vec<u8>> + Sync + 'r;

/// What frames over prefixes settled, in bytes of the target and on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub target: u64,
    pub wire: u64,
}

/// Where this side has the bytes of the basis from.
#[derive(Clone)]
pub enum Known<'r> {
    /// The shadow, any range of them.
    Held(&'r ReadBasis<'r>),
    /// The target, where it copies them.
    Copied(Copied),
}

/// What is recoded, against which basis.
pub struct Recoding<'r> {
    pub known: Known<'r>,
    /// Its number among the bases of the transfer, and its size.
    pub basis: (u32, u64),
    pub target: &'r dyn ReadAt,
    pub target_size: u64,
    /// Whether bytes are dear now.
    pub is_worth: &'r dyn Fn() -> bool,
}

impl<'r> Recoding<'r> {
    /// Lets `work` hand over the frames of the sieve, while another core may work on those before.
    pub fn run<R>(self, work: impl FnOnce(&mut Recoder) -> R) -> R {
        let turns = Turns::default();
        thread::scope(|scope| {
            let result = work(&mut Recoder::new(self, &turns, scope));
            // Of a delta that was stopped nothing more is wanted.
            turns.clear();
            result
        })
    }
}

/// The stretch that is being gathered, those that wait for their turn, and the frame that is being filled.
pub struct Recoder<'scope, 'env, 'r> {
    of: Recoding<'r>,
    turns: &'scope Turns<'r>,
    scope: &'scope Scope<'scope, 'env>,
    bounds: &'static Bounds,
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

impl<'scope, 'env, 'r> Recoder<'scope, 'env, 'r> {
    fn new(of: Recoding<'r>, turns: &'scope Turns<'r>, scope: &'scope Scope<'scope, 'env>) -> Self {
        let (bounds, cost) = match of.known {
            Known::Held(_) => (&HELD, Cost::Alone),
            Known::Copied(_) => (&COPIED, Cost::After(Vec::new())),
        };
        Self {
            of,
            turns,
            scope,
            bounds,
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
            if let Known::Copied(copied) = &mut self.of.known {
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
                self.turns.put(at, vec![op]);
                self.give(false, emit)?;
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
        self.give(true, emit)?;
        self.flush(emit)
    }

    fn end_stretch(&mut self, next: Option<(u64, u64)>, emit: &mut Emit) -> ControlFlow<()> {
        let ops = std::mem::take(&mut self.stretch);
        if ops.is_empty() {
            return ControlFlow::Continue(());
        }
        let (at, len) = (self.stretch_at, std::mem::take(&mut self.stretch_len));
        let places = self.places(&ops, at, next);
        self.before = places.last().or(self.before);
        if !(self.of.is_worth)() {
            self.turns.put(at, ops);
            return self.give(false, emit);
        }
        let bytes = carried(&ops);
        if self.is_tried(ops.len(), bytes.len(), len) {
            let Recoding { known, basis, target, .. } = &self.of;
            let attempt = Attempt {
                at,
                len,
                ops,
                bytes: bytes.clone(),
                cost: self.cost.clone(),
                places,
                known: known.clone(),
                basis: basis.0,
                target: *target,
                bounds: self.bounds,
            };
            self.turns.put_attempt(attempt, self.scope);
        } else {
            self.turns.put(at, ops);
        }
        self.cost.remember(&bytes);
        self.give(false, emit)
    }

    /// Whether a stretch of so many ops, which carry so many bytes, is worth an attempt.
    fn is_tried(&mut self, n_ops: usize, n_bytes: usize, len: u64) -> bool {
        if self.cost.is_cheap(n_ops, n_bytes, len) {
            return false;
        }
        let is_passed_over = self.n_passed_over > 0;
        self.n_passed_over -= u32::from(is_passed_over);
        !is_passed_over
    }

    /// Gives away the stretches whose turn it is.
    fn give(&mut self, at_end: bool, emit: &mut Emit) -> ControlFlow<()> {
        while let Some(Done { mut at, ops, outcome }) = self.turns.next(at_end) {
            self.count(&outcome);
            let ops = if let Outcome::Shorter(frames) = outcome { frames } else { ops };
            for op in ops {
                let len = op.target_len();
                self.put(at, op, emit)?;
                at += len;
            }
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
        (of == self.of.basis.0).then_some([(at, from), (at + len, from + from_len)])
    }

    fn places(&self, ops: &[Op], at: u64, next: Option<(u64, u64)>) -> Places {
        let mut found: Vec<(u64, u64)> = self.before.into_iter().collect();
        let mut at = at;
        for op in ops {
            found.extend(self.anchors(op, at).into_iter().flatten());
            at += op.target_len();
        }
        found.extend(next);
        Places { anchors: found, target_size: self.of.target_size, basis_size: self.of.basis.1 }
    }

    /// Counts what became of a stretch.
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Untried => {}
            Outcome::Shorter(frames) => {
                self.n_vain = 0;
                self.settled.target += frames.iter().map(Op::target_len).sum::<u64>();
                self.settled.wire += frames.iter().map(|op| op.wire_bytes() as u64).sum::<u64>();
            }
            Outcome::Vain => {
                self.n_passed_over = (1 << self.n_vain).min(PASS_OVER) - 1;
                self.n_vain = (self.n_vain + 1).min(8);
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

#[cfg(test)]
#[path = "prefix_tests.rs"]
mod tests;
