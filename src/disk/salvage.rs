//! Copying an entry of the trash out to another directory. The entry stays where it is, nothing is
//! ever written over, and no symlink is followed on either side.

use super::metadata::timestamps;
use super::removal::names;
use super::resolve::{chmod_bare, open_to_owner};
use super::root::Root;
use super::stat::{FileType, Stat};
use super::trash::{Extent, LEVELS, TrashFolder, Trashed};
use crate::model::{Name, RelPath};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Bytes copied at once; a piece of zeros stays a hole.
const PIECE_BYTES: usize = 64 * 1024;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why something was not brought back. What was copied before stays.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error("{path} stands there already; nothing is written over: name another directory")]
    Taken { path: String },
    #[error("{path} cannot be written there: {errno}")]
    Target { path: String, errno: Errno },
    #[error("{path} cannot be read in the trash: {errno}")]
    Trash { path: String, errno: Errno },
    #[error("{path} is nested too deeply to be copied")]
    Deep { path: String },
}

/// Copies an entry to `path` below `to`, directories above it made where they are missing, and
/// makes it durable. Says how much was copied.
///
/// # Errors
/// At the first entry that cannot be copied; `Taken` when anything stands at `path`.
pub fn salvage(
    trash: &TrashFolder,
    trashed: &Trashed,
    path: &RelPath,
    to: &Root,
) -> Result<Extent, SalvageError> {
    let target = |errno| SalvageError::Target { path: path.to_string(), errno };
    let mut above = RelPath::root();
    for name in path.split().map(|(parent, _)| parent).unwrap_or_default().names() {
        let dir = to.open_dir(&above).map_err(|error| target(errno_of(&error)))?;
        match sys::mkdirat(&dir, name.as_bytes(), Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(target(errno)),
        }
        above = above.join(&name).expect("it is part of a path");
    }
    let dir = to.open_dir(&above).map_err(|error| target(errno_of(&error)))?;
    let name = path.split().map(|(_, name)| name).ok_or_else(|| target(Errno::INVAL))?;
    let mut copy = Copy { copied: Extent::default(), shown: path.to_string() };
    let name = c_name(&name);
    copy.entry((trash.dir.as_fd(), &trashed.name), (dir.as_fd(), &name), LEVELS)?;
    sys::syncfs(&dir).map_err(target)?;
    Ok(copy.copied)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn c_name(name: &Name) -> CString {
    CString::new(name.as_bytes()).expect("names hold no NUL byte")
}

struct Copy {
    copied: Extent,
    /// The entry that is copied, for people.
    shown: String,
}

type Place<'p> = (BorrowedFd<'p>, &'p CString);

impl Copy {
    fn entry(&mut self, from: Place, to: Place, levels: usize) -> Result<(), SalvageError> {
        let stat = sys::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW);
        let stat = Stat::of(&stat.map_err(|errno| self.trash(errno))?);
        match stat.file_type {
            FileType::File => self.file(from, to, &stat)?,
            FileType::Link => self.link(from, to, &stat)?,
            FileType::Dir if levels == 0 => return Err(SalvageError::Deep { path: self.shown.clone() }),
            FileType::Dir => self.dir(from, to, &stat, levels)?,
            FileType::Other(_) => return Ok(()),
        }
        self.copied.entries += 1;
        self.copied.bytes += if stat.is_file() { stat.size } else { 0 };
        Ok(())
    }

    fn file(&self, from: Place, to: Place, stat: &Stat) -> Result<(), SalvageError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = File::from(self.open(from, flags)?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = sys::openat(to.0, to.1, flags, Mode::RUSR | Mode::WUSR);
        let target = File::from(target.map_err(|errno| self.target(errno))?);
        if sys::ioctl_ficlone(&target, &source).is_err() {
            self.bytes(&source, &target)?;
        }
        let set = sys::futimens(&target, &timestamps(stat.mtime))
            .and_then(|()| sys::fchmod(&target, Mode::from_raw_mode(stat.mode & 0o777)));
        set.map_err(|errno| self.target(errno))
    }

    fn bytes(&self, source: &File, target: &File) -> Result<(), SalvageError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let n_read = match source.read_at(&mut piece, at) {
                Ok(0) => break,
                Ok(n_read) => n_read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.trash(errno_of(&error))),
            };
            if piece[..n_read].iter().any(|&byte| byte != 0) {
                target.write_all_at(&piece[..n_read], at).map_err(|error| self.target(errno_of(&error)))?;
            }
            at += n_read as u64;
        }
        target.set_len(at).map_err(|error| self.target(errno_of(&error)))
    }

    fn link(&self, from: Place, to: Place, stat: &Stat) -> Result<(), SalvageError> {
        let points_to = sys::readlinkat(from.0, from.1, Vec::new()).map_err(|errno| self.trash(errno))?;
        let made = sys::symlinkat(&points_to, to.0, to.1)
            .and_then(|()| sys::utimensat(to.0, to.1, &timestamps(stat.mtime), AtFlags::SYMLINK_NOFOLLOW));
        made.map_err(|errno| self.target(errno))
    }

    fn dir(&mut self, from: Place, to: Place, stat: &Stat, levels: usize) -> Result<(), SalvageError> {
        let source = self.open(from, DIRECTORY)?;
        sys::mkdirat(to.0, to.1, Mode::RWXU).map_err(|errno| self.target(errno))?;
        let target = sys::openat(to.0, to.1, DIRECTORY, Mode::empty()).map_err(|errno| self.target(errno))?;
        let shown = self.shown.clone();
        for name in names(source.as_fd()).map_err(|errno| self.trash(errno))? {
            self.shown = format!("{shown}/{}", name.to_bytes().escape_ascii());
            self.entry((source.as_fd(), &name), (target.as_fd(), &name), levels - 1)?;
        }
        self.shown = shown;
        if stat.mode & 0o700 != 0o700 {
            sys::fchmod(&source, Mode::from_raw_mode(stat.mode)).map_err(|errno| self.trash(errno))?;
        }
        let set = sys::futimens(&target, &timestamps(stat.mtime))
            .and_then(|()| sys::fchmod(&target, Mode::from_raw_mode(stat.mode & 0o777)));
        set.map_err(|errno| self.target(errno))
    }

    /// Opens what lies in the trash. What is closed to its owner is opened up: a file for that
    /// moment, a directory until its entries were copied.
    fn open(&self, from: Place, flags: OFlags) -> Result<OwnedFd, SalvageError> {
        let open = |flags| sys::openat(from.0, from.1, flags, Mode::empty());
        let open_closed = || {
            let bare = open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
            let mode = open_to_owner(bare.as_fd())?;
            let opened = open(flags);
            if let Some(mode) = mode.filter(|_| !flags.contains(OFlags::DIRECTORY)) {
                chmod_bare(bare.as_fd(), mode)?;
            }
            opened
        };
        let opened = match open(flags) {
            Ok(dir) if flags.contains(OFlags::DIRECTORY) => open_to_owner(dir.as_fd()).map(|_| dir),
            Err(Errno::ACCESS) => open_closed(),
            result => result,
        };
        opened.map_err(|errno| self.trash(errno))
    }

    fn target(&self, errno: Errno) -> SalvageError {
        let path = self.shown.clone();
        if errno == Errno::EXIST {
            SalvageError::Taken { path }
        } else {
            SalvageError::Target { path, errno }
        }
    }

    fn trash(&self, errno: Errno) -> SalvageError {
        SalvageError::Trash { path: self.shown.clone(), errno }
    }
}
