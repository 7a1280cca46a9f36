//! Trees of entries, hashed from the leaves to the root.
//!
//! A tree is persistent: directories are shared between versions and between the three trees of
//! the protocol (source, acknowledged, destination), so that a copy costs nothing and a change
//! costs the directories above it. Everything keeps byte order of names.

use crate::model::entries::Entries;
use crate::model::entry::{Content, Kind, Leaf, Meta};
use crate::model::hash::{ContentHash, Tag};
use crate::model::path::{Name, RelPath};
use crate::model::ranges::{Below, Range, Ranges, hash_all};
use std::sync::{Arc, OnceLock};

/// Directories of so many entries and more keep what is known of their ranges.
const LARGE_ENTRIES: usize = 512;

/// One entry of a directory.
#[derive(Clone, Debug)]
pub enum Node {
    Leaf(Leaf),
    Dir(Arc<Dir>),
}

/// A directory: its own metadata and its entries.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    pub meta: Meta,
    entries: Entries,
    summary: OnceLock<Summary>,
    /// What is still known of the ranges of a large directory since it was changed.
    ranges: Option<Box<Ranges>>,
}

/// What follows from the entries of a directory; computed once for each version of it.
#[derive(Clone, Debug)]
struct Summary {
    hash: Option<ContentHash>,
    below: Below,
    /// Of a large directory.
    ranges: Option<Box<Ranges>>,
}

/// A whole tree. Mode and time of the root directory itself are not part of it.
#[derive(Clone, Debug, Default)]
pub struct Tree(Arc<Dir>);

/// Why an entry cannot be put or taken at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("the directory that should hold it is missing")]
    NoParent,
    #[error("there is no such entry")]
    Missing,
}

impl Node {
    /// A directory without entries.
    pub fn empty_dir(meta: Meta) -> Self {
        Node::Dir(Arc::new(Dir::new(meta)))
    }

    pub fn kind(&self) -> Kind {
        match self {
            Node::Leaf(leaf) => leaf.kind,
            Node::Dir(_) => Kind::Dir,
        }
    }

    pub fn meta(&self) -> &Meta {
        match self {
            Node::Leaf(leaf) => &leaf.meta,
            Node::Dir(dir) => &dir.meta,
        }
    }

    /// The same entry with other metadata.
    pub fn with_meta(&self, meta: Meta) -> Self {
        match self {
            Node::Leaf(leaf) => Node::Leaf(Leaf { meta, ..*leaf }),
            Node::Dir(dir) => Node::Dir(Arc::new(Dir { meta, ..Dir::clone(dir) })),
        }
    }

    pub fn as_dir(&self) -> Option<&Arc<Dir>> {
        match self {
            Node::Dir(dir) => Some(dir),
            Node::Leaf(_) => None,
        }
    }

    pub fn as_leaf(&self) -> Option<&Leaf> {
        match self {
            Node::Leaf(leaf) => Some(leaf),
            Node::Dir(_) => None,
        }
    }

    /// Content, target or directory hash; `None` while something below is not known whole.
    pub fn hash(&self) -> Option<ContentHash> {
        match self {
            Node::Leaf(leaf) => leaf.content.whole(),
            Node::Dir(dir) => dir.hash(),
        }
    }

    /// The first eight bytes of the hash; [`Tag::UNKNOWN`] while nothing is known.
    pub fn tag(&self) -> Tag {
        match self {
            Node::Leaf(leaf) => leaf.content.tag(),
            Node::Dir(dir) => dir.hash().map_or(Tag::UNKNOWN, |hash| hash.tag()),
        }
    }

    /// Entries below it; 0 for a leaf.
    pub fn n_below(&self) -> u64 {
        self.as_dir().map_or(0, |dir| dir.n_below())
    }

    /// Whether both are the same in everything that is hashed.
    pub fn is_same(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Leaf(left), Node::Leaf(right)) => left == right && left.content.whole().is_some(),
            (Node::Dir(left), Node::Dir(right)) => left.meta == right.meta && left.has_same_entries(right),
            _ => false,
        }
    }
}

impl Dir {
    /// A directory without entries.
    pub fn new(meta: Meta) -> Self {
        Self { meta, ..Self::default() }
    }

    /// A directory with these entries.
    pub fn with_entries(meta: Meta, entries: Entries) -> Self {
        Self { meta, entries, ..Self::default() }
    }

    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    pub fn get(&self, name: &Name) -> Option<&Node> {
        self.entries.get(name)
    }

