//! The sender's machine: what the client decides, without a disk.
//!
//! It holds S, the source as scanned, and A, the destination as it was acknowledged. To compare is
//! to make A equal D; to send is to work off S minus A. Every acknowledgement moves A and carries
//! the root of D, so that each one is also an audit.

mod act;
mod ahead;
mod bases;
mod clock;
mod compare;
mod done;
mod held;
mod left;
mod names;
mod partials;
mod pass;
mod send;
mod source;
mod transfer;

pub use act::{Action, Ask, DeltaFrame, Ending, KnownBasis, News, Source, Unready, Want};
pub use ahead::Guess;

use crate::model::limits::*;
use crate::model::{ContentHash, Leaf, RelPath, Tree};
use crate::plan::change::Change;
use crate::plan::scope::Scope;
use crate::proto::message::*;
use compare::Walk;
use names::Asking;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use transfer::Stream;

pub use crate::proto::receiver::Breach;

/// How often the acknowledged tree is saved while acknowledgements come.
const SAVE_MS: u64 = 1_000;
/// How long a full or failing destination is left alone before it is tried again.
const RETRY_MS: u64 = 60_000;

/// What a sender is and is allowed to do.
#[derive(Clone, Debug)]
pub struct Config {
    pub client: [u8; 16],
    pub process: [u8; 16],
    pub name: String,
    /// Names the source, to tell it from another that came here before.
    pub source_id: Option<[u8; 16]>,
    pub scope: Scope,
    pub ticket: Option<[u8; 16]>,
    /// Only tells the changes.
    pub dry_run: bool,
    pub no_delete: bool,
    pub allow_mass_delete: bool,
    /// Ends after one pass: a destination that is full is an error, not a wait.
    pub once: bool,
    /// A file that is superseded again and again for so long is sent as it is, from a snapshot.
    pub max_staleness_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the receiver's greeting and the cache are there.
    Greeting,
    /// Small changes are sent on a guess, before the receiver has said anything.
    Ahead,
    /// A is not D: directories are listed.
    Comparing,
    /// S minus A is worked off, or there is nothing to do.
    Sending,
    Closed,
}

/// A change on its way; an item is `None` once it is refused.
struct Sent {
    changes: Vec<Option<Change>>,
}

/// An entry that the destination would not take.
struct RefusedEntry {
    change: Change,
    next_step: NextStep,
}

/// One session with one receiver.
pub struct Sender {
    config: Config,
    phase: Phase,
    ahead: Option<ahead::Ahead>,
    root_id: Option<RootId>,
    /// What both ends offered.
    capabilities: u64,
    keeps: Keeps,
    /// The source as it was scanned, and as the destination can keep it.
    scanned: Option<Source>,
    source: Option<Source>,
    /// A scan was asked for and did not come yet.
    awaits_source: bool,
    /// What could not be read, as it was then; `None`: whatever it is.
    set_aside: BTreeMap<RelPath, Option<Leaf>>,
    acknowledged: Option<Tree>,
    /// A as it will be when all that is on its way is acknowledged; right while no plan is due.
    expected: Tree,
    has_loaded: bool,
    /// What the receiver last said of its tree.
    destination: Option<RootState>,
    has_begun: bool,
    walk: Option<Walk>,
    walks_ms: Vec<u64>,
    /// The last walk did not bring the roots to agree: hashes are listed whole.
    walked_in_vain: bool,
    /// Walks did not help: when to try again.
    walk_again_ms: Option<u64>,
    /// The acknowledged tree has not moved since it was saved last.
    is_saved: bool,
    saved_ms: u64,
    /// The roots disagree although every change is acknowledged.
    in_doubt: bool,
    /// Entries of the source of a kind that the destination cannot hold; those that were named.
    left_out: BTreeSet<RelPath>,
    named_left_out: BTreeSet<RelPath>,
    /// Entries that the receiver's last walk could not read: they stand there and in no tree.
    n_unreadable_there: u64,
    /// It was asked to walk once more for their sake.
    has_looked_again: bool,
    /// Paths whose change did not fit: not tried again before the destination was listed.
    misfits: BTreeSet<RelPath>,
    replan: bool,
    planned: VecDeque<Change>,
    large: VecDeque<Want>,
    batches: BTreeMap<u64, Vec<Want>>,
    /// Whether changed small files wait for names of blocks; those that do.
    asks_names: bool,
    asking: BTreeMap<RequestId, Asking>,
    streams: BTreeMap<ChangeId, Stream>,
    /// What the receiver has of transfers that ended early.
    partials: partials::Partials,
    /// Questions about bases: whose they are, and the bytes that were answered.
    asked: BTreeMap<RequestId, (ChangeId, usize)>,
    in_flight: BTreeMap<ChangeId, Sent>,
    refused: BTreeMap<RelPath, RefusedEntry>,
    /// On what the next transfer of a path may lean, where that is not everything.
    leanings: BTreeMap<RelPath, bases::Leaning>,
    /// Files of a pack that was refused: they travel one by one.
    singly: BTreeSet<RelPath>,
    held_there: held::Held,
    tries: BTreeMap<RelPath, u32>,
    /// The source as it was first scanned, and tries of files that came later.
    first_scan: Option<Tree>,
    n_late_tries: u32,
    /// Since when versions of a file are given up for newer ones.
    stale_ms: BTreeMap<RelPath, u64>,
    /// How often in a row a change did not fit what is there, though that was listed again.
    misfit_tries: BTreeMap<RelPath, u32>,
    held: Option<String>,
    /// The destination last had another source.
    other_source: bool,
    retry_ms: Option<u64>,
    told: Option<(ContentHash, Ending)>,
    credit: u64,
    /// Small files wait for credit.
    is_starved: bool,
    next_id: ChangeId,
    next_request: RequestId,
    next_batch: u64,
    now_ms: u64,
    heard_ms: u64,
    said_ms: u64,
    actions: VecDeque<Action>,
}

