//! Exchanging two names in one step, or in three where the file system cannot.
//!
//! The three go through `.strait/swap` under an intent written first, `.strait/intent`, from which
//! the next start ends what a crash left half done: no content is ever without a name.

use super::destination::{Destination, c_name};
use super::error::DestinationError;
use crate::model::{Name, RelPath};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

const SWAP: &str = "swap";
const INTENT: &str = "intent";

/// The directory of a name, opened, and the name.
type Place = (OwnedFd, Name);

impl Destination {
    /// Exchanges what two paths name; neither may lie below the other.
    pub fn exchange(&self, a: &RelPath, b: &RelPath) -> std::result::Result<(), DestinationError> {
        let (place_a, place_b) = (self.parent_of(a)?, self.parent_of(b)?);
        let at_once = self.exchange_at_once(&place_a, &place_b);
        match at_once {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
                if !a.is_at_or_below(b) && !b.is_at_or_below(a) =>
            {
                self.exchange_in_three(a, b)
            }
            result => result.map_err(|errno| self.fail(a, errno)),
        }
    }

    fn exchange_at_once(&self, a: &Place, b: &Place) -> Result<()> {
        let (bare_a, bare_b) = (self.open_bare(&a.0, a.1.as_bytes())?, self.open_bare(&b.0, b.1.as_bytes())?);
        let targets = [a.0.as_fd(), b.0.as_fd(), bare_a.as_fd(), bare_b.as_fd()];
        self.root().opened_up(&targets, || {
            sys::renameat_with(&a.0, a.1.as_bytes(), &b.0, b.1.as_bytes(), RenameFlags::EXCHANGE)
        })
    }

    pub(super) fn exchange_in_three(
        &self,
        a: &RelPath,
        b: &RelPath,
    ) -> std::result::Result<(), DestinationError> {
        self.stat(b)?;
        let (dir, name) = self.parent_of(a)?;
        self.write_intent(a, b).map_err(|errno| self.fail(&INTENT, errno))?;
        let moved = self.move_name((&dir, &name), (self.own().dir.as_fd(), &c_name(SWAP.as_bytes())));
        moved.map_err(|errno| self.fail(a, errno))?;
        self.finish_exchange()
    }

    fn write_intent(&self, a: &RelPath, b: &RelPath) -> Result<()> {
        let dir = &self.own().dir;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(dir, INTENT, flags, Mode::RUSR | Mode::WUSR)?;
        let bytes = [a.as_bytes(), b"\0", b.as_bytes()].concat();
        let written = File::from(file).write_all(&bytes);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let file = sys::openat(dir, INTENT, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        sys::fsync(&file)?;
        sys::fsync(dir)
    }

    /// Ends the exchange that the intent names, if there is one: each step from `swap` on is done
    /// unless it was.
    pub(super) fn finish_exchange(&self) -> std::result::Result<(), DestinationError> {
        let dir = &self.own().dir;
        let Some((a, b)) = self.read_intent()? else { return self.end_intent() };
        let mut result = Ok(());
        if sys::statat(dir, SWAP, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let is_missing = |path| self.root().stat(path).is_ok_and(|stat| stat.is_none());
            if is_missing(&a) && !is_missing(&b) {
                result = self.rename(&b, &a).map(|_| ());
            }
            // Where the second step failed, the first is taken back.
            self.place_swap(if result.is_ok() { &b } else { &a })?;
            self.sync_fs()?;
        }
        self.end_intent().and(result)
    }

    /// Renames `swap` to a path, or into the trash when it cannot go there any more.
    fn place_swap(&self, path: &RelPath) -> std::result::Result<(), DestinationError> {
        let swap = Name::parse(SWAP.as_bytes()).expect("the word is a name");
        let from = (&self.own().dir, &swap);
        let place = || {
            let (dir, name) = self.root().parent_of(path)?;
            self.move_name(from, (dir.as_fd(), &c_name(name.as_bytes())))
        };
        match place() {
            Ok(()) => Ok(()),
            Err(Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                self.move_to_trash(path, from).map(|_| ())
            }
            Err(errno) => Err(self.fail(path, errno)),
        }
    }

    fn end_intent(&self) -> std::result::Result<(), DestinationError> {
        match sys::unlinkat(&self.own().dir, INTENT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fail(&INTENT, errno)),
        }
    }

    /// The two paths of the intent; one that is damaged was never followed by a rename.
    fn read_intent(&self) -> std::result::Result<Option<(RelPath, RelPath)>, DestinationError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match sys::openat(&self.own().dir, INTENT, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.map_err(|errno| self.fail(&INTENT, errno))?,
        };
        let mut bytes = Vec::new();
        let read = File::from(file).take(16 * 1024).read_to_end(&mut bytes);
        read.map_err(|error| DestinationError::of_io(&INTENT, error, self.own().dir.as_fd()))?;
        let mut paths = bytes.splitn(2, |&byte| byte == 0).map(RelPath::parse);
        Ok(paths.next().and_then(std::result::Result::ok).zip(paths.next().and_then(std::result::Result::ok)))
    }
}