    /// Directory hash over the entries; `None` while one of them is not known whole.
    pub fn hash(&self) -> Option<ContentHash> {
        self.summary().hash
    }

    /// Number of entries below, at any depth.
    pub fn n_below(&self) -> u64 {
        self.summary().below.entries
    }

    /// Bytes of the files below, at any depth.
    pub fn bytes_below(&self) -> u64 {
        self.summary().below.bytes
    }

    /// The ranges that a large directory is hashed by, in order; of a small one none.
    pub fn ranges(&self) -> Vec<Range> {
        self.summary().ranges.as_ref().map_or_else(Vec::new, |ranges| ranges.told(&self.entries))
    }

    /// The entries of one of them, told by its first name; none where no range begins.
    pub fn entries_of<'d>(&'d self, first: &'d Name) -> impl Iterator<Item = (&'d Name, &'d Node)> {
        let ranges = self.summary().ranges.as_ref();
        ranges.into_iter().flat_map(|ranges| ranges.entries_of(first, &self.entries))
    }

    /// Whether both hold the same entries, as far as hashes tell.
    pub fn has_same_entries(&self, other: &Dir) -> bool {
        std::ptr::eq(self, other) || (self.hash().is_some() && self.hash() == other.hash())
    }

    /// Puts an entry and returns what was there.
    fn insert(&mut self, name: Name, node: Node) -> Option<Node> {
        let there = self.entries.insert(name.clone(), node);
        let touched = if there.is_some() { Ranges::changed } else { Ranges::inserted };
        self.forget(|ranges| touched(ranges, &name));
        there
    }

    /// Takes an entry away.
    fn remove(&mut self, name: &Name) -> Option<Node> {
        let there = self.entries.remove(name)?;
        self.forget(|ranges| ranges.removed(name));
        Some(there)
    }

    /// A directory in this one, to be changed.
    fn dir_mut(&mut self, name: &Name) -> Option<&mut Dir> {
        if !matches!(self.entries.get(name), Some(Node::Dir(_))) {
            return None;
        }
        self.forget(|ranges| ranges.changed(name));
        match self.entries.get_mut(name) {
            Some(Node::Dir(below)) => Some(Arc::make_mut(below)),
            _ => None,
        }
    }

    /// The hash is computed again when asked for: of the ranges that were touched.
    fn forget(&mut self, touch: impl FnOnce(&mut Ranges)) {
        if let Some(summary) = self.summary.take() {
            self.ranges = summary.ranges;
        }
        if let Some(ranges) = &mut self.ranges {
            touch(ranges);
        }
    }

    fn summary(&self) -> &Summary {
        self.summary.get_or_init(|| self.summarise())
    }

    fn summarise(&self) -> Summary {
        if self.entries.len() < LARGE_ENTRIES {
            let (hash, below) = hash_all(&self.entries);
            return Summary { hash, below, ranges: None };
        }
        let mut ranges = self.ranges.clone().unwrap_or_else(|| Box::new(Ranges::of(&self.entries)));
        let (hash, below) = ranges.summarise(&self.entries);
        Summary { hash, below, ranges: Some(ranges) }
    }
}

impl Tree {
    /// A tree whose root directory is this one.
    pub fn new(root: Arc<Dir>) -> Self {
        Self(root)
    }

    pub fn root(&self) -> &Arc<Dir> {
        &self.0
    }

    /// Number of entries, the root not counted.
    pub fn n_entries(&self) -> u64 {
        self.0.n_below()
    }

    /// The name of the whole state: over the scope, the number of entries and the root directory.
    pub fn root_hash(&self, scope: &[u8; 16]) -> Option<ContentHash> {
        let hash = self.0.hash()?;
        let mut bytes = scope.to_vec();
        bytes.extend(self.0.n_below().to_le_bytes());
        bytes.extend(hash.0);
        Some(ContentHash(blake3::derive_key("strait 1 root", &bytes)))
    }

    /// The entry at a path; `None` for the root and for what is not there.
    pub fn get(&self, path: &RelPath) -> Option<&Node> {
        let (parent, name) = path.split()?;
        self.dir(&parent)?.get(&name)
    }

