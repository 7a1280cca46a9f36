//! Names and relative paths that cannot climb, escape or name strait's own folder.

use crate::model::limits::{NAME_BYTES, PATH_BYTES, PATH_DEPTH};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// strait's own folder at the root of a destination; no path of a tree begins with it.
pub const OWN_FOLDER: &[u8] = b".strait";

/// Why bytes are not a name or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a name is empty")]
    EmptyName,
    #[error("a name has {0} bytes, more than {NAME_BYTES}")]
    LongName(usize),
    #[error("a name is `.` or `..`")]
    Dots,
    #[error("a name holds a slash or a NUL byte")]
    BadByte,
    #[error("a path has {0} bytes, more than {PATH_BYTES}")]
    LongPath(usize),
    #[error("a path is more than {PATH_DEPTH} levels deep")]
    Deep,
    #[error("a path begins with strait's own folder `.strait`")]
    OwnFolder,
}

/// The name of one entry: 1 to 255 bytes, no slash, no NUL, not `.` or `..`.
///
/// Most names are short, and a large tree is mostly names: up to `SHORT_BYTES` they need no place of
/// their own.
#[derive(Clone)]
pub struct Name(Held);

#[derive(Clone)]
enum Held {
    Short { len: u8, bytes: [u8; SHORT_BYTES] },
    Long(Arc<[u8]>),
}

/// Fills the room that a longer name's pointer takes anyway.
const SHORT_BYTES: usize = 22;

impl Name {
    /// Checks and takes the bytes of a name.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        check_name(bytes)?;
        Ok(Self::of(bytes))
    }

    /// A name whose bytes are known to be one.
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..name.len()) {
            Some(room) => {
                room.copy_from_slice(name);
                Self(Held::Short { len: name.len() as u8, bytes })
            }
            None => Self(Held::Long(name.into())),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Short { len, bytes } => &bytes[..usize::from(*len)],
            Held::Long(bytes) => bytes,
        }
    }

    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self.as_bytes())
    }

    /// Whether it begins with a dot.
    pub fn is_hidden(&self) -> bool {
        self.as_bytes()[0] == b'.'
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// A path below a root: names joined by slashes; empty for the root itself.
///
/// At most 4,096 bytes and 128 names; never climbs, never absolute, never inside `.strait`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Arc<[u8]>);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks and takes the bytes of a path; empty bytes are the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        if bytes.len() > PATH_BYTES {
            return Err(PathError::LongPath(bytes.len()));
        }
        let mut depth = 0;
        for name in bytes.split(|&byte| byte == b'/') {
            check_name(name)?;
            if depth == 0 && name == OWN_FOLDER {
                return Err(PathError::OwnFolder);
            }
            depth += 1;
        }
        if depth > PATH_DEPTH {
            return Err(PathError::Deep);
        }
        Ok(Self(bytes.into()))
    }

    /// This path with a name below it.
    ///
    /// # Errors
    /// When the result would be too long, too deep or strait's own folder.
    pub fn join(&self, name: &Name) -> Result<Self, PathError> {
        if self.is_root() {
            return Self::parse(name.as_bytes());
        }
        if self.depth() == PATH_DEPTH {
            return Err(PathError::Deep);
        }
        let length = self.0.len() + 1 + name.as_bytes().len();
        if length > PATH_BYTES {
            return Err(PathError::LongPath(length));
        }
        Ok(Self([&self.0, b"/".as_slice(), name.as_bytes()].concat().into()))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path relative to the root; `.` for the root itself.
    pub fn as_path(&self) -> &Path {
        if self.is_root() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }

    /// Number of names; 0 for the root.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { 1 + self.0.iter().filter(|&&byte| byte == b'/').count() }
    }

    /// The names from the top down.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(Name::of)
    }

    /// The directory that holds it, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(RelPath, Name)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Self(self.0[..slash].into()), Name::of(&self.0[slash + 1..])),
            None => (Self::root(), Name::of(&self.0)),
        })
    }

    /// The directory that holds it; the root is its own parent.
    pub fn parent(&self) -> RelPath {
        self.split().map_or_else(Self::root, |(parent, _)| parent)
    }

    /// Whether it is `above` or lies below it.
    pub fn is_at_or_below(&self, above: &RelPath) -> bool {
        above.is_root()
            || (self.0.starts_with(&above.0)
                && (self.0.len() == above.0.len() || self.0[above.0.len()] == b'/'))
    }
}

