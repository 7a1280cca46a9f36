//! Finds chunks of a target in other contents, by name.
//!
//! A table holds chunks of as many contents as there are, within a bound: of very many only a sample,
//! chosen by name (as in Lillibridge and others, Sparse Indexing, 2009). From one hit the maps of both
//! contents are followed in both directions, so what stands around it is found all the same.

use std::collections::HashMap;
use std::rc::Rc;

use super::chunks::{Chunk, ChunkMap};
use crate::model::limits::TABLE_CHUNKS;
use crate::model::{ContentHash, Tag};

/// Contents whose maps are followed for one target.
const FOLLOWED: usize = 256;

/// Chunks of many contents.
#[derive(Default)]
pub struct ChunkTable {
    contents: Vec<ContentHash>,
    /// Number of the content, and of the chunk in it.
    chunks: HashMap<Tag, (u32, u32)>,
    /// Only names with so many zero bits at their end are held.
    sampled_bits: u32,
}

impl ChunkTable {
    /// Adds a content. A chunk that another one had before stays that one's.
    pub fn add(&mut self, hash: ContentHash, map: &ChunkMap) {
        let Ok(content) = u32::try_from(self.contents.len()) else { return };
        self.contents.push(hash);
        for (number, (_, chunk)) in (0..).zip(map.iter()) {
            if is_sampled(chunk.tag, self.sampled_bits) {
                self.chunks.entry(chunk.tag).or_insert((content, number));
            }
            if self.chunks.len() > TABLE_CHUNKS {
                self.sampled_bits += 1;
                let bits = self.sampled_bits;
                self.chunks.retain(|tag, _| is_sampled(*tag, bits));
            }
        }
    }

    /// Whether there is nothing to be found.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Content and number of a chunk in it.
    fn find(&self, tag: Tag) -> Option<(ContentHash, usize)> {
        let (content, number) = self.chunks.get(&tag)?;
        Some((self.contents[*content as usize], *number as usize))
    }
}

/// Whether a chunk is the one that is looked for, whose length may be unknown.
fn is_equal(held: Chunk, wanted: Chunk) -> bool {
    held.tag == wanted.tag && (wanted.len == 0 || held.len == wanted.len)
}

fn is_sampled(tag: Tag, bits: u32) -> bool {
    u64::from_be_bytes(tag.0).trailing_zeros() >= bits
}

/// A part of the target that stands in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub at: u64,
    pub len: u64,
    pub content: ContentHash,
    pub offset: u64,
}

/// A content whose map is followed.
struct Followed {
    hash: ContentHash,
    chunks: Vec<(u64, Chunk)>,
}

impl Followed {
    fn new(hash: ContentHash, map: &ChunkMap) -> Self {
        Self { hash, chunks: map.iter().collect() }
    }
}

/// Chunks of a target, as they are found.
pub struct Finder {
    target: Vec<(u64, Chunk)>,
    wanted: Vec<bool>,
    /// Content, offset and length there.
    found: Vec<Option<(ContentHash, u64, u32)>>,
    followed: HashMap<ContentHash, Option<Rc<Followed>>>,
}

impl Finder {
    /// For the chunks of a target for which `is_wanted(offset, length)` holds.
    pub fn new(target: &ChunkMap, is_wanted: impl Fn(u64, u64) -> bool) -> Self {
        let target: Vec<(u64, Chunk)> = target.iter().collect();
        let wanted = target.iter().map(|(at, chunk)| is_wanted(*at, u64::from(chunk.len))).collect();
        let found = vec![None; target.len()];
        Self { target, wanted, found, followed: HashMap::new() }
    }

    /// For names alone, whose lengths are not known: what is found has the length it has there.
    pub fn of_tags(tags: &[Tag]) -> Self {
        let target: Vec<(u64, Chunk)> = tags.iter().map(|tag| (0, Chunk { tag: *tag, len: 0 })).collect();
        let (wanted, found) = (vec![true; target.len()], vec![None; target.len()]);
        Self { target, wanted, found, followed: HashMap::new() }
    }

