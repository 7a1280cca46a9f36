//! Content-defined chunks: cut points that depend on the bytes around them only (FastCDC, Xia and others,
//! 2020), named by BLAKE3; the only owner of `fastcdc`.
//!
//! A chunk map tells which parts of a content stand in another one, wherever they stand there. It is a
//! hint: a name has eight bytes, and the content hash decides.

use fastcdc::v2020::{Normalization, cut, select_masks};

use super::cores::on_cores;
use super::earlier::Equal;
use super::entries::SPREAD_BYTES;
use super::zeros::ZEROS;
use crate::model::limits::{CHUNK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FILE_BYTES};
use crate::model::{ContentHash, Tag};

/// Stored bytes of a chunk: its name, and its length.
const ROW_BYTES: usize = 12;

/// One chunk of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub tag: Tag,
    pub len: u32,
}

/// The chunks of a content, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkMap {
    chunks: Vec<Chunk>,
}

impl ChunkMap {
    /// Computes the map of a content in memory.
    pub fn compute(bytes: &[u8]) -> Self {
        let mut cutter = Cutter::default();
        cutter.update(bytes, 1, Equal::NONE);
        cutter.finish(Equal::NONE)
    }

    /// The chunks with the offset of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Chunk)> + '_ {
        let mut at = 0;
        self.chunks.iter().map(move |chunk| {
            let offset = at;
            at += u64::from(chunk.len);
            (offset, *chunk)
        })
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The stored form: name and length of each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let row = |chunk: &Chunk| [&chunk.tag.0[..], &chunk.len.to_le_bytes()].concat();
        self.chunks.iter().flat_map(row).collect()
    }

    /// Reads the stored form of the map of a content of `size` bytes; none if it does not add up.
    pub fn parse(size: u64, bytes: &[u8]) -> Option<Self> {
        let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
        let chunk = |row: &[u8; ROW_BYTES]| {
            let (tag, len) = row.split_first_chunk::<8>()?;
            let len = u32::from_le_bytes(len.try_into().ok()?);
            (1..=CHUNK_BYTES_MAX as u32).contains(&len).then_some(Chunk { tag: Tag(*tag), len })
        };
        let mut chunks = Vec::with_capacity(rows.len());
        for row in rows {
            chunks.push(chunk(row)?);
        }
        let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        (rest.is_empty() && size <= FILE_BYTES && total == size).then_some(Self { chunks })
    }
}

const _: () = assert!(2 * CHUNK_BYTES_MAX <= ZEROS.len());

/// Cuts a content that comes in pieces of any length.
#[derive(Default)]
pub(super) struct Cutter {
    chunks: Vec<Chunk>,
    /// Where the next chunk starts in the content.
    at: u64,
    /// The bytes from there on that came already: less than the longest chunk.
    open: Vec<u8>,
}

impl Cutter {
    /// Takes the next bytes, whose whole groups are hashed. What an earlier version has equal there is neither cut nor
    /// named again; behind a chunk that stood elsewhere in it the next one is expected, and only named.
    pub(super) fn update(&mut self, bytes: &[u8], n_cores: usize, equal: Equal) {
        let n_open = self.open.len();
        let n_taken = bytes.len().min(CHUNK_BYTES_MAX);
        let mut open = std::mem::take(&mut self.open);
        open.extend_from_slice(&bytes[..n_taken]);
        let mut here = 0;
        while here < n_open {
            match self.cut_one(&open[here..], equal) {
                Some(len) => here += len,
                None => {
                    // All of the piece is in there: the longest chunk would have been cut.
                    open.drain(..here);
                    self.open = open;
                    return;
                }
            }
        }
        let here = if n_open == 0 { 0 } else { here - n_open };
        let here = here + self.cut_all(&bytes[here..], n_cores, equal);
        open.clear();
        open.extend_from_slice(&bytes[here..]);
        self.open = open;
    }

