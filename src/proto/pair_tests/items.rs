//! What stands at the paths of a tree in memory.

use crate::model::{ContentHash, Kind, Leaf, Meta, RelPath};
use std::collections::BTreeMap;

/// What stands at a path, on either side.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub meta: Meta,
    pub body: Body,
    /// Another with every change of content or metadata, as inode and ctime would be.
    pub stamp: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    File(Vec<u8>),
    Dir,
    Link(Vec<u8>),
}

impl Item {
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::File(_) => Kind::File,
            Body::Dir => Kind::Dir,
            Body::Link(_) => Kind::Link,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::File(bytes) | Body::Link(bytes) => bytes,
            Body::Dir => &[],
        }
    }

    pub fn leaf(&self) -> Leaf {
        match &self.body {
            Body::File(bytes) => Leaf::file(self.meta, bytes.len() as u64, ContentHash::of(bytes)),
            Body::Link(target) => Leaf::link(self.meta.mtime, target),
            Body::Dir => panic!("a directory is no leaf"),
        }
    }
}

pub type Items = BTreeMap<RelPath, Item>;

impl Item {
    pub fn leaf_hash(&self) -> ContentHash {
        ContentHash::of(self.bytes())
    }
}
