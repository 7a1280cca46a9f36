//! What the receiver has of transfers that ended early: to go on from, or to lean on.
//!
//! Named in its greeting, or given up on this connection, where frames are in order and so all that
//! was sent has come.

use super::KnownBasis;
use crate::delta::ops::{Basis, PartialName};
use crate::model::limits::GROUP_BYTES;
use crate::model::{ContentHash, RelPath};
use crate::proto::message::PartialInfo;
use crate::proto::partial::Partial;

/// Less than this of another version is not worth to be leaned on.
const LEAST_BYTES: u64 = GROUP_BYTES as u64;

/// All that are known.
#[derive(Default)]
pub(super) struct Partials(Vec<Partial>);

impl Partials {
    pub fn stored(infos: &[PartialInfo]) -> Self {
        let is_sound = |info: &&PartialInfo| info.have > 0 && info.have <= info.size;
        Self(infos.iter().filter(is_sound).map(Partial::stored).collect())
    }

    /// A transfer was given up. Of each path the receiver keeps the one of which most came.
    pub fn keep(&mut self, partial: Partial) {
        let is_rival = |other: &Partial| other.is_sent_for(&partial.path);
        if self.0.iter().any(|other| is_rival(other) && other.have >= partial.have) {
            return;
        }
        self.0.retain(|other| !is_rival(other));
        self.0.push(partial);
    }

    pub fn forget(&mut self, of: PartialName) {
        self.0.retain(|partial| partial.of != of);
    }

    /// A file is in place: the receiver forgets what led there.
    pub fn committed(&mut self, path: &RelPath, hash: &ContentHash) {
        self.0.retain(|partial| partial.hash != *hash && partial.path != *path);
    }

    /// Takes out the longest beginning of a content, under whatever path it was sent.
    pub fn take(&mut self, hash: &ContentHash, size: u64) -> Option<Partial> {
        let fits = |partial: &Partial| partial.hash == *hash && partial.size == size;
        let indices = (0..self.0.len()).filter(|&index| fits(&self.0[index]));
        let longest = indices.max_by_key(|&index| self.0[index].have)?;
        Some(self.0.swap_remove(longest))
    }

    /// The longest beginning of another version of what is at a path.
    pub fn basis(&self, path: &RelPath) -> Option<KnownBasis> {
        let of_path = self.0.iter().filter(|partial| partial.path == *path && partial.have >= LEAST_BYTES);
        let partial = of_path.max_by_key(|partial| partial.have)?;
        let basis = Basis::Partial { of: partial.of, len: partial.have };
        Some(KnownBasis { basis, hash: Some(partial.hash), size: partial.have })
    }
}
