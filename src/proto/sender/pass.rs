//! A pass: planned from S and from A as it will be, and judged when everything is acknowledged.

use super::{Ending, News, Phase, Sender};
use crate::model::{ContentHash, Tree};
use crate::plan::change::{Change, apply};
use crate::plan::changes::plan;
use crate::plan::guard::{Deletes, Ruling, rule};
use crate::proto::message::*;

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
        self.walked_in_vain = false;
        self.save_acknowledged();
        let source_root = self.source.as_ref().and_then(|source| self.root_of(Some(&source.tree)));
        let is_listed = self.source.as_ref().is_some_and(|source| source.untouched.is_empty());
        let ending = if source_root == Some(root) && is_listed {
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
        if self.told != Some((root, ending)) {
            self.told = Some((root, ending));
            self.tell(News::InStep { root, ending });
        }
    }

    fn is_only_deletes_missing(&self) -> bool {
        let (Some(source), Some(have)) = (&self.source, &self.acknowledged) else { return false };
        let plan = plan(have, &source.tree, &source.untouched);
        self.refused.is_empty()
            && source.untouched.is_empty()
            && plan.changes.iter().all(|change| matches!(change, Change::Remove { .. }))
    }

    /// A as it will be when all that is on its way is acknowledged.
    fn expect(&self) -> Tree {
        let mut tree = self.acknowledged.clone().unwrap_or_default();
        let cancelled = |id: &ChangeId| self.streams.get(id).is_some_and(|stream| stream.is_cancelled);
        for (id, sent) in &self.in_flight {
            if !cancelled(id) {
                for change in sent.changes.iter().flatten() {
                    let _ = apply(&mut tree, change);
                }
            }
        }
        tree
    }

    pub(super) fn draw_plan(&mut self) {
        let Some(source) = self.source.clone() else { return };
        self.cancel_stale_streams(&source.tree);
        let have = self.expect();
        self.expected = have.clone();
        let drawn = plan(&have, &source.tree, &source.untouched);
        let mut changes = drawn.changes;
        self.rule_on_deletes(
            &mut changes,
            drawn.n_deleted,
            have.n_entries(),
            (source.saw_deletes, source.is_suspect),
        );
        // What leans on a change that is not tried would only be refused.
        let mut tree = have;
        changes.retain(|change| self.is_wanted(change) && apply(&mut tree, change).is_ok());
        let content_bytes =
            changes.iter().map(|change| if let Change::File { size, .. } = change { *size } else { 0 });
        let content_bytes = content_bytes.sum();
        self.planned.clear();
        self.large.clear();
        if !changes.is_empty() || self.config.dry_run {
            self.told = None;
            let n_deleted = drawn.n_deleted;
            self.tell(News::Planned { changes: changes.clone(), n_deleted, content_bytes });
        }
        if self.config.dry_run {
            self.phase = Phase::Closed;
            let root = self.destination_root().unwrap_or(ContentHash([0; 32]));
            let ending = if self.held.is_some() { Ending::Held } else { Ending::Identical };
            return self.tell(News::InStep { root, ending });
        }
        self.judge_asking(&changes);
        self.planned.extend(changes);
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

    fn rule_on_deletes(
        &mut self,
        changes: &mut Vec<Change>,
        n_deletes: u64,
        n_before: u64,
        (saw_deletes, is_suspect): (bool, bool),
    ) {
        self.held = None;
        if n_deletes == 0 {
            return;
        }
        let deletes = Deletes {
            n_deletes,
            n_before,
            seen_as_events: saw_deletes,
            listing_complete: true,
            root_same: !is_suspect,
            allowed_once: self.config.allow_mass_delete,
            never: self.config.no_delete,
        };
        let ruling = rule(&deletes);
        if let Ruling::Held(why) = &ruling {
            self.held = Some(why.to_string());
            self.tell(News::Held(why.to_string()));
        }
        if !matches!(ruling, Ruling::Go) {
            changes.retain(|change| !matches!(change, Change::Remove { .. }));
        }
    }
}
