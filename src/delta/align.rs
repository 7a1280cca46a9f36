//! The block sieve: where in a basis the bytes of a window stand.
//!
//! *Predict, verify, else search*: after a match at some shift the next blocks are expected at the same
//! shift, and a signature of the window computed at that alignment (as fast as memory allows) confirms
//! them. Only where that fails the rolling hash is searched for, at any offset of the basis. Equal
//! means: equal weak and strong hash; the content hash decides in the end.

use super::blocks::RangeSignature;
use super::place::Place;
use super::sieve::KnownBasis;
use super::weak::WeakTable;
use super::zeros::are_zeros;
use crate::model::limits::GROUP_BYTES;

/// Blocks compared at first at a predicted place, and at most at a time when all goes well.
const FIRST_STRIDE: usize = 8;
const LAST_STRIDE: usize = 2_048;
/// Shifts that are tried before the search.
const SHIFTS: usize = 3;
/// The search looks at least at so much of a window, however often it found nothing before.
const SEARCH_LEAST_BYTES: usize = 64 * 1024;
const MISSES: u32 = 4;

/// A piece of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Offset in the target, and length.
    pub(super) at: u64,
    pub(super) len: u64,
    /// Where it stands in a basis; none for a literal.
    pub(super) from: Option<Place>,
}

/// The signatures of one block size.
struct Layer<'a> {
    block_bytes: usize,
    /// By place.
    ranges: Vec<Signed<'a>>,
    n_blocks: usize,
    table: Option<WeakTable>,
    /// What the last comparisons said, the latest first: what follows a block that differs was compared
    /// with it.
    seen: Vec<Seen>,
}

/// The signature of a range, where it stands, and the number of its first block in the layer.
#[derive(Clone, Copy)]
struct Signed<'a> {
    start: Place,
    first: usize,
    signature: &'a RangeSignature,
}

impl Signed<'_> {
    fn end(&self) -> Place {
        self.start.plus(self.signature.len())
    }
}

/// The answers of one comparison, from a place in the target on.
struct Seen {
    /// The shift, and where the signature starts.
    key: (i64, Place),
    place: u64,
    equal: Vec<bool>,
}

impl Seen {
    fn holds(&self, key: (i64, Place), place: u64, block_bytes: usize) -> bool {
        let end = self.place + (self.equal.len() * block_bytes) as u64;
        self.key == key && (self.place..end).contains(&place)
    }
}

/// A run of blocks that stand in the basis.
struct Run {
    /// Place in the window, length, place in a basis.
    start: usize,
    len: usize,
    from: Place,
    /// Whether it ended only because no more was compared.
    goes_on: bool,
}

/// The search's budget for strong hashes is spent: the weak hashes lie, or the data is degenerate.
struct Spent;

/// State of the block sieve over one target.
pub(super) struct Aligner<'a> {
    /// Finest first.
    layers: Vec<Layer<'a>>,
    /// Target offset less basis offset, the latest first.
    shifts: Vec<i64>,
    stride: usize,
    /// Windows in a row in which nothing was found.
    misses: u32,
    /// Strong hashes of the last window that disproved a weak one.
    n_disproved: usize,
    pieces: Vec<Piece>,
}

