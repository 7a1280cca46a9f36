//! Sending: S minus A, planned and worked off.
//!
//! Names and metadata go at once; small files are read in batches and travel in packs; large files
//! stream as transfers. What is on its way counts as made when the next plan is drawn.

use super::names::ASKING;
use super::transfer::Stream;
use super::{Action, Phase, Sender, Sent, Want};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, Leaf, List, Meta, Name, Node, RelPath, Tag};
use crate::plan::change::{Change, apply};
use crate::proto::message::*;
use std::collections::BTreeMap;

/// Batches that are being read at once.
const BATCHES: usize = 3;
/// Transfers that stream at once, whatever their size.
const STREAMS: usize = 4;
/// So many do where they are no larger together than this: each waits for the answers to its questions, and
/// of a few small ones the link would not hear enough meanwhile. Half the credit, so that all can be pulled.
const SMALL_STREAMS: usize = OPEN_TRANSFERS / 2;
const SMALL_STREAMS_BYTES: u64 = CREDIT_BYTES / 2;
/// Plain bytes of the names and metadata in one message, at most.
const MESSAGE_BYTES: usize = 120 * KIB;
/// Wire bytes of a packed file beside its name and content, at most.
const PACKED_BYTES: usize = 32;
/// Wire bytes of a body that names a content, at most.
const SAME_BYTES: usize = 40;

impl Sender {
    /// Does what can be done now, and says so when nothing is left.
    pub(super) fn work(&mut self) {
        if self.replan && self.batches.is_empty() && self.asking.is_empty() && self.source.is_some() {
            self.replan = false;
            self.draw_plan();
        }
        if !self.replan {
            self.pump();
        }
        if self.planned.len() < self.planned.capacity() / 4 {
            self.planned.shrink_to(self.planned.len() * 2);
        }
        self.pump_streams();
        let is_idle = self.planned.is_empty()
            && self.large.is_empty()
            && self.batches.is_empty()
            && self.asking.is_empty()
            && self.streams.is_empty()
            && self.in_flight.is_empty()
            && !self.awaits_source
            && !self.replan;
        if is_idle && self.phase == Phase::Sending {
            self.at_rest();
            // The comparison may have ended at once: then there may be something to send.
            if self.replan && self.phase == Phase::Sending {
                self.work();
            }
        }
    }

    /// Sends from the front of the plan as long as credit and room last.
    pub(super) fn pump(&mut self) {
        self.is_starved = false;
        while self.in_flight.len() < UNACKNOWLEDGED - 1 {
            match self.planned.front() {
                None => break,
                Some(Change::File { path, size, .. }) if self.is_alone(path, *size) => {
                    if let Some(Change::File { path, meta, size, hash }) = self.planned.pop_front() {
                        self.large.push_back(Want { path, leaf: Leaf::file(meta, size, hash) });
                    }
                }
                Some(Change::File { .. } | Change::Link { .. }) => {
                    if self.batches.len() >= BATCHES || self.batches.len() + self.asking.len() >= ASKING {
                        break;
                    }
                    if self.credit < PACK_FILE_BYTES {
                        // Small files go before large ones: these leave the next credit to them.
                        self.is_starved = true;
                        break;
                    }
                    self.read_batch();
                }
                Some(Change::SetMeta { .. }) => self.send_metas(),
                Some(Change::Remove { .. }) => self.send_removes(),
                Some(_) => {
                    if let Some(change) = self.planned.pop_front() {
                        self.send_name(change);
                    }
                }
            }
        }
    }

    /// Whether a file is a transfer of its own.
    pub(super) fn is_alone(&self, path: &RelPath, size: u64) -> bool {
        size > PACK_FILE_BYTES || self.singly.contains(path)
    }

