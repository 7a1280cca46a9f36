//! Names that trade places: two in one step, more of them, or two where the file system cannot, one by one.
//!
//! One by one they go through `.strait/swap` under an intent written first, `.strait/intent`, from which the
//! next start ends what a crash left half done. No content is ever without a name, and no path ever holds
//! what is neither its old content nor its new one: in between it is absent.

use super::destination::{Destination, c_name};
use super::error::DestinationError;
use crate::model::limits::{PATH_BYTES, ROTATE_NAMES};
use crate::model::{Name, RelPath};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

const SWAP: &str = "swap";
const INTENT: &str = "intent";
/// Most bytes of an intent.
const INTENT_BYTES: u64 = (ROTATE_NAMES * (PATH_BYTES + 1)) as u64;

/// The directory of a name, opened, and the name.
type Place = (OwnedFd, Name);

impl Destination {
    /// Renames what each path names to the next path, what the last one names to the first; none may lie
    /// below another.
    pub fn rotate(&self, ring: &[RelPath]) -> std::result::Result<(), DestinationError> {
        match ring {
            [a, b] => self.exchange(a, b),
            _ => self.rotate_one_by_one(ring),
        }
    }

    /// Exchanges what two paths name; neither may lie below the other.
    pub fn exchange(&self, a: &RelPath, b: &RelPath) -> std::result::Result<(), DestinationError> {
        let (place_a, place_b) = (self.parent_of(a)?, self.parent_of(b)?);
        let at_once = self.exchange_at_once(&place_a, &place_b);
        match at_once {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
                if !a.is_at_or_below(b) && !b.is_at_or_below(a) =>
            {
                self.rotate_one_by_one(&[a.clone(), b.clone()])
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

    pub(super) fn rotate_one_by_one(&self, ring: &[RelPath]) -> std::result::Result<(), DestinationError> {
        let Some((first, others)) = ring.split_first() else { return Ok(()) };
        // What is under way is ended first: its intent must not be lost.
        self.finish_exchange()?;
        for (index, path) in others.iter().enumerate() {
            self.stat(path)?;
            if ring[..=index].iter().any(|other| path.is_at_or_below(other) || other.is_at_or_below(path)) {
                return Err(self.fail(path, Errno::INVAL));
            }
        }
        let (dir, name) = self.parent_of(first)?;
        self.write_intent(ring).map_err(|errno| self.fail(&INTENT, errno))?;
        let moved = self.move_name((&dir, &name), (self.own().dir.as_fd(), &c_name(SWAP.as_bytes())));
        moved.map_err(|errno| self.fail(first, errno))?;
        self.finish_exchange()
    }

    fn write_intent(&self, ring: &[RelPath]) -> Result<()> {
        let dir = &self.own().dir;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(dir, INTENT, flags, Mode::RUSR | Mode::WUSR)?;
        let bytes = ring.iter().map(RelPath::as_bytes).collect::<Vec<_>>().join(&0);
        let written = File::from(file).write_all(&bytes);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let file = sys::openat(dir, INTENT, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        sys::fsync(&file)?;
        sys::fsync(dir)
    }

    /// Ends what the intent names, if there is one: each step from `swap` on is done unless it was.
    pub(super) fn finish_exchange(&self) -> std::result::Result<(), DestinationError> {
        let Some(ring) = self.read_intent()? else { return self.end_intent() };
        let mut result = Ok(());
        if sys::statat(&self.own().dir, SWAP, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let hole = match self.turn(&ring) {
                Ok(hole) => hole,
                Err((hole, error)) => {
                    result = Err(error);
                    self.take_back(&ring, hole)
                }
            };
            self.place_swap(&ring[hole])?;
            self.sync_fs()?;
        }
        self.end_intent().and(result)
    }

    /// Renames until the free name is the one that `swap` shall have; returns which that is. The first name
    /// of the ring becomes free first, then each one before, from the last down to the second.
    fn turn(&self, ring: &[RelPath]) -> std::result::Result<usize, (usize, DestinationError)> {
        let is_missing = |index: usize| self.root().stat(&ring[index]).is_ok_and(|stat| stat.is_none());
        let in_order = std::iter::once(0).chain((1..ring.len()).rev());
        let Some(mut hole) = in_order.into_iter().find(|&index| is_missing(index)) else { return Ok(1) };
        while hole != 1 {
            let before = (hole + ring.len() - 1) % ring.len();
            if !is_missing(before) {
                self.rename(&ring[before], &ring[hole]).map_err(|error| (hole, error))?;
            }
            hole = before;
        }
        Ok(hole)
    }

    /// After a step that failed: the names that moved go back, as far as that can be; returns the free one.
    fn take_back(&self, ring: &[RelPath], mut hole: usize) -> usize {
        while hole != 0 {
            let after = (hole + 1) % ring.len();
            if self.rename(&ring[after], &ring[hole]).is_err() {
                break;
            }
            hole = after;
        }
        hole
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

    /// The paths of the intent; one that is damaged was never followed by a rename.
    fn read_intent(&self) -> std::result::Result<Option<Vec<RelPath>>, DestinationError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match sys::openat(&self.own().dir, INTENT, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.map_err(|errno| self.fail(&INTENT, errno))?,
        };
        let mut bytes = Vec::new();
        let read = File::from(file).take(INTENT_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| DestinationError::of_io(&INTENT, error, self.own().dir.as_fd()))?;
        let ring: std::result::Result<Vec<RelPath>, _> =
            bytes.split(|&byte| byte == 0).map(RelPath::parse).collect();
        Ok(ring.ok().filter(|ring| ring.len() > 1 && ring.len() <= ROTATE_NAMES))
    }
}
