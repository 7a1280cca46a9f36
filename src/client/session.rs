//! One session: drives the sender's machine between the link, the source and the threads that
//! read it. Knows no protocol.

mod carry;
mod told;

pub use told::acknowledged;

use super::ahead::Greeted;
use super::backlog::Backlog;
use super::batches::{BatchRead, Readers};
use super::connect::{Carrier, Connection};
use super::deltas::{Delta, DeltaNews};
use super::event::{Event, Report};
use super::nested::Above;
use super::pass::Pass;
use super::shadow::Shadow;
use super::source::{Failure, Snapshot, SourceThread};
use super::turns::Turns;
use crate::disk::Root;
use crate::model::Tree;
use crate::net::link::{Inbox, Outbox};
use crate::net::{Places, Traffic};
use crate::proto::frame::Frames;
use crate::proto::message::{ByeCode, ChangeId, Down, RefuseCode, RootId, ScopeId, Text, Up};
use crate::proto::sender::{Ending, Guess, Sender};
use crate::server::contents::KnownContents;
use crate::server::holdings::Holdings;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A session that held so long was not ended by what it is about.
const WORTH_AFTER: Duration = Duration::from_secs(5);

/// How often it is looked how far the destination is behind while there is no session.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What lives longer than a session.
pub struct Ashore {
    pub known: Arc<KnownContents>,
    pub shadow: Arc<Shadow>,
    pub source: SourceThread,
    pub above: Arc<Above>,
    pub places: Places,
    pub events: &'static dyn Report,
    pub stop: watch::Receiver<bool>,
    pub scope: ScopeId,
    /// Ends after the first pass.
    pub once: bool,
    pub backlog: Backlog,
    /// The last session left nothing open: what was acknowledged is what is there, as far as is known.
    pub was_settled: bool,
    /// It was said what the destination does not keep.
    pub has_told_keeps: AtomicBool,
}

impl Ashore {
    /// Tells now and then, while there is no session, how far the destination is behind.
    pub async fn count_behind(&mut self) -> Infallible {
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            let snapshot = self.source.snapshots.borrow().clone();
            if !self.once {
                self.backlog.look_away(snapshot.as_ref().map(|snapshot| &snapshot.source), self.events);
            }
        }
    }
}

/// How a session ended.
pub enum End {
    /// The one pass is over.
    Passed(Ending),
    Stopped,
    /// The receiver refused; the text is its own.
    Refused {
        text: String,
        code: RefuseCode,
    },
    /// The link broke or the receiver ended the session.
    Broken(String),
    /// The receiver does not keep to the protocol: coming again would bring the same.
    Breach(String),
    /// Source and destination lie inside each other.
    Nested(String),
    /// The source cannot be read.
    Source(Failure),
}

/// How far a session came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// The receiver let us in.
    pub has_met: bool,
    /// It brought something about, or held for a while: another attempt may bring more.
    pub is_worth: bool,
    /// A pass that was allowed to delete whatever it wants is over.
    pub used_allowance: bool,
}

impl End {
    /// Whether the receiver did not know this side's key or secret.
    pub fn is_about_keys(&self) -> bool {
        matches!(self, End::Refused { code: RefuseCode::NotAuthorised, .. })
    }
}

