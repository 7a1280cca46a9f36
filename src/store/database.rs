//! The one store of a cache: reading, writing, noticing damage, and going on with a new file (`store/file.rs`).
//!
//! Every access to redb goes through [`Store::read`] or [`Store::write`]. redb asserts some of what
//! it believes of its pages, so on a damaged file it may panic instead of returning an error; both
//! count as damage here. A damaged file is never repaired: it is renamed aside and an empty one
//! takes its place while strait runs on, because everything in it can be read again from the disk.

use crate::store::file::{FILE_NAME, compact, make_folder, open_file, open_memory, set_aside};
use crate::store::rows::Fault;
use crate::store::{CacheError, Opened};
use redb::{Database, Durability, WriteTransaction};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// redb's own page cache; its default is 1 GiB.
pub const PAGE_CACHE_BYTES: usize = 16 << 20;
/// Of a store whose rows are read once each.
pub const SMALL_PAGE_CACHE_BYTES: usize = 2 << 20;
/// A smaller file is left as large as it is.
const SHRUNK_BYTES: u64 = 16 << 20;

/// An open database whose closing cannot panic: on a damaged file redb may meet the damage once more.
pub struct Held {
    database: Option<Database>,
    /// Whether this is memory while the file cannot be used.
    is_stand_in: bool,
}

impl Held {
    fn new(database: Database) -> Arc<Self> {
        Arc::new(Self { database: Some(database), is_stand_in: false })
    }
}