    /// Cuts and names what ends for certain in `bytes`, and returns how many bytes that is.
    fn cut_all(&mut self, bytes: &[u8], n_cores: usize, equal: Equal) -> usize {
        let mut here = 0;
        if equal.may_follow() {
            // Each name tells what to expect next.
            while let Some(len) = self.cut_one(&bytes[here..], equal) {
                here += len;
            }
            return here;
        }
        let mut unnamed: Vec<(usize, &[u8])> = Vec::new();
        while bytes.len() - here >= CHUNK_BYTES_MAX {
            let len = cut_len(&bytes[here..]);
            unnamed.push((self.chunks.len(), &bytes[here..here + len]));
            self.push(Chunk { tag: Tag([0; 8]), len: len as u32 });
            here += len;
        }
        self.name(&unnamed, n_cores);
        here
    }

    /// Takes `len` zeros: once a chunk begins among them, all that follow have one length and one name.
    pub(super) fn zeros(&mut self, len: u64) {
        let head = len.min(2 * CHUNK_BYTES_MAX as u64);
        self.update(&ZEROS[..head as usize], 1, Equal::NONE);
        let mut left = self.open.len() as u64 + (len - head);
        if len > head {
            let chunk = named(&ZEROS[..cut_len(&ZEROS)]);
            while left >= CHUNK_BYTES_MAX as u64 {
                self.push(chunk);
                left -= u64::from(chunk.len);
            }
            self.open.resize(left as usize, 0);
        }
    }

    /// Ends the content.
    pub(super) fn finish(mut self, equal: Equal) -> ChunkMap {
        let open = std::mem::take(&mut self.open);
        let mut here = 0;
        while here < open.len() {
            let left = &open[here..];
            let chunk = self.known(left, equal).unwrap_or_else(|| named(&left[..cut_len(left)]));
            here += chunk.len as usize;
            self.push(chunk);
        }
        ChunkMap { chunks: self.chunks }
    }

    /// Cuts and names the first chunk of `bytes`, if it ends for certain in there.
    fn cut_one(&mut self, bytes: &[u8], equal: Equal) -> Option<usize> {
        let cut = || (bytes.len() >= CHUNK_BYTES_MAX).then(|| named(&bytes[..cut_len(bytes)]));
        let chunk = self.known(bytes, equal).or_else(cut)?;
        self.push(chunk);
        Some(chunk.len as usize)
    }

    /// The next chunk, if the earlier version tells it: one that stayed, or the one that followed the last.
    fn known(&self, bytes: &[u8], equal: Equal) -> Option<Chunk> {
        let fits = |chunk: &Chunk| chunk.len as usize <= bytes.len();
        if let Some(carried) = equal.chunk(self.at).filter(fits) {
            return Some(carried);
        }
        // Two that were neighbours there already: where edits are dense, expecting costs more than it saves.
        let (before, last) = (self.chunks.iter().rev().nth(1)?, self.chunks.last()?);
        equal.after(before.tag).filter(|neighbour| neighbour == last)?;
        let expected = equal.after(last.tag).filter(fits)?;
        (named(&bytes[..expected.len as usize]) == expected).then_some(expected)
    }

    fn push(&mut self, chunk: Chunk) {
        self.at += u64::from(chunk.len);
        self.chunks.push(chunk);
    }

    /// Names chunks, by their number, on all cores.
    fn name(&mut self, unnamed: &[(usize, &[u8])], n_cores: usize) {
        if unnamed.is_empty() {
            return;
        }
        let n_bytes: usize = unnamed.iter().map(|(_, bytes)| bytes.len()).sum();
        let n_parts = if n_bytes < SPREAD_BYTES { 1 } else { n_cores };
        let part_len = unnamed.len().div_ceil(n_parts).max(1);
        let parts: Vec<_> = unnamed.chunks(part_len).collect();
        let tags = on_cores(parts.len(), &|part| {
            parts[part].iter().map(|(_, bytes)| ContentHash::of(bytes).tag()).collect::<Vec<_>>()
        });
        for ((number, _), tag) in unnamed.iter().zip(tags.into_iter().flatten()) {
            self.chunks[*number].tag = tag;
        }
    }
}

fn named(bytes: &[u8]) -> Chunk {
    Chunk { tag: ContentHash::of(bytes).tag(), len: bytes.len() as u32 }
}

