//! The shadow: contents that the other side has acknowledged, in squeezed pieces under their names.
//!
//! A file of its own beside the cache, kept within a budget. Two contents that share a piece keep it
//! once. What is squeezed how, and which contents are worth their room, is for the floor above to say;
//! a content that lost a row is a content that is not held.

use crate::model::ContentHash;
use crate::store::database::{SMALL_PAGE_CACHE_BYTES, Store};
use crate::store::rows::{AGES, CONTENTS, Cursor, Fault, HOLDERS, Reading, WORDS, Writing};
use crate::store::{CacheError, Opened};
use redb::WriteTransaction;
use std::path::Path;

/// Longest piece: a page of 32 KiB of the file less the row's key, seal and page head.
pub const PIECE_BYTES: usize = 32_512;
/// Bytes taken by all rows, about, for the budget.
const TOTAL_KEY: &[u8] = b"\0shadow bytes";
/// What a row costs beside its value, and the smallest page that redb gives a long value.
pub const ROW_BYTES: u64 = 100;
const PAGE_BYTES: u64 = 4_096;

/// The first bytes of a piece's BLAKE3.
pub type PieceName = [u8; 16];

/// How a content is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Squeezed as a whole, at most [`PIECE_BYTES`].
    Whole(Vec<u8>),
    /// Names and plain lengths of its pieces, in order.
    Pieces(Vec<(PieceName, u32)>),
}

/// The open shadow. All calls are safe from any thread, and block.
pub struct Shadow {
    store: Store,
}

impl Shadow {
    /// Opens or makes it in a folder of its own.
    ///
    /// # Errors
    /// As [`super::Cache::open`].
    pub fn open(folder: &Path) -> Result<(Self, Opened), CacheError> {
        let (store, opened) = Store::open(folder, SMALL_PAGE_CACHE_BYTES)?;
        Ok((Self { store }, opened))
    }

    /// How a content is kept.
    pub fn held(&self, hash: &ContentHash) -> Option<Held> {
        self.store.read(|database| {
            let row = Reading::begin(database, CONTENTS, "contents")?.load(&hash.0)?;
            row.map(|row| decode(&row).map(|(_, held)| held)).transpose()
        })
    }

    /// Every content that is held.
    pub fn all(&self) -> Vec<ContentHash> {
        let rows = self.store.read(|database| {
            let ages = Reading::begin(database, AGES, "ages")?.load_all()?;
            Ok(Some(ages))
        });
        let hash = |(_, hash): (Vec<u8>, Vec<u8>)| Some(ContentHash(hash.try_into().ok()?));
        rows.unwrap_or_default().into_iter().filter_map(hash).collect()
    }

    /// The squeezed bytes of pieces, in order; `None` when one is missing.
    pub fn pieces(&self, names: &[(PieceName, u32)]) -> Option<Vec<Vec<u8>>> {
        self.store.read(|database| {
            let rows = Reading::begin(database, CONTENTS, "contents")?;
            names.iter().map(|(name, _)| rows.load(name)).collect()
        })
    }

    /// Which of these pieces are not held yet.
    pub fn missing(&self, names: &[PieceName]) -> Vec<PieceName> {
        let missing = self.store.read(|database| {
            let rows = Reading::begin(database, HOLDERS, "holders")?;
            let mut missing = Vec::new();
            for name in names {
                if rows.load(name)?.is_none() {
                    missing.push(*name);
                }
            }
            Ok(Some(missing))
        });
        missing.unwrap_or_else(|| names.to_vec())
    }

    /// Keeps pieces that no content uses yet: one is to follow, or they go with [`Shadow::sweep`].
    ///
    /// # Errors
    /// What the file said; nothing of it is kept then.
    pub fn put_pieces(&self, pieces: &[(PieceName, Vec<u8>)]) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut rows = Tables::open(transaction)?;
            for (name, bytes) in pieces {
                if !rows.uses.holds(name)? {
                    rows.uses.store(name, &0u32.to_le_bytes())?;
                    rows.contents.store(name, bytes)?;
                    rows.total_bytes += cost(bytes.len());
                }
            }
            rows.close()
        })
    }

    /// Keeps contents; those whose pieces are not all there are passed over.
    ///
    /// # Errors
    /// What the file said; nothing of it is kept then.
    pub fn put(&self, contents: &[(ContentHash, Held)]) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut rows = Tables::open(transaction)?;
            for (hash, held) in contents {
                rows.remove(hash)?;
                if rows.use_pieces(held)? {
                    rows.add(hash, held)?;
                }
            }
            rows.close()
        })
    }

    /// Drops contents, and the pieces that only they used.
    ///
    /// # Errors
    /// What the file said.
    pub fn remove(&self, hashes: &[ContentHash]) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut rows = Tables::open(transaction)?;
            hashes.iter().try_for_each(|hash| rows.remove(hash))?;
            rows.close()
        })
    }

    /// Drops pieces that no content uses: of contents that were not kept in the end.
    ///
    /// # Errors
    /// What the file said.
    pub fn sweep(&self) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            let mut rows = Tables::open(transaction)?;
            let mut unused = Vec::new();
            rows.uses.retain(|name, n_uses| {
                let is_used = n_uses != 0u32.to_le_bytes();
                if !is_used {
                    unused.push(name.to_vec());
                }
                is_used
            })?;
            for name in unused {
                rows.drop_piece(&name)?;
            }
            rows.close()
        })
    }

    /// Bytes that it takes on the disk, about.
    pub fn bytes(&self) -> u64 {
        let total = self.store.read(|database| Reading::begin(database, WORDS, "words")?.load(TOTAL_KEY));
        total.and_then(|bytes| Cursor(&bytes).u64()).unwrap_or(0)
    }

    /// The bytes kept under a word.
    pub fn word(&self, key: &str) -> Option<Vec<u8>> {
        self.store.read(|database| Reading::begin(database, WORDS, "words")?.load(key.as_bytes()))
    }

    /// Keeps bytes under a word that does not begin with NUL.
    ///
    /// # Errors
    /// What the file said.
    pub fn set_word(&self, key: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.store
            .write(|transaction| Writing::open(transaction, WORDS, "words")?.store(key.as_bytes(), bytes))
    }

    /// Brings all writes so far to the disk.
    ///
    /// # Errors
    /// What the file said.
    pub fn sync(&self) -> Result<(), CacheError> {
        self.store.sync()
    }

    /// Gives room back to the disk that the file does not need any more, if that is much.
    ///
    /// # Errors
    /// What the file said.
    pub fn shrink(&self) -> Result<(), CacheError> {
        self.store.shrink()
    }
}

