//! What is known of contents: joins the scanner, the indexer and the cache, on either side.

use super::snapshots::Snapshots;
use crate::delta::blocks::RangeSignature;
use crate::delta::chunks::ChunkMap;
use crate::delta::groups::GroupTree;
use crate::delta::index::{ContentIndex, Earlier, Indexer};
use crate::delta::lanes::index_range;
use crate::delta::sieve::ReadAt;
use crate::disk::{ContentSink, Contents, File, Indexing, Stat};
use crate::model::limits::{INDEX_BYTES, INDEX_FREE_BYTES, INDEX_SHARE, MIB, PACK_FILE_BYTES};
use crate::model::{ContentHash, RelPath, Time, Tree};
use crate::store::{Cache, Signature, Stat as RowStat, StatReader, StatRow};
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Files from here on are looked up by their path for an earlier version.
const LOOKED_UP_BYTES: u64 = MIB as u64;
/// Learned rows that are written together.
const BATCH_ROWS: usize = 4_096;

/// Known hashes of files, and the index of each content, over one cache.
pub struct KnownContents {
    cache: Arc<Cache>,
    /// Whether chunk maps are made as well.
    has_chunks: bool,
    /// Of a source: for files that never rest.
    snapshots: Option<Snapshots>,
    /// Rows that are not in the cache yet, by device and inode.
    fresh: Mutex<HashMap<(u64, u64), StatRow>>,
}

/// The same for one scan: reads one state of the cache, and believes it or not.
pub struct ScanContents<'k> {
    known: &'k KnownContents,
    /// `None`: everything is read again.
    reader: Option<StatReader>,
}

impl KnownContents {
    /// For a sender: group trees, chunk maps and block signatures of what it read.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, has_chunks: true, snapshots: None, fresh: Mutex::default() }
    }

    /// For a receiver, which makes chunk maps only when somebody asks for chunks.
    pub fn without_chunks(cache: Arc<Cache>) -> Self {
        Self { has_chunks: false, ..Self::new(cache) }
    }

    /// The same for a source, whose files may change all the time.
    pub fn with_snapshots(cache: Arc<Cache>, snapshots: Snapshots) -> Self {
        Self { snapshots: Some(snapshots), ..Self::new(cache) }
    }

    pub fn snapshots(&self) -> Option<&Snapshots> {
        self.snapshots.as_ref()
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// For a scan; `deep` believes no known hash.
    pub fn for_scan(&self, deep: bool) -> ScanContents<'_> {
        ScanContents { known: self, reader: (!deep).then(|| self.cache.stat_reader()) }
    }

    /// The content that was read, or written by us, under exactly this stat.
    pub fn known(&self, stat: &Stat) -> Option<ContentHash> {
        self.known_fresh(stat).or_else(|| self.cache.known(&row_stat(stat)))
    }

    fn known_fresh(&self, stat: &Stat) -> Option<ContentHash> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.get(&(stat.dev, stat.ino)).filter(|row| row.stat == row_stat(stat)).map(|row| row.hash)
    }

    /// Remembers the content of a file.
    pub fn learn(&self, stat: &Stat, hash: ContentHash) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.insert((stat.dev, stat.ino), StatRow { stat: row_stat(stat), hash });
        if fresh.len() >= BATCH_ROWS {
            let rows: Vec<StatRow> = fresh.values().copied().collect();
            if self.cache.learn(&rows).is_ok() {
                fresh.clear();
            }
        }
    }

    /// The chunk map of a content.
    pub fn chunks(&self, hash: &ContentHash) -> Option<ChunkMap> {
        self.cache.chunks(hash).and_then(|(size, bytes)| ChunkMap::parse(size, &bytes))
    }

    /// Group tree of a content, of the level that is kept, if it makes its hash.
    pub fn groups(&self, hash: &ContentHash) -> Option<GroupTree> {
        let (size, bytes) = self.cache.groups(hash)?;
        let groups = GroupTree::parse(size, bytes).ok().filter(GroupTree::is_of_kept_level)?;
        (groups.root() == *hash).then_some(groups)
    }

    /// The block signature of a content.
    pub fn signature(&self, hash: &ContentHash) -> Option<RangeSignature> {
        let row = self.cache.signature(hash)?;
        RangeSignature::parse(0, row.size, row.block_bytes, row.strong_bytes, row.entries).ok()
    }

    /// What is kept of a content of which a later version is going to be indexed.
    pub fn earlier(&self, hash: &ContentHash) -> Option<Earlier> {
        Some(Earlier::new(self.groups(hash)?, self.signature(hash), self.chunks(hash)))
    }

    /// The content that a destination acknowledged last under a path; of large files only, where looking costs less
    /// than it may save.
    fn last_at(&self, path: &RelPath, size: u64) -> Option<ContentHash> {
        if size < LOOKED_UP_BYTES {
            return None;
        }
        let acknowledged = self.cache.all_acknowledged();
        acknowledged.iter().find_map(|(_, kept)| self.cache.content_at(&kept.root, path))
    }

    /// Remembers group tree, chunk map and block signature of a content.
    pub fn keep(&self, index: &ContentIndex) {
        if let Some(groups) = &index.groups {
            let _ = self.cache.store_groups(&index.hash, index.size, groups.as_bytes(), INDEX_BYTES);
        }
        if let Some(chunks) = &index.chunks {
            let bytes = chunks.to_bytes();
            let _ = self.cache.store_chunks(&index.hash, index.size, &bytes, INDEX_BYTES);
        }
        if let Some(signature) = &index.signature {
            let row = Signature {
                size: index.size,
                block_bytes: signature.block_bytes(),
                strong_bytes: signature.strong_bytes(),
                entries: signature.entries(),
            };
            let _ = self.cache.store_signature(&index.hash, &row, INDEX_BYTES);
        }
    }

    /// Forgets what is kept of contents beyond what may be kept beside this tree, first of what it does not hold any more,
    /// and gives the room back to the disk. What fails is tried again another time.
    pub fn trim(&self, tree: &Tree) {
        self.trim_contents(tree);
        self.shrink();
    }

    /// Gives the disk back what the cache's file does not need, if that is much; what fails is tried again another time.
    pub fn shrink(&self) {
        let _ = self.cache.shrink();
    }

    fn trim_contents(&self, tree: &Tree) {
        let content_bytes = tree.root().bytes_below();
        let budget_bytes = (content_bytes / INDEX_SHARE).clamp(INDEX_FREE_BYTES, INDEX_BYTES);
        if self.cache.content_bytes() <= budget_bytes {
            return;
        }
        let mut held = HashSet::new();
        tree.for_each(&mut |_, node| {
            if let Some(leaf) = node.as_leaf().filter(|leaf| leaf.size > PACK_FILE_BYTES) {
                held.extend(leaf.content.whole());
            }
        });
        let _ = self.cache.trim_contents(budget_bytes, |hash| held.contains(hash));
    }

    /// Writes what was learned to the cache and makes it durable; what fails is only lost time.
    pub fn sync(&self) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<StatRow> = fresh.values().copied().collect();
        if !rows.is_empty() && self.cache.learn(&rows).is_ok() {
            fresh.clear();
        }
        drop(fresh);
        let _ = self.cache.sync();
    }
}

