//! Block signatures of ranges of a basis, and the only door to `fast_rsync`.
//!
//! A signature of `fast_rsync` is only ever built from a [`RangeSignature`], whose numbers were
//! checked: with the peer's own numbers a diff may panic or never return. What is rebuilt here is
//! never trusted: the content hash decides.

use fast_rsync::{Signature, SignatureOptions, apply_limited};
use std::io;
use std::ops::Range;

use super::cores::both;
use crate::model::limits::{
    BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, FILE_BYTES, GIB, MIB, STRONG_BYTES_MAX, STRONG_BYTES_MIN, WINDOW_BYTES,
};

/// Bytes of the weak hash in each entry.
pub const WEAK_BYTES: usize = 4;
/// Bytes of the strong hash in the signatures that both sides keep.
pub const KEPT_STRONG_BYTES: u8 = 6;
/// What `fast_rsync` writes before the entries of a signature: magic, block size, strong size.
const HEADER_BYTES: usize = 12;
/// `fast_rsync` hashes so many blocks at once, the rest one by one, far slower.
pub(super) const LANES: usize = 8;
/// From here on blocks are compared on two cores.
const SPREAD_BYTES: u64 = MIB as u64;
const MD4_MAGIC: [u8; 4] = 0x7273_0136_u32.to_be_bytes();

/// Block signature of a range of a basis: an entry (weak hash, strong hash) for each block, aligned
/// from the start of the range. A short last block has one too; `fast_rsync` never sees that entry, but
/// at a predicted place it is recognised, so that an append costs no rest of a block.
#[derive(Clone, PartialEq, Eq)]
pub struct RangeSignature {
    offset: u64,
    len: u64,
    block_bytes: u32,
    strong_bytes: u8,
    entries: Vec<u8>,
}

/// The signature of a whole content is that of the range at 0.
pub type BlockSignature = RangeSignature;

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Out of bounds, or a power of two.
    #[error("blocks of {0} bytes are refused")]
    BlockBytes(u32),
    #[error("strong hashes of {0} bytes are refused")]
    StrongBytes(u8),
    #[error("a range of {len} bytes at {offset} is in no file")]
    Range { offset: u64, len: u64 },
    #[error("{n_blocks} blocks take {expected} bytes of entries, not {received}")]
    Entries { n_blocks: u64, expected: u64, received: usize },
    /// The stored form is too short for its numbers.
    #[error("a stored signature of {0} bytes is cut off")]
    Cut(usize),
}

/// Why there is no delta of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    #[error("the window is {0} bytes")]
    Window(usize),
    /// The range of the signature is more than one op may name.
    #[error("the range of the basis is {0} bytes")]
    Range(u64),
    /// Send the window otherwise.
    #[error("the delta is longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// Why a delta does not apply. It is the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("a delta makes {target_len} bytes")]
    TargetLen { target_len: usize },
    #[error("a delta does not apply: {0}")]
    Delta(String),
    #[error("a delta makes {received} bytes where {expected} were said")]
    Short { expected: usize, received: usize },
}

/// Block size of the signature that both sides keep of a content of `size` bytes: odd, growing with the
/// content, so that 10 bytes an entry stay below 2 % of it and take less of huge ones. A table of the blocks
/// of 509 bytes holds every one of them up to 384 MiB. Signatures, group trees and chunk maps of two versions are held in
/// memory while the later version is indexed: by calculation 76 MB of a file of 64 GiB, and less of others. What is larger
/// has no larger blocks, and loses its chunk map and then its signature (`delta/index.rs`).
pub fn block_bytes_for(size: u64) -> u32 {
    const STEPS: [(u64, u32); 7] = [
        (384 * MIB as u64, 509),
        (GIB, 1_021),
        (4 * GIB, 2_039),
        (8 * GIB, 4_093),
        (16 * GIB, 8_191),
        (24 * GIB, 16_381),
        (40 * GIB, 32_749),
    ];
    STEPS.iter().find(|(up_to, _)| size <= *up_to).map_or(BLOCK_BYTES_MAX, |(_, block_bytes)| *block_bytes)
}

impl RangeSignature {
    /// Computes the signature of `bytes`, which stand at `offset` in the basis.
    ///
    /// # Panics
    /// When block or strong bytes are out of bounds: they are chosen here, never by a peer (whose
    /// numbers go through [`RangeSignature::parse`] or [`check_sizes`] first).
    pub fn compute(offset: u64, bytes: &[u8], block_bytes: u32, strong_bytes: u8) -> Self {
        check_sizes(block_bytes, strong_bytes).expect("sizes are chosen within bounds");
        let entries = entries_of(bytes, block_bytes, strong_bytes);
        Self { offset, len: bytes.len() as u64, block_bytes, strong_bytes, entries }
    }

