//! A group while it is put together: each change against the tree as it will be by then.

use super::commit::GroupItem;
use super::{Expect, Staged, Step};
use crate::model::{ContentHash, Kind, Meta, Node, RelPath, Tag, Time, Tree};
use crate::plan::change::{Change, Misfit, apply};
use crate::proto::message::*;
use std::collections::BTreeSet;

/// A group while it is put together: the tree as it will be, and the steps that lead there.
pub(super) struct Draft {
    pub tree: Tree,
    pub items: Vec<GroupItem>,
    pub steps: Vec<Step>,
    /// Directories whose metadata is to be set again, by the names they will have.
    pub touched: BTreeSet<RelPath>,
    /// Names set aside: something stands there that is in no tree.
    pub left: BTreeSet<RelPath>,
    pub refused: Vec<(ChangeId, Option<u32>, Refusal)>,
}

impl Draft {
    /// Makes a change in the tree to be, with the steps that it takes, or notes why it does not fit.
    fn add(&mut self, id: ChangeId, item: Option<u32>, change: Change, steps: Vec<Step>) {
        let is_taken = !matches!(change, Change::MakeDir { .. } | Change::Remove { .. })
            && self.left.contains(change.path());
        if let (true, Some((_, by))) = (is_taken, change.path().split()) {
            return self.refused.push((id, item, Refusal::NameTaken { by }));
        }
        match apply(&mut self.tree, &change) {
            Ok(()) => {
                let n_steps = steps.len();
                self.steps.extend(steps);
                self.items.push(GroupItem { id, item, change: Some(change), n_steps, leaves: None });
            }
            Err(misfit) => self.refused.push((id, item, refusal_of(misfit))),
        }
    }

    fn expect(&self, path: &RelPath) -> Expect {
        match self.tree.get(path) {
            None => Expect::Nothing,
            Some(Node::Leaf(leaf)) => Expect::Leaf(*leaf),
            Some(Node::Dir(_)) => Expect::Dir,
        }
    }

    fn touch(&mut self, path: &RelPath) {
        self.touched.insert(path.parent());
    }

    pub fn install(&mut self, id: ChangeId, item: Option<u32>, change: Change, meta: Meta, staged: Staged) {
        let path = change.path().clone();
        let expect = self.expect(&path);
        self.touch(&path);
        self.add(id, item, change, vec![Step::Install { staged, path, meta, expect }]);
    }

    pub fn make_dir(&mut self, id: ChangeId, path: RelPath, meta: Meta) {
        self.touch(&path);
        self.touched.insert(path.clone());
        let step = Step::MakeDir { path: path.clone(), meta };
        self.add(id, None, Change::MakeDir { path, meta }, vec![step]);
    }

    pub fn link(&mut self, id: ChangeId, path: RelPath, target: Target, mtime: Time) {
        self.touch(&path);
        let expect = self.expect(&path);
        let (size, hash) = (target.as_bytes().len() as u64, ContentHash::of(target.as_bytes()));
        let change = Change::Link { path: path.clone(), mtime, size, hash };
        self.add(id, None, change, vec![Step::Link { path, target, mtime, expect }]);
    }

    pub fn set_meta(&mut self, id: ChangeId, item: Option<u32>, path: RelPath, meta: Meta) {
        if path.is_root() {
            return;
        }
        let kind = match self.tree.get(&path) {
            Some(node) => node.kind(),
            None => return self.refused.push((id, item, Refusal::Drifted { tag: Tag::UNKNOWN })),
        };
        let meta = if kind == Kind::Link { Meta { mode: 0, ..meta } } else { meta };
        let steps = match kind {
            // Set with the directories of the group, after everything inside.
            Kind::Dir => {
                self.touched.insert(path.clone());
                Vec::new()
            }
            Kind::File | Kind::Link => vec![Step::SetMeta { path: path.clone(), kind, meta }],
        };
        self.add(id, item, Change::SetMeta { path, meta }, steps);
    }

    pub fn move_entry(&mut self, id: ChangeId, from: RelPath, to: RelPath, kind: Kind, tag: Tag) {
        if !self.has_tag(&from, tag) || self.tree.get(&from).map(Node::kind) != Some(kind) {
            let tag = self.tree.get(&from).map_or(Tag::UNKNOWN, Node::tag);
            return self.refused.push((id, None, Refusal::Drifted { tag }));
        }
        let (moved, replaced) = (self.expect(&from), self.expect(&to));
        self.touch(&from);
        self.touch(&to);
        if kind == Kind::Dir {
            self.touched.insert(to.clone());
        }
        let step = Step::Move { from: from.clone(), to: to.clone(), moved, replaced };
        let before = self.items.len();
        self.add(id, None, Change::Move { from: from.clone(), to: to.clone() }, vec![step]);
        if kind == Kind::Dir && self.items.len() > before {
            self.rename_touched(&[(&from, &to)]);
        }
    }

    /// Two names swap, or more rotate.
    pub fn rotate(&mut self, id: ChangeId, ring: Vec<(RelPath, Tag)>) {
        let drifted = ring.iter().find(|(path, tag)| !self.has_tag(path, *tag));
        if let Some((path, _)) = drifted {
            let tag = self.tree.get(path).map_or(Tag::UNKNOWN, Node::tag);
            return self.refused.push((id, None, Refusal::Drifted { tag }));
        }
        let ring: Vec<RelPath> = ring.into_iter().map(|(path, _)| path).collect();
        for path in &ring {
            self.touch(path);
            self.touched.insert(path.clone());
        }
        let change = match &ring[..] {
            [a, b] => Change::Swap { a: a.clone(), b: b.clone() },
            _ => Change::Rotate { ring: ring.clone() },
        };
        let before = self.items.len();
        self.add(id, None, change, vec![Step::Rotate { ring: ring.clone() }]);
        if self.items.len() > before {
            let moves: Vec<_> = ring.iter().zip(ring.iter().cycle().skip(1)).collect();
            self.rename_touched(&moves);
        }
    }

    /// Directories that were written into keep their claim on their metadata under a new name.
    fn rename_touched(&mut self, moves: &[(&RelPath, &RelPath)]) {
        let mut renamed = Vec::new();
        for (from, to) in moves {
            let below = self.touched.range(*from..);
            let below = below.take_while(|path| path.as_bytes().starts_with(from.as_bytes()));
            for path in below.filter(|path| path.is_at_or_below(from)) {
                let rest = &path.as_bytes()[from.as_bytes().len()..];
                renamed.extend(RelPath::parse(&[to.as_bytes(), rest].concat()));
            }
        }
        self.touched.extend(renamed);
    }

    pub fn remove(&mut self, id: ChangeId, item: Option<u32>, path: RelPath) {
        self.touch(&path);
        let expect = self.expect(&path);
        let step = Step::Remove { path: path.clone(), expect };
        self.add(id, item, Change::Remove { path }, vec![step]);
    }

    fn has_tag(&self, path: &RelPath, tag: Tag) -> bool {
        tag != Tag::UNKNOWN && self.tree.get(path).is_some_and(|node| node.tag() == tag)
    }
}

fn refusal_of(misfit: Misfit) -> Refusal {
    match misfit {
        Misfit::NoParent => Refusal::NoParent,
        Misfit::WrongKind => Refusal::WrongKind,
        Misfit::Missing => Refusal::Drifted { tag: Tag::UNKNOWN },
    }
}