/// What a sender says first.
fn greeting(config: &Config) -> Hello {
    Hello {
        capabilities: CAPABILITIES,
        client: config.client,
        process: config.process,
        name: Text::new(&config.name.chars().take(CLIENT_NAME_BYTES / 4).collect::<String>()),
        root_name: Text::default(),
        role: if config.dry_run { Role::Plan } else { Role::Push },
        scope: config.scope.id(),
        keeps: None,
        fresh_ms: 0,
        ahead: None,
        ticket: config.ticket,
        extra: Extra::of_source(config.source_id),
    }
}

impl Sender {
    /// Greets the receiver; the source may come later.
    pub fn new(config: Config, now_ms: u64) -> Self {
        let actions = VecDeque::from([Action::Send(Up::Hello(Box::new(greeting(&config))))]);
        Self {
            config,
            phase: Phase::Greeting,
            ahead: None,
            root_id: None,
            capabilities: 0,
            keeps: Keeps::ALL,
            scanned: None,
            source: None,
            awaits_source: false,
            set_aside: BTreeMap::new(),
            acknowledged: None,
            expected: Tree::default(),
            has_loaded: false,
            destination: None,
            has_begun: false,
            walk: None,
            walks_ms: Vec::new(),
            walked_in_vain: false,
            walk_again_ms: None,
            is_saved: true,
            saved_ms: now_ms,
            in_doubt: false,
            left_out: BTreeSet::new(),
            named_left_out: BTreeSet::new(),
            n_unreadable_there: 0,
            has_looked_again: false,
            misfits: BTreeSet::new(),
            replan: false,
            planned: VecDeque::new(),
            large: VecDeque::new(),
            batches: BTreeMap::new(),
            asks_names: false,
            asking: BTreeMap::new(),
            streams: BTreeMap::new(),
            partials: partials::Partials::default(),
            asked: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            refused: BTreeMap::new(),
            leanings: BTreeMap::new(),
            singly: BTreeSet::new(),
            held_there: held::Held::default(),
            tries: BTreeMap::new(),
            first_scan: None,
            n_late_tries: 0,
            stale_ms: BTreeMap::new(),
            misfit_tries: BTreeMap::new(),
            held: None,
            other_source: false,
            retry_ms: None,
            told: None,
            credit: FIRST_CREDIT_BYTES,
            is_starved: false,
            next_id: 1,
            next_request: 1,
            next_batch: 1,
            now_ms,
            heard_ms: now_ms,
            said_ms: now_ms,
            actions,
        }
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether it only tells the changes.
    pub fn is_dry_run(&self) -> bool {
        self.config.dry_run
    }

    /// Whether the receiver takes ops over prefixes.
    pub fn may_send_prefixes(&self) -> bool {
        self.capabilities & CAN_PREFIX != 0
    }

    /// The destination as it is known.
    pub fn destination_tree(&self) -> Option<&Tree> {
        self.acknowledged.as_ref()
    }

    /// Takes a message.
    ///
    /// # Errors
    /// When the receiver broke the protocol; the connection is to be ended with `Bye`.
    pub fn receive(&mut self, down: Down, now_ms: u64) -> Result<(), Breach> {
        self.now_ms = now_ms;
        self.heard_ms = now_ms;
        if self.phase == Phase::Closed {
            return Ok(());
        }
        if self.root_id.is_none()
            && !matches!(down, Down::Welcome(_) | Down::Refuse(_) | Down::Bye { .. } | Down::Ping(_))
        {
            return Err(Breach("a message before the greeting".into()));
        }
        match down {
            Down::Refuse(refuse) => self.end(refuse.text.to_string(), Some(refuse.code)),
            Down::Welcome(welcome) => self.welcomed(&welcome)?,
            Down::Root { state, .. } => self.root(state),
            Down::Listing(listing) => self.listing(*listing)?,
            Down::Groups { request, .. } | Down::Signature { request, .. } | Down::Have { request, .. } => {
                self.answer(request, down)?
            }
            Down::Blocks { request, files } => self.names(request, files)?,
            Down::Answer { .. } => {}
            Down::Mismatch { id, round, level, values, .. } => {
                self.mismatch(id, round, level, values.into_vec())?
            }
            Down::Done { ids, root } => self.done(&ids, root)?,
            Down::Refused { id, item, why } => self.refusal(id, item, why),
            Down::Credit { grants } => {
                let total: u64 = grants.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n));
                self.credit = self.credit.saturating_add(total).min(CREDIT_BYTES * 4);
            }
            Down::Notice(notice) => self.notice(notice),
            Down::Ping(number) => self.send(Up::Pong(number)),
            Down::Pong(_) => {}
            Down::Bye { text, .. } => self.end(text.to_string(), None),
        }
        self.move_on();
        Ok(())
    }

    fn end(&mut self, text: String, refused: Option<RefuseCode>) {
        self.phase = Phase::Closed;
        self.actions.push_back(Action::Tell(News::Ended { text, refused }));
        self.actions.push_back(Action::Close);
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Breach> {
        if self.root_id.is_some() {
            return Err(Breach("a second greeting".into()));
        }
        self.root_id = Some(welcome.root_id);
        let last = Extra::source_in(&welcome.extra);
        self.other_source = last.is_some_and(|last| self.config.source_id.is_some_and(|own| own != last));
        self.credit += ahead::granted(welcome);
        let met = Guess::of(welcome);
        self.judge_guess(&met, welcome);
        self.capabilities = met.capabilities;
        self.keeps = met.keeps;
        self.partials = partials::Partials::stored(&welcome.partials);
        self.project();
        self.tell(News::Welcomed(met));
        self.load_acknowledged();
        Ok(())
    }

    fn root(&mut self, state: RootState) {
        self.tell(News::Destination(state));
        if let (RootState::Complete { root, .. }, Phase::Sending) = (state, self.phase) {
            let known = self.acknowledged.as_ref().and_then(|tree| tree.root_hash(&self.config.scope.id()));
            self.in_doubt |= known != Some(root);
        }
        if let RootState::Complete { unreadable, .. } = state {
            self.n_unreadable_there = unreadable;
        }
        self.destination = Some(state);
    }

    /// Takes the next step that is possible now.
    fn move_on(&mut self) {
        if self.phase == Phase::Ahead {
            self.go_ahead();
        }
        if self.phase == Phase::Greeting && self.has_loaded && self.source.is_some() && self.can_ask() {
            self.compare();
        }
        if self.phase == Phase::Sending {
            self.work();
        }
    }

    /// Whether the receiver has walked its tree, so that it can be asked.
    fn can_ask(&self) -> bool {
        matches!(self.destination, Some(RootState::Hashing { .. } | RootState::Complete { .. }))
    }

    /// Root of D, if the receiver knows it.
    fn destination_root(&self) -> Option<ContentHash> {
        match self.destination {
            Some(RootState::Complete { root, .. }) => Some(root),
            _ => None,
        }
    }

    fn root_of(&self, tree: Option<&Tree>) -> Option<ContentHash> {
        tree?.root_hash(&self.config.scope.id())
    }

    fn send(&mut self, up: Up) {
        self.actions.push_back(Action::Send(up));
    }

    fn tell(&mut self, news: News) {
        self.actions.push_back(Action::Tell(news));
    }

    fn new_id(&mut self) -> ChangeId {
        self.next_id += 1;
        self.next_id - 1
    }
}
