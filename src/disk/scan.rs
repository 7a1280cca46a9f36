//! One scanner for both sides: a root, or parts of it, to a tree.
//!
//! Directories are listed by all cores from one queue, each watched *before* it is listed; then
//! the files whose hash is not known are read, the largest first, by all cores again. What could
//! not be read is left out of the tree and named in the [`Findings`]: nothing at or below such a
//! path, and nothing in a directory that was not listed completely, may be deleted elsewhere.

use super::contents::Contents;
use super::findings::{Findings, Options};
use super::root::Root;
use super::stat::DirId;
use super::walk::{Walked, walk};
use crate::model::{Dir, Meta, Node, RelPath, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// A whole root as it was found.
#[derive(Debug)]
pub struct Scan {
    pub root: Arc<Dir>,
    /// Identity of every directory in the tree, the root included.
    pub dirs: BTreeMap<RelPath, DirId>,
    pub findings: Findings,
}

/// Why there is no scan.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Hold: nothing can be concluded.
    #[error("the root cannot be listed: {0}")]
    Root(io::Error),
    #[error("the scan was stopped")]
    Stopped,
}

/// Scans a whole root.
pub fn scan(root: &Root, contents: &dyn Contents, options: &Options) -> Result<Scan, ScanError> {
    let enters = |_: &RelPath, _: DirId| true;
    let mut walked = walk(root, contents, options, vec![RelPath::root()], &enters)?;
    let dirs = walked.identities();
    let node = walked.assemble(&RelPath::root(), &|_, _| None);
    let Some(Node::Dir(dir)) = node else {
        return Err(ScanError::Root(io::ErrorKind::NotFound.into()));
    };
    Ok(Scan { root: dir, dirs, findings: walked.findings })
}

/// What a rescan made of an earlier scan.
#[derive(Debug)]
pub struct Rescan {
    /// Shares with the earlier tree what did not change.
    pub tree: Tree,
    /// Directories that went, or gave way to another at the same path; taken off before `added`.
    pub removed: BTreeSet<RelPath>,
    /// Directories that came.
    pub added: BTreeMap<RelPath, DirId>,
    /// Directories that were listed: what the findings speak of.
    pub listed: BTreeSet<RelPath>,
    pub findings: Findings,
}

impl Rescan {
    /// Brings the identities of an earlier scan up to date.
    pub fn renew(&self, dirs: &mut BTreeMap<RelPath, DirId>) {
        for path in &self.removed {
            dirs.remove(path);
        }
        dirs.extend(self.added.iter().map(|(path, id)| (path.clone(), *id)));
    }
}

/// Where the tree may differ from an earlier scan.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Directories whose entries changed; listed alone.
    pub dirs: BTreeSet<RelPath>,
    /// Paths that something was moved to or made at, or about which nothing is known any more: a
    /// directory there is scanned whole, also when it looks as before.
    pub whole: BTreeSet<RelPath>,
}

/// Lists what was touched again and brings an earlier scan, its `tree` and `dirs`, up to date.
///
/// Subdirectories that stand as before (same path and identity) are kept as they are; others are
/// scanned whole. A touched directory that is gone, new or another than before makes the nearest
/// one above it that still stands be listed instead.
pub fn rescan(
    root: &Root,
    tree: &Tree,
    dirs: &BTreeMap<RelPath, DirId>,
    touched: &Touched,
    contents: &dyn Contents,
    options: &Options,
) -> Result<Rescan, ScanError> {
    let mut start: BTreeSet<RelPath> = touched.dirs.iter().map(|path| standing(root, dirs, path)).collect();
    for path in &touched.whole {
        // From above, so that one that went or came is seen there.
        start.insert(standing(root, dirs, &path.parent()));
        start.insert(standing(root, dirs, path));
    }
    loop {
        let enters = |path: &RelPath, id: DirId| {
            !start.contains(&path.parent())
                || dirs.get(path) != Some(&id)
                || touched.whole.iter().any(|whole| path.is_at_or_below(whole))
        };
        let walked = walk(root, contents, options, start.iter().cloned().collect(), &enters)?;
        let gone: Vec<RelPath> = start.iter().filter(|path| walked.is_gone(path)).cloned().collect();
        if gone.is_empty() {
            return Ok(renewed(tree, dirs, &start, walked));
        }
        for path in gone {
            start.remove(&path);
            start.insert(standing(root, dirs, &path.parent()));
        }
    }
}

/// The nearest directory at or above a path that stands as it was scanned.
fn standing(root: &Root, dirs: &BTreeMap<RelPath, DirId>, path: &RelPath) -> RelPath {
    let mut path = path.clone();
    while !path.is_root() {
        let id = root.dir_id(&path).ok().flatten();
        if id.is_some() && id.as_ref() == dirs.get(&path) {
            break;
        }
        path = path.parent();
    }
    path
}

/// The earlier tree with the listed directories in place of what it had there.
fn renewed(
    tree: &Tree,
    dirs: &BTreeMap<RelPath, DirId>,
    start: &BTreeSet<RelPath>,
    mut walked: Walked,
) -> Rescan {
    let found = walked.identities();
    let listed: BTreeSet<RelPath> = walked.listed.keys().cloned().collect();
    let removed = removed_dirs(tree, dirs, &listed, &found);
    let is_new = |path: &RelPath, id: &DirId| removed.contains(path) || dirs.get(path) != Some(id);
    let added = found.into_iter().filter(|(path, id)| is_new(path, id)).collect();
    let keep = |path: &RelPath, meta: &Meta| match tree.dir(path)? {
        dir if dir.meta == *meta => Some(Node::Dir(dir.clone())),
        dir => Some(Node::Dir(dir.clone()).with_meta(*meta)),
    };
    let mut renewed = tree.clone();
    // Parents stand before what is below them.
    for path in start {
        let node = walked.assemble(path, &keep);
        match node {
            Some(Node::Dir(dir)) if path.is_root() => renewed = Tree::new(dir),
            // Fails only when a directory above was found gone: then this one is gone with it.
            Some(node) if renewed.dir(path).is_some() => drop(renewed.insert(path, node)),
            _ => {}
        }
    }
    Rescan { tree: renewed, removed, added, listed, findings: walked.findings }
}

/// Directories of the earlier scan, in or below one that was listed, that are no more.
fn removed_dirs(
    tree: &Tree,
    dirs: &BTreeMap<RelPath, DirId>,
    listed: &BTreeSet<RelPath>,
    found: &BTreeMap<RelPath, DirId>,
) -> BTreeSet<RelPath> {
    let mut removed = BTreeSet::new();
    for path in listed {
        let Some(dir) = tree.dir(path) else { continue };
        for (name, node) in dir.entries().iter() {
            let Ok(path) = path.join(name) else { continue };
            if dirs.get(&path).is_some_and(|id| found.get(&path) != Some(id)) {
                collect_dirs(&path, node, &mut removed);
            }
        }
    }
    removed.retain(|path| dirs.contains_key(path));
    removed
}

fn collect_dirs(path: &RelPath, node: &Node, dirs: &mut BTreeSet<RelPath>) {
    let Node::Dir(dir) = node else { return };
    dirs.insert(path.clone());
    for (name, node) in dir.entries().iter() {
        if let Ok(path) = path.join(name) {
            collect_dirs(&path, node, dirs);
        }
    }
}
