//! The entries of a block signature along one pass, and what of them is carried over from an earlier version.
//!
//! Where a pass takes groups by their values alone, entries come from the earlier version's signature; blocks that
//! reach across the border of such groups are read at the end. Units of eight blocks, as `fast_rsync` hashes them.

use std::ops::Range;

use super::blocks::{BlockSignature, KEPT_STRONG_BYTES, LANES, entries_of, entry_bytes};
use super::cores::on_cores;
use super::earlier::Equal;
use super::zeros::ZEROS;
use crate::model::limits::MIB;

/// Entries of so many bytes and more are made by all cores.
pub(super) const SPREAD_BYTES: usize = MIB;
/// Bytes that are read for the sake of a signature at most; where more are not seen, there is none.
const UNSEEN_BYTES: u64 = 256 * MIB as u64;
/// Bytes of the entries of one unit.
const UNIT_ENTRIES: usize = LANES * entry_bytes(KEPT_STRONG_BYTES);

/// Reads a range of the content, whole; `false` when it cannot.
pub type Reread<'r> = dyn FnMut(u64, &mut [u8]) -> bool + 'r;

/// The entries so far, and the blocks that do not fill all lanes yet.
pub(super) struct Blocks {
    block_bytes: u32,
    entries: Vec<u8>,
    open: Vec<u8>,
    /// Whether bytes of the open blocks were not seen: zeros stand for them.
    is_unseen: bool,
    /// Units whose entries are not known: not all of their bytes were seen.
    unseen: Vec<Range<usize>>,
}

impl Blocks {
    pub fn new(block_bytes: u32) -> Self {
        Self { block_bytes, entries: Vec::new(), open: Vec::new(), is_unseen: false, unseen: Vec::new() }
    }

    /// Passes over `len` bytes that are not seen; their groups are among the values of `equal`.
    pub fn skip(&mut self, len: u64, equal: Equal) {
        let unit = self.unit_bytes() as u64;
        let mut left = len;
        if !self.open.is_empty() {
            let n = left.min(unit - self.open.len() as u64);
            self.leave_open(n as usize, equal);
            left -= n;
        }
        while left >= unit {
            match self.held(0, equal) {
                Some(entries) => self.entries.extend_from_slice(entries),
                None => self.push_unseen(),
            }
            left -= unit;
        }
        if left > 0 {
            self.leave_open(left as usize, equal);
        }
    }

    /// Ends the content. What was not seen is read again, if it is not too much.
    pub fn finish(mut self, size: u64, reread: &mut Reread) -> Option<BlockSignature> {
        let unit = self.unit_bytes();
        if !self.open.is_empty() {
            let number = self.n_units();
            if self.is_unseen {
                self.unseen.push(number..number + 1);
            }
            self.entries.extend(entries_of(&self.open, self.block_bytes, KEPT_STRONG_BYTES));
        }
        let n_unseen: usize = self.unseen.iter().map(ExactSizeIterator::len).sum();
        if (n_unseen * unit) as u64 > UNSEEN_BYTES {
            return None;
        }
        for units in self.unseen.into_iter().flat_map(|units| pieces(units, MIB.div_ceil(unit))) {
            let start = (units.start * unit) as u64;
            let mut bytes = vec![0; ((units.len() * unit) as u64).min(size - start) as usize];
            if !reread(start, &mut bytes) {
                return None;
            }
            let entries = entries_of(&bytes, self.block_bytes, KEPT_STRONG_BYTES);
            self.entries[units.start * UNIT_ENTRIES..][..entries.len()].copy_from_slice(&entries);
        }
        let signature = BlockSignature::parse(0, size, self.block_bytes, KEPT_STRONG_BYTES, self.entries);
        Some(signature.expect("an entry for each block"))
    }

    /// Whole units so far.
    fn n_units(&self) -> usize {
        self.entries.len() / UNIT_ENTRIES
    }

