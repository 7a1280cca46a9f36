//! What else a file may lean on: every content that the destination holds, found by chunks, by the
//! receiver's word, or by a name that is alike.

use super::deltas::{DeltaNews, DeltaThread, Stop};
use super::learn::{Learned, Seen};
use crate::delta::find::{Finder, Match};
use crate::delta::groups::node_bytes;
use crate::delta::ops::Basis;
use crate::delta::sieve::{self, KnownCopy};
use crate::model::ContentHash;
use crate::model::limits::{ASK_HAVE, LIST_ITEMS, MIB, PACK_FILE_BYTES};
use crate::proto::message::Down;
use crate::proto::sender::{Ask, KnownBasis};
use crate::server::holdings::Holdings;
use std::collections::BTreeMap;

/// Bases that are added to a file: the receiver keeps each of them open.
const ADDED: usize = 48;
/// Bytes not found in the file's own basis from which on all other contents are looked through.
const WORTH_LOOKING: u64 = MIB as u64;
/// Bytes of the target, and of contents unknown here, from which on the receiver is asked for chunks.
const WORTH_ASKING: u64 = MIB as u64;
/// Shorter copies of a basis whose blocks are known are hints for the blocks, which fit the seams better.
const WORTH_COPYING: u64 = MIB as u64 / 2;
/// A content of which less is found is no basis for blocks.
const WORTH_BLOCKS: u64 = PACK_FILE_BYTES;
/// Chunk names in a question: all of them may be found, and an answer is one frame.
const ASKED_TAGS: usize = if ASK_HAVE < LIST_ITEMS { ASK_HAVE } else { LIST_ITEMS };

/// All that a transfer leans on.
#[derive(Default)]
pub(super) struct Leaning {
    pub bases: Vec<sieve::KnownBasis>,
    pub copies: Vec<KnownCopy>,
    /// Short copies of the first basis, whose blocks are known: for the blocks to lean on.
    pub hints: Vec<KnownCopy>,
    pub added: Vec<Basis>,
}

impl DeltaThread {
    /// Adds to the first basis that was announced, if there is one, what stands elsewhere at the destination.
    /// `n_named`: how many were announced.
    pub(super) fn lean(
        &self,
        named: Option<(Option<ContentHash>, Learned)>,
        n_named: u32,
        holdings: Option<&Holdings>,
        target: &Seen,
    ) -> Result<Leaning, Stop> {
        let named_hash = named.as_ref().and_then(|(hash, _)| *hash);
        let mut leaning = Leaning::default();
        if let Some((_, learned)) = named {
            leaning.bases.push(learned.basis);
            leaning.copies = learned.copies;
        }
        let map = self.of.want.leaf.content.whole().and_then(|hash| self.of.known.chunks(&hash));
        let Some(map) = map else { return Ok(leaning) };
        let is_open = open_in(&leaning, target);
        let mut finder = Finder::new(&map, is_open);
        if let Some((hash, map)) = named_hash.and_then(|hash| Some((hash, self.of.known.chunks(&hash)?))) {
            finder.look_in(hash, &map);
        }
        let is_worth = n_named == 0 || finder.open_bytes() >= WORTH_LOOKING;
        let Some(holdings) = holdings.filter(|_| is_worth && finder.open_bytes() > 0) else {
            leaning.take(finder.matches(), named_hash, n_named);
            return Ok(leaning);
        };
        let held = holdings.held(&self.of.known);
        finder.look_up(&held.table, |hash| self.of.known.chunks(hash));
        let is_blind = leaning.bases.first().is_none_or(|basis| basis.signatures.is_empty());
        if is_blind && finder.open_bytes() >= WORTH_ASKING && held.unknown_bytes >= WORTH_ASKING {
            self.ask_have(&mut finder)?;
        }
        let best = leaning.take(finder.matches(), named_hash, n_named);
        let best = best.filter(|(_, found_bytes)| *found_bytes >= WORTH_BLOCKS).map(|(hash, _)| hash);
        // Groups and blocks of the content that most of it stands in.
        let likely = match best {
            None if n_named == 0 => holdings.namesake(&self.of.want.path, target.size),
            other => other,
        };
        if let Some(hash) = likely {
            let size = held.unknown.get(&hash.tag()).copied();
            self.lean_on(&mut leaning, hash, size, n_named, target)?;
        }
        Ok(leaning)
    }

