//! Counts a pass, for the progress line and the summary.

use super::event::{Change as Told, Event, Progress, Report, Scanned, Shown, Summary, What};
use crate::model::{ContentHash, Kind, Node, RelPath, Tree};
use crate::net::Traffic;
use crate::plan::change::Change;
use crate::proto::sender::Ending;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Progress is told at most this often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// One pass: from the first change to the moment when both sides agree.
pub struct Pass {
    events: &'static dyn Report,
    traffic: Arc<Traffic>,
    started: Instant,
    wire_before: (u64, u64),
    progress: Progress,
    summary: Summary,
    streamed: BTreeMap<RelPath, u64>,
    told_at: Instant,
    /// Entries named as left out since the pass began.
    n_partial: u64,
    has_work: bool,
}

impl Pass {
    /// Begins with a connection; its greeting counts to the first pass.
    pub fn new(events: &'static dyn Report, traffic: Arc<Traffic>, started: Instant) -> Self {
        Self {
            events,
            traffic,
            started,
            wire_before: (0, 0),
            progress: Progress::default(),
            summary: Summary::default(),
            streamed: BTreeMap::new(),
            told_at: Instant::now(),
            n_partial: 0,
            has_work: false,
        }
    }

    /// A plan was drawn.
    pub fn planned(&mut self, changes: &[Change], content_bytes: u64) {
        if !self.has_work {
            self.has_work = !changes.is_empty();
            if self.summary.elapsed_ms > 0 {
                self.started = Instant::now();
            }
        }
        let n_files = changes.iter().filter(|change| matches!(change, Change::File { .. })).count() as u64;
        self.progress.files_total = self.progress.files_done + n_files;
        self.progress.content_total = self.progress.content_done + content_bytes;
        self.tell();
    }

    /// A part of a large file was sent.
    pub fn streamed(&mut self, path: RelPath, target_bytes: u64) {
        let before = self.streamed.insert(path, target_bytes).unwrap_or(0);
        self.progress.content_done += target_bytes.saturating_sub(before);
        self.tell();
    }

    /// A change is verified and durable at the destination.
    pub fn done(&mut self, change: &Change, existed: bool) {
        match change {
            Change::File { path, size, .. } => {
                let streamed = self.streamed.remove(path).unwrap_or(0);
                self.progress.content_done += size.saturating_sub(streamed);
                self.progress.files_done += 1;
                self.summary.content_bytes += size;
                self.summary.changed += 1;
            }
            Change::Link { .. } | Change::MakeDir { .. } => self.summary.changed += 1,
            Change::SetMeta { .. } => self.summary.metadata += 1,
            Change::Move { .. } | Change::Swap { .. } => self.summary.moved += 1,
            Change::Remove { .. } => self.summary.deleted += 1,
        }
        self.events.event(Event::Applied(told(change, existed, None)));
        self.tell();
    }

    /// An entry stays out of step.
    pub fn skipped(&mut self, path: &RelPath, why: String) {
        self.n_partial += 1;
        self.events.event(Event::Skipped { path: Shown::from(path), why });
    }

    fn wire(&self) -> (u64, u64) {
        (self.traffic.sent.counts().wire, self.traffic.received.counts().wire)
    }

    fn tell(&mut self) {
        if self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        self.told_at = Instant::now();
        let (sent, received) = self.wire();
        self.progress.wire_sent = sent - self.wire_before.0;
        self.progress.wire_received = received - self.wire_before.1;
        self.events.event(Event::Progress(self.progress));
    }

    /// The pass is over: says so and begins the next.
    pub fn end(
        &mut self,
        root: ContentHash,
        ending: Ending,
        tree: &Tree,
        scanned: &Scanned,
        held: Option<String>,
    ) {
        let (sent, received) = self.wire();
        let mut counts = [0u64; 3];
        tree.for_each(&mut |_, node| match node.kind() {
            Kind::File => counts[0] += 1,
            Kind::Dir => counts[1] += 1,
            Kind::Link => counts[2] += 1,
        });
        let mut summary = std::mem::take(&mut self.summary);
        [summary.files, summary.dirs, summary.links] = counts;
        summary.wire_sent = sent - self.wire_before.0;
        summary.wire_received = received - self.wire_before.1;
        summary.saved = summary.content_bytes.saturating_sub(summary.wire_sent);
        (summary.hidden, summary.excluded, summary.special) =
            (scanned.hidden, scanned.excluded, scanned.special);
        summary.partial = self.n_partial + scanned.unreadable;
        summary.held = held;
        summary.elapsed_ms = self.started.elapsed().as_millis() as u64;
        summary.root = if ending == Ending::Identical { root.to_string() } else { String::new() };
        self.events.event(Event::PassDone(summary));
        self.summary.elapsed_ms = 1;
        self.wire_before = (sent, received);
        self.progress = Progress::default();
        self.streamed.clear();
        self.has_work = false;
        self.n_partial = 0;
        self.started = Instant::now();
    }
}

/// A change as it is told to people.
pub fn told(change: &Change, existed: bool, have: Option<&Tree>) -> Told {
    let made = |kind: What, path: &RelPath, size_bytes: u64| {
        let path = Shown::from(path);
        if existed {
            Told::Update { kind, path, size_bytes }
        } else {
            Told::Create { kind, path, size_bytes }
        }
    };
    match change {
        Change::File { path, size, .. } => made(What::File, path, *size),
        Change::Link { path, size, .. } => made(What::Link, path, *size),
        Change::MakeDir { path, .. } => {
            Told::Create { kind: What::Dir, path: Shown::from(path), size_bytes: 0 }
        }
        Change::SetMeta { path, .. } => Told::Meta { path: Shown::from(path) },
        Change::Move { from, to } => Told::Move { from: Shown::from(from), path: Shown::from(to) },
        Change::Swap { a, b } => Told::Swap { from: Shown::from(a), path: Shown::from(b) },
        Change::Remove { path } => {
            let node = have.and_then(|tree| tree.get(path));
            let kind = node.map_or(What::File, |node| node.kind().into());
            Told::Remove { kind, path: Shown::from(path), entries_below: node.map_or(0, Node::n_below) }
        }
    }
}
