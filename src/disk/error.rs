//! What a destination can refuse. Never the same type as a fault of the source: a full disk here
//! must not look like an unreadable file there.

use rustix::fs as sys;
use rustix::io::Errno;
use std::fmt::Display;
use std::io;
use std::os::fd::BorrowedFd;

/// Why the destination did not take something. `path` is for people.
///
/// Class *file*, except [`DestinationError::ReadOnly`] and the three of space, after which other
/// changes will fail as well and the sender waits.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    #[error("the destination's disk is full: {free_bytes} bytes are free, too few for {path}")]
    NoSpace { path: String, free_bytes: u64 },
    #[error("the destination's disk has no room for more files: none for {path}")]
    NoInodes { path: String },
    #[error("the quota is used up at {path}")]
    Quota { path: String },
    #[error("the file system is read-only at {path}; mount it so that it can be written, or choose another")]
    ReadOnly { path: String },
    #[error("a directory above {path} is missing")]
    NoParent { path: String },
    #[error("{path} is not there")]
    Missing { path: String },
    #[error("{path} is of another kind")]
    WrongKind { path: String },
    #[error("the directory {path} is not empty")]
    NotEmpty { path: String },
    #[error("the name of {path} is taken")]
    NameTaken { path: String },
    #[error("the name of {path} cannot be stored here")]
    NameUnfit { path: String },
    #[error("an entry of the kind of {path} cannot be stored here")]
    KindUnfit { path: String },
    #[error("{path} lies on another file system")]
    OtherDevice { path: String },
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
}

impl DestinationError {
    /// What an error number means for the entry at `path`; `dir` is asked for free space.
    pub(super) fn of(path: &dyn Display, errno: Errno, dir: BorrowedFd) -> Self {
        let path = path.to_string();
        match errno {
            Errno::NOSPC => out_of_space(path, dir),
            Errno::DQUOT => Self::Quota { path },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::NOENT => Self::Missing { path },
            Errno::ISDIR | Errno::NOTDIR => Self::WrongKind { path },
            Errno::NOTEMPTY => Self::NotEmpty { path },
            Errno::EXIST => Self::NameTaken { path },
            Errno::INVAL | Errno::NAMETOOLONG | Errno::ILSEQ => Self::NameUnfit { path },
            Errno::OPNOTSUPP | Errno::NOSYS => Self::KindUnfit { path },
            // Busy is a directory that something is mounted on.
            Errno::XDEV | Errno::BUSY => Self::OtherDevice { path },
            errno => Self::Io { path, error: errno.into() },
        }
    }

    /// The same for the directory that should hold `path`.
    pub(super) fn of_parent(path: &dyn Display, errno: Errno, dir: BorrowedFd) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Self::NoParent { path: path.to_string() },
            errno => Self::of(path, errno, dir),
        }
    }

    /// The same for an error of the standard library.
    pub(super) fn of_io(path: &dyn Display, error: io::Error, dir: BorrowedFd) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::of(path, errno, dir),
            None => Self::Io { path: path.to_string(), error },
        }
    }

    /// Whether more space would help.
    pub fn is_of_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::NoInodes { .. } | Self::Quota { .. })
    }
}

fn out_of_space(path: String, dir: BorrowedFd) -> DestinationError {
    match sys::fstatvfs(dir) {
        Ok(space) if space.f_files > 0 && space.f_favail == 0 => DestinationError::NoInodes { path },
        Ok(space) => {
            DestinationError::NoSpace { path, free_bytes: space.f_bavail.saturating_mul(space.f_frsize) }
        }
        Err(_) => DestinationError::NoSpace { path, free_bytes: 0 },
    }
}
