//! What is known of contents: group trees, chunk maps and block signatures, under the content hash.
//!
//! Rows hang on the hash alone and are never stale; they go only when the budget is reached, least
//! recently stored first. Long ones lie in segments, which redb keeps in pages of 32 KiB.

use crate::model::ContentHash;
use crate::store::rows::{AGES, CONTENTS, Cursor, Fault, HOLDERS, Reading, WORDS, Writing};
use crate::store::{Cache, CacheError};
use redb::WriteTransaction;

/// Bytes of a segment: a page of 32 KiB less the row's key, seal and page head; 1,016 group hashes.
const SEGMENT_BYTES: usize = 1_016 * 32;
/// Longest group tree or signature kept: the groups of an 8 TiB file. Longer ones are not stored.
const CONTENT_ROW_BYTES: usize = 1 << 32;
/// Room that is made at once for what is read.
const ROOM_BYTES: usize = 64 << 20;
/// Bytes stored in all, for the budget.
const TOTAL_KEY: &[u8] = b"\0content bytes";

/// What is stored of a content; part of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Groups = 1,
    Signature = 2,
    Chunks = 3,
}

/// A block signature as stored: its shape and its entries, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<Bytes = Vec<u8>> {
    /// Bytes of the content.
    pub size: u64,
    pub block_bytes: u32,
    /// Bytes of the strong hash in each entry.
    pub strong_bytes: u8,
    pub entries: Bytes,
}

/// The first row of a content: what the segments amount to.
struct Head {
    size: u64,
    n_bytes: u64,
    block_bytes: u32,
    strong_bytes: u8,
    stamp: u64,
}

impl Cache {
    /// Keeps the group hashes of a content of `size` bytes, 32 bytes for each group, and drops the
    /// least recently stored contents until all are within `budget_bytes`.
    pub fn store_groups(
        &self,
        hash: &ContentHash,
        size: u64,
        groups: &[u8],
        budget_bytes: u64,
    ) -> Result<(), CacheError> {
        self.store_content(hash, Sort::Groups, (size, 0, 0), groups, budget_bytes)
    }

    /// Size of a content and its group hashes, 32 bytes for each group.
    pub fn groups(&self, hash: &ContentHash) -> Option<(u64, Vec<u8>)> {
        self.load_content(hash, Sort::Groups).map(|(head, bytes)| (head.size, bytes))
    }

    /// Keeps the block signature of a content, within the budget as in [`Cache::store_groups`].
    pub fn store_signature<Bytes: AsRef<[u8]>>(
        &self,
        hash: &ContentHash,
        signature: &Signature<Bytes>,
        budget_bytes: u64,
    ) -> Result<(), CacheError> {
        let shape = (signature.size, signature.block_bytes, signature.strong_bytes);
        self.store_content(hash, Sort::Signature, shape, signature.entries.as_ref(), budget_bytes)
    }

    /// The block signature of a content.
    pub fn signature(&self, hash: &ContentHash) -> Option<Signature> {
        self.load_content(hash, Sort::Signature).map(|(head, entries)| Signature {
            size: head.size,
            block_bytes: head.block_bytes,
            strong_bytes: head.strong_bytes,
            entries,
        })
    }

    /// Keeps the chunk map of a content, within the budget as in [`Cache::store_groups`].
    pub fn store_chunks(
        &self,
        hash: &ContentHash,
        size: u64,
        chunks: &[u8],
        budget_bytes: u64,
    ) -> Result<(), CacheError> {
        self.store_content(hash, Sort::Chunks, (size, 0, 0), chunks, budget_bytes)
    }

    /// Size of a content and its chunk map.
    pub fn chunks(&self, hash: &ContentHash) -> Option<(u64, Vec<u8>)> {
        self.load_content(hash, Sort::Chunks).map(|(head, bytes)| (head.size, bytes))
    }