impl<'a> Aligner<'a> {
    pub(super) fn new(bases: &'a [KnownBasis]) -> Self {
        let mut layers: Vec<Layer> = Vec::new();
        let placed = |basis: &'a KnownBasis| {
            basis.signatures.iter().map(|signature| (Place::new(basis.index, signature.offset()), signature))
        };
        let mut sorted: Vec<_> =
            bases.iter().flat_map(placed).filter(|(_, signature)| !signature.is_empty()).collect();
        sorted.sort_by_key(|(place, signature)| (signature.block_bytes(), *place));
        for (place, signature) in sorted {
            let block_bytes = signature.block_bytes() as usize;
            match layers.last_mut() {
                Some(layer) if layer.block_bytes == block_bytes => layer.add(place, signature),
                _ => {
                    let mut layer = Layer::new(block_bytes);
                    layer.add(place, signature);
                    layers.push(layer);
                }
            }
        }
        let shifts = bases.iter().take(SHIFTS).map(|basis| Place::new(basis.index, 0).shift(0)).collect();
        let stride = FIRST_STRIDE;
        Self { layers, shifts, stride, misses: 0, n_disproved: 0, pieces: Vec::new() }
    }

    /// Bytes around a window that help to recognise blocks across its borders; 0 without signatures.
    pub(super) fn margin(&self) -> u64 {
        self.layers.last().map_or(0, |layer| layer.block_bytes as u64 - 1)
    }

    /// Strong hashes that disproved a weak one in the last window: many are a sign of malice.
    pub(super) fn n_disproved(&self) -> usize {
        self.n_disproved
    }

    /// The signature that covers a range of a basis, in the finest blocks.
    pub(super) fn covering(&self, start: Place, end: Place) -> Option<&'a RangeSignature> {
        let holders = self.layers.iter().filter_map(|layer| layer.at(start));
        holders.filter(|signed| signed.end() >= end).map(|signed| signed.signature).next()
    }

    /// Expects what follows a match that was found elsewhere.
    pub(super) fn expect(&mut self, at: u64, from: Place) {
        self.remember(from.shift(at));
    }

    /// Cuts a window that starts at `at` in the target into pieces, in order, without gap.
    ///
    /// When more of the target follows, the pieces may end before the window does: the rest, less than
    /// a group and a block, wants to be the start of the next window.
    pub(super) fn pieces(&mut self, window: &[u8], at: u64, is_last: bool) -> Vec<Piece> {
        self.n_disproved = 0;
        let Some(finest) = self.layers.first().map(|layer| layer.block_bytes) else {
            self.push(at, 0, window.len(), None);
            return std::mem::take(&mut self.pieces);
        };
        if are_zeros(window) {
            // They cost nothing, wherever they stand in a basis.
            let end = self.give_up(window.len(), at, 0, is_last);
            self.push(at, 0, end, None);
            return std::mem::take(&mut self.pieces);
        }
        let mut budget = 2 * window.len() + 64 * 1024;
        let mut n_matched = 0;
        let mut here = 0;
        while here < window.len() && (is_last || window.len() - here >= finest) {
            let predicted = self.predict(window, at, here);
            let gap_end = predicted.as_ref().map_or(window.len(), |run| run.start);
            match self.search(window, here, gap_end, &mut budget) {
                Some(found) => {
                    self.push(at, here, found.start, None);
                    self.remember(found.from.shift(at + found.start as u64));
                    here = found.start;
                }
                None => match predicted {
                    Some(run) => {
                        self.push(at, here, run.start, None);
                        here = run.start + run.len;
                        self.push(at, run.start, here, Some(run.from));
                        self.remember(run.from.shift(at + run.start as u64));
                        n_matched += run.len;
                    }
                    None => {
                        let given_up = self.give_up(window.len(), at, here, is_last);
                        self.push(at, here, given_up, None);
                        here = given_up;
                        break;
                    }
                },
            }
        }
        if n_matched == 0 && window.len() >= SEARCH_LEAST_BYTES {
            self.misses = (self.misses + 1).min(MISSES);
        } else if n_matched > 0 {
            self.misses = 0;
        }
        if is_last {
            self.push(at, here, window.len(), None);
        }
        std::mem::take(&mut self.pieces)
    }

    /// Up to where a window is literal when nothing more was found in it: the last block, which may
    /// go on, and the group it begins in are left for the next window.
    fn give_up(&self, window_len: usize, at: u64, here: usize, is_last: bool) -> usize {
        if is_last {
            return window_len;
        }
        let searched = window_len.saturating_sub(self.margin() as usize);
        let to_border = ((at + searched as u64) % GROUP_BYTES as u64) as usize;
        searched.saturating_sub(to_border).max(here)
    }

    /// The first run of blocks, at one of the latest shifts, at or after a place.
    fn predict(&mut self, window: &[u8], at: u64, here: usize) -> Option<Run> {
        let mut best: Option<Run> = None;
        for shift in &self.shifts {
            for layer in &mut self.layers {
                let until = best.as_ref().map_or(window.len(), |run| run.start);
                let run = layer.run_at(window, at, here, *shift, self.stride);
                best = run.filter(|run| run.start < until).or(best);
            }
            if best.as_ref().is_some_and(|run| run.start == here) {
                break;
            }
        }
        let full = best.as_ref().is_some_and(|run| run.start == here && run.goes_on);
        self.stride = if full { (self.stride * 2).min(LAST_STRIDE) } else { FIRST_STRIDE };
        best
    }

    /// The first block of the basis that stands anywhere in a gap.
    fn search(&mut self, window: &[u8], here: usize, gap_end: usize, budget: &mut usize) -> Option<Run> {
        let limit = here.saturating_add((window.len() >> self.misses).max(SEARCH_LEAST_BYTES));
        let gap = &window[here..gap_end.min(limit)];
        let n_disproved = &mut self.n_disproved;
        let found = self.layers.iter_mut().filter_map(|layer| layer.search(gap, budget, n_disproved));
        let first = found.min_by_key(|run| run.start)?;
        Some(Run { start: here + first.start, ..first })
    }

    fn remember(&mut self, shift: i64) {
        if self.shifts.first() != Some(&shift) {
            self.shifts.retain(|held| *held != shift);
            self.shifts.insert(0, shift);
            self.shifts.truncate(SHIFTS);
        }
    }

    fn push(&mut self, at: u64, start: usize, end: usize, from: Option<Place>) {
        let len = (end - start) as u64;
        if len == 0 {
            return;
        }
        match self.pieces.last_mut() {
            Some(last)
                if last.from.map(|from| from.plus(last.len)) == from
                    && last.from.is_some() == from.is_some() =>
            {
                last.len += len;
            }
            _ => self.pieces.push(Piece { at: at + start as u64, len, from }),
        }
    }
}

