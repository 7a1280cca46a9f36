//! The source: a thread that scans it, watches it and says what it is now.
//!
//! Events are hints, the scan is the truth: an event only tells which directory to list again.

use super::teller::{Teller, tell_notes, tell_skipped};
use crate::client::event::{Event, Report, Scanned};
use crate::disk::{
    DirId, Findings, Hashing, Options, Progress, Root, ScanError, Touched, Verdict, What, rescan, scan,
};
use crate::model::{Kind, RelPath, Tree};
use crate::plan::scope::{Scope, Verdict as ScopeVerdict};
use crate::plan::settle::{Batch, Settle};
use crate::proto::sender;
use crate::server::contents::KnownContents;
use crate::watch::{Added, Signal, Signals, Watch};
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
/// A source that is gone is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often what was learned is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(2);
/// Rescans in a row for directories whose watch was lost.
const WATCH_ROUNDS: usize = 8;

/// The source at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub source: sender::Source,
    pub scanned: Scanned,
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
    pub failed: watch::Receiver<Option<String>>,
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
        watches: bool,
        events: &'static dyn Report,
    ) -> Self {
        let (orders, taken) = channel();
        let (publish, snapshots) = watch::channel(None);
        let (fail, failed) = watch::channel(None);
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = None;
        if watches {
            match Watch::new(root.path().to_owned()) {
                Ok((new, signals)) => {
                    tokio::spawn(forward(signals, orders.clone()));
                    watch = Some(new);
                }
                Err(error) => {
                    let text =
                        format!("{error}; the source is scanned every {} s instead", POLL_EVERY.as_secs());
                    events.event(Event::Note { text });
                }
            }
        }
        let keeper = Keeper {
            root,
            known: known.clone(),
            scope,
            is_polled: watches && watch.is_none(),
            watch,
            events,
            publish,
            fail,
            stop: stop.clone(),
            tree: Tree::default(),
            dirs: BTreeMap::new(),
            findings: Findings::default(),
            number: 0,
            saw_events: false,
            has_told_limit: false,
            synced_at: Instant::now(),
        };
        let thread = std::thread::spawn(move || keeper.run(taken, watches));
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
    watch: Option<Watch>,
    is_polled: bool,
    events: &'static dyn Report,
    publish: watch::Sender<Option<Arc<Snapshot>>>,
    fail: watch::Sender<Option<String>>,
    stop: Arc<AtomicBool>,
    tree: Tree,
    dirs: BTreeMap<RelPath, DirId>,
    findings: Findings,
    number: u64,
    saw_events: bool,
    has_told_limit: bool,
    synced_at: Instant,
}

