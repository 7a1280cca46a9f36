//! The trash of a destination: what was removed, under names that tell when and from where.
//!
//! `.strait/trash` keeps, `.strait/gone` is emptied. Into both things come by one rename, so that
//! nothing is ever half there. A name in the trash is the entry's number (nanoseconds since 1970,
//! in 16 hex digits), a blank and its path, in which `/` and `%` stand as `%2F` and `%25`. A path
//! too long for that lies beside, in `NUMBER.path`, and the entry is named `NUMBER~`.
//!
//! Needs no lock: whoever lists, copies out or empties may do so beside a server.

use super::error::DestinationError;
use super::removal::{names, remove_entries, rename_new};
use super::root::Root;
use super::stat::{FileType, Stat, now};
use crate::model::limits::{NAME_BYTES, PATH_BYTES};
use crate::model::path::OWN_FOLDER;
use crate::model::{RelPath, Time};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Digits of a number in a name.
const NUMBER_DIGITS: usize = 16;
/// First line of a record, before the hash of the path and the path itself.
const RECORD_HEAD: &[u8] = b"strait trash 1\n";
/// Levels below an entry that are measured and copied; deeper ones are only removed.
pub(super) const LEVELS: usize = 256;

/// The two directories, open.
#[derive(Debug)]
pub struct TrashFolder {
    pub(super) dir: OwnedFd,
    gone: OwnedFd,
    next: AtomicU64,
}

/// One entry of the trash, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Names it; later ones are greater.
    pub id: u64,
    /// Where it was; `None` when the record beside it was lost.
    pub path: Option<RelPath>,
    pub file_type: FileType,
    pub(super) name: CString,
}

impl Trashed {
    /// When it came here.
    pub fn removed(&self) -> Time {
        let secs = i64::try_from(self.id / 1_000_000_000).unwrap_or(i64::MAX);
        Time { secs, nanos: (self.id % 1_000_000_000) as u32 }
    }
}

/// What lies in an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Entries, itself counted.
    pub entries: u64,
}

impl TrashFolder {
    /// Makes what is missing and opens it.
    pub(super) fn open_or_create(own: &OwnedFd) -> std::result::Result<Self, super::own::OwnFolderError> {
        let dir = super::own::open_or_make(own, b"trash")?;
        let gone = super::own::open_or_make(own, b"gone")?;
        Ok(Self { dir, gone, next: AtomicU64::new(0) })
    }

