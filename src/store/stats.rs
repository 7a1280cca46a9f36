//! What is known of files: stat -> content hash, and content hash -> files that hold it.
//!
//! Keys are (device, inode), never paths. A row answers only a stat that is equal in every field.

use crate::model::{ContentHash, Time};
use crate::store::database::{Held, Store, guarded};
use crate::store::rows::{Cursor, Fault, HOLDERS, Reading, STATS, Writing};
use crate::store::{Cache, CacheError};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Files remembered for one content, newest first.
const HOLDERS_KEPT: usize = 4;
/// Rows written in one transaction; bounds what redb keeps of it in memory.
const BATCH_ROWS: usize = 65_536;

/// What must be equal for a file to count as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

/// A stat and the content that was read under it.
///
/// The caller leaves out what it read while the stat was racily young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatRow {
    pub stat: Stat,
    pub hash: ContentHash,
}

/// A file that held a content when it was last looked at: a hint for finding a basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub dev: u64,
    pub ino: u64,
    /// Bytes of its path below the root.
    pub path: Vec<u8>,
}

/// Answers many stats from one state of the cache, from any number of threads.
///
/// While it lives the file cannot reuse pages that were freed since: keep it for a scan, no longer.
pub struct StatReader {
    table: Option<Reading>,
    database: Arc<Held>,
    store: Arc<Store>,
}

impl StatReader {
    /// The hash of the content that was read under exactly this stat.
    pub fn known(&self, stat: &Stat) -> Option<ContentHash> {
        self.load(stat).filter(|row| row.stat == *stat).map(|row| row.hash)
    }

    /// What a file was when it was last read, whatever its stat says now: the likeliest earlier version.
    pub fn earlier(&self, stat: &Stat) -> Option<StatRow> {
        self.load(stat)
    }

    fn load(&self, stat: &Stat) -> Option<StatRow> {
        let table = self.table.as_ref()?;
        match guarded(|| load_row(table, stat)) {
            Ok(known) => known,
            Err(Fault::Damaged(why)) => {
                self.store.note_damage(self.database.clone(), why);
                None
            }
            Err(Fault::Failed(_)) => None,
        }
    }
}

impl Cache {
    /// The hash of the content that was read under exactly this stat.
    pub fn known(&self, stat: &Stat) -> Option<ContentHash> {
        let row = self.store.read(|database| load_row(&Reading::begin(database, STATS, "stats")?, stat))?;
        (row.stat == *stat).then_some(row.hash)
    }

    /// A reader for a whole scan; see [`StatReader`].
    pub fn stat_reader(&self) -> StatReader {
        let database = self.store.current();
        let table = self.store.read(|database| Ok(Some(Reading::begin(database, STATS, "stats")?)));
        StatReader { table, database, store: self.store.clone() }
    }

    /// Keeps the contents of files; a row of the same (device, inode) is replaced.
    pub fn learn(&self, rows: &[StatRow]) -> Result<(), CacheError> {
        for rows in rows.chunks(BATCH_ROWS) {
            self.store.write(|transaction| {
                let mut table = Writing::open(transaction, STATS, "stats")?;
                rows.iter().try_for_each(|row| table.store(&key(row.stat.dev, row.stat.ino), &encode(row)))
            })?;
        }
        Ok(())
    }

    /// Drops rows of files that a complete scan did not see, and holders among them; returns how
    /// many files were dropped.
    ///
    /// `seen` holds (device, inode). Call it only after a scan of everything that this cache serves.
    pub fn sweep(&self, seen: &HashSet<(u64, u64)>) -> Result<u64, CacheError> {
        self.store.write(|transaction| {
            let mut holders = Writing::open(transaction, HOLDERS, "holders")?;
            // A row stays while any of its files does: the others are hints that fail soon.
            holders.retain(|_, bytes| {
                decode_holders(bytes).is_some_and(|holders| {
                    holders.iter().any(|holder| seen.contains(&(holder.dev, holder.ino)))
                })
            })?;
            let mut stats = Writing::open(transaction, STATS, "stats")?;
            stats.retain(|key, _| parse_key(key).is_some_and(|file| seen.contains(&file)))
        })
    }

    /// Remembers that a file holds a content.
    pub fn note_holder(&self, hash: &ContentHash, holder: &Holder) -> Result<(), CacheError> {
        self.note_holders(&[(*hash, holder.clone())])
    }