    /// Takes small files and symlinks that fit a pack from the front of the plan; those whose content is there already
    /// need not be read.
    fn read_batch(&mut self) {
        let (mut wants, mut held) = (Vec::new(), Vec::new());
        let mut dirs = std::collections::BTreeSet::new();
        let (mut content_bytes, mut message_bytes) = (0u64, 0);
        while let Some(change) = self.planned.front() {
            let (path, leaf) = match change {
                Change::File { path, meta, size, hash } if !self.is_alone(path, *size) => {
                    (path.clone(), Leaf::file(*meta, *size, *hash))
                }
                Change::Link { path, mtime, size, hash } => {
                    let meta = Meta { mode: 0, mtime: *mtime };
                    let content = crate::model::Content::Whole(*hash);
                    (path.clone(), Leaf { kind: Kind::Link, meta, size: *size, content })
                }
                // A large file between small ones does not end a batch.
                Change::File { path, meta, size, hash } => {
                    let want = Want { path: path.clone(), leaf: Leaf::file(*meta, *size, *hash) };
                    self.large.push_back(want);
                    self.planned.pop_front();
                    continue;
                }
                _ => break,
            };
            let parent = path.parent();
            let is_new_dir = !dirs.contains(&parent);
            let same = self.held_elsewhere(&leaf);
            let body_bytes = if same.is_some() { SAME_BYTES } else { leaf.size as usize };
            let read_bytes = if same.is_some() { 0 } else { leaf.size };
            let more = PACKED_BYTES + path.as_bytes().len() + body_bytes;
            let n_files = wants.len() + held.len();
            let is_full = n_files == PACK_FILES
                || (is_new_dir && dirs.len() == PACK_DIRS)
                || message_bytes + more > OP_BYTES
                || content_bytes + read_bytes > self.credit;
            if is_full && n_files > 0 {
                break;
            }
            dirs.insert(parent);
            message_bytes += more;
            let want = Want { path, leaf };
            match same {
                Some(body) => held.push((want, body)),
                None => {
                    content_bytes += if leaf.kind == Kind::File { leaf.size } else { 0 };
                    wants.push(want);
                }
            }
            self.planned.pop_front();
        }
        self.send_pack(held);
        if wants.is_empty() {
            return;
        }
        self.credit = self.credit.saturating_sub(content_bytes);
        let batch = self.next_batch;
        self.next_batch += 1;
        self.batches.insert(batch, wants.clone());
        let held = wants.iter().map(|want| self.held_small(want)).collect();
        let wants = wants.iter().map(|want| self.as_scanned(want)).collect();
        self.actions.push_back(Action::ReadBatch { batch, wants, held });
    }

    /// The small content that the path of a file holds, and will hold when the file comes, if a frame over it
    /// may be sent.
    fn held_small(&self, want: &Want) -> Option<(ContentHash, u64)> {
        if self.capabilities & CAN_OVER == 0 || want.leaf.kind != Kind::File {
            return None;
        }
        let held = self.acknowledged.as_ref()?.get(&want.path).and_then(Node::as_leaf)?;
        let is_at_rest = self.expected.get(&want.path).and_then(Node::as_leaf) == Some(held);
        let fits = held.kind == Kind::File && held.size <= PACK_FILE_BYTES;
        let hash = held.content.whole().filter(|_| is_at_rest && fits)?;
        Some((hash, held.size))
    }

    /// A file as the source has it, not as the destination keeps it: so it is compared when read.
    pub(super) fn as_scanned(&self, want: &Want) -> Want {
        let scanned = self.scanned.as_ref().and_then(|source| source.tree.get(&want.path)?.as_leaf());
        let leaf = scanned.filter(|leaf| leaf.content == want.leaf.content).unwrap_or(&want.leaf);
        Want { path: want.path.clone(), leaf: *leaf }
    }