fn check_name(bytes: &[u8]) -> Result<(), PathError> {
    match bytes {
        [] => Err(PathError::EmptyName),
        b"." | b".." => Err(PathError::Dots),
        _ if bytes.len() > NAME_BYTES => Err(PathError::LongName(bytes.len())),
        _ if bytes.iter().any(|&byte| byte == b'/' || byte == 0) => Err(PathError::BadByte),
        _ => Ok(()),
    }
}

/// Writes a name for people: control characters and bytes that are not UTF-8 are escaped.
pub fn write_escaped(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || is_invisible(letter) {
                write!(f, "{}", letter.escape_default())?;
            } else {
                f.write_char(letter)?;
            }
        }
        chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
    }
    Ok(())
}

/// Marks that reorder or hide text on a terminal.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

macro_rules! bytes_value {
    ($type:ty, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write_escaped(self.as_bytes(), f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.as_bytes())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$type, E> {
                        <$type>::parse(bytes).map_err(E::custom)
                    }
                }
                deserializer.deserialize_byte_buf(BufVisitor(Visitor))
            }
        }
    };
}

/// Lets a visitor of borrowed bytes take owned ones too.
struct BufVisitor<V>(V);

impl<'de, V: serde::de::Visitor<'de>> serde::de::Visitor<'de> for BufVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        self.0.visit_bytes(bytes)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<V::Value, E> {
        self.0.visit_bytes(&bytes)
    }
}

bytes_value!(Name, "a name");
bytes_value!(RelPath, "a relative path");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbing_absolute_and_own_paths_are_refused() {
        for (bytes, error) in [
            (b"../a".as_slice(), PathError::Dots),
            (b"a/./b", PathError::Dots),
            (b"/a", PathError::EmptyName),
            (b"a//b", PathError::EmptyName),
            (b"a/", PathError::EmptyName),
            (b"a\0b", PathError::BadByte),
            (b".strait", PathError::OwnFolder),
            (b".strait/state", PathError::OwnFolder),
        ] {
            assert_eq!(RelPath::parse(bytes), Err(error), "{bytes:?}");
        }
        assert!(RelPath::parse(b"a/.strait").is_ok(), "only at the root is it strait's own");
    }

    #[test]
    fn long_names_long_paths_and_deep_paths_are_refused() {
        assert!(Name::parse(&[b'x'; 255]).is_ok());
        assert_eq!(Name::parse(&[b'x'; 256]), Err(PathError::LongName(256)));
        let deep = vec!["d"; PATH_DEPTH].join("/");
        let path = RelPath::parse(deep.as_bytes()).expect("128 levels are allowed");
        assert_eq!(path.join(&Name::parse(b"e").expect("a name")), Err(PathError::Deep));
    }

    #[test]
    fn a_sibling_with_a_common_beginning_is_not_below() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        assert!(path("a/b").is_at_or_below(&path("a")));
        assert!(path("a").is_at_or_below(&path("a")));
        assert!(!path("ab").is_at_or_below(&path("a")));
        assert!(path("ab").is_at_or_below(&RelPath::root()));
    }

    #[test]
    fn names_are_escaped_for_people() {
        let name = Name::parse(b"a\nb\xff\x1b[31m").expect("any bytes are a name");
        assert_eq!(name.to_string(), "a\\nb\\xff\\u{1b}[31m");
    }
}
