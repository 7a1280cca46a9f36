//! What of basis 0 stands in its place before anything is written: a clone in the stage, or the file itself,
//! which is to be written over.
//!
//! What stays is not written; and not read either where the group tree of the basis may be believed.
//! That is so if the tree was computed of bytes that this side read or wrote, under exactly the stat that
//! the basis had before it was cloned and has after (or has again when it is written over), asked through one
//! descriptor; and a group is taken as a whole, at its own offset, or is read. What rots in a group that is
//! taken over, a deep audit finds.

use super::shore::Shore;
use crate::delta::groups::{GroupTree, kept_bytes};
use crate::delta::index::Indexer;
use crate::disk::{DestinationError, Edit, EditKind, File, Overlay, StagedFile, Stat};
use crate::model::limits::{GROUP_BYTES, KIB};
use crate::model::{ContentHash, Meta, RelPath};
use std::io;

const GROUP: u64 = GROUP_BYTES as u64;
/// Bytes that are read at a time.
const READ_BYTES: u64 = 512 * KIB as u64;

/// What a target is laid over, from its start.
pub struct Standing {
    place: Place,
    /// Bytes of the basis.
    len: u64,
    /// Bytes of the target.
    target_len: u64,
    /// Its group tree, if it may be believed and its values are of the target's level.
    groups: Option<GroupTree>,
    buffer: Vec<u8>,
}

enum Place {
    /// The stage is a clone of the basis.
    Stage,
    /// The basis itself stays where it is: the stage has only what differs, in these ranges.
    Basis { basis: File, edits: Vec<Edit> },
}

/// Why a target is not laid over a file that stays where it is.
pub enum Stopped {
    Disk(DestinationError),
    /// The session is over, or the basis ends early.
    Io(io::Error),
}

impl Standing {
    /// Makes the empty `file` a clone of `basis`, whose content is `hash` as far as is known; `None`, and
    /// nothing done, where the file system cannot.
    pub fn clone_of(
        shore: &Shore,
        file: &mut StagedFile,
        basis: &File,
        hash: Option<ContentHash>,
        target_len: u64,
    ) -> Result<Option<Self>, DestinationError> {
        // Without a group of its own there is no tree, and little to win.
        if !shore.clones || basis.opened().size <= GROUP || target_len <= GROUP || !file.clone_of(basis)? {
            return Ok(None);
        }
        let len = file.stat()?.size;
        Ok(Some(Self::over(shore, Place::Stage, (basis, len), hash, target_len)))
    }

    /// Lays the target over the file at `path`, which `basis` must be: it is large enough for `--inplace`, has
    /// no other name, and its old version is not to be kept. `None` where that is not so.
    pub fn in_place(shore: &Shore, basis: &File, hash: Option<ContentHash>, target_len: u64) -> Option<Self> {
        let least = shore.in_place?;
        let stat = basis.opened();
        let trash = shore.trash.options();
        let keeps_old = trash.keep_replaced && trash.is_on();
        if shore.clones || keeps_old || stat.n_links != 1 || stat.size.min(target_len) < least {
            return None;
        }
        let place = Place::Basis { basis: basis.again().ok()?, edits: Vec::new() };
        Some(Self::over(shore, place, (basis, stat.size), hash, target_len))
    }

    fn over(
        shore: &Shore,
        place: Place,
        (basis, len): (&File, u64),
        hash: Option<ContentHash>,
        target_len: u64,
    ) -> Self {
        let groups = hash.and_then(|hash| believed(shore, basis, hash));
        let groups = groups.filter(|_| kept_bytes(len) == kept_bytes(target_len));
        if groups.is_none() {
            tracing::debug!("what stands is read whole: its group tree is not known, or the basis changed");
        }
        Self { place, len, target_len, groups, buffer: Vec::new() }
    }

    /// Bytes of the target.
    pub fn target_len(&self) -> u64 {
        self.target_len
    }

    /// Whether the basis stays where it is.
    pub fn is_in_place(&self) -> bool {
        matches!(self.place, Place::Basis { .. })
    }

    /// Notes that a range is another than in the basis.
    pub fn wrote(&mut self, offset: u64, len: u64, kind: EditKind) {
        let Place::Basis { edits, .. } = &mut self.place else { return };
        match edits.last_mut() {
            Some(last) if last.kind == kind && last.offset + last.len == offset => last.len += len,
            _ if len > 0 => edits.push(Edit { offset, len, kind }),
            _ => {}
        }
    }

    /// What is to be written over the file of this stat; `None` for a clone.
    pub fn overlay(&self, path: &RelPath, meta: &Meta) -> Option<(Overlay, Stat)> {
        let Place::Basis { basis, edits } = &self.place else { return None };
        let (path, before) = (path.clone(), *basis.opened());
        let (ino, size, meta) = (before.ino, self.target_len, *meta);
        Some((Overlay { path, ino, size, meta, edits: edits.clone() }, before))
    }