    /// The directory at a path, which may be the root.
    pub fn dir(&self, path: &RelPath) -> Option<&Arc<Dir>> {
        path.names().try_fold(&self.0, |dir, name| dir.get(&name)?.as_dir())
    }

    /// Puts an entry at a path and returns what was there.
    pub fn insert(&mut self, path: &RelPath, node: Node) -> Result<Option<Node>, TreeError> {
        let (parent, name) = path.split().ok_or(TreeError::NoParent)?;
        Ok(self.dir_mut(&parent)?.insert(name, node))
    }

    /// Takes the entry at a path away.
    pub fn remove(&mut self, path: &RelPath) -> Result<Node, TreeError> {
        let (parent, name) = path.split().ok_or(TreeError::Missing)?;
        if self.get(path).is_none() {
            return Err(TreeError::Missing);
        }
        self.dir_mut(&parent)?.remove(&name).ok_or(TreeError::Missing)
    }

    /// Sets mode and time of an entry; those of the root are not kept.
    pub fn set_meta(&mut self, path: &RelPath, meta: Meta) -> Result<(), TreeError> {
        if path.is_root() {
            return Ok(());
        }
        let node = self.get(path).ok_or(TreeError::Missing)?.with_meta(meta);
        self.insert(path, node).map(|_| ())
    }

    /// The directory at a path, to be changed, with every directory above it.
    fn dir_mut(&mut self, path: &RelPath) -> Result<&mut Dir, TreeError> {
        if self.dir(path).is_none() {
            return Err(TreeError::NoParent);
        }
        let mut dir = Arc::make_mut(&mut self.0);
        for name in path.names() {
            dir = dir.dir_mut(&name).ok_or(TreeError::NoParent)?;
        }
        Ok(dir)
    }

    /// Calls `visit` for every entry, parents before children, in byte order of names.
    pub fn for_each(&self, visit: &mut dyn FnMut(&RelPath, &Node)) {
        fn walk(dir: &Dir, path: &RelPath, visit: &mut dyn FnMut(&RelPath, &Node)) {
            for (name, node) in dir.entries().iter() {
                let Ok(path) = path.join(name) else { continue };
                visit(&path, node);
                if let Node::Dir(below) = node {
                    walk(below, &path, visit);
                }
            }
        }
        walk(&self.0, &RelPath::root(), visit);
    }

    /// Numbers of files, directories and symlinks.
    pub fn n_kinds(&self) -> [u64; 3] {
        fn count(dir: &Dir, counts: &mut [u64; 3]) {
            for node in dir.entries().nodes() {
                counts[node.kind() as usize] += 1;
                if let Node::Dir(below) = node {
                    count(below, counts);
                }
            }
        }
        let mut counts = [0; 3];
        count(&self.0, &mut counts);
        [counts[Kind::File as usize], counts[Kind::Dir as usize], counts[Kind::Link as usize]]
    }

    /// The same tree, with every directory that another tree has at the same path held once for both.
    pub fn sharing(&self, other: &Tree) -> Tree {
        Tree(share(&self.0, &other.0))
    }

    /// Whether every content below is known whole.
    pub fn is_whole(&self) -> bool {
        self.0.hash().is_some()
    }
}

fn share(dir: &Arc<Dir>, other: &Arc<Dir>) -> Arc<Dir> {
    if Arc::ptr_eq(dir, other) || (dir.meta == other.meta && dir.has_same_entries(other)) {
        return other.clone();
    }
    let mut shared = Vec::new();
    for (name, node) in dir.entries().iter() {
        if let (Node::Dir(below), Some(Node::Dir(like))) = (node, other.get(name)) {
            let with = share(below, like);
            if !Arc::ptr_eq(below, &with) {
                shared.push((name.clone(), with));
            }
        }
    }
    if shared.is_empty() {
        return dir.clone();
    }
    let mut dir = Dir::clone(dir);
    for (name, below) in shared {
        dir.entries.insert(name, Node::Dir(below));
    }
    Arc::new(dir)
}

/// Sets the content of a file whose hash was unknown; `false` when the entry is another by now.
pub fn learn_content(tree: &mut Tree, path: &RelPath, size: u64, content: Content) -> bool {
    match tree.get(path) {
        Some(Node::Leaf(leaf)) if leaf.size == size && leaf.content.whole().is_none() => {
            let leaf = Leaf { content, ..*leaf };
            tree.insert(path, Node::Leaf(leaf)).is_ok()
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
