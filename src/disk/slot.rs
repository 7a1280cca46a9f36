//! The record of a partial as bytes: two slots, written in turn, each sealed with a check.

use super::partial::{Intent, Life};
use crate::model::limits::{FILE_BYTES, PATH_BYTES};
use crate::model::{ContentHash, RelPath};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// First bytes of a slot: a word and the number of this format.
const HEAD: &[u8; 8] = b"partial1";
/// From one slot to the next.
const SLOT_BYTES: usize = 8 * 1024;

const _: () = assert!(PATH_BYTES + 512 < SLOT_BYTES);

/// One state of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Rises from one to the next.
    pub turn: u64,
    pub intent: Intent,
    /// Bytes that were written, and those of them that were synced.
    pub written: u64,
    pub synced: u64,
    pub life: Option<Life>,
    /// BLAKE3 over the values in the tree.
    pub values: [u8; 32],
}

impl Slot {
    /// Where it is written.
    pub fn offset(&self) -> u64 {
        self.turn % 2 * SLOT_BYTES as u64
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let life = self.life.unwrap_or(Life { boot: [0; 16], mount: 0 });
        let path = self.intent.path.as_bytes();
        let mut bytes = HEAD.to_vec();
        for number in [self.turn, self.intent.size, self.written, self.synced, life.mount] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(life.boot);
        bytes.extend(self.intent.hash.0);
        bytes.extend(self.values);
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.extend(path);
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let (numbers, rest) = rest.split_first_chunk::<40>()?;
        let numbers = numbers.as_chunks::<8>().0;
        let number = |index: usize| u64::from_le_bytes(numbers[index]);
        let (boot, rest) = rest.split_first_chunk::<16>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (values, rest) = rest.split_first_chunk::<32>()?;
        let (path_bytes, rest) = rest.split_first_chunk::<2>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*path_bytes)))?;
        let n_sealed = bytes.len() - rest.len();
        let is_sealed = rest.get(..32)? == blake3::hash(&bytes[..n_sealed]).as_bytes();
        let life = (*boot != [0; 16]).then_some(Life { boot: *boot, mount: number(4) });
        let slot = Self {
            turn: number(0),
            intent: Intent { hash: ContentHash(*hash), size: number(1), path: RelPath::parse(path).ok()? },
            written: number(2),
            synced: number(3),
            life,
            values: *values,
        };
        let fits = slot.intent.size <= FILE_BYTES
            && slot.written <= slot.intent.size
            && slot.synced <= slot.written
            && !slot.intent.path.is_root();
        (head == HEAD && is_sealed && fits).then_some(slot)
    }
}

/// The later of the sound slots of a record.
pub(super) fn read_slots(record: &File) -> Option<Slot> {
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    let mut n_read = 0;
    while let Ok(n) = record.read_at(&mut bytes[n_read..], n_read as u64)
        && n > 0
    {
        n_read += n;
    }
    let slots = bytes[..n_read].chunks(SLOT_BYTES).filter_map(Slot::parse);
    slots.max_by_key(|slot| slot.turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn slot(turn: u64) -> Slot {
        let path = RelPath::parse(b"a/b").expect("a path");
        Slot {
            turn,
            intent: Intent { hash: ContentHash([7; 32]), size: 5_000_000, path },
            written: 1_000_000 + turn,
            synced: 65_536,
            life: Some(Life { boot: [3; 16], mount: 9 }),
            values: [5; 32],
        }
    }

    fn record(slots: &[Slot]) -> File {
        let file = tempfile::tempfile().expect("a file");
        slots.iter().for_each(|slot| file.write_all_at(&slot.to_bytes(), slot.offset()).expect("written"));
        file
    }

    #[test]
    fn the_later_slot_counts() {
        assert_eq!(read_slots(&record(&[slot(1), slot(2), slot(3)])), Some(slot(3)));
        assert_eq!(read_slots(&record(&[slot(2), slot(3), slot(4)])), Some(slot(4)));
    }

    #[test]
    fn a_damaged_slot_leaves_the_one_before() {
        let whole = slot(3).to_bytes();
        for (at, byte) in whole.iter().enumerate() {
            let file = record(&[slot(2), slot(3)]);
            file.write_all_at(&[byte ^ 0x40], slot(3).offset() + at as u64).expect("written");
            assert_eq!(read_slots(&file), Some(slot(2)), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(read_slots(&file), None);
        file.write_all(&[0xff; 40_000]).expect("written");
        assert_eq!(read_slots(&file), None);
        let mut torn = slot(2);
        torn.written = torn.intent.size + 1;
        assert_eq!(read_slots(&record(&[torn])), None, "more than there is to be");
    }
}
