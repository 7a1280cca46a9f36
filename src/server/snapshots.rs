//! Snapshots: a file as it is at one moment, so that it can be read for as long as sending it takes.
//!
//! A clone that shares the file's blocks, where the source's file system can and the client's state is on it:
//! that is one moment, and free. Else a copy of a file that is not too large, which counts only if a second
//! reading finds the file the same: then it was all of that between the two. Nameless files either way.

use crate::disk::{File, Spare};
use crate::model::{ContentHash, RelPath};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Snapshots that are held until they are sent.
const HELD: usize = 16;
/// Restless files that are remembered.
const RESTLESS: usize = 4_096;

/// A snapshot of the file at a path.
#[derive(Debug)]
struct Held {
    path: RelPath,
    hash: ContentHash,
    file: Arc<File>,
}

/// Makes snapshots, and holds those that wait to be sent.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    every: Duration,
    held: Mutex<VecDeque<Held>>,
    /// Since when a file was not seen at rest, or when its last snapshot was made.
    restless: Mutex<HashMap<RelPath, Instant>>,
}

impl Snapshots {
    /// `dir`: the folder of the client's state. `every`: a file that never rests gets one so often.
    pub fn new(dir: PathBuf, every: Duration) -> Self {
        Self { dir, every, held: Mutex::default(), restless: Mutex::default() }
    }

    /// A file was not at rest for long enough to be read: whether it is time for a snapshot.
    pub fn is_due(&self, path: &RelPath) -> bool {
        let mut restless = self.restless.lock().unwrap_or_else(PoisonError::into_inner);
        if restless.len() >= RESTLESS {
            restless.clear();
        }
        let since = *restless.entry(path.clone()).or_insert_with(Instant::now);
        let is_due = since.elapsed() >= self.every;
        if is_due {
            restless.insert(path.clone(), Instant::now());
        }
        is_due
    }

    /// The file at this moment; `None` where none can be made, or while it does not rest for a copy.
    pub fn take(&self, of: &File) -> Option<File> {
        Spare::create(&self.dir).ok()?.snapshot(of).ok()?
    }

    /// Holds a snapshot, in place of an earlier one of the same file or, of too many, of the oldest.
    pub fn hold(&self, path: &RelPath, hash: ContentHash, snapshot: File) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|held| held.path != *path);
        held.push_back(Held { path: path.clone(), hash, file: Arc::new(snapshot) });
        while held.len() > HELD {
            held.pop_front();
        }
    }

    /// The snapshot of a content.
    pub fn find(&self, hash: &ContentHash) -> Option<Arc<File>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|held| held.hash == *hash).map(|held| held.file.clone())
    }

    /// A content was sent.
    pub fn release(&self, hash: &ContentHash) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| held.hash != *hash);
    }
}
