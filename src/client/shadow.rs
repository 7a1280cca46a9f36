//! The shadow at the client: which acknowledged contents are kept, and reading them back as prefixes.
//!
//! It is filled from the source when a pass has ended: what was acknowledged and still stands there. A
//! content is only kept when its bytes hash to its name. All of it is cache: what is damaged, lost or
//! out of the budget costs bytes on the wire.

mod keeper;

use self::keeper::{Keeper, Queue, Stop, Wanted};
use crate::client::options::ShadowSize;
use crate::disk::{Root, free_bytes};
use crate::model::limits::{GIB, PACK_FILE_BYTES};
use crate::model::{ContentHash, Kind, Node, Tree};
use crate::net::squeeze::Presser;
use crate::store::CacheError;
use crate::store::shadow::{Held, PIECE_BYTES, PieceName, Shadow as Shelf};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Level at which pieces are squeezed: reading and hashing take about as long.
const LEVEL: i32 = 3;
/// Threads that fill it when a pass has ended: most of the work is squeezing.
const FILLERS: usize = 2;
/// The budget when none is named: this, or a tenth of what is free.
const USUAL_BYTES: u64 = 10 * GIB;
const SHARE_OF_FREE: u64 = 10;
/// A push may take as long again as it lasted to fill it, and at least this.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
/// Names the tree of which everything is held.
const WHOLE_KEY: &str = "whole";

/// What is kept of acknowledged contents, within a budget.
pub struct Shadow {
    folder: PathBuf,
    size: ShadowSize,
    /// Opened when it is first needed; none when it cannot be.
    shelf: OnceLock<Option<Shelf>>,
    presser: Mutex<Presser>,
    /// Whether a thread keeps, and the tree that it is to keep next.
    keeping: Mutex<(bool, Option<Tree>)>,
    /// The thread that keeps ahead, or did before the end of this pass.
    ahead: Mutex<Option<Ahead>>,
}

/// A thread that keeps ahead, until it is told that the pass has ended.
struct Ahead {
    thread: JoinHandle<()>,
    has_passed: Arc<AtomicBool>,
}

impl Shadow {
    /// In a folder of its own, made when something is first kept.
    pub fn new(folder: PathBuf, size: ShadowSize) -> Self {
        Self {
            folder,
            size,
            shelf: OnceLock::new(),
            presser: Mutex::default(),
            keeping: Mutex::default(),
            ahead: Mutex::default(),
        }
    }

    /// Whether contents are to be kept on a link like this.
    pub fn is_worth(&self, link_is_slow: bool) -> bool {
        match self.size {
            ShadowSize::Usual => link_is_slow,
            ShadowSize::Bytes(bytes) => bytes > 0,
        }
    }

    fn shelf(&self) -> Option<&Shelf> {
        if self.size == ShadowSize::Bytes(0) {
            return None;
        }
        let open = || match Shelf::open(&self.folder) {
            Ok((shelf, _)) => Some(shelf),
            Err(error) => {
                tracing::debug!(%error, "the shadow cannot be used");
                None
            }
        };
        self.shelf.get_or_init(open).as_ref()
    }

    /// How long a push that lasted so long may fill it when all else is done: what is not kept then is kept by a
    /// later one, the latest changed first. `None`: as long as it takes, where a size was asked for.
    pub fn patience(&self, lasted: Duration) -> Option<Duration> {
        (self.size == ShadowSize::Usual).then(|| lasted.max(LEAST_PATIENCE))
    }

    /// The shelf if anything was ever kept.
    fn found(&self) -> Option<&Shelf> {
        if self.shelf.get().is_none() && !self.folder.exists() {
            return None;
        }
        self.shelf()
    }

    /// Bytes that it takes on the disk.
    pub fn bytes(&self) -> u64 {
        self.found().map_or(0, Shelf::bytes)
    }

    /// A content to read ranges of, if it is held.
    pub fn basis(self: &Arc<Self>, hash: &ContentHash, size: u64) -> Option<ShadowBasis> {
        let Held::Pieces(pieces) = self.found()?.held(hash)? else { return None };
        let mut starts = Vec::with_capacity(pieces.len());
        let mut at = 0;
        for (_, len) in &pieces {
            starts.push(at);
            at += u64::from(*len);
        }
        let are_sound = pieces.iter().all(|(_, len)| (1..=PIECE_BYTES as u32).contains(len));
        (at == size && are_sound).then(|| ShadowBasis {
            shadow: self.clone(),
            pieces,
            starts,
            size,
            plain: BTreeMap::new(),
        })
    }

