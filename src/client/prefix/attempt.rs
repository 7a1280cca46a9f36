//! An attempt to make a stretch of ops shorter: frames over what is known of the basis around the place that corresponds.

use super::copied::read_exact;
use super::cost::Cost;
use super::places::Places;
use super::{Bounds, Known};
use crate::delta::ops::Op;
use crate::delta::sieve::ReadAt;
use crate::model::limits::{KIB, PREFIX_SQUEEZERS};
use crate::net::squeeze::squeeze_over;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Stretches up to here have little around them to look at.
const SHORT_BYTES: u64 = 256 * KIB as u64;
/// What the basis holds around the place that corresponds: little for a short stretch, and for one of which copies settle
/// so much that fewer bytes than one in so many are literal.
const MARGIN_SHORT: u64 = 64 * KIB as u64;
const MARGIN_SETTLED: u64 = 256 * KIB as u64;
const SETTLED_SHARE: u64 = 8;
/// A stretch whose frame is too long is halved, down to this.
const HALVED_BYTES: u64 = 256 * KIB as u64;
/// What a frame over a prefix costs beside its bytes.
const PREFIX_COST: usize = 18;

/// Attempts at a time in this process, each with a compressor, a prefix and a target: see `PREFIX_SQUEEZERS`.
static AT_ONCE: [Mutex<()>; PREFIX_SQUEEZERS] = [const { Mutex::new(()) }; PREFIX_SQUEEZERS];

/// A stretch, and all that is needed to make frames of it.
pub(super) struct Attempt<'r> {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) ops: Vec<Op>,
    /// What the ops carry, and what that costs.
    pub(super) bytes: Vec<u8>,
    pub(super) cost: Cost,
    pub(super) places: Places,
    pub(super) known: Known<'r>,
    pub(super) basis: u32,
    pub(super) target: &'r dyn ReadAt,
    pub(super) bounds: &'static Bounds,
}

impl Attempt<'_> {
    /// Frames over prefixes that make the same as the ops, if they are shorter on the wire.
    pub(super) fn make(&self) -> Option<Vec<Op>> {
        let _turn = one_of(&AT_ONCE);
        let cost = self.cost.of(self.ops.len(), &self.bytes)?;
        let literal: u64 =
            self.ops.iter().map(|op| if let Op::Literal(bytes) = op { bytes.len() as u64 } else { 0 }).sum();
        let margin = match self.len < SHORT_BYTES {
            _ if self.places.is_empty() => self.bounds.margin,
            true if literal * 2 > self.len => 2 * MARGIN_SHORT,
            true => MARGIN_SHORT,
            false if literal * SETTLED_SHARE < self.len => self.bounds.margin.min(MARGIN_SETTLED),
            false => self.bounds.margin,
        };
        let frames = self.frames(self.at..self.at + self.len, margin)?;
        let wire = frames.iter().map(|op| op.wire_bytes() + PREFIX_COST).sum::<usize>();
        (wire < cost).then_some(frames)
    }

    fn frames(&self, range: Range<u64>, margin: u64) -> Option<Vec<Op>> {
        let len = (range.end - range.start) as usize;
        let mut target = vec![0; len];
        read_exact(self.target, &mut target, range.start)?;
        if let Some(frame) = self.frame(self.places.range(&range, margin), &target)? {
            return Some(vec![frame]);
        }
        drop(target);
        if len as u64 <= HALVED_BYTES {
            return None;
        }
        let middle = range.start + (range.end - range.start) / 2;
        let mut frames = self.frames(range.start..middle, margin)?;
        frames.extend(self.frames(middle..range.end, margin)?);
        Some(frames)
    }

    /// A frame over what is known of a range of the basis: none when nothing is, or when it would not make the target
    /// for sure, and none inside when it would not fit into an op.
    fn frame(&self, basis: Range<u64>, target: &[u8]) -> Option<Option<Op>> {
        let op = |offset, len: usize, frame| Op::Prefix {
            basis: self.basis,
            offset,
            len: len as u32,
            target_len: target.len() as u32,
            frame,
        };
        match &self.known {
            Known::Held(read_basis) => {
                let start = basis.start;
                let prefix = read_basis(basis)?;
                let frame = squeeze_over(&prefix, target, self.bounds.tables);
                Some(frame.map(|frame| op(start, prefix.len(), frame)))
            }
            Known::Copied(copied) => {
                let mut pieced = copied.range(&basis, self.target)?;
                pieced.fill_unlike(target);
                let Some(frame) = squeeze_over(&pieced.bytes, target, self.bounds.tables) else {
                    return Some(None);
                };
                let is_sure = pieced.makes(&frame, target);
                is_sure.then(|| Some(op(pieced.offset, pieced.bytes.len(), frame)))
            }
        }
    }
}

/// One that is free, or else the first when it is.
fn one_of(all: &'static [Mutex<()>]) -> MutexGuard<'static, ()> {
    let free = all.iter().find_map(|one| match one.try_lock() {
        Ok(free) => Some(free),
        Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    });
    free.unwrap_or_else(|| all[0].lock().unwrap_or_else(PoisonError::into_inner))
}
