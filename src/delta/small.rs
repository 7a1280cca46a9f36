//! Small files that changed, by the names of their blocks.
//!
//! No signature of a small file is kept. The receiver names the blocks of what it holds, first coarse ones
//! and then fine ones of what did not match; [`Likeness`] finds them in the target at any offset and makes
//! runs of literals and copies. A name is a few bytes of a rolling hash; it only proposes, the content
//! hash decides.

use super::ops::bytes;
use crate::model::List;
use crate::model::limits::{NAMED_RANGES, RUNS, SMALL_BLOCK_BYTES, SMALL_FINE_BYTES};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// The factor of the rolling hash: odd, and its powers fill 64 bits. Part of the protocol.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bytes of a name: at 64 KiB in blocks of 128 bytes one false match in some 2,000 files.
pub const NAME_BYTES: usize = 5;
/// Places remembered of blocks with one name.
const PLACES: usize = 16;

/// A literal, then a copy from the basis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    #[serde(with = "bytes")]
    pub literal: Vec<u8>,
    /// Where the copy begins, as the distance from where the last one ended; the first from 0.
    pub ahead: i32,
    pub len: u32,
}

/// A range of the basis: offset, length.
pub type Part = (u32, u32);

/// The names of the blocks of a range, one behind the other; the last block may be short.
pub fn names(range: &[u8], block_bytes: usize) -> Vec<u8> {
    range.chunks(block_bytes.max(1)).flat_map(|block| name_of(hash(block))).collect()
}

/// Number of names of a range.
pub fn n_names(len: u32, block_bytes: u32) -> usize {
    len.div_ceil(block_bytes.max(1)) as usize
}

fn hash(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash: u64, &byte| roll_in(hash, byte))
}

fn roll_in(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1)
}

/// Mixed, so that the last bytes of a block, too, reach the first bits.
fn mix(hash: u64) -> u64 {
    (hash ^ (hash >> 32)).wrapping_mul(FACTOR)
}

fn name_of(hash: u64) -> [u8; NAME_BYTES] {
    let [a, b, c, d, e, ..] = mix(hash).to_be_bytes();
    [a, b, c, d, e]
}

/// A copy: place in the target, place in the basis, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copy {
    at: usize,
    from: usize,
    len: usize,
}

/// What of a target stands in its basis, as far as names tell.
#[derive(Clone, Debug)]
pub struct Likeness {
    basis_len: usize,
    /// By place in the target, without overlap.
    copies: Vec<Copy>,
}

/// Names of the blocks of one size, to look up.
struct Named {
    block_bytes: usize,
    /// One bit for each 16 first bits of a name that is there.
    seen: Vec<u64>,
    places: HashMap<[u8; NAME_BYTES], Vec<usize>>,
    /// Short last blocks by where they end: length, name.
    tails: HashMap<usize, (usize, [u8; NAME_BYTES])>,
}

impl Named {
    fn new(parts: &[Part], block_bytes: usize, names: &[u8]) -> Self {
        let mut named =
            Self { block_bytes, seen: vec![0; 1 << 10], places: HashMap::new(), tails: HashMap::new() };
        let mut names = names.as_chunks::<NAME_BYTES>().0.iter();
        for &(offset, len) in parts {
            let (mut at, end) = (offset as usize, offset as usize + len as usize);
            while at < end
                && let Some(name) = names.next()
            {
                named.add(at, block_bytes.min(end - at), *name);
                at += block_bytes;
            }
        }
        named
    }

    fn add(&mut self, at: usize, len: usize, name: [u8; NAME_BYTES]) {
        if len < self.block_bytes {
            self.tails.insert(at + len, (len, name));
            return;
        }
        let first = usize::from(u16::from_be_bytes([name[0], name[1]]));
        self.seen[first / 64] |= 1 << (first % 64);
        let places = self.places.entry(name).or_default();
        if places.len() < PLACES {
            places.push(at);
        }
    }

    /// Where a block of this hash stands, best right behind the last copy.
    fn find(&self, hash: u64, behind: usize) -> Option<usize> {
        let first = (mix(hash) >> 48) as usize;
        if self.seen[first / 64] >> (first % 64) & 1 == 0 {
            return None;
        }
        let places = self.places.get(&name_of(hash))?;
        places.iter().copied().find(|&place| place >= behind).or_else(|| places.last().copied())
    }
}

impl Likeness {
    /// Nothing is known yet.
    pub fn new(basis_len: u64) -> Self {
        Self { basis_len: basis_len as usize, copies: Vec::new() }
    }

    /// What to ask for first: the whole basis, in blocks of which size.
    pub fn first_question(&self) -> (Vec<Part>, u32) {
        let is_short = self.basis_len < 2 * SMALL_BLOCK_BYTES;
        let block_bytes = if is_short { SMALL_FINE_BYTES } else { SMALL_BLOCK_BYTES };
        (vec![(0, self.basis_len as u32)], block_bytes as u32)
    }

