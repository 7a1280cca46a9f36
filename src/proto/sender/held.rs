//! Contents that the destination holds under whatever name, as far as this side knows; a wrong guess is refused.

use crate::model::limits::UNACKNOWLEDGED;
use crate::model::{ContentHash, Kind, Leaf, Node, Tree};
use std::collections::HashSet;

/// What the destination holds.
#[derive(Default)]
pub(super) struct Held {
    /// Made of A when first needed, then kept.
    contents: Option<HashSet<ContentHash>>,
    /// Those that a change took from a path: they may stand elsewhere, but that is not known.
    replaced: HashSet<ContentHash>,
}

impl Held {
    /// Whether a content is or was there since `acknowledged` was compared.
    pub(super) fn holds(&mut self, acknowledged: Option<&Tree>, hash: &ContentHash) -> bool {
        let contents = self.contents.get_or_insert_with(|| {
            let mut contents = HashSet::new();
            if let Some(tree) = acknowledged {
                tree.for_each(&mut |_, node| contents.extend(content_of(node)));
            }
            contents
        });
        contents.contains(hash)
    }

    /// The same, and that nothing took its place.
    pub(super) fn surely_holds(&mut self, acknowledged: Option<&Tree>, hash: &ContentHash) -> bool {
        !self.replaced.contains(hash) && self.holds(acknowledged, hash)
    }

    /// Something else comes in the place of an entry.
    pub(super) fn replaced(&mut self, node: &Node) {
        match node {
            Node::Leaf(_) => self.replaced.extend(content_of(node)),
            Node::Dir(dir) => {
                Tree::new(dir.clone()).for_each(&mut |_, below| self.replaced.extend(content_of(below)));
            }
        }
    }

    /// A content has come.
    pub(super) fn came(&mut self, hash: ContentHash) {
        self.replaced.remove(&hash);
        if let Some(contents) = &mut self.contents {
            contents.insert(hash);
        }
    }

    /// It was refused as a basis; returns whether it was taken to be there.
    pub(super) fn is_not_there(&mut self, hash: &ContentHash) -> bool {
        self.contents.as_mut().is_some_and(|contents| contents.remove(hash))
    }

    /// Begins anew, of another A.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Begins anew when most of what is remembered cannot be there any more, with so many entries.
    pub(super) fn bound(&mut self, n_entries: u64) {
        let n_remembered = self.contents.as_ref().map_or(0, HashSet::len) + self.replaced.len();
        if n_remembered > 2 * n_entries as usize + UNACKNOWLEDGED {
            self.forget();
        }
    }
}

fn content_of(node: &Node) -> Option<ContentHash> {
    node.as_leaf().filter(|leaf: &&Leaf| leaf.kind == Kind::File)?.content.whole()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, Meta, RelPath};

    fn hash(number: u64) -> ContentHash {
        ContentHash::of(&number.to_le_bytes())
    }

    fn tree_of(numbers: std::ops::Range<u64>) -> Tree {
        let mut tree = Tree::default();
        for number in numbers {
            let path = RelPath::parse(format!("{number}").as_bytes()).expect("a path");
            let content = Content::Whole(hash(number));
            let leaf = Leaf { kind: Kind::File, meta: Meta::default(), size: 8, content };
            tree.insert(&path, Node::Leaf(leaf)).expect("its parent is the root");
        }
        tree
    }

    #[test]
    fn a_content_that_something_took_the_place_of_is_not_surely_there() {
        let tree = tree_of(0..3);
        let mut held = Held::default();
        held.replaced(tree.root().entries().nodes().next().expect("three"));
        assert!(held.holds(Some(&tree), &hash(0)) && !held.surely_holds(Some(&tree), &hash(0)));
        held.came(hash(0));
        held.came(hash(7));
        for number in [0, 1, 2, 7] {
            assert!(held.surely_holds(Some(&tree), &hash(number)), "{number}");
        }
        held.replaced(&Node::Dir(tree.root().clone()));
        assert!((0..3).all(|number| !held.surely_holds(Some(&tree), &hash(number))));
        assert!(held.is_not_there(&hash(7)) && !held.is_not_there(&hash(7)));
    }

    #[test]
    fn a_watch_that_runs_for_ever_remembers_no_more_than_its_tree_is_large() {
        let tree = tree_of(0..10);
        let mut held = Held::default();
        for number in 0..3 * UNACKNOWLEDGED as u64 {
            held.holds(Some(&tree), &hash(number));
            held.came(hash(number));
            held.bound(tree.n_entries());
            let n_contents = held.contents.as_ref().map_or(0, HashSet::len);
            assert!(n_contents <= UNACKNOWLEDGED + 20, "{n_contents}");
        }
        assert!(held.surely_holds(Some(&tree), &hash(3)));
    }
}
