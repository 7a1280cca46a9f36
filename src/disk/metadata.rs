//! Modes and times of what is at a destination, set on names and never through a symlink.

use super::destination::Destination;
use super::error::DestinationError;
use super::resolve::chmod_bare;
use super::stat::{FileType, Stat};
use crate::model::{Meta, RelPath, Time};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, OwnedFd};

/// This mtime, and the time of access as it is.
pub(super) fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: sys::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) as _ },
    }
}

impl Destination {
    /// Sets mode and mtime of a file or directory, the mtime of a symlink; returns the stat read
    /// back. A directory keeps its sgid and sticky bits, which belong to the destination.
    pub fn set_meta(&self, path: &RelPath, meta: &Meta) -> std::result::Result<Stat, DestinationError> {
        let (dir, name) = self.parent_of(path)?;
        let target = self.open_bare(&dir, name.as_bytes()).map_err(|errno| self.fail(path, errno))?;
        self.set_meta_of(&dir, name.as_bytes(), &target, meta).map_err(|errno| self.fail(path, errno))
    }

    fn set_meta_of(&self, dir: &OwnedFd, name: &[u8], target: &OwnedFd, meta: &Meta) -> Result<Stat> {
        let stat = Stat::of(&sys::fstat(target)?);
        let wanted = match stat.file_type {
            FileType::Dir => (stat.mode & 0o7000) | u32::from(meta.mode),
            _ => u32::from(meta.mode),
        };
        if stat.file_type != FileType::Link && stat.mode != wanted {
            self.chmod(dir, name, target, wanted)?;
        }
        let call = || sys::utimensat(dir, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW);
        self.root().opened_up(&[dir.as_fd()], call)?;
        Ok(Stat::of(&sys::fstat(target)?))
    }

    fn chmod(&self, dir: &OwnedFd, name: &[u8], target: &OwnedFd, mode: u32) -> Result<()> {
        match chmod_bare(target.as_fd(), mode) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        // Without /proc a descriptor that can be read serves as well.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        sys::fchmod(sys::openat(dir, name, flags, Mode::empty())?, Mode::from_raw_mode(mode))
    }

    /// What a name stands for, a symlink itself, without a right to read it.
    pub(super) fn open_bare(&self, dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.root().opened_up(&[dir.as_fd()], || sys::openat(dir, name, flags, Mode::empty()))
    }

    /// Gives the owner every right on a directory for a group of changes; returns the mode to put
    /// back with [`Destination::close_up`], `None` when it is open or not ours. (Single operations
    /// open up what they need by themselves.)
    pub fn open_up(&self, path: &RelPath) -> std::result::Result<Option<u32>, DestinationError> {
        let call = || {
            let dir = self.root().open_below(path, OFlags::PATH | OFlags::DIRECTORY)?;
            super::resolve::open_to_owner(dir.as_fd())
        };
        call().map_err(|errno| self.fail(path, errno))
    }

    /// Puts the mode back that [`Destination::open_up`] returned.
    pub fn close_up(&self, path: &RelPath, mode: u32) -> std::result::Result<(), DestinationError> {
        let call = || {
            let dir = self.root().open_below(path, OFlags::PATH | OFlags::DIRECTORY)?;
            chmod_bare(dir.as_fd(), mode)
        };
        call().map_err(|errno| self.fail(path, errno))
    }
}