    /// What to ask for next: what did not match of the basis, in fine blocks; nothing where the whole
    /// target is found.
    pub fn next_question(&self, target: &[u8]) -> (Vec<Part>, u32) {
        let block_bytes = SMALL_FINE_BYTES as u32;
        if self.gaps(target.len()).all(|gap| gap.len() < SMALL_FINE_BYTES) {
            return (Vec::new(), block_bytes);
        }
        let mut taken: Vec<(usize, usize)> = self.copies.iter().map(|c| (c.from, c.from + c.len)).collect();
        taken.sort_unstable();
        let mut parts = Vec::new();
        let mut at = 0;
        for (start, end) in taken.into_iter().chain([(self.basis_len, self.basis_len)]) {
            if start > at {
                parts.push((at as u32, (start - at) as u32));
            }
            at = at.max(end);
        }
        parts.truncate(NAMED_RANGES);
        (parts, block_bytes)
    }

    /// Looks for these blocks of the basis in what is not found of the target yet.
    pub fn learn(&mut self, target: &[u8], parts: &[Part], block_bytes: u32, names: &[u8]) {
        let named = Named::new(parts, block_bytes as usize, names);
        let gaps: Vec<Range<usize>> = self.gaps(target.len()).collect();
        let mut found = Vec::new();
        for gap in gaps {
            let next = self.copies.iter().find(|copy| copy.at >= gap.end);
            let tail = self.match_tail(target, &gap, next, &named);
            let end = tail.map_or(gap.end, |copy| copy.at);
            let behind =
                self.copies.iter().rev().find(|copy| copy.at < gap.start).map_or(0, |c| c.from + c.len);
            search(target, gap.start..end, behind, &named, &mut found);
            found.extend(tail);
        }
        self.copies.extend(found);
        self.copies.sort_unstable_by_key(|copy| copy.at);
        self.join();
    }

    /// The short block right before the next copy, or at the end, where the gap ends with it.
    fn match_tail(
        &self,
        target: &[u8],
        gap: &Range<usize>,
        next: Option<&Copy>,
        named: &Named,
    ) -> Option<Copy> {
        let end = next.map_or(self.basis_len, |copy| copy.from);
        let (len, name) = *named.tails.get(&end)?;
        let at = gap.end.checked_sub(len).filter(|at| *at >= gap.start)?;
        (name_of(hash(&target[at..gap.end])) == name).then_some(Copy { at, from: end - len, len })
    }