impl std::ops::Deref for Held {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database.as_ref().expect("a database is held until it is dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let database = self.database.take();
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// The open file, or memory, and what became of it.
pub struct Store {
    /// Where the file lies; `None` in memory.
    folder: Option<PathBuf>,
    page_cache_bytes: usize,
    database: RwLock<Arc<Held>>,
    /// Whether anything was written since the last sync.
    is_dirty: AtomicBool,
    /// Whether the disk refused something: redb then answers no more until it is opened again.
    is_failed: AtomicBool,
    /// Bytes of the file when it was last looked at for room that it does not need.
    looked_at_bytes: AtomicU64,
    /// Why the file was set aside while it was open; said once by the caller.
    damage: Mutex<Option<String>>,
}

impl Store {
    /// Opens or makes the file in a folder, which is made too (mode 0700).
    pub fn open(folder: &Path, page_cache_bytes: usize) -> Result<(Self, Opened), CacheError> {
        let failed = |source| CacheError::Folder { folder: folder.to_path_buf(), source };
        make_folder(folder).map_err(failed)?;
        let file = folder.join(FILE_NAME);
        let existed = file.try_exists().map_err(failed)?;
        let found = if existed && !file.is_file() {
            Err(Fault::damaged("something that is no file stands in its place"))
        } else {
            open_file(&file, page_cache_bytes, existed)
        };
        let (database, opened) = match found {
            Ok(database) if existed => (database, Opened::Found),
            Ok(database) => (database, Opened::Fresh),
            Err(Fault::Damaged(why)) => {
                let set_aside = set_aside(folder).map_err(failed)?;
                (open_file(&file, page_cache_bytes, false)?, Opened::Rebuilt { set_aside, why })
            }
            Err(fault) => return Err(fault.into()),
        };
        let mut store = Self::with(Some(folder.to_path_buf()), database);
        store.page_cache_bytes = page_cache_bytes;
        Ok((store, opened))
    }

    /// A store that lives as long as the process.
    pub fn in_memory() -> Result<Self, CacheError> {
        Ok(Self::with(None, open_memory()?))
    }

    pub(super) fn with(folder: Option<PathBuf>, database: Database) -> Self {
        Self {
            folder,
            page_cache_bytes: PAGE_CACHE_BYTES,
            database: RwLock::new(Held::new(database)),
            is_dirty: AtomicBool::new(false),
            is_failed: AtomicBool::new(false),
            looked_at_bytes: AtomicU64::new(0),
            damage: Mutex::new(None),
        }
    }

    /// What `work` finds; `None` also when the file is damaged or does not answer.
    pub fn read<T>(&self, work: impl FnOnce(&Database) -> Result<Option<T>, Fault>) -> Option<T> {
        let database = self.current();
        match guarded(|| work(&database)) {
            Ok(found) => found,
            Err(Fault::Failed(_)) => {
                self.is_failed.store(true, Ordering::Release);
                None
            }
            Err(Fault::Damaged(why)) => {
                self.replace(database, why);
                None
            }
        }
    }

    /// Runs `work` in a transaction of its own, which reaches the disk with the next [`Store::sync`].
    pub fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, CacheError> {
        self.is_dirty.store(true, Ordering::Release);
        self.commit(Durability::None, work)
    }

    /// Brings everything written so far to the disk; tries the file again if it failed before.
    pub fn sync(&self) -> Result<(), CacheError> {
        if self.is_failed.load(Ordering::Acquire) {
            self.reopen();
        }
        if !self.is_dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.commit(Durability::Immediate, |_| Ok(()));
        if synced.is_err() {
            self.is_dirty.store(true, Ordering::Release);
        }
        synced
    }

    /// Gives the disk back what a large file has of room and does not need: redb never does by itself, and what is written
    /// between two syncs goes behind what stood before. Does so where more than half of the file is free and nobody
    /// reads from it; else nothing. Brings everything to the disk on its way.
    pub fn shrink(&self) -> Result<(), CacheError> {
        let Some(file) = self.folder.as_ref().map(|folder| folder.join(FILE_NAME)) else { return Ok(()) };
        let file_bytes = || fs::metadata(&file).map_or(0, |meta| meta.len());
        let before = file_bytes();
        if before < SHRUNK_BYTES.max(self.looked_at_bytes.load(Ordering::Relaxed).saturating_mul(2)) {
            return Ok(());
        }
        let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let alone = Arc::get_mut(&mut current).filter(|held| !held.is_stand_in);
        let Some(database) = alone.and_then(|held| held.database.as_mut()) else {
            tracing::debug!(before, "somebody reads: the file stays as large as it is");
            return Ok(());
        };
        let done = guarded(|| compact(database, before));
        let database = current.clone();
        drop(current);
        if self.judged(&database, done)? {
            let after = file_bytes();
            tracing::debug!(before, after, "looked for free room in the file");
            self.looked_at_bytes.store(after, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Why the file had to be set aside since the last call, if it had to.
    pub fn take_damage(&self) -> Option<String> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes damage that a reader found by itself.
    pub fn note_damage(&self, database: Arc<Held>, why: String) {
        self.replace(database, why);
    }

    pub fn current(&self) -> Arc<Held> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn commit<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, CacheError> {
        let database = self.current();
        let done = guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        });
        self.judged(&database, done)
    }

    /// What a transaction ended with, after what a fault of the file asks for.
    fn judged<T>(&self, database: &Arc<Held>, done: Result<T, Fault>) -> Result<T, CacheError> {
        match done {
            Err(Fault::Damaged(why)) => {
                self.replace(database.clone(), why.clone());
                Err(CacheError::Damaged { why })
            }
            Err(fault @ Fault::Failed(_)) => {
                self.is_failed.store(true, Ordering::Release);
                Err(fault.into())
            }
            Ok(done) => Ok(done),
        }
    }

    /// Opens the file again after the disk refused something; memory stands in until it can be.
    fn reopen(&self) {
        let Some(folder) = &self.folder else { return };
        let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if !current.is_stand_in {
            let Ok(memory) = open_memory() else { return };
            // Closes the file, unless someone still reads from it: then the next call succeeds.
            *current = Arc::new(Held { database: Some(memory), is_stand_in: true });
        }
        let opened =
            open_file(&folder.join(FILE_NAME), self.page_cache_bytes, true).or_else(|fault| match fault {
                Fault::Damaged(why) => self.begin_anew(folder, why),
                failed => Err(failed),
            });
        if let Ok(database) = opened {
            *current = Held::new(database);
            self.is_failed.store(false, Ordering::Release);
        }
    }

    /// Puts a new file, or memory if there can be none, in the place of a damaged one.
    fn replace(&self, damaged: Arc<Held>, why: String) {
        let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, &damaged) {
            return;
        }
        let fresh = match &self.folder {
            Some(folder) => self.begin_anew(folder, why),
            None => {
                self.say(why);
                open_memory()
            }
        };
        if let Ok(fresh) = fresh.or_else(|_| open_memory()) {
            *current = Held::new(fresh);
        }
    }

    /// Sets the file aside and opens an empty one.
    fn begin_anew(&self, folder: &Path, why: String) -> Result<Database, Fault> {
        self.say(why);
        set_aside(folder).map_err(|source| Fault::Failed(source.into()))?;
        open_file(&folder.join(FILE_NAME), self.page_cache_bytes, false)
    }

    fn say(&self, why: String) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A caller that forgot the last sync loses at most what a kill would have lost.
        let _ = self.sync();
    }
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be taken for damage of a store, which is told in other words.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Runs `work` and takes a panic inside redb for damage.
///
/// Nothing that `work` touches is used afterwards when it panicked: the database is replaced.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let was_guarded = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(was_guarded);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Fault::damaged(text.unwrap_or_else(|| "its pages contradict each other".into())))
    })
}

impl From<Fault> for CacheError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(why) => CacheError::Damaged { why },
            Fault::Failed(redb::Error::DatabaseAlreadyOpen) => CacheError::Busy,
            Fault::Failed(source) => CacheError::Failed { source: Box::new(source) },
        }
    }
}
