//! Partials: what came of transfers that ended early, and may be resumed or leaned on.
//!
//! Those of earlier connections are named at random; those that a sender of this one gave up by the id of
//! their change. Of each path at most one of the latter is kept: the one of which most came.

use super::{Action, Receiver};
use crate::delta::ops::PartialName;
use crate::model::limits::PARTIALS;
use crate::model::{ContentHash, RelPath};
use crate::plan::change::Change;
use crate::proto::message::*;
use crate::proto::partial::Partial;

/// All that there are.
#[derive(Default)]
pub(super) struct Partials(Vec<Partial>);

impl Partials {
    pub fn stored(infos: &[PartialInfo]) -> Self {
        Self(infos.iter().map(Partial::stored).collect())
    }

    pub fn find(&self, of: PartialName) -> Option<&Partial> {
        self.0.iter().find(|partial| partial.of == of)
    }

    /// Takes one out, to be resumed from `start` on; it must be of this very content.
    pub fn take(&mut self, of: PartialName, put: &Put, start: u64) -> Option<Partial> {
        let fits = |partial: &Partial| {
            partial.of == of && partial.hash == put.hash && partial.size == put.size && start <= partial.have
        };
        let index = self.0.iter().position(fits)?;
        Some(self.0.swap_remove(index))
    }

    /// Takes one in; returns those that go for it, which may be the new one.
    fn keep(&mut self, partial: Partial) -> Vec<PartialName> {
        let mut gone = Vec::new();
        let rival = self.0.iter().position(|other| other.is_sent_for(&partial.path));
        if let Some(rival) = rival {
            if self.0[rival].have >= partial.have {
                return vec![partial.of];
            }
            gone.push(self.0.swap_remove(rival).of);
        }
        self.0.push(partial);
        if self.0.iter().filter(|partial| partial.is_sent()).count() > PARTIALS {
            let sent = self.0.iter().enumerate().filter(|(_, partial)| partial.is_sent());
            if let Some((least, _)) = sent.min_by_key(|(_, partial)| partial.have) {
                gone.push(self.0.swap_remove(least).of);
            }
        }
        gone
    }

    /// A file is in place: what led there, and what was meant for its path, has no use any more.
    fn committed(&mut self, path: &RelPath, hash: &ContentHash) -> Vec<PartialName> {
        let is_over = |partial: &Partial| partial.hash == *hash || partial.path == *path;
        let gone = self.0.iter().filter(|partial| is_over(partial)).map(|partial| partial.of).collect();
        self.0.retain(|partial| !is_over(partial));
        gone
    }
}

impl Receiver {
    /// Keeps what came of a transfer that was given up.
    pub(super) fn keep_partial(&mut self, id: ChangeId, partial: Partial) {
        self.actions.push_back(Action::Keep { id });
        let gone = self.partials.keep(partial);
        self.actions.extend(gone.into_iter().map(|of| Action::Forget { of }));
    }

    /// Forgets the partials that a change has made useless.
    pub(super) fn forget_partials(&mut self, change: &Change) {
        if let Change::File { path, hash, .. } = change {
            let gone = self.partials.committed(path, hash);
            self.actions.extend(gone.into_iter().map(|of| Action::Forget { of }));
        }
    }
}
