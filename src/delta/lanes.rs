//! A long range of a content, read and hashed on several cores, and indexed in order.
//!
//! Pieces go round the lanes: each lane reads a piece, hashes its groups while they are in its core's cache, and hands
//! both over. The lane that indexes makes what hangs on the bytes before (chunks, blocks). Where that is much, it does
//! nothing else, and another lane reads and hashes for it.

use std::io;
use std::ops::Range;
use std::thread;

use super::ahead::{Ahead, fill};
use super::cores::{SpareCore, spare_core};
use super::index::Indexer;
use super::sieve::ReadAt;
use crate::model::limits::{KIB, MIB};

/// Bytes of a piece of which little more than hashes is made, and of one that is worked on by all cores.
const PASSED_BYTES: u64 = 512 * KIB as u64;
const READ_BYTES: u64 = 2 * MIB as u64;
/// Shorter ranges are done before another core has begun.
const LONG_BYTES: u64 = 4 * MIB as u64;
/// After so much it is looked again how much is made of the bytes.
const STAGE_BYTES: u64 = 64 * MIB as u64;
/// Other lanes at most: together they hash faster than most disks read. Each holds three pieces: 6 MiB at most, of huge
/// contents, whose groups are larger, 18.
const LANES_BESIDE: usize = 3;

/// Indexes a range of a content, from where the indexer stands; `told` hears how many bytes came and says whether
/// to end there. Returns how many bytes were indexed: fewer where the content ends, or it was told to end. `buffer` is room
/// for what is read, to be handed in again with the next range.
///
/// # Errors
/// The content can not be read.
pub fn index_range(
    indexer: &mut Indexer,
    content: &dyn ReadAt,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
    told: &dyn Fn(u64) -> bool,
) -> io::Result<u64> {
    let group = indexer.group_bytes();
    let mut here = Here { indexer, content, told, at: range.start, buffer };
    let is_long = |at: u64| range.end - at >= LONG_BYTES.max(2 * group);
    // Groups are hashed apart from each other but for the first, which may be all.
    let mut goes_on = !is_long(here.at) || here.take((here.at + 1).next_multiple_of(group))?;
    while goes_on && is_long(here.at) {
        let whole = (range.end - here.at) / group * group;
        goes_on = here.stage(here.at..here.at + whole.min(STAGE_BYTES))?;
    }
    while goes_on && here.at < range.end {
        let most = if here.indexer.is_as_earlier() { PASSED_BYTES } else { READ_BYTES };
        goes_on = here.take((here.at + most).min(range.end))?;
    }
    Ok(here.at - range.start)
}

/// The lane that indexes.
struct Here<'a> {
    indexer: &'a mut Indexer,
    content: &'a dyn ReadAt,
    told: &'a dyn Fn(u64) -> bool,
    at: u64,
    buffer: &'a mut Vec<u8>,
}

