//! Counts what a session did, for the line that tells it.

use crate::client::event::Received;
use crate::model::{ContentHash, RelPath};
use crate::net::Traffic;
use crate::proto::message::{Hello, Refusal};
use crate::proto::receiver::{Action, Step};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// What was done since it was last told.
pub struct Tally {
    received: Received,
    /// What each step of the group in progress counts as.
    pending: Vec<Count>,
    /// Directories of that group whose metadata alone changes.
    pending_dirs: u64,
    since: Option<Instant>,
    /// When the last group of it was made.
    until: Option<Instant>,
    traffic: Arc<Traffic>,
    wire_before: (u64, u64),
    client: String,
}

#[derive(Clone, Copy)]
enum Count {
    Changed,
    Moved,
    Deleted,
    Metadata,
}

impl Tally {
    pub fn new(hello: &Hello, traffic: Arc<Traffic>) -> Self {
        let client = hello.name.to_string();
        Self {
            received: Received::default(),
            pending: Vec::new(),
            pending_dirs: 0,
            since: None,
            until: None,
            traffic,
            wire_before: (0, 0),
            client,
        }
    }

    /// Notes a group that is asked of the disk.
    pub fn asked(&mut self, action: &Action) {
        if let Action::Commit { steps, dirs } = action {
            self.since.get_or_insert_with(Instant::now);
            self.pending = steps.iter().map(count).collect();
            // The others get back the times that the steps took from them.
            let touched: HashSet<RelPath> = steps.iter().flat_map(touched).collect();
            self.pending_dirs = dirs.iter().filter(|(path, _)| !touched.contains(path)).count() as u64;
        }
    }

    /// Counts what became of the group.
    pub fn committed(&mut self, results: &[Result<(), Refusal>]) {
        self.until = Some(Instant::now());
        self.received.metadata += std::mem::take(&mut self.pending_dirs);
        for (count, result) in self.pending.drain(..).zip(results) {
            if result.is_err() {
                continue;
            }
            match count {
                Count::Changed => self.received.changed += 1,
                Count::Moved => self.received.moved += 1,
                Count::Deleted => self.received.deleted += 1,
                Count::Metadata => self.received.metadata += 1,
            }
        }
    }

    /// Whether something was done that is not told yet.
    pub fn has_news(&self) -> bool {
        self.since.is_some()
    }

    /// What was done; counting begins again.
    pub fn take(&mut self, root: Option<ContentHash>) -> Received {
        let (received, sent) = (self.traffic.received.counts().wire, self.traffic.sent.counts().wire);
        let (received_before, sent_before) = std::mem::replace(&mut self.wire_before, (received, sent));
        // It is told after a while of quiet, which does not count.
        let elapsed = self.since.take().zip(self.until.take()).map(|(since, until)| until - since);
        Received {
            client: self.client.clone(),
            wire_received: received - received_before,
            wire_sent: sent - sent_before,
            elapsed_ms: elapsed.map_or(0, |elapsed| elapsed.as_millis() as u64),
            root: root.map(|root| root.to_string()).unwrap_or_default(),
            ..std::mem::take(&mut self.received)
        }
    }
}

/// Directories that a step makes, or whose times it moves.
fn touched(step: &Step) -> Vec<RelPath> {
    match step {
        Step::MakeDir { path, .. } => vec![path.clone(), path.parent()],
        Step::Install { path, .. } | Step::Link { path, .. } | Step::Remove { path, .. } => {
            vec![path.parent()]
        }
        Step::Move { from, to, .. } => vec![from.parent(), to.parent()],
        Step::Rotate { ring } => ring.iter().map(RelPath::parent).collect(),
        Step::SetMeta { .. } => Vec::new(),
    }
}

fn count(step: &Step) -> Count {
    match step {
        Step::Install { .. } | Step::MakeDir { .. } | Step::Link { .. } => Count::Changed,
        Step::Move { .. } | Step::Rotate { .. } => Count::Moved,
        Step::Remove { .. } => Count::Deleted,
        Step::SetMeta { .. } => Count::Metadata,
    }
}