    /// Places of the target that are not found.
    fn gaps(&self, target_len: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = 0;
        let ends = [Copy { at: target_len, from: 0, len: 0 }];
        self.copies.iter().copied().chain(ends).filter_map(move |copy| {
            let gap = at..copy.at;
            at = copy.at + copy.len;
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// Makes one copy of those that follow each other on both sides.
    fn join(&mut self) {
        let mut joined: Vec<Copy> = Vec::with_capacity(self.copies.len());
        for copy in self.copies.drain(..) {
            match joined.last_mut() {
                Some(last) if last.at + last.len == copy.at && last.from + last.len == copy.from => {
                    last.len += copy.len;
                }
                _ => joined.push(copy),
            }
        }
        self.copies = joined;
    }

    /// Literals and copies that make the target; `None` when there are more than a body holds.
    pub fn runs(&self, target: &[u8]) -> Option<List<Run, RUNS>> {
        let mut runs = Vec::with_capacity(self.copies.len() + 1);
        let (mut at, mut from) = (0, 0);
        for copy in &self.copies {
            let ahead = copy.from as i32 - from as i32;
            runs.push(Run { literal: target[at..copy.at].to_vec(), ahead, len: copy.len as u32 });
            (at, from) = (copy.at + copy.len, copy.from + copy.len);
        }
        if at < target.len() {
            runs.push(Run { literal: target[at..].to_vec(), ahead: 0, len: 0 });
        }
        (runs.len() <= RUNS).then(|| List::new(runs))
    }
}

/// Finds blocks in one gap, from its start on.
fn search(target: &[u8], gap: Range<usize>, mut behind: usize, named: &Named, found: &mut Vec<Copy>) {
    let n = named.block_bytes;
    if named.places.is_empty() || gap.len() < n {
        return;
    }
    let out_factor = (1..n).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
    let mut at = gap.start;
    let mut rolled = hash(&target[at..at + n]);
    loop {
        if let Some(from) = named.find(rolled, behind) {
            found.push(Copy { at, from, len: n });
            behind = from + n;
            at += n;
            if at + n > gap.end {
                return;
            }
            rolled = hash(&target[at..at + n]);
        } else {
            if at + n >= gap.end {
                return;
            }
            let without = rolled.wrapping_sub((u64::from(target[at]) + 1).wrapping_mul(out_factor));
            rolled = roll_in(without, target[at + n]);
            at += 1;
        }
    }
}

/// Makes a target of a basis and runs; `None` when they do not make exactly so many bytes.
pub fn rebuild(basis: &[u8], runs: &[Run], size: usize) -> Option<Vec<u8>> {
    let mut target = Vec::with_capacity(size);
    let mut from = 0i64;
    for run in runs {
        let start = from + i64::from(run.ahead);
        let end = start + i64::from(run.len);
        let copied = basis.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        if target.len() + run.literal.len() + copied.len() > size {
            return None;
        }
        target.extend_from_slice(&run.literal);
        target.extend_from_slice(copied);
        from = end;
    }
    (target.len() == size).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text-like lines that differ for each seed.
    fn text(seed: u64, n: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = Vec::with_capacity(n + 80);
        while bytes.len() < n {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            bytes.extend(format!("\tint field_{} = {};\n", state >> 56, state >> 40).bytes());
        }
        bytes.truncate(n);
        bytes
    }

    /// Runs between two contents, and bytes of names that were asked for.
    fn meet(basis: &[u8], target: &[u8]) -> (List<Run, RUNS>, usize) {
        let mut likeness = Likeness::new(basis.len() as u64);
        let mut n_bytes = 0;
        let mut ask = |likeness: &mut Likeness, (parts, block_bytes): (Vec<Part>, u32)| {
            let answer: Vec<u8> = parts
                .iter()
                .flat_map(|&(offset, len)| {
                    names(&basis[offset as usize..][..len as usize], block_bytes as usize)
                })
                .collect();
            n_bytes += answer.len();
            likeness.learn(target, &parts, block_bytes, &answer);
        };
        let first = likeness.first_question();
        ask(&mut likeness, first);
        let next = likeness.next_question(target);
        ask(&mut likeness, next);
        (likeness.runs(target).expect("few runs"), n_bytes)
    }

    fn literal_bytes(runs: &[Run]) -> usize {
        runs.iter().map(|run| run.literal.len()).sum()
    }

    #[test]
    fn an_edit_costs_about_a_fine_block_on_each_side() {
        let basis = text(1, 40_000);
        let mut target = basis.clone();
        target.splice(20_000..20_007, *b"another word");
        let (runs, asked) = meet(&basis, &target);
        assert_eq!(rebuild(&basis, &runs, target.len()), Some(target));
        assert!(literal_bytes(&runs) <= 12 + 2 * SMALL_FINE_BYTES, "{}", literal_bytes(&runs));
        assert!(asked < 300, "{asked} bytes of names");
    }

    #[test]
    fn any_two_contents_meet() {
        let mut seed = 7u64;
        for case in 0..400u64 {
            let mut next = |n: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(case);
                (seed >> 33) % n
            };
            let basis = text(next(3), next(9_000) as usize);
            let mut target = basis.clone();
            for _ in 0..next(6) {
                let at = next(target.len() as u64 + 1) as usize;
                let end = (at + next(700) as usize).min(target.len());
                let new = text(next(1_000), next(900) as usize);
                target.splice(at..end, new);
            }
            let (runs, _) = meet(&basis, &target);
            assert!(rebuild(&basis, &runs, target.len()) == Some(target), "case {case}");
        }
    }

    #[test]
    fn equal_contents_are_one_copy_also_at_their_end() {
        for n in [1, 127, 128, 129, 2_047, 2_048, 2_049, 65_536] {
            let basis = text(5, n);
            let (runs, _) = meet(&basis, &basis);
            assert_eq!(literal_bytes(&runs), 0, "{n}");
            assert_eq!(runs.len(), 1);
        }
    }

    #[test]
    fn runs_that_do_not_fit_make_nothing() {
        let run = |ahead, len| Run { literal: b"xy".to_vec(), ahead, len };
        let basis = b"0123456789";
        assert_eq!(rebuild(basis, &[run(2, 3), run(-5, 1)], 8), Some(b"xy234xy0".to_vec()));
        for (runs, size) in [
            (vec![run(2, 3)], 6),
            (vec![run(2, 3)], 4),
            (vec![run(8, 3)], 5),
            (vec![run(-1, 1)], 3),
            (vec![run(i32::MAX, u32::MAX)], usize::MAX >> 8),
            (vec![run(i32::MIN, 0)], 2),
        ] {
            if size < 1 << 20 {
                assert_eq!(rebuild(basis, &runs, size), None, "{runs:?}");
            }
        }
    }

    #[test]
    fn answers_that_are_cut_short_or_lie_do_no_harm() {
        let target = text(3, 5_000);
        let mut likeness = Likeness::new(4_000);
        let (parts, block_bytes) = likeness.first_question();
        likeness.learn(&target, &parts, block_bytes, &names(&target[..3_072], 1_024)[..7]);
        let runs = likeness.runs(&target).expect("few runs");
        assert_eq!(rebuild(&target[..4_000], &runs, target.len()), Some(target));
    }
}
