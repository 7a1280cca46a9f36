//! From events to signals: which directories to list again, and what is not watched any more.
//!
//! [`translate`] runs on notify's own thread: it must never wait for that thread, so it only notes
//! what is to be unwatched and leaves the rest to the next `add`.

use crate::model::RelPath;
use crate::model::path::PathError;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Signals that wait to be taken; more of them become a rescan.
const WAITING: usize = 16_384;
/// Watches of old paths that wait to be ended; with more it is cheaper to begin anew.
const STALE_DIRS: usize = 1_024;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// This directory is to be listed again; not what lies below it, except where
    /// [`super::Watch::add`] says so.
    Changed { dir: RelPath },
    /// Events were lost: everything is to be added and listed again.
    Rescan,
}

/// The receiving end of a watch.
pub struct Signals {
    receiver: mpsc::Receiver<Signal>,
    missed: Arc<AtomicBool>,
}

impl Signals {
    /// The next signal; `None` after the watch has ended.
    ///
    /// # Cancel safety
    /// No signal is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<Signal> {
        if let Some(rescan) = self.take_missed() {
            return Some(rescan);
        }
        self.receiver.recv().await
    }

    /// The next signal that is there already.
    pub fn try_recv(&mut self) -> Option<Signal> {
        self.take_missed().or_else(|| self.receiver.try_recv().ok())
    }

    /// A rescan in place of everything that waits, when the queue was full.
    fn take_missed(&mut self) -> Option<Signal> {
        if !self.missed.swap(false, Ordering::AcqRel) {
            return None;
        }
        // It was full, so there is always a signal left to wake up for: see `State::send`.
        while self.receiver.try_recv().is_ok() {}
        Some(Signal::Rescan)
    }
}

/// What is watched, as far as events told.
#[derive(Default)]
pub struct Known {
    /// (Device, inode) of each watched directory.
    pub dirs: BTreeMap<RelPath, (u64, u64)>,
    /// Forgotten here, perhaps still held by notify under a path that is not theirs any more.
    pub stale: Vec<RelPath>,
    pub uncovered: BTreeSet<RelPath>,
}

impl Known {
    /// Forgets a directory and all below it; returns those that were watched.
    pub fn forget(&mut self, dir: &RelPath) -> Vec<RelPath> {
        // Everything below shares its first bytes, so it lies in one stretch, among others.
        let stretch = self.dirs.range((Bound::Included(dir), Bound::Unbounded));
        let stretch =
            stretch.map(|(path, _)| path).take_while(|path| path.as_bytes().starts_with(dir.as_bytes()));
        let forgotten: Vec<RelPath> = stretch.filter(|path| path.is_at_or_below(dir)).cloned().collect();
        for path in &forgotten {
            self.dirs.remove(path);
        }
        forgotten
    }
}

/// Shared by a watch and the thread of notify.
pub struct State {
    known: Mutex<Known>,
    sender: mpsc::Sender<Signal>,
    missed: Arc<AtomicBool>,
    /// Whether the kernel lost events since watching began.
    lost: AtomicBool,
    /// Counts watchers; events of an older one are ignored.
    generation: AtomicU64,
}

impl State {
    pub fn new() -> (Arc<Self>, Signals) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicBool::new(false));
        let signals = Signals { receiver, missed: missed.clone() };
        let known = Mutex::new(Known::default());
        let (lost, generation) = (AtomicBool::new(false), AtomicU64::new(0));
        (Arc::new(Self { known, sender, missed, lost, generation }), signals)
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn end_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn send(&self, signal: Signal) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(signal) {
            self.missed.store(true, Ordering::Release);
        }
    }

    fn lose(&self) {
        self.set_lost();
        self.send(Signal::Rescan);
    }
}

/// Turns one event into signals, and forgets what it says is not watched any more.
pub fn translate(root: &Path, state: &State, generation: u64, event: notify::Result<notify::Event>) {
    if state.generation() != generation {
        return;
    }
    let Ok(event) = event else { return state.lose() };
    if event.need_rescan() || (event.paths.is_empty() && !is_own(&event.kind)) {
        return state.lose();
    }
    if is_own(&event.kind) {
        return;
    }
    let mut gone = Gone::of(&event);
    for path in &event.paths {
        match path.strip_prefix(root).map(|below| below.as_os_str().as_bytes()) {
            // The root went away, or was mounted over: whatever is held of it is worth nothing.
            Ok(b"") if gone != Gone::No => state.lose(),
            Ok(below) => signal(state, below, gone),
            Err(_) => state.lose(),
        }
        gone = Gone::No;
    }
}

/// Whether an event says that its path does not lead to what was watched there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    No,
    /// notify ends the watches at and below the path by itself.
    Unwatched,
    /// notify knows the directory under its old path.
    Moved,
}

impl Gone {
    fn of(event: &notify::Event) -> Self {
        match event.kind {
            EventKind::Remove(_) => Gone::Unwatched,
            // With a tracker the parent said it; without, only the moved directory itself did.
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) if event.tracker().is_some() => {
                Gone::Unwatched
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From | RenameMode::Any)) => Gone::Moved,
            _ => Gone::No,
        }
    }
}

/// Whether an event tells nothing: reading, or both ends of a rename that were told one by one.
fn is_own(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => true,
        _ => false,
    }
}

fn signal(state: &State, below: &[u8], gone: Gone) {
    let path = match RelPath::parse(below) {
        Ok(path) => path,
        Err(PathError::OwnFolder) => return,
        // No path of a tree, such as one too deep: only its directory may be of interest.
        Err(_) => {
            let slash = below.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            if let Ok(dir) = RelPath::parse(&below[..slash]) {
                state.send(Signal::Changed { dir });
            }
            return;
        }
    };
    let is_watched = forget(state, &path, gone);
    if !path.is_root() {
        state.send(Signal::Changed { dir: path.parent() });
    }
    if is_watched {
        state.send(Signal::Changed { dir: path });
    }
}

/// Forgets what went away; says whether the path itself was watched.
fn forget(state: &State, path: &RelPath, gone: Gone) -> bool {
    let mut known = state.known();
    let is_watched = known.dirs.contains_key(path);
    if gone == Gone::No {
        return is_watched;
    }
    known.uncovered.retain(|uncovered| !uncovered.is_at_or_below(path));
    let forgotten = known.forget(path);
    if gone == Gone::Moved {
        known.stale.extend(forgotten);
    }
    if known.stale.len() > STALE_DIRS {
        drop(known);
        state.lose();
    }
    is_watched
}
