//! Transfers of large files: announced, pulled frame by frame, repaired if need be.

use super::{Action, Ask, Breach, DeltaFrame, News, Sender, Unready, Want};
use crate::delta::ops::{Basis, PartialName};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, Leaf, List, Node, RelPath, Tree};
use crate::plan::change::Change;
use crate::proto::message::*;
use crate::proto::partial::{Partial, resume_name};

/// What a part of an answer costs beside its entries: an endless row of empty ones must end too.
const PART_BYTES: usize = 64;

/// A transfer on its way.
pub(super) struct Stream {
    want: Want,
    /// Target bytes covered so far.
    at: u64,
    bases: Vec<Basis>,
    /// It goes on from what came of an earlier one.
    is_resumed: bool,
    /// Newer versions wait for it.
    is_hurried: bool,
    /// How often the receiver asked for repairs, counted here whatever it says. Repairs come in no order of `at`.
    n_repairs: u8,
    /// Credit set aside for a frame that was pulled and has not come yet; what that does not use is given back.
    pub reserved: Option<u64>,
    /// All frames are sent.
    has_ended: bool,
    pub is_cancelled: bool,
    /// The receiver refused it: nothing more is to be sent but its end.
    is_dead: bool,
}

impl Stream {
    /// Credit to set aside for the next frame, which is never longer than what it makes. Of a repair nothing is
    /// known: it comes in any order.
    pub fn reserve_bytes(&self) -> u64 {
        let left = if self.n_repairs > 0 { self.want.leaf.size } else { self.left() };
        left.clamp(PACK_FILE_BYTES, OP_BYTES as u64)
    }

    /// Content that was sent of it.
    pub fn sent_bytes(&self) -> u64 {
        self.at
    }

    pub fn wants_pull(&self) -> bool {
        self.reserved.is_none() && !self.has_ended && !self.is_cancelled && !self.is_dead
    }

    /// Path of its file.
    pub fn path(&self) -> &RelPath {
        &self.want.path
    }

    /// The basis of this number, where the receiver was told it when the transfer was announced.
    pub fn announced(&self, index: u32) -> Option<&Basis> {
        self.bases.get(index as usize)
    }

    /// Whether it is a transfer of this content.
    pub fn brings(&self, hash: &ContentHash) -> bool {
        self.want.leaf.content.whole() == Some(*hash)
    }

    /// Whether it leans on anything that the receiver has.
    pub fn has_basis(&self) -> bool {
        self.is_resumed || !self.bases.is_empty()
    }

    /// Whether frames of it are still to come.
    pub fn is_filling(&self) -> bool {
        !self.has_ended && !self.is_cancelled
    }

    /// Bytes of its file.
    pub fn size(&self) -> u64 {
        self.want.leaf.size
    }

    /// Target bytes that are left.
    pub fn left(&self) -> u64 {
        self.want.leaf.size.saturating_sub(self.at)
    }
}

impl Sender {
    /// Announces a file and lets its delta begin.
    pub(super) fn open_stream(&mut self, want: Want) {
        let Some(hash) = want.leaf.content.whole() else { return };
        self.begin();
        let id = self.new_id();
        let bases = self.choose_bases(&want);
        let resumed = self.resumed_partial(&want, &bases);
        let start = resumed.as_ref().map_or(0, |partial| partial.have);
        let stale_ms = self.stale_ms.get(&want.path);
        let hurry = stale_ms.is_some_and(|since| self.now_ms >= since + self.config.max_staleness_ms);
        let put = Put {
            id,
            path: want.path.clone(),
            meta: want.leaf.meta,
            size: want.leaf.size,
            hash,
            bases: List::new(bases.iter().map(|known| known.basis.clone()).collect()),
            resume: resumed.as_ref().map(|partial| (resume_name(partial.of), start)),
            wait: false,
        };
        let change = Change::leaf(want.path.clone(), &want.leaf, hash);
        let stream = Stream {
            want: want.clone(),
            at: start,
            bases: bases.iter().map(|known| known.basis.clone()).collect(),
            is_resumed: resumed.is_some(),
            is_hurried: hurry,
            n_repairs: 0,
            reserved: None,
            has_ended: false,
            is_cancelled: false,
            is_dead: false,
        };
        self.streams.insert(id, stream);
        self.send_change(id, vec![Some(change)], Up::Put(Box::new(put)));
        let alone = !self.leaning(&want.path).on_chosen;
        let want = self.as_scanned(&want);
        self.actions.push_back(Action::OpenDelta { id, want, bases, start, alone, hurry });
    }

