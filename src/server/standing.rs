//! What stands in a stage before anything is written: a clone of basis 0.
//!
//! Where it stays it is not written; and not read either where the group tree of the basis may be believed.
//! That is so if the tree was computed of bytes that this side read or wrote, under exactly the stat that
//! the basis had before it was cloned and has after, asked through one descriptor; and a group is taken as a
//! whole, at its own offset, or is read. What rots in a group that is taken over, a deep audit finds.

use super::shore::Shore;
use crate::delta::groups::GroupTree;
use crate::delta::index::Indexer;
use crate::disk::{DestinationError, File, StagedFile};
use crate::model::ContentHash;
use crate::model::limits::{GROUP_BYTES, MIB};
use std::io;

const GROUP: u64 = GROUP_BYTES as u64;
/// Bytes that are read at a time.
const READ_BYTES: u64 = 4 * MIB as u64;

/// A clone to be written over from its start.
pub struct Standing {
    /// Bytes of the basis.
    len: u64,
    /// Bytes of the target.
    target_len: u64,
    /// Its group tree, if it may be believed.
    groups: Option<GroupTree>,
    buffer: Vec<u8>,
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
        let groups = hash.and_then(|hash| believed(shore, basis, hash));
        if groups.is_none() {
            tracing::debug!("a clone is read whole: its group tree is not known, or the basis changed");
        }
        let len = file.stat()?.size;
        Ok(Some(Self { len, target_len, groups, buffer: Vec::new() }))
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
            match file.read_at(&mut self.buffer, here) {
                Ok(n_read) if n_read == n => indexer.update(&self.buffer),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Ok(Err(error)),
            }
            here += n as u64;
        }
        Ok(file.skip(len).map(|()| true))
    }

    /// Where the whole groups end that may be taken over from `here` on; `here` when there are none.
    fn whole_to(&self, here: u64, end: u64) -> u64 {
        if self.groups.is_none() || !here.is_multiple_of(GROUP) {
            return here;
        }
        let is_last = end == self.len && end == self.target_len;
        if is_last { end } else { end / GROUP * GROUP }
    }

    fn carry(&self, indexer: &mut Indexer, here: u64, to: u64) {
        let groups = self.groups.as_ref().expect("whole groups have values");
        let values = &groups.values()[(here / GROUP) as usize..to.div_ceil(GROUP) as usize];
        indexer.carry(values, to - here);
    }

    /// Bytes to be read from `here` on: to the next border of groups, or as many as fit the buffer.
    fn n_to_read(&self, here: u64, end: u64) -> usize {
        let to_border = GROUP - here % GROUP;
        let n = if self.groups.is_some() { to_border } else { to_border + READ_BYTES - GROUP };
        n.min(end - here) as usize
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
