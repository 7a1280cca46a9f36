//! Hashes in the background what a walk found and the cache does not know: an adopted tree, or
//! what was changed behind our back. Directories that the sender asks for go first.

use super::shore::Shore;
use super::worker::Answer;
use crate::disk::{Hashed, hash_pending};
use crate::model::RelPath;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc::UnboundedSender;

/// Background hashing of one walk; ends when it is dropped.
pub struct Hasher {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

struct Work {
    shore: Arc<Shore>,
    queue: Mutex<VecDeque<RelPath>>,
    unreadable: Mutex<Vec<RelPath>>,
    n_running: AtomicUsize,
    stop: AtomicBool,
    deep: bool,
    answers: UnboundedSender<Answer>,
}

impl Hasher {
    /// Starts with these files, on every core.
    pub fn start(
        shore: Arc<Shore>,
        pending: Vec<RelPath>,
        deep: bool,
        answers: UnboundedSender<Answer>,
    ) -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let work = Arc::new(Work {
            shore,
            queue: Mutex::new(pending.into()),
            unreadable: Mutex::default(),
            n_running: AtomicUsize::new(n_threads),
            stop: AtomicBool::new(false),
            deep,
            answers,
        });
        let threads = (0..n_threads)
            .map(|_| {
                let work = work.clone();
                std::thread::spawn(move || work.run())
            })
            .collect();
        Self { work, threads }
    }

    /// Takes the files of these directories before all others.
    pub fn hash_first(&self, dirs: &[RelPath]) {
        let dirs: BTreeSet<&RelPath> = dirs.iter().collect();
        let mut queue = self.work.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, rest): (Vec<_>, Vec<_>) = queue.drain(..).partition(|path| dirs.contains(&path.parent()));
        queue.extend(first);
        queue.extend(rest);
    }

    /// Whether nothing is left to hash.
    pub fn is_over(&self) -> bool {
        self.work.n_running.load(Ordering::Acquire) == 0
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.work.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(path) = next else { break };
            self.hash(path);
        }
        let is_last = self.n_running.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && !self.stop.load(Ordering::Relaxed) {
            let unreadable =
                std::mem::take(&mut *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner));
            let _ = self.answers.send(Answer::HashedAll { unreadable });
        }
    }

    fn hash(&self, path: RelPath) {
        let contents = self.shore.known.for_scan(self.deep);
        match hash_pending(self.shore.destination.root(), &path, &contents, &self.stop) {
            Hashed::Known(stat, hash) => {
                let _ = self.answers.send(Answer::Hashed { path, meta: stat.meta(), size: stat.size, hash });
            }
            Hashed::Stopped => {}
            Hashed::Gone | Hashed::Unstable | Hashed::Unreadable(_) => {
                self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(path);
            }
        }
    }
}
