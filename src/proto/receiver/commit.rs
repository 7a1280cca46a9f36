//! Commit groups: complete changes in order, checked against the tree, made durable together.

use super::draft::Draft;
use super::{Action, Committed, Receiver, Staged, State};
use crate::model::limits::{GROUP_CHANGES, GROUP_MS};
use crate::model::{ContentHash, Kind, List, Meta, RelPath, Tag, Time};
use crate::plan::change::{Change, apply};
use crate::proto::message::*;
use std::collections::BTreeSet;

/// A change whose last frame has come.
pub(super) struct Complete {
    pub id: ChangeId,
    pub kind: CompleteKind,
    pub is_staged: bool,
}

pub(super) enum CompleteKind {
    Put,
    Pack {
        paths: Vec<(RelPath, Meta, u64)>,
        dirs: Vec<(RelPath, Meta)>,
        hashes: Vec<ContentHash>,
    },
    MakeDir {
        path: RelPath,
        meta: Meta,
    },
    Link {
        path: RelPath,
        target: Target,
        mtime: Time,
    },
    SetMeta {
        items: Vec<(RelPath, Meta)>,
    },
    Move {
        from: RelPath,
        to: RelPath,
        kind: Kind,
        tag: Tag,
    },
    /// Two names that swap, or more that rotate.
    Rotate {
        ring: Vec<(RelPath, Tag)>,
    },
    Remove {
        items: Vec<Removal>,
    },
    Leave {
        paths: Vec<RelPath>,
    },
}

/// One item of a group that is being committed.
pub(super) struct GroupItem {
    pub id: ChangeId,
    pub item: Option<u32>,
    /// `None` for the mark that ends a change.
    pub change: Option<Change>,
    pub n_steps: usize,
    pub leaves: Option<RelPath>,
}

impl Receiver {
    /// Starts a group if none is under way and a change is ready.
    pub(super) fn pump_commits(&mut self) {
        if self.state != State::Ready || self.group.is_some() || self.waits_for_more() {
            return;
        }
        let Some(mut complete) = self.complete.pop_staged() else { return };
        let mut draft = Draft {
            tree: self.tree.clone(),
            items: Vec::new(),
            steps: Vec::new(),
            touched: BTreeSet::new(),
            left: std::mem::take(&mut self.left),
            refused: Vec::new(),
        };
        for n in 1.. {
            self.draft_change(&mut draft, complete);
            if n == GROUP_CHANGES {
                break;
            }
            match self.complete.pop_staged() {
                Some(next) => complete = next,
                None => break,
            }
        }
        self.left = std::mem::take(&mut draft.left);
        let unused: BTreeSet<ChangeId> = draft.refused.iter().map(|(id, _, _)| *id).collect();
        for (id, item, why) in std::mem::take(&mut draft.refused) {
            self.send(Down::Refused { id, item, why });
        }
        let mut dirs: Vec<(RelPath, Meta)> = draft
            .touched
            .iter()
            .filter(|path| !path.is_root())
            .filter_map(|path| draft.tree.dir(path).map(|dir| (path.clone(), dir.meta)))
            .collect();
        dirs.sort_by_key(|(path, _)| std::cmp::Reverse(path.depth()));
        self.holders.came(draft.items.iter().filter_map(|item| item.change.as_ref()));
        self.group = Some(draft.items);
        self.issued = draft.tree;
        self.holders.n_rebuilt = 0;
        self.actions.push_back(Action::Commit { steps: draft.steps, dirs });
        self.actions.extend(unused.into_iter().map(|id| Action::Drop { id }));
    }

    /// Whether a group is worth waiting for: the disk is staging more, which then becomes durable
    /// at the same cost. Never for long, and never for what has yet to arrive.
    fn waits_for_more(&mut self) -> bool {
        if !self.complete.is_ready() {
            self.ready_ms = None;
            return false;
        }
        let since_ms = *self.ready_ms.get_or_insert(self.now_ms);
        let is_early = self.now_ms < since_ms + GROUP_MS && self.complete.len() < GROUP_CHANGES;
        let waits = is_early && self.complete.is_staging();
        if !waits {
            self.ready_ms = None;
        }
        waits
    }