    /// Number, content, offset and length of each chunk that was found.
    pub fn found(&self) -> impl Iterator<Item = (u32, ContentHash, u64, u32)> + '_ {
        (0..)
            .zip(&self.found)
            .filter_map(|(number, found)| found.map(|(hash, offset, len)| (number, hash, offset, len)))
    }

    /// Bytes that are wanted and not found yet.
    pub fn open_bytes(&self) -> u64 {
        self.open().map(|(_, chunk)| u64::from(chunk.len)).sum()
    }

    /// Number and chunk of each that is wanted and not found yet.
    pub fn open(&self) -> impl Iterator<Item = (usize, Chunk)> + '_ {
        let open = |number: &usize| self.wanted[*number] && self.found[*number].is_none();
        (0..self.target.len()).filter(open).map(|number| (number, self.target[number].1))
    }

    /// Looks in one content.
    pub fn look_in(&mut self, hash: ContentHash, map: &ChunkMap) {
        let followed = Rc::new(Followed::new(hash, map));
        let mut numbers: HashMap<Tag, usize> = HashMap::new();
        for (number, (_, chunk)) in followed.chunks.iter().enumerate() {
            numbers.entry(chunk.tag).or_insert(number);
        }
        for number in 0..self.target.len() {
            if self.is_open(number)
                && let Some(there) = numbers.get(&self.target[number].1.tag)
            {
                self.follow(number, &followed, *there);
            }
        }
        self.followed.insert(hash, Some(followed));
    }

    /// Looks in all contents of a table, whose maps come from `load`.
    pub fn look_up(&mut self, table: &ChunkTable, load: impl Fn(&ContentHash) -> Option<ChunkMap>) {
        for number in 0..self.target.len() {
            let tag = self.target[number].1.tag;
            let hit = table.find(tag).filter(|_| self.is_open(number));
            let Some((hash, there)) = hit else { continue };
            if self.followed.len() >= FOLLOWED && !self.followed.contains_key(&hash) {
                continue;
            }
            let followed = self
                .followed
                .entry(hash)
                .or_insert_with(|| load(&hash).map(|map| Rc::new(Followed::new(hash, &map))));
            if let Some(followed) = followed.clone() {
                self.follow(number, &followed, there);
            }
        }
    }

    /// Notes what somebody else found.
    pub fn note(&mut self, number: usize, hash: ContentHash, offset: u64, len: u32) {
        if number < self.target.len() && self.is_open(number) && self.target[number].1.len == len {
            self.found[number] = Some((hash, offset, len));
        }
    }

    /// What was found, by target offset; neighbours that are neighbours there too are one.
    pub fn matches(&self) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        for ((at, chunk), found) in self.target.iter().zip(&self.found) {
            let Some((content, offset, _)) = *found else { continue };
            let len = u64::from(chunk.len);
            match matches.last_mut() {
                Some(last)
                    if last.content == content
                        && last.at + last.len == *at
                        && last.offset + last.len == offset =>
                {
                    last.len += len;
                }
                _ => matches.push(Match { at: *at, len, content, offset }),
            }
        }
        matches
    }

    fn is_open(&self, number: usize) -> bool {
        self.wanted[number] && self.found[number].is_none()
    }

    /// Takes a chunk of a content, and its neighbours as long as they are equal on both sides.
    fn follow(&mut self, number: usize, followed: &Followed, there: usize) {
        let mut take = |number: usize, there: usize| {
            let held = followed.chunks.get(there).filter(|_| number < self.target.len());
            match held {
                Some((offset, chunk)) if is_equal(*chunk, self.target[number].1) && self.is_open(number) => {
                    self.found[number] = Some((followed.hash, *offset, chunk.len));
                    true
                }
                _ => false,
            }
        };
        if !take(number, there) {
            return;
        }
        let _ = (1..).take_while(|ahead| take(number + ahead, there + ahead)).count();
        let most = number.min(there);
        let _ = (1..=most).take_while(|back| take(number - back, there - back)).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(tags: impl IntoIterator<Item = u64>) -> ChunkMap {
        let rows = tags.into_iter().flat_map(|tag| [&tag.to_be_bytes()[..], &10u32.to_le_bytes()].concat());
        let bytes: Vec<u8> = rows.collect();
        ChunkMap::parse(bytes.len() as u64 / 12 * 10, &bytes).unwrap()
    }

    fn hash(name: &[u8]) -> ContentHash {
        ContentHash::of(name)
    }

    #[test]
    fn moved_parts_of_several_contents_are_found() {
        let mut table = ChunkTable::default();
        let maps = [(hash(b"a"), map_of(0..100)), (hash(b"b"), map_of(200..300))];
        maps.iter().for_each(|(hash, map)| table.add(*hash, map));
        let load =
            |hash: &ContentHash| maps.iter().find(|(held, _)| held == hash).map(|(_, map)| map.clone());
        let target = map_of((250..300).chain(900..905).chain(10..20));
        let mut finder = Finder::new(&target, |_, _| true);
        finder.look_up(&table, load);
        let expected = [
            Match { at: 0, len: 500, content: hash(b"b"), offset: 500 },
            Match { at: 550, len: 100, content: hash(b"a"), offset: 100 },
        ];
        assert_eq!(finder.matches(), expected);
        assert_eq!(finder.open_bytes(), 50);
    }

    #[test]
    fn the_content_that_is_asked_first_wins_and_what_is_not_wanted_stays() {
        let mut table = ChunkTable::default();
        table.add(hash(b"a"), &map_of(0..100));
        let target = map_of(0..30);
        let mut finder = Finder::new(&target, |at, _| at >= 100);
        finder.look_in(hash(b"b"), &map_of(10..20));
        finder.look_up(&table, |_| Some(map_of(0..100)));
        let expected = [
            Match { at: 100, len: 100, content: hash(b"b"), offset: 0 },
            Match { at: 200, len: 100, content: hash(b"a"), offset: 200 },
        ];
        assert_eq!(finder.matches(), expected);
    }

    #[test]
    fn a_sample_finds_long_parts_all_the_same() {
        let mut table = ChunkTable::default();
        let n = TABLE_CHUNKS as u64 * 3;
        let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let map = map_of((0..n).map(spread));
        table.add(hash(b"a"), &map);
        assert!(table.chunks.len() <= TABLE_CHUNKS && table.sampled_bits >= 2);
        let target = map_of((1_000..1_400).map(spread));
        let mut finder = Finder::new(&target, |_, _| true);
        finder.look_up(&table, |_| Some(map.clone()));
        assert_eq!(finder.matches(), [Match { at: 0, len: 4_000, content: hash(b"a"), offset: 10_000 }]);
    }
}
