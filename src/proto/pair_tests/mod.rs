//! Both machines against each other in memory, on their own clock, with disks that are maps.
//!
//! Messages go through real frames. The link can be cut after any number of messages and the
//! receiver's process killed between any two steps of a commit; then new machines meet, with what
//! each side keeps: the disks, the sender's acknowledged tree, the names that were set aside.
//!
//! The numbers in the tests are those of the scenarios in `docs/protocol.md`. Each of them is run as it stands there
//! and with the link cut at every message, but for these, which are all:
//!
//! - 29 and 30, who holds a destination: that is decided before there are machines. `tests/links.rs` tries it with
//!   the built program.
//! - 21 and 25 are cut at every message; of the thousand steps at which a receiver can be killed in 21 a sample is taken.
//! - 31 is cut with 8 transfers: with 64 there are thousands of runs of megabytes each.
//! - 32 is about bytes at which the connection ends at once, or which change nothing: cut after the one message that it has,
//!   it would be scenario 1.
//! - 35 is nothing but cuts.

mod bases;
mod copies;
mod cut_crowds;
mod cut_transfers;
mod cuts;
mod disk;
mod drive;
mod efficiency;
mod flow;
mod hostile;
mod items;
mod listings;
mod misfits;
mod moves;
mod names;
mod partials;
mod property;
mod resume;
mod scenarios;
mod scope;
mod simulation;
mod source;
mod steps;
mod transfers;

use crate::model::{Content, Node, RelPath, Tree};
use crate::plan::scope::Scope;
use crate::proto::frame::Frames;
use crate::proto::message::{CAPABILITIES, Down, Hello, Keeps, Up};
use crate::proto::receiver::Receiver;
use crate::proto::sender::{self, Ending, Guess, News, Sender};
use disk::{Disk, node_of};
use drive::Answer;
use items::{Item, Items};
use source::{Files, Reply};
use std::collections::VecDeque;

const ROOT_ID: [u8; 16] = [9; 16];

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

/// Bytes that differ for each seed and do not repeat.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn tree_of(items: &Items, content: impl Fn(&Item) -> Content) -> Tree {
    let mut tree = Tree::default();
    for (path, item) in items {
        let content = if item.body == items::Body::Dir { Content::Unknown } else { content(item) };
        tree.insert(path, node_of(item, content)).expect("parents sort first");
    }
    tree
}

/// Which thing happens next, when several can.
enum Turn {
    InOrder(usize),
    Random(u64),
}