impl Contents for ScanContents<'_> {
    fn known(&self, stat: &Stat) -> Option<ContentHash> {
        let reader = self.reader.as_ref()?;
        reader.known(&row_stat(stat)).or_else(|| self.known.known_fresh(stat))
    }

    fn earlier(&self, stat: &Stat) -> Option<(ContentHash, Time)> {
        let fresh = self.known.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let row = fresh.get(&(stat.dev, stat.ino)).copied();
        drop(fresh);
        let row = row.or_else(|| self.reader.as_ref()?.earlier(&row_stat(stat)))?;
        Some((row.hash, row.stat.mtime))
    }

    fn snapshot(&self, path: &RelPath, file: &File) -> Option<(u64, ContentHash)> {
        let snapshots = self.known.snapshots.as_ref().filter(|snapshots| snapshots.is_due(path))?;
        let snapshot = snapshots.take(file)?;
        let size = snapshot.opened().size;
        let mut indexing = FileIndexing { known: self.known, indexer: Indexer::new(size) };
        let n_read = snapshot.feed(size, &mut Vec::new(), &mut indexing, &|_| false).ok()?;
        let index = indexing.indexer.finish();
        self.known.keep(&index);
        snapshots.hold(path, index.hash, snapshot);
        (n_read == size).then_some((size, index.hash))
    }

    fn begin(&self, path: &RelPath, stat: &Stat) -> Box<dyn Indexing + '_> {
        let reader = self.reader.as_ref().filter(|_| stat.size > PACK_FILE_BYTES);
        // A file that was changed in place is what it was, but for some groups; one that was written anew and renamed
        // over the old one is like what stood under its name.
        let same = reader.and_then(|reader| reader.earlier(&row_stat(stat))).map(|row| row.hash);
        let earlier = same.or_else(|| reader.and_then(|_| self.known.last_at(path, stat.size)));
        let earlier = earlier.and_then(|hash| self.known.earlier(&hash));
        let indexer = match self.known.has_chunks {
            true => Indexer::over(stat.size, earlier),
            false => Indexer::signing(stat.size, earlier),
        };
        Box::new(FileIndexing { known: self.known, indexer })
    }
}

/// A file that is being read by a scan.
struct FileIndexing<'k> {
    known: &'k KnownContents,
    indexer: Indexer,
}

impl ContentSink for FileIndexing<'_> {
    fn read(
        &mut self,
        content: &dyn ReadAt,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
        told: &dyn Fn(u64) -> bool,
    ) -> io::Result<u64> {
        index_range(&mut self.indexer, content, range, buffer, told)
    }

    fn update_zeros(&mut self, len: u64) {
        self.indexer.update_zeros(len);
    }
}

impl Indexing for FileIndexing<'_> {
    fn finish(self: Box<Self>, stat: &Stat) -> ContentHash {
        let index = self.indexer.finish();
        self.known.keep(&index);
        self.known.learn(stat, index.hash);
        index.hash
    }
}

fn row_stat(stat: &Stat) -> RowStat {
    RowStat { dev: stat.dev, ino: stat.ino, size: stat.size, mtime: stat.mtime, ctime: stat.ctime }
}
