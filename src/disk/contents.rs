//! What a scan asks of the floor above, known hashes and hashing, and reading one file for it.
//!
//! A file is read in one pass; what was computed is kept only when its stat stood still from
//! before the first byte to after the last, and when its times were old enough to mean something.

use super::file::File;
use super::root::Root;
use super::stat::{Stat, now};
use crate::delta::sieve::ReadAt;
use crate::model::limits::{FILE_BYTES, SOURCE_TRIES};
use crate::model::{ContentHash, RelPath, Time};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Takes the bytes of a content in order.
pub trait ContentSink {
    /// Reads the next range of a content, as far as it goes, and returns how many bytes that were. `told` hears the bytes of
    /// each piece and says whether to end there; `buffer` is room for them.
    fn read(
        &mut self,
        content: &dyn ReadAt,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
        told: &dyn Fn(u64) -> bool,
    ) -> io::Result<u64>;
    /// `len` zero bytes that were not read: a hole.
    fn update_zeros(&mut self, len: u64);
}

/// One content being indexed.
pub trait Indexing: ContentSink {
    /// The content hash of what was given; called only when the file did not change meanwhile, so
    /// that all of it may be kept under `stat`, which is not racy. Dropped without this otherwise.
    fn finish(self: Box<Self>, stat: &Stat) -> ContentHash;
}

/// Known hashes, and hashing. Called from several threads.
pub trait Contents: Sync {
    /// Content hash of a file whose stat is exactly this, if it is known and was learned when the
    /// stat was not racy.
    fn known(&self, stat: &Stat) -> Option<ContentHash>;
    /// Content hash and mtime of a file of this device and inode when it was last read, whatever its stat says now.
    fn earlier(&self, _stat: &Stat) -> Option<(ContentHash, Time)> {
        None
    }
    /// Size and hash of what a file that never rests was at one moment, where that can be had and is due.
    fn snapshot(&self, _path: &RelPath, _file: &File) -> Option<(u64, ContentHash)> {
        None
    }
    /// Begins with the content of the file at this path, of this stat.
    fn begin(&self, path: &RelPath, stat: &Stat) -> Box<dyn Indexing + '_>;
}

/// What came of reading a file.
#[derive(Debug)]
pub enum Hashed {
    /// Its hash, with the stat that it belongs to.
    Known(Stat, ContentHash),
    /// Nothing is there any more.
    Gone,
    /// It changed while it was read, each of [`SOURCE_TRIES`] times, or became something else.
    Unstable,
    /// It cannot be read.
    Unreadable(io::Error),
    /// The stop flag was raised.
    Stopped,
}

/// Hashes one file that a scan left for later.
pub fn hash_pending(root: &Root, path: &RelPath, contents: &dyn Contents, stop: &AtomicBool) -> Hashed {
    hash_file(root, path, contents, &mut Vec::new(), stop, &Nobody)
}

/// Is told what is read.
pub(super) trait Reading {
    /// A file is read from its beginning.
    fn opened(&self, file: &File);
    /// More bytes were read.
    fn read(&self, n_bytes: u64);
}

struct Nobody;

impl Reading for Nobody {
    fn opened(&self, _file: &File) {}
    fn read(&self, _n_bytes: u64) {}
}

/// Hashes the file at a path, unless its hash is known.
pub(super) fn hash_file(
    root: &Root,
    path: &RelPath,
    contents: &dyn Contents,
    buffer: &mut Vec<u8>,
    stop: &AtomicBool,
    told: &dyn Reading,
) -> Hashed {
    for _ in 0..SOURCE_TRIES {
        match hash_once(root, path, contents, buffer, stop, told) {
            Ok(Some(hashed)) => return hashed,
            Ok(None) => {}
            Err(error) => return failed(root, path, error),
        }
    }
    hash_snapshot(root, path, contents).unwrap_or(Hashed::Unstable)
}

/// What the file was at one moment. Its stat is kept as it was before that, so that it is looked at again.
fn hash_snapshot(root: &Root, path: &RelPath, contents: &dyn Contents) -> Option<Hashed> {
    let file = root.open_file(path).ok()?;
    let (size, hash) = contents.snapshot(path, &file)?;
    Some(Hashed::Known(Stat { size, ..*file.opened() }, hash))
}

/// Tells a file that is gone or became something else from one that cannot be read.
fn failed(root: &Root, path: &RelPath, error: io::Error) -> Hashed {
    match root.stat(path) {
        Ok(None) => Hashed::Gone,
        Ok(Some(stat)) if stat.is_file() => Hashed::Unreadable(error),
        Ok(Some(_)) => Hashed::Unstable,
        Err(_) => Hashed::Unreadable(error),
    }
}

/// One try; `None` when the file changed meanwhile.
fn hash_once(
    root: &Root,
    path: &RelPath,
    contents: &dyn Contents,
    buffer: &mut Vec<u8>,
    stop: &AtomicBool,
    told: &dyn Reading,
) -> io::Result<Option<Hashed>> {
    let file = root.open_file(path)?;
    let before = wait_out(*file.opened(), || file.stat())?;
    if before.size > FILE_BYTES {
        let text = format!("{} bytes are more than {FILE_BYTES}", before.size);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    if let Some(hash) = contents.known(&before) {
        return Ok(Some(Hashed::Known(before, hash)));
    }
    if before.is_racy(now()) {
        return Ok(None);
    }
    told.opened(&file);
    let mut indexing = contents.begin(path, &before);
    let n_read = file.feed(before.size, buffer, &mut *indexing, &|n_bytes| {
        told.read(n_bytes);
        stop.load(Ordering::Relaxed)
    })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Some(Hashed::Stopped));
    }
    // As files of /proc are: what they hold is made when they are read.
    let is_more = before.size == 0 && file.read_at(&mut [0], 0)? > 0;
    let after = file.stat()?;
    if n_read != before.size || !after.is_same_version(&before) {
        return Ok(None);
    }
    if is_more {
        return Err(io::Error::other("it has more than the 0 bytes that its size says"));
    }
    Ok(Some(Hashed::Known(before, indexing.finish(&before))))
}

/// Sleeps out the racy window of a stat, so that what is read afterwards may be learned.
fn wait_out(stat: Stat, again: impl Fn() -> io::Result<Stat>) -> io::Result<Stat> {
    let wait_ms = stat.racy_ms(now());
    if wait_ms == 0 {
        return Ok(stat);
    }
    std::thread::sleep(Duration::from_millis(wait_ms.unsigned_abs()));
    again()
}
