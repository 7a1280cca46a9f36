//! The receiver's machine: what the server decides, without a disk.
//!
//! Messages, answers of the disk and `now` go in; [`Action`]s come out and the floor above does
//! what they ask, in order. The machine holds D, the destination's tree as it is known, and only
//! moves it when the disk says that a group of changes is durable.
//!
//! Simpler than it might be: complete changes are made strictly in the order in which their last
//! frame arrived. That implies every order that is needed between related paths.

mod act;
mod changes;
mod commit;
mod draft;
mod listing;
mod partials;
mod questions;
mod queue;
mod transfer;

pub use act::{
    Action, BasisRef, Committed, Expect, Offer, PackedFile, Question, RESUMED, Staged, Step, Walked,
};

use crate::model::limits::*;
use crate::model::tree::learn_content;
use crate::model::{Content, ContentHash, List, Meta, RelPath, Tree};
use crate::proto::message::*;
use commit::GroupItem;
use queue::Queue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use transfer::Transfer;

/// How often a walk in progress is told.
const TELL_MS: u64 = 5_000;
/// How often the whole destination is walked again while a sender is connected.
const REWALK_MS: u64 = 900_000;

/// The peer broke the protocol: the connection ends with `Bye`. Class: session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke the protocol: {0}")]
pub struct Breach(pub String);

/// What does not change while a session lasts.
#[derive(Clone, Debug)]
pub struct Config {
    pub root_id: RootId,
    pub lease: u64,
    pub keeps: Keeps,
    /// The source that it last took removals from.
    pub last_source: Option<[u8; 16]>,
    /// Content bytes that may be under way.
    pub credit_bytes: u64,
    /// What earlier transfers left behind, the best first; no more than a greeting lists.
    pub partials: Vec<PartialInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The disk walks; messages wait.
    Walking(RootReason),
    Ready,
    Closed,
}

/// One session with one sender.
pub struct Receiver {
    config: Config,
    scope: ScopeId,
    role: Role,
    /// What both ends offered.
    capabilities: u64,
    ahead: Option<(RootId, ContentHash)>,
    state: State,
    /// Changes count; before `Begin` they are dropped.
    counts: bool,
    tree: Tree,
    /// The tree as the disk will have it when it comes to what is asked of it next.
    issued: Tree,
    holders: transfer::Holders,
    left: BTreeSet<RelPath>,
    unreadable: u64,
    walked_ms: u64,
    /// Why the last walk was made.
    why: RootReason,
    to_hash: (u64, u64),
    is_hashing: bool,
    waiting: VecDeque<Up>,
    /// Content bytes in the messages that wait; they are charged when their turn comes.
    waiting_bytes: u64,
    /// Questions that the disk has not answered whole.
    n_asks: usize,
    lists: Vec<listing::Pending>,
    transfers: BTreeMap<ChangeId, Transfer>,
    partials: partials::Partials,
    complete: Queue,
    group: Option<Vec<GroupItem>>,
    /// The tree has moved since its root was told.
    owes_root: bool,
    last_id: ChangeId,
    rewalk: Option<(RootReason, bool)>,
    credit_left: u64,
    credit_due: BTreeMap<ChangeId, u64>,
    /// Since when the next group could begin.
    ready_ms: Option<u64>,
    now_ms: u64,
    heard_ms: u64,
    said_ms: u64,
    told_ms: u64,
    /// What the sender was told last is that a walk is under way: it waits for the root.
    has_told_walk: bool,
    actions: VecDeque<Action>,
}

impl Receiver {
    /// Begins a session with an authorised sender: greets it and asks for a walk.
    ///
    /// `left`: the names that were set aside under this sender's scope.
    pub fn new(config: Config, hello: &Hello, left: BTreeSet<RelPath>, now_ms: u64) -> Self {
        let mut receiver = Self {
            scope: hello.scope,
            role: hello.role,
            capabilities: hello.capabilities & CAPABILITIES,
            ahead: hello.ahead,
            state: State::Walking(RootReason::Greeting),
            counts: false,
            tree: Tree::default(),
            issued: Tree::default(),
            holders: transfer::Holders::default(),
            left,
            unreadable: 0,
            walked_ms: now_ms,
            why: RootReason::Greeting,
            to_hash: (0, 0),
            is_hashing: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            n_asks: 0,
            lists: Vec::new(),
            transfers: BTreeMap::new(),
            partials: partials::Partials::stored(&config.partials),
            complete: Queue::default(),
            group: None,
            owes_root: false,
            last_id: 0,
            rewalk: None,
            has_told_walk: false,
            credit_left: config.credit_bytes,
            credit_due: BTreeMap::new(),
            ready_ms: None,
            now_ms,
            heard_ms: now_ms,
            said_ms: now_ms,
            told_ms: now_ms,
            actions: VecDeque::new(),
            config,
        };
        receiver.welcome();
        receiver.actions.push_back(Action::Walk { deep: false, skip: receiver.left.clone() });
        receiver
    }