    /// Adds a content as a basis for groups and blocks; what is not known of it is asked for when its size is.
    fn lean_on(
        &self,
        leaning: &mut Leaning,
        hash: ContentHash,
        size: Option<u64>,
        n_named: u32,
        target: &Seen,
    ) -> Result<(), Stop> {
        let basis = Basis::Content { hash };
        let place = leaning.added.iter().position(|held| *held == basis).unwrap_or(leaning.added.len());
        let learned = match (self.kept_basis(hash, target), size) {
            (Some(basis), _) => Learned { basis, copies: Vec::new() },
            (None, Some(size)) => {
                let asked = KnownBasis { basis: basis.clone(), hash: Some(hash), size };
                self.learn_basis(&asked, Some(&basis), target)?
            }
            (None, None) => return Ok(()),
        };
        if place == leaning.added.len() {
            leaning.added.push(basis);
        }
        let index = n_named + place as u32;
        leaning.add(learned.copies.into_iter().map(|copy| KnownCopy { basis: index, ..copy }).collect());
        leaning.bases.push(sieve::KnownBasis { index, ..learned.basis });
        Ok(())
    }

    /// Asks the receiver for the chunks that are not found.
    fn ask_have(&self, finder: &mut Finder) -> Result<(), Stop> {
        let open: Vec<_> = finder.open().collect();
        for open in open.chunks(ASKED_TAGS) {
            self.tell(DeltaNews::Ask(Ask::Have { tags: open.iter().map(|(_, chunk)| chunk.tag).collect() }));
            let Down::Have { found, .. } = self.next_answer()? else { return Ok(()) };
            for held in found.iter() {
                if let Some((number, _)) = open.get(held.index as usize) {
                    finder.note(*number, held.hash, held.offset, held.len);
                }
            }
        }
        Ok(())
    }
}

impl Leaning {
    /// Makes copies of matches, with the contents they name as added bases, those with most bytes first;
    /// returns the first of the added ones.
    fn take(
        &mut self,
        matches: Vec<Match>,
        named: Option<ContentHash>,
        n_named: u32,
    ) -> Option<(ContentHash, u64)> {
        let mut bytes: BTreeMap<ContentHash, u64> = BTreeMap::new();
        for found in matches.iter().filter(|found| Some(found.content) != named) {
            *bytes.entry(found.content).or_default() += found.len;
        }
        let mut others: Vec<(ContentHash, u64)> = bytes.into_iter().collect();
        others.sort_by_key(|(hash, bytes)| (std::cmp::Reverse(*bytes), *hash));
        others.truncate(ADDED);
        let index_of = |hash: ContentHash| match named {
            Some(named) if named == hash => Some(0),
            _ => others.iter().position(|(held, _)| *held == hash).map(|place| n_named + place as u32),
        };
        let copy = |found: Match| {
            let (at, len, offset) = (found.at, found.len, found.offset);
            Some(KnownCopy { at, len, basis: index_of(found.content)?, offset })
        };
        let blocks_known = self.bases.first().is_some_and(|basis| !basis.signatures.is_empty());
        let is_hint = |copy: &KnownCopy| blocks_known && copy.basis == 0 && copy.len < WORTH_COPYING;
        let (hints, copies) = matches.into_iter().filter_map(copy).partition(is_hint);
        self.hints = hints;
        self.add(copies);
        self.added = others.iter().map(|(hash, _)| Basis::Content { hash: *hash }).collect();
        others.first().copied()
    }

    /// Adds copies, by target offset, where there are none yet.
    fn add(&mut self, more: Vec<KnownCopy>) {
        let held = std::mem::take(&mut self.copies);
        let is_free = |copy: &KnownCopy| {
            let next = held.partition_point(|held| held.at + held.len <= copy.at);
            held.get(next).is_none_or(|held| copy.at + copy.len <= held.at)
        };
        let free: Vec<KnownCopy> = more.into_iter().filter(is_free).collect();
        self.copies = held;
        self.copies.extend(free);
        self.copies.sort_unstable_by_key(|copy| copy.at);
    }
}

/// Which parts of a target are not seen to stand in the announced basis already.
fn open_in(leaning: &Leaning, target: &Seen) -> impl Fn(u64, u64) -> bool + use<> {
    let tags = leaning.bases.first().and_then(|basis| basis.groups.as_ref());
    let copies = leaning.copies.clone();
    let same: Vec<bool> = match (tags, target.groups) {
        (Some(known), Some(groups)) => {
            groups.tags(known.level).tags.iter().zip(&known.tags).map(|(own, held)| own == held).collect()
        }
        _ => Vec::new(),
    };
    let node = tags.map_or(1, |tags| node_bytes(tags.level));
    move |at, len| {
        let nodes = (at / node) as usize..(at + len).div_ceil(node) as usize;
        let stands = same.get(nodes).is_some_and(|same| same.iter().all(|same| *same));
        let next = copies.partition_point(|copy| copy.at + copy.len <= at);
        let is_copied = copies.get(next).is_some_and(|copy| copy.at <= at && at + len <= copy.at + copy.len);
        !stands && !is_copied
    }
}