impl Turn {
    fn next(&mut self, n: usize) -> usize {
        match self {
            Turn::InOrder(at) => {
                *at += 1;
                *at % n
            }
            Turn::Random(state) => {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 33) as usize % n
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

struct Pair {
    files: Files,
    disk: Disk,
    cache: Option<Tree>,
    config: sender::Config,
    keeps: Keeps,
    credit_bytes: u64,
    /// The receiver offers nothing beyond the first version.
    is_plain: bool,
    /// Changes go ahead of the receiver's greeting, where they can.
    goes_ahead: bool,
    /// A machine may end the connection; which one did.
    may_close: bool,
    closed: Option<Side>,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    replies: VecDeque<Reply>,
    answers: VecDeque<Answer>,
    pulls: VecDeque<u64>,
    now_ms: u64,
    turn: Turn,
    /// Messages that may still be delivered before the link is cut.
    cut_after: Option<usize>,
    n_delivered: usize,
    ups: Vec<Up>,
    downs: Vec<Down>,
    news: Vec<News>,
    ending: Option<Ending>,
    n_cuts: usize,
}

/// Most messages of one session in these tests: an endless loop is found by it.
const MESSAGES: usize = 20_000;

impl Pair {
    fn new() -> Self {
        let config = sender::Config {
            client: [1; 16],
            process: [2; 16],
            name: "pair".into(),
            source_id: None,
            scope: Scope::new(true, &[]).expect("a scope"),
            ticket: None,
            dry_run: false,
            no_delete: false,
            allow_mass_delete: false,
            once: true,
            max_staleness_ms: 60_000,
        };
        Self {
            files: Files::default(),
            disk: Disk::default(),
            cache: None,
            config,
            keeps: Keeps::ALL,
            credit_bytes: 1 << 20,
            is_plain: false,
            goes_ahead: true,
            may_close: false,
            closed: None,
            sender: None,
            receiver: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            replies: VecDeque::new(),
            answers: VecDeque::new(),
            pulls: VecDeque::new(),
            now_ms: 1_000,
            turn: Turn::InOrder(0),
            cut_after: None,
            n_delivered: 0,
            ups: Vec::new(),
            downs: Vec::new(),
            news: Vec::new(),
            ending: None,
            n_cuts: 0,
        }
    }

    /// A source with these files: `(path, content)`; a path that ends with a slash is a directory.
    fn with(files: &[(&str, &[u8])]) -> Self {
        let mut pair = Self::new();
        for (name, bytes) in files {
            match name.strip_suffix('/') {
                Some(dir) => pair.files.put(&path(dir), items::Body::Dir),
                None => pair.files.write(&path(name), bytes),
            }
        }
        pair
    }

    /// Ends the connection, if there is one, and makes another.
    fn join(&mut self) {
        self.leave();
        self.disk.scope = self.config.scope.id();
        self.sender =
            Some(self.greet_ahead().unwrap_or_else(|| Sender::new(self.config.clone(), self.now_ms)));
        self.scan();
    }

    /// A sender that sends on what it knows of the receiver, if it knows anything and that is of use.
    fn greet_ahead(&self) -> Option<Sender> {
        let capabilities = if self.is_plain { 0 } else { CAPABILITIES };
        let guess = Guess { root_id: ROOT_ID, capabilities, keeps: self.keeps };
        let acknowledged = self.cache.clone().filter(|_| self.goes_ahead)?;
        Sender::ahead(self.config.clone(), guess, acknowledged, self.files.scan(), self.now_ms)
    }

    fn leave(&mut self) {
        self.sender = None;
        self.receiver = None;
        self.up.clear();
        self.down.clear();
        self.replies.clear();
        self.answers.clear();
        self.pulls.clear();
        self.files.restart();
        self.disk.restart();
        self.closed = None;
        self.ending = None;
    }

    /// The source is scanned, and the machine told.
    fn scan(&mut self) {
        let source = self.files.scan();
        self.replies.push_back(Reply::Scanned(source));
        self.ending = None;
    }

    /// Joins and runs until the pass ended.
    fn push(&mut self) -> Ending {
        self.join();
        self.settle()
    }

    /// Runs until nothing moves and an ending was told; joins again when the link was cut.
    fn settle(&mut self) -> Ending {
        for _ in 0..300 {
            self.run();
            if self.sender.is_none() {
                self.n_cuts += 1;
                self.now_ms += 100;
                self.join();
                continue;
            }
            match self.ending {
                Some(ending) => return ending,
                None => self.let_time_pass(),
            }
        }
        panic!("no end: {:?}", self.last_messages());
    }

    fn last_messages(&self) -> (&[Up], &[Down]) {
        (&self.ups[self.ups.len().saturating_sub(12)..], &self.downs[self.downs.len().saturating_sub(12)..])
    }

    fn let_time_pass(&mut self) {
        let (Some(sender), Some(receiver)) = (&mut self.sender, &mut self.receiver) else { return };
        self.now_ms = sender.deadline_ms().min(receiver.deadline_ms()).max(self.now_ms + 1);
        sender.tick(self.now_ms);
        receiver.tick(self.now_ms);
    }

    /// Runs until nothing moves any more.
    fn run(&mut self) {
        let start = self.n_delivered;
        while self.step() {
            assert!(self.n_delivered - start < MESSAGES, "no end: {:?}", self.last_messages());
        }
    }

    /// Lets one thing happen; `false` when nothing is left to happen.
    fn step(&mut self) -> bool {
        self.drain();
        if self.disk.is_killed {
            self.leave();
            return false;
        }
        let can = [
            !self.up.is_empty(),
            !self.down.is_empty(),
            !self.replies.is_empty(),
            !self.answers.is_empty() && !self.disk.stands,
        ];
        let ready: Vec<usize> = (0..4).filter(|&index| can[index]).collect();
        if ready.is_empty() {
            return match self.pulls.pop_front() {
                Some(id) => {
                    self.pull(id);
                    true
                }
                None => false,
            };
        }
        let pick = ready[self.turn.next(ready.len())];
        if pick < 2
            && let Some(left) = &mut self.cut_after
        {
            if *left == 0 {
                self.cut_after = None;
                self.leave();
                return false;
            }
            *left -= 1;
        }
        self.now_ms += 1;
        match pick {
            0 => self.deliver_up(),
            1 => self.deliver_down(),
            2 => self.reply(),
            _ => self.answer(),
        }
        true
    }

    /// root(S) = root(A) = root(D), and D is what stands on the disk.
    fn assert_in_step(&self) {
        let scope = self.config.scope.id();
        let source = self.files.scan().tree;
        let disk = self.disk.tree();
        let known = self.receiver.as_ref().expect("joined").tree();
        assert_eq!(listing(&disk), listing(known), "the disk is what the receiver knows");
        let kept = crate::plan::project::Kept {
            time_step_ns: self.keeps.time_step_ns,
            mode_mask: self.keeps.mode_mask,
            symlinks: self.keeps.symlinks,
        };
        let source = crate::plan::project::project(&source, &kept);
        assert_eq!(listing(&source), listing(&disk), "the destination is the source");
        let cached = self.cache.as_ref().and_then(|tree| tree.root_hash(&scope));
        assert_eq!(cached, source.root_hash(&scope), "the acknowledged tree is the source");
        assert_eq!(self.disk.n_stages_left, 0, "nothing stays staged");
        assert_eq!(self.files.n_open(), 0, "no delta stays open");
    }

    fn count_ups(&self, of: fn(&Up) -> bool) -> usize {
        self.ups.iter().filter(|up| of(up)).count()
    }

    fn forget_messages(&mut self) {
        self.ups.clear();
        self.downs.clear();
        self.news.clear();
        self.files.literal_bytes = 0;
    }

    /// Joins again and sees that nothing is sent.
    fn assert_quiet(&mut self) {
        self.forget_messages();
        assert_eq!(self.push(), Ending::Identical);
        assert_eq!(self.count_ups(|up| up.change_id().is_some()), 0, "{:?}", self.ups);
        self.assert_in_step();
    }
}

/// A tree for people, to be compared.
fn listing(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    tree.for_each(&mut |path, node| {
        let meta = node.meta();
        let size = node.as_leaf().map_or(0, |leaf| leaf.size);
        let tag = if let Node::Leaf(_) = node { node.tag().to_string() } else { String::new() };
        let time = (meta.mtime.secs, meta.mtime.nanos);
        lines.push(format!("{path} {:?} {:o} {time:?} {size} {tag}", node.kind(), meta.mode));
    });
    lines
}

/// Runs a scenario with the link cut after every number of messages, and uncut.
fn with_every_cut(mut scenario: impl FnMut(&mut dyn FnMut(&mut Pair) -> Ending)) {
    let mut n_messages = 0;
    scenario(&mut |pair| {
        let before = pair.n_delivered;
        let ending = pair.settle();
        n_messages = pair.n_delivered - before;
        ending
    });
    for cut in 0..n_messages {
        scenario(&mut |pair| {
            pair.cut_after = Some(cut);
            let ending = pair.settle();
            pair.cut_after = None;
            ending
        });
        // Also when the sender's cache went with the connection.
        scenario(&mut |pair| {
            pair.cut_after = Some(cut);
            pair.run();
            pair.cut_after = None;
            if pair.sender.is_none() {
                pair.n_cuts += 1;
                pair.cache = None;
                pair.join();
            }
            pair.settle()
        });
    }
}