    fn push_unseen(&mut self) {
        let number = self.n_units();
        match self.unseen.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => self.unseen.push(number..number + 1),
        }
        self.entries.resize(self.entries.len() + UNIT_ENTRIES, 0);
    }

    /// Lets `n` bytes of the open blocks, which have room for them, pass unseen.
    fn leave_open(&mut self, n: usize, equal: Equal) {
        self.open.resize(self.open.len() + n, 0);
        self.is_unseen = true;
        if self.open.len() == self.unit_bytes() {
            self.close_open(equal);
        }
    }

    /// Entries of the open blocks, which are a whole unit.
    fn close_open(&mut self, equal: Equal) {
        if let Some(entries) = self.held(0, equal) {
            self.entries.extend_from_slice(entries);
        } else if !self.is_unseen {
            self.entries.extend(entries_of(&self.open, self.block_bytes, KEPT_STRONG_BYTES));
        } else {
            self.push_unseen();
        }
        self.open.clear();
        self.is_unseen = false;
    }

    /// Bytes of the blocks that are hashed at once.
    fn unit_bytes(&self) -> usize {
        self.block_bytes as usize * LANES
    }

    /// Takes the next bytes, whose whole groups are among the values of `equal`.
    pub fn update(&mut self, bytes: &[u8], n_cores: usize, equal: Equal) {
        let mut here = self.fill(bytes, equal);
        let unit = self.unit_bytes();
        let last = bytes.len() - (bytes.len() - here) % unit;
        while here < last {
            if let Some(entries) = self.held(0, equal) {
                self.entries.extend_from_slice(entries);
                here += unit;
                continue;
            }
            let n_left = n_units(&bytes[here..last], unit);
            let n_changed = (0..n_left).take_while(|ahead| self.held(*ahead, equal).is_none()).count();
            self.compute(&bytes[here..here + n_changed * unit], n_cores);
            here += n_changed * unit;
        }
        self.open.extend_from_slice(&bytes[here..]);
    }

    /// The earlier version's entries of the unit that stands `ahead` of the next, if its bytes are equal.
    fn held<'e>(&self, ahead: usize, equal: Equal<'e>) -> Option<&'e [u8]> {
        let held = equal.earlier?.signature.as_ref()?;
        let is_like = held.block_bytes() == self.block_bytes && held.strong_bytes() == KEPT_STRONG_BYTES;
        // Only whole units come before the end.
        let number = self.n_units() + ahead;
        let unit = self.unit_bytes() as u64;
        let is_equal = is_like && equal.holds(number as u64 * unit, unit);
        is_equal.then(|| held.entries().get(number * UNIT_ENTRIES..(number + 1) * UNIT_ENTRIES))?
    }

    /// Entries of whole units.
    fn compute(&mut self, bytes: &[u8], n_cores: usize) {
        let (unit, block_bytes) = (self.unit_bytes(), self.block_bytes);
        let n_parts = if bytes.len() < SPREAD_BYTES { 1 } else { n_cores };
        let entries = on_cores(n_parts, &|part| {
            entries_of(share(bytes, unit, part, n_parts), block_bytes, KEPT_STRONG_BYTES)
        });
        entries.into_iter().for_each(|entries| self.entries.extend(entries));
    }

    /// Fills the open blocks and returns how many bytes went into them.
    fn fill(&mut self, bytes: &[u8], equal: Equal) -> usize {
        if self.open.is_empty() {
            return 0;
        }
        let n_taken = (self.unit_bytes() - self.open.len()).min(bytes.len());
        self.open.extend_from_slice(&bytes[..n_taken]);
        if self.open.len() == self.unit_bytes() {
            self.close_open(equal);
        }
        n_taken
    }

    /// Takes zeros: the entries of one unit of them stand for all.
    pub fn zeros(&mut self, len: u64, equal: Equal) {
        let unit = self.unit_bytes();
        let filled = self.fill(&ZEROS[..len.min(unit as u64) as usize], equal);
        let left = len - filled as u64;
        if left >= unit as u64 {
            let entries = entries_of(&ZEROS[..unit], self.block_bytes, KEPT_STRONG_BYTES);
            (0..left / unit as u64).for_each(|_| self.entries.extend_from_slice(&entries));
        }
        self.open.extend_from_slice(&ZEROS[..(left % unit as u64) as usize]);
    }
}

/// The ranges of at most `most` of a range.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(most).map(move |start| start..end.min(start + most))
}

/// The part of `n_parts` of the whole units of `bytes`.
pub(super) fn share(bytes: &[u8], unit: usize, part: usize, n_parts: usize) -> &[u8] {
    let border = |part: usize| n_units(bytes, unit) * part / n_parts * unit;
    &bytes[border(part)..border(part + 1)]
}

pub(super) fn n_units(bytes: &[u8], unit: usize) -> usize {
    bytes.len() / unit
}
