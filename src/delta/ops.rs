//! The ops of a delta: how a target is made from what the receiver holds.
//!
//! A transfer covers its target in order, from the first byte to the last, without gap or overlap.

use crate::model::limits::{FILE_BYTES, OP_BYTES, PREFIX_BYTES, PREFIX_TARGET_BYTES, WINDOW_BYTES};
use crate::model::{ContentHash, RelPath, Tag};
use serde::{Deserialize, Serialize};

/// A content that the receiver holds and that ops refer to by its index in the list of bases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// Whatever file has this content.
    Content { hash: ContentHash },
    /// The file at a path, if its content still has this tag.
    Path { path: RelPath, tag: Tag },
    /// What came of a transfer that ended early.
    Partial { of: PartialName, len: u64 },
}

/// Names a partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartialName {
    /// One that the receiver listed in its greeting.
    Stored([u8; 16]),
    /// What a cancelled transfer of this connection had received.
    Sent(u64),
}

/// One piece of the target. Lengths and offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// `len` bytes of basis 0 at the offset where the target stands.
    Same { len: u64 },
    /// `len` zero bytes, a hole where the file system can.
    Zeros { len: u64 },
    /// `len` bytes of a basis from `offset` on.
    Copy { basis: u32, offset: u64, len: u64 },
    /// `target_len` bytes that `fast_rsync` rebuilds from a range of a basis and a delta.
    Blocks {
        basis: u32,
        offset: u64,
        len: u32,
        target_len: u32,
        #[serde(with = "bytes")]
        delta: Vec<u8>,
    },
    /// These bytes.
    Literal(#[serde(with = "bytes")] Vec<u8>),
    /// `target_len` bytes from a zstd frame with a range of a basis as raw prefix.
    Prefix {
        basis: u32,
        offset: u64,
        len: u32,
        target_len: u32,
        #[serde(with = "bytes")]
        frame: Vec<u8>,
    },
    /// Adds a basis to the list.
    Use { basis: Basis },
}

/// Why an op of a peer is refused before it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an op breaks a bound: {0}")]
pub struct OpError(pub &'static str);

impl Op {
    /// Bytes of the target that it makes.
    pub fn target_len(&self) -> u64 {
        match self {
            Op::Same { len } | Op::Zeros { len } | Op::Copy { len, .. } => *len,
            Op::Blocks { target_len, .. } | Op::Prefix { target_len, .. } => u64::from(*target_len),
            Op::Literal(bytes) => bytes.len() as u64,
            Op::Use { .. } => 0,
        }
    }

    /// Content bytes that it carries on the wire.
    pub fn wire_bytes(&self) -> usize {
        match self {
            Op::Blocks { delta, .. } => delta.len(),
            Op::Literal(bytes) => bytes.len(),
            Op::Prefix { frame, .. } => frame.len(),
            Op::Same { .. } | Op::Zeros { .. } | Op::Copy { .. } | Op::Use { .. } => 0,
        }
    }

    /// Checks the bounds that do not need the basis.
    pub fn check(&self) -> Result<(), OpError> {
        let all = |held: bool, what| if held { Ok(()) } else { Err(OpError(what)) };
        match self {
            Op::Same { len } | Op::Zeros { len } => all(*len <= FILE_BYTES, "length"),
            Op::Copy { offset, len, .. } => {
                all(*len <= FILE_BYTES && *offset <= FILE_BYTES - len, "range of a copy")
            }
            Op::Blocks { offset, len, target_len, delta, .. } => {
                all(*len as usize <= WINDOW_BYTES, "range of blocks")?;
                all(*offset <= FILE_BYTES, "offset of blocks")?;
                all(*target_len as usize <= WINDOW_BYTES, "target of blocks")?;
                all(delta.len() <= OP_BYTES, "delta")
            }
            Op::Literal(bytes) => all(bytes.len() <= OP_BYTES, "literal"),
            Op::Prefix { offset, len, target_len, frame, .. } => {
                all(*len as usize <= PREFIX_BYTES, "prefix")?;
                all(*offset <= FILE_BYTES, "offset of a prefix")?;
                all(*target_len as usize <= PREFIX_TARGET_BYTES, "target of a prefix")?;
                all(frame.len() <= OP_BYTES, "prefix frame")
            }
            Op::Use { .. } => Ok(()),
        }
    }
}

/// Bytes as bytes: serde would write a `Vec<u8>` one element at a time.
pub(crate) mod bytes {
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}
