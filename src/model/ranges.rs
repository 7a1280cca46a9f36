//! The hash of a directory over its ranges, and what of a large one need not be hashed again.
//!
//! A directory of a hundred thousand entries changes with every acknowledgement: what is known of the ranges that were
//! not touched stays, so that a change costs the entries of its own range. `docs/protocol.md`, "Trees", has the bytes.

use crate::model::entries::Entries;
use crate::model::entry::{Kind, entry_hash};
use crate::model::hash::{ContentHash, Tag};
use crate::model::path::Name;
use crate::model::tree::Node;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What lies below a directory, or in one range of it, at any depth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Below {
    pub entries: u64,
    pub bytes: u64,
}

/// One range as it was hashed.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    /// `None` while one of its entries is not known whole.
    hash: Option<[u8; 32]>,
    below: Below,
}

/// One range of a directory, to be compared with that of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: Name,
    /// [`Tag::UNKNOWN`] while one of its entries is not known whole.
    pub tag: Tag,
    pub n_entries: usize,
}

/// The ranges of a directory, each by the name that begins it; `None` where it was touched since it was hashed.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// What comes before the first name that begins a range.
    head: Option<Hashed>,
    ranges: BTreeMap<Name, Option<Hashed>>,
}

/// Whether a new range of a directory begins at this name: one in 256 on average.
pub fn begins_range(name: &Name) -> bool {
    blake3::hash(name.as_bytes()).as_bytes()[0] == 0
}

/// Directory hash of few entries, and what lies below them.
pub(super) fn hash_all(entries: &Entries) -> (Option<ContentHash>, Below) {
    Ranges::of(entries).summarise(entries)
}

impl Ranges {
    /// Of entries of which nothing is hashed yet.
    pub fn of(entries: &Entries) -> Self {
        let begin = entries.names().filter(|name| begins_range(name));
        Self { head: None, ranges: begin.map(|name| (name.clone(), None)).collect() }
    }

    /// An entry is another.
    pub fn changed(&mut self, name: &Name) {
        match self.ranges.range_mut(..=name).next_back() {
            Some((_, range)) => *range = None,
            None => self.head = None,
        }
    }

    /// An entry is new.
    pub fn inserted(&mut self, name: &Name) {
        self.changed(name);
        if begins_range(name) {
            self.ranges.insert(name.clone(), None);
        }
    }

    /// An entry is gone.
    pub fn removed(&mut self, name: &Name) {
        self.ranges.remove(name);
        self.changed(name);
    }

    /// The directory hash and what lies below; `None` while an entry is not known whole. Hashes the entries of the ranges
    /// that were touched.
    pub fn summarise(&mut self, entries: &Entries) -> (Option<ContentHash>, Below) {
        // From below upwards, before there is a hasher: a tree is deep, and a hasher large.
        for (start, end, held) in self.parts() {
            if held.is_none() {
                for (_, node) in entries.range(start, end) {
                    node.n_below();
                }
            }
        }
        self.hash(entries)
    }

    /// All ranges in order, as they were summarised.
    pub fn told(&self, entries: &Entries) -> Vec<Range> {
        let ranges = self.parts().into_iter().filter_map(|(start, end, held)| {
            let mut part = entries.range(start, end);
            let (first, _) = part.next()?;
            let tag = held.and_then(|held| held.hash).map_or(Tag::UNKNOWN, |hash| ContentHash(hash).tag());
            Some(Range { first: first.clone(), tag, n_entries: 1 + part.count() })
        });
        ranges.collect()
    }

    /// The entries of the range whose first name this is; none where no range begins.
    pub fn entries_of<'e>(
        &'e self,
        first: &'e Name,
        entries: &'e Entries,
    ) -> impl Iterator<Item = (&'e Name, &'e Node)> {
        let is_first = self.ranges.contains_key(first) || entries.names().next() == Some(first);
        let end = self.ranges.range((Bound::Excluded(first), Bound::Unbounded)).next().map(|(end, _)| end);
        entries.range(Some(first), end).take_while(move |_| is_first)
    }

    #[inline(never)]
    fn hash(&mut self, entries: &Entries) -> (Option<ContentHash>, Below) {
        let mut dir = DirHasher::default();
        let parts = self.parts().into_iter().map(|(start, end, held)| {
            let mut part = entries.range(start, end).peekable();
            let first = part.peek().map(|(first, _)| *first)?;
            let hashed = held.unwrap_or_else(|| Hashed::of(part));
            dir.push(first, hashed);
            Some(hashed)
        });
        let mut hashed: Vec<Option<Hashed>> = parts.collect();
        let ranges = hashed.split_off(1);
        self.head = hashed[0];
        self.ranges.values_mut().zip(ranges).for_each(|(range, hashed)| *range = hashed);
        dir.finish()
    }

    /// The head and each range: where they begin and end, and as they were hashed.
    fn parts(&self) -> Vec<(Option<&Name>, Option<&Name>, Option<Hashed>)> {
        let ends = self.ranges.keys().map(Some).chain([None]);
        let starts = [None].into_iter().chain(self.ranges.keys().map(Some));
        let held = [self.head].into_iter().chain(self.ranges.values().copied());
        starts.zip(ends).zip(held).map(|((start, end), held)| (start, end, held)).collect()
    }
}

impl Hashed {
    fn of<'e>(entries: impl Iterator<Item = (&'e Name, &'e Node)>) -> Self {
        let mut hasher = Some(blake3::Hasher::new_derive_key("strait 1 range"));
        let mut below = Below::default();
        for (name, node) in entries {
            below.add(match node {
                Node::Leaf(leaf) if leaf.kind == Kind::File => Below { entries: 1, bytes: leaf.size },
                Node::Leaf(_) => Below { entries: 1, bytes: 0 },
                Node::Dir(dir) => Below { entries: 1 + dir.n_below(), bytes: dir.bytes_below() },
            });
            let size = node.as_leaf().map_or(0, |leaf| leaf.size);
            #[cfg(test)]
            counted::N_HASHED.set(counted::N_HASHED.get() + 1);
            let hash = node.hash().map(|hash| entry_hash(name, node.kind(), node.meta(), size, &hash.0));
            hasher = hasher.zip(hash).map(|(mut hasher, hash)| {
                hasher.update(&hash);
                hasher
            });
        }
        Self { hash: hasher.map(|hasher| *hasher.finalize().as_bytes()), below }
    }
}

impl Below {
    fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The directory hash: over its ranges.
struct DirHasher {
    ranges: blake3::Hasher,
    is_whole: bool,
    below: Below,
}

impl Default for DirHasher {
    fn default() -> Self {
        let ranges = blake3::Hasher::new_derive_key("strait 1 dir");
        Self { ranges, is_whole: true, below: Below::default() }
    }
}

impl DirHasher {
    fn push(&mut self, first: &Name, range: Hashed) {
        self.below.add(range.below);
        self.ranges.update(&(first.as_bytes().len() as u16).to_le_bytes());
        self.ranges.update(first.as_bytes());
        self.ranges.update(&range.hash.unwrap_or_default());
        self.is_whole &= range.hash.is_some();
    }

    fn finish(self) -> (Option<ContentHash>, Below) {
        let hash = ContentHash(*self.ranges.finalize().as_bytes());
        (Some(hash).filter(|_| self.is_whole), self.below)
    }
}

/// How many entries were hashed on this thread.
#[cfg(test)]
pub mod counted {
    use std::cell::Cell;

    thread_local! {
        pub static N_HASHED: Cell<u64> = const { Cell::new(0) };
    }
}
