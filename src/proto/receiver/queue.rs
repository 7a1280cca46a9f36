//! Complete changes in the order in which their last frame came, found by number at no cost.

use super::commit::Complete;
use crate::proto::message::ChangeId;
use std::collections::{HashMap, VecDeque};

/// Changes that wait for their turn; some still for the disk to stage them.
#[derive(Default)]
pub(super) struct Queue {
    /// Turn of the front.
    first: u64,
    /// `None`: refused, or given back for repair.
    slots: VecDeque<Option<Complete>>,
    /// Turns of the changes that are not staged yet.
    turns: HashMap<ChangeId, u64>,
    n: usize,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    pub fn push(&mut self, complete: Complete) {
        if !complete.is_staged {
            self.turns.insert(complete.id, self.first + self.slots.len() as u64);
        }
        self.slots.push_back(Some(complete));
        self.n += 1;
    }

    /// A change that waits for the disk; it is staged from now on.
    pub fn staged(&mut self, id: ChangeId) -> Option<&mut Complete> {
        let turn = self.turns.remove(&id)?;
        let complete = self.slots.get_mut((turn - self.first) as usize)?.as_mut()?;
        complete.is_staged = true;
        Some(complete)
    }

    /// Takes a change out that waits for the disk; `false` when it does not wait.
    pub fn remove(&mut self, id: ChangeId) -> bool {
        let turn = self.turns.remove(&id);
        let slot = turn.and_then(|turn| self.slots.get_mut((turn - self.first) as usize));
        let is_there = slot.is_some_and(|slot| slot.take().is_some());
        self.n -= usize::from(is_there);
        is_there
    }

    /// The front, if its turn has come and it is staged.
    pub fn pop_staged(&mut self) -> Option<Complete> {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        if !self.slots.front()?.as_ref()?.is_staged {
            return None;
        }
        self.first += 1;
        self.n -= 1;
        self.slots.pop_front()?
    }
}
