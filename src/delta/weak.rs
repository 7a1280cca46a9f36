//! The rolling weak hash, and a table of the weak hashes of a basis to look for at every offset.
//!
//! It finds where blocks of the basis may stand in a window, ten times as fast as a diff that finds
//! nothing. A weak match proves nothing: the caller compares strong hashes, within a budget.

/// What each byte is raised by in the weak hash (librsync's `CHAR_OFFSET`).
const RAISED_BY: u16 = 31;
/// Entries of a table: with more blocks, every second, third, ... is taken.
const TABLE_ENTRIES: usize = 1 << 20;
/// Blocks of equal weak hash that are kept apart; more are dropped, so that a probe stays short.
const EQUAL_ENTRIES: usize = 4;
/// Bits of a slot that hold the number of an entry; above them stand bits of its weak hash, mixed.
const ENTRY_BITS: u32 = 20;
const ENTRY_MASK: u32 = (1 << ENTRY_BITS) - 1;
const EMPTY: u32 = u32::MAX;
/// Words of 64 bits in the filter before the table, at most: it stays inside a core's cache, and with two bits an
/// entry says yes to one hash in fifty or so that no block of a quarter of a million has.
const FILTER_WORDS: usize = 1 << 16;

/// Places that are looked up together: their hashes first, then the filter for all, so that no look waits for another.
const BATCH: usize = 64;

/// The weak hash of a block, rolling by one byte at a time (the rsync algorithm, Tridgell 1999, ch. 3,
/// as `fast_rsync` and librsync write it).
#[derive(Clone, Copy)]
pub(super) struct Rolling {
    low: u16,
    high: u16,
    block_bytes: u16,
}

impl Rolling {
    /// The hash of one block.
    pub(super) fn of(block: &[u8]) -> Self {
        let block_bytes = block.len() as u16;
        let (mut low, mut high) = (0_u16, 0_u16);
        for byte in block {
            low = low.wrapping_add(u16::from(*byte) + RAISED_BY);
            high = high.wrapping_add(low);
        }
        Self { low, high, block_bytes }
    }

    /// Moves the block on by one byte.
    #[inline]
    pub(super) fn roll(&mut self, out: u8, into: u8) {
        self.low = self.low.wrapping_add(u16::from(into)).wrapping_sub(u16::from(out));
        let leaves = self.block_bytes.wrapping_mul(u16::from(out) + RAISED_BY);
        self.high = self.high.wrapping_add(self.low).wrapping_sub(leaves);
    }

    #[inline]
    pub(super) fn value(self) -> u32 {
        u32::from(self.high) << 16 | u32::from(self.low)
    }
}

/// Blocks by weak hash: a filter of bits, then an open table of entry numbers, with a few bits of the hash so that
/// hardly a block is looked at that has another one.
pub(super) struct WeakTable {
    /// The weak hash of each entry.
    weak: Vec<u32>,
    /// Every so many blocks one is an entry.
    step: usize,
    filter: Vec<u64>,
    filter_shift: u32,
    slots: Vec<u32>,
    slot_shift: u32,
}

impl WeakTable {
    /// Makes the table of weak hashes in block order.
    pub(super) fn new(n_blocks: usize, weak_of: impl Fn(usize) -> u32) -> Self {
        let step = n_blocks.div_ceil(TABLE_ENTRIES).max(1);
        let n_entries = n_blocks.div_ceil(step).max(16);
        let slot_bits = (n_entries * 2).next_power_of_two().ilog2();
        // 16 bits an entry or a little more.
        let filter_words = (n_entries / 4).next_power_of_two().clamp(4, FILTER_WORDS);
        let mut table = Self {
            weak: (0..n_blocks).step_by(step).map(weak_of).collect(),
            step,
            filter: vec![0; filter_words],
            filter_shift: 64 - filter_words.ilog2(),
            slots: vec![EMPTY; 1 << slot_bits],
            slot_shift: 64 - slot_bits,
        };
        (0..table.weak.len() as u32).for_each(|entry| table.insert(entry));
        table
    }

    fn insert(&mut self, entry: u32) {
        let weak = self.weak(entry);
        let mixed = mix(weak);
        let kept = slot_value(entry, mixed);
        let mut slot = (mixed >> self.slot_shift) as usize;
        let mut n_equal = 0;
        while self.slots[slot] != EMPTY {
            let held = self.slots[slot];
            let is_alike = (held ^ kept) & !ENTRY_MASK == 0;
            n_equal += usize::from(is_alike && self.weak(held & ENTRY_MASK) == weak);
            if n_equal == EQUAL_ENTRIES {
                return;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = kept;
        self.filter[(mixed >> self.filter_shift) as usize] |= filter_bits(mixed);
    }

    fn weak(&self, entry: u32) -> u32 {
        self.weak[entry as usize]
    }

    /// The blocks of a weak hash.
    fn blocks(&self, weak: u32) -> impl Iterator<Item = usize> + '_ {
        let mixed = mix(weak);
        let first = (mixed >> self.slot_shift) as usize;
        let slots = (first..first + self.slots.len()).map(|slot| self.slots[slot & (self.slots.len() - 1)]);
        let run = slots.take_while(|held| *held != EMPTY);
        let alike = run.filter(move |held| (held ^ slot_value(0, mixed)) & !ENTRY_MASK == 0);
        let entries = alike.map(|held| held & ENTRY_MASK).filter(move |entry| self.weak(*entry) == weak);
        entries.map(|entry| entry as usize * self.step)
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
        for (place, weak) in weak.iter().enumerate() {
            let mixed = mix(*weak);
            let bits = filter_bits(mixed);
            let holds = words[(mixed >> self.filter_shift) as usize & mask] & bits == bits;
            hits |= u64::from(holds) << place;
        }
        hits
    }
}

/// Spreads the weak hash, whose low half is a mere sum, over all bits (Knuth's multiplicative hash,
/// after folding the halves).
#[inline]
fn mix(weak: u32) -> u64 {
    u64::from(weak ^ weak >> 15).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Two bits of a word of the filter (a blocked Bloom filter, Putze, Sanders and Singler 2007).
#[inline]
fn filter_bits(mixed: u64) -> u64 {
    1 << (mixed >> 32 & 63) | 1 << (mixed >> 26 & 63)
}

/// What a slot holds. It is never [`EMPTY`]: the bits of the hash are all ones in no slot.
#[inline]
fn slot_value(entry: u32, mixed: u64) -> u32 {
    let tag = (mixed >> 20) as u32 % ((1 << (32 - ENTRY_BITS)) - 1);
    tag << ENTRY_BITS | entry
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
            assert_eq!(rolling.value(), signature.weak(0), "at {place}");
            rolling.roll(bytes[place], bytes[place + 509]);
        }
    }

    #[test]
    fn first_block_that_stands_is_found_also_at_the_very_end() {
        let basis = content(509 * 7);
        let signature = RangeSignature::compute(0, &basis, 509, 8);
        let table = WeakTable::new(signature.n_blocks(), |block| signature.weak(block));
        let mut window = vec![3; 777];
        window.extend_from_slice(&basis[509 * 2..509 * 3]);
        let proves = |place: usize, block| {
            Ok::<_, ()>(signature.compare(block, &window[place..place + 509]) == [true])
        };
        assert_eq!(table.find(&window, 509, proves), Ok(Some((777, 2))));
        assert_eq!(table.find(&window[..777 + 508], 509, proves), Ok(None));
        assert_eq!(table.find(&window[..5], 509, proves), Ok(None));
    }
}