    /// A small content as a whole.
    pub fn small(&self, hash: &ContentHash, size: u64) -> Option<Vec<u8>> {
        if size > PACK_FILE_BYTES {
            return None;
        }
        let shelf = self.found()?;
        let bytes = match shelf.held(hash)? {
            Held::Whole(bytes) => self.expand(&bytes, size as usize)?,
            Held::Pieces(pieces) => {
                let frames = shelf.pieces(&pieces)?;
                let mut plain = Vec::with_capacity(size as usize);
                for (frame, (_, len)) in frames.iter().zip(&pieces) {
                    plain.extend(self.expand(frame, (*len as usize).min(PIECE_BYTES))?);
                }
                plain
            }
        };
        (bytes.len() as u64 == size).then_some(bytes)
    }

    fn expand(&self, frame: &[u8], n_bytes: usize) -> Option<Vec<u8>> {
        self.presser.lock().unwrap_or_else(PoisonError::into_inner).expand(frame, n_bytes)
    }

    fn budget_bytes(&self, shelf: &Shelf) -> u64 {
        match self.size {
            ShadowSize::Bytes(bytes) => bytes,
            ShadowSize::Usual => {
                let free = free_bytes(&self.folder).unwrap_or(0);
                USUAL_BYTES.min((free + shelf.bytes()) / SHARE_OF_FREE)
            }
        }
    }

    /// Keeps ahead of the end of a pass, in a thread, what the destination holds already and the source too: while
    /// the link is waited for there is time. Once in a pass; nothing is dropped for it, so nothing is kept where
    /// room is scarce.
    pub fn keep_ahead(
        self: &Arc<Self>,
        root: &Arc<Root>,
        acknowledged: &Tree,
        source: &Tree,
        stop: &watch::Receiver<bool>,
    ) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.is_some() {
            return;
        }
        let has_passed = Arc::new(AtomicBool::new(false));
        let must_stop = has_passed.clone();
        let (shadow, root, stop) = (self.clone(), root.clone(), stop.clone());
        let (acknowledged, source) = (acknowledged.clone(), source.clone());
        let thread = std::thread::spawn(move || {
            let Some(shelf) = shadow.shelf() else { return };
            let tree_hash = acknowledged.root().hash();
            if shadow.holds_all(shelf, tree_hash) {
                return;
            }
            let held = shelf.all().into_iter().collect();
            let (_, mut wants) = wanted(&acknowledged, &held);
            wants.retain(|want| {
                let leaf = source.get(&want.path).and_then(Node::as_leaf);
                leaf.is_some_and(|leaf| leaf.content.whole() == Some(want.hash))
            });
            let budget = shadow.budget_bytes(shelf);
            let new_bytes: u64 = wants.iter().map(|want| want.size).sum();
            if shelf.bytes() + new_bytes <= budget {
                let stop = || *stop.borrow() || must_stop.load(Ordering::Relaxed);
                fill(shelf, (&root, &stop), budget, (wants, 1));
            }
        });
        *ahead = Some(Ahead { thread, has_passed });
    }

    /// Ends what is kept ahead: the pass has ended, and more threads go on.
    fn rest(&self) {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Ahead { thread, has_passed }) = ahead {
            has_passed.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }

    fn holds_all(&self, shelf: &Shelf, tree_hash: Option<ContentHash>) -> bool {
        tree_hash.is_some_and(|hash| shelf.word(WHOLE_KEY).as_deref() == Some(&hash.0))
    }

    /// Keeps in a thread, one tree at a time: of several that come meanwhile the last.
    pub fn keep_soon(self: &Arc<Self>, root: &Arc<Root>, acknowledged: Tree, stop: &watch::Receiver<bool>) {
        let mut keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        keeping.1 = Some(acknowledged);
        if std::mem::replace(&mut keeping.0, true) {
            return;
        }
        let (shadow, root, stop) = (self.clone(), root.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            loop {
                let mut keeping = shadow.keeping.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(tree) = keeping.1.take() else {
                    keeping.0 = false;
                    return;
                };
                drop(keeping);
                shadow.keep(&root, &tree, &|| *stop.borrow());
            }
        });
    }

    /// Keeps what the acknowledged tree holds, as far as the source still holds it too and the budget
    /// allows, the latest changed first; drops what it does not hold any more.
    ///
    /// Reads every content that is not held yet: call it from a thread, when a pass has ended.
    pub fn keep(&self, root: &Root, acknowledged: &Tree, stop: &Stop) {
        self.rest();
        let tree_hash = acknowledged.root().hash();
        let Some(shelf) = self.shelf() else { return };
        if self.holds_all(shelf, tree_hash) {
            return;
        }
        let budget = self.budget_bytes(shelf);
        let mut held: HashSet<ContentHash> = shelf.all().into_iter().collect();
        let (all, wants) = wanted(acknowledged, &held);
        let _ = shelf.sweep();
        held.retain(|hash| !all.contains_key(hash));
        let stale: Vec<ContentHash> = held.into_iter().collect();
        let new_bytes: u64 = wants.iter().map(|want| want.size).sum();
        let is_tight = shelf.bytes() + new_bytes > budget;
        // Old versions share pieces with the new ones: they go first only where the room is needed.
        let done = if is_tight { shelf.remove(&stale) } else { Ok(()) };
        let is_whole = fill(shelf, (root, stop), budget, (wants, FILLERS));
        let done = done.and_then(|()| shelf.remove(&stale)).and_then(|()| make_room(shelf, all, budget));
        let done = done.and_then(|is_within| {
            let name = tree_hash.filter(|_| is_whole && is_within).map_or(Vec::new(), |hash| hash.0.to_vec());
            shelf.set_word(WHOLE_KEY, &name)?;
            shelf.sync().and_then(|()| shelf.shrink())
        });
        if let Err(error) = done {
            tracing::debug!(%error, "the shadow was not kept");
        }
    }
}

