//! Changes ahead: small ones right behind the greeting, for a destination that is believed to be as it was left.
//!
//! The greeting names the destination and the root that they were made for. The receiver takes them only if both
//! are its own once it has walked, and drops them without a word otherwise; its greeting and its first root tell
//! this side which it was. So a guess that does not hold costs its bytes and nothing else. Removals never go
//! ahead: whether they may depends on what the receiver says.

use super::{Config, Phase, Sender, Source, greeting};
use crate::model::limits::{AHEAD_BYTES, AHEAD_CHANGES, CREDIT_BYTES, FIRST_CREDIT_BYTES};
use crate::model::{ContentHash, Dir, Node, Tree};
use crate::plan::change::Change;
use crate::proto::message::*;
use crate::proto::sender::Action;
use std::collections::VecDeque;

/// What a receiver was when it was met last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    pub root_id: RootId,
    pub capabilities: u64,
    pub keeps: Keeps,
}

impl Guess {
    /// What a greeting tells of its receiver.
    pub(super) fn of(welcome: &Welcome) -> Self {
        Self {
            root_id: welcome.root_id,
            capabilities: welcome.capabilities & CAPABILITIES,
            keeps: welcome.keeps,
        }
    }
}

/// A guess on which changes were sent.
pub(super) struct Ahead {
    guess: Guess,
    /// Root of A, for which they were made.
    root: ContentHash,
    /// Whether the receiver's greeting said the same.
    is_met: bool,
    /// All that the receiver granted by then.
    credit: u64,
}

impl Sender {
    /// Greets as [`Sender::new`] does, and begins to send what of the source is small and new to a destination that
    /// holds `acknowledged`. `None` when there is nothing of that kind.
    pub fn ahead(
        config: Config,
        guess: Guess,
        acknowledged: Tree,
        source: Source,
        now_ms: u64,
    ) -> Option<Self> {
        let root = acknowledged.root_hash(&config.scope.id()).filter(|_| !config.dry_run)?;
        let hello = Hello { ahead: Some((guess.root_id, root)), ..greeting(&config) };
        let mut sender = Self::new(config, now_ms);
        sender.actions = VecDeque::from([Action::Send(Up::Hello(Box::new(hello)))]);
        sender.capabilities = guess.capabilities;
        sender.keeps = guess.keeps;
        sender.scanned = Some(source);
        sender.project();
        sender.acknowledged = Some(acknowledged.clone()).filter(|tree| sender.is_in_scope(tree));
        sender.expected = acknowledged;
        sender.has_loaded = true;
        sender.replan = false;
        let changes = sender.changes_ahead()?;
        sender.tell_plan(&changes);
        sender.planned = changes.into();
        sender.phase = Phase::Ahead;
        sender.ahead = Some(Ahead { guess, root, is_met: false, credit: FIRST_CREDIT_BYTES });
        sender.move_on();
        Some(sender)
    }

    /// The plan up to its first removal, without the files that are transfers of their own; nothing of one that
    /// is large, where a round trip counts for little and a guess that does not hold for much.
    fn changes_ahead(&self) -> Option<Vec<Change>> {
        let (have, source) = (self.acknowledged.as_ref()?, self.source.as_ref()?);
        // A plan takes its time, and the greeting would wait for it.
        n_differing(have.root(), source.tree.root(), 2 * AHEAD_CHANGES)?;
        let drawn = self.plan_from(have, source);
        let is_large =
            |change: &Change| matches!(change, Change::File { path, size, .. } if self.is_alone(path, *size));
        let before_removals = drawn.changes.into_iter().take_while(|change| !change.is_removal());
        let changes: Vec<Change> = before_removals.filter(|change| !is_large(change)).collect();
        let content_bytes: u64 = changes.iter().map(Change::content_bytes).sum();
        let is_small = changes.len() <= AHEAD_CHANGES && content_bytes <= AHEAD_BYTES;
        (!changes.is_empty() && is_small).then_some(changes)
    }

    /// Notes what the receiver's greeting says of the guess.
    pub(super) fn judge_guess(&mut self, met: &Guess, welcome: &Welcome) {
        if let Some(ahead) = &mut self.ahead {
            ahead.is_met = ahead.guess == *met;
            ahead.credit += granted(welcome);
        }
    }

    /// Sends on, until the receiver's root tells whether the guess holds.
    pub(super) fn go_ahead(&mut self) {
        let (true, Some(ahead)) = (self.root_id.is_some() && self.can_ask(), &self.ahead) else {
            if !self.replan {
                self.pump();
            }
            return;
        };
        let holds = ahead.is_met && self.destination_root() == Some(ahead.root);
        let credit = ahead.credit;
        self.ahead = None;
        self.replan = true;
        if holds {
            // They count, and so does what follows.
            self.has_begun = true;
            self.phase = Phase::Sending;
            return;
        }
        // Nothing was sent.
        self.phase = Phase::Greeting;
        self.credit = credit;
        self.planned.clear();
        self.batches.clear();
        self.in_flight.clear();
        self.acknowledged = None;
        self.expected = Tree::default();
        self.has_loaded = false;
        self.load_acknowledged();
    }
}

