//! Comparing: A is made equal D, by root hash first, then by listing what differs.
//!
//! A tag that equals the one of S or of the old A settles a directory; the others are listed, one
//! round trip for each level, however many directories; a large one by its ranges, of which those that differ are asked
//! for. Names that are out of scope are set aside.

use super::{Phase, Sender};
use crate::model::limits::{
    FILE_BYTES, LIST_DIRS, LIST_ITEMS, LIST_RANGES, OP_BYTES, OPEN_ASKS, WALK_BYTES, WALK_ENTRY_BYTES,
    WALKS_A_MINUTE,
};
use crate::model::{Content, ContentHash, Dir, Kind, Leaf, List, Name, Node, RelPath, Tag, Tree};
use crate::plan::scope::Verdict;
use crate::proto::message::*;
use crate::proto::receiver::Breach;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// How long a destination that changes all the time is left alone.
const WALK_AGAIN_MS: u64 = 10_000;

/// A walk of the destination by listings.
pub(super) struct Walk {
    full: bool,
    to_ask: VecDeque<ListDir>,
    /// Directories asked for.
    open: BTreeMap<RelPath, Open>,
    /// Questions that are not answered whole, with the number of directories that are missing.
    requests: BTreeMap<RequestId, usize>,
    listed: BTreeMap<RelPath, Vec<EntryInfo>>,
    settled: BTreeMap<RelPath, Arc<Dir>>,
    /// Entries of ranges that are equal, of directories whose other entries are listed.
    known: BTreeMap<RelPath, Vec<(Name, Node)>>,
    leaves: Vec<RelPath>,
    /// Memory that all of this may still take, in bytes, about.
    room_bytes: usize,
    /// Full hashes of the source's contents by tag: what was moved is recognised.
    by_tag: HashMap<Tag, ContentHash>,
}

/// A directory of which something is still to come.
#[derive(Default)]
struct Open {
    entries: Vec<EntryInfo>,
    ranges: Vec<RangeInfo>,
    /// Its ranges came: only their entries are still to come.
    is_by_ranges: bool,
    /// Answers that are missing, those that were not asked for yet included.
    n_missing: usize,
}

impl Walk {
    fn ask(&mut self, dir: RelPath, ranges: List<Name, LIST_RANGES>) {
        self.open.entry(dir.clone()).or_default().n_missing += 1;
        self.to_ask.push_back(ListDir { dir, ranges });
    }