/// Keeps contents in so many threads; whether all are held in the end.
fn fill(
    shelf: &Shelf,
    (root, stop): (&Root, &Stop),
    budget: u64,
    (wants, n_threads): (Vec<Wanted>, usize),
) -> bool {
    let n_threads = n_threads.min(wants.len());
    let wants = Queue::new(wants);
    let keep = || Keeper::new(shelf, (root, stop), budget).keep_all(&wants);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(keep)).collect();
        let is_whole = keep();
        others.into_iter().fold(is_whole, |all, other| all & other.join().unwrap_or(false))
    })
}

/// When a content was changed last.
type Changed = (i64, u32);

/// All contents of a tree, and which of them are not held, the latest changed first.
fn wanted(tree: &Tree, held: &HashSet<ContentHash>) -> (HashMap<ContentHash, Changed>, Vec<Wanted>) {
    let mut all: HashMap<ContentHash, Changed> = HashMap::new();
    let mut wants = Vec::new();
    tree.for_each(&mut |path, node| {
        let leaf = node.as_leaf().filter(|leaf| leaf.kind == Kind::File && leaf.size > 0);
        let Some((leaf, hash)) = leaf.and_then(|leaf| Some((leaf, leaf.content.whole()?))) else { return };
        let changed = (leaf.meta.mtime.secs, leaf.meta.mtime.nanos);
        if all.insert(hash, changed).is_none() && !held.contains(&hash) {
            wants.push(Wanted { path: path.clone(), hash, size: leaf.size, changed });
        }
    });
    wants.sort_by_key(|want| Reverse(want.changed));
    (all, wants)
}

/// Drops contents, the longest unchanged first, until the rest is within the budget; whether none had to go.
fn make_room(shelf: &Shelf, all: HashMap<ContentHash, Changed>, budget: u64) -> Result<bool, CacheError> {
    if shelf.bytes() <= budget {
        return Ok(true);
    }
    let mut all: Vec<(Changed, ContentHash)> =
        all.into_iter().map(|(hash, changed)| (changed, hash)).collect();
    all.sort_unstable_by_key(|(changed, hash)| (*changed, hash.0));
    for (_, hash) in all {
        if shelf.bytes() <= budget {
            break;
        }
        shelf.remove(&[hash])?;
    }
    Ok(false)
}

/// A content of the shadow while ranges of it are read, mostly from front to back.
pub struct ShadowBasis {
    shadow: Arc<Shadow>,
    pieces: Vec<(PieceName, u32)>,
    starts: Vec<u64>,
    size: u64,
    /// The pieces that were read last, by their number.
    plain: BTreeMap<usize, Vec<u8>>,
}

impl ShadowBasis {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range; `None` when a piece is lost, or the range reaches beyond the content.
    pub fn read(&mut self, range: Range<u64>) -> Option<Vec<u8>> {
        if range.start >= range.end || range.end > self.size {
            return None;
        }
        let first = self.starts.partition_point(|start| *start <= range.start) - 1;
        let last = self.starts.partition_point(|start| *start < range.end);
        self.plain.retain(|number, _| (first..last).contains(number));
        let lost: Vec<usize> = (first..last).filter(|number| !self.plain.contains_key(number)).collect();
        let names: Vec<(PieceName, u32)> = lost.iter().map(|number| self.pieces[*number]).collect();
        let frames = self.shadow.shelf()?.pieces(&names)?;
        for ((number, frame), (_, len)) in lost.into_iter().zip(frames).zip(names) {
            self.plain.insert(number, self.shadow.expand(&frame, len as usize)?);
        }
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for (number, piece) in &self.plain {
            let start = self.starts[*number];
            let from = range.start.saturating_sub(start).min(piece.len() as u64) as usize;
            let to = (range.end - start).min(piece.len() as u64) as usize;
            bytes.extend_from_slice(&piece[from..to]);
        }
        Some(bytes)
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
