//! A root: the held descriptor of a source or destination directory, and reading below it.
//!
//! The descriptor stays on the directory that was opened, whatever happens to its name; whether
//! the name still leads there is asked with [`Root::is_still`].

use super::file::File;
use super::resolve::open_beneath;
use super::stat::{DirId, Stat};
use crate::model::RelPath;
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A directory that everything else is relative to. Shared by threads.
#[derive(Debug)]
pub struct Root {
    pub(super) dir: OwnedFd,
    path: PathBuf,
    id: DirId,
    pub(super) has_openat2: bool,
    pub(super) opens_up: bool,
    pub(super) opening: Mutex<()>,
}

/// Why a directory cannot be a root. Fatal for a source; a destination may be made first.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("{path} does not exist")]
    Missing { path: PathBuf },
    #[error("{path} is not a directory")]
    NotDir { path: PathBuf },
    #[error("{path} cannot be opened: {error}")]
    Io { path: PathBuf, error: io::Error },
}

impl Root {
    /// Opens a source. Nothing below it is ever changed, not even the time of access where the
    /// system lets us.
    ///
    /// A symlink given here by the user is followed: its contents are meant.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let fail = |errno: Errno| match errno {
            Errno::NOENT => RootError::Missing { path: path.to_owned() },
            Errno::NOTDIR => RootError::NotDir { path: path.to_owned() },
            errno => RootError::Io { path: path.to_owned(), error: errno.into() },
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = sys::openat(sys::CWD, path, flags, Mode::empty()).map_err(fail)?;
        let (stat, born) = Stat::with_birth(&dir, b"").map_err(fail)?;
        let bare = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let probe = open_beneath(&dir, &RelPath::root(), bare);
        let has_openat2 = !matches!(probe, Err(Errno::NOSYS | Errno::PERM));
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { dir, path, id: stat.dir_id(born), has_openat2, opens_up: false, opening: Mutex::new(()) })
    }

    /// Opens a destination: directories and files of our own that are closed even to us are
    /// opened up for the length of a call that needs it.
    pub fn open_destination(path: &Path) -> Result<Self, RootError> {
        Ok(Self::open(path)?.opening_up())
    }

    pub(super) fn opening_up(self) -> Self {
        Self { opens_up: true, ..self }
    }

    /// Where it was opened, absolute; for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Identity of the directory itself.
    pub fn id(&self) -> DirId {
        self.id
    }

    /// Whether `path` still leads to this directory: `false` when the root was moved, replaced,
    /// removed or its file system unmounted, or when that cannot be told.
    pub fn is_still(&self, path: &Path) -> bool {
        let there = sys::statat(sys::CWD, path, AtFlags::empty()).map(|stat| Stat::of(&stat));
        there.is_ok_and(|stat| (stat.dev, stat.ino) == (self.id.dev, self.id.ino))
    }

    /// Opens a directory for listing or syncing.
    pub(super) fn open_dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open_below(path, flags | OFlags::NOATIME) {
            // Only the owner may ask for no time of access.
            Err(Errno::PERM) => Ok(self.open_below(path, flags)?),
            result => Ok(result?),
        }
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `ELOOP` when the path holds a symlink; `InvalidInput` when it is no regular file.
    pub fn open_file(&self, path: &RelPath) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = match self.open_below(path, flags | OFlags::NOATIME) {
            Err(Errno::PERM) => self.open_below(path, flags)?,
            result => result?,
        };
        File::of(fd)
    }

    /// What is at a path; `None` when nothing is, also because a file stands in its way.
    ///
    /// # Errors
    /// `ELOOP` when a directory of the path is a symlink.
    pub fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        if path.is_root() {
            return Ok(Some(Stat::of(&sys::fstat(&self.dir)?)));
        }
        match self.stat_name(path) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn stat_name(&self, path: &RelPath) -> rustix::io::Result<Stat> {
        let (dir, name) = self.parent_of(path)?;
        let call = || sys::statat(&dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW);
        Ok(Stat::of(&self.opened_up(&[dir.as_fd()], call)?))
    }

    /// The target of a symlink.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let (dir, name) = self.parent_of(path)?;
        let call = || sys::readlinkat(&dir, name.as_bytes(), Vec::new());
        Ok(self.opened_up(&[dir.as_fd()], call)?.into_bytes())
    }
}
