//! What the file system says of one entry, and when that can be believed.

use crate::model::{Kind, Meta, Time};
use rustix::fs::{self as sys, AtFlags, StatxFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// A time of a file this close to the clock may stand for two versions of it: the file system's
/// own clock ticks every 1 to 10 ms.
pub const RACY_MS: i64 = 20;

/// What an entry is, also where it is nothing that can be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    File,
    Dir,
    Link,
    /// A socket, FIFO or device: the word for people.
    Other(&'static str),
}

/// A directory's identity: device, inode and time of birth.
///
/// The last because an inode number is given out again at once: a directory that is removed and
/// made anew often has the same. Zero where the file system does not keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirId {
    pub dev: u64,
    pub ino: u64,
    pub born: Time,
}

/// The metadata of one entry. Sizes are in bytes, `blocks` in units of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub file_type: FileType,
    /// Permission bits with suid, sgid and sticky: `& 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
    pub n_links: u64,
    pub blocks: u64,
}

impl FileType {
    /// The kind that a tree knows it by; `None` for what is never carried.
    pub fn kind(self) -> Option<Kind> {
        match self {
            FileType::File => Some(Kind::File),
            FileType::Dir => Some(Kind::Dir),
            FileType::Link => Some(Kind::Link),
            FileType::Other(_) => None,
        }
    }

    fn of(file_type: sys::FileType) -> Self {
        match file_type {
            sys::FileType::RegularFile => FileType::File,
            sys::FileType::Directory => FileType::Dir,
            sys::FileType::Symlink => FileType::Link,
            sys::FileType::Fifo => FileType::Other("FIFO"),
            sys::FileType::Socket => FileType::Other("socket"),
            sys::FileType::CharacterDevice => FileType::Other("character device"),
            sys::FileType::BlockDevice => FileType::Other("block device"),
            _ => FileType::Other("unknown"),
        }
    }
}

impl Stat {
    // The widths of the kernel's fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn of(stat: &sys::Stat) -> Self {
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            file_type: FileType::of(sys::FileType::from_raw_mode(stat.st_mode)),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Time { secs: stat.st_mtime as i64, nanos: (stat.st_mtime_nsec as u32).min(999_999_999) },
            ctime: Time { secs: stat.st_ctime as i64, nanos: (stat.st_ctime_nsec as u32).min(999_999_999) },
            n_links: stat.st_nlink as u64,
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }

    fn of_extended(stat: &sys::Statx) -> Self {
        let time =
            |time: &sys::StatxTimestamp| Time { secs: time.tv_sec, nanos: time.tv_nsec.min(999_999_999) };
        Self {
            dev: sys::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            file_type: FileType::of(sys::FileType::from_raw_mode(stat.stx_mode.into())),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            mtime: time(&stat.stx_mtime),
            ctime: time(&stat.stx_ctime),
            n_links: stat.stx_nlink.into(),
            blocks: stat.stx_blocks,
        }
    }

    /// Of what has a name in a directory, or of the directory itself where the name is empty, and when that was
    /// made: zero where the file system does not tell. One call, where the kernel has it.
    pub(super) fn with_birth(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<(Self, Time)> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match sys::statx(&dir, name, flags, asked) {
            Ok(stat) if stat.stx_mask & asked.bits() == asked.bits() => {
                let born = Time { secs: stat.stx_btime.tv_sec, nanos: stat.stx_btime.tv_nsec };
                Ok((Self::of_extended(&stat), born))
            }
            Ok(stat) if stat.stx_mask & StatxFlags::BASIC_STATS.bits() == StatxFlags::BASIC_STATS.bits() => {
                Ok((Self::of_extended(&stat), Time::default()))
            }
            // An old kernel, or one that was told to refuse what it does not know.
            Ok(_) | Err(Errno::NOSYS | Errno::PERM) => {
                Ok((Self::of(&sys::statat(dir, name, flags)?), Time::default()))
            }
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn dir_id(&self, born: Time) -> DirId {
        DirId { dev: self.dev, ino: self.ino, born }
    }

    pub fn is_file(&self) -> bool {
        self.file_type == FileType::File
    }

    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Dir
    }

    /// Mode and time as a tree keeps them: nine permission bits, none for a symlink.
    pub fn meta(&self) -> Meta {
        let mode = if self.file_type == FileType::Link { 0 } else { self.mode as u16 & Meta::MODE_MASK };
        Meta { mode, mtime: self.mtime }
    }

    /// Whether the file may change again without a change of these times: mtime or ctime lies
    /// within [`RACY_MS`] of `now`, on either side.
    pub fn is_racy(&self, now: Time) -> bool {
        self.racy_ms(now) > 0
    }

    /// How long to wait from `now` until the times are not racy any more, in ms; 0 when they are
    /// not. At most twice [`RACY_MS`].
    pub fn racy_ms(&self, now: Time) -> i64 {
        [self.mtime, self.ctime].into_iter().map(|time| wait_ms(time, now)).max().unwrap_or(0)
    }

    /// Whether both tell of the same unchanged content: all but owner, links and mode, which
    /// ctime speaks for.
    pub fn is_same_version(&self, other: &Stat) -> bool {
        self.file_type == other.file_type
            && (self.dev, self.ino, self.size) == (other.dev, other.ino, other.size)
            && (self.mtime, self.ctime) == (other.mtime, other.ctime)
    }

    /// Whether it has fewer blocks than bytes: parts of it are holes.
    pub fn has_holes(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }
}

/// Milliseconds, rounded up, from `now` until `time` is [`RACY_MS`] old; 0 when it is, or when it
/// lies further ahead than that.
fn wait_ms(time: Time, now: Time) -> i64 {
    let nanos_ago = (i128::from(now.secs) - i128::from(time.secs)) * 1_000_000_000 + i128::from(now.nanos)
        - i128::from(time.nanos);
    let racy_nanos = i128::from(RACY_MS) * 1_000_000;
    if nanos_ago.abs() >= racy_nanos {
        return 0;
    }
    let wait_nanos = racy_nanos - nanos_ago;
    i64::try_from((wait_nanos + 999_999) / 1_000_000).unwrap_or(2 * RACY_MS)
}

/// The clock that file systems stamp with.
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Time {
        Time { secs: 1_000 + ms.div_euclid(1_000), nanos: ms.rem_euclid(1_000) as u32 * 1_000_000 }
    }

    #[test]
    fn a_time_is_racy_within_twenty_ms_on_either_side() {
        assert_eq!(wait_ms(at(0), at(0)), 20);
        assert_eq!(wait_ms(at(0), at(15)), 5);
        assert_eq!(wait_ms(at(0), at(20)), 0);
        assert_eq!(wait_ms(at(10), at(0)), 30);
        assert_eq!(wait_ms(at(20), at(0)), 0);
        assert_eq!(wait_ms(Time { secs: i64::MIN, nanos: 0 }, Time { secs: i64::MAX, nanos: 0 }), 0);
    }
}