    /// Remembers which contents files hold; the newest few of each content stay.
    pub fn note_holders(&self, noted: &[(ContentHash, Holder)]) -> Result<(), CacheError> {
        for noted in noted.chunks(BATCH_ROWS) {
            let mut by_hash: BTreeMap<ContentHash, Vec<Holder>> = BTreeMap::new();
            for (hash, holder) in noted.iter().rev() {
                by_hash.entry(*hash).or_default().push(holder.clone());
            }
            self.store.write(|transaction| {
                let mut table = Writing::open(transaction, HOLDERS, "holders")?;
                by_hash.iter().try_for_each(|(hash, newest)| merge_holders(&mut table, hash, newest))
            })?;
        }
        Ok(())
    }

    /// Files that held a content, newest first. Hints: look at the file before believing one.
    pub fn holders(&self, hash: &ContentHash) -> Vec<Holder> {
        let found = self.store.read(|database| {
            let Some(bytes) = Reading::begin(database, HOLDERS, "holders")?.load(&hash.0)? else {
                return Ok(None);
            };
            decode_holders(&bytes).map(Some).ok_or_else(|| Fault::damaged("a row of holders is cut short"))
        });
        found.unwrap_or_default()
    }
}

/// The row of the file that a stat is of.
fn load_row(table: &Reading, stat: &Stat) -> Result<Option<StatRow>, Fault> {
    let Some(bytes) = table.load(&key(stat.dev, stat.ino))? else { return Ok(None) };
    decode(&bytes, stat.dev, stat.ino).map(Some).ok_or_else(|| Fault::damaged("a stat is cut short"))
}

fn key(dev: u64, ino: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&dev.to_be_bytes());
    key[8..].copy_from_slice(&ino.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(u64, u64)> {
    let (dev, ino) = key.split_at_checked(8)?;
    Some((u64::from_be_bytes(dev.try_into().ok()?), u64::from_be_bytes(ino.try_into().ok()?)))
}

fn encode(row: &StatRow) -> [u8; 64] {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(row.stat.size.to_le_bytes());
    for time in [row.stat.mtime, row.stat.ctime] {
        bytes.extend(time.secs.to_le_bytes());
        bytes.extend(time.nanos.to_le_bytes());
    }
    bytes.extend(row.hash.0);
    bytes.try_into().expect("8 + 2 * 12 + 32 bytes are 64")
}

fn decode(bytes: &[u8], dev: u64, ino: u64) -> Option<StatRow> {
    let mut cursor = Cursor(bytes);
    let size = cursor.u64()?;
    let mtime = Time { secs: cursor.i64()?, nanos: cursor.u32()? };
    let ctime = Time { secs: cursor.i64()?, nanos: cursor.u32()? };
    let hash = ContentHash(cursor.array()?);
    cursor.is_empty().then_some(StatRow { stat: Stat { dev, ino, size, mtime, ctime }, hash })
}

/// Puts the newest holders in front of those in the row, each file and each path once.
fn merge_holders(table: &mut Writing, hash: &ContentHash, newest: &[Holder]) -> Result<(), Fault> {
    let before = table.load(&hash.0)?;
    let older = before.as_deref().and_then(decode_holders).unwrap_or_default();
    let mut holders: Vec<&Holder> = Vec::with_capacity(HOLDERS_KEPT);
    for holder in newest.iter().chain(&older) {
        let is_new = holders
            .iter()
            .all(|kept| (kept.dev, kept.ino) != (holder.dev, holder.ino) && kept.path != holder.path);
        if is_new && holders.len() < HOLDERS_KEPT {
            holders.push(holder);
        }
    }
    let bytes = encode_holders(&holders);
    if before.as_ref() == Some(&bytes) {
        return Ok(());
    }
    table.store(&hash.0, &bytes)
}

fn encode_holders(holders: &[&Holder]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for holder in holders {
        bytes.extend(holder.dev.to_le_bytes());
        bytes.extend(holder.ino.to_le_bytes());
        bytes.extend((holder.path.len() as u32).to_le_bytes());
        bytes.extend(&holder.path);
    }
    bytes
}

fn decode_holders(bytes: &[u8]) -> Option<Vec<Holder>> {
    let mut cursor = Cursor(bytes);
    let mut holders = Vec::new();
    while !cursor.is_empty() {
        let (dev, ino, n_bytes) = (cursor.u64()?, cursor.u64()?, cursor.u32()?);
        holders.push(Holder { dev, ino, path: cursor.take(n_bytes as usize)?.to_vec() });
    }
    Some(holders)
}

#[cfg(fuzzing)]
pub(super) fn read_rows(bytes: &[u8]) {
    if let Some(row) = decode(bytes, 1, 2) {
        assert_eq!(encode(&row), bytes);
    }
    if let Some(holders) = decode_holders(bytes) {
        assert_eq!(encode_holders(&holders.iter().collect::<Vec<_>>()), bytes);
    }
    if let Some((dev, ino)) = parse_key(bytes) {
        assert!(bytes.starts_with(&key(dev, ino)));
    }
}
