//! Removing whole directories by descriptors: any depth, no symlink followed, no other file system
//! entered, and never more than two directories open.
//!
//! A directory inside the one being emptied is first tried as an empty one, else moved up to the
//! top under a number, where its turn comes. Stopped in between, what is left is still there to be
//! removed the next time.

use super::resolve::{chmod_bare, is_dot};
use super::stat::Stat;
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::{Errno, Result};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Removes the entries of `top`, except those that `keeps` says, and all below them; returns how
/// many went. `number` makes names that are not in use.
///
/// # Errors
/// The first one; everything that could be removed is gone all the same.
pub(super) fn remove_entries(
    top: BorrowedFd,
    keeps: &dyn Fn(&[u8], &Stat) -> bool,
    number: &dyn Fn() -> u64,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut removal = Removal { top, number, n_removed: 0 };
    // What was moved up is removed whatever `keeps` would say of it.
    let mut moved_up = Vec::new();
    let mut error = None;
    for name in names(top)? {
        let Some(stat) = stat_of(top, &name)? else { continue };
        if !keeps(name.to_bytes(), &stat) {
            moved_up.push(name);
        }
        while let Some(name) = moved_up.pop() {
            if stop.load(Ordering::Relaxed) {
                return Ok(removal.n_removed);
            }
            if let Err(errno) = removal.remove(&name, &mut moved_up) {
                error.get_or_insert(errno);
            }
        }
    }
    error.map_or(Ok(removal.n_removed), Err)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    number: &'a dyn Fn() -> u64,
    n_removed: u64,
}

impl Removal<'_> {
    /// Removes one entry of the top; directories in it are moved up.
    fn remove(&mut self, name: &CString, moved_up: &mut Vec<CString>) -> Result<()> {
        if self.remove_plain(self.top, name)? {
            return Ok(());
        }
        let dir = open_own(self.top, name)?;
        let is_here = sys::fstat(&dir)?.st_dev == sys::fstat(self.top)?.st_dev;
        if !is_here {
            return Err(Errno::XDEV);
        }
        let mut error = None;
        for below in names(dir.as_fd())? {
            match self.remove_or_move_up(&dir, &below) {
                Ok(moved) => moved_up.extend(moved),
                Err(errno) => {
                    error.get_or_insert(errno);
                }
            }
        }
        if let Some(errno) = error {
            return Err(errno);
        }
        sys::unlinkat(self.top, name, AtFlags::REMOVEDIR)?;
        self.n_removed += 1;
        Ok(())
    }

    fn remove_or_move_up(&mut self, dir: &OwnedFd, name: &CString) -> Result<Option<CString>> {
        if self.remove_plain(dir.as_fd(), name)? { Ok(None) } else { self.move_up(dir, name).map(Some) }
    }

    /// Removes a file or an empty directory; `false` when it is a directory that holds something.
    fn remove_plain(&mut self, dir: BorrowedFd, name: &CString) -> Result<bool> {
        let result = match sys::unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => sys::unlinkat(dir, name, AtFlags::REMOVEDIR),
            result => result,
        };
        match result {
            Ok(()) => self.n_removed += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        Ok(true)
    }

    fn move_up(&self, dir: &OwnedFd, name: &CString) -> Result<CString> {
        loop {
            let number = CString::new(format!("{:016x}", (self.number)())).map_err(|_| Errno::INVAL)?;
            match rename_new(dir.as_fd(), name, self.top, &number) {
                Ok(()) => return Ok(number),
                Err(Errno::EXIST) => {}
                Err(Errno::ACCESS) => {
                    // Its own entry `..` changes, for which it must be writable.
                    open_own(dir.as_fd(), name)?;
                    rename_new(dir.as_fd(), name, self.top, &number)?;
                    return Ok(number);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Renames to a name that must be free, as far as the file system can see to that.
pub(super) fn rename_new(from: BorrowedFd, name: &CString, to: BorrowedFd, new: &CString) -> Result<()> {
    match sys::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => sys::renameat(from, name, to, new),
        result => result,
    }
}

/// Opens a directory that is to go, after giving its owner every right on it.
pub(super) fn open_own(parent: BorrowedFd, name: &CString) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let bare = sys::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let mode = sys::fstat(&bare)?.st_mode & 0o7777;
    if mode & 0o700 != 0o700 {
        chmod_bare(bare.as_fd(), mode | 0o700)?;
    }
    sys::openat(parent, name, flags | OFlags::RDONLY, Mode::empty())
}

/// The names in a directory.
pub(super) fn names(dir: BorrowedFd) -> Result<Vec<CString>> {
    let dir = sys::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !is_dot(entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn stat_of(dir: BorrowedFd, name: &CString) -> Result<Option<Stat>> {
    match sys::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        result => Ok(Some(Stat::of(&result?))),
    }
}
