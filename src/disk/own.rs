//! The receiver's own folder `.strait` at the root of a destination: who it is, and one at a time.
//!
//! It holds `id` (which root this is), `lock`, `stage/` (what is being made), `trash/` and `gone/`
//! (what was removed) and `pins/` (bases still in use). It is never part of a tree, and readable
//! by its owner only.

use super::error::DestinationError;
use super::lock::Lock;
use super::partial::{PartialId, partial_of};
use super::removal::names;
use super::root::Root;
use super::stat::{Stat, now};
use super::trash::{TrashFolder, next_number};
use crate::model::path::OWN_FOLDER;
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

/// First line of the file `id`: a word and the number of this format.
const ID_HEAD: &str = "strait 1\n";
const LIST_DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The open, locked folder. The lock goes when this is dropped, or with the process.
#[derive(Debug)]
pub struct OwnFolder {
    pub(super) dir: OwnedFd,
    stage: Mutex<Arc<OwnedFd>>,
    pub(super) trash: TrashFolder,
    pub(super) pins: OwnedFd,
    id: [u8; 16],
    next: AtomicU64,
    pub(super) lock: Lock,
}

/// Why a destination cannot be used. Fatal.
#[derive(Debug, thiserror::Error)]
pub enum OwnFolderError {
    /// Another process serves this destination.
    #[error("another strait serves it{}; stop that one first", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Busy { holder: Option<u32> },
    #[error("`.strait` at the destination is not a directory")]
    NotDir,
    #[error("`.strait/id` is damaged, or of a later version of strait")]
    BadId,
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

impl OwnFolder {
    /// Opens the folder, makes what is missing of it but the id, and takes the lock. `fresh_id` (random)
    /// becomes the id of the root with [`OwnFolder::keep_id`], if it has none yet.
    pub fn open_or_create(root: &Root, fresh_id: [u8; 16]) -> Result<Self, OwnFolderError> {
        let dir = open_or_make(&root.dir, OWN_FOLDER)?;
        let lock = Lock::take(&dir)?;
        let stage = Mutex::new(Arc::new(open_or_make(&dir, b"stage")?));
        let trash = TrashFolder::open_or_create(&dir)?;
        let pins = open_or_make(&dir, b"pins")?;
        let id = read_id(&dir)?.unwrap_or(fresh_id);
        let now = now();
        let next = AtomicU64::new((now.secs as u64).wrapping_mul(1_000_000_000) + u64::from(now.nanos));
        Ok(Self { dir, stage, trash, pins, id, next, lock })
    }

    /// Writes the id, where none stands: from now on the root is a destination.
    pub fn keep_id(&self) -> Result<(), DestinationError> {
        match sys::statat(&self.dir, "id", AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => write_id(&self.dir, self.id),
            result => result.map(drop).map_err(|errno| DestinationError::of(&"id", errno, self.dir.as_fd())),
        }
    }

    /// The id of this root, the same as long as the folder lives.
    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// A number that no name in this folder begins with yet: later ones are greater, also after a
    /// restart, as long as the clock is not set back.
    pub fn next_number(&self) -> u64 {
        next_number(&self.next)
    }

    /// Whether the folder still stands at its root: without it nothing can be staged, and another
    /// process would not see the lock.
    pub fn is_in_place(&self, root: &Root) -> bool {
        let there = sys::statat(&root.dir, OWN_FOLDER, AtFlags::SYMLINK_NOFOLLOW);
        let is_it = |ours: sys::Stat| {
            there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
        };
        sys::fstat(&self.dir).is_ok_and(is_it)
    }

    /// Where files are made; made anew when somebody removed it, if that can be.
    pub(super) fn stage(&self) -> Arc<OwnedFd> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = sys::fstat(&**stage).is_ok_and(|stat| stat.st_nlink == 0);
        if is_gone && let Ok(made) = open_or_make(&self.dir, b"stage") {
            *stage = Arc::new(made);
        }
        stage.clone()
    }

    /// What was removed.
    pub fn trash(&self) -> &TrashFolder {
        &self.trash
    }

    /// Removes what an earlier run left in the stage, except files whose number `keeps` says and
    /// partials of these names; returns how many entries went. Only for the start.
    pub fn sweep_stage(
        &self,
        keeps: &dyn Fn(u64) -> bool,
        partials: &[PartialId],
    ) -> Result<u64, DestinationError> {
        let is_partial = |name: &[u8]| partial_of(name).is_some_and(|id| partials.contains(&id));
        let kept = |name: &[u8], _: &Stat| stage_number(name).is_some_and(keeps) || is_partial(name);
        self.sweep(self.stage().as_fd(), "the stage", &kept, &AtomicBool::new(false))
    }

