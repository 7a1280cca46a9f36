//! Trees, kept as one listing for each directory, named by its directory hash.
//!
//! A listing that is present has every listing below it present too: children are written before
//! their parents, in one transaction, and the sweep takes only what no kept root reaches. So a
//! present directory is never walked again when a tree is stored, and a missing one below a present
//! one is damage. A large directory lies in parts cut where the directory hash cuts its ranges:
//! one change among 100,000 names writes one part of some 256 entries and the list of parts.

use crate::model::entry::Leaf;
use crate::model::ranges::begins_range;
use crate::model::{Content, ContentHash, Dir, Kind, Meta, Name, Node, RelPath, Time, Tree};
use crate::store::rows::{Cursor, Fault, LISTINGS, Reading, Writing};
use crate::store::{Cache, CacheError};
use std::collections::HashSet;
use std::sync::Arc;

/// Entries up to here lie in the directory's own row.
const WHOLE_ENTRIES: usize = 1_024;
/// First byte of a key, and of a directory's row.
const DIR: u8 = b'd';
const PART: u8 = b'p';
const ENTRIES: u8 = b'e';

impl Cache {
    /// Stores the listings of a tree that are not stored yet; all or none.
    ///
    /// # Errors
    /// [`CacheError::NotWhole`] while a content of it is unknown.
    pub fn store_tree(&self, tree: &Tree) -> Result<(), CacheError> {
        if !tree.is_whole() {
            return Err(CacheError::NotWhole);
        }
        // Asked in a read first: most calls find nothing to do and need no transaction.
        let root = tree.root().hash().ok_or(CacheError::NotWhole)?;
        if self.has_listing(&root) {
            return Ok(());
        }
        self.store.write(|transaction| {
            let mut table = Writing::open(transaction, LISTINGS, "listings")?;
            store_dir(&mut table, tree.root())
        })
    }

    /// Whether the listing of a directory, and so everything below it, is stored.
    pub fn has_listing(&self, hash: &ContentHash) -> bool {
        let found = self
            .store
            .read(|database| Reading::begin(database, LISTINGS, "listings")?.load(&key(DIR, &hash.0)));
        found.is_some()
    }

    /// The tree whose root directory has this hash; `None` when it is not stored.
    ///
    /// Where `like` has an equal directory at the same path, that one is shared instead of being
    /// loaded. Mode and time of the root directory are the default's: they are not part of a tree.
    pub fn load_tree(&self, root: &ContentHash, like: Option<&Tree>) -> Option<Tree> {
        self.store.read(|database| {
            let table = Reading::begin(database, LISTINGS, "listings")?;
            let like = like.map(Tree::root);
            if table.load(&key(DIR, &root.0))?.is_none() {
                return Ok(None);
            }
            Ok(Some(Tree::new(load_dir(&table, root, Meta::default(), like)?)))
        })
    }

    /// The content of the file at a path below this root directory, if its listings are stored. A directory of very
    /// many entries, which lies in parts, is not looked through.
    pub fn content_at(&self, root: &ContentHash, path: &RelPath) -> Option<ContentHash> {
        self.store.read(|database| {
            let table = Reading::begin(database, LISTINGS, "listings")?;
            let mut found = Some((*root, None));
            for name in path.names() {
                let Some((dir, None)) = found else { return Ok(None) };
                let Some(row) = table.load(&key(DIR, &dir.0))? else { return Ok(None) };
                let Some((&ENTRIES, entries)) = row.split_first() else { return Ok(None) };
                let entry = decode_entries(entries)?.into_iter().find(|entry| entry.name == name);
                found = entry.map(|entry| (entry.hash, entry.leaf));
            }
            Ok(found
                .filter(|(_, leaf)| leaf.is_some_and(|leaf| leaf.kind == Kind::File))
                .map(|(hash, _)| hash))
        })
    }

