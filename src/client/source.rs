//! The source: a thread that scans it, watches it and says what it is now.
//!
//! Events are hints, the scan is the truth: an event only tells which directory to list again.

mod links;
mod scans;
mod sizes;

use self::links::Links;
pub use self::sizes::Sizes;
use super::origin::root_change;
use super::teller::{tell_skipped, tell_unstable};
use crate::client::event::{Event, Report, Scanned};
use crate::disk::{DirId, Findings, Root, What};
use crate::model::{RelPath, Tree};
use crate::plan::scope::Scope;
use crate::plan::settle::{Batch, Settle};
use crate::proto::message::RootId;
use crate::proto::sender;
use crate::server::contents::KnownContents;
use crate::watch::{Signal, Signals, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A full scan at least this often, whatever the events say.
const FULL_EVERY: Duration = Duration::from_secs(900);
/// Directories that cannot be watched are listed this often.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// How often what was learned is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// The source at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The directory that was scanned; another one under the same name when that was replaced.
    pub root: Arc<Root>,
    pub source: sender::Source,
    pub scanned: Scanned,
    /// Directories that are destinations, with their ids.
    pub destinations: Vec<(RelPath, RootId)>,
}

/// Why there are no more snapshots.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Unreadable(String),
    /// Another directory took its place, which this process is not allowed to open.
    #[error("it was replaced")]
    Replaced,
}

/// What the sender asks of the source.
pub enum Order {
    /// These entries were not what the last snapshot says.
    Rescan(Vec<RelPath>),
    Signal(Signal),
    Stop,
}

/// The source's thread, and the ways to and from it.
pub struct SourceThread {
    orders: Sender<Order>,
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Set when the source cannot be scanned at all.
    pub failed: watch::Receiver<Option<Failure>>,
    stop: Arc<AtomicBool>,
    known: Arc<KnownContents>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SourceThread {
    /// Begins to scan; and to watch, if asked.
    pub fn start(
        root: Arc<Root>,
        known: Arc<KnownContents>,
        scope: Scope,
        (watches, is_confined): (bool, bool),
        sizes: Sizes,
        events: &'static dyn Report,
    ) -> Self {
        let (orders, taken) = channel();
        let (publish, snapshots) = watch::channel(None);
        let (fail, failed) = watch::channel(None);
        let stop = Arc::new(AtomicBool::new(false));
        let mut keeper = Keeper {
            root,
            known: known.clone(),
            scope,
            watches,
            is_confined,
            watch: None,
            orders: orders.clone(),
            runtime: tokio::runtime::Handle::current(),
            events,
            publish,
            fail,
            stop: stop.clone(),
            tree: Tree::default(),
            dirs: BTreeMap::new(),
            findings: Findings::default(),
            links: Links::default(),
            number: 0,
            told_dirs: BTreeSet::new(),
            seen_gone: Arc::default(),
            has_told_limit: false,
            synced_at: Instant::now(),
            sizes,
        };
        keeper.begin_watch();
        let thread = std::thread::spawn(move || keeper.run(taken));
        Self { orders, snapshots, failed, stop, known, thread: Some(thread) }
    }

    /// Asks for entries to be looked at again.
    pub fn rescan(&self, paths: Vec<RelPath>) {
        let _ = self.orders.send(Order::Rescan(paths));
    }
}

impl Drop for SourceThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.known.sync();
        // Nobody reads any more.
        self.known.shrink();
    }
}

async fn forward(mut signals: Signals, orders: Sender<Order>) {
    while let Some(signal) = signals.recv().await {
        if orders.send(Order::Signal(signal)).is_err() {
            return;
        }
    }
}

struct Keeper {
    root: Arc<Root>,
    known: Arc<KnownContents>,
    scope: Scope,
    /// Looks again whenever something happens, until it is stopped.
    watches: bool,
    /// May open nothing but the root as it was at the start.
    is_confined: bool,
    /// `None` where the system gives none: then everything is polled.
    watch: Option<Watch>,
    orders: Sender<Order>,
    runtime: tokio::runtime::Handle,
    events: &'static dyn Report,
    publish: watch::Sender<Option<Arc<Snapshot>>>,
    fail: watch::Sender<Option<Failure>>,
    stop: Arc<AtomicBool>,
    tree: Tree,
    dirs: BTreeMap<RelPath, DirId>,
    findings: Findings,
    links: Links,
    number: u64,
    /// Directories that events named since they were last listed.
    told_dirs: BTreeSet<RelPath>,
    /// What went from such directories, and is not back.
    seen_gone: Arc<BTreeSet<RelPath>>,
    has_told_limit: bool,
    synced_at: Instant,
    sizes: Sizes,
}

impl Keeper {
    fn begin_watch(&mut self) {
        self.watch = None;
        if !self.watches {
            return;
        }
        match Watch::new(self.root.path().to_owned()) {
            Ok((watch, signals)) => {
                self.runtime.spawn(forward(signals, self.orders.clone()));
                self.watch = Some(watch);
            }
            Err(error) => {
                let text = format!("{error}; the source is scanned every {} s instead", POLL_EVERY.as_secs());
                self.events.event(Event::Note { text });
            }
        }
    }

