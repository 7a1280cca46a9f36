//! Hashing before the first sender comes: an adopted tree is read in the background, and what was
//! learned is kept, so that a restart goes on where it stopped.

use super::shore::Shore;
use crate::client::event::{Event, Report};
use crate::disk::{Hashing, Options, Progress, Special, Verdict, scan};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often progress is told and kept.
const EVERY: Duration = Duration::from_secs(1);

/// Background hashing of a whole destination; a session takes its place.
pub struct Warm {
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Warm {
    /// Starts.
    pub fn start(shore: Arc<Shore>, events: &'static dyn Report) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let scanner = {
            let (shore, stop, progress, is_over) =
                (shore.clone(), stop.clone(), progress.clone(), is_over.clone());
            std::thread::spawn(move || {
                let contents = shore.known.for_scan(false);
                let options = Options {
                    filter: &|_, _| Verdict::Take,
                    before_list: None,
                    hashing: Hashing::Now,
                    special: Special::Show,
                    n_threads: 0,
                    progress: &progress,
                    stop: &stop,
                };
                if let Err(error) = scan(shore.destination.root(), &contents, &options) {
                    tracing::debug!(%error, "hashing before the first client ended early");
                }
                is_over.store(true, Ordering::Relaxed);
            })
        };
        let teller = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(EVERY);
                let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let (bytes_hashed, bytes_to_hash) =
                    (load(&progress.bytes_hashed), load(&progress.bytes_to_hash));
                if bytes_to_hash > 0 {
                    let entries = load(&progress.entries);
                    events.event(Event::Scanning { entries, bytes_hashed, bytes_to_hash });
                    shore.known.sync();
                }
            }
        });
        Self { stop, threads: Mutex::new(vec![scanner, teller]) }
    }

    /// Does nothing at all.
    pub fn none() -> Self {
        Self { stop: Arc::default(), threads: Mutex::default() }
    }

    /// Ends it, so that a session can walk.
    pub async fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let join = move || {
            for thread in threads {
                thread.thread().unpark();
                let _ = thread.join();
            }
        };
        let _ = tokio::task::spawn_blocking(join).await;
    }
}
