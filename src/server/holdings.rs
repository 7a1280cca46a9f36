//! What a destination holds besides the file in question: the chunks of all its contents, for either side.

use super::contents::KnownContents;
use crate::delta::chunks::ChunkMap;
use crate::delta::find::ChunkTable;
use crate::model::limits::PACK_FILE_BYTES;
use crate::model::{ContentHash, Kind, Leaf, Node, RelPath, Tag, Tree};
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// The contents of a tree, as they were when it was taken; what is gone by now is refused when it is used.
pub struct Holdings {
    tree: Tree,
    held: OnceLock<Held>,
}

/// What is known of them.
pub struct Held {
    pub table: ChunkTable,
    /// Bytes of the contents without a chunk map here, and the size of each.
    pub unknown_bytes: u64,
    pub unknown: HashMap<Tag, u64>,
}

impl Holdings {
    pub fn new(tree: Tree) -> Self {
        Self { tree, held: OnceLock::new() }
    }

    /// The chunks of all contents that are too large for a pack, gathered when they are first wanted.
    pub fn held(&self, known: &KnownContents) -> &Held {
        self.held_with(known, &mut |_, _| None)
    }

    /// The same; `cut` makes the map of a file of which none is kept, if it is worth that.
    pub fn held_with(
        &self,
        known: &KnownContents,
        cut: &mut dyn FnMut(&RelPath, &Leaf) -> Option<ChunkMap>,
    ) -> &Held {
        self.held.get_or_init(|| {
            let mut held = Held { table: ChunkTable::default(), unknown_bytes: 0, unknown: HashMap::new() };
            let mut seen = HashSet::new();
            self.tree.for_each(&mut |path, node| {
                let Some(leaf) = node.as_leaf().filter(|leaf| leaf.kind == Kind::File) else { return };
                if leaf.size <= PACK_FILE_BYTES || !seen.insert(leaf.content.tag()) {
                    return;
                }
                let hash = leaf.content.whole();
                let mut map = |hash| known.chunks(&hash).or_else(|| cut(path, leaf));
                match hash.and_then(|hash| Some((hash, map(hash)?))) {
                    Some((hash, map)) => held.table.add(hash, &map),
                    None => {
                        held.unknown_bytes += leaf.size;
                        held.unknown.insert(leaf.content.tag(), leaf.size);
                    }
                }
            });
            held
        })
    }

    /// The file beside a path whose name and size are most like its own: a dump under a new name each day
    /// shares no chunk with the last one when every line of it has changed a little.
    pub fn namesake(&self, path: &RelPath, size: u64) -> Option<ContentHash> {
        let (parent, name) = path.split()?;
        let dir = self.tree.dir(&parent)?;
        let alike = dir.entries().iter().filter_map(|(other, node)| {
            let Node::Leaf(leaf) = node else { return None };
            let is_like = leaf.kind == Kind::File
                && leaf.size > PACK_FILE_BYTES
                && leaf.size / 2 <= size
                && size / 2 <= leaf.size;
            let score = likeness(name.as_bytes(), other.as_bytes()).filter(|_| is_like)?;
            Some((score, std::cmp::Reverse(leaf.size.abs_diff(size)), leaf.content.whole()?))
        });
        alike.max().map(|(_, _, hash)| hash)
    }
}

/// Bytes that two names share at both ends, if that is most of the longer one.
fn likeness(one: &[u8], other: &[u8]) -> Option<usize> {
    let head = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one_rest, other_rest) = (&one[head..], &other[head..]);
    let tail = one_rest.iter().rev().zip(other_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let shared = head + tail;
    (shared * 2 >= one.len().max(other.len())).then_some(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_a_date_are_alike() {
        assert_eq!(likeness(b"dump-2026-11-24.sql", b"dump-2026-11-23.sql"), Some(18));
        assert_eq!(likeness(b"app.log.1", b"app.log"), Some(7));
        assert_eq!(likeness(b"a.txt", b"photo.raw"), None);
        assert_eq!(likeness(b"same", b"same"), Some(4));
    }
}