    /// The trash of the destination at `root`, without its lock; `None` when that is no destination.
    ///
    /// # Errors
    /// When it is one and cannot be opened.
    pub fn of(root: &Root) -> std::result::Result<Option<Self>, DestinationError> {
        let fail = |errno| DestinationError::of(&".strait/trash", errno, root.dir.as_fd());
        if !super::own::is_destination(root).map_err(fail)? {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = sys::openat(&root.dir, OWN_FOLDER, flags, Mode::empty()).map_err(fail)?;
        match Self::open_or_create(&own) {
            Ok(trash) => Ok(Some(trash)),
            Err(super::own::OwnFolderError::Destination(error)) => Err(error),
            Err(_) => Err(fail(Errno::NOTDIR)),
        }
    }

    /// A number that is not in use, of now.
    pub(super) fn next_number(&self) -> u64 {
        next_number(&self.next)
    }

    /// Everything that is kept, oldest first.
    pub fn list(&self) -> std::result::Result<Vec<Trashed>, DestinationError> {
        self.try_list().map_err(|errno| self.fail(errno))
    }

    fn try_list(&self) -> Result<Vec<Trashed>> {
        let mut all = Vec::new();
        for name in names(self.dir.as_fd())? {
            let Some((id, rest)) = split_number(name.to_bytes()) else { continue };
            let path = match rest {
                [b' ', escaped @ ..] => unescaped(escaped),
                b"~" => self.read_record(id),
                _ => continue,
            };
            let Some(stat) = stat_of(self.dir.as_fd(), &name)? else { continue };
            all.push(Trashed { id, path, file_type: stat.file_type, name });
        }
        all.sort_by_key(|trashed| trashed.id);
        Ok(all)
    }

    /// Measures an entry, until `stop` is raised.
    pub fn extent(&self, trashed: &Trashed, stop: &AtomicBool) -> Extent {
        let mut extent = Extent::default();
        measure(self.dir.as_fd(), &trashed.name, LEVELS, stop, &mut extent);
        extent
    }

    /// Takes a name in: `place` renames or links to the name it is given. Says whether a record
    /// was written, which a sync of directories alone does not make durable.
    pub(super) fn put(&self, path: &RelPath, mut place: impl FnMut(&CString) -> Result<()>) -> Result<bool> {
        loop {
            let id = self.next_number();
            let placed = match short_name(id, path) {
                Some(name) => place(&name),
                None => Err(Errno::NAMETOOLONG),
            };
            match placed {
                Err(Errno::EXIST) => {}
                Err(Errno::NAMETOOLONG) => match self.put_with_record(id, path, &mut place) {
                    Err(Errno::EXIST) => {}
                    result => return result.map(|()| true),
                },
                result => return result.map(|()| false),
            }
        }
    }

    /// The record comes first: an entry never lies here without it, but for a power cut.
    fn put_with_record(
        &self,
        id: u64,
        path: &RelPath,
        place: &mut impl FnMut(&CString) -> Result<()>,
    ) -> Result<()> {
        let record = record_name(id);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(&self.dir, &record, flags, Mode::RUSR | Mode::WUSR)?;
        let hash = blake3::hash(path.as_bytes());
        let bytes = [RECORD_HEAD, hash.as_bytes(), path.as_bytes()].concat();
        let written = File::from(file).write_all(&bytes);
        let placed = written
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .and_then(|()| place(&c_name(format!("{id:016x}~").into_bytes())));
        if placed.is_err() {
            let _ = sys::unlinkat(&self.dir, &record, AtFlags::empty());
        }
        placed
    }

    /// `None` for a record that is missing, damaged or holds no path.
    fn read_record(&self, id: u64) -> Option<RelPath> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = sys::openat(&self.dir, record_name(id), flags, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take((RECORD_HEAD.len() + 32 + PATH_BYTES) as u64).read_to_end(&mut bytes).ok()?;
        let (hash, path) = bytes.strip_prefix(RECORD_HEAD)?.split_at_checked(32)?;
        (blake3::hash(path).as_bytes() == hash).then(|| RelPath::parse(path).ok())?
    }

    /// Renames something to where it will be removed.
    pub(super) fn put_gone(&self, mut place: impl FnMut(BorrowedFd, &CString) -> Result<()>) -> Result<()> {
        loop {
            let name = c_name(format!("{:016x}", self.next_number()).into_bytes());
            match place(self.gone.as_fd(), &name) {
                Err(Errno::EXIST) => {}
                result => return result,
            }
        }
    }

    /// Takes an entry out of the trash for good; [`TrashFolder::sweep`] gives its space back.
    /// `false` when somebody else did so before.
    pub fn discard(&self, trashed: &Trashed) -> std::result::Result<bool, DestinationError> {
        let moved = self.put_gone(|gone, name| {
            match rename_new(self.dir.as_fd(), &trashed.name, gone, name) {
                // A directory closed to its owner cannot change its own entry `..`.
                Err(Errno::ACCESS) => {
                    super::removal::open_own(self.dir.as_fd(), &trashed.name)?;
                    rename_new(self.dir.as_fd(), &trashed.name, gone, name)
                }
                result => result,
            }
        });
        if trashed.name.to_bytes().ends_with(b"~") {
            let _ = sys::unlinkat(&self.dir, record_name(trashed.id), AtFlags::empty());
        }
        match moved {
            Err(Errno::NOENT) => Ok(false),
            result => result.map(|()| true).map_err(|errno| self.fail(errno)),
        }
    }

    /// Removes what was discarded, until `stop` is raised; returns how many entries went. For a
    /// thread in the background: may run beside commits, and beside itself in another process.
    pub fn sweep(&self, stop: &AtomicBool) -> std::result::Result<u64, DestinationError> {
        let removed = remove_entries(self.gone.as_fd(), &|_, _| false, &|| self.next_number(), stop);
        removed.map_err(|errno| self.fail(errno))
    }

    /// Bytes and inodes that are free on its file system, and bytes that it has.
    pub fn space(&self) -> std::result::Result<(u64, u64, u64), DestinationError> {
        let space = sys::fstatvfs(&self.dir).map_err(|errno| self.fail(errno))?;
        let inodes = if space.f_files == 0 { u64::MAX } else { space.f_favail };
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok((bytes(space.f_bavail), inodes, bytes(space.f_blocks)))
    }

    fn fail(&self, errno: Errno) -> DestinationError {
        DestinationError::of(&"the trash", errno, self.dir.as_fd())
    }
}

/// Nanoseconds since 1970, or one more than the last where the clock stands or went back.
pub(super) fn next_number(last: &AtomicU64) -> u64 {
    let now = now();
    let now_ns = (now.secs as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(now.nanos));
    let next = |last: u64| now_ns.max(last.wrapping_add(1));
    let step = |last| Some(next(last));
    let last = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_else(|last| last);
    next(last)
}

/// The name in the trash; `None` when the path is too long for one.
fn short_name(id: u64, path: &RelPath) -> Option<CString> {
    let mut name = format!("{id:016x} ").into_bytes();
    for &byte in path.as_bytes() {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            byte => name.push(byte),
        }
        if name.len() > NAME_BYTES {
            return None;
        }
    }
    Some(c_name(name))
}

