//! Answers to `List`: entries with tags, directory by directory; of a large one its ranges first, and the entries of
//! those that are asked for.

use super::{Action, Breach, Receiver};
use crate::model::limits::{LIST_DIRS, LIST_ITEMS, LISTED_WHOLE, OP_BYTES, OPEN_ASKS};
use crate::model::{Dir, Kind, List, Name, Node, Range, RelPath};
use crate::proto::message::{
    CAN_RANGES, Down, EntryHash, EntryInfo, ListDir, Listing, ListingBody, RangeInfo, RequestId,
};

/// Directories that are asked for and whose files are still being hashed.
pub(super) struct Pending {
    request: RequestId,
    dirs: Vec<ListDir>,
    full: bool,
}

/// Wire bytes of an entry apart from its name, at most, and of a range apart from its first one.
const ENTRY_BYTES: usize = 72;
const RANGE_BYTES: usize = 16;

impl Receiver {
    pub(super) fn list(
        &mut self,
        request: RequestId,
        dirs: List<ListDir, LIST_DIRS>,
        full: bool,
    ) -> Result<(), Breach> {
        if self.lists.len() >= OPEN_ASKS {
            return Err(Breach("too many open lists".into()));
        }
        self.lists.push(Pending { request, dirs: dirs.into_vec(), full });
        self.answer_lists();
        let waiting = self.lists.iter().flat_map(|pending| &pending.dirs);
        let dirs: Vec<RelPath> = waiting.map(|list_dir| list_dir.dir.clone()).collect();
        if self.is_hashing && !dirs.is_empty() {
            self.actions.push_back(Action::HashFirst { dirs });
        }
        Ok(())
    }

    /// Answers every directory whose own files are all known.
    pub(super) fn answer_lists(&mut self) {
        if self.lists.is_empty() {
            return;
        }
        let mut lists = std::mem::take(&mut self.lists);
        for pending in &mut lists {
            let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut pending.dirs)
                .into_iter()
                .partition(|list_dir| self.is_listable(&list_dir.dir));
            pending.dirs = waiting;
            for dir in ready {
                self.answer(pending.request, dir, pending.full);
            }
        }
        lists.retain(|pending| !pending.dirs.is_empty());
        self.lists = lists;
    }

    fn is_listable(&self, dir: &RelPath) -> bool {
        !self.is_hashing
            || self.tree.dir(dir).is_none_or(|dir| {
                dir.entries().nodes().all(|node| node.kind() == Kind::Dir || node.hash().is_some())
            })
    }

    fn answer(&mut self, request: RequestId, ListDir { dir: path, ranges }: ListDir, full: bool) {
        let Some(dir) = self.tree.dir(&path).cloned() else {
            let listing = Listing {
                request,
                dir: path,
                hash: None,
                n_below: 0,
                body: ListingBody::Missing,
                more: false,
            };
            return self.send(Down::Listing(Box::new(listing)));
        };
        let bodies = bodies_of(&dir, &ranges, full, self.capabilities & CAN_RANGES != 0);
        let n_bodies = bodies.len();
        let (hash, n_below) = (dir.hash(), dir.n_below());
        for (index, body) in bodies.into_iter().enumerate() {
            let more = index + 1 < n_bodies;
            let listing = Listing { request, dir: path.clone(), hash, n_below, body, more };
            self.send(Down::Listing(Box::new(listing)));
        }
    }
}

/// What is told of a directory, or of those of its ranges that begin with these names, in parts that fit a frame;
/// `full` hashes are told of all entries.
fn bodies_of(dir: &Dir, ranges: &[Name], full: bool, may_range: bool) -> Vec<ListingBody> {
    if may_range && !full && ranges.is_empty() && dir.entries().len() > LISTED_WHOLE {
        let ranges = dir.ranges().into_iter();
        let ranges =
            ranges.map(|Range { first, tag, n_entries }| RangeInfo { first, tag, n: n_entries as u32 });
        let parts = cut(ranges, |range| RANGE_BYTES + range.first.as_bytes().len());
        return parts.into_iter().map(|part| ListingBody::Ranges(List::new(part))).collect();
    }
    let info = |(name, node): (&Name, &Node)| entry_info(name, node, full);
    let entry_bytes = |entry: &EntryInfo| ENTRY_BYTES + entry.name.as_bytes().len();
    let parts = if ranges.is_empty() {
        cut(dir.entries().iter().map(info), entry_bytes)
    } else {
        cut(ranges.iter().flat_map(|first| dir.entries_of(first)).map(info), entry_bytes)
    };
    parts.into_iter().map(|part| ListingBody::Entries(List::new(part))).collect()
}

/// Items in parts that fit a frame; an empty one when there are none.
fn cut<T>(items: impl Iterator<Item = T>, wire_bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut part_bytes = 0;
    for item in items {
        let item_bytes = wire_bytes(&item);
        let is_full =
            part_bytes + item_bytes > OP_BYTES || parts.last().is_some_and(|part| part.len() == LIST_ITEMS);
        if is_full {
            parts.push(Vec::new());
            part_bytes = 0;
        }
        part_bytes += item_bytes;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

fn entry_info(name: &Name, node: &Node, full: bool) -> EntryInfo {
    let hash = match node.hash().filter(|_| full) {
        Some(hash) => EntryHash::Full(hash),
        None => EntryHash::Tag(node.tag()),
    };
    EntryInfo {
        name: name.clone(),
        kind: node.kind(),
        meta: *node.meta(),
        size: node.as_leaf().map_or(0, |leaf| leaf.size),
        hash,
        n_below: node.n_below(),
    }
}
