//! The lease: one sender at a time may change a destination.
//!
//! The process that holds it may come back over another connection at once; another process is
//! refused while the holder shows life, and takes over when it has been silent for 15 s.

use crate::model::limits::TAKEOVER_MS;
use crate::proto::message::Hello;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify, watch};

/// How often a silent holder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The lease of one destination.
#[derive(Default)]
pub struct Lease {
    holder: Mutex<Option<Arc<Holder>>>,
    last_number: AtomicU64,
}

/// Who holds the lease.
pub struct Holder {
    pub number: u64,
    pub name: String,
    process: [u8; 16],
    since: Instant,
    n_heard: AtomicU64,
    poked: Notify,
    fenced: watch::Sender<bool>,
    done: watch::Sender<bool>,
}

/// Another sender is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    pub holder: String,
    pub minutes: u64,
}

impl Lease {
    /// Takes the lease for a sender, or says who has it.
    ///
    /// # Cancel safety
    /// Cancel safe: the lease is only taken in the last step.
    pub async fn take(&self, hello: &Hello) -> Result<Arc<Holder>, Busy> {
        loop {
            let mut held = self.holder.lock().await;
            let Some(holder) = held.clone().filter(|holder| !*holder.done.borrow()) else {
                let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
                let holder = Arc::new(Holder::new(number, hello.name.to_string(), hello.process));
                *held = Some(holder.clone());
                return Ok(holder);
            };
            drop(held);
            if holder.process != hello.process && holder.shows_life().await {
                let minutes = holder.since.elapsed().as_secs() / 60;
                return Err(Busy { holder: holder.name.clone(), minutes });
            }
            holder.fenced.send_replace(true);
            holder.ended().await;
        }
    }
}

impl Holder {
    /// For a sender that changes nothing and so needs no lease.
    pub fn looking() -> Arc<Self> {
        Arc::new(Self::new(0, String::new(), [0; 16]))
    }

    fn new(number: u64, name: String, process: [u8; 16]) -> Self {
        Self {
            number,
            name,
            process,
            since: Instant::now(),
            n_heard: AtomicU64::new(0),
            poked: Notify::new(),
            fenced: watch::Sender::new(false),
            done: watch::Sender::new(false),
        }
    }

    /// Notes that something was heard from the holder's sender.
    pub fn heard(&self) {
        self.n_heard.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes when somebody wants to know whether the sender lives: it should be pinged.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn poked(&self) {
        self.poked.notified().await;
    }

    /// Completes when the lease was taken by another connection.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn fenced(&self) {
        let mut fenced = self.fenced.subscribe();
        let _ = fenced.wait_for(|fenced| *fenced).await;
    }

    /// The session is over and nothing of it will change the destination any more.
    pub fn end(&self) {
        self.done.send_replace(true);
    }

    async fn ended(&self) {
        let mut done = self.done.subscribe();
        let _ = done.wait_for(|done| *done).await;
    }

    async fn shows_life(&self) -> bool {
        let before = self.n_heard.load(Ordering::Relaxed);
        self.poked.notify_one();
        let until = Instant::now() + Duration::from_millis(TAKEOVER_MS);
        while Instant::now() < until {
            if *self.done.borrow() {
                return false;
            }
            if self.n_heard.load(Ordering::Relaxed) != before {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}
