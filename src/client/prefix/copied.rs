//! What a sender without a shadow knows of a basis: the parts that the target copies.
//!
//! A range of the basis is put together from them. What lies between them, a hole, is filled with a byte that no match
//! should lean on, and a frame over the range is only sent when it makes the target whatever stands in the holes.

use crate::delta::copies::copies;
use crate::delta::ops::Op;
use crate::delta::sieve::{KnownCopy, ReadAt};
use crate::net::squeeze::expand_over;
use std::collections::VecDeque;
use std::ops::Range;

/// Copies that are remembered: those around a few stretches.
const COPIES: usize = 8 * 1024;

/// The latest copies of one basis, in order of the target; what joins in both is one.
#[derive(Clone)]
pub struct Copied {
    basis: u32,
    copies: VecDeque<KnownCopy>,
}

impl Copied {
    pub fn new(basis: u32) -> Self {
        Self { basis, copies: VecDeque::new() }
    }

    /// Remembers what an op copies where the target stands at byte `at`.
    pub(super) fn note(&mut self, op: &Op, at: u64) {
        for copy in copies(op, at).into_iter().filter(|copy| copy.basis == self.basis) {
            let last = self.copies.back_mut();
            if let Some(last) =
                last.filter(|last| last.at + last.len == copy.at && last.offset + last.len == copy.offset)
            {
                last.len += copy.len;
                continue;
            }
            if self.copies.len() == COPIES {
                self.copies.pop_front();
            }
            self.copies.push_back(copy);
        }
    }

    /// A range of the basis, from the first byte that is known to the last, with holes.
    pub(super) fn range(&self, basis: &Range<u64>, target: &dyn ReadAt) -> Option<Pieced> {
        let cut = |copy: &KnownCopy| {
            let start = copy.offset.max(basis.start);
            let end = (copy.offset + copy.len).min(basis.end);
            (start < end).then(|| (start, end, copy.at + (start - copy.offset)))
        };
        let mut parts: Vec<_> = self.copies.iter().filter_map(cut).collect();
        parts.sort_unstable();
        let start = parts.first()?.0;
        let end = parts.iter().map(|(_, end, _)| *end).max()?;
        let mut pieced = Pieced { offset: start, bytes: vec![0; (end - start) as usize], holes: Vec::new() };
        let mut known = start;
        for (from, end, at) in parts {
            if from > known {
                pieced.holes.push((known - start) as usize..(from - start) as usize);
            }
            let new = from.max(known);
            if new < end {
                let bytes = &mut pieced.bytes[(new - start) as usize..(end - start) as usize];
                read_exact(target, bytes, at + (new - from))?;
                known = end;
            }
        }
        Some(pieced)
    }
}

/// Fills `bytes` from an offset on; none when the target ends before or cannot be read.
pub(super) fn read_exact(target: &dyn ReadAt, bytes: &mut [u8], at: u64) -> Option<()> {
    let mut n_read = 0;
    while n_read < bytes.len() {
        match target.read_at(&mut bytes[n_read..], at + n_read as u64) {
            Ok(0) | Err(_) => return None,
            Ok(n) => n_read += n,
        }
    }
    Some(())
}

/// A range of a basis that is known in parts.
pub(super) struct Pieced {
    /// Where it starts.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// Parts of `bytes` that are not known, in order, apart from each other.
    holes: Vec<Range<usize>>,
}

impl Pieced {
    /// Fills the holes with the byte that stands least in a target: a match can only lean on one of those.
    pub(super) fn fill_unlike(&mut self, target: &[u8]) {
        let mut counts = [0u32; 256];
        target.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let rarest = (0..=u8::MAX).min_by_key(|byte| counts[usize::from(*byte)]).unwrap_or(0);
        self.fill(|_| rarest);
    }

    /// Whether a frame makes the target whatever stands in the holes: with each of their bytes turned to another,
    /// every byte that was taken of one would be another too. The holes are of no more use after.
    pub(super) fn makes(&mut self, frame: &[u8], target: &[u8]) -> bool {
        self.fill(|byte| !byte);
        expand_over(&self.bytes, frame, target.len()).is_some_and(|made| made == target)
    }

    fn fill(&mut self, with: impl Fn(u8) -> u8) {
        for hole in &self.holes {
            self.bytes[hole.clone()].iter_mut().for_each(|byte| *byte = with(*byte));
        }
    }
}