    /// Small files and symlinks were read, in the order in which they were wanted.
    pub fn batch_read(&mut self, batch: u64, results: Vec<Result<PackBody, super::Unready>>, now_ms: u64) {
        self.now_ms = now_ms;
        let Some(wants) = self.batches.remove(&batch) else { return };
        let (mut files, mut asked, mut links) = (Vec::new(), Vec::new(), Vec::new());
        for (want, result) in wants.into_iter().zip(results) {
            match result {
                Ok(PackBody::Whole(bytes)) if want.leaf.kind == Kind::Link => links.push((want, bytes)),
                Ok(PackBody::Whole(bytes)) => match self.basis_to_ask(&want) {
                    Some(basis_size) => asked.push((want, bytes, basis_size)),
                    None => files.push((want, PackBody::Whole(bytes))),
                },
                Ok(body) => files.push((want, body)),
                Err(unready) => {
                    if want.leaf.kind == Kind::File {
                        self.credit += want.leaf.size;
                    }
                    self.not_ready(want.path, unready);
                }
            }
        }
        if !asked.is_empty() {
            self.ask_names(asked);
        }
        self.send_pack(files);
        for (want, bytes) in links {
            self.send_link(want, bytes);
        }
        self.move_on();
    }

    /// Sends files whose sizes were taken off the credit, but for those that are there already; what their bodies do
    /// not need is given back.
    pub(super) fn send_pack(&mut self, files: Vec<(Want, PackBody)>) {
        let mut by_dir: BTreeMap<RelPath, Vec<(Name, Leaf, PackBody)>> = BTreeMap::new();
        for (want, body) in files {
            if !matches!(body, PackBody::Same { .. }) {
                self.credit += want.leaf.size.saturating_sub(body.content_bytes());
            }
            if let Some((parent, name)) = want.path.split() {
                by_dir.entry(parent).or_default().push((name, want.leaf, body));
            }
        }
        if by_dir.is_empty() {
            return;
        }
        self.begin();
        let id = self.new_id();
        let mut dirs = Vec::with_capacity(by_dir.len());
        let mut packed = Vec::new();
        let mut changes = Vec::new();
        let mut hasher = blake3::Hasher::new();
        for (dir, files) in by_dir {
            dirs.push(PackDir { path: dir.clone(), meta: None, n_files: files.len() as u32 });
            for (name, leaf, body) in files {
                let (Ok(path), Some(hash)) = (dir.join(&name), leaf.content.whole()) else { continue };
                hasher.update(&hash.0);
                changes.push(Some(Change::leaf(path, &leaf, hash)));
                packed.push(PackFile { name, meta: leaf.meta, size: leaf.size as u32, body });
            }
        }
        let hash = ContentHash(*hasher.finalize().as_bytes());
        let pack = Pack { id, dirs: List::new(dirs), files: List::new(packed), hash };
        self.send_change(id, changes, Up::Pack(Box::new(pack)));
    }

    fn send_link(&mut self, want: Want, bytes: Vec<u8>) {
        let (Some(hash), Some(target)) = (want.leaf.content.whole(), Target::parse(bytes)) else { return };
        self.begin();
        let id = self.new_id();
        let change = Change::leaf(want.path.clone(), &want.leaf, hash);
        let up = Up::Link { id, path: want.path, target, mtime: want.leaf.meta.mtime };
        self.send_change(id, vec![Some(change)], up);
    }

    /// A directory, a move, a swap or a ring.
    fn send_name(&mut self, change: Change) {
        if let Change::Rotate { ring } = &change
            && self.capabilities & CAN_ROTATE == 0
        {
            return self.swap_ring(ring.clone());
        }
        self.begin();
        let id = self.new_id();
        let tag = |path: &RelPath| self.expected.get(path).map_or(Tag::UNKNOWN, Node::tag);
        let up = match &change {
            Change::MakeDir { path, meta } => Up::MakeDir { id, path: path.clone(), meta: *meta },
            Change::Move { from, to } => {
                let kind = self.expected.get(from).map_or(Kind::File, Node::kind);
                Up::Move { id, from: from.clone(), to: to.clone(), kind, tag: tag(from) }
            }
            Change::Swap { a, b } => {
                Up::Swap { id, a: a.clone(), a_tag: tag(a), b: b.clone(), b_tag: tag(b) }
            }
            Change::Rotate { ring } => {
                let ring = ring.iter().map(|path| (path.clone(), tag(path))).collect();
                Up::Rotate { id, ring: List::new(ring) }
            }
            _ => return,
        };
        self.send_change(id, vec![Some(change)], up);
    }

