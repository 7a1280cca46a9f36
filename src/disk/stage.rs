//! A file being made, in the stage of a destination, until it is renamed into place whole.
//!
//! Written in order through a buffer; runs of zeros become holes. Dropped before it is installed
//! or kept, it is removed. After an error of writing or syncing it must be dropped, never synced
//! again.

use super::error::DestinationError;
use super::file::File;
use super::metadata::timestamps;
use super::own::OwnFolder;
use super::root::Root;
use super::stat::Stat;
use crate::model::{Meta, RelPath};
use rustix::fs::{self as sys, Advice, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes collected before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes in order that the disk begins to write while more are made, so that the sync at the end waits for
/// little.
const AHEAD_BYTES: u64 = 16 << 20;

/// A staged file. Offsets and lengths are in bytes.
#[derive(Debug)]
pub struct StagedFile {
    file: std::fs::File,
    dir: Arc<OwnedFd>,
    name: String,
    /// Where the next bytes in order go, those in the buffer not counted.
    at: u64,
    /// Length of the file on disk.
    len: u64,
    /// Up to where the disk was asked to write.
    begun: u64,
    /// Bytes handed to the file system.
    n_written: u64,
    /// Bytes read back.
    n_read: u64,
    buffer: Vec<u8>,
    is_done: bool,
}

/// A staged file that could not be renamed into place, as it was, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotInstalled {
    pub staged: Box<StagedFile>,
    pub error: DestinationError,
}

impl StagedFile {
    /// Makes an empty file, mode 0600, under a number that is not in use.
    pub fn create(own: &OwnFolder, id: u64) -> Result<Self, DestinationError> {
        Self::create_as(own, format!("{id:016x}"))
    }

    /// The same under a name that is not in use.
    pub(super) fn create_as(own: &OwnFolder, name: String) -> Result<Self, DestinationError> {
        Self::open(own, name, OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens one that was kept; writing goes on at its end.
    pub fn reopen(own: &OwnFolder, id: u64) -> Result<Self, DestinationError> {
        Self::reopen_as(own, format!("{id:016x}"))
    }

    /// The same under its name.
    pub(super) fn reopen_as(own: &OwnFolder, name: String) -> Result<Self, DestinationError> {
        Self::open(own, name, OFlags::empty())
    }

    fn open(own: &OwnFolder, name: String, flags: OFlags) -> Result<Self, DestinationError> {
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = own.stage();
        let fail = |errno| DestinationError::of(&format!("stage/{name}"), errno, dir.as_fd());
        let fd = sys::openat(&*dir, &*name, flags, Mode::RUSR | Mode::WUSR).map_err(fail)?;
        let len = Stat::of(&sys::fstat(&fd).map_err(fail)?).size;
        Ok(Self {
            file: fd.into(),
            dir,
            name,
            at: len,
            len,
            begun: len,
            n_written: 0,
            n_read: 0,
            buffer: Vec::new(),
            is_done: false,
        })
    }

    /// Makes it a clone of `basis` that shares its blocks, to be written over from the start;
    /// `false`, and nothing done, where the file system cannot.
    pub fn clone_of(&mut self, basis: &File) -> Result<bool, DestinationError> {
        self.flush()?;
        match sys::ioctl_ficlone(&self.file, basis) {
            Ok(()) => {
                (self.at, self.begun) = (0, 0);
                self.len = basis.stat().map_err(|error| self.fail_io(error))?.size;
                Ok(true)
            }
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS)) => Err(self.fail(errno)),
            Err(_) => Ok(false),
        }
    }