impl Here<'_> {
    /// Indexes whole groups, from a border of groups on; whether to go on.
    fn stage(&mut self, range: Range<u64>) -> io::Result<bool> {
        let is_light = self.indexer.is_as_earlier();
        let (most, n_beside) = if is_light { (PASSED_BYTES, LANES_BESIDE) } else { (READ_BYTES, 1) };
        let cores: Vec<SpareCore> = std::iter::from_fn(spare_core).take(n_beside).collect();
        let own = usize::from(is_light || cores.is_empty());
        let n_lanes = own + cores.len();
        let group = self.indexer.group_bytes();
        let step = most.max(group);
        let pieces = move || {
            range.clone().step_by(step as usize).map({
                let end = range.end;
                move |start| start..end.min(start + step)
            })
        };
        let content = self.content;
        thread::scope(|scope| {
            let start = |(lane, core)| {
                let pieces = pieces().skip(lane).step_by(n_lanes);
                Ahead::start(scope, content, pieces, (group, 0), core)
            };
            let beside: Vec<Ahead> = (own..).zip(cores).map(start).collect();
            for (number, piece) in pieces().enumerate() {
                let goes_on = match (number % n_lanes).checked_sub(own) {
                    None => self.take(piece.end)?,
                    Some(lane) => self.take_hashed(&beside[lane], (piece.end - piece.start) as usize)?,
                };
                if !goes_on {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Reads up to an offset, hashes and indexes; whether to go on.
    fn take(&mut self, end: u64) -> io::Result<bool> {
        let wanted = (end - self.at) as usize;
        let n_read = fill(self.content, self.buffer, self.at, wanted)?;
        self.indexer.update(&self.buffer[..n_read]);
        Ok(self.took(n_read, wanted))
    }

    /// Indexes the next piece of another lane; whether to go on.
    fn take_hashed(&mut self, lane: &Ahead, wanted: usize) -> io::Result<bool> {
        let piece = lane.next()?;
        let n_read = piece.bytes().len();
        match n_read == wanted {
            true => self.indexer.update_hashed(piece.bytes(), &piece.values),
            false => self.indexer.update(piece.bytes()),
        }
        lane.give_back(piece);
        Ok(self.took(n_read, wanted))
    }

    /// Notes what was indexed; whether to go on.
    fn took(&mut self, n_read: usize, wanted: usize) -> bool {
        self.at += n_read as u64;
        let is_enough = (self.told)(n_read as u64);
        n_read == wanted && !is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::index::{ContentIndex, Earlier};
    use crate::delta::tests::noise;
    use crate::model::ContentHash;

    /// Indexes all of it from ranges that meet at `cut`.
    fn indexed(mut indexer: Indexer, content: &dyn ReadAt, size: u64, cut: u64) -> ContentIndex {
        for range in [0..cut, cut..size] {
            let len = range.end - range.start;
            let n = index_range(&mut indexer, content, range, &mut Vec::new(), &|_| false).unwrap();
            assert_eq!(n, len);
        }
        indexer.finish()
    }

    #[test]
    fn lanes_make_what_one_pass_makes() {
        let mut content = noise(23 * MIB + 12_345, 1);
        let size = content.len() as u64;
        let mut whole = Indexer::new(size);
        whole.update(&content);
        let whole = whole.finish();
        let known =
            || Earlier::new(whole.groups.clone().unwrap(), whole.signature.clone(), whole.chunks.clone());
        for cut in [0, 1, 9 * MIB as u64 + 5, size] {
            assert_eq!(indexed(Indexer::new(size), &content, size, cut), whole, "cut at {cut}");
            assert_eq!(
                indexed(Indexer::over(size, Some(known())), &content, size, cut),
                whole,
                "cut at {cut}"
            );
        }
        // Edits in pieces of either lane, and an end that is new.
        for place in [0, 100_000, 700_000, 11 * MIB + 3, 12 * MIB] {
            content[place] ^= 1;
        }
        content.extend(noise(9 * MIB, 2));
        let size = content.len() as u64;
        let mut edited = Indexer::new(size);
        edited.update(&content);
        let edited = edited.finish();
        for cut in [0, 64 * KIB as u64] {
            let indexer = Indexer::over(size, Some(known()));
            assert_eq!(indexed(indexer, &content, size, cut), edited, "cut at {cut}");
        }
        let hashes = indexed(Indexer::hash_only(size), &content, size, 0);
        assert_eq!((hashes.hash, hashes.groups), (edited.hash, edited.groups));
    }

    #[test]
    fn a_range_ends_where_the_content_does_or_where_it_is_told() {
        let content = noise(9 * MIB + 7, 3);
        let size = content.len() as u64;
        let index = |told: &dyn Fn(u64) -> bool| {
            let mut indexer = Indexer::hash_only(2 * size);
            let n = index_range(&mut indexer, &content, 0..2 * size, &mut Vec::new(), told).unwrap();
            (n, indexer.finish())
        };
        let (n, index_of_all) = index(&|_| false);
        assert_eq!((n, index_of_all.hash), (size, ContentHash::of(&content)));
        let seen = std::cell::Cell::new(0);
        let (n, part) = index(&|n_bytes| {
            seen.set(seen.get() + n_bytes);
            seen.get() > 3 * MIB as u64
        });
        assert_eq!(n, seen.get());
        assert_eq!(part.hash, ContentHash::of(&content[..n as usize]));
    }

    /// Fails in the middle.
    struct Broken;

    impl ReadAt for Broken {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            if offset > 5 * MIB as u64 { Err(io::ErrorKind::Other.into()) } else { Ok(buf.len()) }
        }
    }

    #[test]
    fn a_read_that_fails_in_any_lane_ends_the_range() {
        let mut indexer = Indexer::hash_only(0);
        let done = index_range(&mut indexer, &Broken, 0..100 * MIB as u64, &mut Vec::new(), &|_| false);
        assert!(done.is_err());
    }
}
