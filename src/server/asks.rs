//! Answers to questions about contents: group hashes and block signatures of a basis.

use super::bases::{open_file, read_full};
use super::holdings::Holdings;
use super::packs::read_small;
use super::shore::Shore;
use super::stage::Stage;
use crate::delta::blocks::{BlockSignature, RangeSignature, block_bytes_for, entry_bytes};
use crate::delta::chunks::ChunkMap;
use crate::delta::find::Finder;
use crate::delta::groups::{GroupTags, GroupTree};
use crate::delta::index::{ContentIndex, Indexer};
use crate::delta::small;
use crate::disk::File;
use crate::model::limits::{CUT_BYTES, LIST_ITEMS, MIB, OP_BYTES};
use crate::model::{ContentHash, Leaf, List, RelPath, Tag};
use crate::proto::message::{AskedFile, BlockNames, ContentFound, Down, HaveChunk, RequestId};
use crate::proto::receiver::{BasisRef, Question};
use std::io;

/// Answers a question, in as many parts as it takes; "not found" when the basis is another by now.
pub fn answer(
    shore: &Shore,
    stage: &mut Stage,
    holdings: &mut Option<Holdings>,
    question: Question,
    tell: &mut dyn FnMut(Down),
) {
    match question {
        Question::Groups { request, basis, level, first, n } => {
            let found = groups_of(shore, stage, &basis);
            let part = |(hash, tags): (ContentHash, GroupTags)| {
                let first = usize::try_from(first).unwrap_or(usize::MAX).min(tags.tags.len());
                let last = first.saturating_add(n as usize).min(tags.tags.len());
                (ContentFound { hash, size: basis.size() }, tags.tags[first..last].to_vec())
            };
            let found = found.filter(|(_, groups)| groups.finest() <= level);
            let (found, tags) = match found.map(|(hash, groups)| part((hash, groups.tags(level)))) {
                Some((found, tags)) => (Some(found), tags),
                None => (None, Vec::new()),
            };
            tell(Down::Groups { request, found, level, first, tags: List::new(tags) });
        }
        Question::Signature { request, basis, ranges, block_bytes, strong_bytes } => {
            let parts = Parts { request, block_bytes, strong_bytes };
            if parts.answer(shore, stage, &basis, &ranges, tell).is_none() {
                tell(parts.message(None, (0, 0), Vec::new(), false));
            }
        }
        Question::Blocks { request, files } => {
            let files = files.iter().map(|(basis, asked)| block_names(shore, basis.as_ref()?, asked));
            tell(Down::Blocks { request, files: List::new(files.collect()) });
        }
        Question::Have { request, tags, tree } => {
            let holdings = holdings.get_or_insert_with(|| Holdings::new(tree));
            tell(Down::Have { request, found: List::new(have(shore, holdings, tags)) });
        }
    }
}

/// Names of the blocks of a small file; `None` when it is another by now.
fn block_names(shore: &Shore, basis: &BasisRef, asked: &AskedFile) -> Option<BlockNames> {
    let content = read_small(&shore.destination, basis).ok()?;
    let mut names = Vec::with_capacity(asked.answer_bytes());
    for &(offset, len) in asked.parts.iter() {
        let range = content.get(offset as usize..)?.get(..len as usize)?;
        names.extend(small::names(range, asked.block_bytes as usize));
    }
    Some(BlockNames(names))
}

/// Where chunks stand in the contents of the destination. Those of the first question of a session are
/// gathered once: what is gone by the time that it is used is refused there.
fn have(shore: &Shore, holdings: &Holdings, mut tags: Vec<Tag>) -> Vec<HaveChunk> {
    tags.truncate(LIST_ITEMS);
    let mut budget = CUT_BYTES;
    let held = holdings.held_with(&shore.known, &mut |path, leaf| {
        budget = budget.checked_sub(leaf.size)?;
        chunks_of(shore, path, leaf)
    });
    let mut finder = Finder::of_tags(&tags);
    finder.look_up(&held.table, |hash| shore.known.chunks(hash));
    let found = finder.found().map(|(index, hash, offset, len)| HaveChunk { index, hash, offset, len });
    found.collect()
}

