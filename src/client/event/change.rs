//! Changes and paths as they are told.

use crate::model::path::write_escaped;
use crate::model::{Kind, RelPath};
use serde::{Serialize, Serializer};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The bytes of a path that is told about; shown escaped.
///
/// Wider than `RelPath` on purpose: a path that is too long or too deep must be named too.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(Vec<u8>);

impl Shown {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&RelPath> for Shown {
    fn from(path: &RelPath) -> Self {
        Self(path.as_path().as_os_str().as_bytes().to_vec())
    }
}

impl From<RelPath> for Shown {
    fn from(path: RelPath) -> Self {
        Self::from(&path)
    }
}

impl From<&Path> for Shown {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Shown {
    /// The exact text where the bytes are UTF-8, else escaped (`cli/json.rs` then adds the bytes).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_str(self),
        }
    }
}

/// One change of the destination, made or planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Create {
        kind: What,
        path: Shown,
        size_bytes: u64,
    },
    /// New content, or a new target of a symlink.
    Update {
        kind: What,
        path: Shown,
        size_bytes: u64,
    },
    Meta {
        path: Shown,
    },
    Move {
        from: Shown,
        path: Shown,
    },
    /// Two names exchange what they hold.
    Swap {
        from: Shown,
        path: Shown,
    },
    /// `entries_below` is 0 but for directories.
    Remove {
        kind: What,
        path: Shown,
        entries_below: u64,
    },
}

/// A kind of entry, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    File,
    Dir,
    Link,
}

impl From<Kind> for What {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => What::File,
            Kind::Dir => What::Dir,
            Kind::Link => What::Link,
        }
    }
}