    /// Bytes from the start to where writing in order stands.
    pub fn position(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Bytes handed to the file system so far, zeros that became holes not among them.
    pub fn n_written(&self) -> u64 {
        self.n_written
    }

    /// Bytes read back so far.
    pub fn n_read(&self) -> u64 {
        self.n_read
    }

    /// Writes bytes in order.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        if bytes.len() < WRITE_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        self.file.write_all_at(bytes, self.at).map_err(|error| self.fail_io(error))?;
        self.at += bytes.len() as u64;
        self.len = self.len.max(self.at);
        self.n_written += bytes.len() as u64;
        if let Some(ahead) = self.at.checked_sub(self.begun).filter(|ahead| *ahead >= AHEAD_BYTES) {
            // Of dirty pages this begins the writing and drops none.
            let _ = sys::fadvise(&self.file, self.begun, NonZeroU64::new(ahead), Advice::DontNeed);
            self.begun = self.at;
        }
        Ok(())
    }

    /// Goes over `len` bytes in order that are right already: what a clone brought.
    pub fn skip(&mut self, len: u64) -> Result<(), DestinationError> {
        self.flush()?;
        self.at = self.at.checked_add(len).ok_or_else(|| self.fail(Errno::FBIG))?;
        self.begun = self.at;
        Ok(())
    }

