//! Walking a root on all cores: directories from one queue, then the files that must be read.

use super::contents::{Contents, Hashed, Reading, hash_file};
use super::file::File;
use super::findings::{Findings, Options, Progress, Unreadable, What};
use super::listing::{Found, Listed, Lister};
use super::root::Root;
use super::scan::ScanError;
use super::stat::{DirId, Stat};
use crate::model::{Dir, Leaf, Meta, Name, Node, RelPath};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Directories that were listed, not yet put together.
pub(super) struct Walked {
    pub(super) listed: HashMap<RelPath, Listed>,
    /// Directories that were to be listed and could not even be opened.
    pub(super) closed: HashMap<RelPath, io::Error>,
    pub(super) findings: Findings,
}

/// Lists the directories in `start`, and of their subdirectories those that `enters` says, and
/// hashes what is to be hashed now.
pub(super) fn walk(
    root: &Root,
    contents: &dyn Contents,
    options: &Options,
    start: Vec<RelPath>,
    enters: &(dyn Fn(&RelPath, DirId) -> bool + Sync),
) -> Result<Walked, ScanError> {
    let uid = check_root(root)?.uid;
    let lister = Lister { root, contents, options, uid };
    let queue = Queue::new(start);
    on_all_cores(options.n_threads, &|| list_from(&queue, &lister, enters));
    check_stop(options)?;
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut walked = Walked { listed: state.listed, closed: state.closed, findings: Findings::default() };
    if let Some(error) = walked.closed.remove(&RelPath::root()) {
        return Err(ScanError::Root(error));
    }
    walked.hash(&lister);
    check_stop(options)?;
    walked.gather();
    check_root(root)?;
    Ok(walked)
}

/// Refuses a root that was removed while we hold it: it would list as empty.
fn check_root(root: &Root) -> Result<Stat, ScanError> {
    let stat = root.stat(&RelPath::root()).map_err(ScanError::Root)?;
    let standing = stat.filter(|stat| stat.n_links > 0);
    standing.ok_or_else(|| ScanError::Root(io::ErrorKind::NotFound.into()))
}

fn check_stop(options: &Options) -> Result<(), ScanError> {
    if options.stop.load(Ordering::Relaxed) { Err(ScanError::Stopped) } else { Ok(()) }
}

fn on_all_cores(n_threads: usize, work: &(dyn Fn() + Sync)) {
    let n_cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let n_threads = if n_threads == 0 { n_cores() } else { n_threads };
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(work);
        }
        work();
    });
}

/// Directories waiting to be listed, and those that were.
struct Queue {
    state: Mutex<QueueState>,
    woken: Condvar,
}

struct QueueState {
    waiting: Vec<RelPath>,
    n_busy: usize,
    listed: HashMap<RelPath, Listed>,
    closed: HashMap<RelPath, io::Error>,
}

