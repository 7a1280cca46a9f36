//! Floor 3: hints from the kernel that a directory should be listed again. The only owner of notify.
//!
//! Recursion is the caller's: it adds a directory here, *then* lists it, then goes on with the
//! directories it found. That order loses nothing, where the recursive mode of notify does. Events
//! are hints and the scan is the truth: this room never reads a file and never says what changed,
//! only where to look. When it cannot know, it says [`Signal::Rescan`].
//!
//! The contract, which the names in the tests state again:
//! - [`Watch::add`] is called for every directory before it is listed, and for every directory that
//!   a listing shows. [`Added::Watching`] means that it was not watched until now, so it must be
//!   listed, whatever the caller believes of it; [`Added::Already`] means it need not be.
//! - After [`Signal::Rescan`] everything is added and listed again.
//!
//! What makes this harder than it looks: inotify watches inodes and gives the same descriptor for the
//! same inode, notify keeps paths, and events come late. After `a` was renamed to `b`, an unwatch of
//! `a` could end the watch of `b`; notify may end the watch of a new `a` when the event about the
//! old one arrives; an inode number may come back at the same path. So every event that a watched
//! path went away makes it, and all below, unknown here at once: the next `add` watches it anew. What
//! notify may still hold of an old path is dropped before anything new is added. When events were
//! lost, nothing held is believed any more and watching begins anew.

mod signals;
#[cfg(test)]
mod tests;

pub use signals::{Signal, Signals};

use crate::model::RelPath;
use crate::watch::signals::{Known, State, translate};
use notify::event::EventKindMask;
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, WatchPathConfig, Watcher};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LIMIT_FILE: &str = "/proc/sys/fs/inotify/max_user_watches";
/// The system's error for too many inotify instances (EMFILE).
const TOO_MANY_OPEN: i32 = 24;

/// A running watch below one root. All calls block for some tens of microseconds, from any thread.
pub struct Watch {
    root: PathBuf,
    /// Also makes one `add` wait for the other: notify is one thread anyway.
    watcher: Mutex<RecommendedWatcher>,
    state: Arc<State>,
    /// More watches are refused from here on; lets tests meet the limit.
    most_watches: usize,
}

/// What came of adding a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is watched from now on, and must be listed now.
    Watching,
    /// It has been watched all the time.
    Already,
    /// The kernel gives no more watches: the caller looks at it from time to time instead.
    LimitReached,
    /// The kernel refuses to watch it (unreadable, path too long): as with the limit.
    Refused,
    /// It is not there any more, or another directory is: its parent is to be listed again.
    Gone,
}

/// Why nothing can be watched. Session: the caller polls instead.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{} cannot be watched: {source}", root.display())]
    Root { root: PathBuf, source: io::Error },
    #[error("no more inotify instances for this user; see the sysctl fs.inotify.max_user_instances")]
    Instances,
    #[error("the system refuses to watch: {0}")]
    System(String),
}

impl Watch {
    /// Begins to watch below a root; nothing is watched until it is added.
    ///
    /// # Errors
    /// When the root is not there or the system gives no watcher.
    pub fn new(root_path: PathBuf) -> Result<(Self, Signals), WatchError> {
        // The real path: no event has to be matched through a symlink.
        let root =
            fs::canonicalize(&root_path).map_err(|source| WatchError::Root { root: root_path, source })?;
        let (state, signals) = State::new();
        let watcher = begin(&root, &state)?;
        let watch = Self { root, watcher: Mutex::new(watcher), state, most_watches: usize::MAX };
        Ok((watch, signals))
    }

    /// Watches a directory; called before it is listed. `identity` is its (device, inode).
    ///
    /// Where another directory was watched at this path, its watch and all below it end first.
    pub fn add(&self, dir: &RelPath, identity: (u64, u64)) -> Added {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.take_lost() && !self.begin_anew(&mut watcher) {
            self.known().uncovered.insert(dir.clone());
            return Added::Refused;
        }
        let (replaced, stale) = {
            let mut known = self.known();
            let replaced = match known.dirs.get(dir) {
                Some(watched) if *watched == identity => return Added::Already,
                Some(_) => known.forget(dir),
                None => Vec::new(),
            };
            (replaced, std::mem::take(&mut known.stale))
        };
        replaced.iter().chain(&stale).for_each(|old| self.unwatch(&mut watcher, old));
        if self.known().dirs.len() >= self.most_watches {
            self.known().uncovered.insert(dir.clone());
            return Added::LimitReached;
        }
        self.install(&mut watcher, dir, identity)
    }

