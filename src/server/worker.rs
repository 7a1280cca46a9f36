//! The thread that touches the destination: it does what the receiver's machine asks, in order.

use super::hasher::Hasher;
use super::holdings::Holdings;
use super::shore::{GONE, Shore};
use super::stage::{Sealed, Stage};
use super::{asks, commit};
use crate::delta::ops::Op;
use crate::disk::{Hashing, Options, Progress, Special, Verdict, scan};
use crate::model::{ContentHash, Meta, Node, RelPath, Tree};
use crate::proto::message::{ChangeId, Down, Refusal, ScopeId};
use crate::proto::receiver::{Action, Committed, Walked};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// How often what was learned is written to the cache, at the latest.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What the disk answers to the machine.
pub enum Answer {
    Walked(Walked),
    Hashed {
        path: RelPath,
        meta: Meta,
        size: u64,
        hash: ContentHash,
    },
    HashedAll {
        unreadable: Vec<RelPath>,
    },
    Staged {
        id: ChangeId,
        result: Result<(), Refusal>,
    },
    Mismatched {
        id: ChangeId,
        level: u8,
        values: Vec<[u8; 32]>,
    },
    PackStaged {
        id: ChangeId,
        result: Result<Vec<ContentHash>, Refusal>,
    },
    Written {
        id: ChangeId,
        wire_bytes: u64,
    },
    Committed(Committed),
    Down(Box<Down>),
    /// The destination cannot be used any more.
    Fault(String),
}

/// The worker of one session.
pub struct Worker {
    shore: Arc<Shore>,
    scope: ScopeId,
    stage: Stage,
    hasher: Option<Hasher>,
    /// The chunks of all contents, since somebody asked for some.
    holdings: Option<Holdings>,
    answers: UnboundedSender<Answer>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    pub fn new(
        shore: Arc<Shore>,
        scope: ScopeId,
        answers: UnboundedSender<Answer>,
        progress: Arc<Progress>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let stage = Stage::new(stop.clone());
        Self { shore, scope, stage, hasher: None, holdings: None, answers, progress, stop }
    }