/// The path that was escaped; any other escape is what an earlier strait left as it was.
fn unescaped(escaped: &[u8]) -> Option<RelPath> {
    let mut path = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let [byte, after @ ..] = rest {
        (rest, _) = match rest {
            [b'%', b'2', b'F', after @ ..] => (after, path.push(b'/')),
            [b'%', b'2', b'5', after @ ..] => (after, path.push(b'%')),
            _ => (after, path.push(*byte)),
        };
    }
    RelPath::parse(&path).ok().filter(|path| !path.is_root())
}

fn split_number(name: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = name.split_at_checked(NUMBER_DIGITS)?;
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    Some((u64::from_str_radix(text, 16).ok()?, rest))
}

fn record_name(id: u64) -> CString {
    c_name(format!("{id:016x}.path").into_bytes())
}

fn c_name(bytes: Vec<u8>) -> CString {
    CString::new(bytes).expect("paths hold no NUL byte")
}

fn stat_of(dir: BorrowedFd, name: &CString) -> Result<Option<Stat>> {
    match sys::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        result => Ok(Some(Stat::of(&result?))),
    }
}

/// What cannot be read counts as itself.
fn measure(dir: BorrowedFd, name: &CString, levels: usize, stop: &AtomicBool, extent: &mut Extent) {
    let Ok(Some(stat)) = stat_of(dir, name) else { return };
    extent.entries += 1;
    extent.bytes += stat.blocks * 512;
    if !stat.is_dir() || levels == 0 || stop.load(Ordering::Relaxed) {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(below) = sys::openat(dir, name, flags, Mode::empty()) else { return };
    for name in names(below.as_fd()).unwrap_or_default() {
        measure(below.as_fd(), &name, levels - 1, stop, extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_name_in_the_trash() {
        for bytes in [b"a".as_slice(), b"d/e/f", b"100%/%2F", b"new\nline\xff/%", b" /b "] {
            let path = RelPath::parse(bytes).unwrap();
            let name = short_name(7, &path).unwrap();
            let (id, rest) = split_number(name.to_bytes()).unwrap();
            assert_eq!((id, unescaped(rest.strip_prefix(b" ").unwrap())), (7, Some(path)));
        }
    }

    #[test]
    fn a_name_on_the_disk_cannot_lead_out() {
        for escaped in [b"..%2Fa".as_slice(), b"%2Fetc", b"", b"a%2F..%2F..%2Fb", b".strait%2Fid"] {
            assert_eq!(unescaped(escaped), None, "{}", escaped.escape_ascii());
        }
    }

    #[test]
    fn numbers_rise_when_the_clock_does_not() {
        let last = AtomicU64::new(u64::MAX / 2);
        assert_eq!(next_number(&last), u64::MAX / 2 + 1);
        assert_eq!(next_number(&last), u64::MAX / 2 + 2);
    }
}