impl Keeper {
    fn run(mut self, orders: Receiver<Order>, watches: bool) {
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
                    self.saw_events = true;
                    settle.note(now_ms(), dir);
                }
                Ok(Order::Signal(Signal::Rescan)) => settle.note_rescan(now_ms()),
                Ok(Order::Rescan(paths)) => {
                    paths.iter().for_each(|path| settle.note(now_ms(), path.parent()));
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if watches && Instant::now() >= poll_at {
                poll_at = Instant::now() + POLL_EVERY;
                self.poll(&mut settle, now_ms());
            }
            if watches && Instant::now() >= full_at {
                full_at = Instant::now() + FULL_EVERY;
                settle.note_rescan(now_ms());
            }
            if !watches {
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
        if self.is_polled {
            settle.note_rescan(now_ms);
        }
        if let Some(watch) = &self.watch {
            watch.uncovered_dirs().into_iter().for_each(|dir| settle.note(now_ms, dir));
        }
    }

    /// Scans everything; `false` when the source cannot be scanned and nobody waits for it.
    fn scan_whole(&mut self) -> bool {
        let mut has_told = false;
        loop {
            if self.root.is_still(self.root.path()) {
                match self.try_whole() {
                    Ok(()) => return true,
                    Err(ScanError::Stopped) => return false,
                    Err(error) if self.watch.is_none() => {
                        self.fail.send_replace(Some(error.to_string()));
                        return false;
                    }
                    Err(error) => tracing::debug!(%error, "the source cannot be scanned"),
                }
            } else if self.watch.is_none() && !self.is_polled {
                self.fail.send_replace(Some("it was removed or replaced while it was read".into()));
                return false;
            }
            if !std::mem::replace(&mut has_told, true) {
                let reason = "the source is gone, unmounted or replaced by another directory; nothing is \
                              changed until it is back";
                self.events.event(Event::Held { reason: reason.into() });
            }
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn try_whole(&mut self) -> Result<(), ScanError> {
        let progress = Arc::new(Progress::default());
        let teller = Teller::start(progress.clone(), self.events);
        let scanned = {
            let contents = self.known.for_scan(false);
            self.with_options(&progress, |root, options| scan(root, &contents, options))
        };
        drop(teller);
        let scanned = scanned?;
        self.tree = Tree::new(scanned.root);
        self.dirs = scanned.dirs;
        self.findings = scanned.findings;
        if self.number == 0 {
            let n_attributes = progress.with_attributes.load(Ordering::Relaxed);
            tell_notes(&self.findings, n_attributes, self.events);
        }
        self.publish();
        Ok(())
    }

    fn scan_dirs(&mut self, dirs: BTreeSet<RelPath>) {
        if !self.root.is_still(self.root.path()) {
            self.scan_whole();
            return;
        }
        let mut touched = Touched { dirs, whole: BTreeSet::new() };
        for _ in 0..WATCH_ROUNDS {
            let progress = Progress::default();
            let renewed = {
                let contents = self.known.for_scan(false);
                let (tree, dirs) = (&self.tree, &self.dirs);
                self.with_options(&progress, |root, options| {
                    rescan(root, tree, dirs, &touched, &contents, options)
                })
            };
            let renewed = match renewed {
                Ok(renewed) => renewed,
                Err(ScanError::Stopped) => return,
                Err(ScanError::Root(_)) => {
                    self.scan_whole();
                    return;
                }
            };
            self.tree = renewed.tree.clone();
            renewed.renew(&mut self.dirs);
            self.take_findings(&renewed.listed, &renewed.findings);
            touched = Touched { dirs: BTreeSet::new(), whole: self.unwatched(&renewed) };
            if touched.whole.is_empty() {
                break;
            }
        }
        self.publish();
    }

    /// Forgets watches of what is gone; finds directories whose watch was lost, to be scanned whole.
    fn unwatched(&self, renewed: &crate::disk::Rescan) -> BTreeSet<RelPath> {
        let mut lost = BTreeSet::new();
        let Some(watch) = &self.watch else { return lost };
        for path in renewed.removed.iter().filter(|path| !renewed.added.contains_key(*path)) {
            watch.remove_below(path);
        }
        for listed in &renewed.listed {
            let Some(dir) = self.tree.dir(listed) else { continue };
            for (name, node) in dir.entries() {
                let Ok(path) = listed.join(name) else { continue };
                let Some(id) = self.dirs.get(&path).filter(|_| node.kind() == Kind::Dir) else { continue };
                if renewed.added.contains_key(&path) || renewed.listed.contains(&path) {
                    continue;
                }
                if watch.add(&path, (id.dev, id.ino)) == Added::Watching {
                    lost.insert(path);
                }
            }
        }
        lost
    }

    fn with_options<T>(&self, progress: &Progress, work: impl FnOnce(&Root, &Options) -> T) -> T {
        let filter = |path: &RelPath, kind: Kind| match self.scope.verdict(path, kind == Kind::Dir) {
            ScopeVerdict::Take => Verdict::Take,
            ScopeVerdict::Hidden => Verdict::Hidden,
            ScopeVerdict::Excluded => Verdict::Excluded,
        };
        let before_list = |path: &RelPath, id: DirId| {
            if let Some(watch) = &self.watch {
                watch.add(path, (id.dev, id.ino));
            }
        };
        let options = Options {
            filter: &filter,
            before_list: &before_list,
            hashing: Hashing::Now,
            n_threads: 0,
            progress,
            stop: &self.stop,
        };
        work(&self.root, &options)
    }

    /// Replaces what was found in the directories that were listed again.
    fn take_findings(&mut self, listed: &BTreeSet<RelPath>, found: &Findings) {
        let is_old = |path: &RelPath, what: What| match what {
            What::Entry => listed.contains(&path.parent()),
            What::Listing => listed.contains(path) || listed.contains(&path.parent()),
        };
        self.findings.unreadable.retain(|unreadable| !is_old(&unreadable.path, unreadable.what));
        self.findings.unstable.retain(|path| !listed.contains(&path.parent()));
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
            saw_deletes: self.saw_events,
            is_suspect: false,
        };
        let scanned = self.scanned();
        if self.number == 1 {
            self.events.event(Event::Scanned(scanned));
            self.findings.unreadable.iter().for_each(|unreadable| tell_skipped(unreadable, self.events));
        }
        let snapshot = Snapshot { source, scanned };
        self.publish.send_replace(Some(Arc::new(snapshot)));
    }

    fn scanned(&self) -> Scanned {
        let mut files = 0;
        self.tree.for_each(&mut |_, node| files += u64::from(node.kind() == Kind::File));
        Scanned {
            files,
            bytes: self.tree.root().bytes_below(),
            hidden: self.findings.n_hidden,
            excluded: self.findings.n_excluded,
            special: self.findings.n_special,
            unreadable: (self.findings.unreadable.len() + self.findings.unstable.len()) as u64,
        }
    }
}
