//! Answers to `List`: entries with tags, directory by directory.
//!
//! Simpler than it might be: a directory is always answered by its entries, never by its ranges.

use super::{Action, Breach, Receiver};
use crate::model::limits::{LIST_DIRS, LIST_ITEMS, OP_BYTES, OPEN_ASKS};
use crate::model::{Dir, Kind, List, Name, Node, RelPath};
use crate::proto::message::{Down, EntryHash, EntryInfo, ListDir, Listing, ListingBody, RequestId};

/// Directories that are asked for and whose files are still being hashed.
pub(super) struct Pending {
    request: RequestId,
    dirs: Vec<RelPath>,
    full: bool,
}

/// Wire bytes of an entry apart from its name, at most.
const ENTRY_BYTES: usize = 72;

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
        let dirs = dirs.into_iter().map(|list_dir| list_dir.dir).collect();
        self.lists.push(Pending { request, dirs, full });
        self.answer_lists();
        let dirs: Vec<RelPath> = self.lists.iter().flat_map(|pending| pending.dirs.iter().cloned()).collect();
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
            let (ready, waiting): (Vec<_>, Vec<_>) =
                std::mem::take(&mut pending.dirs).into_iter().partition(|dir| self.is_listable(dir));
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

    fn answer(&mut self, request: RequestId, path: RelPath, full: bool) {
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
        let mut parts = cut(&dir, full);
        let last = parts.pop().unwrap_or_default();
        let (hash, n_below) = (dir.hash(), dir.n_below());
        for (entries, more) in parts.into_iter().map(|part| (part, true)).chain([(last, false)]) {
            let body = ListingBody::Entries(List::new(entries));
            let listing = Listing { request, dir: path.clone(), hash, n_below, body, more };
            self.send(Down::Listing(Box::new(listing)));
        }
    }
}

/// The entries in parts that fit a frame.
fn cut(dir: &Dir, full: bool) -> Vec<Vec<EntryInfo>> {
    let mut parts = vec![Vec::new()];
    let mut part_bytes = 0;
    for (name, node) in dir.entries().iter() {
        let entry_bytes = ENTRY_BYTES + name.as_bytes().len();
        let is_full =
            part_bytes + entry_bytes > OP_BYTES || parts.last().is_some_and(|part| part.len() == LIST_ITEMS);
        if is_full {
            parts.push(Vec::new());
            part_bytes = 0;
        }
        part_bytes += entry_bytes;
        if let Some(part) = parts.last_mut() {
            part.push(entry_info(name, node, full));
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