    /// Writes zeros in order, as a hole where the file system can.
    pub fn zeros(&mut self, len: u64) -> Result<(), DestinationError> {
        self.flush()?;
        let end = self.at.checked_add(len).ok_or_else(|| self.fail(Errno::FBIG))?;
        let inside = end.min(self.len).saturating_sub(self.at);
        if inside > 0 {
            self.punch(self.at, inside)?;
        }
        if end > self.len {
            sys::ftruncate(&self.file, end).map_err(|errno| self.fail(errno))?;
            self.len = end;
        }
        self.at = end;
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), DestinationError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match sys::fallocate(&self.file, flags, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(self.fail(errno)),
        }
        let (zeros, mut at, end) = (vec![0; WRITE_BYTES], offset, offset + len);
        while at < end {
            let n_bytes = usize::try_from(end - at).unwrap_or(WRITE_BYTES).min(WRITE_BYTES);
            self.file.write_all_at(&zeros[..n_bytes], at).map_err(|error| self.fail_io(error))?;
            at += n_bytes as u64;
        }
        Ok(())
    }

    /// Writes bytes over what is there, for repair; where writing in order stands is not moved.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), DestinationError> {
        self.flush()?;
        self.file.write_all_at(bytes, offset).map_err(|error| self.fail_io(error))?;
        self.len = self.len.max(offset.saturating_add(bytes.len() as u64));
        self.n_written += bytes.len() as u64;
        Ok(())
    }

    /// Fills `buffer` from `offset` on as far as the file goes; returns the bytes read.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, DestinationError> {
        self.flush()?;
        let file = self.reader()?;
        let n_read = file.read_at(buffer, offset).map_err(|error| self.fail_io(error))?;
        self.n_read += n_read as u64;
        Ok(n_read)
    }

    /// The same file for reading only, as a basis of others.
    pub fn reader(&mut self) -> Result<File, DestinationError> {
        self.flush()?;
        let fd = self.file.try_clone().map_err(|error| self.fail_io(error))?;
        File::of(fd.into()).map_err(|error| self.fail_io(error))
    }

    /// Makes it at least so long; what is added is a hole.
    pub fn extend_to(&mut self, len: u64) -> Result<(), DestinationError> {
        self.flush()?;
        if self.len < len { self.truncate(len) } else { Ok(()) }
    }

    /// Cuts off what lies behind `len` bytes.
    pub fn cut_to(&mut self, len: u64) -> Result<(), DestinationError> {
        self.flush()?;
        if self.len > len { self.truncate(len) } else { Ok(()) }
    }

    /// Cuts or extends it; writing in order goes on at the end.
    pub fn truncate(&mut self, len: u64) -> Result<(), DestinationError> {
        self.flush()?;
        sys::ftruncate(&self.file, len).map_err(|errno| self.fail(errno))?;
        (self.at, self.len, self.begun) = (len, len, len);
        Ok(())
    }

    /// Writes what is still in the buffer. Where that fails it stays there: who goes on all the same fails
    /// again, or writes it, and never leaves it out.
    pub fn flush(&mut self) -> Result<(), DestinationError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.append(&buffer);
        if written.is_ok() {
            buffer.clear();
        }
        self.buffer = buffer;
        written
    }

    /// Sets mode and mtime; after the last write.
    pub fn set_meta(&mut self, meta: &Meta) -> Result<(), DestinationError> {
        self.flush()?;
        let times = sys::futimens(&self.file, &timestamps(meta.mtime));
        times.map_err(|errno| self.fail(errno))?;
        let mode = Mode::from_raw_mode(u32::from(meta.mode));
        sys::fchmod(&self.file, mode).map_err(|errno| self.fail(errno))
    }

    /// Makes content and metadata durable, not the name.
    pub fn sync(&mut self) -> Result<(), DestinationError> {
        self.flush()?;
        sys::fsync(&self.file).map_err(|errno| self.fail(errno))
    }

    /// Its stat now.
    pub fn stat(&mut self) -> Result<Stat, DestinationError> {
        self.flush()?;
        Ok(Stat::of(&sys::fstat(&self.file).map_err(|errno| self.fail(errno))?))
    }

    /// Renames it to `path`, over nothing, a file or a symlink, and returns its stat from there.
    ///
    /// # Errors
    /// `WrongKind` over a directory, `NoParent`, `NameUnfit`, `OtherDevice`.
    pub fn install(mut self, root: &Root, path: &RelPath) -> Result<Stat, NotInstalled> {
        match self.rename_to(root, path) {
            Ok(stat) => Ok(stat),
            Err(error) => Err(NotInstalled { staged: Box::new(self), error }),
        }
    }

    fn rename_to(&mut self, root: &Root, path: &RelPath) -> Result<Stat, DestinationError> {
        self.flush()?;
        let fail_parent = |errno| DestinationError::of_parent(path, errno, root.dir.as_fd());
        let (dir, name) = root.parent_of(path).map_err(fail_parent)?;
        let call = || sys::renameat(&*self.dir, &*self.name, &dir, name.as_bytes());
        let renamed = root.opened_up(&[dir.as_fd()], call);
        renamed.map_err(|errno| DestinationError::of(path, errno, root.dir.as_fd()))?;
        self.is_done = true;
        self.stat()
    }

    /// Its name in the stage.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says whether it stays in the stage when this is dropped.
    pub(super) fn set_stays(&mut self, stays: bool) {
        self.is_done = stays;
    }

    /// Leaves it in the stage, to be reopened.
    pub fn keep(mut self) -> Result<(), DestinationError> {
        self.flush()?;
        self.is_done = true;
        Ok(())
    }

    fn fail(&self, errno: Errno) -> DestinationError {
        DestinationError::of(&format!("stage/{}", self.name), errno, self.dir.as_fd())
    }

    fn fail_io(&self, error: io::Error) -> DestinationError {
        DestinationError::of_io(&format!("stage/{}", self.name), error, self.dir.as_fd())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.is_done {
            // What stays is swept at the next start.
            let _ = sys::unlinkat(&*self.dir, &*self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Destination;

    // A full disk failed a flush whose caller went on: what the buffer held was missing in the file, and its
    // hash, made on the way, did not tell.
    #[test]
    fn what_could_not_be_written_is_written_by_the_next_who_can() {
        let dir = tempfile::tempdir().unwrap();
        let root = crate::disk::Root::open_destination(dir.path()).unwrap();
        let destination = Destination::open(root, [7; 16]).unwrap();
        let mut staged = StagedFile::create(destination.own(), 1).unwrap();
        staged.write(b"held back").unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&staged.file));
        let unwritable = std::fs::File::open(path).unwrap();
        let writable = std::mem::replace(&mut staged.file, unwritable);
        assert!(staged.flush().is_err());
        assert!(staged.sync().is_err(), "it is not forgotten");
        staged.file = writable;
        staged.write(b", then written").unwrap();
        staged.sync().unwrap();
        let mut bytes = [0; 64];
        let n_bytes = staged.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[..n_bytes], b"held back, then written");
    }
}
