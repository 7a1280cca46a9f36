//! Rows: keys and values as bytes, each value sealed with a check over its table, key and bytes.
//!
//! redb checks its pages when it opens after a crash, not on every read. The seal makes a flipped
//! bit a fault that is noticed, wherever it sits; [`super::database`] then sets the file aside.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

/// A table of sealed rows.
pub type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Key and bytes of a row.
pub type Row = (Vec<u8>, Vec<u8>);

pub const STATS: Rows = Rows::new("stats");
pub const HOLDERS: Rows = Rows::new("holders");
pub const CONTENTS: Rows = Rows::new("contents");
pub const AGES: Rows = Rows::new("ages");
pub const LISTINGS: Rows = Rows::new("listings");
pub const ACKNOWLEDGED: Rows = Rows::new("acknowledged");
pub const LEFT: Rows = Rows::new("left");
pub const WORDS: Rows = Rows::new("words");

/// Every table; all are made when the file is.
pub const ALL: [Rows; 8] = [STATS, HOLDERS, CONTENTS, AGES, LISTINGS, ACKNOWLEDGED, LEFT, WORDS];

/// Bytes of the seal before each value.
pub const SEAL_BYTES: usize = 8;

/// Why a row could not be had.
#[derive(Debug)]
pub enum Fault {
    /// The file does not hold what strait wrote.
    Damaged(String),
    /// The disk or the system refused; the file may be whole.
    Failed(redb::Error),
}

impl Fault {
    pub fn damaged(what: impl Into<String>) -> Self {
        Fault::Damaged(what.into())
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        let error = error.into();
        match &error {
            redb::Error::Io(io) if !is_bad_data(io) => Fault::Failed(error),
            redb::Error::Backend(_) | redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen => {
                Fault::Failed(error)
            }
            _ => Fault::Damaged(error.to_string()),
        }
    }
}

fn is_bad_data(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

/// One table while it is read; holds the state of the file as of when it was opened.
pub struct Reading {
    name: &'static str,
    table: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Reading {
    pub fn open(transaction: &ReadTransaction, rows: Rows, name: &'static str) -> Result<Self, Fault> {
        Ok(Self { name, table: transaction.open_table(rows)? })
    }

    pub fn begin(database: &redb::Database, rows: Rows, name: &'static str) -> Result<Self, Fault> {
        Self::open(&database.begin_read()?, rows, name)
    }

    /// The bytes under a key.
    pub fn load(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.table.get(key)? {
            Some(value) => Ok(Some(unseal(self.name, key, value.value())?.to_vec())),
            None => Ok(None),
        }
    }

    /// All rows in byte order of keys; for small tables.
    pub fn load_all(&self) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::new();
        for row in self.table.iter()? {
            let (key, value) = row?;
            let bytes = unseal(self.name, key.value(), value.value())?.to_vec();
            rows.push((key.value().to_vec(), bytes));
        }
        Ok(rows)
    }
}

/// One table while it is written.
pub struct Writing<'t> {
    name: &'static str,
    table: Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Writing<'t> {
    pub fn open(transaction: &'t WriteTransaction, rows: Rows, name: &'static str) -> Result<Self, Fault> {
        Ok(Self { name, table: transaction.open_table(rows)? })
    }

    pub fn load(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.table.get(key)? {
            Some(value) => Ok(Some(unseal(self.name, key, value.value())?.to_vec())),
            None => Ok(None),
        }
    }

    pub fn holds(&self, key: &[u8]) -> Result<bool, Fault> {
        Ok(self.table.get(key)?.is_some())
    }

    pub fn store(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        let mut value = Vec::with_capacity(SEAL_BYTES + bytes.len());
        value.extend(seal(self.name, key, bytes));
        value.extend(bytes);
        self.table.insert(key, value.as_slice())?;
        Ok(())
    }

    /// Takes a row away and says whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, Fault> {
        Ok(self.table.remove(key)?.is_some())
    }

    /// The first row in byte order of keys.
    pub fn first(&self) -> Result<Option<Row>, Fault> {
        match self.table.first()? {
            Some((key, value)) => {
                let key = key.value().to_vec();
                let bytes = unseal(self.name, &key, value.value())?.to_vec();
                Ok(Some((key, bytes)))
            }
            None => Ok(None),
        }
    }

    /// All rows in byte order of keys.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Row, Fault>>, Fault> {
        let name = self.name;
        Ok(self.table.iter()?.map(move |row| {
            let (key, value) = row?;
            let key = key.value().to_vec();
            let bytes = unseal(name, &key, value.value())?.to_vec();
            Ok((key, bytes))
        }))
    }

    pub fn last_key(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.table.last()?.map(|(key, _)| key.value().to_vec()))
    }

    pub fn n_rows(&self) -> Result<u64, Fault> {
        use redb::ReadableTableMetadata;
        Ok(self.table.len()?)
    }

    /// Keeps the rows for which `is_kept` holds and returns how many went.
    ///
    /// `is_kept` sees key and bytes; rows with a broken seal go too.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<u64, Fault> {
        let before = self.n_rows()?;
        let name = self.name;
        self.table.retain(|key, value| unseal(name, key, value).is_ok_and(|bytes| is_kept(key, bytes)))?;
        Ok(before - self.n_rows()?.min(before))
    }
}

fn seal(name: &str, key: &[u8], bytes: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&[0]);
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(bytes);
    let mut seal = [0; SEAL_BYTES];
    seal.copy_from_slice(&hasher.finalize().as_bytes()[..SEAL_BYTES]);
    seal
}

fn unseal<'v>(name: &str, key: &[u8], value: &'v [u8]) -> Result<&'v [u8], Fault> {
    match value.split_at_checked(SEAL_BYTES) {
        Some((check, bytes)) if seal(name, key, bytes) == check => Ok(bytes),
        _ => Err(Fault::damaged(format!("a row of `{name}` does not fit its check"))),
    }
}

/// Takes a value's seal off, under a key that its first bytes name.
#[cfg(fuzzing)]
pub fn read_sealed(bytes: &[u8]) {
    let (key, value) = bytes.split_at(bytes.len().min(33));
    assert!(unseal("fuzz", key, value).is_err() || value.len() >= SEAL_BYTES);
    let sealed = [&seal("fuzz", key, value)[..], value].concat();
    assert!(unseal("fuzz", key, &sealed).is_ok_and(|bytes| bytes == value));
}

/// Reads numbers and bytes off the front of a row; `None` where it is too short.
pub struct Cursor<'b>(pub &'b [u8]);

impl<'b> Cursor<'b> {
    pub fn take(&mut self, n_bytes: usize) -> Option<&'b [u8]> {
        let (front, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some(front)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