/// Length of the first chunk of `bytes`, where either enough follow for the longest or the content ends.
fn cut_len(bytes: &[u8]) -> usize {
    let (short, long) = select_masks(CHUNK_BYTES, Normalization::Level1);
    let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
    let (_, len) =
        cut(bytes, CHUNK_BYTES_MIN, CHUNK_BYTES, CHUNK_BYTES_MAX, short, long, short << 1, long << 1);
    len.max(1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::earlier::Earlier;
    use crate::delta::groups::GroupTree;
    use crate::model::limits::MIB;

    fn noise(size: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
    }

    #[test]
    fn pieces_of_any_length_give_the_chunks_of_the_whole() {
        for size in [0, 1, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX, 3 * MIB + 7] {
            let bytes = noise(size, 1);
            let whole = ChunkMap::compute(&bytes);
            assert_eq!(whole.iter().map(|(_, chunk)| chunk.len as usize).sum::<usize>(), size);
            for piece_bytes in [999, CHUNK_BYTES_MAX - 1, CHUNK_BYTES_MAX, MIB + 5] {
                let mut cutter = Cutter::default();
                bytes.chunks(piece_bytes).for_each(|piece| cutter.update(piece, 2, Equal::NONE));
                assert_eq!(cutter.finish(Equal::NONE), whole, "{size} bytes in pieces of {piece_bytes}");
            }
            for (at, chunk) in whole.iter() {
                let bytes = &bytes[at as usize..at as usize + chunk.len as usize];
                assert_eq!(chunk.tag, ContentHash::of(bytes).tag());
            }
        }
    }

    #[test]
    fn an_insert_changes_the_chunks_around_it_only() {
        let bytes = noise(4 * MIB, 2);
        let old = ChunkMap::compute(&bytes);
        let new = ChunkMap::compute(&[&bytes[..2 * MIB], b"insert", &bytes[2 * MIB..]].concat());
        let n_new = new.iter().filter(|(_, chunk)| !old.iter().any(|(_, held)| held == *chunk)).count();
        assert!((1..=3).contains(&n_new), "{n_new} of {}", new.len());
    }

    #[test]
    fn carried_chunks_are_taken_as_they_are() {
        let bytes = noise(2 * MIB, 3);
        let (whole, groups) = (ChunkMap::compute(&bytes), GroupTree::compute(&bytes).unwrap());
        let earlier = Earlier::new(groups.clone(), None, Some(whole.clone()));
        let equal = Equal { earlier: Some(&earlier), values: groups.values(), level: 0 };
        let mut cutter = Cutter::default();
        // None of these bytes would give these chunks.
        noise(2 * MIB, 4).chunks(100_000).for_each(|piece| cutter.update(piece, 2, equal));
        assert_eq!(cutter.finish(equal), whole);
    }

    #[test]
    fn chunks_that_moved_are_followed_and_are_those_of_a_fresh_cut() {
        let old = noise(3 * MIB, 6);
        let groups = GroupTree::compute(&old).unwrap();
        let earlier = Earlier::new(groups, None, Some(ChunkMap::compute(&old)));
        let equal = Equal { earlier: Some(&earlier), values: &[], level: 0 };
        let moved = [&old[2 * MIB..], b"moved", &old[..2 * MIB]].concat();
        let inserts = old.chunks(300_000).flat_map(|piece| [piece, b"insert"].concat()).collect();
        for new in [moved, inserts, [&old[..], &noise(MIB, 7)].concat(), old[9..].to_vec()] {
            let mut cutter = Cutter::default();
            new.chunks(MIB + 7).for_each(|piece| cutter.update(piece, 2, equal));
            assert_eq!(cutter.finish(equal), ChunkMap::compute(&new));
        }
    }

    #[test]
    fn the_stored_form_comes_back_or_is_refused() {
        let map = ChunkMap::compute(&noise(MIB, 5));
        let bytes = map.to_bytes();
        assert_eq!(ChunkMap::parse(MIB as u64, &bytes), Some(map));
        assert_eq!(ChunkMap::parse(MIB as u64 + 1, &bytes), None);
        assert_eq!(ChunkMap::parse(MIB as u64, &bytes[1..]), None);
        assert_eq!(ChunkMap::parse(0, &[0; 12]), None);
    }
}