    /// Removes all pins; only when no transfer is open.
    pub fn sweep_pins(&self) -> Result<u64, DestinationError> {
        self.sweep(self.pins.as_fd(), "the pins", &|_, _| false, &AtomicBool::new(false))
    }

    fn sweep(
        &self,
        dir: std::os::fd::BorrowedFd,
        what: &str,
        keeps: &dyn Fn(&[u8], &Stat) -> bool,
        stop: &AtomicBool,
    ) -> Result<u64, DestinationError> {
        let number = || self.next_number();
        super::removal::remove_entries(dir, keeps, &number, stop)
            .map_err(|errno| DestinationError::of(&what, errno, dir))
    }
}

/// The number of a staged file; `None` for another name.
fn stage_number(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name).ok().filter(|text| text.len() == 16)?;
    u64::from_str_radix(text, 16).ok()
}

pub(super) fn open_or_make(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, OwnFolderError> {
    let fail = |errno| DestinationError::of(&name.escape_ascii(), errno, parent.as_fd());
    match sys::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno).into()),
    }
    let dir = match sys::openat(parent, name, LIST_DIR, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(OwnFolderError::NotDir),
        result => result.map_err(fail)?,
    };
    if Stat::of(&sys::fstat(&dir).map_err(fail)?).mode != 0o700 {
        sys::fchmod(&dir, Mode::RWXU).map_err(fail)?;
    }
    Ok(dir)
}

pub(super) fn open_file(dir: &OwnedFd, name: &str, flags: OFlags) -> Result<File, DestinationError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = sys::openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
    fd.map(File::from).map_err(|errno| DestinationError::of(&name, errno, dir.as_fd()))
}

fn read_id(dir: &OwnedFd) -> Result<Option<[u8; 16]>, OwnFolderError> {
    match open_file(dir, "id", OFlags::RDONLY) {
        Ok(file) => {
            let mut text = String::new();
            // Not UTF-8 or unreadable: no id is found in what was read.
            let _ = file.take(256).read_to_string(&mut text);
            parse_id(&text).map(Some).ok_or(OwnFolderError::BadId)
        }
        Err(DestinationError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix(ID_HEAD)?.trim_end();
    let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(digits, 16).ok())??;
    Some(number.to_be_bytes())
}

/// Writes the id beside, syncs and renames: it is never half there.
fn write_id(dir: &OwnedFd, id: [u8; 16]) -> Result<(), DestinationError> {
    let fail = |error| DestinationError::of_io(&"id", error, dir.as_fd());
    let mut file = open_file(dir, "id.new", OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
    writeln!(file, "{ID_HEAD}{:032x}", u128::from_be_bytes(id)).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    let renamed = sys::renameat(dir, "id.new", dir, "id").and_then(|()| sys::fsync(dir));
    renamed.map_err(|errno| fail(errno.into()))
}

/// The id of the destination at `root`, without its lock; `None` when it is none.
pub fn id_of(root: &Root) -> Result<Option<[u8; 16]>, OwnFolderError> {
    let fail = |errno| DestinationError::of(&"id", errno, root.dir.as_fd());
    if !is_destination(root).map_err(fail)? {
        return Ok(None);
    }
    read_id(&sys::openat(&root.dir, OWN_FOLDER, LIST_DIR, Mode::empty()).map_err(fail)?)
}

/// The id of the destination that a directory is, if that can be told.
pub(super) fn id_in(dir: &OwnedFd) -> Option<[u8; 16]> {
    let own = sys::openat(dir, OWN_FOLDER, LIST_DIR, Mode::empty()).ok()?;
    read_id(&own).ok()?
}

/// Whether `root` holds the folder of a destination that has no id yet: nothing but what is made before it.
pub(super) fn is_begun_destination(root: &Root) -> rustix::io::Result<bool> {
    let open = |parent: &OwnedFd, name: &[u8]| sys::openat(parent, name, LIST_DIR, Mode::empty());
    let dir = match open(&root.dir, OWN_FOLDER) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        result => result?,
    };
    for name in names(dir.as_fd())? {
        match name.to_bytes() {
            b"lock" | b"id.new" => {}
            folder @ (b"stage" | b"trash" | b"gone" | b"pins")
                if names(open(&dir, folder)?.as_fd())?.is_empty() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether `root` holds the folder of a destination.
pub(super) fn is_destination(root: &Root) -> rustix::io::Result<bool> {
    let dir = match sys::openat(&root.dir, OWN_FOLDER, LIST_DIR, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        result => result?,
    };
    match sys::statat(&dir, "id", AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        result => Ok(Stat::of(&result?).is_file()),
    }
}
