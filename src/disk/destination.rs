//! A destination: its root and its own folder, and every change of a name there.
//!
//! Each operation is one rename or one call on the descriptors of the directories concerned, so
//! that a path is at any moment what it was or what it shall be. Nothing is durable before
//! [`Destination::sync_dir`] or [`Destination::sync_fs`]. Directories closed to their owner are
//! opened up for the length of a call.

use super::error::DestinationError;
use super::file::File;
use super::metadata::timestamps;
use super::own::{OwnFolder, OwnFolderError};
use super::removal::rename_new;
use super::root::Root;
use super::stage::{NotInstalled, StagedFile};
use super::stat::Stat;
use crate::model::{Meta, Name, RelPath, Time};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// An open, locked destination. Shared by threads; only one of them should change names.
#[derive(Debug)]
pub struct Destination {
    root: Root,
    own: OwnFolder,
    /// A sync of the whole file system failed.
    is_in_doubt: AtomicBool,
}

impl Destination {
    /// Takes a root, locks it and ends exchanges and overwrites that an
    /// earlier run left half done. `fresh_id`: random, for a destination that has no id yet.
    pub fn open(root: Root, fresh_id: [u8; 16]) -> Result<Self, OwnFolderError> {
        let destination = Self::open_unmarked(root, fresh_id)?;
        destination.own.keep_id()?;
        Ok(destination)
    }