    /// Drops all that is kept of a content: groups, chunks, signature and holders.
    pub fn forget_content(&self, hash: &ContentHash) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut shelf = Shelf::open(transaction)?;
            shelf.remove(hash, Sort::Groups)?;
            shelf.remove(hash, Sort::Signature)?;
            shelf.remove(hash, Sort::Chunks)?;
            shelf.close()?;
            Writing::open(transaction, HOLDERS, "holders")?.remove(&hash.0).map(|_| ())
        })
    }

    /// Drops contents until all are within `budget_bytes`: the oldest of those that are not `held` any more, and where that
    /// is not enough the oldest of the others.
    pub fn trim_contents(
        &self,
        budget_bytes: u64,
        is_held: impl Fn(&ContentHash) -> bool,
    ) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut shelf = Shelf::open(transaction)?;
            shelf.drop_unheld(budget_bytes, &is_held)?;
            shelf.make_room(budget_bytes)?;
            shelf.close()
        })
    }

    /// Bytes of all group trees, chunk maps and signatures kept.
    pub fn content_bytes(&self) -> u64 {
        let total = self.store.read(|database| Reading::begin(database, WORDS, "words")?.load(TOTAL_KEY));
        total.and_then(|bytes| Cursor(&bytes).u64()).unwrap_or(0)
    }

    fn store_content(
        &self,
        hash: &ContentHash,
        sort: Sort,
        (size, block_bytes, strong_bytes): (u64, u32, u8),
        bytes: &[u8],
        budget_bytes: u64,
    ) -> Result<(), CacheError> {
        if bytes.len() > CONTENT_ROW_BYTES || bytes.len() as u64 > budget_bytes {
            return Ok(());
        }
        self.store.write(|transaction| {
            let mut shelf = Shelf::open(transaction)?;
            shelf.remove(hash, sort)?;
            shelf.make_room(budget_bytes - bytes.len() as u64)?;
            let n_bytes = bytes.len() as u64;
            let stamp = shelf.next_stamp()?;
            shelf.put(hash, sort, &Head { size, n_bytes, block_bytes, strong_bytes, stamp }, bytes)?;
            shelf.close()
        })
    }

    fn load_content(&self, hash: &ContentHash, sort: Sort) -> Option<(Head, Vec<u8>)> {
        self.store.read(|database| {
            let rows = Reading::begin(database, CONTENTS, "contents")?;
            let Some(head) = rows.load(&key(hash, sort, 0))? else { return Ok(None) };
            let head = Head::decode(&head)?;
            // It grows by itself beyond: no row is believed before it is read.
            let mut bytes = Vec::with_capacity((head.n_bytes as usize).min(ROOM_BYTES));
            for segment in 1..=head.n_segments() {
                let row = rows.load(&key(hash, sort, segment))?;
                bytes.extend(row.ok_or_else(|| Fault::damaged("a segment of a content is missing"))?);
            }
            if bytes.len() as u64 != head.n_bytes {
                return Err(Fault::damaged("the segments of a content do not add up"));
            }
            Ok(Some((head, bytes)))
        })
    }
}

/// The tables of contents while they are written, with the running total.
struct Shelf<'t> {
    rows: Writing<'t>,
    ages: Writing<'t>,
    words: Writing<'t>,
    total_bytes: u64,
}

