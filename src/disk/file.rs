//! An open regular file: positioned reads, its holes, and feeding it whole to a sink.

use super::contents::ContentSink;
use super::stat::Stat;
use crate::delta::sieve::ReadAt;
use rustix::fs::{self as sys, SeekFrom};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A regular file opened for reading. Reads are positioned: threads may share it.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    opened: Stat,
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl File {
    /// Takes a descriptor that must be of a regular file.
    pub(super) fn of(fd: OwnedFd) -> io::Result<Self> {
        let opened = Stat::of(&sys::fstat(&fd)?);
        if !opened.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file: fd.into(), opened })
    }

    /// Its stat when it was opened.
    pub fn opened(&self) -> &Stat {
        &self.opened
    }

    /// The same file, of the same descriptor.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, opened: self.opened })
    }

    /// Whether it has extended attributes of its users, or an ACL.
    pub(super) fn has_attributes(&self) -> bool {
        has_attributes(self)
    }

    /// Its stat now.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::of(&sys::fstat(&self.file)?))
    }

    /// Fills `buffer` from `offset` on as far as the file goes; returns the bytes read, fewer than
    /// asked for only at its end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut n_read = 0;
        while n_read < buffer.len() {
            match self.file.read_at(&mut buffer[n_read..], offset + n_read as u64) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(n_read)
    }

    /// Its holes as (offset, length), in order; none where the file system does not tell.
    pub fn holes(&self) -> io::Result<Vec<(u64, u64)>> {
        let size = self.stat()?.size;
        let mut holes = Vec::new();
        let mut at = 0;
        while at < size {
            let Some(data) = self.seek(SeekFrom::Data(at), size)? else { break };
            if data > at {
                holes.push((at, data - at));
            }
            match self.seek(SeekFrom::Hole(data), size)? {
                Some(end) if end > data => at = end,
                _ => break,
            }
        }
        Ok(holes)
    }

    /// Where the seek ends, at most `size`; `None` where the file system cannot say.
    fn seek(&self, to: SeekFrom, size: u64) -> io::Result<Option<u64>> {
        match sys::seek(&self.file, to) {
            Ok(at) => Ok(Some(at.min(size))),
            Err(Errno::NXIO) => Ok(Some(size)),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the first `size` bytes to `sink` in one pass, holes as zeros; returns the
    /// bytes given, fewer when the file ends earlier. `told` hears the bytes of each piece and says
    /// whether to end there.
    pub fn feed(
        &self,
        size: u64,
        buffer: &mut Vec<u8>,
        sink: &mut dyn ContentSink,
        told: &dyn Fn(u64) -> bool,
    ) -> io::Result<u64> {
        let holes = if self.opened.has_holes() { self.holes()? } else { Vec::new() };
        let mut at = 0;
        for (hole, len) in holes.into_iter().chain([(size, 0)]) {
            let data_end = hole.min(size);
            if at < data_end {
                at += sink.read(self, at..data_end, buffer, told)?;
            }
            if at < data_end {
                return Ok(at);
            }
            let zeros = len.min(size - at);
            if zeros > 0 {
                sink.update_zeros(zeros);
                at += zeros;
                if told(zeros) {
                    return Ok(at);
                }
            }
        }
        Ok(at)
    }
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buf, offset)
    }
}

/// Whether an open file or directory has extended attributes of its users, or an ACL.
pub(super) fn has_attributes(open: impl AsFd) -> bool {
    let mut names = [0u8; 1024];
    match sys::flistxattr(open, &mut names) {
        Ok(n_bytes) => names[..n_bytes].split(|&byte| byte == 0).any(is_users),
        // More names than fit: some of them are the users'.
        Err(errno) => errno == Errno::RANGE,
    }
}

/// Whether an attribute is one that a copy would be expected to keep.
fn is_users(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl")
}