    fn draft_change(&mut self, draft: &mut Draft, complete: Complete) {
        let id = complete.id;
        let before = draft.items.len();
        let mut is_single = false;
        match complete.kind {
            CompleteKind::Put => {
                is_single = true;
                if let Some(transfer) = self.transfers.remove(&id) {
                    let change = Change::File {
                        path: transfer.path.clone(),
                        meta: transfer.meta,
                        size: transfer.size,
                        hash: transfer.hash,
                    };
                    draft.install(id, None, change, transfer.meta, Staged { id, index: 0 });
                }
            }
            CompleteKind::Pack { paths, dirs, hashes } => {
                let n_files = paths.len();
                for (index, ((path, meta, size), hash)) in paths.into_iter().zip(hashes).enumerate() {
                    let staged = Staged { id, index: index as u32 };
                    let change = Change::File { path, meta, size, hash };
                    draft.install(id, Some(index as u32), change, meta, staged);
                }
                for (index, (path, meta)) in dirs.into_iter().enumerate() {
                    draft.set_meta(id, Some((n_files + index) as u32), path, meta);
                }
            }
            CompleteKind::MakeDir { path, meta } => {
                is_single = true;
                draft.make_dir(id, path, meta);
            }
            CompleteKind::Link { path, target, mtime } => {
                is_single = true;
                draft.link(id, path, target, mtime);
            }
            CompleteKind::SetMeta { items } => {
                for (index, (path, meta)) in items.into_iter().enumerate() {
                    draft.set_meta(id, Some(index as u32), path, meta);
                }
            }
            CompleteKind::Move { from, to, kind, tag } => {
                is_single = true;
                draft.move_entry(id, from, to, kind, tag);
            }
            CompleteKind::Rotate { ring } => {
                is_single = true;
                draft.rotate(id, ring);
            }
            CompleteKind::Remove { items } => {
                for (index, removal) in items.into_iter().enumerate() {
                    self.draft_removal(draft, id, index as u32, removal);
                }
            }
            CompleteKind::Leave { paths } => {
                for path in paths {
                    let change = Some(Change::Remove { path: path.clone() });
                    let _ = draft.tree.remove(&path);
                    draft.items.push(GroupItem { id, item: None, change, n_steps: 0, leaves: Some(path) });
                }
            }
        }
        // A change of one item that was refused ends with its refusal, any other with `Done`.
        if !is_single || draft.items.len() > before {
            draft.items.push(GroupItem { id, item: None, change: None, n_steps: 0, leaves: None });
        }
    }

    /// Removes an entry; a directory that holds names set aside stays for them, and is set aside.
    fn draft_removal(&mut self, draft: &mut Draft, id: ChangeId, index: u32, removal: Removal) {
        let Some(node) = draft.tree.get(&removal.path).cloned() else { return };
        if node.kind() != removal.kind {
            let why = Refusal::Drifted { tag: node.tag() };
            return draft.refused.push((id, Some(index), why));
        }
        if node.n_below() > removal.n_below {
            let why = Refusal::MoreThanSaid { n: node.n_below() };
            return draft.refused.push((id, Some(index), why));
        }
        let below = draft.left.range(&removal.path..);
        let below = below.take_while(|left| left.as_bytes().starts_with(removal.path.as_bytes()));
        let keeps: Vec<RelPath> = below.filter(|left| left.is_at_or_below(&removal.path)).cloned().collect();
        // Below a file nothing can be kept any more.
        if keeps.is_empty() || removal.kind != Kind::Dir {
            return draft.remove(id, Some(index), removal.path);
        }
        self.send(Down::Notice(Notice::Stays { path: removal.path.clone() }));
        self.remove_around(draft, id, index, &removal.path, &keeps);
    }