    /// Drops listings that none of these root directories reaches, once they outnumber the others;
    /// returns how many went.
    ///
    /// `roots` must name every root still in use, see [`Cache::all_acknowledged`].
    pub fn sweep_listings(&self, roots: &[ContentHash]) -> Result<u64, CacheError> {
        self.store.write(|transaction| {
            let mut table = Writing::open(transaction, LISTINGS, "listings")?;
            let mut live = HashSet::new();
            let mut to_visit: Vec<Vec<u8>> = roots.iter().map(|root| key(DIR, &root.0)).collect();
            while let Some(key) = to_visit.pop() {
                if live.contains(&key) {
                    continue;
                }
                let Some(row) = table.load(&key)? else { continue };
                to_visit.extend(named_below(&key, &row)?);
                live.insert(key);
            }
            if table.n_rows()? <= live.len() as u64 * 2 {
                return Ok(0);
            }
            table.retain(|key, _| live.contains(key))
        })
    }
}

fn store_dir(table: &mut Writing, dir: &Dir) -> Result<(), Fault> {
    let hash = dir.hash().expect("a whole tree has the hash of each directory");
    let key = key(DIR, &hash.0);
    if table.holds(&key)? {
        return Ok(());
    }
    for node in dir.entries().nodes() {
        if let Node::Dir(below) = node {
            store_dir(table, below)?;
        }
    }
    let row = if dir.entries().len() <= WHOLE_ENTRIES {
        let mut row = vec![ENTRIES];
        dir.entries().iter().for_each(|(name, node)| encode_entry(name, node, &mut row));
        row
    } else {
        store_parts(table, dir)?
    };
    table.store(&key, &row)
}

/// Stores the parts of a large directory and returns its row: their names.
fn store_parts(table: &mut Writing, dir: &Dir) -> Result<Vec<u8>, Fault> {
    let mut row = vec![PART];
    let mut part = Vec::new();
    let mut close = |part: &mut Vec<u8>| {
        let hash = *blake3::hash(part).as_bytes();
        row.extend(hash);
        let key = key(PART, &hash);
        if !table.holds(&key)? {
            table.store(&key, part)?;
        }
        part.clear();
        Ok::<_, Fault>(())
    };
    for (name, node) in dir.entries().iter() {
        if begins_range(name) && !part.is_empty() {
            close(&mut part)?;
        }
        encode_entry(name, node, &mut part);
    }
    close(&mut part)?;
    Ok(row)
}

fn load_dir(
    table: &Reading,
    hash: &ContentHash,
    meta: Meta,
    like: Option<&Arc<Dir>>,
) -> Result<Arc<Dir>, Fault> {
    if let Some(like) = like.filter(|like| like.hash() == Some(*hash)) {
        let shared = Node::Dir(like.clone());
        let shared = if like.meta == meta { shared } else { shared.with_meta(meta) };
        return Ok(shared.as_dir().expect("other metadata leave a directory a directory").clone());
    }
    let mut entries = Vec::new();
    for_each_entry(table, hash, &mut |entry| {
        let node = match entry.leaf {
            Some(leaf) => Node::Leaf(leaf),
            None => {
                let like = like.and_then(|like| like.get(&entry.name)?.as_dir());
                Node::Dir(load_dir(table, &entry.hash, entry.meta, like)?)
            }
        };
        entries.push((entry.name, node));
        Ok(())
    })?;
    let dir = Dir::with_entries(meta, entries.into_iter().collect());
    if dir.hash() != Some(*hash) {
        return Err(Fault::damaged("a listing does not have the hash it is stored under"));
    }
    Ok(Arc::new(dir))
}

/// One decoded entry; `leaf` is `None` for a directory.
struct Entry {
    name: Name,
    meta: Meta,
    hash: ContentHash,
    leaf: Option<Leaf>,
}

