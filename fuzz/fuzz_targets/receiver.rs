//! Any sequence of messages of an authorised client against the receiver's machine, on a disk that
//! succeeds or fails as it likes: no panic, and no change ends twice or without having been sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeSet, VecDeque};
use strait::model::{ContentHash, RelPath};
use strait::proto::message::{Down, Keeps, Up};
use strait::proto::receiver::{Action, Committed, Config, Question, Receiver, Walked};
use strait_fuzz::Draw;

/// Messages and answers in one run.
const STEPS: usize = 400;

struct Yard {
    receiver: Receiver,
    owed: VecDeque<Action>,
    sent: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    is_closed: bool,
}

fuzz_target!(|bytes: &[u8]| {
    let mut draw = Draw::new(bytes);
    let config = Config {
        root_id: [1; 16],
        lease: 1,
        keeps: Keeps::ALL,
        credit_bytes: 8 << 20,
        partials: Vec::new(),
        last_source: None,
    };
    let tree = draw.tree(false);
    let left: BTreeSet<RelPath> =
        draw.some(2, Draw::path).into_iter().filter(|path| !path.is_root()).collect();
    let hello = draw.hello(tree.root_hash(&[4; 16]));
    let mut yard = Yard {
        receiver: Receiver::new(config, &hello, left, 0),
        owed: VecDeque::new(),
        sent: BTreeSet::new(),
        ended: BTreeSet::new(),
        is_closed: false,
    };
    let (mut now_ms, mut last_id) = (0, 0);
    if draw.byte() & 3 != 0 {
        yard.collect();
        let walked = Walked { tree, n_unreadable: 0, bytes_to_hash: 0 };
        if yard.receiver.walked(walked, 0).is_err()
            || yard.receiver.receive(Up::Begin { root: None }, 0).is_err()
        {
            return;
        }
        yard.owed.clear();
    }
    for _ in 0..STEPS {
        yard.collect();
        if draw.is_over() || yard.is_closed {
            break;
        }
        match draw.below(8) {
            0..=4 => {
                let up = draw.up(&yard.receiver.tree().clone(), &mut last_id);
                yard.sent.extend(up.change_id());
                if yard.receiver.receive(up, now_ms).is_err() {
                    break;
                }
            }
            5 | 6 => yard.answer(&mut draw, now_ms),
            _ => {
                now_ms += [1, 300, 20_000][draw.below(3)];
                yard.receiver.tick(now_ms);
            }
        }
    }
    yard.collect();
});

impl Yard {
    /// Takes what the machine asks for; what it says is held to the protocol.
    fn collect(&mut self) {
        while let Some(action) = self.receiver.next_action() {
            match action {
                Action::Send(Down::Done { ids, .. }) => {
                    ids.iter()
                        .flat_map(|(first, n)| *first..*first + u64::from(*n))
                        .for_each(|id| self.end(id));
                }
                Action::Send(Down::Refused { id, item: None, .. }) => self.end(id),
                Action::Send(_) => {}
                Action::Close => self.is_closed = true,
                owed => self.owed.push_back(owed),
            }
        }
    }

    fn end(&mut self, id: u64) {
        assert!(self.sent.contains(&id), "change {id} ends and was never sent");
        assert!(self.ended.insert(id), "change {id} ends twice");
    }

    fn answer(&mut self, draw: &mut Draw, now_ms: u64) {
        let Some(action) = self.owed.pop_front() else { return };
        let receiver = &mut self.receiver;
        let fails = draw.seldom(4);
        match action {
            Action::Walk { .. } => {
                let walked = Walked { tree: draw.tree(false), n_unreadable: 0, bytes_to_hash: 7 };
                let is_whole = walked.tree.is_whole();
                if receiver.walked(walked, now_ms).is_err() {
                    self.is_closed = true;
                } else if !is_whole {
                    receiver.hashed_all(&draw.some(2, Draw::path), now_ms);
                }
            }
            Action::Write { id, wire_bytes, .. } => receiver.written(id, wire_bytes),
            Action::Seal { id, .. } => match draw.below(4) {
                0 => receiver.staged(id, Err(draw.refusal())),
                1 => receiver.mismatched(id, draw.byte() % 15, draw.some(3, |draw| draw.array())),
                _ => receiver.staged(id, Ok(())),
            },
            Action::Open { id, .. } if fails => receiver.staged(id, Err(draw.refusal())),
            Action::StagePack { id, files, wire_bytes, .. } => {
                receiver.written(id, wire_bytes);
                let hashes = files.iter().map(|_| ContentHash([5; 32])).collect();
                receiver.pack_staged(id, if fails { Err(draw.refusal()) } else { Ok(hashes) });
            }
            Action::Commit { steps, .. } => {
                let one = |draw: &mut Draw| if draw.seldom(6) { Err(draw.refusal()) } else { Ok(()) };
                let results = steps.iter().map(|_| one(draw)).collect();
                let refused = draw.seldom(8).then(|| draw.refusal());
                receiver.committed(Committed { results, refused, is_uncertain: draw.seldom(8) });
            }
            Action::Ask(Question::Groups { request, level, first, .. }) => {
                let tags = strait::model::List::default();
                receiver.answered(Down::Groups { request, found: None, level, first, tags });
            }
            Action::Ask(Question::Signature { request, block_bytes, strong_bytes, .. }) => {
                let (range, entries, more) = ((0, 0), Vec::new(), draw.seldom(4));
                let found = None;
                receiver.answered(Down::Signature {
                    request,
                    found,
                    block_bytes,
                    strong_bytes,
                    range,
                    entries,
                    more,
                });
            }
            _ => {}
        }
    }
}
