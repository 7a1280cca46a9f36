//! Time: heartbeats, silence, and what waits for its time.

use super::{Phase, Sender};
use crate::model::limits::{PING_MS, SILENCE_MS};
use crate::proto::message::Up;

impl Sender {
    /// Lets time pass: heartbeats, and what waited for its time.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if self.phase == Phase::Closed {
            return;
        }
        if now_ms.saturating_sub(self.heard_ms) >= SILENCE_MS {
            return self.end("the other side has been silent for 45 s".into(), None);
        }
        if self.said_ms + PING_MS <= now_ms {
            self.send(Up::Ping(now_ms));
            self.said_ms = now_ms;
        }
        if self.retry_ms.is_some_and(|retry_ms| retry_ms <= now_ms) {
            self.try_refused_again();
        }
        if self.walk_again_ms.is_some_and(|walk_ms| walk_ms <= now_ms) {
            self.walk_again_ms = None;
        }
        self.move_on();
    }

    /// When [`Sender::tick`] wants to be called next.
    pub fn deadline_ms(&self) -> u64 {
        if self.phase == Phase::Closed {
            return u64::MAX;
        }
        let retry_ms = self.retry_ms.unwrap_or(u64::MAX).min(self.walk_again_ms.unwrap_or(u64::MAX));
        (self.said_ms + PING_MS).min(self.heard_ms + SILENCE_MS).min(retry_ms)
    }

    /// The driver says that it sent something: the next heartbeat can wait.
    pub fn said(&mut self, now_ms: u64) {
        self.said_ms = now_ms;
    }
}
