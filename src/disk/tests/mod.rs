//! Facts of this room, shown on real directories.

mod clean;
mod destination;
mod overwrite;
mod races;
mod read;
mod scan;

use super::{
    ContentSink, Contents, Destination, DirId, Hashing, Indexing, Options, Progress, Root, Scan, ScanError,
    Special, Stat, Verdict,
};
use crate::delta::sieve::ReadAt;
use crate::model::{ContentHash, Kind, RelPath};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// Remembers every hash by its stat, and counts.
#[derive(Default)]
struct Memory {
    known: Mutex<HashMap<Stat, ContentHash>>,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    files: usize,
    bytes: u64,
    zeros: u64,
}

struct Hasher<'a> {
    hasher: blake3::Hasher,
    memory: &'a Memory,
}

impl Memory {
    fn counts(&self) -> Counts {
        *self.counts.lock().unwrap()
    }
}

impl Contents for Memory {
    fn known(&self, stat: &Stat) -> Option<ContentHash> {
        self.known.lock().unwrap().get(stat).copied()
    }

    fn begin(&self, _: &RelPath, _: &Stat) -> Box<dyn Indexing + '_> {
        self.counts.lock().unwrap().files += 1;
        Box::new(Hasher { hasher: blake3::Hasher::new(), memory: self })
    }
}

impl ContentSink for Hasher<'_> {
    fn read(
        &mut self,
        content: &dyn ReadAt,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
        _: &dyn Fn(u64) -> bool,
    ) -> io::Result<u64> {
        let n_read = read_range(content, range, buffer)?;
        self.memory.counts.lock().unwrap().bytes += n_read as u64;
        self.hasher.update(&buffer[..n_read]);
        Ok(n_read as u64)
    }

    fn update_zeros(&mut self, len: u64) {
        self.memory.counts.lock().unwrap().zeros += len;
        self.hasher.update(&vec![0; len as usize]);
    }
}

impl Indexing for Hasher<'_> {
    fn finish(self: Box<Self>, stat: &Stat) -> ContentHash {
        let hash = ContentHash(*self.hasher.finalize().as_bytes());
        self.memory.known.lock().unwrap().insert(*stat, hash);
        hash
    }
}

/// Reads a whole range; returns how many bytes there are.
fn read_range(content: &dyn ReadAt, range: Range<u64>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize((range.end - range.start) as usize, 0);
    content.read_at(buffer, range.start)
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn root(dir: &Path) -> Root {
    Root::open(dir).expect("a directory")
}

fn open(dir: &Path) -> Destination {
    Destination::open(root(dir), [7; 16]).expect("a destination")
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn take_all(_: &RelPath, _: Kind) -> Verdict {
    Verdict::Take
}

/// Runs `work` with options that take everything.
fn with_options<T>(hashing: Hashing, work: impl FnOnce(&Options) -> T) -> T {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    work(&Options {
        filter: &take_all,
        before_list: None,
        hashing,
        special: Special::LeaveOut,
        n_threads: 2,
        progress: &progress,
        stop: &stop,
    })
}

fn scan_all(root: &Root, contents: &dyn Contents) -> Result<Scan, ScanError> {
    with_options(Hashing::Now, |options| super::scan(root, contents, options))
}

/// Whether this user is refused nothing; says that a test is skipped.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        println!("skipped: needs a user that is not root: {test}");
    }
    is_root
}