    /// The same for a foreign root that is only looked at as yet: it stays foreign until
    /// [`OwnFolder::keep_id`].
    pub fn open_unmarked(root: Root, fresh_id: [u8; 16]) -> Result<Self, OwnFolderError> {
        let root = root.opening_up();
        let own = OwnFolder::open_or_create(&root, fresh_id)?;
        let destination = Self { root, own, is_in_doubt: AtomicBool::new(false) };
        destination.finish_exchange()?;
        destination.finish_overwrites()?;
        Ok(destination)
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    pub fn own(&self) -> &OwnFolder {
        &self.own
    }

    /// Makes an empty staged file under a new number.
    pub fn stage(&self) -> Result<StagedFile, DestinationError> {
        StagedFile::create(&self.own, self.own.next_number())
    }

    /// See [`StagedFile::install`].
    pub fn install(&self, staged: StagedFile, path: &RelPath) -> Result<Stat, NotInstalled> {
        staged.install(&self.root, path)
    }

    /// Makes a directory, or takes the one that is there, and sets its metadata.
    ///
    /// # Errors
    /// `NameTaken` when something else stands there. Where names fold, a directory of another name
    /// that folds to this one is taken: the caller must know its names.
    pub fn make_dir(&self, path: &RelPath, meta: &Meta) -> Result<Stat, DestinationError> {
        let (dir, name) = self.parent_of(path)?;
        let call = || sys::mkdirat(&dir, name.as_bytes(), Mode::RWXU);
        match self.root.opened_up(&[dir.as_fd()], call) {
            Err(Errno::EXIST) if self.is_dir(path) => {}
            result => result.map_err(|errno| self.fail(path, errno))?,
        }
        self.set_meta(path, meta)
    }

    /// Puts a symlink in place of nothing, a file or a symlink.
    pub fn make_link(&self, path: &RelPath, target: &[u8], mtime: Time) -> Result<Stat, DestinationError> {
        let fail = |errno| self.fail(path, errno);
        let (dir, name) = self.parent_of(path)?;
        let staged = format!("{:016x}", self.own.next_number());
        let stage = self.own.stage();
        let stage = &*stage;
        let unfit = |errno| if errno == Errno::PERM { Errno::OPNOTSUPP } else { errno };
        sys::symlinkat(target, stage, &*staged).map_err(|errno| fail(unfit(errno)))?;
        let place = || {
            sys::utimensat(stage, &*staged, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
            let call = || sys::renameat(stage, &*staged, &dir, name.as_bytes());
            self.root.opened_up(&[dir.as_fd()], call)
        };
        let placed = place();
        if placed.is_err() {
            // What stays is swept at the next start.
            let _ = sys::unlinkat(stage, &*staged, AtFlags::empty());
        }
        placed.map_err(fail)?;
        self.stat(path)
    }

    /// Renames a file, symlink or whole directory to a name that is free.
    ///
    /// # Errors
    /// `Missing`, `NameTaken`, `NoParent`, `OtherDevice`, `NameUnfit` (also into itself).
    pub fn rename(&self, from: &RelPath, to: &RelPath) -> Result<Stat, DestinationError> {
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = self.parent_of(to)?;
        self.move_name((&from_dir, &from_name), (to_dir.as_fd(), &c_name(to_name.as_bytes())))
            .map_err(|errno| self.fail(if errno == Errno::NOENT { from } else { to }, errno))?;
        self.stat(to)
    }

    /// Renames a file or symlink to a name that is free, or over a file or symlink, in one step.
    ///
    /// # Errors
    /// `Missing`, `WrongKind` when a directory has the name, `NoParent`, `OtherDevice`, `NameUnfit`.
    pub fn rename_over(&self, from: &RelPath, to: &RelPath) -> Result<Stat, DestinationError> {
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = self.parent_of(to)?;
        let targets = [from_dir.as_fd(), to_dir.as_fd()];
        let call = || sys::renameat(&from_dir, from_name.as_bytes(), &to_dir, to_name.as_bytes());
        self.root
            .opened_up(&targets, call)
            .map_err(|errno| self.fail(if errno == Errno::NOENT { from } else { to }, errno))?;
        let stat = self.stat(to)?;
        // Of two names of one file the system leaves both.
        if self.root.stat(from).is_ok_and(|left| left.is_some_and(|left| left.ino == stat.ino)) {
            self.discard(from)?;
        }
        Ok(stat)
    }

    /// Moves an entry and all below it into the trash. Says whether a sync of the whole file system
    /// is needed to make that durable there.
    pub fn remove(&self, path: &RelPath) -> Result<bool, DestinationError> {
        let (dir, name) = self.parent_of(path)?;
        self.move_to_trash(path, (&dir, &name))
    }

    /// Takes an entry and all below it away for good: one rename, the rest is for
    /// [`TrashFolder::sweep`](super::TrashFolder::sweep).
    pub fn discard(&self, path: &RelPath) -> Result<(), DestinationError> {
        let (dir, name) = self.parent_of(path)?;
        let gone = self.own.trash.put_gone(|gone, new| self.move_name((&dir, &name), (gone, new)));
        gone.map_err(|errno| self.fail(path, errno))
    }

    /// Gives what is about to be replaced a second name in the trash, or, where the file system
    /// has no hard links, moves it there; a directory is left alone, nothing is nothing. Says what
    /// [`Destination::remove`] says.
    pub fn keep_in_trash(&self, path: &RelPath) -> Result<bool, DestinationError> {
        if !matches!(self.root.stat(path), Ok(Some(stat)) if !stat.is_dir()) {
            return Ok(false);
        }
        let (dir, name) = self.parent_of(path)?;
        let trash = &self.own.trash;
        let link = |new: &CString| {
            let call = || sys::linkat(&dir, name.as_bytes(), &trash.dir, new, AtFlags::empty());
            self.root.opened_up(&[dir.as_fd()], call)
        };
        match trash.put(path, link) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => self.remove(path),
            result => result.map_err(|errno| self.fail(path, errno)),
        }
    }

    /// `path` is for people; `from` is what goes.
    pub(super) fn move_to_trash(
        &self,
        path: &RelPath,
        from: (&OwnedFd, &Name),
    ) -> Result<bool, DestinationError> {
        let trash = &self.own.trash;
        let moved = trash.put(path, |new| self.move_name(from, (trash.dir.as_fd(), new)));
        moved.map_err(|errno| self.fail(path, errno))
    }

    /// Renames to a free name, opening up what must be: both directories, and a directory that is
    /// moved itself, for its entry `..` changes.
    pub(super) fn move_name(
        &self,
        from: (&OwnedFd, &Name),
        to: (BorrowedFd, &CString),
    ) -> rustix::io::Result<()> {
        let name = c_name(from.1.as_bytes());
        let moved = self.open_bare(from.0, from.1.as_bytes())?;
        let targets = [from.0.as_fd(), to.0, moved.as_fd()];
        self.root.opened_up(&targets, || rename_new(from.0.as_fd(), &name, to.0, to.1))
    }

    /// Gives a file a second name among the pins, so that its content outlives what happens to
    /// `path`, and a crash.
    pub fn pin(&self, path: &RelPath) -> Result<u64, DestinationError> {
        let (dir, name) = self.parent_of(path)?;
        let pin = self.own.next_number();
        let pin_name = format!("{pin:016x}");
        let call = || sys::linkat(&dir, name.as_bytes(), &self.own.pins, &*pin_name, AtFlags::empty());
        let linked = self.root.opened_up(&[dir.as_fd()], call);
        linked.map_err(|errno| self.fail(path, errno))?;
        Ok(pin)
    }

    /// Opens a pinned file.
    pub fn open_pin(&self, pin: u64) -> Result<File, DestinationError> {
        let fail = |error| DestinationError::of_io(&format!("pins/{pin:016x}"), error, self.own.pins.as_fd());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = sys::openat(&self.own.pins, format!("{pin:016x}"), flags, Mode::empty());
        File::of(fd.map_err(|errno| fail(errno.into()))?).map_err(fail)
    }

    /// Removes a pin.
    pub fn unpin(&self, pin: u64) -> Result<(), DestinationError> {
        let name = format!("{pin:016x}");
        let removed = sys::unlinkat(&self.own.pins, &*name, AtFlags::empty());
        removed.map_err(|errno| self.fail(&format!("pins/{name}"), errno))
    }

    /// Begins a group of changes: until [`Destination::end_group`] names may stand that are not durable, also
    /// for the next holder when this process is killed.
    pub fn begin_group(&self) -> Result<(), DestinationError> {
        self.settle()?;
        self.mark(true)
    }

    /// Ends a group whose changes are all synced.
    pub fn end_group(&self) {
        // Where it cannot be said, the next group or walk syncs once more.
        let _ = self.mark(false);
    }

    /// Makes durable what a group left that was not synced to its end: what is seen now may be acknowledged.
    ///
    /// # Errors
    /// It cannot be made durable now either.
    pub fn settle(&self) -> Result<(), DestinationError> {
        if self.own.lock.is_marked() {
            self.sync_fs()?;
            self.mark(false)?;
        }
        Ok(())
    }

    fn mark(&self, is_marked: bool) -> Result<(), DestinationError> {
        let marked = self.own.lock.set_mark(is_marked);
        marked.map_err(|error| DestinationError::of_io(&"lock", error, self.own.dir.as_fd()))
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: &RelPath) -> Result<(), DestinationError> {
        let synced = self.root.open_dir(path).and_then(|dir| Ok(sys::fsync(dir)?));
        synced.map_err(|error| DestinationError::of_io(path, error, self.root.dir.as_fd()))
    }

    /// Makes everything on the destination's file system durable: one call for a whole group.
    pub fn sync_fs(&self) -> Result<(), DestinationError> {
        let synced = sys::syncfs(&self.root.dir);
        if synced.is_err() {
            self.is_in_doubt.store(true, Ordering::Relaxed);
        }
        synced.map_err(|errno| self.fail(&"the file system", errno))
    }

    /// Whether a sync of the whole file system has failed. The kernel tells that once, of whatever was not
    /// written: another sync that succeeds says nothing of what was staged before, only that of a file does.
    pub fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed)
    }

    /// Bytes and inodes that are free.
    pub fn free(&self) -> Result<(u64, u64), DestinationError> {
        let space = sys::fstatvfs(&self.root.dir).map_err(|errno| self.fail(&"the file system", errno))?;
        Ok((space.f_bavail.saturating_mul(space.f_frsize), space.f_favail))
    }

    pub(super) fn parent_of(&self, path: &RelPath) -> Result<(OwnedFd, Name), DestinationError> {
        let fail = |errno| DestinationError::of_parent(path, errno, self.root.dir.as_fd());
        self.root.parent_of(path).map_err(fail)
    }

    pub(super) fn fail(&self, path: &dyn std::fmt::Display, errno: Errno) -> DestinationError {
        DestinationError::of(path, errno, self.root.dir.as_fd())
    }

    fn is_dir(&self, path: &RelPath) -> bool {
        matches!(self.root.stat(path), Ok(Some(stat)) if stat.is_dir())
    }

    /// The stat of what was just put there.
    pub(super) fn stat(&self, path: &RelPath) -> Result<Stat, DestinationError> {
        let stat = self.root.stat(path);
        let stat = stat.map_err(|error| DestinationError::of_io(path, error, self.root.dir.as_fd()))?;
        stat.ok_or_else(|| self.fail(path, Errno::NOENT))
    }
}

/// A name for the kernel. A [`Name`] and ours hold no NUL byte.
pub(super) fn c_name(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("names hold no NUL byte")
}
