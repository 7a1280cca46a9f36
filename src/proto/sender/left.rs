//! What is left to do: how far the destination is behind, in changes and bytes.

use super::{Phase, Sender};
use crate::model::RelPath;
use crate::plan::project::Kept;
use crate::proto::message::NextStep;

impl Sender {
    /// Visits each change that the destination does not have yet and will get without anybody's help, with
    /// the bytes of content that were not sent of it.
    ///
    /// Returns whether that is known: not while trees are still compared.
    pub fn for_each_left(&self, each: &mut dyn FnMut(&RelPath, u64)) -> bool {
        if self.phase != Phase::Sending {
            return false;
        }
        let planned = self.planned.iter().map(|change| (change.path(), change.content_bytes()));
        let read = self.batches.values().flatten().chain(&self.large);
        let asking = self.asking.values().flat_map(|asking| asking.wants());
        let read = read.chain(asking).map(|want| (&want.path, want.leaf.size));
        let is_tried_again =
            |next_step: NextStep| matches!(next_step, NextStep::WaitForSpace | NextStep::Again);
        let refused = self.refused.values().filter(|refused| is_tried_again(refused.next_step));
        let refused = refused.map(|refused| (refused.change.path(), refused.change.content_bytes()));
        planned.chain(read).chain(refused).for_each(|(path, bytes)| each(path, bytes));
        for (id, sent) in &self.in_flight {
            let sent_bytes = self.streams.get(id).map_or(0, |stream| stream.sent_bytes());
            for change in sent.changes.iter().flatten() {
                each(change.path(), change.content_bytes().saturating_sub(sent_bytes));
            }
        }
        true
    }

    /// Whether nothing is left that it could do by itself.
    pub fn is_settled(&self) -> bool {
        let mut n_left = 0;
        self.phase == Phase::Sending
            && !self.replan
            && !self.awaits_source
            && self.for_each_left(&mut |_, _| n_left += 1)
            && n_left == 0
    }

    /// What the destination can keep, as it said; everything, before it did.
    pub fn kept(&self) -> Kept {
        super::source::kept(&self.keeps)
    }
}