impl<'t> Shelf<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let rows = Writing::open(transaction, CONTENTS, "contents")?;
        let ages = Writing::open(transaction, AGES, "ages")?;
        let words = Writing::open(transaction, WORDS, "words")?;
        let total = words.load(TOTAL_KEY)?;
        let total_bytes = total.and_then(|bytes| Cursor(&bytes).u64()).unwrap_or(0);
        Ok(Self { rows, ages, words, total_bytes })
    }

    fn close(mut self) -> Result<(), Fault> {
        self.words.store(TOTAL_KEY, &self.total_bytes.to_le_bytes())
    }

    fn next_stamp(&self) -> Result<u64, Fault> {
        let last = self.ages.last_key()?;
        let last = last.and_then(|key| key.try_into().ok().map(u64::from_be_bytes)).unwrap_or(0);
        last.checked_add(1).ok_or_else(|| Fault::damaged("the ages of contents have no end"))
    }

    fn put(&mut self, hash: &ContentHash, sort: Sort, head: &Head, bytes: &[u8]) -> Result<(), Fault> {
        self.rows.store(&key(hash, sort, 0), &head.encode())?;
        for (segment, bytes) in (1..).zip(bytes.chunks(SEGMENT_BYTES)) {
            self.rows.store(&key(hash, sort, segment), bytes)?;
        }
        self.ages.store(&head.stamp.to_be_bytes(), &key(hash, sort, 0))?;
        self.total_bytes = self.total_bytes.saturating_add(head.n_bytes);
        Ok(())
    }

    fn remove(&mut self, hash: &ContentHash, sort: Sort) -> Result<(), Fault> {
        let Some(head) = self.rows.load(&key(hash, sort, 0))? else { return Ok(()) };
        let head = Head::decode(&head)?;
        for segment in 0..=head.n_segments() {
            self.rows.remove(&key(hash, sort, segment))?;
        }
        self.ages.remove(&head.stamp.to_be_bytes())?;
        self.total_bytes = self.total_bytes.saturating_sub(head.n_bytes);
        Ok(())
    }

    fn drop_unheld(&mut self, most_bytes: u64, is_held: &impl Fn(&ContentHash) -> bool) -> Result<(), Fault> {
        let mut dropped = Vec::new();
        let mut left_bytes = self.total_bytes;
        for row in self.ages.iter()? {
            if left_bytes <= most_bytes {
                break;
            }
            let (_, oldest) = row?;
            let named = parse_key(&oldest).filter(|(hash, _)| !is_held(hash));
            if let Some((hash, sort)) = named
                && let Some(head) = self.rows.load(&key(&hash, sort, 0))?
            {
                left_bytes = left_bytes.saturating_sub(Head::decode(&head)?.n_bytes);
                dropped.push((hash, sort));
            }
        }
        dropped.into_iter().try_for_each(|(hash, sort)| self.remove(&hash, sort))
    }

    fn make_room(&mut self, most_bytes: u64) -> Result<(), Fault> {
        while self.total_bytes > most_bytes {
            let Some((stamp, oldest)) = self.ages.first()? else {
                self.total_bytes = 0;
                break;
            };
            let (hash, sort) =
                parse_key(&oldest).ok_or_else(|| Fault::damaged("the age of a content names none"))?;
            self.remove(&hash, sort)?;
            // Gone with its content already, unless the two disagree.
            self.ages.remove(&stamp)?;
        }
        Ok(())
    }
}

impl Head {
    fn n_segments(&self) -> u32 {
        // At most 2^32 bytes, as `decode` and `store_content` see to.
        self.n_bytes.div_ceil(SEGMENT_BYTES as u64) as u32
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(29);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.n_bytes.to_le_bytes());
        bytes.extend(self.block_bytes.to_le_bytes());
        bytes.push(self.strong_bytes);
        bytes.extend(self.stamp.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor(bytes);
        let mut read = || {
            let (size, n_bytes) = (cursor.u64()?, cursor.u64()?);
            let (block_bytes, strong_bytes, stamp) = (cursor.u32()?, cursor.u8()?, cursor.u64()?);
            Some(Self { size, n_bytes, block_bytes, strong_bytes, stamp })
        };
        let head = read().filter(|head| head.n_bytes <= CONTENT_ROW_BYTES as u64);
        head.ok_or_else(|| Fault::damaged("the head of a content is cut short"))
    }
}

#[cfg(fuzzing)]
pub(super) fn read_head(bytes: &[u8]) {
    if let Ok(head) = Head::decode(bytes) {
        assert!(bytes.starts_with(&head.encode()));
        assert!(head.n_segments() as u64 * SEGMENT_BYTES as u64 >= head.n_bytes);
    }
    if let Some((hash, sort)) = parse_key(bytes) {
        assert_eq!(key(&hash, sort, 0)[..33], bytes[..33]);
    }
}

fn key(hash: &ContentHash, sort: Sort, segment: u32) -> [u8; 37] {
    let mut key = [0; 37];
    key[0] = sort as u8;
    key[1..33].copy_from_slice(&hash.0);
    key[33..].copy_from_slice(&segment.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(ContentHash, Sort)> {
    let sort = match key.first()? {
        1 => Sort::Groups,
        2 => Sort::Signature,
        3 => Sort::Chunks,
        _ => return None,
    };
    Some((ContentHash(key.get(1..33)?.try_into().ok()?), sort))
}
