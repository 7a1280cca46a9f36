//! From a root's descriptor to another one below it, without ever following a symlink.
//!
//! One `openat2` where the kernel has it; else, and where a directory is closed to its own owner,
//! name by name. Only a destination's root opens such directories up, for the length of one call,
//! and only those that are its own.

use super::root::Root;
use super::stat::{DirId, Stat};
use crate::model::{Name, RelPath};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A directory that is only passed through: needs no right to read it.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

impl Root {
    /// Opens what a path names with these flags; `O_CLOEXEC` and `O_NOFOLLOW` are added.
    pub(super) fn open_below(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.is_root() {
            return sys::openat(&self.dir, ".", flags, Mode::empty());
        }
        if !self.has_openat2 {
            return self.open_by_names(path, flags);
        }
        // With O_PATH and O_NOFOLLOW a symlink itself would be opened, then be no directory; without
        // the latter the resolve flags refuse it for what it is.
        let follow_flags = if flags.contains(PASS) { flags - OFlags::NOFOLLOW } else { flags };
        loop {
            match open_beneath(&self.dir, path, follow_flags) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::ACCESS) if self.opens_up => return self.open_by_names(path, flags),
                result => return result,
            }
        }
    }

    /// The directory that holds a path, for `*at` calls, and the name there.
    ///
    /// # Errors
    /// `EINVAL` for the root, which has no name here.
    pub(super) fn parent_of(&self, path: &RelPath) -> Result<(OwnedFd, Name)> {
        let (parent, name) = path.split().ok_or(Errno::INVAL)?;
        Ok((self.open_below(&parent, PASS)?, name))
    }

    /// Identity of the directory at a path; `None` when none is there.
    pub fn dir_id(&self, path: &RelPath) -> std::io::Result<Option<DirId>> {
        match self.open_below(path, PASS) {
            Ok(dir) => {
                let (stat, born) = Stat::with_birth(&dir, b"")?;
                Ok(Some(stat.dir_id(born)))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_by_names(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
        let (parent, last) = path.split().ok_or(Errno::INVAL)?;
        let mut dir = sys::openat(&self.dir, ".", PASS | OFlags::CLOEXEC, Mode::empty())?;
        for name in parent.names() {
            dir = self.open_name(&dir, &name, PASS | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        }
        self.open_name(&dir, &last, flags)
    }

    fn open_name(&self, dir: &OwnedFd, name: &Name, flags: OFlags) -> Result<OwnedFd> {
        let open = |flags| sys::openat(dir, name.as_bytes(), flags, Mode::empty());
        let opened = match self.opened_up(&[dir.as_fd()], || open(flags)) {
            Err(Errno::ACCESS) if self.opens_up && !flags.contains(OFlags::PATH) => {
                let bare = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = self.opened_up(&[dir.as_fd()], || open(bare))?;
                self.opened_up(&[dir.as_fd(), target.as_fd()], || open(flags))
            }
            result => result,
        };
        match opened {
            // Without openat2 a symlink where a directory should be is just "not a directory".
            Err(Errno::NOTDIR) if is_link(dir, name) => Err(Errno::LOOP),
            result => result,
        }
    }

    /// Runs a call again with `targets` opened up to their owner, when it was refused for want of
    /// a right and this root may do that. The modes are put back before this returns.
    pub(super) fn opened_up<T>(
        &self,
        targets: &[BorrowedFd],
        mut call: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        match call() {
            Err(Errno::ACCESS) if self.opens_up => {}
            result => return result,
        }
        // One at a time, so that none takes another's opened mode for the real one.
        let _guard = self.opening.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut closings = Vec::new();
        for target in targets {
            if let Some(mode) = open_to_owner(*target)? {
                closings.push((*target, mode));
            }
        }
        let result = call();
        for (target, mode) in closings.into_iter().rev() {
            chmod_bare(target, mode)?;
        }
        result
    }
}

/// Gives the owner what it lacks of rwx on a directory, or of reading on a file, and returns the
/// mode before; `None` when it lacks nothing or is not ours.
pub(super) fn open_to_owner(target: BorrowedFd) -> Result<Option<u32>> {
    let stat = sys::fstat(target)?;
    let wanted = match sys::FileType::from_raw_mode(stat.st_mode) {
        sys::FileType::Directory => 0o700,
        sys::FileType::RegularFile => 0o400,
        _ => return Ok(None),
    };
    let mode = stat.st_mode & 0o7777;
    if mode & wanted == wanted || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    chmod_bare(target, mode | wanted)?;
    Ok(Some(mode))
}

/// Sets the mode of what a descriptor stands for, also when it was opened with `O_PATH` only.
pub(super) fn chmod_bare(target: BorrowedFd, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match sys::fchmod(target, mode) {
        Err(Errno::BADF) => {
            let path = format!("/proc/self/fd/{}", target.as_raw_fd());
            sys::chmodat(sys::CWD, path, mode, AtFlags::empty())
        }
        result => result,
    }
}

/// One `openat2` that cannot leave the root and meets no symlink.
pub(super) fn open_beneath(dir: &OwnedFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    sys::openat2(dir, path.as_path(), flags, Mode::empty(), resolve)
}

fn is_link(dir: &OwnedFd, name: &Name) -> bool {
    sys::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| sys::FileType::from_raw_mode(stat.st_mode) == sys::FileType::Symlink)
}

/// Whether a listed name is the directory itself or the one above.
pub(super) fn is_dot(name: &std::ffi::CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