/// Cuts a file of which no chunk map is kept yet: nobody asks for one in the steady state, so none is made
/// before.
fn chunks_of(shore: &Shore, path: &RelPath, leaf: &Leaf) -> Option<ChunkMap> {
    let file = open_file(&shore.destination, path, leaf)?;
    let index = index_file(&file, leaf.size, Indexer::new(leaf.size)).ok()?;
    shore.known.keep(&index);
    index.chunks.filter(|_| Some(index.hash) == leaf.content.whole())
}

fn groups_of(shore: &Shore, stage: &mut Stage, basis: &BasisRef) -> Option<(ContentHash, GroupTree)> {
    let hash = basis.hash()?;
    let is_partial = matches!(basis, BasisRef::Partial { .. });
    if let Some(groups) = shore.known.groups(&hash).filter(|_| !is_partial) {
        return Some((hash, groups));
    }
    let file = stage.open_basis(shore, basis)?;
    let indexer =
        if is_partial { Indexer::hash_only(basis.size()) } else { Indexer::signing(basis.size(), None) };
    let index = index_file(&file, basis.size(), indexer).ok()?;
    if is_partial {
        return Some((hash, index.groups?));
    }
    shore.known.keep(&index);
    (index.hash == hash).then_some(())?;
    Some((hash, index.groups?))
}

/// Indexes the first `len` bytes of a file.
fn index_file(file: &File, len: u64, mut indexer: Indexer) -> io::Result<ContentIndex> {
    let mut buffer = vec![0; MIB];
    let mut at = 0;
    while at < len {
        let n_wanted = (len - at).min(MIB as u64) as usize;
        let n = read_full(file, &mut buffer[..n_wanted], at)?;
        indexer.update(&buffer[..n]);
        at += n as u64;
        if n < n_wanted {
            break;
        }
    }
    Ok(indexer.finish())
}

/// The shape of the parts of one answer.
struct Parts {
    request: RequestId,
    block_bytes: u32,
    strong_bytes: u8,
}

impl Parts {
    fn message(&self, found: Option<ContentFound>, range: (u64, u64), entries: Vec<u8>, more: bool) -> Down {
        let Self { request, block_bytes, strong_bytes } = *self;
        Down::Signature { request, found, block_bytes, strong_bytes, range, entries, more }
    }

    /// Signatures of the ranges, each part a range of whole blocks of its own.
    fn answer(
        &self,
        shore: &Shore,
        stage: &mut Stage,
        basis: &BasisRef,
        ranges: &[(u64, u64)],
        tell: &mut dyn FnMut(Down),
    ) -> Option<()> {
        let found = ContentFound { hash: basis.hash()?, size: basis.size() };
        let file = stage.open_basis(shore, basis)?;
        let kept = self.kept(shore, basis);
        let block = u64::from(self.block_bytes);
        let blocks_a_part = (OP_BYTES / entry_bytes(self.strong_bytes)) as u64;
        let part_bytes = (blocks_a_part * block).min((4 * MIB) as u64 / block * block).max(block);
        for &(offset, len) in ranges {
            let end = offset.checked_add(len)?.min(found.size);
            let mut at = offset;
            while at < end {
                let n = part_bytes.min(end - at);
                if let Some(entries) =
                    kept.as_ref().and_then(|kept| kept.entries_of(at..at + n, self.strong_bytes))
                {
                    tell(self.message(Some(found), (at, n), entries, true));
                    at += n;
                    continue;
                }
                let mut bytes = vec![0; n as usize];
                if read_full(&file, &mut bytes, at).ok()? < bytes.len() {
                    return None;
                }
                let signature = RangeSignature::compute(at, &bytes, self.block_bytes, self.strong_bytes);
                tell(self.message(Some(found), (at, n), signature.entries().to_vec(), true));
                at += n;
            }
        }
        tell(self.message(Some(found), (0, 0), Vec::new(), false));
        Some(())
    }

    /// The signature that is kept of the whole content, if it is one of the blocks that are asked for.
    fn kept(&self, shore: &Shore, basis: &BasisRef) -> Option<BlockSignature> {
        let is_file = matches!(basis, BasisRef::File { .. });
        let is_like = is_file && self.block_bytes == block_bytes_for(basis.size());
        let kept = shore.known.signature(&basis.hash().filter(|_| is_like)?)?;
        (kept.block_bytes() == self.block_bytes && kept.len() == basis.size()).then_some(kept)
    }
}