    /// A ring for a receiver that only swaps: after each swap one name is right.
    fn swap_ring(&mut self, ring: Vec<RelPath>) {
        for pair in ring.windows(2).rev() {
            self.planned.push_front(Change::Swap { a: ring[0].clone(), b: pair[1].clone() });
        }
    }

    /// Sends a change that is complete with this message; it counts as made from now on.
    pub(super) fn send_change(&mut self, id: ChangeId, changes: Vec<Option<Change>>, up: Up) {
        for change in changes.iter().flatten() {
            if let Change::File { path, .. } | Change::Link { path, .. } | Change::Remove { path } = change
                && let Some(node) = self.expected.get(path)
            {
                self.held_there.replaced(node);
            }
            let _ = apply(&mut self.expected, change);
        }
        self.in_flight.insert(id, Sent { changes });
        self.send(up);
    }

    /// New metadata of entries of one directory travels as columns.
    fn send_metas(&mut self) {
        let mut rows: Vec<(Name, Meta)> = Vec::new();
        let mut changes = Vec::new();
        let mut dir = None;
        let mut message_bytes = 0;
        while let Some(Change::SetMeta { path, meta }) = self.planned.front() {
            let Some((parent, name)) = path.split() else { break };
            let is_other = dir.as_ref().is_some_and(|dir| *dir != parent);
            if is_other || rows.len() == LIST_ITEMS || message_bytes > MESSAGE_BYTES {
                break;
            }
            message_bytes += name.as_bytes().len() + 16;
            rows.push((name, *meta));
            dir = Some(parent);
            changes.push(self.planned.pop_front());
        }
        let Some(dir) = dir else { return };
        self.begin();
        let id = self.new_id();
        self.send_change(id, changes, Up::SetMeta(Box::new(SetMeta::of(id, dir, &rows))));
    }

    fn send_removes(&mut self) {
        let mut items = Vec::new();
        let mut changes = Vec::new();
        let mut message_bytes = 0;
        while let Some(Change::Remove { path }) = self.planned.front() {
            if items.len() == LIST_ITEMS || message_bytes > MESSAGE_BYTES {
                break;
            }
            message_bytes += path.as_bytes().len() + 8;
            let node = self.expected.get(path);
            let kind = node.map_or(Kind::File, Node::kind);
            items.push(Removal { path: path.clone(), kind, n_below: node.map_or(0, Node::n_below) });
            changes.push(self.planned.pop_front());
        }
        self.begin();
        let id = self.new_id();
        self.send_change(id, changes, Up::Remove { id, items: List::new(items) });
    }

    /// Opens transfers and pulls frames, those with the least left first.
    fn pump_streams(&mut self) {
        while !self.replan
            && self.streams.len() < OPEN_TRANSFERS
            && self.in_flight.len() < UNACKNOWLEDGED
            && self.may_stream()
            && let Some(index) =
                self.large.iter().take(OPEN_TRANSFERS).position(|want| !self.is_on_its_way(want))
            && let Some(want) = self.large.remove(index)
        {
            self.open_stream(want);
        }
        if self.is_starved {
            return;
        }
        let mut order: Vec<(u64, ChangeId)> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.wants_pull())
            .map(|(id, stream)| (stream.left(), *id))
            .collect();
        order.sort_unstable();
        for (_, id) in order {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let reserved = stream.reserve_bytes();
            if self.credit < reserved {
                break;
            }
            stream.reserved = Some(reserved);
            self.credit -= reserved;
            self.actions.push_back(Action::Pull { id });
        }
    }

    /// Whether one more transfer may begin.
    fn may_stream(&self) -> bool {
        let filling = || self.streams.values().filter(|stream| stream.is_filling());
        let bytes: u64 = filling().map(Stream::size).sum();
        let next = self.large.front().map_or(0, |want| want.leaf.size);
        let n_filling = filling().count();
        n_filling < STREAMS || n_filling < SMALL_STREAMS && bytes + next <= SMALL_STREAMS_BYTES
    }
}
