//! The block sieve: where in a basis the bytes of a window stand.
//!
//! *Predict, verify, else search*: after a match at some shift the next blocks are expected at the same
//! shift, and a signature of the window computed at that alignment (as fast as memory allows) confirms
//! them. Only where that fails the rolling hash is searched for, at any offset of the basis. Equal
//! means: equal weak and strong hash; the content hash decides in the end.

use super::blocks::RangeSignature;
use super::layer::{Hints, Layer, Run};
use super::place::Place;
use super::sieve::{KnownBasis, KnownCopy};
use super::zeros::are_zeros;
use crate::model::limits::{CHUNK_BYTES_MAX, GROUP_BYTES};

/// Blocks compared at first at a predicted place, and at most at a time when all goes well.
const FIRST_STRIDE: usize = 8;
const LAST_STRIDE: usize = 2_048;
/// Shifts that are tried before the search.
const SHIFTS: usize = 3;
/// So far ahead a hint tells the shift: an edit spoils a chunk, or two.
const HINT_AHEAD_BYTES: u64 = 2 * CHUNK_BYTES_MAX as u64;
/// The search looks at least at so much of a window, however often it found nothing before.
const SEARCH_LEAST_BYTES: usize = 64 * 1024;
const MISSES: u32 = 2;

/// A piece of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Offset in the target, and length.
    pub(super) at: u64,
    pub(super) len: u64,
    /// Where it stands in a basis; none for a literal.
    pub(super) from: Option<Place>,
}

/// State of the block sieve over one target.
pub(super) struct Aligner<'a> {
    /// Finest first.
    layers: Vec<Layer<'a>>,
    hints: Hints<'a>,
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
    pub(super) fn new(bases: &'a [KnownBasis], hints: &'a [KnownCopy]) -> Self {
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
        Self { layers, hints: Hints(hints), shifts, stride, misses: 0, n_disproved: 0, pieces: Vec::new() }
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

    /// The first run of blocks at or after a place: at one of the latest shifts, or at that of the next hint.
    fn predict(&mut self, window: &[u8], at: u64, here: usize) -> Option<Run> {
        let near = at + here as u64 + HINT_AHEAD_BYTES;
        let hinted = self.hints.next(at + here as u64).filter(|hint| hint.at <= near);
        let hinted = hinted.map(|hint| Place::new(hint.basis, hint.offset).shift(hint.at));
        let mut shifts = self.shifts.clone();
        if let Some(hinted) = hinted {
            shifts.insert(shifts.len().min(1), hinted);
        }
        let mut best: Option<Run> = None;
        for shift in shifts {
            for layer in &mut self.layers {
                let until = best.as_ref().map_or(window.len(), |run| run.start);
                let run = layer.run_at(window, at, here, (shift, self.stride), self.hints);
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
        let limit = here.saturating_add((window.len() >> (3 * self.misses)).max(SEARCH_LEAST_BYTES));
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
        let pieces = Aligner::new(&bases, &[]).pieces(target, 0, true);
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

    /// What is left open of a content that mostly stands elsewhere comes as a short window, perhaps behind others without a match.
    #[test]
    fn a_short_window_is_searched_whole_whatever_came_before() {
        let basis = noise(10_100, 5);
        let bases = [known(&basis)];
        let mut aligner = Aligner::new(&bases, &[]);
        let mut at = 0;
        for seed in [11, 12, 13, 14] {
            aligner.pieces(&noise(300_000, seed), at, true);
            at += 300_000;
        }
        let window = [&noise(60_000, 15)[..], &basis[..1_010]].concat();
        let pieces = aligner.pieces(&window, at, true);
        let found = Piece { at: at + 60_000, len: 1_010, from: Some(Place::new(0, 0)) };
        assert_eq!(pieces, [Piece { at, len: 60_000, from: None }, found]);
    }

    #[test]
    fn a_window_that_goes_on_leaves_its_last_block_open() {
        let basis = noise(300_000, 5);
        let target = [b"head", &basis[..]].concat();
        let bases = [known(&basis)];
        let mut aligner = Aligner::new(&bases, &[]);
        let first = aligner.pieces(&target[..100_000], 0, false);
        let resolved: u64 = first.iter().map(|piece| piece.len).sum();
        assert!((100_000 - 101..=100_000).contains(&resolved), "{resolved}");
        let second = aligner.pieces(&target[resolved as usize..], resolved, true);
        let rest = Piece { at: resolved, len: 300_004 - resolved, from: Some(Place::new(0, resolved - 4)) };
        assert_eq!(second, [rest]);
    }
}
