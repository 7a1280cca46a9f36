//! Names for content: BLAKE3 hashes and their short tags.

use serde::{Deserialize, Serialize};
use std::fmt;

/// BLAKE3 of a whole content: exactly what `b3sum` prints for the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

/// The first eight bytes of a content, directory or target hash.
///
/// Enough to plan with, never enough to trust: the content hash decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Tag(pub [u8; 8]);

impl ContentHash {
    /// Hashes bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash's first eight bytes.
    pub fn tag(&self) -> Tag {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.0[..8]);
        Tag(tag)
    }
}

impl Tag {
    /// Stands for "not known yet": no real tag is expected to be all zero.
    pub const UNKNOWN: Tag = Tag([0; 8]);
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}…", self.tag())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
