//! What both machines know of a partial, and how it is named.

use crate::delta::ops::PartialName;
use crate::model::{ContentHash, RelPath};
use crate::proto::message::PartialInfo;

/// The first `have` bytes of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partial {
    pub of: PartialName,
    pub hash: ContentHash,
    pub size: u64,
    pub have: u64,
    pub path: RelPath,
}

impl Partial {
    /// One of an earlier connection, as a greeting tells it.
    pub fn stored(info: &PartialInfo) -> Self {
        Self {
            of: PartialName::Stored(info.name),
            hash: info.hash,
            size: info.size,
            have: info.have,
            path: info.path.clone(),
        }
    }

    /// Whether it came on this connection.
    pub fn is_sent(&self) -> bool {
        matches!(self.of, PartialName::Sent(_))
    }

    /// The same, meant for this path.
    pub fn is_sent_for(&self, path: &RelPath) -> bool {
        self.is_sent() && self.path == *path
    }
}

/// The name by which a `Put` resumes a partial: eight zero bytes and a number (little-endian) are a transfer of this
/// connection that was given up; a stored one is never named so.
pub(super) fn resume_name(of: PartialName) -> [u8; 16] {
    match of {
        PartialName::Stored(name) => name,
        PartialName::Sent(id) => {
            let mut name = [0; 16];
            name[8..].copy_from_slice(&id.to_le_bytes());
            name
        }
    }
}

/// The partial that such a name means.
pub(super) fn resumed_name(name: [u8; 16]) -> PartialName {
    let (head, tail) = name.split_at(8);
    match tail.try_into() {
        Ok(id) if head == [0; 8] => PartialName::Sent(u64::from_le_bytes(id)),
        _ => PartialName::Stored(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_partial_that_it_was_made_of() {
        for of in [PartialName::Sent(0), PartialName::Sent(u64::MAX), PartialName::Stored([7; 16])] {
            assert_eq!(resumed_name(resume_name(of)), of);
        }
    }
}
