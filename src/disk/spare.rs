//! A nameless file beside the client's state, to hold what a file of the source is at one moment.

use super::file::File;
use crate::model::limits::{MIB, SNAPSHOT_BYTES};
use rustix::fs::{self as sys, Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes copied at once.
const READ_BYTES: usize = 2 * MIB;

/// An empty file without a name; gone when the last descriptor is.
#[derive(Debug)]
pub struct Spare(OwnedFd);

impl Spare {
    /// Makes one on the file system of a directory.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self(sys::openat(sys::CWD, dir, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Fills it with what a file is at one moment: by a clone, else by a copy that is compared with the file
    /// once more. `None` when the file is too large for a copy, or did not stand still for one.
    pub fn snapshot(self, of: &File) -> io::Result<Option<File>> {
        if sys::ioctl_ficlone(&self.0, of).is_ok() {
            return File::of(self.0).map(Some);
        }
        let size = of.stat()?.size;
        if size > SNAPSHOT_BYTES {
            return Ok(None);
        }
        let copy = std::fs::File::from(self.0);
        let mut hasher = blake3::Hasher::new();
        let n_copied = read_all(of, size, &mut |bytes, at| {
            hasher.update(bytes);
            copy.write_all_at(bytes, at)
        })?;
        let mut again = blake3::Hasher::new();
        read_all(of, n_copied, &mut |bytes, _| {
            again.update(bytes);
            Ok(())
        })?;
        if hasher.finalize() != again.finalize() {
            return Ok(None);
        }
        File::of(copy.into()).map(Some)
    }
}

/// Reads up to `size` bytes; returns how many there were.
fn read_all(file: &File, size: u64, take: &mut dyn FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < size {
        let n_wanted = usize::try_from(size - at).unwrap_or(READ_BYTES).min(READ_BYTES);
        let n = file.read_at(&mut buffer[..n_wanted], at)?;
        take(&buffer[..n], at)?;
        at += n as u64;
        if n < n_wanted {
            break;
        }
    }
    Ok(at)
}