/// How many entries differ, at any depth; `None` when there are more than `most`.
fn n_differing(have: &Dir, want: &Dir, most: usize) -> Option<usize> {
    let (mut n, mut n_common) = (0, 0);
    for (name, new) in want.entries().iter() {
        let old = have.get(name);
        n_common += usize::from(old.is_some());
        n += match (old, new) {
            (Some(old), new) if old.is_same(new) => 0,
            (Some(Node::Dir(old)), Node::Dir(new)) => 1 + n_differing(old, new, most - n)?,
            (_, new) => 1 + new.n_below() as usize,
        };
        if n > most {
            return None;
        }
    }
    n += have.entries().len() - n_common;
    (n <= most).then_some(n)
}

/// Credit beyond the first that a greeting grants.
pub(super) fn granted(welcome: &Welcome) -> u64 {
    welcome.credit.saturating_sub(FIRST_CREDIT_BYTES).min(CREDIT_BYTES * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, Kind, Leaf, List, Meta, Node, RelPath};
    use crate::plan::guard::RootChange;
    use crate::plan::scope::Scope;

    fn config() -> Config {
        Config {
            client: [1; 16],
            process: [2; 16],
            name: "ahead".into(),
            source_id: None,
            scope: Scope::new(true, &[]).expect("a scope"),
            ticket: None,
            dry_run: false,
            no_delete: false,
            allow_mass_delete: false,
            once: true,
            max_staleness_ms: 60_000,
        }
    }

    fn source(bytes: &[u8]) -> Source {
        let content = Content::Whole(ContentHash::of(bytes));
        let leaf = Leaf { kind: Kind::File, meta: Meta::default(), size: bytes.len() as u64, content };
        let mut tree = Tree::default();
        let path = RelPath::parse(b"file").expect("a path");
        tree.insert(&path, Node::Leaf(leaf)).expect("its parent is the root");
        let (untouched, seen_gone) = Default::default();
        Source { tree, untouched, is_listed: true, seen_gone, root: RootChange::None, n_lately: 1 }
    }

    #[test]
    fn what_was_dropped_took_no_credit() {
        let (root_id, bytes) = ([9; 16], vec![7; 20_000]);
        let guess = Guess { root_id, capabilities: CAPABILITIES, keeps: Keeps::ALL };
        let welcome = Welcome {
            capabilities: CAPABILITIES,
            root_id,
            lease: 1,
            keeps: Keeps::ALL,
            rights: 1,
            credit: CREDIT_BYTES,
            partials: List::default(),
            open_transfers: 1,
            unacknowledged: 1,
            extra: List::default(),
        };
        for is_there in [true, false] {
            let mut sender = Sender::ahead(config(), guess.clone(), Tree::default(), source(&bytes), 0)
                .expect("a small file is new");
            let mut n_packs = 0;
            while let Some(action) = sender.next_action() {
                match action {
                    Action::ReadBatch { batch, .. } => {
                        sender.batch_read(batch, vec![Ok(PackBody::Whole(bytes.clone()))], 0);
                    }
                    Action::Send(Up::Pack(_)) => n_packs += 1,
                    _ => {}
                }
            }
            assert_eq!(n_packs, 1);
            sender.receive(Down::Welcome(Box::new(welcome.clone())), 1).expect("a greeting");
            let root =
                if is_there { sender.ahead.as_ref().expect("a guess").root } else { ContentHash([3; 32]) };
            let state = RootState::Complete { root, entries: 0, age_ms: 0, unreadable: 0 };
            sender.receive(Down::Root { why: RootReason::Greeting, state }, 2).expect("a root");
            let taken = if is_there { bytes.len() as u64 } else { 0 };
            assert_eq!(sender.credit, CREDIT_BYTES - taken);
            assert_eq!(sender.in_flight.len(), usize::from(is_there));
        }
    }
    #[test]
    fn differing_entries_are_counted_as_far_as_they_matter() {
        let tree = |names: &[(&str, &[u8])]| {
            let mut tree = Tree::default();
            for (name, bytes) in names {
                let path = RelPath::parse(name.as_bytes()).expect("a path");
                let node = match name.ends_with("dir") {
                    true => Node::empty_dir(Meta::default()),
                    false => source(bytes).tree.root().entries().nodes().next().expect("a file").clone(),
                };
                tree.insert(&path, node).expect("parents come first");
            }
            tree
        };
        let have = tree(&[("a", b"1"), ("b", b"2"), ("dir", b""), ("dir/c", b"3"), ("dir/d", b"4")]);
        let n = |want: &[(&str, &[u8])], most| n_differing(have.root(), tree(want).root(), most);
        assert_eq!(n_differing(have.root(), have.root(), 0), Some(0));
        // One newer, one gone, the directory for one that is newer below it.
        let want: &[(&str, &[u8])] = &[("a", b"9"), ("dir", b""), ("dir/c", b"3"), ("dir/d", b"9")];
        assert_eq!(n(want, 4), Some(4));
        assert_eq!((n(want, 3), n(want, 0)), (None, None));
        assert_eq!(n(&[], 3), Some(3));
    }
}