fn for_each_entry(
    table: &Reading,
    hash: &ContentHash,
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let missing = || Fault::damaged("a listing is missing below one that is stored");
    let row = table.load(&key(DIR, &hash.0))?.ok_or_else(missing)?;
    match row.split_first() {
        Some((&ENTRIES, entries)) => decode_entries(entries)?.into_iter().try_for_each(visit),
        Some((&PART, parts)) => part_keys(parts)?.iter().try_for_each(|key| {
            let part = table.load(key)?.ok_or_else(missing)?;
            decode_entries(&part)?.into_iter().try_for_each(&mut *visit)
        }),
        _ => Err(Fault::damaged("a listing is of no known form")),
    }
}

/// The rows that a row of listings names.
fn named_below(key: &[u8], row: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let entries = match (key.first(), row.split_first()) {
        (Some(&PART), _) => row,
        (_, Some((&ENTRIES, entries))) => entries,
        (_, Some((&PART, parts))) => return part_keys(parts),
        _ => return Err(Fault::damaged("a listing is of no known form")),
    };
    let entries = decode_entries(entries)?.into_iter();
    Ok(entries.filter(|entry| entry.leaf.is_none()).map(|entry| self::key(DIR, &entry.hash.0)).collect())
}

fn part_keys(parts: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let (hashes, rest) = parts.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Fault::damaged("the parts of a listing are cut short"));
    }
    Ok(hashes.iter().map(|hash| key(PART, hash)).collect())
}

fn key(sort: u8, hash: &[u8; 32]) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(sort);
    key.extend(hash);
    key
}

/// Name length u8, name, kind u8, mode u16, seconds i64, nanoseconds u32, size u64 of a leaf, hash.
fn encode_entry(name: &Name, node: &Node, bytes: &mut Vec<u8>) {
    let meta = node.meta();
    bytes.push(name.as_bytes().len() as u8);
    bytes.extend(name.as_bytes());
    bytes.push(node.kind().number());
    bytes.extend(meta.mode.to_le_bytes());
    bytes.extend(meta.mtime.secs.to_le_bytes());
    bytes.extend(meta.mtime.nanos.to_le_bytes());
    if let Some(leaf) = node.as_leaf() {
        bytes.extend(leaf.size.to_le_bytes());
    }
    bytes.extend(node.hash().expect("a whole tree has the hash of each entry").0);
}

fn decode_entries(bytes: &[u8]) -> Result<Vec<Entry>, Fault> {
    let mut cursor = Cursor(bytes);
    let mut entries = Vec::new();
    while !cursor.is_empty() {
        let entry = decode_entry(&mut cursor);
        entries.push(entry.ok_or_else(|| Fault::damaged("an entry of a listing makes no sense"))?);
    }
    Ok(entries)
}

#[cfg(fuzzing)]
pub(super) fn read_entries(bytes: &[u8]) {
    if let Ok(entries) = decode_entries(bytes) {
        assert!(entries.len() <= bytes.len());
    }
    for key in [[DIR], [PART]] {
        if let Ok(named) = named_below(&key, bytes) {
            assert!(named.len() <= bytes.len());
        }
    }
}

fn decode_entry(cursor: &mut Cursor) -> Option<Entry> {
    let n_bytes = cursor.u8()?;
    let name = Name::parse(cursor.take(n_bytes as usize)?).ok()?;
    let kind = cursor.u8()?;
    let kind = [Kind::File, Kind::Dir, Kind::Link].into_iter().find(|known| known.number() == kind)?;
    let mode = cursor.u16()?;
    let meta = Meta { mode, mtime: Time::checked(cursor.i64()?, cursor.u32()?)? };
    let size = if kind == Kind::Dir { 0 } else { cursor.u64()? };
    let hash = ContentHash(cursor.array()?);
    let leaf = (kind != Kind::Dir).then_some(Leaf { kind, meta, size, content: Content::Whole(hash) });
    Some(Entry { name, meta, hash, leaf })
}
