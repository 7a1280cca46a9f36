//! A pass: planned from S and from A as it will be, and judged when everything is acknowledged.

use super::{Ending, News, Phase, Sender, Source};
use crate::model::{ContentHash, Dir, Node, RelPath, Tree};
use crate::plan::change::{Change, apply};
use crate::plan::changes::{Plan, plan};
use crate::plan::guard::{Deletes, Ruling, n_matching, rule};
use crate::proto::message::*;
use std::collections::BTreeSet;

impl Sender {
    /// Everything planned is acknowledged: in step, or another look is needed.
    pub(super) fn at_rest(&mut self) {
        let Some(root) = self.destination_root() else { return };
        let known = self.root_of(self.acknowledged.as_ref());
        if self.in_doubt || known != Some(root) {
            return if self.walk_again_ms.is_none() {
                self.compare()
            };
        }
        if self.n_unreadable_there > 0 && !self.has_looked_again {
            return self.look_again();
        }
        self.walked_in_vain = false;
        self.save_acknowledged();
        let source_root = self.source.as_ref().and_then(|source| self.root_of(Some(&source.tree)));
        let is_listed = self.source.as_ref().is_some_and(|source| source.untouched.is_empty());
        let is_all = is_listed && self.left_out.is_empty() && self.n_unreadable_there == 0;
        let ending = if source_root == Some(root) && is_all {
            Ending::Identical
        } else if self.refused.values().any(|refused| refused.next_step != NextStep::Exception) {
            Ending::Failed
        } else if self.held.is_some() {
            Ending::Held
        } else if self.config.no_delete && self.is_only_deletes_missing() {
            Ending::Identical
        } else {
            Ending::Partial
        };
        if self.config.allow_mass_delete && self.held.is_none() {
            self.config.allow_mass_delete = false;
            self.tell(News::AllowanceUsed);
        }
        if self.told != Some((root, ending)) {
            self.name_left_out();
            if self.n_unreadable_there > 0 {
                let why =
                    format!("{} entries of the destination cannot be read there", self.n_unreadable_there);
                self.tell(News::Unreadable { path: RelPath::root(), why });
            }
            self.told = Some((root, ending));
            self.tell(News::InStep { root, ending });
        }
    }

    /// What the receiver could not read may stand there though no tree tells of it: it walks once more.
    fn look_again(&mut self) {
        self.has_looked_again = true;
        self.destination = Some(RootState::Walking { done: 0 });
        let request = self.next_request;
        self.next_request += 1;
        self.send(Up::Check { request, deep: false });
    }

    fn is_only_deletes_missing(&self) -> bool {
        let (Some(source), Some(have)) = (&self.source, &self.acknowledged) else { return false };
        let is_left = |change: &Change| !change.is_removal();
        self.refused.is_empty()
            && source.untouched.is_empty()
            && self.left_out.is_empty()
            && !self.plan_from(have, source).changes.iter().any(is_left)
    }

    /// The plan of a pass. Where nothing may be deleted, nothing is moved away either.
    pub(super) fn plan_from(&self, have: &Tree, source: &Source) -> Plan {
        if self.config.no_delete {
            return plan(have, &with_all_of(&source.tree, have), &source.untouched);
        }
        plan(have, &source.tree, &source.untouched)
    }

    /// What stays as it is because something of another kind would have to be deleted first.
    pub(super) fn in_the_way(&self) -> BTreeSet<RelPath> {
        let (true, Some(source), Some(have)) = (self.config.no_delete, &self.source, &self.acknowledged)
        else {
            return BTreeSet::new();
        };
        let in_the_way = self.plan_from(have, source).changes.into_iter().filter_map(|change| match change {
            Change::Remove { path } => Some(path),
            _ => None,
        });
        in_the_way.collect()
    }

    /// A as it will be when all that is on its way is acknowledged.
    fn expect(&self) -> Tree {
        let mut tree = self.acknowledged.clone().unwrap_or_default();
        for (_, change) in self.under_way() {
            let _ = apply(&mut tree, change);
        }
        tree
    }

    /// Changes that were sent, are not acknowledged and were not cancelled.
    fn under_way(&self) -> impl Iterator<Item = (&ChangeId, &Change)> {
        let cancelled = |id: &ChangeId| self.streams.get(id).is_some_and(|stream| stream.is_cancelled);
        let in_flight = self.in_flight.iter().filter(move |(id, _)| !cancelled(id));
        in_flight.flat_map(|(id, sent)| sent.changes.iter().flatten().map(move |change| (id, change)))
    }

