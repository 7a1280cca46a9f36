//! The rolling weak hash, and a table of the weak hashes of a basis to look for at every offset.
//!
//! It finds where blocks of the basis may stand in a window, ten times as fast as a diff that finds
//! nothing. A weak match proves nothing: the caller compares strong hashes, within a budget.

use crate::model::limits::LOOKED_AT_ENTRIES;

/// What each byte is raised by in the weak hash (librsync's `CHAR_OFFSET`).
const RAISED_BY: u32 = 31;
/// Entries of a table: with more blocks, every second, third, ... is taken.
const TABLE_ENTRIES: usize = 1 << 20;
/// Neighbours of equal weak hash that are kept, of many: the first of them prove what the others would.
const EQUAL_ENTRIES: usize = 4;
/// Entries of a bucket, on average.
const BUCKET_ENTRIES: usize = 4;
/// Words of 64 bits in the filter before the table, at most: it stays inside a core's cache, and with two bits an
/// entry says yes to one hash in fifty or so that no block of a quarter of a million has.
const FILTER_WORDS: usize = 1 << 16;

/// Places that are looked up together: their hashes first, then the filter for all, so that no look waits for another.
const BATCH: usize = 64;
/// From where in the mixed hash the six bits are taken that each choose one bit of a word of the filter.
const FILTER_BITS: [u32; 2] = [32, 26];

/// The weak hash of a block, rolling by one byte at a time (the rsync algorithm, Tridgell 1999, ch. 3,
/// as `fast_rsync` and librsync write it).
#[derive(Clone, Copy)]
pub(super) struct Rolling {
    /// Both sums; only their low 16 bits count.
    low: u32,
    high: u32,
    block_bytes: u32,
}

impl Rolling {
    /// The hash of one block.
    pub(super) fn of(block: &[u8]) -> Self {
        let (mut low, mut high) = (0_u32, 0_u32);
        for byte in block {
            low = low.wrapping_add(u32::from(*byte) + RAISED_BY);
            high = high.wrapping_add(low);
        }
        Self { low, high, block_bytes: block.len() as u32 }
    }

    /// Moves the block on by one byte.
    #[inline]
    pub(super) fn roll(&mut self, out: u8, into: u8) {
        let (out, into) = (u32::from(out), u32::from(into));
        let leaves = self.block_bytes.wrapping_mul(out + RAISED_BY);
        self.low = self.low.wrapping_add(into.wrapping_sub(out));
        self.high = self.high.wrapping_add(self.low.wrapping_sub(leaves));
    }

    #[inline]
    pub(super) fn value(self) -> u32 {
        self.high << 16 | self.low & 0xFFFF
    }
}

/// Blocks by weak hash: a filter of bits, then entries in buckets, one behind the other in one list.
pub(super) struct WeakTable {
    /// Every so many blocks one is an entry.
    step: usize,
    filter: Vec<u64>,
    filter_shift: u32,
    /// Weak hash and block, in the order of buckets and in each in that of blocks.
    entries: Vec<(u32, u32)>,
    /// Where each bucket starts, and then where the last one ends, twice.
    ends: Vec<u32>,
    bucket_shift: u32,
}

impl WeakTable {
    /// Makes the table of weak hashes in block order.
    pub(super) fn new(weak: &[u32]) -> Self {
        let step = weak.len().div_ceil(TABLE_ENTRIES).max(1);
        let n_entries = weak.len().div_ceil(step).max(16);
        let n_buckets = (n_entries / BUCKET_ENTRIES).next_power_of_two();
        // 16 bits an entry or a little more.
        let filter_words = n_buckets.min(FILTER_WORDS);
        let mut table = Self {
            step,
            filter: vec![0; filter_words],
            filter_shift: 64 - filter_words.ilog2(),
            entries: Vec::new(),
            ends: vec![0; n_buckets + 2],
            bucket_shift: 64 - n_buckets.ilog2(),
        };
        table.sort(|| distinct(weak, step));
        table
    }

    /// Sorts entries into their buckets, by counting.
    fn sort<E: Iterator<Item = (u32, u32)>>(&mut self, entries: impl Fn() -> E) {
        // Two further on: a bucket's number is counted, then summed to where it starts, then moved on to its end.
        entries().for_each(|(weak, _)| {
            let mixed = mix(weak);
            self.filter[(mixed >> self.filter_shift) as usize] |= filter_bits(mixed);
            self.ends[(mixed >> self.bucket_shift) as usize + 2] += 1;
        });
        let mut n_before = 0;
        for end in &mut self.ends {
            n_before += *end;
            *end = n_before;
        }
        self.entries = vec![(0, 0); n_before as usize];
        entries().for_each(|entry| {
            let end = &mut self.ends[(mix(entry.0) >> self.bucket_shift) as usize + 1];
            self.entries[*end as usize] = entry;
            *end += 1;
        });
    }

