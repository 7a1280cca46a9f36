//! Floor 3: the state store. A cache, never a truth: losing it costs time and traffic, never data.
//!
//! Both sides keep the same one, in one redb file of their state directory. Nothing here decides
//! anything: rows say what was true of a content or a stat when they were written, and the caller
//! believes a row only where the file system still agrees.
//!
//! Two simplifications keep moves cheap without directory ids. What is known of a file hangs on
//! (device, inode), so that moving a directory of any size changes no row. And a tree is kept as
//! listings named by directory hash: equal directories are stored once, a change writes only the
//! listings of the directories above it, and a moved directory is one name in its new parent's.
//!
//! Writes are visible at once and reach the disk with [`Cache::sync`]; a kill loses what came
//! since. Every value carries a check. Damage, wherever it shows, is answered the same way: the file
//! is set aside, an empty one takes its place, and the caller is told once. No answer is ever taken
//! from a row whose check does not fit.
//!
//! All of it blocks; call it from threads, not from the reactor.

mod contents;
mod database;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listings;
mod notes;
mod rows;
pub mod shadow;
mod stats;

pub use contents::Signature;
pub use database::is_guarded;
pub use notes::Acknowledged;
pub use stats::{Holder, Stat, StatReader, StatRow};

use crate::store::database::{PAGE_CACHE_BYTES, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The open cache. Clones are the same cache; all calls are safe from any thread.
#[derive(Clone)]
pub struct Cache {
    store: Arc<Store>,
}

/// How a cache was found when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none: it is empty.
    Fresh,
    /// It was there and is of this format.
    Found,
    /// What was there was damaged or of another format; it was renamed to `set_aside` and the
    /// cache is empty.
    Rebuilt { set_aside: PathBuf, why: String },
}

/// Why the cache cannot be used. None of these may stop a sync: go on with [`Cache::in_memory`].
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Session: another process, or another part of this one, holds the file.
    #[error("another strait holds the state in this directory")]
    Busy,
    /// File: its directory cannot be made or read, or a damaged file cannot be renamed in it.
    #[error("the state directory {} cannot be used: {source}", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    /// File: the system refused to read or write it, for example because the disk is full.
    #[error("the state file cannot be read or written: {source}")]
    Failed { source: Box<redb::Error> },
    /// File: it was damaged; it has been set aside and the cache is empty now.
    #[error("the state file was damaged and is set aside: {why}")]
    Damaged { why: String },
    /// File: a tree with contents that are not hashed yet has no name to be stored under.
    #[error("a tree with unknown contents cannot be stored")]
    NotWhole,
}

impl Cache {
    /// Opens the cache `cache.redb` in a directory, which is made with mode 0700 if it is missing.
    ///
    /// A file that is damaged or of another format becomes `cache.damaged-N`; one such file is kept
    /// at most.
    ///
    /// # Errors
    /// [`CacheError::Busy`] while another process holds it; otherwise what the system said.
    pub fn open(folder: &Path) -> Result<(Self, Opened), CacheError> {
        let (store, opened) = Store::open(folder, PAGE_CACHE_BYTES)?;
        Ok((Self { store: Arc::new(store) }, opened))
    }

    /// A cache that is forgotten with the process, for when there can be no file.
    pub fn in_memory() -> Result<Self, CacheError> {
        Ok(Self { store: Arc::new(Store::in_memory()?) })
    }

    /// Brings all writes so far to the disk. Call it every second or so, and at exit.
    pub fn sync(&self) -> Result<(), CacheError> {
        self.store.sync()
    }

    /// Gives room back to the disk that the file does not need any more, if that is much. Waits for what is read and
    /// written meanwhile, and lets it wait.
    ///
    /// # Errors
    /// What the file said.
    pub fn shrink(&self) -> Result<(), CacheError> {
        self.store.shrink()
    }

    /// Why the file had to be set aside while it was open; once for each time. To be said to the
    /// user, no more: the cache has gone on, empty.
    pub fn take_damage(&self) -> Option<String> {
        self.store.take_damage()
    }
}

#[cfg(test)]
mod tests;