/// The tables while they are written, with the running total.
struct Tables<'t> {
    contents: Writing<'t>,
    /// How many contents use a piece.
    uses: Writing<'t>,
    ages: Writing<'t>,
    words: Writing<'t>,
    total_bytes: u64,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let words = Writing::open(transaction, WORDS, "words")?;
        let total = words.load(TOTAL_KEY)?;
        Ok(Self {
            contents: Writing::open(transaction, CONTENTS, "contents")?,
            uses: Writing::open(transaction, HOLDERS, "holders")?,
            ages: Writing::open(transaction, AGES, "ages")?,
            words,
            total_bytes: total.and_then(|bytes| Cursor(&bytes).u64()).unwrap_or(0),
        })
    }

    fn close(mut self) -> Result<(), Fault> {
        self.words.store(TOTAL_KEY, &self.total_bytes.to_le_bytes())
    }

    /// Counts one more use of each piece; false when one is missing, and then none is counted.
    fn use_pieces(&mut self, held: &Held) -> Result<bool, Fault> {
        let Held::Pieces(pieces) = held else { return Ok(true) };
        for (name, _) in pieces {
            if !self.uses.holds(name)? {
                return Ok(false);
            }
        }
        for (name, _) in pieces {
            let n_uses = self.n_uses(name)?;
            self.uses.store(name, &n_uses.saturating_add(1).to_le_bytes())?;
        }
        Ok(true)
    }

    fn n_uses(&self, name: &[u8]) -> Result<u32, Fault> {
        Ok(self.uses.load(name)?.and_then(|bytes| Cursor(&bytes).u32()).unwrap_or(0))
    }

    fn add(&mut self, hash: &ContentHash, held: &Held) -> Result<(), Fault> {
        let last = self.ages.last_key()?;
        let last = last.and_then(|key| key.try_into().ok().map(u64::from_be_bytes)).unwrap_or(0);
        let stamp = last.checked_add(1).ok_or_else(|| Fault::damaged("the ages of contents have no end"))?;
        let row = encode(stamp, held);
        self.total_bytes += cost(row.len()) + ROW_BYTES;
        self.contents.store(&hash.0, &row)?;
        self.ages.store(&stamp.to_be_bytes(), &hash.0)
    }

    fn remove(&mut self, hash: &ContentHash) -> Result<(), Fault> {
        let Some(row) = self.contents.load(&hash.0)? else { return Ok(()) };
        let (stamp, held) = decode(&row)?;
        if let Held::Pieces(pieces) = held {
            for (name, _) in pieces {
                match self.n_uses(&name)? {
                    0 | 1 => {
                        self.uses.remove(&name)?;
                        self.drop_piece(&name)?;
                    }
                    more => self.uses.store(&name, &(more - 1).to_le_bytes())?,
                }
            }
        }
        self.contents.remove(&hash.0)?;
        self.ages.remove(&stamp.to_be_bytes())?;
        self.total_bytes = self.total_bytes.saturating_sub(cost(row.len()) + ROW_BYTES);
        Ok(())
    }

    fn drop_piece(&mut self, name: &[u8]) -> Result<(), Fault> {
        if let Some(bytes) = self.contents.load(name)? {
            self.total_bytes = self.total_bytes.saturating_sub(cost(bytes.len()));
            self.contents.remove(name)?;
        }
        Ok(())
    }
}

/// Bytes that a row of this length takes in the file: long values have pages of their own, whose number
/// is a power of two.
fn cost(len: usize) -> u64 {
    let len = len as u64 + ROW_BYTES;
    if len < PAGE_BYTES / 2 { len } else { len.max(PAGE_BYTES).next_power_of_two() }
}

fn encode(stamp: u64, held: &Held) -> Vec<u8> {
    let mut row = stamp.to_le_bytes().to_vec();
    match held {
        Held::Whole(bytes) => {
            row.push(0);
            row.extend(bytes);
        }
        Held::Pieces(pieces) => {
            row.push(1);
            for (name, len) in pieces {
                row.extend(name);
                row.extend(len.to_le_bytes());
            }
        }
    }
    row
}

fn decode(row: &[u8]) -> Result<(u64, Held), Fault> {
    let damaged = || Fault::damaged("a content of the shadow is cut short");
    let mut cursor = Cursor(row);
    let stamp = cursor.u64().ok_or_else(damaged)?;
    let held = match cursor.u8().ok_or_else(damaged)? {
        0 => Held::Whole(cursor.0.to_vec()),
        _ => {
            let mut pieces = Vec::with_capacity(cursor.0.len() / 20);
            while !cursor.is_empty() {
                pieces.push((cursor.array().ok_or_else(damaged)?, cursor.u32().ok_or_else(damaged)?));
            }
            Held::Pieces(pieces)
        }
    };
    Ok((stamp, held))
}
