//! Names of one file: a write through one of them raises no event at the others.
//!
//! Kept for files with more than one name only, as the last listing of each directory found them.

use crate::disk::{Inode, Linked, Rescan};
use crate::model::{ContentHash, Node, RelPath, Time, Tree};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Files of the source with more than one name.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By directory: as they are listed.
    dirs: BTreeMap<RelPath, Vec<(RelPath, Inode)>>,
    names: HashMap<Inode, BTreeSet<RelPath>>,
}

impl Links {
    /// What a scan of everything found.
    pub fn of(linked: &[Linked]) -> Self {
        let mut links = Self::default();
        links.add(linked);
        links
    }

    /// Takes what a scan of some directories found, and returns the directories in which other names of files stand that
    /// changed in it: nothing tells of them. `now`: the source with these directories, `before` without.
    pub fn renew(&mut self, renewed: &Rescan, before: &Tree, now: &Tree) -> BTreeSet<RelPath> {
        let linked = &renewed.findings.linked;
        let is_new: Vec<bool> = linked.iter().map(|one| !self.holds(one)).collect();
        for dir in renewed.listed.iter().chain(&renewed.removed) {
            self.forget(dir);
        }
        self.add(linked);
        let mut others = BTreeSet::new();
        let mut unknown = HashSet::new();
        for (one, is_new) in linked.iter().zip(is_new) {
            let Some(node) = now.get(&one.path) else { continue };
            if is_new {
                unknown.extend(before.get(&one.path).into_iter().chain([node]).filter_map(likeness));
                unknown.extend(one.earlier);
            }
            let names = self.names.get(&one.inode).into_iter().flatten();
            let differing = names.filter(|name| now.get(name).is_none_or(|there| !there.is_same(node)));
            others.extend(differing.map(RelPath::parent));
        }
        others.extend(dirs_with(now, &unknown));
        others.retain(|dir| !renewed.listed.contains(dir));
        others
    }

    fn holds(&self, one: &Linked) -> bool {
        self.names.get(&one.inode).is_some_and(|names| names.contains(&one.path))
    }

    fn add(&mut self, linked: &[Linked]) {
        for Linked { path, inode, .. } in linked {
            self.dirs.entry(path.parent()).or_default().push((path.clone(), *inode));
            self.names.entry(*inode).or_default().insert(path.clone());
        }
    }

    fn forget(&mut self, dir: &RelPath) {
        for (path, inode) in self.dirs.remove(dir).into_iter().flatten() {
            if let Some(names) = self.names.get_mut(&inode) {
                names.remove(&path);
                if names.is_empty() {
                    self.names.remove(&inode);
                }
            }
        }
    }
}

/// What a file has in common with its other names.
type Likeness = (ContentHash, Time);

fn likeness(node: &Node) -> Option<Likeness> {
    Some((node.as_leaf()?.content.whole()?, node.meta().mtime))
}

/// Directories with a file that is like one of these. A file that got a second name had only one when its directory was
/// listed last; what it is tells where it may be.
fn dirs_with(tree: &Tree, like: &HashSet<Likeness>) -> BTreeSet<RelPath> {
    let mut dirs = BTreeSet::new();
    if !like.is_empty() {
        tree.for_each(&mut |path, node| {
            if likeness(node).is_some_and(|likeness| like.contains(&likeness)) {
                dirs.insert(path.parent());
            }
        });
    }
    dirs
}