    /// Copies what only stands in the basis into the stage, which then is the whole target. Nobody has hashed
    /// these copies.
    pub fn make_whole(
        &mut self,
        file: &mut StagedFile,
        stop: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), Stopped> {
        let Place::Basis { basis, edits } = &self.place else { return Ok(()) };
        file.cut_to(self.target_len).map_err(Stopped::Disk)?;
        let end = Edit { offset: self.target_len.min(self.len), len: 0, kind: EditKind::Bytes };
        let mut at = 0;
        for edit in edits.iter().chain([&end]) {
            while at < edit.offset {
                stop().map_err(Stopped::Io)?;
                self.buffer.resize((edit.offset - at).min(READ_BYTES) as usize, 0);
                let n_read = basis.read_at(&mut self.buffer, at).map_err(Stopped::Io)?;
                if n_read < self.buffer.len() {
                    return Err(Stopped::Io(io::ErrorKind::UnexpectedEof.into()));
                }
                file.write_at(&self.buffer, at).map_err(Stopped::Disk)?;
                at += n_read as u64;
            }
            at = at.max(edit.offset + edit.len);
        }
        file.extend_to(self.target_len).map_err(Stopped::Disk)
    }

    /// Reads a range of the target, as far as it is made; `false` where that is not so far.
    pub fn read(&self, file: &mut StagedFile, buffer: &mut [u8], at: u64) -> Result<bool, DestinationError> {
        let Place::Basis { basis, edits } = &self.place else {
            return Ok(file.read_at(buffer, at)? == buffer.len());
        };
        // What the basis does not have was written, and comes next.
        let mut n_seen = basis.read_at(buffer, at).unwrap_or(0);
        let end = at + buffer.len() as u64;
        let first = edits.partition_point(|edit| edit.offset + edit.len <= at);
        for edit in edits[first..].iter().take_while(|edit| edit.offset < end) {
            let from = (edit.offset.max(at) - at) as usize;
            let to = ((edit.offset + edit.len).min(end) - at) as usize;
            let is_read = match edit.kind {
                EditKind::Zeros => true,
                EditKind::Bytes => file.read_at(&mut buffer[from..to], at + from as u64)? == to - from,
            };
            if edit.kind == EditKind::Zeros {
                buffer[from..to].fill(0);
            }
            if !is_read || from > n_seen {
                return Ok(false);
            }
            n_seen = n_seen.max(to);
        }
        Ok(n_seen == buffer.len())
    }

    /// Goes over `len` bytes of the target from `at` on that are the clone's, and hashes them; `false`, and
    /// nothing done, where the clone is not so long. `stop` is asked now and then.
    pub fn keep(
        &mut self,
        file: &mut StagedFile,
        indexer: &mut Indexer,
        (at, len): (u64, u64),
        stop: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<Result<bool, DestinationError>> {
        let end = at + len;
        if end > self.len {
            return Ok(Ok(false));
        }
        let mut here = at;
        while here < end {
            stop()?;
            let whole_to = self.whole_to(here, end);
            if whole_to > here {
                self.carry(indexer, here, whole_to);
                here = whole_to;
                continue;
            }
            let n = self.n_to_read(here, end);
            self.buffer.resize(n, 0);
            let n_read = match &self.place {
                Place::Stage => match file.read_at(&mut self.buffer, here) {
                    Ok(n_read) => n_read,
                    Err(error) => return Ok(Err(error)),
                },
                Place::Basis { basis, .. } => basis.read_at(&mut self.buffer, here)?,
            };
            if n_read < n {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            indexer.update(&self.buffer);
            here += n as u64;
        }
        Ok(file.skip(len).map(|()| true))
    }

    /// Bytes that each value of the basis' tree covers.
    fn group_bytes(&self) -> u64 {
        kept_bytes(self.len)
    }

    /// Where the whole groups end that may be taken over from `here` on; `here` when there are none.
    fn whole_to(&self, here: u64, end: u64) -> u64 {
        let group = self.group_bytes();
        if self.groups.is_none() || !here.is_multiple_of(group) {
            return here;
        }
        let is_last = end == self.len && end == self.target_len;
        if is_last { end } else { end / group * group }
    }

    fn carry(&self, indexer: &mut Indexer, here: u64, to: u64) {
        let groups = self.groups.as_ref().expect("whole groups have values");
        let group = self.group_bytes();
        let values = &groups.values()[(here / group) as usize..to.div_ceil(group) as usize];
        indexer.carry(values, to - here);
    }

    /// Bytes to be read from `here` on: to the next border of groups, or of larger pieces where no group is taken over.
    fn n_to_read(&self, here: u64, end: u64) -> usize {
        let piece = if self.groups.is_some() { self.group_bytes() } else { READ_BYTES };
        (piece - here % piece).min(end - here) as usize
    }
}

/// The group tree of a basis, if what was known of it is true still.
///
/// RACE: a change through a memory map of a page that was dirty already may leave both times as they are;
/// nothing that goes by times sees it before the page is written back.
fn believed(shore: &Shore, basis: &File, hash: ContentHash) -> Option<GroupTree> {
    let before = basis.opened();
    let is_known = shore.known.known(before) == Some(hash);
    let stood_still = basis.stat().is_ok_and(|after| after.is_same_version(before));
    let groups = shore.known.groups(&hash).filter(|_| is_known && stood_still)?;
    (groups.size() == before.size).then_some(groups)
}
