//! One session: drives the receiver's machine between the link and the worker. Knows no protocol.

use super::lease::Holder;
use super::shore::Shore;
use super::space::Space;
use super::tally::Tally;
use super::worker::{Answer, Worker};
use crate::client::event::{Event, Report};
use crate::disk::Progress;
use crate::model::ContentHash;
use crate::model::limits::{CREDIT_BYTES, STAY_MS, UNREAD_BYTES};
use crate::net::link::{Inbox, Outbox};
use crate::net::trust::Stay;
use crate::net::{SegmentReader, SegmentWriter, Traffic};
use crate::proto::frame::Frames;
use crate::proto::message::{ByeCode, Down, Extra, Hello, Notice, Text, Up};
use crate::proto::receiver::{Action, Config, Receiver, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc as async_mpsc, watch};

/// After so long without a commit a stretch of work is told.
const TELL_AFTER: Duration = Duration::from_millis(700);
/// How often a walk or hashing in progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

const STAY_EVERY: Duration = Duration::from_millis(STAY_MS);

/// A sender that was let in, and the way to it.
pub struct Guest {
    pub hello: Box<Hello>,
    /// Where a list says that it may stay.
    pub stay: Option<Stay>,
    pub reader: SegmentReader,
    pub writer: SegmentWriter,
    pub frames: Frames,
    pub traffic: Arc<Traffic>,
}

/// Serves one sender until it leaves, is fenced or the server stops; returns why it ended.
pub async fn serve_guest(
    shore: Arc<Shore>,
    guest: Guest,
    holder: Arc<Holder>,
    events: &'static dyn Report,
    stop: watch::Receiver<bool>,
) -> String {
    let Guest { hello, stay, reader, writer, frames, traffic } = guest;
    let started = Instant::now();
    let now_ms = || started.elapsed().as_millis() as u64;
    let mut receiver = machine(&shore, &hello, &holder);
    let mut inbox = Inbox::<Up>::new(reader, frames);
    let outbox = Outbox::<Down>::new(writer);
    let mut disk = Disk::start(shore.clone(), &hello);
    let mut space = Space::new();
    let mut tally = Tally::new(&hello, traffic);
    let mut progress_at = tokio::time::Instant::now() + PROGRESS_EVERY;
    let mut dismissal = std::pin::pin!(dismissal(&holder, stay, stop));
    let why = loop {
        if act(&mut receiver, &outbox, &disk, (&mut tally, &mut space), now_ms()) {
            break "the client has ended the session".to_owned();
        }
        if outbox.waiting_bytes() > UNREAD_BYTES {
            break "the client asks for more than it reads".to_owned();
        }
        let tick_at = tokio::time::Instant::from_std(started + Duration::from_millis(receiver.deadline_ms()));
        let tell_at = tokio::time::Instant::now() + TELL_AFTER;
        tokio::select! {
            message = inbox.next() => match message {
                Some(Ok(up)) => {
                    holder.heard();
                    if let Err(breach) = receiver.receive(up, now_ms()) {
                        bye(&outbox, ByeCode::Breach, &breach.to_string());
                        break breach.to_string();
                    }
                }
                Some(Err(error)) => {
                    if error.is_breach() {
                        bye(&outbox, ByeCode::Breach, &error.to_string());
                    }
                    break error.to_string();
                }
                None => break "the connection was closed".to_owned(),
            },
            Some(answer) = disk.answers.recv() => {
                if let Err(why) = take_answer(&mut receiver, answer, &mut tally, now_ms()) {
                    bye(&outbox, ByeCode::Fault, &why);
                    break why;
                }
            }
            () = tokio::time::sleep_until(tick_at) => receiver.tick(now_ms()),
            () = tokio::time::sleep_until(tell_at), if tally.has_news() => {
                tell_received(events, &mut tally, receiver.tree().root_hash(&hello.scope));
                drop(trim(&shore, &receiver));
            }
            () = tokio::time::sleep_until(progress_at) => {
                progress_at = tokio::time::Instant::now() + PROGRESS_EVERY;
                disk.tell_progress(events);
            }
            free = free_at(&shore, space.look_at()), if space.is_awaited() => tell_space(&mut space, free, &outbox),
            () = holder.poked() => outbox.send(&Down::Ping(now_ms())),
            (code, text, why) = &mut dismissal => {
                bye(&outbox, code, text);
                break why.to_owned();
            }
        }
    };
    tell_received(events, &mut tally, receiver.tree().root_hash(&hello.scope));
    drop(inbox);
    let _ = tokio::time::timeout(Duration::from_secs(2), outbox.close()).await;
    disk.end().await;
    let _ = trim(&shore, &receiver).await;
    holder.end();
    why
}

/// Says what came since it was last told of, if anything did.
fn tell_received(events: &dyn Report, tally: &mut Tally, root: Option<ContentHash>) {
    if tally.has_news() {
        events.event(Event::Received(tally.take(root)));
    }
}

/// Forgets what is kept of contents beyond what may be, in the background.
fn trim(shore: &Arc<Shore>, receiver: &Receiver) -> tokio::task::JoinHandle<()> {
    let (shore, tree) = (shore.clone(), receiver.tree().clone());
    tokio::task::spawn_blocking(move || shore.known.trim(&tree))
}

