//! The file of a store on the disk: made or opened, checked, set aside, moved together.

use super::database::{PAGE_CACHE_BYTES, guarded};
use super::rows::{ALL, Fault, Reading, WORDS, Writing};
use redb::{CompactionError, Database, ReadableDatabase, backends::InMemoryBackend};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Layout of the rows; a file with another number is set aside.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"\0format";
pub(super) const FILE_NAME: &str = "cache.redb";
const ASIDE_PREFIX: &str = "cache.damaged-";

/// Moves what a file of so many bytes holds together, if that is less than half of it; `false` while somebody reads.
pub(super) fn compact(database: &mut Database, file_bytes: u64) -> Result<bool, Fault> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    if file_bytes / 2 > stats.allocated_pages().saturating_mul(stats.page_size() as u64) {
        match database.compact() {
            Err(CompactionError::TransactionInProgress) => return Ok(false),
            done => done?,
        };
    }
    Ok(true)
}

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn open_file(path: &Path, page_cache_bytes: usize, existed: bool) -> Result<Database, Fault> {
    guarded(|| {
        // Made here so that it is private from its first moment on: it holds names of files.
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|source| Fault::Failed(source.into()))?;
        let backend = redb::backends::FileBackend::new(file)?;
        let database = builder(page_cache_bytes).create_with_backend(backend)?;
        if existed {
            check_format(&database)?
        } else {
            lay_out(&database)?
        }
        Ok(database)
    })
}

pub(super) fn open_memory() -> Result<Database, Fault> {
    guarded(|| {
        let database = builder(PAGE_CACHE_BYTES).create_with_backend(InMemoryBackend::new())?;
        lay_out(&database)?;
        Ok(database)
    })
}

fn builder(page_cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(page_cache_bytes);
    builder
}

fn lay_out(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    for rows in ALL {
        transaction.open_table(rows)?;
    }
    Writing::open(&transaction, WORDS, "words")?.store(FORMAT_KEY, &FORMAT.to_le_bytes())?;
    transaction.commit()?;
    Ok(())
}

fn check_format(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_read()?;
    for rows in ALL {
        transaction.open_table(rows)?;
    }
    let found = Reading::open(&transaction, WORDS, "words")?.load(FORMAT_KEY)?;
    match found.as_deref() {
        Some(number) if number == FORMAT.to_le_bytes() => Ok(()),
        _ => Err(Fault::damaged(format!("it is not of format {FORMAT}"))),
    }
}

/// Renames the file aside, under a number of its own; what was set aside before goes, directories excepted.
pub(super) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let mut last = 0;
    let mut older = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(ASIDE_PREFIX)?.parse::<u64>().ok());
        if let Some(number) = number {
            last = last.max(number);
            older.push(entry.path());
        }
    }
    let aside = folder.join(format!("{ASIDE_PREFIX}{}", last.saturating_add(1)));
    fs::rename(folder.join(FILE_NAME), &aside)?;
    for path in older {
        match fs::remove_file(path) {
            // What was no file is not ours to empty.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            removed => removed?,
        }
    }
    Ok(aside)
}
