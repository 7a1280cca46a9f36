//! What the machine asks, carried out: to the link, the readers and the threads of large files.

use super::super::batches::Batch;
use super::super::deltas::{Beside, Delta};
use super::{Ashore, Session};
use crate::model::limits::PARTIAL_BYTES;
use crate::proto::sender::Action;

impl Session {
    /// Carries out what the machine asks.
    pub(super) fn act(&mut self, ashore: &Ashore) {
        while let Some(action) = self.sender.next_action() {
            self.carry_out(ashore, action);
        }
    }

    pub(super) fn carry_out(&mut self, ashore: &Ashore, action: Action) {
        match action {
            Action::Send(up) => {
                self.outbox.send(&up);
                let now_ms = self.now_ms();
                self.sender.said(now_ms);
            }
            Action::LoadAcknowledged { root_id } => {
                if self.refuses(ashore) {
                    return;
                }
                let tree = self.load(ashore, &root_id);
                let now_ms = self.now_ms();
                self.sender.acknowledged(tree, now_ms);
            }
            Action::SaveAcknowledged { root_id, tree } => self.unsaved = Some((root_id, tree)),
            Action::ReadBatch { batch, wants, held } => {
                self.has_read = true;
                let shadow = self.traffic.is_slow().then(|| ashore.shadow.clone());
                let root = self.root();
                self.readers.read(Batch { number: batch, root, wants, held, shadow });
            }
            Action::OpenDelta { id, want, bases, start, alone, hurry } => {
                self.has_read = true;
                let (root, known) = (self.root(), ashore.known.clone());
                if want.leaf.size >= PARTIAL_BYTES && std::mem::take(&mut self.is_unsynced) {
                    // Killed from here on, it finds what it sent by its hash, without reading it again.
                    let known = ashore.known.clone();
                    tokio::task::spawn_blocking(move || known.sync());
                }
                let shadow = self.sender.may_send_prefixes().then(|| ashore.shadow.clone());
                let holdings = (!alone).then(|| self.holdings());
                let beside = Beside { holdings, shadow, traffic: self.traffic.clone() };
                let tell = self.delta_tell.clone();
                let delta = Delta::start(root, known, beside, id, want, (bases, start, hurry), tell);
                self.deltas.insert(id, delta);
            }
            Action::Pull { id } => self.with_delta(id, |delta| delta.pull()),
            Action::Repair { id, level, values } => self.with_delta(id, |delta| delta.repair(level, values)),
            Action::Answer { id, answer } => self.with_delta(id, |delta| delta.answer(answer)),
            Action::CloseDelta { id } => drop(self.deltas.remove(&id)),
            Action::Rescan { paths } => ashore.source.rescan(paths),
            Action::Tell(news) => self.tell(ashore, news),
            Action::Close => {
                self.ended.get_or_insert_with(|| ("the session was closed".to_owned(), None));
            }
        }
    }
}
