//! After the disk was full: looks whether space has returned, so that the sender need not wait for its
//! next try. A quota is not seen here; there the sender's own clock decides.

use crate::model::limits::{SPACE_BACK_BYTES, SPACE_BACK_INODES, SPACE_LOOK_MS, SPACE_LOOK_MS_MAX};
use crate::proto::message::{Down, NextStep};
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the space that a session waits for.
pub struct Space {
    is_awaited: bool,
    /// Bytes and inodes that were free when the sender was told last: what the failed change had staged was given
    /// back by then.
    free: Option<(u64, u64)>,
    every: Duration,
    look_at: Instant,
}

impl Space {
    pub fn new() -> Self {
        let every = Duration::from_millis(SPACE_LOOK_MS);
        Self { is_awaited: false, free: None, every, look_at: Instant::now() + every }
    }

    /// Takes note of what is said to the sender.
    pub fn said(&mut self, down: &Down) {
        if let Down::Refused { why, .. } = down
            && why.next_step() == NextStep::WaitForSpace
            && !self.is_awaited
        {
            self.is_awaited = true;
            self.look_at = Instant::now() + self.every;
        }
    }

    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    pub fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Whether so many free bytes and inodes are worth another try: at the first look they are, for what is
    /// free then may have come since. Each try makes the next look later.
    pub fn is_back(&mut self, (bytes, inodes): (u64, u64)) -> bool {
        self.look_at = Instant::now() + self.every;
        let (old_bytes, old_inodes) = self.free.unwrap_or_default();
        let is_back = self.free.is_none()
            || bytes >= old_bytes.saturating_add(SPACE_BACK_BYTES)
            || inodes >= old_inodes.saturating_add(SPACE_BACK_INODES);
        if is_back {
            self.free = Some((bytes, inodes));
            self.is_awaited = false;
            self.every = (self.every * 2).min(Duration::from_millis(SPACE_LOOK_MS_MAX));
        } else {
            self.free = Some((bytes.min(old_bytes), inodes.min(old_inodes)));
        }
        is_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::Refusal;

    fn refused(why: Refusal) -> Down {
        Down::Refused { id: 1, item: None, why }
    }

    #[tokio::test]
    async fn space_is_awaited_only_after_a_refusal_for_want_of_it() {
        let mut space = Space::new();
        space.said(&refused(Refusal::NoParent));
        assert!(!space.is_awaited());
        space.said(&refused(Refusal::NoInodes));
        assert!(space.is_awaited());
    }

    #[tokio::test]
    async fn after_the_first_look_only_more_space_is_worth_another_try() {
        let mut space = Space::new();
        let full = refused(Refusal::NoSpace { need: 0, free: 0 });
        space.said(&full);
        assert!(space.is_back((100 << 20, 10)), "it may have returned since");
        assert!(!space.is_awaited(), "the sender is told once");
        space.said(&full);
        assert!(!space.is_back((100 << 20, 10)), "no more than before");
        assert!(space.is_back((101 << 20, 10)));
        space.said(&refused(Refusal::NoInodes));
        assert!(!space.is_back((101 << 20, 10)));
        assert!(space.is_back((0, 10 + SPACE_BACK_INODES)));
    }
}
