//! Changes, and what they do to a tree.
//!
//! The same function moves all three trees: the planner's guess, the sender's acknowledged tree
//! and the receiver's own. Changes are absolute ("this path is now this entry"), so that making
//! one twice is harmless; only moves and swaps lean on what is there.

use crate::model::tree::TreeError;
use crate::model::{Content, ContentHash, Kind, Leaf, Meta, Node, RelPath, Time, Tree};

/// One change of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    File {
        path: RelPath,
        meta: Meta,
        size: u64,
        hash: ContentHash,
    },
    MakeDir {
        path: RelPath,
        meta: Meta,
    },
    Link {
        path: RelPath,
        mtime: Time,
        size: u64,
        hash: ContentHash,
    },
    SetMeta {
        path: RelPath,
        meta: Meta,
    },
    Move {
        from: RelPath,
        to: RelPath,
    },
    Swap {
        a: RelPath,
        b: RelPath,
    },
    /// What each path names goes to the next one, what the last names to the first; three or more.
    Rotate {
        ring: Vec<RelPath>,
    },
    Remove {
        path: RelPath,
    },
}

/// Why a change does not fit a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the directory that should hold it is missing")]
    NoParent,
    #[error("something of another kind has its name")]
    WrongKind,
    #[error("there is no such entry")]
    Missing,
}

impl From<TreeError> for Misfit {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::NoParent => Misfit::NoParent,
            TreeError::Missing => Misfit::Missing,
        }
    }
}

impl Change {
    /// The change that makes `path` the leaf it is in another tree.
    pub fn leaf(path: RelPath, leaf: &Leaf, hash: ContentHash) -> Self {
        match leaf.kind {
            Kind::Link => Change::Link { path, mtime: leaf.meta.mtime, size: leaf.size, hash },
            Kind::File | Kind::Dir => Change::File { path, meta: leaf.meta, size: leaf.size, hash },
        }
    }

    /// Bytes of content that it brings.
    pub fn content_bytes(&self) -> u64 {
        if let Change::File { size, .. } = self { *size } else { 0 }
    }

    /// The content of the file that it brings.
    pub fn content(&self) -> Option<ContentHash> {
        if let Change::File { hash, .. } = self { Some(*hash) } else { None }
    }

    /// Whether it takes something away.
    pub fn is_removal(&self) -> bool {
        matches!(self, Change::Remove { .. })
    }

    /// The path that it is about; of a move where it leads, of a swap or a ring the first.
    pub fn path(&self) -> &RelPath {
        match self {
            Change::File { path, .. }
            | Change::MakeDir { path, .. }
            | Change::Link { path, .. }
            | Change::SetMeta { path, .. }
            | Change::Remove { path } => path,
            Change::Move { to, .. } => to,
            Change::Swap { a, .. } => a,
            Change::Rotate { ring } => ring.first().expect("a ring holds names"),
        }
    }
}

/// Makes a change in a tree, or says why it does not fit and leaves the tree as it was.
///
/// Files may replace files, symlinks symlinks, a moved file a file; everything else must find its
/// name free. Removing what is not there is done already.
pub fn apply(tree: &mut Tree, change: &Change) -> Result<(), Misfit> {
    match change {
        Change::File { path, meta, size, hash } => put_leaf(tree, path, Leaf::file(*meta, *size, *hash)),
        Change::Link { path, mtime, size, hash } => {
            let meta = Meta { mode: 0, mtime: *mtime };
            let leaf = Leaf { kind: Kind::Link, meta, size: *size, content: Content::Whole(*hash) };
            put_leaf(tree, path, leaf)
        }
        Change::MakeDir { path, meta } => match tree.get(path) {
            Some(Node::Dir(_)) => Ok(tree.set_meta(path, *meta)?),
            Some(Node::Leaf(_)) => Err(Misfit::WrongKind),
            None => Ok(tree.insert(path, Node::empty_dir(*meta)).map(|_| ())?),
        },
        Change::SetMeta { path, meta } => Ok(tree.set_meta(path, *meta)?),
        Change::Move { from, to } => move_entry(tree, from, to),
        Change::Swap { a, b } => rotate_entries(tree, &[a.clone(), b.clone()]),
        Change::Rotate { ring } => rotate_entries(tree, ring),
        Change::Remove { path } => match tree.remove(path) {
            Ok(_) | Err(TreeError::Missing) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

fn put_leaf(tree: &mut Tree, path: &RelPath, leaf: Leaf) -> Result<(), Misfit> {
    if tree.get(path).is_some_and(|node| node.kind() != leaf.kind) {
        return Err(Misfit::WrongKind);
    }
    tree.insert(path, Node::Leaf(leaf))?;
    Ok(())
}

fn move_entry(tree: &mut Tree, from: &RelPath, to: &RelPath) -> Result<(), Misfit> {
    let node = tree.get(from).ok_or(Misfit::Missing)?.clone();
    if to.is_at_or_below(from) {
        return Err(Misfit::NoParent);
    }
    if tree.dir(&to.parent()).is_none() {
        return Err(Misfit::NoParent);
    }
    if tree.get(to).is_some_and(|there| there.kind() != Kind::File || node.kind() != Kind::File) {
        return Err(Misfit::WrongKind);
    }
    tree.remove(from)?;
    tree.insert(to, node)?;
    Ok(())
}

fn rotate_entries(tree: &mut Tree, ring: &[RelPath]) -> Result<(), Misfit> {
    let mut nodes = Vec::with_capacity(ring.len());
    for (index, path) in ring.iter().enumerate() {
        if ring[..index].iter().any(|other| path.is_at_or_below(other) || other.is_at_or_below(path)) {
            return Err(Misfit::NoParent);
        }
        nodes.push(tree.get(path).ok_or(Misfit::Missing)?.clone());
    }
    for (node, path) in nodes.into_iter().zip(ring.iter().cycle().skip(1)) {
        tree.insert(path, node)?;
    }
    Ok(())
}