    fn welcome(&mut self) {
        let welcome = Welcome {
            capabilities: CAPABILITIES,
            root_id: self.config.root_id,
            lease: self.config.lease,
            keeps: self.config.keeps,
            rights: 1,
            credit: self.config.credit_bytes,
            partials: List::new(self.config.partials.clone()),
            open_transfers: OPEN_TRANSFERS as u16,
            unacknowledged: UNACKNOWLEDGED as u32,
            extra: Extra::of_source(self.config.last_source),
        };
        self.send(Down::Welcome(Box::new(welcome)));
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The destination as it is known.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Takes a message.
    ///
    /// # Errors
    /// When the sender broke the protocol; the connection is to be ended with `Bye`.
    pub fn receive(&mut self, up: Up, now_ms: u64) -> Result<(), Breach> {
        self.now_ms = now_ms;
        self.heard_ms = now_ms;
        match (&up, self.state) {
            (Up::Ping(number), _) => {
                self.send(Down::Pong(*number));
                Ok(())
            }
            (Up::Pong(_), _) => Ok(()),
            (Up::Bye { .. }, _) | (_, State::Closed) => {
                self.state = State::Closed;
                self.actions.push_back(Action::Close);
                Ok(())
            }
            (_, State::Walking(_)) if self.waiting.len() < UNACKNOWLEDGED => {
                self.waiting_bytes += up.content_bytes();
                if self.waiting_bytes > self.credit_left {
                    return Err(Breach("more content than its credit".into()));
                }
                self.waiting.push_back(up);
                Ok(())
            }
            (_, State::Walking(_)) => Err(Breach("too many messages before the walk was done".into())),
            (_, State::Ready) => self.take(up),
        }
    }

    fn take(&mut self, up: Up) -> Result<(), Breach> {
        match up {
            Up::Begin { .. } => {
                self.counts = true;
                Ok(())
            }
            Up::List { request, dirs, full } => self.list(request, dirs, full),
            Up::AskGroups { request, basis, level, first, n } => {
                self.ask_groups(request, &basis, level, first, n)
            }
            Up::AskSignature { request, basis, ranges, block_bytes, strong_bytes } => {
                self.ask_signature(request, &basis, &ranges, block_bytes, strong_bytes)
            }
            Up::AskBlocks { request, files } => self.ask_blocks(request, files),
            Up::AskHave { request, tags } => self.ask_have(request, tags.into_vec()),
            Up::Check { request, deep } => {
                self.rewalk = Some((RootReason::Check(request), deep));
                self.pump();
                Ok(())
            }
            change if self.counts => self.take_change(change),
            // Sent ahead of `Begin` on a guess that did not hold.
            _ => Ok(()),
        }
    }

    /// The disk has walked the tree: names, metadata and the contents whose hash it knows.
    pub fn walked(&mut self, walked: Walked, now_ms: u64) -> Result<(), Breach> {
        let State::Walking(why) = self.state else { return Ok(()) };
        self.why = why;
        let before = self.tree.root_hash(&self.scope);
        self.tree = walked.tree;
        for path in &self.left {
            let _ = self.tree.remove(path);
        }
        self.issued = self.tree.clone();
        self.holders = transfer::Holders::default();
        self.unreadable = walked.n_unreadable;
        self.to_hash = (0, walked.bytes_to_hash);
        self.is_hashing = !self.tree.is_whole();
        self.walked_ms = now_ms;
        self.state = State::Ready;
        let root = self.tree.root_hash(&self.scope);
        if why == RootReason::Greeting {
            self.counts = self.ahead.is_some() && self.ahead == root.map(|root| (self.config.root_id, root));
        }
        if why != RootReason::Drift || root != before || self.has_told_walk {
            self.tell_root(why, now_ms);
        }
        // A message may have asked for another walk: what came behind it waits for that.
        while self.state == State::Ready
            && let Some(up) = self.waiting.pop_front()
        {
            self.waiting_bytes -= up.content_bytes();
            self.take(up)?;
        }
        self.pump();
        Ok(())
    }

    /// The disk knows one more content of the tree that it walked.
    pub fn hashed(&mut self, path: &RelPath, meta: Meta, size: u64, hash: ContentHash) {
        self.to_hash.0 += size;
        if self.tree.get(path).is_some_and(|node| *node.meta() == meta) {
            learn_content(&mut self.tree, path, size, Content::Whole(hash));
            learn_content(&mut self.issued, path, size, Content::Whole(hash));
        }
        self.answer_lists();
    }

    /// The disk has hashed what it could; what it could not read is left out of the tree.
    pub fn hashed_all(&mut self, unreadable: &[RelPath], now_ms: u64) {
        let mut unknown: Vec<RelPath> = unreadable.to_vec();
        // What the disk forgot to name would keep the root unknown for ever.
        self.tree.for_each(&mut |path, node| {
            if node.as_leaf().is_some_and(|leaf| leaf.content.whole().is_none()) {
                unknown.push(path.clone());
            }
        });
        for path in unknown {
            if self.tree.get(&path).is_some_and(|node| node.hash().is_none()) {
                let _ = self.tree.remove(&path);
                let _ = self.issued.remove(&path);
                self.unreadable += 1;
            }
        }
        self.is_hashing = false;
        self.answer_lists();
        if self.state == State::Ready {
            self.tell_root(self.why, now_ms);
        }
        self.pump();
    }

    /// The disk answers a question about a content.
    pub fn answered(&mut self, down: Down) {
        if !matches!(down, Down::Signature { more: true, .. }) {
            self.n_asks = self.n_asks.saturating_sub(1);
        }
        self.send(down);
    }

    fn tell_root(&mut self, why: RootReason, now_ms: u64) {
        self.told_ms = now_ms;
        let state = match (self.state, self.tree.root_hash(&self.scope)) {
            (State::Walking(_), _) => RootState::Walking { done: 0 },
            (_, Some(root)) => RootState::Complete {
                root,
                entries: self.tree.n_entries(),
                age_ms: now_ms.saturating_sub(self.walked_ms),
                unreadable: self.unreadable,
            },
            (_, None) => RootState::Hashing { done: self.to_hash.0, total: self.to_hash.1 },
        };
        self.has_told_walk = matches!(state, RootState::Walking { .. });
        self.send(Down::Root { state, why });
    }

    /// Lets time pass: heartbeats, progress of a walk, a new walk now and then.
    pub fn tick(&mut self, now_ms: u64) {
        if self.state == State::Closed {
            return;
        }
        self.now_ms = now_ms;
        if now_ms.saturating_sub(self.heard_ms) >= SILENCE_MS {
            self.state = State::Closed;
            self.actions.push_back(Action::Close);
            return;
        }
        let is_busy = matches!(self.state, State::Walking(_)) || self.is_hashing;
        if is_busy && now_ms.saturating_sub(self.told_ms) >= TELL_MS {
            let why = if let State::Walking(why) = self.state { why } else { self.why };
            self.tell_root(why, now_ms);
        }
        if self.said_ms + PING_MS <= now_ms {
            self.send(Down::Ping(now_ms));
            self.said_ms = now_ms;
        }
        if !is_busy && self.rewalk.is_none() && now_ms.saturating_sub(self.walked_ms) >= REWALK_MS {
            self.rewalk = Some((RootReason::Drift, false));
        }
        self.pump();
    }

    /// When [`Receiver::tick`] wants to be called next.
    pub fn deadline_ms(&self) -> u64 {
        if self.state == State::Closed {
            return u64::MAX;
        }
        let is_busy = matches!(self.state, State::Walking(_)) || self.is_hashing;
        let tell = if is_busy { self.told_ms + TELL_MS } else { self.walked_ms + REWALK_MS };
        let group = self.ready_ms.map_or(u64::MAX, |ready_ms| ready_ms + GROUP_MS);
        tell.min(self.said_ms + PING_MS).min(self.heard_ms + SILENCE_MS).min(group)
    }

    /// The driver says that it sent something: the next heartbeat can wait.
    pub fn said(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.said_ms = now_ms;
    }

    /// Moves on whatever can move: a commit, or a walk once nothing is being committed.
    fn pump(&mut self) {
        self.pump_commits();
        if let Some(root) = self.root_owed() {
            self.send(Down::Done { ids: List::default(), root: Some(root) });
        }
        if self.state == State::Ready
            && !self.is_hashing
            && self.group.is_none()
            && self.complete.is_empty()
            && let Some((why, deep)) = self.rewalk.take()
        {
            self.state = State::Walking(why);
            self.actions.push_back(Action::Walk { deep, skip: self.left.clone() });
        }
    }

    fn send(&mut self, down: Down) {
        self.actions.push_back(Action::Send(down));
    }
}