    /// Makes a signature of a peer's or a disk's numbers.
    ///
    /// # Errors
    /// Any number out of bounds, or entries that do not fit them.
    pub fn parse(
        offset: u64,
        len: u64,
        block_bytes: u32,
        strong_bytes: u8,
        entries: Vec<u8>,
    ) -> Result<Self, SignatureError> {
        check_sizes(block_bytes, strong_bytes)?;
        if len > FILE_BYTES || offset > FILE_BYTES - len {
            return Err(SignatureError::Range { offset, len });
        }
        let n_blocks = len.div_ceil(u64::from(block_bytes));
        let expected = n_blocks * entry_bytes(strong_bytes) as u64;
        match entries.len() as u64 == expected {
            true => Ok(Self { offset, len, block_bytes, strong_bytes, entries }),
            false => Err(SignatureError::Entries { n_blocks, expected, received: entries.len() }),
        }
    }

    /// The form for the store: offset u64, length u64, block bytes u32, strong bytes u8, entries.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(21 + self.entries.len());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&self.block_bytes.to_le_bytes());
        bytes.push(self.strong_bytes);
        bytes.extend_from_slice(&self.entries);
        bytes
    }

    /// Reads the form for the store.
    ///
    /// # Errors
    /// As [`RangeSignature::parse`], or [`SignatureError::Cut`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let cut = SignatureError::Cut(bytes.len());
        let (offset, rest) = bytes.split_first_chunk::<8>().ok_or(cut)?;
        let (len, rest) = rest.split_first_chunk::<8>().ok_or(cut)?;
        let (block_bytes, rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
        let (strong_bytes, entries) = rest.split_first().ok_or(cut)?;
        Self::parse(
            u64::from_le_bytes(*offset),
            u64::from_le_bytes(*len),
            u32::from_le_bytes(*block_bytes),
            *strong_bytes,
            entries.to_vec(),
        )
    }

    /// Where the range starts in the basis.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the range.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the range is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the range ends in the basis.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Bytes of each strong hash.
    pub fn strong_bytes(&self) -> u8 {
        self.strong_bytes
    }

    /// Number of whole blocks; a short last one comes on top.
    pub fn n_blocks(&self) -> usize {
        (self.len / u64::from(self.block_bytes)) as usize
    }

    /// All entries, one behind the other.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// The entry of a block.
    pub fn entry(&self, block_index: usize) -> &[u8] {
        let entry_bytes = entry_bytes(self.strong_bytes);
        &self.entries[block_index * entry_bytes..][..entry_bytes]
    }

    /// The entries of the blocks of a range, with shorter strong hashes if so wished; `None` where the range is not
    /// whole blocks of this signature.
    pub fn entries_of(&self, range: Range<u64>, strong_bytes: u8) -> Option<Vec<u8>> {
        let block = u64::from(self.block_bytes);
        let first = range.start.checked_sub(self.offset).filter(|at| at % block == 0)? / block;
        let is_whole = range.end == self.end() || (range.end - self.offset).is_multiple_of(block);
        if !is_whole || range.end > self.end() || strong_bytes > self.strong_bytes {
            return None;
        }
        let last = (range.end - self.offset).div_ceil(block);
        let entries = (first as usize..last as usize).map(|block| self.entry(block));
        Some(entries.flat_map(|entry| &entry[..entry_bytes(strong_bytes)]).copied().collect())
    }

    /// The weak hashes of the whole blocks, in order.
    pub fn weaks(&self) -> impl Iterator<Item = u32> + '_ {
        let entries = self.entries.chunks_exact(entry_bytes(self.strong_bytes)).take(self.n_blocks());
        entries.map(|entry| {
            let (weak, _) = entry.split_first_chunk().expect("an entry starts with a weak hash");
            u32::from_be_bytes(*weak)
        })
    }

    /// The signature of the blocks that touch a byte range of the basis.
    pub fn sub_range(&self, range: Range<u64>) -> Self {
        let block = u64::from(self.block_bytes);
        let n_blocks = self.len.div_ceil(block);
        let first = (range.start.saturating_sub(self.offset) / block).min(n_blocks);
        let last = range.end.saturating_sub(self.offset).div_ceil(block).clamp(first, n_blocks);
        let entry_bytes = entry_bytes(self.strong_bytes) as u64;
        let entries = self.entries[(first * entry_bytes) as usize..(last * entry_bytes) as usize].to_vec();
        let start = (first * block).min(self.len);
        let end = (last * block).min(self.len);
        Self { offset: self.offset + start, len: end - start, entries, ..*self }
    }

    /// Which of the blocks from `block_index` on stand in `bytes`, one behind the other from its start;
    /// as many answers as blocks fit, a short last one included. Takes the time of a signature of `bytes`.
    pub fn compare(&self, block_index: usize, bytes: &[u8]) -> Vec<bool> {
        let block = u64::from(self.block_bytes);
        let left = self.len.saturating_sub(block_index as u64 * block);
        let held = (bytes.len() as u64).min(left);
        let compared = if held == left { left } else { held - held % block };
        if compared == 0 {
            return Vec::new();
        }
        let entry_bytes = entry_bytes(self.strong_bytes);
        let bytes = &bytes[..compared as usize];
        let half = compared / 2 - compared / 2 % (block * LANES as u64);
        let (head, tail) = bytes.split_at(if compared < SPREAD_BYTES { 0 } else { half as usize });
        let (mut entries, tail) = both(
            !head.is_empty(),
            || entries_of(head, self.block_bytes, self.strong_bytes),
            || entries_of(tail, self.block_bytes, self.strong_bytes),
        );
        entries.extend(tail);
        let expected = &self.entries[block_index * entry_bytes..][..entries.len()];
        let pairs = entries.chunks_exact(entry_bytes).zip(expected.chunks_exact(entry_bytes));
        match entries == expected {
            true => vec![true; pairs.len()],
            false => pairs.map(|(entry, expected)| entry == expected).collect(),
        }
    }

    /// The delta that makes `window` from the range, of at most `out_limit` bytes.
    ///
    /// The time is bounded by the window only for honest entries: the sieve looks first.
    ///
    /// # Errors
    /// The window, the range or the delta is too long.
    pub fn diff(&self, window: &[u8], out_limit: usize) -> Result<Vec<u8>, DiffError> {
        if window.len() > WINDOW_BYTES {
            return Err(DiffError::Window(window.len()));
        }
        if self.len > WINDOW_BYTES as u64 {
            return Err(DiffError::Range(self.len));
        }
        let signature = Signature::deserialize(self.serialized()).expect("our own header is valid");
        let mut out = Limited { bytes: Vec::new(), limit: out_limit };
        fast_rsync::diff(&signature.index(), window, &mut out)
            .map_err(|_| DiffError::TooLong { limit: out_limit })?;
        Ok(out.bytes)
    }

    fn serialized(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len());
        bytes.extend_from_slice(&MD4_MAGIC);
        bytes.extend_from_slice(&self.block_bytes.to_be_bytes());
        bytes.extend_from_slice(&u32::from(self.strong_bytes).to_be_bytes());
        bytes.extend_from_slice(&self.entries[..self.n_blocks() * entry_bytes(self.strong_bytes)]);
        bytes
    }
}

