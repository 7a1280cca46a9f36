//! The changes that make one tree into another, in an order that can be carried out.
//!
//! A pass is planned from two trees, never from the order of events: moves first (they free names
//! and make parents), then names that are taken are freed, directories made before what is in
//! them, contents, symlinks, metadata, and all other removals last, one for each topmost path.

use crate::model::{Dir, Kind, Meta, Node, RelPath, Tree};
use crate::plan::change::{Change, apply};
use crate::plan::moves::find_moves;
use std::collections::BTreeSet;

/// The changes of a pass, in order.
#[derive(Debug, Default)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// Entries that go, with all that is below them.
    pub n_deleted: u64,
}

/// Changes by kind, before they are put in order.
#[derive(Default)]
struct Pass {
    frees: Vec<Change>,
    dirs: Vec<Change>,
    files: Vec<Change>,
    links: Vec<Change>,
    metas: Vec<Change>,
    removes: Vec<Change>,
    n_deleted: u64,
}

/// Plans how `have` becomes `want`.
///
/// Paths at or below `untouched` are left as they are: the sender could not read them, so it
/// knows nothing of them.
pub fn plan(have: &Tree, want: &Tree, untouched: &BTreeSet<RelPath>) -> Plan {
    let mut moved = have.clone();
    let mut changes = find_moves(&mut moved, want, untouched);
    let mut pass = Pass { n_deleted: n_removed(have, &changes), ..Pass::default() };
    pass.walk(moved.root(), want.root(), &RelPath::root(), untouched);
    // Metadata travels directory by directory.
    pass.metas.sort_by_cached_key(|change| change.path().split());
    let groups = [pass.frees, pass.dirs, pass.files, pass.links, pass.metas, pass.removes];
    // Of a first pass they are as many as there are entries.
    changes.reserve_exact(groups.iter().map(Vec::len).sum());
    for group in groups {
        changes.extend(group);
    }
    Plan { changes, n_deleted: pass.n_deleted }
}

/// Entries that go when these changes are made in `have`.
fn n_removed(have: &Tree, changes: &[Change]) -> u64 {
    if !changes.iter().any(Change::is_removal) {
        return 0;
    }
    let mut tree = have.clone();
    let mut n = 0;
    for change in changes {
        if let Change::Remove { path } = change {
            n += tree.get(path).map_or(0, |node| 1 + node.n_below());
        }
        let _ = apply(&mut tree, change);
    }
    n
}

/// What `have` is after all changes, as far as they fit.
pub fn after(have: &Tree, changes: &[Change]) -> Tree {
    let mut tree = have.clone();
    for change in changes {
        let _ = apply(&mut tree, change);
    }
    tree
}

impl Pass {
    fn walk(&mut self, have: &Dir, want: &Dir, path: &RelPath, untouched: &BTreeSet<RelPath>) {
        if have.has_same_entries(want) {
            return;
        }
        for (name, old) in have.entries().iter() {
            let Ok(path) = path.join(name) else { continue };
            if want.get(name).is_none() && !holds_untouched(&path, untouched) {
                self.n_deleted += 1 + old.n_below();
                self.removes.push(Change::Remove { path });
            }
        }
        for (name, new) in want.entries().iter() {
            let Ok(path) = path.join(name) else { continue };
            if is_untouched(&path, untouched) {
                continue;
            }
            match have.get(name) {
                Some(old) if old.kind() == new.kind() => self.compare(old, new, path, untouched),
                Some(old) => {
                    self.n_deleted += 1 + old.n_below();
                    self.frees.push(Change::Remove { path: path.clone() });
                    self.add(new, path, untouched);
                }
                None => self.add(new, path, untouched),
            }
        }
    }

    fn compare(&mut self, old: &Node, new: &Node, path: RelPath, untouched: &BTreeSet<RelPath>) {
        match (old, new) {
            (Node::Dir(old_dir), Node::Dir(new_dir)) => {
                self.walk(old_dir, new_dir, &path, untouched);
                self.compare_meta(&old_dir.meta, &new_dir.meta, path);
            }
            (Node::Leaf(old), Node::Leaf(new_leaf)) => {
                if old.content.whole().is_some() && old.content == new_leaf.content {
                    self.compare_meta(&old.meta, &new_leaf.meta, path);
                } else {
                    self.add(new, path, untouched);
                }
            }
            _ => {}
        }
    }

    fn compare_meta(&mut self, old: &Meta, new: &Meta, path: RelPath) {
        if old != new {
            self.metas.push(Change::SetMeta { path, meta: *new });
        }
    }

    fn add(&mut self, new: &Node, path: RelPath, untouched: &BTreeSet<RelPath>) {
        match new {
            Node::Dir(dir) => {
                self.dirs.push(Change::MakeDir { path: path.clone(), meta: dir.meta });
                self.walk(&Dir::default(), dir, &path, untouched);
            }
            Node::Leaf(leaf) => {
                let Some(hash) = leaf.content.whole() else { return };
                let changes = if leaf.kind == Kind::Link { &mut self.links } else { &mut self.files };
                changes.push(Change::leaf(path, leaf, hash));
            }
        }
    }
}

/// Whether the path, or one above it, is to be left as it is.
pub fn is_untouched(path: &RelPath, untouched: &BTreeSet<RelPath>) -> bool {
    if untouched.is_empty() {
        return false;
    }
    let mut path = path.clone();
    loop {
        if untouched.contains(&path) {
            return true;
        }
        match path.split() {
            Some((parent, _)) => path = parent,
            None => return false,
        }
    }
}

/// Whether the path, one above it or one below it is to be left as it is.
pub fn holds_untouched(path: &RelPath, untouched: &BTreeSet<RelPath>) -> bool {
    is_untouched(path, untouched)
        || untouched
            .range(path..)
            .take_while(|below| below.as_bytes().starts_with(path.as_bytes()))
            .any(|below| below.is_at_or_below(path))
}
