//! What drives the machines: messages through frames, actions to the disks, answers back.

use super::source::Reply;
use super::{Pair, ROOT_ID, Side};
use crate::model::{ContentHash, Meta, RelPath};
use crate::proto::frame::{Frames, encode};
use crate::proto::message::{Down, Hello, Refusal, Up};
use crate::proto::receiver::{self, Committed, Receiver, Walked};
use crate::proto::sender::{self, News, Sender};

/// What the disk says to the machine, in order.
#[derive(Debug)]
pub enum Answer {
    Walked(Walked),
    Hashed(RelPath, Meta, u64, ContentHash),
    HashedAll(Vec<RelPath>),
    Written(u64, u64),
    Staged(u64, Result<(), Refusal>),
    Mismatched(u64, u8, Vec<[u8; 32]>),
    PackStaged(u64, Result<Vec<ContentHash>, Refusal>),
    Committed(Committed),
    Answered(Down),
}

impl Pair {
    pub(super) fn pull(&mut self, id: u64) {
        if self.files.is_open(id) {
            let mut replies = Vec::new();
            self.files.act(sender::Action::Pull { id }, &mut replies);
            self.replies.extend(replies);
        }
    }

    pub(super) fn deliver_up(&mut self) {
        self.n_delivered += 1;
        let Some(bytes) = self.up.pop_front() else { return };
        let mut frames = Frames::default();
        frames.buffer().extend(bytes);
        let up: Up = frames.next_message().expect("a frame").expect("a message");
        self.ups.push(up.clone());
        match (&mut self.receiver, up) {
            (None, Up::Hello(mut hello)) => {
                hello.capabilities &= if self.is_plain { 0 } else { u64::MAX };
                self.greet(&hello);
            }
            (None, other) => panic!("{other:?} before the greeting"),
            (Some(receiver), up) => receiver.receive(up, self.now_ms).expect("an honest sender"),
        }
    }

    pub(super) fn greet(&mut self, hello: &Hello) {
        let config = receiver::Config {
            root_id: ROOT_ID,
            lease: 1,
            keeps: self.keeps,
            last_source: self.disk.last_source,
            credit_bytes: self.credit_bytes,
            partials: self.disk.partials(),
        };
        let left = self.disk.left.get(&hello.scope).cloned().unwrap_or_default();
        self.receiver = Some(Receiver::new(config, hello, left, self.now_ms));
    }

    pub(super) fn deliver_down(&mut self) {
        self.n_delivered += 1;
        let Some(bytes) = self.down.pop_front() else { return };
        let mut frames = Frames::default();
        frames.buffer().extend(bytes);
        let mut down: Down = frames.next_message().expect("a frame").expect("a message");
        if let (true, Down::Welcome(welcome)) = (self.is_plain, &mut down) {
            welcome.capabilities = 0;
        }
        self.downs.push(down.clone());
        if let Some(sender) = &mut self.sender {
            sender.receive(down, self.now_ms).expect("an honest receiver");
        }
    }

    pub(super) fn reply(&mut self) {
        let (Some(reply), Some(sender)) = (self.replies.pop_front(), &mut self.sender) else { return };
        let now_ms = self.now_ms;
        match reply {
            Reply::Batch(batch, read) => sender.batch_read(batch, read, now_ms),
            Reply::Frame(id, frame) => sender.frame(id, frame, now_ms),
            Reply::Finished(id) => sender.finished(id, now_ms),
            Reply::Unready(id, why) => sender.unready(id, why, now_ms),
            Reply::Ask(id, ask) => sender.ask(id, ask),
            Reply::Scanned(source) => sender.source(source, now_ms),
        }
    }

    pub(super) fn answer(&mut self) {
        let (Some(answer), Some(receiver)) = (self.answers.pop_front(), &mut self.receiver) else { return };
        let now_ms = self.now_ms;
        match answer {
            Answer::Walked(walked) => receiver.walked(walked, now_ms).expect("an honest sender"),
            Answer::Hashed(path, meta, size, hash) => receiver.hashed(&path, meta, size, hash),
            Answer::HashedAll(unreadable) => receiver.hashed_all(&unreadable, now_ms),
            Answer::Written(id, wire_bytes) => receiver.written(id, wire_bytes),
            Answer::Staged(id, result) => receiver.staged(id, result),
            Answer::Mismatched(id, level, values) => receiver.mismatched(id, level, values),
            Answer::PackStaged(id, result) => receiver.pack_staged(id, result),
            Answer::Committed(committed) => receiver.committed(committed),
            Answer::Answered(down) => receiver.answered(down),
        }
    }

    /// Does what the machines ask.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.sender.as_mut().and_then(Sender::next_action) {
            self.act_for_sender(action);
        }
        while let Some(action) = self.receiver.as_mut().and_then(Receiver::next_action) {
            match action {
                receiver::Action::Send(down) => {
                    let mut bytes = Vec::new();
                    encode(&down, &mut bytes);
                    self.down.push_back(bytes);
                }
                receiver::Action::Close if self.may_close => {
                    // The sender's own end, at the same moment, is not forgotten for it.
                    self.closed.get_or_insert(Side::Receiver);
                }
                receiver::Action::Close => panic!("the receiver closed: {:?}", self.last_messages()),
                action => {
                    let mut answers = Vec::new();
                    self.disk.act(action, &mut answers);
                    self.answers.extend(answers);
                }
            }
        }
    }

    fn act_for_sender(&mut self, action: sender::Action) {
        match action {
            sender::Action::Send(up) => {
                let mut bytes = Vec::new();
                encode(&up, &mut bytes);
                self.up.push_back(bytes);
            }
            sender::Action::LoadAcknowledged { root_id } => {
                assert_eq!(root_id, ROOT_ID);
                if let Some(sender) = &mut self.sender {
                    sender.acknowledged(self.cache.clone(), self.now_ms);
                }
            }
            sender::Action::SaveAcknowledged { tree, .. } => self.cache = Some(tree),
            sender::Action::Tell(news) => {
                if let News::InStep { ending, .. } = news {
                    self.ending = Some(ending);
                }
                self.news.push(news);
            }
            sender::Action::Pull { id } => self.pulls.push_back(id),
            sender::Action::Close if self.may_close => self.closed = Some(Side::Sender),
            sender::Action::Close => panic!("the sender closed: {:?}", self.last_messages()),
            action => {
                let mut replies = Vec::new();
                self.files.act(action, &mut replies);
                self.replies.extend(replies);
            }
        }
    }
}
