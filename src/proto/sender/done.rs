//! Acknowledgements, refusals and notices; keeping A.

use super::{Action, Breach, News, RETRY_MS, RefusedEntry, SAVE_MS, Sender};
use crate::delta::ops::PartialName;
use crate::model::limits::MISFIT_TRIES;
use crate::model::{ContentHash, RelPath};
use crate::plan::change::{Change, apply};
use crate::proto::message::*;

impl Sender {
    /// Changes are verified, visible and durable; A moves with them.
    pub(super) fn done(&mut self, ids: &[(ChangeId, u32)], root: Option<ContentHash>) -> Result<(), Breach> {
        let mut tree = self.acknowledged.take().unwrap_or_default();
        for &(first, n) in ids {
            let Some(end) = first.checked_add(u64::from(n)) else {
                return Err(Breach("an acknowledgement beyond all numbers".into()));
            };
            for id in first..end {
                let Some(sent) = self.in_flight.remove(&id) else {
                    return Err(Breach("an acknowledgement of what was not sent".into()));
                };
                match self.streams.remove(&id) {
                    Some(stream) if stream.is_cancelled => self.replan = true,
                    Some(stream) if stream.is_filling() => {
                        return Err(Breach("an acknowledgement of what is not all sent".into()));
                    }
                    Some(_) => self.actions.push_back(Action::CloseDelta { id }),
                    None => {}
                }
                for change in sent.changes.into_iter().flatten() {
                    let existed = tree.get(change.path()).is_some();
                    if apply(&mut tree, &change).is_err() {
                        self.in_doubt = true;
                    }
                    if let Change::File { path, hash, .. } = &change {
                        self.partials.committed(path, hash);
                        self.held_there.came(*hash);
                    }
                    self.leanings.remove(change.path());
                    self.singly.remove(change.path());
                    self.tries.remove(change.path());
                    self.stale_ms.remove(change.path());
                    self.misfit_tries.remove(change.path());
                    self.tell(News::Done { change, existed });
                }
            }
        }
        self.held_there.bound(tree.n_entries());
        self.acknowledged = Some(tree);
        if let Some(root) = root {
            let known = self.root_of(self.acknowledged.as_ref());
            self.in_doubt |= known != Some(root);
            let entries = self.acknowledged.as_ref().map_or(0, |tree| tree.n_entries());
            self.destination = Some(RootState::Complete { root, entries, age_ms: 0, unreadable: 0 });
        } else {
            // More is to come: the root that was told last is not that of D any more.
            self.destination = Some(RootState::Hashing { done: 0, total: 0 });
        }
        self.is_saved = false;
        if self.saved_ms + SAVE_MS <= self.now_ms {
            self.save_acknowledged();
        }
        Ok(())
    }

    /// A change, or an item of one, was not made.
    pub(super) fn refusal(&mut self, id: ChangeId, item: Option<u32>, why: Refusal) {
        let mut is_last_try = false;
        // A file of a pack, or a pack, is tried again with what its path holds by then.
        let mut leant_on_nothing = true;
        let refused: Vec<Change> = match item {
            Some(item) => {
                let sent = self.in_flight.get_mut(&id);
                let change = sent.and_then(|sent| sent.changes.get_mut(item as usize)).and_then(Option::take);
                change.into_iter().collect()
            }
            None => {
                if let Some(stream) = self.streams.get(&id) {
                    is_last_try = !stream.has_basis();
                    leant_on_nothing = self.leant_on_nothing(stream);
                }
                self.stream_refused(id, &why);
                self.in_flight.remove(&id).into_iter().flat_map(|sent| sent.changes).flatten().collect()
            }
        };
        self.replan = true;
        if matches!(why, Refusal::BasisGone { .. }) && item.is_none() {
            // Of the files of a pack: which of them leant on what is gone is not told.
            for hash in refused.iter().filter_map(Change::content) {
                self.held_there.is_not_there(&hash);
            }
        }
        if why == Refusal::HashDiffers && item.is_none() && !is_last_try {
            // Once more: literals alone, or the files of a pack one by one.
            return self.singly.extend(refused.iter().map(|change| change.path().clone()));
        }
        for change in refused {
            self.refused_change(change, &why, leant_on_nothing);
        }
    }

    /// `leant_on_nothing`: no basis can be left out of the next try.
    fn refused_change(&mut self, change: Change, why: &Refusal, leant_on_nothing: bool) {
        let path = change.path().clone();
        let next_step = match why.next_step() {
            // To list and try the same for ever would help nobody, and say nothing.
            NextStep::Compare if self.is_hopeless(&path) => {
                self.in_doubt = true;
                NextStep::Again
            }
            // The same: a receiver that misses a basis which nobody named would be sent the file for ever.
            NextStep::WithoutBasis if leant_on_nothing && self.is_hopeless(&path) => NextStep::Again,
            next_step => next_step,
        };
        match next_step {
            NextStep::Compare => {
                self.in_doubt = true;
                self.misfits.insert(path);
            }
            // The transfer has seen to its next basis.
            NextStep::WithoutBasis | NextStep::Nothing => {}
            NextStep::Exception | NextStep::WaitForSpace | NextStep::Again => {
                self.tell(News::Refused { path: path.clone(), why: why.clone() });
                self.refused.insert(path, RefusedEntry { change, next_step });
                if next_step != NextStep::Exception && !self.config.once {
                    self.retry_ms.get_or_insert(self.now_ms + RETRY_MS);
                }
            }
        }
    }

    /// Counts misfits of a path; `true` when there were too many in a row.
    fn is_hopeless(&mut self, path: &RelPath) -> bool {
        let tries = self.misfit_tries.entry(path.clone()).or_default();
        *tries += 1;
        let is_hopeless = *tries >= MISFIT_TRIES;
        if is_hopeless {
            self.misfit_tries.remove(path);
        }
        is_hopeless
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::SpaceBack => self.try_refused_again(),
            Notice::KeepsChanged(keeps) => {
                self.keeps = keeps;
                self.project();
            }
            Notice::Stays { path } => self.tell(News::Stays { path }),
            Notice::PartialDropped(name) => self.partials.forget(PartialName::Stored(name)),
            Notice::Low { .. } => {}
        }
    }

    pub(super) fn try_refused_again(&mut self) {
        self.retry_ms = None;
        self.refused.retain(|_, refused| refused.next_step == NextStep::Exception);
        self.told = None;
        self.replan = true;
    }

    /// Asks for A once the source is there: what both have in common need not be loaded.
    pub(super) fn load_acknowledged(&mut self) {
        if let (false, Some(_), Some(root_id)) = (self.has_loaded, &self.source, self.root_id) {
            self.actions.push_back(Action::LoadAcknowledged { root_id });
        }
    }

    /// Hands A over to be kept, if it has moved.
    pub(super) fn save_acknowledged(&mut self) {
        if let (false, Some(root_id), Some(tree), Some(source)) =
            (self.is_saved, self.root_id, &self.acknowledged, &self.source)
        {
            // Three trees of which most is the same are held as one.
            let tree = tree.sharing(&source.tree);
            self.expected = self.expected.sharing(&source.tree);
            self.acknowledged = Some(tree.clone());
            self.is_saved = true;
            self.saved_ms = self.now_ms;
            self.actions.push_back(Action::SaveAcknowledged { root_id, tree });
        }
    }
}