    /// Takes room for so many bytes.
    fn take_room(&mut self, n_bytes: usize) -> Result<(), Breach> {
        let too_much = || {
            Breach(
                "the destination lists far more than this side has or knows of; begin with an empty one"
                    .into(),
            )
        };
        self.room_bytes = self.room_bytes.checked_sub(n_bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

/// Memory of one more path in a list or map, about.
fn path_bytes(path: &RelPath) -> usize {
    path.as_bytes().len() + 64
}

impl Sender {
    /// Compares roots; walks when they differ.
    pub(super) fn compare(&mut self) {
        self.in_doubt = false;
        let scope = self.config.scope.id();
        let root = self.destination_root();
        let source_root = self.source.as_ref().and_then(|source| source.tree.root_hash(&scope));
        let is_settled = std::mem::take(&mut self.misfits).is_empty() && root.is_some();
        if is_settled && root == source_root {
            self.acknowledged = self.source.as_ref().map(|source| source.tree.clone());
            self.is_saved = false;
            self.walked_in_vain = false;
            return self.compared();
        }
        // Of a destination that is not known A is empty, and so is D more often than not.
        let acknowledged = self.acknowledged.get_or_insert_default();
        if is_settled && root == acknowledged.root_hash(&scope) {
            self.walked_in_vain = false;
            return self.compared();
        }
        self.walks_ms.retain(|&walk_ms| walk_ms + 60_000 > self.now_ms);
        if self.walks_ms.len() >= 2 * WALKS_A_MINUTE {
            // Somebody changes the destination all the time: look again later.
            self.walk_again_ms = Some(self.now_ms + WALK_AGAIN_MS);
            self.in_doubt = true;
            self.phase = Phase::Sending;
            return;
        }
        self.walks_ms.push(self.now_ms);
        let full = std::mem::replace(&mut self.walked_in_vain, true);
        self.start_walk(full);
    }

    /// Leaves the walk so much memory.
    #[cfg(test)]
    pub(in crate::proto) fn set_walk_room(&mut self, room_bytes: usize) {
        self.walk.as_mut().expect("it lists").room_bytes = room_bytes;
    }

    fn start_walk(&mut self, full: bool) {
        let mut by_tag = HashMap::new();
        if let Some(source) = &self.source {
            source.tree.for_each(&mut |_, node| {
                if let Some(hash) = node.as_leaf().and_then(|leaf| leaf.content.whole()) {
                    by_tag.insert(hash.tag(), hash);
                }
            });
        }
        let trees = [self.source.as_ref().map(|source| &source.tree), self.acknowledged.as_ref()];
        let n_known = trees.into_iter().flatten().map(|tree| tree.n_entries() as usize).sum::<usize>();
        self.phase = Phase::Comparing;
        let mut walk = Walk {
            full,
            to_ask: VecDeque::new(),
            open: BTreeMap::new(),
            requests: BTreeMap::new(),
            listed: BTreeMap::new(),
            settled: BTreeMap::new(),
            known: BTreeMap::new(),
            leaves: Vec::new(),
            room_bytes: WALK_BYTES + WALK_ENTRY_BYTES * n_known,
            by_tag,
        };
        walk.ask(RelPath::root(), List::default());
        self.walk = Some(walk);
        self.ask_lists();
    }

    fn ask_lists(&mut self) {
        let Some(walk) = &mut self.walk else { return };
        let mut requests = Vec::new();
        let mut n_asked: usize = walk.requests.values().sum();
        while !walk.to_ask.is_empty() && n_asked < LIST_DIRS && walk.requests.len() < OPEN_ASKS / 2 {
            let mut dirs = Vec::new();
            let mut bytes = 0;
            while n_asked < LIST_DIRS
                && bytes < 128 << 10
                && let Some(asked) = walk.to_ask.pop_front()
            {
                bytes += asked.dir.as_bytes().len() + 4;
                bytes += asked.ranges.iter().map(|first| first.as_bytes().len() + 2).sum::<usize>();
                n_asked += 1;
                dirs.push(asked);
            }
            walk.requests.insert(self.next_request, dirs.len());
            requests.push(Up::List { request: self.next_request, dirs: List::new(dirs), full: walk.full });
            self.next_request += 1;
        }
        for request in requests {
            self.send(request);
        }
    }

    /// A part of a listing came.
    pub(super) fn listing(&mut self, listing: Listing) -> Result<(), Breach> {
        let may_range = self.capabilities & CAN_RANGES != 0;
        let Some(walk) = &mut self.walk else { return Ok(()) };
        // A part without entries counts too.
        walk.take_room(size_of::<EntryInfo>())?;
        walk.take_room(match &listing.body {
            ListingBody::Entries(part) => {
                part.iter().map(|entry| size_of_val(entry) + entry.name.as_bytes().len()).sum()
            }
            ListingBody::Ranges(part) => {
                part.iter().map(|range| size_of_val(range) + range.first.as_bytes().len()).sum()
            }
            ListingBody::Missing => 0,
        })?;
        let Some(open) = walk.open.get_mut(&listing.dir) else {
            return Err(Breach("a listing that was not asked for".into()));
        };
        let is_by_ranges = matches!(listing.body, ListingBody::Ranges(_));
        match listing.body {
            ListingBody::Entries(part) => {
                if part.iter().any(|entry| !entry.meta.is_valid() || entry.size > FILE_BYTES) {
                    return Err(Breach("an entry that cannot be".into()));
                }
                open.entries.extend(part);
            }
            ListingBody::Missing => open.entries.clear(),
            ListingBody::Ranges(part) if may_range && !walk.full && !open.is_by_ranges => {
                open.ranges.extend(part);
            }
            ListingBody::Ranges(_) => return Err(Breach("ranges that were not asked for".into())),
        }
        if listing.more {
            return Ok(());
        }
        match walk.requests.get_mut(&listing.request) {
            Some(n) if *n > 1 => *n -= 1,
            Some(_) => drop(walk.requests.remove(&listing.request)),
            None => return Err(Breach("a listing of another question".into())),
        }
        if is_by_ranges {
            self.settle_ranges(&listing.dir)?;
        }
        self.answered(listing.dir)?;
        self.ask_lists();
        if self.walk.as_ref().is_some_and(|walk| walk.open.is_empty() && walk.to_ask.is_empty()) {
            self.walked();
        }
        Ok(())
    }

    /// Takes over the ranges of a directory that are those of S or of the old A, and asks for the others.
    fn settle_ranges(&mut self, path: &RelPath) -> Result<(), Breach> {
        let Some(walk) = &mut self.walk else { return Ok(()) };
        let Some(open) = walk.open.get_mut(path) else { return Ok(()) };
        let mut ours: HashMap<(Name, Tag), &Arc<Dir>> = HashMap::new();
        for tree in [self.acknowledged.as_ref(), self.source.as_ref().map(|source| &source.tree)] {
            if let Some(dir) = tree.and_then(|tree| tree.dir(path)) {
                ours.extend(dir.ranges().into_iter().map(|range| ((range.first, range.tag), dir)));
            }
        }
        open.is_by_ranges = true;
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for RangeInfo { first, tag, .. } in std::mem::take(&mut open.ranges) {
            let key = (first, tag);
            match ours.get(&key).filter(|_| tag != Tag::UNKNOWN) {
                Some(dir) => {
                    known.extend(dir.entries_of(&key.0).map(|(name, node)| (name.clone(), node.clone())))
                }
                None => others.push(key.0),
            }
        }
        walk.take_room(known.len() * size_of::<(Name, Node)>())?;
        walk.known.insert(path.clone(), known);
        for names in others.chunks(LIST_RANGES) {
            walk.ask(path.clone(), List::new(names.to_vec()));
        }
        Ok(())
    }

    /// One answer about a directory is whole: with the last of them it is listed.
    fn answered(&mut self, dir: RelPath) -> Result<(), Breach> {
        let Some(open) = self.walk.as_mut().and_then(|walk| walk.open.get_mut(&dir)) else { return Ok(()) };
        open.n_missing -= 1;
        if open.n_missing > 0 {
            return Ok(());
        }
        let entries = std::mem::take(&mut open.entries);
        self.walk.as_mut().map(|walk| walk.open.remove(&dir));
        self.listed(dir, entries)
    }

    /// A directory is listed whole: settles what is known, asks for what differs.
    fn listed(&mut self, dir: RelPath, mut entries: Vec<EntryInfo>) -> Result<(), Breach> {
        let Some(walk) = &mut self.walk else { return Ok(()) };
        let mut room = Ok(());
        let source = self.source.as_ref().map(|source| &source.tree);
        entries.retain(|entry| {
            let Ok(path) = dir.join(&entry.name) else { return false };
            let is_left = self.config.scope.verdict(&path, entry.kind == Kind::Dir) != Verdict::Take;
            if !is_left && entry.kind != Kind::Dir {
                return true;
            }
            if room.is_ok() {
                room = walk.take_room(path_bytes(&path));
            }
            if room.is_err() {
                return false;
            }
            if is_left {
                walk.leaves.push(path);
                return false;
            }
            let tag = tag_of(&entry.hash);
            let known = [source, self.acknowledged.as_ref()].into_iter().flatten().find_map(|tree| {
                tree.dir(&path).filter(|dir| {
                    dir.hash().is_some_and(|hash| match entry.hash {
                        EntryHash::Tag(tag) => tag != Tag::UNKNOWN && hash.tag() == tag,
                        EntryHash::Full(full) => hash == full,
                    })
                })
            });
            match known {
                Some(known) if tag != Tag::UNKNOWN => {
                    walk.settled.insert(path, known.clone());
                }
                _ => walk.ask(path, List::default()),
            }
            true
        });
        walk.listed.insert(dir, entries);
        room
    }

    /// All is listed: A is what the destination holds.
    fn walked(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        let source = self.source.as_ref().map(|source| source.tree.clone()).unwrap_or_default();
        let old = self.acknowledged.take().unwrap_or_default();
        let root = walk.build(&RelPath::root(), Default::default(), &source, &old);
        self.acknowledged = Some(Tree::new(root));
        self.is_saved = false;
        self.compared();
        let leaves = std::mem::take(&mut walk.leaves);
        self.send_leaves(leaves);
    }

    /// Names what is out of scope, as many as fit a message at a time.
    fn send_leaves(&mut self, leaves: Vec<RelPath>) {
        let mut leaves = leaves.into_iter().peekable();
        while leaves.peek().is_some() {
            let mut paths = Vec::new();
            let mut message_bytes = 0;
            while paths.len() < LIST_ITEMS
                && let Some(path) =
                    leaves.next_if(|path| message_bytes + path.as_bytes().len() < OP_BYTES / 2)
            {
                message_bytes += path.as_bytes().len() + 4;
                paths.push(path);
            }
            self.begin();
            let id = self.new_id();
            self.in_flight.insert(id, super::Sent { changes: Vec::new() });
            self.send(Up::Leave { id, paths: List::new(paths) });
        }
    }

    fn compared(&mut self) {
        self.phase = Phase::Sending;
        self.held_there.forget();
        self.replan = true;
        self.told = None;
    }

    /// Says once that changes count from here; not of those that go ahead, which do if a guess holds.
    pub(super) fn begin(&mut self) {
        if !self.has_begun && self.phase != Phase::Ahead {
            self.has_begun = true;
            let root = self.destination_root();
            self.send(Up::Begin { root });
        }
    }
}

impl Walk {
    fn build(&mut self, path: &RelPath, meta: crate::model::Meta, source: &Tree, old: &Tree) -> Arc<Dir> {
        let mut nodes = Vec::new();
        for entry in self.listed.remove(path).unwrap_or_default() {
            let Ok(below) = path.join(&entry.name) else { continue };
            let node = if entry.kind != Kind::Dir {
                Node::Leaf(self.leaf(&below, &entry, source, old))
            } else if let Some(known) = self.settled.remove(&below) {
                Node::Dir(known).with_meta(entry.meta)
            } else {
                Node::Dir(self.build(&below, entry.meta, source, old))
            };
            nodes.push((entry.name, node));
        }
        nodes.extend(self.known.remove(path).unwrap_or_default());
        Arc::new(Dir::with_entries(meta, nodes.into_iter().collect()))
    }

    fn leaf(&self, path: &RelPath, entry: &EntryInfo, source: &Tree, old: &Tree) -> Leaf {
        let content = match entry.hash {
            EntryHash::Full(hash) => Content::Whole(hash),
            EntryHash::Tag(tag) => [source, old]
                .into_iter()
                .filter_map(|tree| tree.get(path)?.as_leaf()?.content.whole())
                .find(|hash| hash.tag() == tag)
                .or_else(|| self.by_tag.get(&tag).copied())
                .map_or(Content::Tag(tag), Content::Whole),
        };
        Leaf { kind: entry.kind, meta: entry.meta, size: entry.size, content }
    }
}

fn tag_of(hash: &EntryHash) -> Tag {
    match hash {
        EntryHash::Tag(tag) => *tag,
        EntryHash::Full(hash) => hash.tag(),
    }
}