    /// Whether what will be the basis of a file is on its way: another version of it, or a move
    /// of a content whose hash is not known, so that only its path can name it.
    pub(super) fn is_on_its_way(&self, want: &Want) -> bool {
        let is_of_path = |stream: &&Stream| stream.want.path == want.path;
        let goes_first = |stream: &Stream| stream.has_ended || stream.is_hurried && !stream.is_cancelled;
        if self.streams.values().filter(is_of_path).any(goes_first) {
            return true;
        }
        let leaf = |tree: &Tree| tree.get(&want.path).and_then(Node::as_leaf).copied();
        let will_be = leaf(&self.expected);
        will_be.is_some_and(|leaf| leaf.kind == Kind::File && leaf.content.whole().is_none())
            && will_be != self.acknowledged.as_ref().and_then(leaf)
    }

    /// Target bytes that are left of a transfer; none of one that is over.
    pub fn left_of(&self, id: ChangeId) -> u64 {
        self.streams.get(&id).map_or(0, Stream::left)
    }

    /// A frame of a delta was computed.
    pub fn frame(&mut self, id: ChangeId, frame: DeltaFrame, now_ms: u64) {
        self.now_ms = now_ms;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let wire_bytes: u64 = frame.ops.iter().map(|op| op.wire_bytes() as u64).sum();
        self.credit += stream.reserved.take().unwrap_or(0);
        if !stream.is_cancelled && !stream.is_dead {
            self.credit = self.credit.saturating_sub(wire_bytes);
            stream.at = frame.at + frame.ops.iter().map(|op| op.target_len()).sum::<u64>();
            let news = News::Streamed { path: stream.want.path.clone(), target_bytes: stream.at };
            self.send(Up::Delta { id, at: frame.at, ops: List::new(frame.ops) });
            self.tell(news);
        }
        self.move_on();
    }

    /// All frames of a delta, or of a repair, were computed.
    pub fn finished(&mut self, id: ChangeId, now_ms: u64) {
        self.now_ms = now_ms;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        self.credit += stream.reserved.take().unwrap_or(0);
        if !stream.is_cancelled && !stream.is_dead {
            stream.has_ended = true;
            self.send(Up::End { id });
        }
        self.move_on();
    }

    /// The file was not what the scan said, or could not be read any more.
    pub fn unready(&mut self, id: ChangeId, unready: Unready, now_ms: u64) {
        self.now_ms = now_ms;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        self.credit += stream.reserved.take().unwrap_or(0);
        let path = stream.want.path.clone();
        self.stale_ms.entry(path.clone()).or_insert(self.now_ms);
        self.cancel_stream(id);
        self.not_ready(path, unready);
        self.move_on();
    }

    /// A transfer has a question to the receiver.
    pub fn ask(&mut self, id: ChangeId, ask: Ask) {
        let Some(stream) = self.streams.get(&id) else { return };
        let basis_of = |of: Option<Basis>| of.or_else(|| stream.bases.first().cloned());
        let request = self.next_request;
        let up = match ask {
            Ask::Groups { of, level, first, n } => {
                let Some(basis) = basis_of(of) else { return };
                Up::AskGroups { request, basis, level, first, n }
            }
            Ask::Signature { of, ranges, block_bytes, strong_bytes } => {
                let Some(basis) = basis_of(of) else { return };
                Up::AskSignature { request, basis, ranges: List::new(ranges), block_bytes, strong_bytes }
            }
            Ask::Have { tags } => Up::AskHave { request, tags: List::new(tags) },
        };
        self.next_request += 1;
        self.asked.insert(request, (id, 0));
        self.send(up);
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Down) -> Result<(), Breach> {
        let Some((id, answer_bytes)) = self.asked.get_mut(&request) else {
            return Err(Breach("an answer to a question that was not asked".into()));
        };
        let id = *id;
        if let Down::Signature { entries, .. } = &answer {
            *answer_bytes += entries.len() + PART_BYTES;
            if *answer_bytes > ASK_ANSWER_BYTES + (ASK_RANGES + 64) * PART_BYTES {
                return Err(Breach("an answer longer than its question allows".into()));
            }
        }
        let is_last = match &answer {
            Down::Signature { more, found, .. } => !more || found.is_none(),
            _ => true,
        };
        if is_last {
            self.asked.remove(&request);
        }
        if self.streams.contains_key(&id) {
            self.actions.push_back(Action::Answer { id, answer });
        }
        Ok(())
    }