impl Queue {
    fn new(waiting: Vec<RelPath>) -> Self {
        let state = QueueState { waiting, n_busy: 0, listed: HashMap::new(), closed: HashMap::new() };
        Self { state: Mutex::new(state), woken: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory; `None` when all are listed.
    fn next(&self) -> Option<RelPath> {
        let mut state = self.lock();
        loop {
            if let Some(path) = state.waiting.pop() {
                state.n_busy += 1;
                return Some(path);
            }
            if state.n_busy == 0 {
                return None;
            }
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, path: RelPath, result: io::Result<Listed>, below: Vec<RelPath>) {
        let mut state = self.lock();
        state.waiting.extend(below);
        state.n_busy -= 1;
        match result {
            Ok(listed) => drop(state.listed.insert(path, listed)),
            Err(error) => drop(state.closed.insert(path, error)),
        }
        self.woken.notify_all();
    }
}

fn list_from(queue: &Queue, lister: &Lister, enters: &(dyn Fn(&RelPath, DirId) -> bool + Sync)) {
    while let Some(path) = queue.next() {
        let is_stopped = lister.options.stop.load(Ordering::Relaxed);
        let result = if is_stopped { Err(io::ErrorKind::Interrupted.into()) } else { lister.list(&path) };
        let mut below = Vec::new();
        if let Ok(listed) = &result {
            let entered = listed.subdirs.iter().filter(|(path, id)| enters(path, *id));
            below.extend(entered.map(|(path, _)| path.clone()));
        }
        queue.end(path, result, below);
    }
}

/// A file to be read: where its entry stands, and its size.
struct Job {
    dir: RelPath,
    index: usize,
    path: RelPath,
    stat: Stat,
}

impl Walked {
    /// Identities of the directories that were listed or stand in a listing. One that could not
    /// be opened is not among them, so that it counts as new whenever it is met again.
    pub(super) fn identities(&self) -> BTreeMap<RelPath, DirId> {
        let below = self.listed.values().flat_map(|listed| listed.subdirs.iter().cloned());
        let own = self.listed.iter().map(|(path, listed)| (path.clone(), listed.id));
        below.chain(own).filter(|(path, _)| !self.closed.contains_key(path)).collect()
    }

    /// Whether a directory that was to be listed is none any more.
    pub(super) fn is_gone(&self, path: &RelPath) -> bool {
        self.closed.get(path).is_some_and(is_gone)
    }

    /// Reads the files whose hash is not known.
    fn hash(&mut self, lister: &Lister) {
        let jobs = self.jobs();
        let progress = lister.options.progress;
        let total = jobs.iter().map(|job| job.stat.size).fold(0, u64::saturating_add);
        progress.bytes_to_hash.fetch_add(total, Ordering::Relaxed);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(jobs.len()));
        if !jobs.is_empty() {
            on_all_cores(lister.options.n_threads, &|| hash_from(&jobs, &next, &results, lister));
        }
        for (index, hashed) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.learn(&jobs[index], hashed);
        }
    }

    /// The largest first, so that none is left to one core at the end; small ones as they lie on
    /// the disk.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (dir, listed) in &self.listed {
            for (index, stat) in &listed.unhashed {
                let Ok(path) = dir.join(&listed.entries[*index].0) else { continue };
                jobs.push(Job { dir: dir.clone(), index: *index, path, stat: *stat });
            }
        }
        let megabytes = |job: &Job| job.stat.size >> 20;
        jobs.sort_by_key(|job| (std::cmp::Reverse(megabytes(job)), job.stat.dev, job.stat.ino));
        jobs
    }

    fn learn(&mut self, job: &Job, hashed: Hashed) {
        let found = match hashed {
            Hashed::Known(stat, hash) => Found::Leaf(Leaf::file(stat.meta(), stat.size, hash)),
            Hashed::Gone | Hashed::Stopped => Found::Nothing,
            Hashed::Unstable => {
                self.findings.unstable.push(job.path.clone());
                Found::Nothing
            }
            Hashed::Unreadable(error) => {
                self.findings.unreadable.push(Unreadable::new(&job.path, What::Entry, &error));
                Found::Nothing
            }
        };
        if let Some(listed) = self.listed.get_mut(&job.dir) {
            listed.entries[job.index].1 = found;
        }
    }

    /// Collects what each listing found, in order of paths.
    fn gather(&mut self) {
        for listed in self.listed.values_mut() {
            self.findings.add(std::mem::take(&mut listed.findings));
        }
        for (path, error) in &self.closed {
            if !is_gone(error) {
                self.findings.unreadable.push(Unreadable::new(path, What::Listing, error));
            } else if error.kind() != io::ErrorKind::NotFound {
                self.findings.unstable.push(path.clone());
            }
        }
        self.findings.unreadable.sort_by(|left, right| left.path.cmp(&right.path));
        self.findings.unstable.sort();
        self.findings.pending.sort();
    }

    /// The directory at a path with all below it; what was not listed is asked of `keep`.
    pub(super) fn assemble(
        &mut self,
        path: &RelPath,
        keep: &dyn Fn(&RelPath, &Meta) -> Option<Node>,
    ) -> Option<Node> {
        let listed = self.listed.remove(path)?;
        let mut nodes: Vec<(Name, Node)> = Vec::with_capacity(listed.entries.len());
        for (name, found) in listed.entries {
            let node = match found {
                Found::Nothing => None,
                Found::Leaf(leaf) => Some(Node::Leaf(leaf)),
                Found::Dir(meta) => path.join(&name).ok().and_then(|path| match self.closed.get(&path) {
                    Some(error) if is_gone(error) => None,
                    Some(_) => Some(Node::empty_dir(meta)),
                    None => self.assemble(&path, keep).or_else(|| keep(&path, &meta)),
                }),
            };
            nodes.extend(node.map(|node| (name, node)));
        }
        Some(Node::Dir(Arc::new(Dir::with_entries(listed.meta, nodes.into_iter().collect()))))
    }
}

/// Whether this error tells that the directory went, or gave way to something else, since it was
/// seen.
fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn hash_from(jobs: &[Job], next: &AtomicUsize, results: &Mutex<Vec<(usize, Hashed)>>, lister: &Lister) {
    let Options { stop, progress, .. } = lister.options;
    let mut buffer = Vec::new();
    let mut hashed = Vec::new();
    while let Some((index, job)) = take_next(jobs, next) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        hashed
            .push((index, hash_file(lister.root, &job.path, lister.contents, &mut buffer, stop, *progress)));
    }
    results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut hashed);
}

impl Reading for Progress {
    fn opened(&self, file: &File) {
        if file.has_attributes() {
            self.with_attributes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, n_bytes: u64) {
        self.bytes_hashed.fetch_add(n_bytes, Ordering::Relaxed);
    }
}

fn take_next<'a>(jobs: &'a [Job], next: &AtomicUsize) -> Option<(usize, &'a Job)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, jobs.get(index)?))
}
