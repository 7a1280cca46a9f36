//! Walking a root on all cores: directories from one queue, then the files that must be read.

use super::contents::{Contents, Hashed, Reading, hash_file};
use super::file::File;
use super::findings::{Findings, Inode, Options, Progress, Unreadable, What};
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

/// A file to be read: where its entry stands. There may be as many as there are files.
struct Job {
    dir: RelPath,
    index: u32,
    megabytes: u32,
    inode: Inode,
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
        let jobs = self.jobs(lister.options.progress);
        if !jobs.is_empty() {
            let next = AtomicUsize::new(0);
            let walked = Mutex::new(self);
            on_all_cores(lister.options.n_threads, &|| hash_from(&jobs, &next, &walked, lister));
        }
    }

    /// The largest first, so that none is left to one core at the end; small ones as they lie on
    /// the disk.
    fn jobs(&mut self, progress: &Progress) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(self.listed.values().map(|listed| listed.unhashed.len()).sum());
        for (dir, listed) in &mut self.listed {
            for (index, inode) in std::mem::take(&mut listed.unhashed) {
                let size = listed.entries[index as usize].1.size();
                progress.bytes_to_hash.fetch_add(size, Ordering::Relaxed);
                let megabytes = u32::try_from(size >> 20).unwrap_or(u32::MAX);
                jobs.push(Job { dir: dir.clone(), index, megabytes, inode });
            }
        }
        jobs.sort_unstable_by_key(|job| (std::cmp::Reverse(job.megabytes), job.inode));
        jobs
    }

    /// The name of the file that is to be read.
    fn path(&self, job: &Job) -> Option<RelPath> {
        job.dir.join(&self.listed.get(&job.dir)?.entries[job.index as usize].0).ok()
    }

    fn learn(&mut self, job: &Job, path: RelPath, hashed: Hashed) {
        let found = match hashed {
            Hashed::Known(stat, hash) => Found::Leaf(Leaf::file(stat.meta(), stat.size, hash)),
            Hashed::Gone | Hashed::Stopped => Found::Nothing,
            Hashed::Unstable => {
                self.findings.unstable.push(path);
                Found::Nothing
            }
            Hashed::Unreadable(error) => {
                self.findings.unreadable.push(Unreadable::new(&path, What::Entry, &error));
                Found::Nothing
            }
        };
        if let Some(listed) = self.listed.get_mut(&job.dir) {
            listed.entries[job.index as usize].1 = found;
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

fn hash_from(jobs: &[Job], next: &AtomicUsize, walked: &Mutex<&mut Walked>, lister: &Lister) {
    let Options { stop, progress, .. } = lister.options;
    let lock = || walked.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = Vec::new();
    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = lock().path(job);
        let Some(path) = path else { continue };
        let hashed = hash_file(lister.root, &path, lister.contents, &mut buffer, stop, *progress);
        lock().learn(job, path, hashed);
    }
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
