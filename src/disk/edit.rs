//! What is to be written over a file, and its record as bytes.

use crate::model::limits::FILE_BYTES;
use crate::model::{Meta, RelPath, Time};

/// First bytes of a record: a word and the number of this format.
const HEAD: &[u8; 8] = b"over   1";
/// Bytes of an edit in a record.
const EDIT_BYTES: usize = 17;

/// What a range becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// The bytes of the staged file at the same offset.
    Bytes,
    /// A hole.
    Zeros,
}

/// A range that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    pub offset: u64,
    pub len: u64,
    pub kind: EditKind,
}

/// What is to be written over a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    pub path: RelPath,
    /// Inode of the file.
    pub ino: u64,
    /// Bytes that it will have.
    pub size: u64,
    pub meta: Meta,
    /// By offset, apart from each other.
    pub edits: Vec<Edit>,
}

impl Overlay {
    /// The record: numbers, path, edits, and a BLAKE3 over all.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        for number in [self.ino, self.size, self.meta.mtime.secs as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.meta.mtime.nanos.to_le_bytes());
        bytes.extend(self.meta.mode.to_le_bytes());
        bytes.extend((self.path.as_bytes().len() as u16).to_le_bytes());
        bytes.extend(self.path.as_bytes());
        for edit in &self.edits {
            bytes.extend(edit.offset.to_le_bytes());
            bytes.extend(edit.len.to_le_bytes());
            bytes.push(u8::from(edit.kind == EditKind::Zeros));
        }
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// Reads a record; `None` for one that is cut or damaged.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (sealed, seal) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(sealed).as_bytes() != seal {
            return None;
        }
        let rest = sealed.strip_prefix(HEAD)?;
        let (numbers, rest) = rest.split_first_chunk::<24>()?;
        let number = |index: usize| u64::from_le_bytes(numbers.as_chunks::<8>().0[index]);
        let (nanos, rest) = rest.split_first_chunk::<4>()?;
        let (mode, rest) = rest.split_first_chunk::<2>()?;
        let (path_bytes, rest) = rest.split_first_chunk::<2>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*path_bytes)))?;
        let (edits, rest) = rest.as_chunks::<EDIT_BYTES>();
        let mtime = Time { secs: number(2) as i64, nanos: u32::from_le_bytes(*nanos) };
        let overlay = Self {
            path: RelPath::parse(path).ok()?,
            ino: number(0),
            size: number(1),
            meta: Meta { mode: u16::from_le_bytes(*mode), mtime },
            edits: edits.iter().map(parse_edit).collect::<Option<_>>()?,
        };
        let fits = |edit: &Edit| edit.len > 0 && edit.offset <= FILE_BYTES - edit.len.min(FILE_BYTES);
        let is_sound = rest.is_empty()
            && overlay.size <= FILE_BYTES
            && overlay.meta.is_valid()
            && overlay.edits.iter().all(fits);
        is_sound.then_some(overlay)
    }
}

fn parse_edit(bytes: &[u8; EDIT_BYTES]) -> Option<Edit> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (len, kind) = rest.split_first_chunk::<8>()?;
    let kind = match kind {
        [0] => EditKind::Bytes,
        [1] => EditKind::Zeros,
        _ => return None,
    };
    Some(Edit { offset: u64::from_le_bytes(*offset), len: u64::from_le_bytes(*len), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_one_that_is_cut_or_damaged_does_not() {
        let overlay = Overlay {
            path: RelPath::parse(b"a/b").unwrap(),
            ino: 77,
            size: 1 << 40,
            meta: Meta { mode: 0o640, mtime: Time { secs: -5, nanos: 6 } },
            edits: vec![
                Edit { offset: 0, len: 5, kind: EditKind::Bytes },
                Edit { offset: 1 << 39, len: 1 << 20, kind: EditKind::Zeros },
            ],
        };
        let bytes = overlay.to_bytes();
        assert_eq!(Overlay::parse(&bytes), Some(overlay));
        for at in 0..bytes.len() {
            assert_eq!(Overlay::parse(&bytes[..at]), None, "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Overlay::parse(&damaged), None, "damaged at {at}");
        }
    }
}