    pub(super) fn mismatch(
        &mut self,
        id: ChangeId,
        round: u8,
        level: u8,
        values: Vec<[u8; 32]>,
    ) -> Result<(), Breach> {
        if round > REPAIR_ROUNDS || level > GROUP_LEVEL {
            return Err(Breach("a repair that cannot be".into()));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.is_cancelled {
            // It was checking when the word came and passed over it; now it waits again.
            self.send(Up::Cancel { id, keep: false });
            return Ok(());
        }
        if !stream.has_ended {
            return Err(Breach("a repair of what has not ended".into()));
        }
        // Each round reads the whole file again: a receiver that never counts would have it read for ever.
        if stream.n_repairs == REPAIR_ROUNDS || round != stream.n_repairs + 1 {
            return Err(Breach("a repair out of its turn".into()));
        }
        stream.n_repairs += 1;
        stream.has_ended = false;
        stream.at = 0;
        self.actions.push_back(Action::Repair { id, level, values });
        Ok(())
    }

    /// A file was not ready: it is scanned again, and named when it never rests.
    pub(super) fn not_ready(&mut self, path: RelPath, unready: Unready) {
        match unready {
            Unready::Changed => {
                if let Some(why) = self.never_rests(&path) {
                    self.tell(News::Unreadable { path: path.clone(), why });
                    return self.leave_untouched(path, None);
                }
                self.awaits_source = true;
                self.actions.push_back(Action::Rescan { paths: vec![path] });
            }
            Unready::Unreadable(why) => {
                self.tell(News::Unreadable { path: path.clone(), why });
                let leaf = self.source.as_ref().and_then(|source| source.tree.get(&path)?.as_leaf().copied());
                self.leave_untouched(path, leaf);
            }
        }
    }

    /// Counts a try of a file that changed; why it is not tried again in a pass that is to end.
    fn never_rests(&mut self, path: &RelPath) -> Option<String> {
        let first_scan = self.first_scan.as_ref()?;
        if first_scan.get(path).is_none() {
            self.n_late_tries += 1;
        }
        let tries = self.tries.entry(path.clone()).or_default();
        *tries += 1;
        if *tries >= SOURCE_TRIES {
            return Some(format!("it changed {tries} times while it was read"));
        }
        let is_late = self.n_late_tries > SOURCE_LATE_TRIES && first_scan.get(path).is_none();
        is_late
            .then(|| "it came late and was gone or another when it was read, as many were before it".into())
    }

    /// Leaves a path as it is at the destination, as long as the source holds this leaf there.
    fn leave_untouched(&mut self, path: RelPath, leaf: Option<Leaf>) {
        self.set_aside.insert(path, leaf);
        self.project();
    }

    /// Gives a transfer up; what came of it stays at the receiver.
    pub(super) fn cancel_stream(&mut self, id: ChangeId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.is_cancelled {
            return;
        }
        stream.is_cancelled = true;
        self.credit += stream.reserved.take().unwrap_or(0);
        let keep = stream.n_repairs == 0 && stream.at > 0;
        if keep && let Some(hash) = stream.want.leaf.content.whole() {
            let (path, size) = (stream.want.path.clone(), stream.want.leaf.size);
            let of = PartialName::Sent(id);
            self.partials.keep(Partial { of, hash, size, have: stream.at, path });
        }
        self.actions.push_back(Action::CloseDelta { id });
        self.send(Up::Cancel { id, keep });
    }

    /// Gives up the transfers whose file is another by now.
    pub(super) fn cancel_stale_streams(&mut self, source: &Tree) {
        let stale: Vec<ChangeId> = self
            .streams
            .iter()
            .filter(|(_, stream)| {
                let leaf = source.get(&stream.want.path).and_then(Node::as_leaf);
                let is_superseded = leaf != Some(&stream.want.leaf) && !stream.has_ended;
                let is_restless =
                    self.source.as_ref().is_some_and(|s| s.untouched.contains(&stream.want.path));
                // One that is gone, moved or another kind is given up whatever its age.
                is_superseded
                    && !is_restless
                    && !(stream.is_hurried && leaf.is_some_and(|leaf| leaf.kind == Kind::File))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            if let Some(stream) = self.streams.get(&id) {
                self.stale_ms.entry(stream.want.path.clone()).or_insert(self.now_ms);
            }
            self.cancel_stream(id);
        }
    }

    /// The receiver refused a transfer while it streamed: it still wants to see its end.
    pub(super) fn stream_refused(&mut self, id: ChangeId, why: &Refusal) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        if *why != Refusal::Cancelled {
            // What was to be kept of it when it was given up is not there.
            self.partials.forget(PartialName::Sent(id));
        }
        if matches!(why, Refusal::BasisGone { .. } | Refusal::HashDiffers) {
            self.basis_failed(&stream, why);
        }
        self.credit += stream.reserved.take().unwrap_or(0);
        if !stream.is_cancelled {
            self.actions.push_back(Action::CloseDelta { id });
            if !stream.has_ended {
                self.send(Up::Cancel { id, keep: false });
            }
        }
    }
}
