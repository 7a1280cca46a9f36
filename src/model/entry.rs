//! What is known of one entry of a directory, and its hash.

use crate::model::hash::{ContentHash, Tag};
use crate::model::path::Name;
use blake3::hazmat::{ContextKey, HasherExt};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// What an entry is. Devices, sockets and FIFOs have no kind: they are never carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    File,
    Dir,
    Link,
}

impl Kind {
    /// Its number in an entry hash.
    pub fn number(self) -> u8 {
        match self {
            Kind::File => 1,
            Kind::Dir => 2,
            Kind::Link => 3,
        }
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Dir => "directory",
            Kind::Link => "symlink",
        }
    }
}

/// A time of the file system: seconds since 1970 (may be negative) and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}

impl Time {
    /// A time whose nanoseconds are in range, or `None`.
    pub fn checked(secs: i64, nanos: u32) -> Option<Self> {
        (nanos < 1_000_000_000).then_some(Self { secs, nanos })
    }
}

/// Mode and time of modification, as they travel.
///
/// The mode holds the nine permission bits only; a symlink's is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Meta {
    pub mode: u16,
    pub mtime: Time,
}

impl Meta {
    /// The bits of a mode that are carried.
    pub const MODE_MASK: u16 = 0o777;

    /// Whether a peer may say this: masked mode, nanoseconds in range.
    pub fn is_valid(&self) -> bool {
        self.mode & !Self::MODE_MASK == 0 && self.mtime.nanos < 1_000_000_000
    }
}

/// How much is known of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// All of it: the content hash of a file, the BLAKE3 of a symlink's target.
    Whole(ContentHash),
    /// Its first eight bytes, from a listing.
    Tag(Tag),
    /// Nothing yet: it waits to be hashed.
    Unknown,
}

impl Content {
    /// The full hash, if it is known.
    pub fn whole(&self) -> Option<ContentHash> {
        match self {
            Content::Whole(hash) => Some(*hash),
            Content::Tag(_) | Content::Unknown => None,
        }
    }

    /// The tag; [`Tag::UNKNOWN`] while nothing is known.
    pub fn tag(&self) -> Tag {
        match self {
            Content::Whole(hash) => hash.tag(),
            Content::Tag(tag) => *tag,
            Content::Unknown => Tag::UNKNOWN,
        }
    }
}

/// A file or a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// [`Kind::File`] or [`Kind::Link`], never a directory.
    pub kind: Kind,
    pub meta: Meta,
    /// Bytes of the file, or of the symlink's target.
    pub size: u64,
    pub content: Content,
}

impl Leaf {
    /// A file whose content is known.
    pub fn file(meta: Meta, size: u64, hash: ContentHash) -> Self {
        Self { kind: Kind::File, meta, size, content: Content::Whole(hash) }
    }

    /// What stands at a destination and cannot be carried: a FIFO, socket or device. It counts as a file
    /// without bytes whose content no file can have, so that it is nothing that a source holds.
    pub fn special(meta: Meta, word: &str) -> Self {
        let hash = ContentHash(blake3::derive_key("strait 1 special", word.as_bytes()));
        Self::file(meta, 0, hash)
    }

    /// A symlink to `target`.
    pub fn link(mtime: Time, target: &[u8]) -> Self {
        let meta = Meta { mode: 0, mtime };
        let content = Content::Whole(ContentHash::of(target));
        Self { kind: Kind::Link, meta, size: target.len() as u64, content }
    }
}

/// The context of entry hashes, worked out once: there are as many hashes as entries.
fn context() -> &'static ContextKey {
    static CONTEXT: LazyLock<ContextKey> =
        LazyLock::new(|| blake3::hazmat::hash_derive_key_context("strait 1 entry"));
    &CONTEXT
}

/// The hash of an entry: its name and all that is kept of it, not its path.
///
/// `hash` is the content hash, the BLAKE3 of a symlink's target or the directory hash; `size` is 0
/// for a directory. Layout in `docs/protocol.md`, "Trees".
pub fn entry_hash(name: &Name, kind: Kind, meta: &Meta, size: u64, hash: &[u8; 32]) -> [u8; 32] {
    let name = name.as_bytes();
    let mut bytes = Vec::with_capacity(name.len() + 64);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend(name);
    bytes.push(kind.number());
    bytes.extend(meta.mode.to_le_bytes());
    bytes.extend(meta.mtime.secs.to_le_bytes());
    bytes.extend(meta.mtime.nanos.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(hash);
    bytes.push(0);
    *blake3::Hasher::new_from_context_key(context()).update(&bytes).finalize().as_bytes()
}
