//! What a delta's thread learns of a basis: from the cache, else from the receiver, coarse to fine.

use super::deltas::{DeltaNews, DeltaThread, Stop};
use crate::delta::blocks::{RangeSignature, entry_bytes};
use crate::delta::groups::{GroupTags, GroupTree, n_nodes, node_bytes};
use crate::delta::needs::{
    Likeness, differing, is_elsewhere, join_closest, kept_blocks, needed_ranges, questions,
    request_block_bytes,
};
use crate::delta::ops::Basis;
use crate::delta::sieve::{self, KnownCopy, ReadAt};
use crate::delta::survey::{
    SAMPLE_BLOCK_BYTES, SAMPLE_STRONG_BYTES, Survey, coarse_block_bytes, literal_cost, sample_ranges, survey,
};
use crate::model::ContentHash;
use crate::model::limits::{ASK_GROUPS, GROUP_LEVEL, PACK_FILE_BYTES};
use crate::proto::message::Down;
use crate::proto::sender::{Ask, KnownBasis};

/// Tags that are asked for before anything is known: a few KiB that tell whether finer ones are worth it.
const FIRST_TAGS: u64 = 512;
/// Strong bytes of the first signature of a whole basis: few blocks, met by every offset of the target.
const COARSE_STRONG_BYTES: u8 = 5;

/// Ranges of a basis that are asked for in fine blocks: each costs an answer of its own.
const MISSING: usize = 4_096;

/// What was learned of a basis.
pub(super) struct Learned {
    pub basis: sieve::KnownBasis,
    /// Where large blocks of it stand in the target.
    pub copies: Vec<KnownCopy>,
}

/// The version to send, as far as learning about a basis needs it.
pub(super) struct Seen<'a> {
    pub content: &'a dyn ReadAt,
    pub size: u64,
    pub groups: Option<&'a GroupTree>,
}

impl DeltaThread {
    /// What the cache knows of the basis; what it does not know is asked of the receiver.
    ///
    /// `of`: the basis to name in questions, unless it is the one that the transfer was announced with.
    pub(super) fn learn_basis(
        &self,
        basis: &KnownBasis,
        of: Option<&Basis>,
        target: &Seen,
    ) -> Result<Learned, Stop> {
        let (size, index) = (basis.size, 0);
        let learned = |groups, signatures| {
            let basis = sieve::KnownBasis { index, size, groups, signatures };
            Learned { basis, copies: Vec::new() }
        };
        let is_partial = matches!(basis.basis, Basis::Partial { .. });
        let kept = basis.hash.and_then(|hash| self.kept_basis(hash, target));
        let kept = kept.and_then(|kept| if is_partial { beginning(kept, size) } else { Some(kept) });
        if let Some(kept) = kept.filter(|kept| kept.size == size) {
            return Ok(Learned { basis: kept, copies: Vec::new() });
        }
        let Some(groups) = target.groups.filter(|_| size > PACK_FILE_BYTES) else {
            let likeness = Likeness {
                share: 1.0,
                edits_per_byte: 4.0 / size as f64,
                literal_cost: literal_cost(target.content, target.size)?,
            };
            let signatures = self.ask_fine(of, size, &[(0, size)], &likeness)?;
            return Ok(learned(None, signatures));
        };
        let Some(tags) = self.ask_tags(of, size, groups)? else {
            return Ok(learned(None, Vec::new()));
        };
        let own = groups.tags(tags.level);
        if is_elsewhere(&own, &tags) {
            let (copies, signatures) = self.ask_elsewhere(of, size, target)?;
            return Ok(Learned { copies, ..learned(Some(tags), signatures) });
        }
        let cost = literal_cost(target.content, target.size)?;
        let likeness = Likeness::of_groups(&own, &tags, cost);
        let signatures = self.ask_fine(of, size, &needed_ranges(&own, &tags, size), &likeness)?;
        Ok(learned(Some(tags), signatures))
    }

    /// What the cache knows of a content, as the first basis.
    pub(super) fn kept_basis(&self, hash: ContentHash, target: &Seen) -> Option<sieve::KnownBasis> {
        let signature = self.of.known.signature(&hash)?;
        let size = signature.len();
        let finest = target.groups.map_or(0, GroupTree::finest);
        let groups = Some(self.of.known.groups(&hash)?.tags(finest));
        Some(sieve::KnownBasis { index: 0, size, groups, signatures: vec![signature] })
    }

    /// Tags of the basis: few at first, and finer ones where some stand in their place and some do not.
    fn ask_tags(&self, of: Option<&Basis>, size: u64, target: &GroupTree) -> Result<Option<GroupTags>, Stop> {
        // Never finer than the target's own: it may be far larger.
        let level_of = |most: u64| {
            (target.finest()..GROUP_LEVEL).find(|level| n_nodes(size, *level) <= most).unwrap_or(GROUP_LEVEL)
        };
        let level = level_of(FIRST_TAGS);
        let Some(tags) = self.ask_level(of, size, level)? else { return Ok(None) };
        let own = target.tags(level);
        let (n_different, n_common) = differing(&own, &tags);
        if level == target.finest() || n_different == 0 || n_common == 0 || is_elsewhere(&own, &tags) {
            return Ok(Some(tags));
        }
        let level = level_of(ASK_GROUPS as u64);
        self.ask_level(of, size, level)
    }

