//! Any sequence of messages of a server against the sender's machine: no panic, and it never says that
//! it is in step unless the last root it was told is that of its source.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use strait::delta::ops::Op;
use strait::model::limits::OP_BYTES;
use strait::model::{Kind, Tree};
use strait::plan::guard::RootChange;
use strait::plan::scope::Scope;
use strait::proto::message::{CAPABILITIES, Down, PackBody, RootReason, RootState, Up, Welcome};
use strait::proto::sender::{Action, Ask, Config, DeltaFrame, Ending, Guess, News, Sender, Source, Unready};
use strait_fuzz::{Draw, Overheard};

/// Messages and answers in one run.
const STEPS: usize = 400;
/// Things said that an enemy remembers.
const HEARD: usize = 12;

struct Yard {
    sender: Sender,
    owed: Vec<Action>,
    heard: Vec<Up>,
    source: Tree,
    scope: Scope,
    is_closed: bool,
    /// The root that the receiver told last; none when it said that it does not know.
    told: Option<strait::model::ContentHash>,
}

/// A source of which everything was read, under the root that it always had.
fn whole(tree: &Tree) -> Source {
    Source {
        tree: tree.clone(),
        untouched: BTreeSet::new(),
        is_listed: true,
        seen_gone: Arc::default(),
        root: RootChange::None,
        n_lately: tree.n_entries(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut draw = Draw::new(bytes);
    let scope = Scope::new(draw.byte() & 1 == 1, &[]).expect("no patterns");
    let config = Config {
        client: [2; 16],
        process: [3; 16],
        name: "fuzz".into(),
        source_id: draw.seldom(2).then_some([4; 16]),
        scope: scope.clone(),
        ticket: None,
        dry_run: draw.seldom(16),
        no_delete: draw.seldom(8),
        allow_mass_delete: draw.byte() & 1 == 1,
        once: draw.byte() & 1 == 1,
        max_staleness_ms: 10_000,
    };
    let mut yard = Yard {
        sender: Sender::new(config.clone(), 0),
        owed: Vec::new(),
        heard: Vec::new(),
        source: draw.tree(true),
        scope,
        is_closed: false,
        told: None,
    };
    let destination = draw.tree(true);
    let mut now_ms = 0;
    match draw.byte() & 7 {
        0 => {}
        1 => yard.go_ahead(config, &destination, &mut draw),
        _ => yard.greet(&mut draw),
    }
    for _ in 0..STEPS {
        yard.collect();
        if draw.is_over() || yard.is_closed {
            break;
        }
        match draw.below(8) {
            0..=3 => {
                let down = yard.enemy_says(&mut draw, &destination);
                yard.note_root(&down);
                if yard.sender.receive(down, now_ms).is_err() {
                    break;
                }
            }
            4..=6 => yard.answer(&mut draw, now_ms),
            _ => {
                now_ms += [1, 100, 20_000, 70_000][draw.below(4)];
                yard.sender.tick(now_ms);
            }
        }
    }
});

impl Yard {
    fn greet(&mut self, draw: &mut Draw) {
        self.sender.source(whole(&self.source), 0);
        let welcome = Down::Welcome(Box::new(draw.welcome()));
        let _ = self.sender.receive(welcome, 0);
        self.sender.acknowledged(if draw.byte() & 1 == 1 { Some(draw.tree(true)) } else { None }, 0);
    }

    /// Changes ahead of the enemy's greeting, which may be the one that was guessed.
    fn go_ahead(&mut self, config: Config, destination: &Tree, draw: &mut Draw) {
        let welcome = draw.welcome();
        let Welcome { root_id, capabilities, keeps, .. } = welcome;
        let guess = Guess { root_id, capabilities: capabilities & CAPABILITIES, keeps };
        let ahead = Sender::ahead(config, guess, destination.clone(), whole(&self.source), 0);
        if let Some(sender) = ahead {
            self.sender = sender;
        }
        if draw.byte() & 1 == 1 {
            let _ = self.sender.receive(Down::Welcome(Box::new(welcome)), 0);
        }
    }

    fn enemy_says(&mut self, draw: &mut Draw, destination: &Tree) -> Down {
        let scope = self.scope.id();
        let known = self.sender.destination_tree().and_then(|tree| tree.root_hash(&scope));
        let roots: Vec<_> = [self.source.root_hash(&scope), known, destination.root_hash(&scope)]
            .into_iter()
            .flatten()
            .collect();
        let heard = Overheard { sent: &self.heard, tree: destination, roots: &roots };
        if draw.seldom(24) { Down::Welcome(Box::new(draw.welcome())) } else { draw.down(&heard) }
    }

    fn note_root(&mut self, down: &Down) {
        match down {
            Down::Root { state: RootState::Complete { root, .. }, .. } => self.told = Some(*root),
            Down::Root { why: RootReason::Greeting | RootReason::Drift | RootReason::Check(_), .. } => {
                self.told = None;
            }
            Down::Done { root, .. } => self.told = *root,
            _ => {}
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.sender.next_action() {
            match action {
                Action::Send(up) => {
                    self.heard.push(up);
                    if self.heard.len() > HEARD {
                        self.heard.remove(0);
                    }
                }
                Action::Tell(News::InStep { root, ending: Ending::Identical })
                    if !self.sender.is_dry_run() =>
                {
                    assert_eq!(Some(root), self.told, "in step with a root that nobody told");
                }
                Action::Tell(_) | Action::SaveAcknowledged { .. } => {}
                Action::Close => self.is_closed = true,
                owed => self.owed.push(owed),
            }
        }
    }

    fn answer(&mut self, draw: &mut Draw, now_ms: u64) {
        if self.owed.is_empty() {
            return;
        }
        let action = self.owed.remove(draw.below(self.owed.len().min(256)));
        let sender = &mut self.sender;
        match action {
            Action::LoadAcknowledged { .. } => {
                sender.acknowledged(draw.maybe(|draw| draw.tree(true)), now_ms)
            }
            Action::ReadBatch { batch, wants, .. } => {
                let results = wants
                    .iter()
                    .map(|want| match want.leaf.kind {
                        _ if draw.seldom(8) => Err(Unready::Changed),
                        _ if draw.seldom(16) => Err(Unready::Unreadable("why".into())),
                        Kind::Link => Ok(PackBody::Whole(b"target".to_vec())),
                        _ if draw.seldom(4) => Ok(PackBody::Over(vec![0; want.leaf.size as usize / 2])),
                        _ => Ok(PackBody::Whole(vec![0; want.leaf.size as usize])),
                    })
                    .collect();
                sender.batch_read(batch, results, now_ms);
            }
            Action::Pull { id } => match draw.below(5) {
                0 => sender.finished(id, now_ms),
                1 => sender.unready(id, Unready::Changed, now_ms),
                2 => sender.ask(id, Ask::Groups { of: None, level: 0, first: 0, n: 9 }),
                3 => sender.ask(
                    id,
                    Ask::Signature { of: None, ranges: vec![(0, 100)], block_bytes: 509, strong_bytes: 8 },
                ),
                _ => {
                    let ops = vec![Op::Literal(vec![1; draw.size().min(OP_BYTES as u64) as usize])];
                    sender.frame(id, DeltaFrame { at: 0, ops }, now_ms);
                }
            },
            Action::Repair { id, .. } => sender.finished(id, now_ms),
            Action::Rescan { .. } => {
                if draw.byte() & 1 == 1 {
                    self.source = draw.tree(true);
                }
                let root = match draw.below(8) {
                    0 => RootChange::Replaced,
                    1 => RootChange::OtherDevice,
                    _ => RootChange::None,
                };
                let untouched = draw.some(2, Draw::path).into_iter().collect();
                let is_listed = !draw.seldom(8);
                let source = Source { untouched, is_listed, root, ..whole(&self.source) };
                sender.source(source, now_ms);
            }
            _ => {}
        }
    }
}