/// Makes `target_len` bytes of a range of a basis and a peer's delta.
///
/// # Errors
/// The delta is malformed, leaves the range or makes another number of bytes.
pub fn apply(basis_range: &[u8], delta: &[u8], target_len: usize) -> Result<Vec<u8>, ApplyError> {
    if target_len > WINDOW_BYTES {
        return Err(ApplyError::TargetLen { target_len });
    }
    let mut target = Vec::with_capacity(target_len);
    apply_limited(basis_range, delta, &mut target, target_len)
        .map_err(|error| ApplyError::Delta(error.to_string()))?;
    match target.len() == target_len {
        true => Ok(target),
        false => Err(ApplyError::Short { expected: target_len, received: target.len() }),
    }
}

/// Bytes of one entry.
pub const fn entry_bytes(strong_bytes: u8) -> usize {
    WEAK_BYTES + strong_bytes as usize
}

/// Checks a peer's wish for the sizes of a signature.
///
/// # Errors
/// Blocks out of bounds or a power of two, strong hashes out of bounds.
pub fn check_sizes(block_bytes: u32, strong_bytes: u8) -> Result<(), SignatureError> {
    let block_held =
        (BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) && !block_bytes.is_power_of_two();
    if !block_held {
        return Err(SignatureError::BlockBytes(block_bytes));
    }
    match (STRONG_BYTES_MIN..=STRONG_BYTES_MAX).contains(&strong_bytes) {
        true => Ok(()),
        false => Err(SignatureError::StrongBytes(strong_bytes)),
    }
}

/// Entries of the blocks of `bytes`; those of pieces of whole blocks, joined, are those of the whole. A few blocks that do
/// not fill all lanes take their place beside zeros: together they cost what one alone does.
pub(super) fn entries_of(bytes: &[u8], block_bytes: u32, strong_bytes: u8) -> Vec<u8> {
    let block = block_bytes as usize;
    let full = bytes.len() - bytes.len() % (block * LANES);
    let n_left = (bytes.len() - full) / block;
    if n_left < 2 {
        return calculated(bytes, block_bytes, strong_bytes);
    }
    let (full, left) = bytes.split_at(full);
    let (left, short) = left.split_at(n_left * block);
    let mut lanes = vec![0; block * LANES];
    lanes[..left.len()].copy_from_slice(left);
    let mut entries = calculated(full, block_bytes, strong_bytes);
    entries.extend_from_slice(
        &calculated(&lanes, block_bytes, strong_bytes)[..n_left * entry_bytes(strong_bytes)],
    );
    entries.extend(calculated(short, block_bytes, strong_bytes));
    entries
}

/// What `fast_rsync` makes of them, in one call.
fn calculated(bytes: &[u8], block_bytes: u32, strong_bytes: u8) -> Vec<u8> {
    let options = SignatureOptions { block_size: block_bytes, crypto_hash_size: u32::from(strong_bytes) };
    let mut entries = Signature::calculate(bytes, options).into_serialized();
    entries.drain(..HEADER_BYTES);
    entries
}

/// A writer that refuses more than its limit.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for RangeSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { offset, len, block_bytes, strong_bytes, .. } = self;
        write!(f, "RangeSignature({offset}+{len}, blocks of {block_bytes}, strong {strong_bytes})")
    }
}
