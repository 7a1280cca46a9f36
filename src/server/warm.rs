//! Hashing while no sender is there: an adopted tree is read in the background, and what was
//! learned is kept, so that a restart goes on where it stopped.

use super::shore::Shore;
use crate::client::event::{Event, Report};
use crate::disk::{Hashing, Options, Progress, Special, Verdict, scan};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often progress is told and kept.
const EVERY: Duration = Duration::from_secs(1);

/// Background hashing of a whole destination. A session takes its place while it lasts: it hashes
/// by itself, first what its sender asks for.
pub struct Warm {
    outlives_sessions: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    n_sessions: usize,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    scanner: JoinHandle<()>,
    teller: JoinHandle<()>,
}

impl Warm {
    /// Hashing, begun at once.
    pub fn start(shore: Arc<Shore>, events: &'static dyn Report) -> Self {
        let running = Some(Running::start(shore, events));
        Self { outlives_sessions: true, state: Mutex::new(State { n_sessions: 0, running }) }
    }

    /// Does nothing at all: the server ends with its only session.
    pub fn none() -> Self {
        Self { outlives_sessions: false, state: Mutex::default() }
    }

    /// Ends it for a session that begins: that walks the tree itself.
    pub async fn yield_to_session(&self, shore: &Shore) {
        let running = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.n_sessions += 1;
            state.running.take()
        };
        if running.as_ref().is_some_and(|running| !running.scanner.is_finished()) {
            shore.is_unhashed.store(true, Ordering::Relaxed);
        }
        end(running).await;
    }

    /// A session is over. If it was the last one, and it left files that nobody has hashed, they are hashed now.
    pub fn session_ended(&self, shore: &Arc<Shore>, events: &'static dyn Report) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.n_sessions -= 1;
        let is_last = self.outlives_sessions && state.n_sessions == 0;
        if is_last && shore.is_unhashed.swap(false, Ordering::Relaxed) {
            state.running = Some(Running::start(shore.clone(), events));
        }
    }

    /// Ends it for good.
    pub async fn end(&self) {
        let running = self.state.lock().unwrap_or_else(PoisonError::into_inner).running.take();
        end(running).await;
    }
}

async fn end(running: Option<Running>) {
    if let Some(running) = running {
        let _ = tokio::task::spawn_blocking(|| running.end()).await;
    }
}

impl Running {
    fn start(shore: Arc<Shore>, events: &'static dyn Report) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let scanner = {
            let (shore, stop) = (shore.clone(), stop.clone());
            let (progress, is_over) = (progress.clone(), is_over.clone());
            std::thread::spawn(move || {
                hash_all(&shore, &progress, &stop);
                is_over.store(true, Ordering::Relaxed);
            })
        };
        let teller = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(EVERY);
                let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                let (bytes_hashed, bytes_to_hash) =
                    (load(&progress.bytes_hashed), load(&progress.bytes_to_hash));
                if bytes_to_hash > 0 {
                    let entries = load(&progress.entries);
                    events.event(Event::Scanning { entries, bytes_hashed, bytes_to_hash });
                    shore.known.sync();
                }
            }
        });
        Self { stop, scanner, teller }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.scanner.join();
        self.teller.thread().unpark();
        let _ = self.teller.join();
    }
}

fn hash_all(shore: &Shore, progress: &Progress, stop: &AtomicBool) {
    let contents = shore.known.for_scan(false);
    let options = Options {
        filter: &|_, _| Verdict::Take,
        before_list: None,
        hashing: Hashing::Now,
        special: Special::Show,
        n_threads: 0,
        progress,
        stop,
    };
    if let Err(error) = scan(shore.destination.root(), &contents, &options) {
        tracing::debug!(%error, "hashing in the background ended early");
    }
}
