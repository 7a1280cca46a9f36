//! Whose frame leaves next, where several large files are on their way.
//!
//! What has the least left goes first, as long as it has a frame ready: files that go one after another
//! squeeze better than files in turns (8 % on text), and the first is done sooner. What has waited longest
//! still gets its share.

use super::deltas::DeltaNews;
use crate::proto::message::ChangeId;
use std::collections::{BTreeMap, VecDeque};

/// One frame of so many is that of the oldest transfer.
const OLDEST_SHARE: u32 = 8;

/// What threads of deltas have told and nobody has heard yet. Bounded: each has one frame ready at most.
#[derive(Default)]
pub(super) struct Turns {
    waiting: BTreeMap<ChangeId, VecDeque<DeltaNews>>,
    n_frames: u32,
}

impl Turns {
    pub(super) fn told(&mut self, id: ChangeId, news: DeltaNews) {
        self.waiting.entry(id).or_default().push_back(news);
    }

    /// What is to be heard next: news at once, a frame only where there is room for one. `left` gives the
    /// target bytes that are left of a transfer.
    pub(super) fn next(
        &mut self,
        has_room: bool,
        left: impl Fn(ChangeId) -> u64,
    ) -> Option<(ChangeId, DeltaNews)> {
        let is_frame = |queue: &VecDeque<DeltaNews>| matches!(queue.front(), Some(DeltaNews::Frame(_)));
        let free = self.waiting.iter().find(|(_, queue)| !is_frame(queue)).map(|(id, _)| *id);
        let id = match free {
            Some(id) => id,
            None if has_room => {
                self.n_frames = (self.n_frames + 1) % OLDEST_SHARE;
                let oldest = *self.waiting.keys().next()?;
                let foremost = self.waiting.keys().min_by_key(|id| (left(**id), **id));
                if self.n_frames == 0 { oldest } else { foremost.copied().unwrap_or(oldest) }
            }
            None => return None,
        };
        let queue = self.waiting.get_mut(&id)?;
        let news = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&id);
        }
        Some((id, news))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sender::DeltaFrame;

    fn frame() -> DeltaNews {
        DeltaNews::Frame(DeltaFrame { at: 0, ops: Vec::new() })
    }

    #[test]
    fn the_least_left_goes_first_and_the_oldest_gets_an_eighth() {
        let mut turns = Turns::default();
        let mut n_taken = [0; 3];
        for _ in 0..800 {
            for id in 1..=3 {
                if !turns.waiting.contains_key(&id) {
                    turns.told(id, frame());
                }
            }
            let (id, _) = turns.next(true, |id| 1_000 - id).unwrap();
            n_taken[id as usize - 1] += 1;
        }
        assert_eq!(n_taken, [100, 0, 700]);
    }

    #[test]
    fn frames_wait_for_room_and_news_does_not() {
        let mut turns = Turns::default();
        turns.told(1, frame());
        turns.told(1, DeltaNews::Finished);
        turns.told(2, DeltaNews::Finished);
        let left = |_| 1;
        assert!(matches!(turns.next(false, left), Some((2, DeltaNews::Finished))));
        assert!(turns.next(false, left).is_none());
        assert!(matches!(turns.next(true, left), Some((1, DeltaNews::Frame(_)))));
        assert!(matches!(turns.next(false, left), Some((1, DeltaNews::Finished))));
        assert!(turns.next(true, left).is_none());
    }
}