    fn run(mut self, orders: Receiver<Order>) {
        if !self.scan_whole() {
            return;
        }
        let started = Instant::now();
        let now_ms = || started.elapsed().as_millis() as u64;
        let mut settle = Settle::default();
        let mut full_at = Instant::now() + FULL_EVERY;
        let mut poll_at = Instant::now() + POLL_EVERY;
        while !self.stop.load(Ordering::Relaxed) {
            let mut wait = full_at.min(poll_at).saturating_duration_since(Instant::now());
            if let Some(deadline_ms) = settle.next_deadline() {
                wait = wait.min(Duration::from_millis(deadline_ms.saturating_sub(now_ms())));
            }
            match orders.recv_timeout(wait) {
                Ok(Order::Signal(Signal::Changed { dir })) => {
                    self.told_dirs.insert(dir.clone());
                    settle.note(now_ms(), dir);
                }
                Ok(Order::Signal(Signal::Rescan)) => settle.note_rescan(now_ms()),
                Ok(Order::Rescan(paths)) => {
                    paths.iter().for_each(|path| settle.note(now_ms(), path.parent()));
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.watches && Instant::now() >= poll_at {
                poll_at = Instant::now() + POLL_EVERY;
                self.poll(&mut settle, now_ms());
            }
            if self.watches && Instant::now() >= full_at {
                full_at = Instant::now() + FULL_EVERY;
                settle.note_rescan(now_ms());
            }
            if !self.watches {
                (full_at, poll_at) = (Instant::now() + FULL_EVERY, Instant::now() + FULL_EVERY);
            }
            match settle.due(now_ms()) {
                Some(Batch::Dirs(dirs)) => self.scan_dirs(dirs),
                Some(Batch::Rescan) => {
                    self.scan_whole();
                }
                None => {}
            }
        }
    }

    /// Notes what no event will tell.
    fn poll(&mut self, settle: &mut Settle, now_ms: u64) {
        if self.watch.is_none() || !self.root.is_still(self.root.path()) {
            settle.note_rescan(now_ms);
        }
        if let Some(watch) = &self.watch {
            watch.uncovered_dirs().into_iter().for_each(|dir| settle.note(now_ms, dir));
        }
    }

    /// Replaces what was found in the directories that were listed again, or that are there no more.
    fn take_findings(&mut self, listed: &BTreeSet<RelPath>, found: &Findings) {
        let tree = &self.tree;
        let is_old_in = |dir: &RelPath| listed.contains(dir) || tree.dir(dir).is_none();
        let is_old = |path: &RelPath, what: What| match what {
            What::Entry => is_old_in(&path.parent()),
            What::Listing | What::Unfit => listed.contains(path) || is_old_in(&path.parent()),
        };
        self.findings.unreadable.retain(|unreadable| !is_old(&unreadable.path, unreadable.what));
        self.findings.unstable.retain(|path| !is_old_in(&path.parent()));
        self.findings.destinations.retain(|(path, _)| !is_old_in(path));
        self.findings.destinations.extend(found.destinations.iter().cloned());
        for unreadable in &found.unreadable {
            if !self.findings.unreadable.contains(unreadable) {
                tell_skipped(unreadable, self.events);
                self.findings.unreadable.push(unreadable.clone());
            }
        }
        self.findings.unstable.extend(found.unstable.iter().cloned());
    }

    fn publish(&mut self) {
        if let Some(text) = self.watch.as_ref().and_then(Watch::uncovered_text)
            && !std::mem::replace(&mut self.has_told_limit, true)
        {
            self.events.event(Event::Note { text });
        }
        if self.synced_at.elapsed() > SYNC_EVERY {
            self.known.sync();
            self.synced_at = Instant::now();
        }
        self.number += 1;
        let mut untouched: BTreeSet<RelPath> =
            self.findings.unreadable.iter().map(|unreadable| unreadable.path.clone()).collect();
        untouched.extend(self.findings.unstable.iter().cloned());
        let source = sender::Source {
            tree: self.tree.clone(),
            untouched,
            is_listed: self.findings.is_listed(),
            seen_gone: self.seen_gone.clone(),
            root: root_change(&self.known, &self.root.id()),
            n_lately: self.sizes.note(&self.known, self.tree.n_entries()),
        };
        // A watch takes them when they rest.
        if !self.watches {
            self.findings.unstable.iter().for_each(|path| tell_unstable(path, self.events));
        }
        let scanned = self.scanned();
        if self.number == 1 {
            self.events.event(Event::Scanned(scanned));
            self.findings.unreadable.iter().for_each(|unreadable| tell_skipped(unreadable, self.events));
        }
        let destinations = self.findings.destinations.clone();
        let snapshot = Snapshot { root: self.root.clone(), source, scanned, destinations };
        self.publish.send_replace(Some(Arc::new(snapshot)));
    }

    fn scanned(&self) -> Scanned {
        let [files, ..] = self.tree.n_kinds();
        Scanned {
            files,
            bytes: self.tree.root().bytes_below(),
            hidden: self.findings.n_hidden,
            excluded: self.findings.n_excluded,
            special: self.findings.n_special,
            polled: self.watch.as_ref().map_or(0, |watch| watch.uncovered() as u64),
            unreadable: (self.findings.unreadable.len() + self.findings.unstable.len()) as u64,
        }
    }
}
