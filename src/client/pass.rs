//! Counts a pass, for the progress line and the summary.

use super::event::{Change as Told, Event, Found, Progress, Report, Scanned, Shown, Summary, What};
use crate::delta::sieve::DeltaStats;
use crate::model::{ContentHash, Kind, Node, RelPath, Tree};
use crate::net::Traffic;
use crate::plan::change::{Change, apply};
use crate::proto::message::PackBody;
use crate::proto::sender::{Ending, Unready};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Entries that the destination did not take, or that could not be read when they were due.
    skipped: BTreeSet<RelPath>,
    /// What is going to be removed, as it was when that was planned.
    removals: BTreeMap<RelPath, Before>,
    has_work: bool,
    /// How the last pass of this connection ended.
    told: Option<Ending>,
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
            skipped: BTreeSet::new(),
            removals: BTreeMap::new(),
            has_work: false,
            told: None,
        }
    }

    /// A dry run drew its plan, and that is all it does.
    pub fn only_planned(&mut self, n_changes: u64) {
        self.summary.planned = Some(n_changes);
    }

    /// A plan was drawn: so many changes, files among them, and bytes of these.
    pub fn planned(&mut self, n_changes: u64, n_files: u64, content_bytes: u64) {
        if !self.has_work {
            self.has_work = n_changes > 0;
            if self.summary.elapsed_ms > 0 {
                self.started = Instant::now();
            }
        }
        self.progress.files_total = self.progress.files_done + n_files;
        self.progress.content_total = self.progress.content_done + content_bytes;
        self.tell();
    }

    /// Notes what these changes are going to remove from what the destination holds.
    pub fn note_removals(&mut self, changes: &[Change], have: Option<&Tree>) {
        if changes.is_empty() {
            return;
        }
        let mut tree = have.cloned().unwrap_or_default();
        for change in changes {
            if let (Change::Remove { path }, Some(node)) = (change, tree.get(change.path())) {
                self.removals.insert(path.clone(), Before::of(node));
            }
            let _ = apply(&mut tree, change);
        }
    }

    /// A part of a large file was sent.
    pub fn streamed(&mut self, path: RelPath, target_bytes: u64) {
        let before = self.streamed.insert(path, target_bytes).unwrap_or(0);
        self.progress.content_done += target_bytes.saturating_sub(before);
        self.tell();
    }

    /// A delta was computed, of these parts.
    pub fn counted(&mut self, stats: &DeltaStats) {
        let found = &mut self.summary.found;
        found.by_groups += stats.by_groups;
        found.by_chunks += stats.by_chunks;
        found.by_blocks += stats.by_blocks;
        found.zeros += stats.zeros;
        found.literal += stats.literal;
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
            Change::Move { .. } | Change::Swap { .. } | Change::Rotate { .. } => self.summary.moved += 1,
            Change::Remove { .. } => self.summary.deleted += 1,
        }
        self.skipped.remove(change.path());
        let before = self.removals.remove(change.path()).or(existed.then_some(Before::UNKNOWN));
        for told in told(change, before) {
            self.events.event(Event::Applied(told));
        }
        self.tell();
    }

    /// An entry stays out of step.
    pub fn skipped(&mut self, path: &RelPath, why: String) {
        self.skipped.insert(path.clone());
        self.events.event(Event::Skipped { path: Shown::from(path), why });
    }

    /// Frames over prefixes made so many bytes of content, and were so long themselves.
    pub fn settled(&mut self, target_bytes: u64, wire_bytes: u64) {
        self.summary.prefix_target += target_bytes;
        self.summary.prefix_wire += wire_bytes;
    }

    /// What the shadow takes on the disk.
    pub fn keeps(&mut self, shadow_bytes: u64) {
        self.summary.shadow_bytes = shadow_bytes;
    }

    /// Small files were read: some are frames over what the destination holds.
    pub fn leant_on(&mut self, read: &[Result<PackBody, Unready>]) {
        for body in read {
            if let Ok(PackBody::Over(frame)) = body {
                self.summary.prefix_wire += frame.len() as u64;
                self.summary.prefix_files += 1;
            }
        }
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
        if self.told == Some(ending) && !self.has_work {
            // A scan that found nothing new, while a watch runs: no news.
            return;
        }
        self.told = Some(ending);
        let (sent, received) = self.wire();
        let mut summary = std::mem::take(&mut self.summary);
        [summary.files, summary.dirs, summary.links] = tree.n_kinds();
        summary.wire_sent = sent - self.wire_before.0;
        summary.wire_received = received - self.wire_before.1;
        summary.saved = summary.content_bytes.saturating_sub(summary.wire_sent);
        (summary.hidden, summary.excluded, summary.special) =
            (scanned.hidden, scanned.excluded, scanned.special);
        summary.polled = scanned.polled;
        summary.partial = match ending {
            Ending::Identical => scanned.unreadable,
            _ => self.skipped.len() as u64 + scanned.unreadable,
        };
        if ending == Ending::Partial {
            summary.partial = summary.partial.max(1);
        }
        summary.held = held;
        summary.elapsed_ms = self.started.elapsed().as_millis() as u64;
        summary.root = if ending == Ending::Identical { root.to_string() } else { String::new() };
        if summary.found != Found::default() {
            self.events.event(Event::Made(summary.found));
        }
        self.events.event(Event::PassDone(summary));
        self.summary.elapsed_ms = 1;
        self.wire_before = (sent, received);
        self.progress = Progress::default();
        self.streamed.clear();
        self.has_work = false;
        self.removals.clear();
        self.started = Instant::now();
    }
}

/// What was at a path before a change.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    kind: Kind,
    n_below: u64,
}

impl Before {
    const UNKNOWN: Self = Self { kind: Kind::File, n_below: 0 };

    pub fn of(node: &Node) -> Self {
        Self { kind: node.kind(), n_below: node.n_below() }
    }
}

/// A change as it is told to people, names that rotate as the moves that they are; `before`: what was at its
/// path, if anything.
pub fn told(change: &Change, before: Option<Before>) -> Vec<Told> {
    let made = |kind: What, path: &RelPath, size_bytes: u64| {
        let path = Shown::from(path);
        if before.is_some() {
            Told::Update { kind, path, size_bytes }
        } else {
            Told::Create { kind, path, size_bytes }
        }
    };
    let told = match change {
        Change::File { path, size, .. } => made(What::File, path, *size),
        Change::Link { path, size, .. } => made(What::Link, path, *size),
        Change::MakeDir { path, .. } => {
            Told::Create { kind: What::Dir, path: Shown::from(path), size_bytes: 0 }
        }
        Change::SetMeta { path, .. } => Told::Meta { path: Shown::from(path) },
        Change::Move { from, to } => Told::Move { from: Shown::from(from), path: Shown::from(to) },
        Change::Swap { a, b } => Told::Swap { from: Shown::from(a), path: Shown::from(b) },
        Change::Rotate { ring } => {
            let moves = ring.iter().zip(ring.iter().cycle().skip(1));
            return moves.map(|(from, to)| Told::Move { from: from.into(), path: to.into() }).collect();
        }
        Change::Remove { path } => {
            let Before { kind, n_below } = before.unwrap_or(Before::UNKNOWN);
            Told::Remove { kind: kind.into(), path: Shown::from(path), entries_below: n_below }
        }
    };
    vec![told]
}