    /// The blocks of a weak hash, in order; not all of them where many are alike.
    fn blocks(&self, weak: u32) -> impl Iterator<Item = usize> + '_ {
        let bucket = (mix(weak) >> self.bucket_shift) as usize;
        let entries = &self.entries[self.ends[bucket] as usize..self.ends[bucket + 1] as usize];
        let alike = entries.iter().take(LOOKED_AT_ENTRIES).filter(move |(held, _)| *held == weak);
        alike.take(EQUAL_ENTRIES).map(|(_, entry)| *entry as usize * self.step)
    }

    /// The first place in `bytes` where a block stands, and which, as `proves(place, block)` decides;
    /// that ends the search with an error when its budget is spent.
    pub(super) fn find<E>(
        &self,
        bytes: &[u8],
        block_bytes: usize,
        mut proves: impl FnMut(usize, usize) -> Result<bool, E>,
    ) -> Result<Option<(usize, usize)>, E> {
        let Some(first) = bytes.get(..block_bytes) else { return Ok(None) };
        let mut rolling = Rolling::of(first);
        let (leaving, entering) = (bytes, &bytes[block_bytes..]);
        let mut weak = [0; BATCH];
        // As many places as bytes enter, and one more.
        for start in (0..=entering.len()).step_by(BATCH) {
            let n_places = BATCH.min(entering.len() + 1 - start);
            let n_rolls = BATCH.min(entering.len() - start);
            let pairs = leaving[start..start + n_rolls].iter().zip(&entering[start..]);
            for (weak, (out, into)) in weak.iter_mut().zip(pairs) {
                *weak = rolling.value();
                rolling.roll(*out, *into);
            }
            if n_rolls < n_places {
                weak[n_rolls] = rolling.value();
            }
            let mut hits = self.hits(&weak);
            while hits != 0 {
                let ahead = hits.trailing_zeros() as usize;
                hits &= hits - 1;
                if ahead >= n_places {
                    break;
                }
                for block in self.blocks(weak[ahead]) {
                    if proves(start + ahead, block)? {
                        return Ok(Some((start + ahead, block)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Which of some weak hashes blocks may have, the first as the lowest bit.
    fn hits(&self, weak: &[u32; BATCH]) -> u64 {
        let words = &self.filter[..];
        let mask = words.len() - 1;
        let mut hits = 0;
        for weak in weak {
            let mixed = mix(*weak);
            let word = words[(mixed >> self.filter_shift) as usize & mask];
            let holds = FILTER_BITS.iter().fold(1, |holds, from| holds & word >> (mixed >> from & 63));
            hits = hits >> 1 | holds << 63;
        }
        hits
    }
}

/// Every so many weak hashes one, with its number among those; of many neighbours that are equal the first few.
fn distinct(weak: &[u32], step: usize) -> impl Iterator<Item = (u32, u32)> + '_ {
    let (mut last, mut n_equal) = (0, 0);
    let count = move |(number, weak): (u32, &u32)| {
        n_equal = if *weak == last { n_equal + 1 } else { 1 };
        last = *weak;
        (n_equal <= EQUAL_ENTRIES).then_some((*weak, number))
    };
    (0..).zip(weak.iter().step_by(step)).filter_map(count)
}

/// Spreads the weak hash, whose low half is a mere sum, over all bits (Knuth's multiplicative hash,
/// after folding the halves).
#[inline]
fn mix(weak: u32) -> u64 {
    u64::from(weak ^ weak >> 15).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Bits of a word of the filter that stand for an entry (a blocked Bloom filter, Putze, Sanders and Singler 2007).
#[inline]
fn filter_bits(mixed: u64) -> u64 {
    FILTER_BITS.iter().fold(0, |bits, from| bits | 1 << (mixed >> from & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::blocks::RangeSignature;

    fn content(size: usize) -> Vec<u8> {
        (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 17) as u8).collect()
    }

    #[test]
    fn rolling_hash_is_that_of_fast_rsync_at_every_offset() {
        let bytes = content(700);
        let mut rolling = Rolling::of(&bytes[..509]);
        for place in 0..100 {
            let signature = RangeSignature::compute(0, &bytes[place..place + 509], 509, 8);
            assert_eq!(rolling.value(), signature.weaks().next().unwrap(), "at {place}");
            rolling.roll(bytes[place], bytes[place + 509]);
        }
    }

    #[test]
    fn first_block_that_stands_is_found_also_at_the_very_end() {
        let basis = content(509 * 7);
        let signature = RangeSignature::compute(0, &basis, 509, 8);
        let table = WeakTable::new(&signature.weaks().collect::<Vec<_>>());
        let mut window = vec![3; 777];
        window.extend_from_slice(&basis[509 * 2..509 * 3]);
        let proves = |place: usize, block| {
            Ok::<_, ()>(signature.compare(block, &window[place..place + 509]) == [true])
        };
        assert_eq!(table.find(&window, 509, proves), Ok(Some((777, 2))));
        assert_eq!(table.find(&window[..777 + 508], 509, proves), Ok(None));
        assert_eq!(table.find(&window[..5], 509, proves), Ok(None));
    }

    #[test]
    fn many_equal_blocks_take_no_room_from_others_and_no_time() {
        let (often, seldom) = (0x0102_0304, 0x0506_0708);
        let mut weak = vec![often; 100_000];
        weak.extend([often, seldom].repeat(50_000));
        weak.push(42);
        let table = WeakTable::new(&weak);
        assert_eq!(table.blocks(often).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(table.blocks(seldom).collect::<Vec<_>>(), [100_001, 100_003, 100_005, 100_007]);
        assert_eq!(table.blocks(42).collect::<Vec<_>>(), [200_000]);
        assert_eq!(table.blocks(43).count(), 0);
    }
}
