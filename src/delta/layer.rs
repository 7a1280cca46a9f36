//! The signatures of one block size: blocks compared at a place, or searched for at any.

use super::blocks::RangeSignature;
use super::place::Place;
use super::sieve::KnownCopy;
use super::weak::WeakTable;

/// Comparisons that are remembered.
const SEEN: usize = 3;

/// Parts of the target that are known to stand in a basis, by target offset, apart from each other.
#[derive(Clone, Copy)]
pub(super) struct Hints<'a>(pub(super) &'a [KnownCopy]);

impl<'a> Hints<'a> {
    /// The first part that ends behind a place in the target.
    pub(super) fn next(self, place: u64) -> Option<&'a KnownCopy> {
        self.0.get(self.0.partition_point(|hint| hint.at + hint.len <= place))
    }
}

/// The signatures of one block size.
pub(super) struct Layer<'a> {
    pub(super) block_bytes: usize,
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
pub(super) struct Signed<'a> {
    start: Place,
    first: usize,
    pub(super) signature: &'a RangeSignature,
}

impl Signed<'_> {
    pub(super) fn end(&self) -> Place {
        self.start.plus(self.signature.len())
    }

    /// Whole blocks from a place of the basis on that a hint tells, for a target at a shift that holds
    /// `n_held` bytes from there on.
    fn n_told(&self, hint: &KnownCopy, shift: i64, from: Place, n_held: usize) -> usize {
        let hinted = Place::new(hint.basis, hint.offset);
        if hinted.shift(hint.at) != shift || from < hinted {
            return 0;
        }
        let end = hinted.plus(hint.len).min(self.end());
        let n_told = if from < end { from.to(end).min(n_held as u64) } else { 0 };
        (n_told / u64::from(self.signature.block_bytes())) as usize
    }
}

/// The answers of one comparison, from a place in the target on.
struct Seen {
    /// The shift, and where the signature starts.
    key: (i64, Place),
    place: u64,
    equal: Vec<bool>,
    /// Whether a hint told, and nothing was compared.
    is_told: bool,
}

impl Seen {
    fn holds(&self, key: (i64, Place), place: u64, block_bytes: usize) -> bool {
        let end = self.place + (self.equal.len() * block_bytes) as u64;
        self.key == key && (self.place..end).contains(&place)
    }
}

/// A run of blocks that stand in the basis.
pub(super) struct Run {
    /// Place in the window, length, place in a basis.
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) from: Place,
    /// Whether it ended only because no more was compared.
    pub(super) goes_on: bool,
}

/// The search's budget for strong hashes is spent: the weak hashes lie, or the data is degenerate.
struct Spent;

impl<'a> Layer<'a> {
    pub(super) fn new(block_bytes: usize) -> Self {
        Self { block_bytes, ranges: Vec::new(), n_blocks: 0, table: None, seen: Vec::new() }
    }

    pub(super) fn add(&mut self, place: Place, signature: &'a RangeSignature) {
        self.ranges.push(Signed { start: place, first: self.n_blocks, signature });
        self.n_blocks += signature.n_blocks();
    }

    /// The signature of the range that holds a place.
    pub(super) fn at(&self, place: Place) -> Option<Signed<'a>> {
        let next = self.ranges.partition_point(|signed| signed.start <= place);
        let signed = *self.ranges.get(next.checked_sub(1)?)?;
        (place < signed.end()).then_some(signed)
    }

    /// The first run of equal blocks among the next `stride` blocks at a shift, or of those that a hint tells.
    pub(super) fn run_at(
        &mut self,
        window: &[u8],
        at: u64,
        here: usize,
        (shift, stride): (i64, usize),
        hints: Hints,
    ) -> Option<Run> {
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
            let rest = window.get(start..)?;
            let next = hints.next(place);
            let told = next.map_or(0, |hint| signed.n_told(hint, shift, from, rest.len()));
            // Up to the next hint at most: from there on it tells.
            let until =
                next.map_or(0, |hint| hint.at.saturating_sub(place).div_ceil(block_bytes as u64) as usize);
            let n_compared = if until > 0 { stride.min(until) } else { stride };
            let equal = match told {
                0 => signed.signature.compare(block_index, &rest[..rest.len().min(n_compared * block_bytes)]),
                n_told => vec![true; n_told],
            };
            self.seen.retain(|seen| seen.key != key);
            self.seen.insert(0, Seen { key, place, equal, is_told: told > 0 });
            self.seen.truncate(SEEN);
        }
        let seen = self.seen.iter().find(|seen| seen.holds(key, place, block_bytes))?;
        let equal = &seen.equal[(place - seen.place) as usize / block_bytes..];
        let first = equal.iter().position(|equal| *equal)?;
        let n_equal = equal[first..].iter().take_while(|equal| **equal).count();
        let skipped = first * self.block_bytes;
        let from = from.plus(skipped as u64);
        // The last block of a range may be short.
        let len = (n_equal * self.block_bytes).min(from.to(signed.end()) as usize);
        let goes_on = !seen.is_told && first + n_equal == equal.len();
        Some(Run { start: start + skipped, len, from, goes_on })
    }

    /// The first block that stands in a gap; none when the budget runs out, in bytes of strong hashes.
    pub(super) fn search(&mut self, gap: &[u8], budget: &mut usize, n_disproved: &mut usize) -> Option<Run> {
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
            let mut weak = Vec::with_capacity(self.n_blocks);
            ranges.iter().for_each(|signed| weak.extend(signed.signature.weaks()));
            WeakTable::new(&weak)
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