    fn remove_around(
        &mut self,
        draft: &mut Draft,
        id: ChangeId,
        index: u32,
        path: &RelPath,
        keeps: &[RelPath],
    ) {
        if !keeps.iter().any(|keep| keep.is_at_or_below(path)) {
            return draft.remove(id, Some(index), path.clone());
        }
        let names: Vec<_> =
            draft.tree.dir(path).map_or_else(Vec::new, |dir| dir.entries().names().cloned().collect());
        for name in names {
            if let Ok(below) = path.join(&name) {
                self.remove_around(draft, id, index, &below, keeps);
            }
        }
        let _ = draft.tree.remove(path);
        let change = Some(Change::Remove { path: path.clone() });
        draft.items.push(GroupItem { id, item: Some(index), change, n_steps: 0, leaves: Some(path.clone()) });
    }

    /// The disk has made a group durable, or could not.
    pub fn committed(&mut self, committed: Committed) {
        let Some(items) = self.group.take() else { return };
        if committed.is_uncertain {
            // A swap that is told as refused and was made would be undone when it is tried again.
            self.rewalk.get_or_insert((RootReason::Drift, false));
        }
        let mut results = committed.results.into_iter();
        let mut done: Vec<ChangeId> = Vec::new();
        let mut failed = BTreeSet::new();
        let mut has_left = false;
        for GroupItem { id, item, change, n_steps, leaves } in items {
            let outcome: Result<(), Refusal> = results.by_ref().take(n_steps).collect();
            // To leave a name asks nothing of the disk, and always fits.
            let is_left = item.is_none() && leaves.is_some();
            let outcome = if is_left { Ok(()) } else { committed.refused.clone().map_or(outcome, Err) };
            match (change, outcome) {
                (Some(change), Ok(())) => {
                    if apply(&mut self.tree, &change).is_err() {
                        // It leaned on one that failed: look at what there is now.
                        self.rewalk.get_or_insert((RootReason::Drift, false));
                    }
                    if let Change::MakeDir { path, .. } = &change {
                        // What is in a directory that was set aside stays set aside by itself.
                        has_left |= self.left.remove(path);
                    }
                    self.forget_partials(&change);
                    has_left |= leaves.is_some();
                    self.left.extend(leaves);
                }
                (Some(change), Err(why)) => {
                    if matches!(change, Change::MakeDir { .. }) && why.next_step() == NextStep::Compare {
                        // What was set aside there is another by now: it is looked at again.
                        has_left |= self.left.remove(change.path());
                    }
                    if item.is_none() {
                        failed.insert(id);
                    }
                    if why.next_step() == NextStep::Compare {
                        self.rewalk.get_or_insert((RootReason::Drift, false));
                    }
                    self.actions.push_back(Action::Drop { id });
                    self.send(Down::Refused { id, item, why });
                }
                (None, _) if !failed.contains(&id) => done.push(id),
                (None, _) => {}
            }
        }
        self.issued = self.tree.clone();
        if has_left {
            self.actions.push_back(Action::SaveLeft(self.left.clone()));
        }
        // The root costs hashing every directory that changed: it is told when no change waits.
        self.owes_root = true;
        let runs = runs_of(&done);
        for (index, part) in runs.chunks(crate::model::limits::LIST_ITEMS).enumerate() {
            let is_last = (index + 1) * crate::model::limits::LIST_ITEMS >= runs.len();
            let root = if is_last { self.root_owed() } else { None };
            self.send(Down::Done { ids: List::new(part.to_vec()), root });
        }
        self.pump();
    }

    /// The root, when it is due.
    pub(super) fn root_owed(&mut self) -> Option<ContentHash> {
        let is_due = self.owes_root && self.group.is_none() && self.complete.is_empty();
        let root = if is_due { self.tree.root_hash(&self.scope) } else { None };
        self.owes_root &= !is_due;
        root
    }
}

/// Numbers as runs (first, how many), in order.
fn runs_of(ids: &[ChangeId]) -> Vec<(ChangeId, u32)> {
    let mut runs: Vec<(ChangeId, u32)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((first, n)) if *first + u64::from(*n) == id => *n += 1,
            _ => runs.push((id, 1)),
        }
    }
    runs
}