/// Completes when the server ends the session of its own accord: the word for the client, and why.
async fn dismissal(
    holder: &Holder,
    stay: Option<Stay>,
    mut stop: watch::Receiver<bool>,
) -> (ByeCode, &'static str, &'static str) {
    tokio::select! {
        () = holder.fenced() => {
            (ByeCode::Fenced, "this client has connected again", "the client has connected again")
        }
        () = is_expelled(stay) => {
            (ByeCode::Stopping, "this client is let in no more", "its key was taken off the list of clients")
        }
        _ = stop.wait_for(|stop| *stop) => {
            (ByeCode::Stopping, "the server is shutting down", "the server is shutting down")
        }
    }
}

/// Completes when the client may stay no more.
async fn is_expelled(stay: Option<Stay>) {
    let Some(stay) = stay else { return std::future::pending().await };
    loop {
        tokio::time::sleep(STAY_EVERY).await;
        let stay = stay.clone();
        let holds = tokio::task::spawn_blocking(move || stay.holds());
        if !holds.await.unwrap_or(false) {
            return;
        }
    }
}

/// The receiver's machine for a sender, at the beginning of its time.
fn machine(shore: &Shore, hello: &Hello, holder: &Holder) -> Receiver {
    let config = Config {
        root_id: shore.root_id(),
        lease: holder.number,
        keeps: shore.keeps,
        last_source: shore.last_source(),
        credit_bytes: CREDIT_BYTES,
        partials: shore.partials.infos(shore.destination.own()),
    };
    Receiver::new(config, hello, shore.known.cache().left(&hello.scope), 0)
}

/// Carries out what the machine asks; `true` when the session is over.
fn act(
    receiver: &mut Receiver,
    outbox: &Outbox<Down>,
    disk: &Disk,
    (tally, space): (&mut Tally, &mut Space),
    now_ms: u64,
) -> bool {
    while let Some(action) = receiver.next_action() {
        match action {
            Action::Send(down) => {
                outbox.send(&down);
                space.said(&down);
                receiver.said(now_ms);
            }
            Action::Close => return true,
            action => {
                tally.asked(&action);
                if let Action::Commit { steps, .. } = &action {
                    let removes = steps.iter().any(|step| matches!(step, Step::Remove { .. }));
                    disk.shore.note_source(disk.source, removes);
                }
                disk.ask(action);
            }
        }
    }
    false
}

/// Bytes and inodes that are free at the destination at a later moment; none where that cannot be told.
///
/// # Cancel safety
/// Dropped, nothing was done but to look.
async fn free_at(shore: &Arc<Shore>, at: tokio::time::Instant) -> (u64, u64) {
    tokio::time::sleep_until(at).await;
    let shore = shore.clone();
    tokio::task::spawn_blocking(move || shore.destination.free().unwrap_or_default())
        .await
        .unwrap_or_default()
}

fn tell_space(space: &mut Space, free: (u64, u64), outbox: &Outbox<Down>) {
    if space.is_back(free) {
        outbox.send(&Down::Notice(Notice::SpaceBack));
    }
}

fn take_answer(
    receiver: &mut Receiver,
    answer: Answer,
    tally: &mut Tally,
    now_ms: u64,
) -> Result<(), String> {
    match answer {
        Answer::Walked(walked) => receiver.walked(walked, now_ms).map_err(|breach| breach.to_string())?,
        Answer::Hashed { path, meta, size, hash } => receiver.hashed(&path, meta, size, hash),
        Answer::HashedAll { unreadable } => receiver.hashed_all(&unreadable, now_ms),
        Answer::Staged { id, result } => receiver.staged(id, result),
        Answer::Mismatched { id, level, values } => receiver.mismatched(id, level, values),
        Answer::PackStaged { id, result } => receiver.pack_staged(id, result),
        Answer::Written { id, wire_bytes } => receiver.written(id, wire_bytes),
        Answer::Committed(committed) => {
            tally.committed(&committed.results);
            receiver.committed(committed);
        }
        Answer::Down(down) => receiver.answered(*down),
        Answer::Fault(why) => return Err(why),
    }
    Ok(())
}

fn bye(outbox: &Outbox<Down>, code: ByeCode, text: &str) {
    outbox.send(&Down::Bye { code, text: Text::new(text) });
}

/// The worker's thread, and the ways to and from it.
struct Disk {
    shore: Arc<Shore>,
    /// What the sender calls its source.
    source: Option<[u8; 16]>,
    jobs: mpsc::Sender<Action>,
    answers: async_mpsc::UnboundedReceiver<Answer>,
    thread: std::thread::JoinHandle<()>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

impl Disk {
    fn start(shore: Arc<Shore>, hello: &Hello) -> Self {
        let (jobs, taken) = mpsc::channel();
        let (tell, answers) = async_mpsc::unbounded_channel();
        let progress = Arc::new(Progress::default());
        let stop = Arc::new(AtomicBool::new(false));
        let source = Extra::source_in(&hello.extra);
        let worker = Worker::new(shore.clone(), hello.scope, tell, progress.clone(), stop.clone());
        let thread = std::thread::spawn(move || worker.run(taken));
        Self { shore, source, jobs, answers, thread, progress, stop }
    }

    fn ask(&self, action: Action) {
        // The worker ends only when this sender is dropped.
        let _ = self.jobs.send(action);
    }

    fn tell_progress(&self, events: &dyn Report) {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (bytes_hashed, bytes_to_hash) =
            (load(&self.progress.bytes_hashed), load(&self.progress.bytes_to_hash));
        if bytes_hashed < bytes_to_hash {
            events.event(Event::Scanning {
                entries: load(&self.progress.entries),
                bytes_hashed,
                bytes_to_hash,
            });
        }
    }

    /// Waits until nothing of the session touches the destination any more.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.jobs);
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}