impl<'a> Layer<'a> {
    fn new(block_bytes: usize) -> Self {
        Self { block_bytes, ranges: Vec::new(), n_blocks: 0, table: None, seen: Vec::new() }
    }

    fn add(&mut self, place: Place, signature: &'a RangeSignature) {
        self.ranges.push(Signed { start: place, first: self.n_blocks, signature });
        self.n_blocks += signature.n_blocks();
    }

    /// The signature of the range that holds a place.
    fn at(&self, place: Place) -> Option<Signed<'a>> {
        let next = self.ranges.partition_point(|signed| signed.start <= place);
        let signed = *self.ranges.get(next.checked_sub(1)?)?;
        (place < signed.end()).then_some(signed)
    }

    /// The first run of equal blocks among the next `stride` blocks at a shift.
    fn run_at(&mut self, window: &[u8], at: u64, here: usize, shift: i64, stride: usize) -> Option<Run> {
        // Before the basis's first byte: its first block may still stand further on.
        let expected = Place::shifted(at + here as u64, shift);
        let signed = self.at(expected)?;
        let block_index = (signed.start.to(expected) as usize).div_ceil(self.block_bytes);
        let from = signed.start.plus((block_index * self.block_bytes) as u64);
        let start = usize::try_from(from.back(shift) - at as i64).ok().filter(|start| *start >= here)?;
        let key = (shift, signed.start);
        let place = at + start as u64;
        let block_bytes = self.block_bytes;
        if !self.seen.iter().any(|seen| seen.holds(key, place, block_bytes)) {
            let end = window.len().min(start.saturating_add(stride * block_bytes));
            let equal = signed.signature.compare(block_index, window.get(start..end)?);
            self.seen.retain(|seen| seen.key != key);
            self.seen.insert(0, Seen { key, place, equal });
            self.seen.truncate(SHIFTS);
        }
        let seen = self.seen.iter().find(|seen| seen.holds(key, place, block_bytes))?;
        let equal = &seen.equal[(place - seen.place) as usize / block_bytes..];
        let first = equal.iter().position(|equal| *equal)?;
        let n_equal = equal[first..].iter().take_while(|equal| **equal).count();
        let skipped = first * self.block_bytes;
        let from = from.plus(skipped as u64);
        // The last block of a range may be short.
        let len = (n_equal * self.block_bytes).min(from.to(signed.end()) as usize);
        Some(Run { start: start + skipped, len, from, goes_on: first + n_equal == equal.len() })
    }

    /// The first block that stands in a gap; none when the budget runs out, in bytes of strong hashes.
    fn search(&mut self, gap: &[u8], budget: &mut usize, n_disproved: &mut usize) -> Option<Run> {
        if gap.len() < self.block_bytes || *budget == 0 {
            return None;
        }
        let (ranges, block_bytes) = (&self.ranges, self.block_bytes);
        let locate = |block: usize| {
            let next = ranges.partition_point(|signed| signed.first <= block);
            let signed = ranges[next - 1];
            (signed, block - signed.first)
        };
        let table = self.table.get_or_insert_with(|| {
            WeakTable::new(self.n_blocks, |block| {
                let (signed, block_index) = locate(block);
                signed.signature.weak(block_index)
            })
        });
        let proves = |place: usize, block: usize| {
            let (signed, block_index) = locate(block);
            if signed.signature.compare(block_index, &gap[place..place + block_bytes]) == [true] {
                return Ok(true);
            }
            *n_disproved += 1;
            *budget = budget.saturating_sub(block_bytes);
            if *budget == 0 { Err(Spent) } else { Ok(false) }
        };
        let (start, block) = table.find(gap, block_bytes, proves).ok().flatten()?;
        let (signed, block_index) = locate(block);
        let from = signed.start.plus((block_index * block_bytes) as u64);
        Some(Run { start, len: block_bytes, from, goes_on: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    fn known(basis: &[u8]) -> KnownBasis {
        let signatures = vec![RangeSignature::compute(0, basis, 101, 8)];
        KnownBasis { index: 0, size: basis.len() as u64, groups: None, signatures }
    }

    fn pieces_of(basis: &[u8], target: &[u8]) -> Vec<(u64, Option<u64>)> {
        let bases = [known(basis)];
        let pieces = Aligner::new(&bases).pieces(target, 0, true);
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.at, at);
            at += piece.len;
            if let Some(from) = piece.from {
                let (from, here, len) = (from.offset() as usize, piece.at as usize, piece.len as usize);
                assert_eq!(basis[from..from + len], target[here..here + len]);
            }
        }
        assert_eq!(at, target.len() as u64);
        pieces.iter().map(|piece| (piece.len, piece.from.map(Place::offset))).collect()
    }

    #[test]
    fn insert_moves_the_shift_and_an_edit_keeps_it() {
        let basis = noise(10_100, 5);
        let target = [&basis[..1010], b"inserted", &basis[1010..]].concat();
        assert_eq!(pieces_of(&basis, &target), [(1010, Some(0)), (8, None), (9090, Some(1010))]);
        let mut target = basis.clone();
        target[1000] ^= 1;
        assert_eq!(pieces_of(&basis, &target), [(909, Some(0)), (101, None), (9090, Some(1010))]);
    }

    #[test]
    fn moved_blocks_are_found_anywhere() {
        let basis = noise(10_100, 5);
        let target = [&basis[5050..], b"x", &basis[..5050]].concat();
        assert_eq!(pieces_of(&basis, &target), [(5050, Some(5050)), (1, None), (5050, Some(0))]);
    }

    #[test]
    fn unrelated_bytes_are_one_literal() {
        assert_eq!(pieces_of(&noise(10_100, 5), &noise(3_000, 9)), [(3_000, None)]);
        assert_eq!(pieces_of(&[], &noise(3_000, 9)), [(3_000, None)]);
        assert_eq!(pieces_of(&noise(10_100, 5), &[]), []);
    }

    #[test]
    fn a_window_that_goes_on_leaves_its_last_block_open() {
        let basis = noise(300_000, 5);
        let target = [b"head", &basis[..]].concat();
        let bases = [known(&basis)];
        let mut aligner = Aligner::new(&bases);
        let first = aligner.pieces(&target[..100_000], 0, false);
        let resolved: u64 = first.iter().map(|piece| piece.len).sum();
        assert!((100_000 - 101..=100_000).contains(&resolved), "{resolved}");
        let second = aligner.pieces(&target[resolved as usize..], resolved, true);
        let rest = Piece { at: resolved, len: 300_004 - resolved, from: Some(Place::new(0, resolved - 4)) };
        assert_eq!(second, [rest]);
    }
}
