//! The source as the destination can keep it: what cannot be kept is left out before hashing, so
//! that both sides can agree on a root.

use crate::model::{Dir, Kind, Meta, Node, RelPath, Time, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a destination can keep of metadata and kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Times are rounded down to a multiple of this.
    pub time_step_ns: u32,
    pub mode_mask: u16,
    pub symlinks: bool,
}

impl Kept {
    fn is_all(&self) -> bool {
        self.time_step_ns <= 1 && self.mode_mask & Meta::MODE_MASK == Meta::MODE_MASK && self.symlinks
    }

    fn meta(&self, meta: &Meta) -> Meta {
        let step = u64::from(self.time_step_ns.max(1));
        let secs_step = (step / 1_000_000_000).max(1) as i64;
        let secs = meta.mtime.secs.saturating_sub(meta.mtime.secs.rem_euclid(secs_step));
        let nanos = u64::from(meta.mtime.nanos);
        let nanos = if step >= 1_000_000_000 { 0 } else { nanos - nanos % step };
        Meta { mode: meta.mode & self.mode_mask, mtime: Time { secs, nanos: nanos as u32 } }
    }
}

/// The tree as it can be kept; symlinks are left out where there are none.
pub fn project(tree: &Tree, kept: &Kept) -> Tree {
    if kept.is_all() { tree.clone() } else { Tree::new(project_dir(tree.root(), kept)) }
}

/// The symlinks of a tree that are left out of its projection.
pub fn left_out(tree: &Tree, kept: &Kept) -> BTreeSet<RelPath> {
    let mut links = BTreeSet::new();
    if !kept.symlinks {
        tree.for_each(&mut |path, node| {
            if node.kind() == Kind::Link {
                links.insert(path.clone());
            }
        });
    }
    links
}

fn project_dir(dir: &Dir, kept: &Kept) -> Arc<Dir> {
    let mut entries = Vec::with_capacity(dir.entries().len());
    for (name, node) in dir.entries().iter() {
        let node = match node {
            Node::Dir(below) => Node::Dir(project_dir(below, kept)),
            Node::Leaf(leaf) if leaf.kind == Kind::Link && !kept.symlinks => continue,
            Node::Leaf(leaf) => Node::Leaf(*leaf).with_meta(kept.meta(&leaf.meta)),
        };
        entries.push((name.clone(), node));
    }
    Arc::new(Dir::with_entries(kept.meta(&dir.meta), entries.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_down_also_before_1970() {
        let kept = Kept { time_step_ns: 2_000_000_000, mode_mask: 0o777, symlinks: true };
        let meta = Meta { mode: 0o644, mtime: Time { secs: -3, nanos: 5 } };
        assert_eq!(kept.meta(&meta).mtime, Time { secs: -4, nanos: 0 });
        let kept = Kept { time_step_ns: 100, ..kept };
        assert_eq!(kept.meta(&meta).mtime, Time { secs: -3, nanos: 0 });
    }
}