    /// Works until the session ends; then throws away what was not committed.
    pub fn run(mut self, jobs: Receiver<Action>) {
        let mut is_dirty = false;
        loop {
            match jobs.recv_timeout(SYNC_EVERY) {
                Ok(action) if self.is_over() => self.act_late(action),
                Ok(action) => {
                    self.act(action);
                    is_dirty = true;
                }
                Err(RecvTimeoutError::Timeout) if is_dirty => {
                    self.stage.note_all();
                    self.shore.known.sync();
                    is_dirty = self.hasher.is_some();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(hasher) = self.hasher.take() {
            self.shore.is_unhashed.store(!hasher.is_over(), Ordering::Relaxed);
        }
        self.stage.clear(&self.shore);
        self.shore.known.sync();
    }

    /// The session is over: what came of transfers is still written, names that were set aside are noted,
    /// and everything else that it wanted is dropped.
    fn act_late(&mut self, action: Action) {
        self.stage.drain();
        match action {
            Action::Open { .. }
            | Action::AddBasis { .. }
            | Action::Write { .. }
            | Action::Keep { .. }
            | Action::Drop { .. }
            | Action::Forget { .. }
            | Action::SaveLeft(_) => self.act(action),
            _ => {}
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn answer(&self, answer: Answer) {
        // Nobody listens any more when the session is over.
        let _ = self.answers.send(answer);
    }

    fn act(&mut self, action: Action) {
        let destination = &self.shore.destination;
        match action {
            Action::Walk { deep, skip } => self.walk(deep, &skip),
            Action::HashFirst { dirs } => {
                if let Some(hasher) = &self.hasher {
                    hasher.hash_first(&dirs);
                }
            }
            Action::Open { id, offer, bases, resume } => {
                if let Err(why) = self.stage.open(&self.shore, id, &offer, &bases, resume) {
                    self.answer(Answer::Staged { id, result: Err(why) });
                    self.look_around();
                }
            }
            Action::AddBasis { id, basis } => {
                if let Err(why) = self.stage.add_basis(&self.shore, id, &basis) {
                    self.answer(Answer::Staged { id, result: Err(why) });
                }
            }
            Action::Write { id, at, ops, wire_bytes } => {
                self.shore.make_room(bytes_of(&ops));
                if let Err(why) = self.stage.write(id, at, &ops) {
                    self.answer(Answer::Staged { id, result: Err(why) });
                }
                self.answer(Answer::Written { id, wire_bytes });
            }
            Action::Seal { id, hash } => match self.stage.seal(&self.shore, id, hash) {
                Ok(Sealed::Right) => self.answer(Answer::Staged { id, result: Ok(()) }),
                Ok(Sealed::Mismatch { level, values }) => {
                    self.answer(Answer::Mismatched { id, level, values });
                }
                Err(why) => self.answer(Answer::Staged { id, result: Err(why) }),
            },
            Action::StagePack { id, files, hash, wire_bytes } => {
                self.shore.make_room(wire_bytes);
                let result = self.stage.pack(&self.shore, id, files, hash);
                self.answer(Answer::Written { id, wire_bytes });
                let has_failed = result.is_err();
                self.answer(Answer::PackStaged { id, result });
                if has_failed {
                    self.look_around();
                }
            }
            Action::Drop { id } => self.stage.drop_change(destination, id),
            Action::Keep { id } => self.stage.keep(id),
            Action::Forget { of } => self.stage.forget(&self.shore, of),
            Action::Commit { steps, dirs } => {
                let committed = commit::commit(&self.shore, &mut self.stage, steps, &dirs);
                self.answer(Answer::Committed(committed));
            }
            Action::Ask(question) => {
                let answers = &self.answers;
                asks::answer(&self.shore, &mut self.stage, &mut self.holdings, question, &mut |down| {
                    let _ = answers.send(Answer::Down(Box::new(down)));
                });
            }
            Action::SaveLeft(left) => {
                if let Err(error) = self.shore.known.cache().set_left(&self.scope, &left) {
                    tracing::warn!(%error, "the names set aside are not kept");
                }
            }
            Action::Send(_) | Action::Close => {}
        }
    }

    /// After a stage that could not be made: whether that is because strait's own folder is gone, with which
    /// nothing can go on.
    fn look_around(&self) {
        if !self.shore.is_in_place() {
            self.answer(Answer::Fault(GONE.into()));
        }
    }

    fn walk(&mut self, deep: bool, skip: &BTreeSet<RelPath>) {
        drop(self.hasher.take());
        self.look_around();
        // What is told of the tree counts as acknowledged where it equals the source.
        if let Err(error) = self.shore.destination.settle() {
            return self.answer(Answer::Fault(error.to_string()));
        }
        let contents = self.shore.known.for_scan(deep);
        let filter = |path: &RelPath, _| if skip.contains(path) { Verdict::Excluded } else { Verdict::Take };
        let options = Options {
            filter: &filter,
            before_list: None,
            hashing: Hashing::Later,
            special: Special::Show,
            n_threads: 0,
            progress: &self.progress,
            stop: &self.stop,
        };
        let scanned = match scan(self.shore.destination.root(), &contents, &options) {
            Ok(scanned) => scanned,
            Err(error) => return self.answer(Answer::Fault(error.to_string())),
        };
        drop(contents);
        let tree = Tree::new(scanned.root);
        let pending = scanned.findings.pending;
        let bytes_to_hash =
            pending.iter().map(|path| tree.get(path).and_then(Node::as_leaf).map_or(0, |leaf| leaf.size));
        let walked = Walked {
            bytes_to_hash: bytes_to_hash.sum(),
            n_unreadable: scanned.findings.unreadable.len() as u64,
            tree,
        };
        self.answer(Answer::Walked(walked));
        self.shore.is_unhashed.store(!pending.is_empty(), Ordering::Relaxed);
        if !pending.is_empty() {
            self.hasher = Some(Hasher::start(self.shore.clone(), pending, deep, self.answers.clone()));
        }
    }
}

/// Bytes that ops may write; zeros become holes.
fn bytes_of(ops: &[Op]) -> u64 {
    let written = ops.iter().filter(|op| !matches!(op, Op::Zeros { .. }));
    written.map(Op::target_len).fold(0, u64::saturating_add)
}