    fn ask_level(&self, of: Option<&Basis>, size: u64, level: u8) -> Result<Option<GroupTags>, Stop> {
        let n = n_nodes(size, level).min(ASK_GROUPS as u64) as u32;
        self.tell(DeltaNews::Ask(Ask::Groups { of: of.cloned(), level, first: 0, n }));
        match self.next_answer()? {
            Down::Groups { found: Some(_), tags, .. } => Ok(Some(GroupTags { level, tags: tags.into_vec() })),
            _ => Ok(None),
        }
    }

    /// Signatures of a basis of which nothing stands in its place: coarse blocks and samples of fine ones
    /// tell what stands elsewhere, then finer blocks of the rest, where they pay.
    fn ask_elsewhere(
        &self,
        of: Option<&Basis>,
        size: u64,
        target: &Seen,
    ) -> Result<(Vec<KnownCopy>, Vec<RangeSignature>), Stop> {
        let block_bytes = coarse_block_bytes(size);
        let whole = questions(&[(0, size)], block_bytes, COARSE_STRONG_BYTES);
        let samples = sample_ranges(size);
        let n_whole = whole.len();
        for ranges in whole {
            self.ask_signature(of, ranges, block_bytes, COARSE_STRONG_BYTES);
        }
        if !samples.is_empty() {
            self.ask_signature(of, samples.clone(), SAMPLE_BLOCK_BYTES, SAMPLE_STRONG_BYTES);
        }
        let mut coarse = Vec::new();
        for _ in 0..n_whole {
            coarse.extend(self.signature_answer(block_bytes, COARSE_STRONG_BYTES)?);
        }
        let fine = match samples.is_empty() {
            true => Vec::new(),
            false => self.signature_answer(SAMPLE_BLOCK_BYTES, SAMPLE_STRONG_BYTES)?,
        };
        let Survey { copies, mut missing, likeness } =
            survey(target.content, target.size, (0, size), &coarse, &fine)?;
        tracing::debug!(path = %self.of.want.path, ?likeness, n_missing = missing.len(), "survey of a basis");
        join_closest(&mut missing, MISSING);
        Ok((copies, self.ask_fine(of, size, &missing, &likeness)?))
    }

    /// Signatures of ranges of the basis, which has `size` bytes, in blocks whose size fits what is expected of
    /// them, or which the receiver keeps; none where they do not pay.
    fn ask_fine(
        &self,
        of: Option<&Basis>,
        size: u64,
        ranges: &[(u64, u64)],
        likeness: &Likeness,
    ) -> Result<Vec<RangeSignature>, Stop> {
        let range_bytes: u64 = ranges.iter().map(|(_, len)| len).sum();
        let mut signatures = Vec::new();
        let Some((best, strong_bytes)) = request_block_bytes(range_bytes, likeness) else {
            return Ok(signatures);
        };
        let kept = kept_blocks(ranges, size, (best, strong_bytes), likeness);
        let (ranges, block_bytes) = kept.unwrap_or_else(|| (ranges.to_vec(), best));
        // One after the other: so much is asked for at a time.
        for ranges in questions(&ranges, block_bytes, strong_bytes) {
            self.ask_signature(of, ranges, block_bytes, strong_bytes);
            signatures.extend(self.signature_answer(block_bytes, strong_bytes)?);
        }
        Ok(signatures)
    }

    fn ask_signature(&self, of: Option<&Basis>, ranges: Vec<(u64, u64)>, block_bytes: u32, strong_bytes: u8) {
        self.tell(DeltaNews::Ask(Ask::Signature { of: of.cloned(), ranges, block_bytes, strong_bytes }));
    }

    /// The parts of one answer. What is not found, or does not hold together, is left out, and sent as it
    /// is if it differs.
    fn signature_answer(&self, block_bytes: u32, strong_bytes: u8) -> Result<Vec<RangeSignature>, Stop> {
        let mut signatures = Vec::new();
        loop {
            let Down::Signature { found: Some(_), range, entries, more, .. } = self.next_answer()? else {
                return Ok(signatures);
            };
            if range.1 > 0 {
                match RangeSignature::parse(range.0, range.1, block_bytes, strong_bytes, entries) {
                    Ok(signature) => signatures.push(signature),
                    Err(error) => tracing::warn!(%error, "a signature of the other side is left out"),
                }
            }
            if !more {
                return Ok(signatures);
            }
        }
    }
}

/// What is known of a content, cut to its first `size` bytes: groups and blocks that lie in them.
fn beginning(whole: sieve::KnownBasis, size: u64) -> Option<sieve::KnownBasis> {
    if size >= whole.size {
        return (size == whole.size).then_some(whole);
    }
    let mut groups = whole.groups?;
    groups.tags.truncate((size / node_bytes(groups.level)) as usize);
    let cut = |signature: &RangeSignature| {
        let (block, strong_bytes) = (signature.block_bytes(), signature.strong_bytes());
        let n_blocks = size / u64::from(block);
        let n_bytes = n_blocks as usize * entry_bytes(strong_bytes);
        let entries = signature.entries().get(..n_bytes)?.to_vec();
        RangeSignature::parse(0, n_blocks * u64::from(block), block, strong_bytes, entries).ok()
    };
    let signatures = whole.signatures.iter().filter_map(cut).collect();
    Some(sieve::KnownBasis { index: whole.index, size, groups: Some(groups), signatures })
}
