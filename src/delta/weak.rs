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
/// The filter before the table stays inside a core's cache.
const FILTER_BITS: u32 = 21;

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

/// Blocks by weak hash: a filter of bits, then an open table of (weak hash, block number + 1).
pub(super) struct WeakTable {
    filter: Vec<u64>,
    filter_shift: u32,
    slots: Vec<(u32, u32)>,
    slot_shift: u32,
}

impl WeakTable {
    /// Makes the table of weak hashes in block order.
    pub(super) fn new(n_blocks: usize, weak_of: impl Fn(usize) -> u32) -> Self {
        let step = n_blocks.div_ceil(TABLE_ENTRIES).max(1);
        let n_entries = n_blocks.div_ceil(step).max(16);
        let slot_bits = (n_entries * 2).next_power_of_two().ilog2();
        let filter_bits = (slot_bits + 3).min(FILTER_BITS);
        let mut table = Self {
            filter: vec![0; 1 << (filter_bits - 6)],
            filter_shift: 32 - filter_bits,
            slots: vec![(0, 0); 1 << slot_bits],
            slot_shift: 32 - slot_bits,
        };
        (0..n_blocks).step_by(step).for_each(|block| table.insert(weak_of(block), block));
        table
    }

    fn insert(&mut self, weak: u32, block: usize) {
        let mixed = mix(weak);
        let mut slot = (mixed >> self.slot_shift) as usize;
        let mut n_equal = 0;
        while self.slots[slot].1 != 0 {
            n_equal += usize::from(self.slots[slot].0 == weak);
            if n_equal == EQUAL_ENTRIES {
                return;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        let Ok(number) = u32::try_from(block + 1) else { return };
        self.slots[slot] = (weak, number);
        let bit = mixed >> self.filter_shift;
        self.filter[(bit >> 6) as usize] |= 1 << (bit & 63);
    }

    /// Whether a block may have this weak hash.
    #[inline]
    fn may_hold(&self, weak: u32) -> bool {
        let bit = mix(weak) >> self.filter_shift;
        self.filter[(bit >> 6) as usize] >> (bit & 63) & 1 == 1
    }

    /// The blocks of a weak hash.
    fn blocks(&self, weak: u32) -> impl Iterator<Item = usize> + '_ {
        let first = (mix(weak) >> self.slot_shift) as usize;
        let slots = (first..first + self.slots.len()).map(|slot| self.slots[slot & (self.slots.len() - 1)]);
        let run = slots.take_while(|(_, number)| *number != 0);
        run.filter(move |(held, _)| *held == weak).map(|(_, number)| number as usize - 1)
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
        let pairs = bytes.iter().zip(&bytes[block_bytes..]);
        for (place, (out, into)) in pairs.enumerate() {
            if self.may_hold(rolling.value()) {
                for block in self.blocks(rolling.value()) {
                    if proves(place, block)? {
                        return Ok(Some((place, block)));
                    }
                }
            }
            rolling.roll(*out, *into);
        }
        let place = bytes.len() - block_bytes;
        for block in self.blocks(rolling.value()) {
            if proves(place, block)? {
                return Ok(Some((place, block)));
            }
        }
        Ok(None)
    }
}

/// Spreads the weak hash, whose low half is a mere sum, over all bits (Knuth's multiplicative hash,
/// after folding the halves).
#[inline]
fn mix(weak: u32) -> u32 {
    (weak ^ weak >> 15).wrapping_mul(0x9E37_79B1)
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