    /// Ends the watches of a directory that is gone or out of scope, and of all below it.
    pub fn remove_below(&self, dir: &RelPath) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = {
            let mut known = self.known();
            known.uncovered.retain(|uncovered| !uncovered.is_at_or_below(dir));
            known.forget(dir)
        };
        forgotten.iter().for_each(|old| self.unwatch(&mut watcher, old));
    }

    /// Number of directories that could not be watched.
    pub fn uncovered(&self) -> usize {
        self.known().uncovered.len()
    }

    /// The directories that could not be watched: the caller looks at them from time to time.
    pub fn uncovered_dirs(&self) -> Vec<RelPath> {
        self.known().uncovered.iter().cloned().collect()
    }

    /// Number of directories watched.
    pub fn n_watched(&self) -> usize {
        self.known().dirs.len()
    }

    /// What to tell the user about uncovered directories; `None` while there are none.
    pub fn uncovered_text(&self) -> Option<String> {
        let n_uncovered = self.uncovered();
        let present = fs::read_to_string(LIMIT_FILE);
        let present = present.as_deref().map_or("unknown", str::trim);
        (n_uncovered > 0).then(|| {
            format!(
                "{n_uncovered} directories cannot be watched and are polled instead; if the limit of \
                 watches is reached, raise the sysctl fs.inotify.max_user_watches (now {present})"
            )
        })
    }

    fn install(&self, watcher: &mut RecommendedWatcher, dir: &RelPath, identity: (u64, u64)) -> Added {
        let path = self.path_of(dir);
        // Known before it is watched: an event that arrives in between must find it to forget it.
        self.known().dirs.insert(dir.clone(), identity);
        let how = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
        let added = match watcher.watch_with(&path, how) {
            Ok(()) if is_still(&path, identity) => Added::Watching,
            Ok(()) => {
                self.unwatch(watcher, dir);
                Added::Gone
            }
            Err(error) => match error.kind {
                ErrorKind::MaxFilesWatch => Added::LimitReached,
                ErrorKind::PathNotFound => Added::Gone,
                ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotADirectory => Added::Gone,
                _ => Added::Refused,
            },
        };
        let mut known = self.known();
        match added {
            Added::Watching | Added::Already => {
                known.uncovered.remove(dir);
            }
            Added::LimitReached | Added::Refused => {
                known.dirs.remove(dir);
                known.uncovered.insert(dir.clone());
            }
            Added::Gone => {
                known.dirs.remove(dir);
                known.uncovered.remove(dir);
            }
        }
        added
    }

    /// Takes a new watcher after events were lost: what the old one holds may be dead.
    fn begin_anew(&self, watcher: &mut RecommendedWatcher) -> bool {
        *self.known() = Known::default();
        self.state.end_generation();
        match begin(&self.root, &self.state) {
            Ok(fresh) => {
                *watcher = fresh;
                true
            }
            Err(_) => {
                self.state.set_lost();
                false
            }
        }
    }

    /// Ends a watch; one that is not there any more is as good.
    fn unwatch(&self, watcher: &mut RecommendedWatcher, dir: &RelPath) {
        let _ = watcher.unwatch(&self.path_of(dir));
    }

    fn path_of(&self, dir: &RelPath) -> PathBuf {
        if dir.is_root() { self.root.clone() } else { self.root.join(dir.as_path()) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.known()
    }
}

/// A watcher of the generation that runs now.
fn begin(root: &Path, state: &Arc<State>) -> Result<RecommendedWatcher, WatchError> {
    // No event for opening or reading: a scan would see itself. Closing after writing is asked for,
    // because bytes written through a map show in nothing else.
    let kinds = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
    let config = Config::default().with_event_kinds(kinds).with_follow_symlinks(false);
    let (root, state, generation) = (root.to_path_buf(), state.clone(), state.generation());
    let on_event = move |event| translate(&root, &state, generation, event);
    RecommendedWatcher::new(on_event, config).map_err(|error| match error.kind {
        ErrorKind::Io(error) if error.raw_os_error() == Some(TOO_MANY_OPEN) => WatchError::Instances,
        _ => WatchError::System(error.to_string()),
    })
}

/// Whether the path still leads to this directory, so that the watch cannot lie outside the root.
fn is_still(path: &Path, identity: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.is_dir() && (stat.dev(), stat.ino()) == identity)
}