/// Runs a session to its end, and says how far it came.
pub async fn send(ashore: &mut Ashore, greeted: Greeted, connection: Connection) -> (End, Reached) {
    let Greeted { sender, ups: _, actions, read, snapshot } = greeted;
    let started = Instant::now();
    let Connection { reader, writer, traffic, peer, trust, carrier } = connection;
    let (batch_tell, batches_read) = mpsc::unbounded_channel();
    let (delta_tell, deltas_told) = mpsc::unbounded_channel();
    let mut session = Session {
        sender,
        outbox: Outbox::new(writer),
        deltas: BTreeMap::new(),
        turns: Turns::default(),
        delta_tell,
        readers: Readers::start(&ashore.known, &batch_tell),
        pass: Pass::new(ashore.events, traffic.clone(), started),
        traffic,
        snapshot,
        holdings: None,
        has_read: false,
        is_unsynced: false,
        held: None,
        unsaved: None,
        saved_at: Instant::now(),
        ended: None,
        met: None,
        nested: None,
        ending: None,
        reached: Reached::default(),
        hashing_since: None,
        started,
    };
    session.has_read = !read.is_empty();
    session.pass.leant_on(&read);
    for action in actions {
        session.carry_out(ashore, action);
    }
    let inbox = Inbox::<Down>::new(reader, Frames::default());
    // Of this process there is nothing to say.
    let peer = (!matches!(carrier, Carrier::Local(_))).then_some(peer);
    let end = session.run(ashore, inbox, batches_read, deltas_told, peer, &trust).await;
    let mut reached = session.reached;
    reached.is_worth |= reached.has_met && started.elapsed() >= WORTH_AFTER;
    session.save(ashore, true);
    ashore.was_settled = session.sender.is_settled();
    ashore.backlog.leave(&session.sender, session.snapshot.as_ref().map(|snapshot| &snapshot.source));
    let (code, text) = match &end {
        End::Passed(_) => (ByeCode::Finished, Text::default()),
        End::Breach(why) => (ByeCode::Breach, Text::new(why)),
        _ => (ByeCode::Stopping, Text::default()),
    };
    let is_worth = !session.sender.is_dry_run() && session.is_worth_a_shadow(ashore);
    session.outbox.send(&Up::Bye { code, text });
    session.deltas.clear();
    let _ = tokio::time::timeout(Duration::from_secs(5), session.outbox.close()).await;
    match carrier {
        Carrier::Tcp => {}
        Carrier::Ssh(ssh) => drop(ssh.end().await),
        Carrier::Local(task) => drop(task.await),
    }
    let kept = session.snapshot.as_ref().zip(session.sender.destination_tree());
    if let (End::Passed(_), true, Some((snapshot, tree))) = (&end, is_worth, kept) {
        let (root, tree) = (snapshot.root.clone(), tree.clone());
        let (shadow, stop) = (ashore.shadow.clone(), ashore.stop.clone());
        let ends_at = shadow.patience(session.started.elapsed()).map(|patience| Instant::now() + patience);
        let must_stop = move || *stop.borrow() || ends_at.is_some_and(|ends_at| Instant::now() >= ends_at);
        let keep = move || shadow.keep(&root, &tree, &must_stop);
        let _ = tokio::task::spawn_blocking(keep).await;
    }
    (end, reached)
}

struct Session {
    sender: Sender,
    outbox: Outbox<Up>,
    deltas: BTreeMap<ChangeId, Delta>,
    turns: Turns,
    delta_tell: mpsc::UnboundedSender<(ChangeId, DeltaNews)>,
    readers: Readers,
    pass: Pass,
    traffic: Arc<Traffic>,
    snapshot: Option<Arc<Snapshot>>,
    holdings: Option<Arc<Holdings>>,
    /// Contents were sent.
    has_read: bool,
    /// What the last scan learned is not durable yet.
    is_unsynced: bool,
    held: Option<String>,
    unsaved: Option<(RootId, Tree)>,
    saved_at: Instant,
    ended: Option<(String, Option<RefuseCode>)>,
    /// The receiver, as it said.
    met: Option<Guess>,
    nested: Option<String>,
    ending: Option<Ending>,
    reached: Reached,
    hashing_since: Option<Instant>,
    started: Instant,
}