    pub(super) fn draw_plan(&mut self) {
        let Some(source) = self.source.clone() else { return };
        self.cancel_stale_streams(&source.tree);
        let have = self.expect();
        self.expected = have.clone();
        let drawn = self.plan_from(&have, &source);
        let mut changes = drawn.changes;
        let n_drawn = changes.len();
        self.rule_on_deletes(&mut changes, drawn.n_deleted, &have, &source);
        if changes.len() < n_drawn || !self.misfits.is_empty() || !self.refused.is_empty() {
            // What leans on a change that is not tried would only be refused.
            let mut tree = have;
            changes.retain(|change| self.is_wanted(change) && apply(&mut tree, change).is_ok());
        }
        self.large.clear();
        if !changes.is_empty() || self.config.dry_run {
            self.told = None;
            self.tell_plan(&changes);
        }
        if self.config.dry_run {
            self.phase = Phase::Closed;
            let root = self.destination_root().unwrap_or(ContentHash([0; 32]));
            let ending = if self.held.is_some() { Ending::Held } else { Ending::Identical };
            return self.tell(News::InStep { root, ending });
        }
        self.judge_asking(&changes);
        self.planned = changes.into();
    }

    pub(super) fn tell_plan(&mut self, changes: &[Change]) {
        let (mut n_files, mut content_bytes) = (0, 0);
        let sent_bytes = |id: &ChangeId| self.streams.get(id).map_or(0, |stream| stream.sent_bytes());
        let under_way = self.under_way().map(|(id, change)| (change, sent_bytes(id)));
        for (change, sent_bytes) in changes.iter().map(|change| (change, 0)).chain(under_way) {
            if let Change::File { size, .. } = change {
                n_files += 1;
                content_bytes += size.saturating_sub(sent_bytes);
            }
        }
        let is_looked_at = self.config.dry_run || changes.iter().any(Change::is_removal);
        let n_changes = changes.len() as u64;
        let changes = if is_looked_at { changes.to_vec() } else { Vec::new() };
        self.tell(News::Planned { changes, n_changes, n_files, content_bytes });
    }

    /// Whether a change is to be tried: not when it was refused and is still the same, nor
    /// when the destination has to be listed first.
    fn is_wanted(&mut self, change: &Change) -> bool {
        if self.misfits.contains(change.path()) {
            return false;
        }
        match self.refused.get(change.path()) {
            Some(refused) if refused.change == *change => false,
            // What is in the way was not removed: nothing else comes there, and the refusal stands.
            Some(super::RefusedEntry { change: Change::Remove { .. }, .. })
                if matches!(change, Change::File { .. } | Change::Link { .. } | Change::MakeDir { .. }) =>
            {
                false
            }
            Some(_) => {
                self.refused.remove(change.path());
                true
            }
            None => true,
        }
    }

    fn rule_on_deletes(&mut self, changes: &mut Vec<Change>, n_deletes: u64, have: &Tree, source: &Source) {
        self.held = None;
        if n_deletes == 0 {
            return;
        }
        let is_seen = |change: &Change| match change {
            Change::Remove { path } => has_above(&source.seen_gone, path),
            _ => true,
        };
        let deletes = Deletes {
            n_deletes,
            n_before: have.n_entries(),
            n_matching: n_matching(have, &source.tree),
            n_source: source.tree.n_entries(),
            n_lately: source.n_lately,
            seen_as_events: changes.iter().all(is_seen),
            listing_complete: source.is_listed,
            root: source.root,
            other_source: self.other_source,
            allowed_once: self.config.allow_mass_delete,
            never: self.config.no_delete,
        };
        let ruling = rule(&deletes);
        if let Ruling::Held(why) = &ruling {
            self.held = Some(why.to_string());
            self.tell(News::Held(why.to_string()));
        }
        if !matches!(ruling, Ruling::Go) {
            changes.retain(|change| !change.is_removal());
        }
    }
}

/// Whether a path, or one above it, is in a set.
fn has_above(set: &BTreeSet<RelPath>, path: &RelPath) -> bool {
    let mut path = path.clone();
    loop {
        if set.contains(&path) {
            return true;
        }
        match path.split() {
            Some((parent, _)) if !parent.is_root() => path = parent,
            _ => return false,
        }
    }
}

/// The source, and all that only the destination has: what is there when nothing is deleted.
fn with_all_of(source: &Tree, have: &Tree) -> Tree {
    let mut both = source.clone();
    add_missing(source.root(), have.root(), &RelPath::root(), &mut both);
    both
}

fn add_missing(source: &Dir, have: &Dir, path: &RelPath, both: &mut Tree) {
    if source.has_same_entries(have) {
        return;
    }
    for (name, old) in have.entries().iter() {
        let Ok(path) = path.join(name) else { continue };
        match (source.get(name), old) {
            (None, old) => drop(both.insert(&path, old.clone())),
            (Some(Node::Dir(new)), Node::Dir(old)) => add_missing(new, old, &path, both),
            _ => {}
        }
    }
}