impl Session {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    async fn run(
        &mut self,
        ashore: &mut Ashore,
        mut inbox: Inbox<Down>,
        mut batches_read: mpsc::UnboundedReceiver<BatchRead>,
        mut deltas_told: mpsc::UnboundedReceiver<(ChangeId, DeltaNews)>,
        peer: Option<String>,
        trust: &Option<(crate::net::ClientTrust, crate::net::PublicKey)>,
    ) -> End {
        let mut stop = ashore.stop.clone();
        let mut failed = ashore.source.failed.clone();
        ashore.source.snapshots.mark_changed();
        loop {
            self.act(ashore);
            self.take_turns(ashore);
            if let Some((text, refused)) = self.ended.take() {
                return refused.map_or(End::Broken(text.clone()), |code| End::Refused { text, code });
            }
            if let Some(text) = self.nested.take() {
                return End::Nested(text);
            }
            if let Some(ending) = self.ending.take().filter(|_| ashore.once) {
                return End::Passed(ending);
            }
            self.save(ashore, false);
            let count_at = self.count_behind(ashore);
            let tick_at = self.started + Duration::from_millis(self.sender.deadline_ms());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return End::Stopped,
                message = inbox.next() => match message {
                    Some(Ok(down)) => {
                        if matches!(down, Down::Welcome(_)) {
                            self.reached.has_met = true;
                            Connection::remember(trust, &ashore.places, ashore.events);
                            if let Some(peer) = &peer {
                                ashore.events.event(Event::Connected { peer: peer.clone() });
                            }
                        }
                        let now_ms = self.now_ms();
                        if let Err(breach) = self.sender.receive(down, now_ms) {
                            return End::Breach(breach.to_string());
                        }
                    }
                    Some(Err(error)) if error.is_breach() => return End::Breach(error.to_string()),
                    Some(Err(error)) => return End::Broken(error.to_string()),
                    None => return End::Broken("the server closed the connection".to_owned()),
                },
                Ok(()) = ashore.source.snapshots.changed() => {
                    let snapshot = ashore.source.snapshots.borrow_and_update().clone();
                    if let Some(snapshot) = snapshot {
                        self.snapshot = Some(snapshot.clone());
                        if self.refuses(ashore) {
                            continue;
                        }
                        self.is_unsynced = true;
                        let now_ms = self.now_ms();
                        self.sender.source(snapshot.source.clone(), now_ms);
                    }
                }
                Ok(text) = failed.wait_for(Option::is_some) => {
                    return End::Source(text.clone().expect("it was just seen"));
                }
                Some((batch, results)) = batches_read.recv() => {
                    let now_ms = self.now_ms();
                    self.pass.leant_on(&results);
                    self.sender.batch_read(batch, results, now_ms);
                }
                Some((id, news)) = deltas_told.recv() => self.turns.told(id, news),
                () = self.outbox.has_room(), if self.outbox.is_full() => {}
                () = tokio::time::sleep_until(count_at.unwrap_or(tick_at).into()), if count_at.is_some() => {}
                () = tokio::time::sleep_until(tick_at.into()) => {
                    let now_ms = self.now_ms();
                    self.sender.tick(now_ms);
                }
            }
        }
    }

    /// Tells how far the destination is behind; returns when to do so again.
    fn count_behind(&self, ashore: &mut Ashore) -> Option<Instant> {
        let source = self.snapshot.as_ref().map(|snapshot| &snapshot.source);
        if ashore.once { None } else { ashore.backlog.look(&self.sender, source, ashore.events) }
    }

    /// Hears what deltas told, frames as far as the link has room for them.
    fn take_turns(&mut self, ashore: &Ashore) {
        while let Some((id, news)) = self.turns.next(!self.outbox.is_full(), |id| self.sender.left_of(id)) {
            self.delta_news(id, news);
            self.act(ashore);
        }
    }

    fn delta_news(&mut self, id: ChangeId, news: DeltaNews) {
        let now_ms = self.now_ms();
        match news {
            DeltaNews::Counted(stats) => self.pass.counted(&stats),
            DeltaNews::Frame(frame) => self.sender.frame(id, frame, now_ms),
            DeltaNews::Finished => self.sender.finished(id, now_ms),
            DeltaNews::Unready(unready) => self.sender.unready(id, unready, now_ms),
            DeltaNews::Ask(ask) => self.sender.ask(id, ask),
            DeltaNews::Settled(settled) => self.pass.settled(settled.target, settled.wire),
        }
    }

    /// Whether source and destination lie inside each other: nothing is compared or sent then.
    fn refuses(&mut self, ashore: &Ashore) -> bool {
        if let (Some(met), Some(snapshot)) = (&self.met, &self.snapshot) {
            self.nested = ashore.above.refusal(&met.root_id, snapshot);
        }
        self.nested.is_some()
    }

    /// The source's root: the machine reads nothing before it was given a snapshot.
    fn root(&self) -> Arc<Root> {
        self.snapshot.as_ref().expect("what is read was scanned").root.clone()
    }

    /// What the destination held when the pass began.
    fn holdings(&mut self) -> Arc<Holdings> {
        let tree = || self.sender.destination_tree().cloned().unwrap_or_default();
        self.holdings.get_or_insert_with(|| Arc::new(Holdings::new(tree()))).clone()
    }

    fn with_delta(&mut self, id: ChangeId, order: impl FnOnce(&mut Delta)) {
        if let Some(delta) = self.deltas.get_mut(&id) {
            order(delta);
        }
    }
}
