//! Filling the shadow: contents are read from the source, named, squeezed and written.

use super::{Changed, LEVEL};
use crate::disk::Root;
use crate::model::{ContentHash, RelPath};
use crate::net::squeeze::Presser;
use crate::store::shadow::{Held, PIECE_BYTES, PieceName, Shadow as Shelf};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Pieces that are read, named and written together.
const RUN_PIECES: usize = 64;
/// Plain bytes, and number, of small contents that are written together.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_CONTENTS: usize = 512;
/// What was written is brought to the disk after so many plain bytes: before that its room is not free.
const SYNC_BYTES: u64 = 64 << 20;

/// Whether to end early.
pub type Stop<'s> = dyn Fn() -> bool + Sync + 's;

/// A content that is to be kept, and where the source holds it.
pub(super) struct Wanted {
    pub path: RelPath,
    pub hash: ContentHash,
    pub size: u64,
    pub changed: Changed,
}

/// What is still to be kept, the first first, for several keepers.
pub(super) struct Queue(Mutex<std::vec::IntoIter<Wanted>>);

impl Queue {
    pub fn new(wants: Vec<Wanted>) -> Self {
        Self(Mutex::new(wants.into_iter()))
    }

    fn next(&self) -> Option<Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// One round of keeping, or one thread's share of it.
pub(super) struct Keeper<'k> {
    shelf: &'k Shelf,
    root: &'k Root,
    stop: &'k Stop<'k>,
    budget: u64,
    presser: Presser,
    batch: Vec<(ContentHash, Held)>,
    batch_bytes: usize,
    unsynced: u64,
}

impl<'k> Keeper<'k> {
    pub fn new(shelf: &'k Shelf, (root, stop): (&'k Root, &'k Stop<'k>), budget: u64) -> Self {
        let presser = Presser::default();
        Self { shelf, root, stop, budget, presser, batch: Vec::new(), batch_bytes: 0, unsynced: 0 }
    }

    /// True when all that it took from the queue is held in the end, and nothing had to be left there.
    pub fn keep_all(&mut self, wants: &Queue) -> bool {
        let mut is_whole = true;
        while let Some(want) = wants.next() {
            if (self.stop)() || self.shelf.bytes() >= self.budget {
                is_whole = false;
                break;
            }
            is_whole &= self.keep_one(&want).unwrap_or(false);
        }
        self.flush().is_some() && is_whole
    }

    /// `None`: it is not there any more, is another by now, or could not be kept.
    fn keep_one(&mut self, want: &Wanted) -> Option<bool> {
        let file = self.root.open_file(&want.path).ok()?;
        if file.opened().size != want.size {
            return None;
        }
        if want.size <= PIECE_BYTES as u64 {
            let mut bytes = vec![0; want.size as usize];
            let n = file.read_at(&mut bytes, 0).ok()?;
            if n != bytes.len() || ContentHash::of(&bytes) != want.hash {
                return None;
            }
            self.batch_bytes += bytes.len();
            self.batch.push((want.hash, Held::Whole(self.presser.squeeze(&bytes, LEVEL))));
            if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_CONTENTS {
                self.flush()?;
            }
            return Some(true);
        }
        let mut hasher = blake3::Hasher::new();
        let mut list = Vec::new();
        let mut buffer = vec![0; RUN_PIECES * PIECE_BYTES];
        let mut at = 0;
        while at < want.size {
            let n = file.read_at(&mut buffer, at).ok()?;
            if n == 0 || (self.stop)() || self.shelf.bytes() >= self.budget {
                return None;
            }
            hasher.update(&buffer[..n]);
            self.keep_run(&buffer[..n], &mut list)?;
            at += n as u64;
        }
        if at != want.size || *hasher.finalize().as_bytes() != want.hash.0 {
            return None;
        }
        self.shelf.put(&[(want.hash, Held::Pieces(list))]).ok()?;
        Some(true)
    }

    /// Keeps the pieces of a run that are not held, and adds all of them to the list.
    fn keep_run(&mut self, run: &[u8], list: &mut Vec<(PieceName, u32)>) -> Option<()> {
        let named: Vec<(PieceName, &[u8])> =
            run.chunks(PIECE_BYTES).map(|piece| (name_of(piece), piece)).collect();
        list.extend(named.iter().map(|(name, piece)| (*name, piece.len() as u32)));
        let names: Vec<PieceName> = named.iter().map(|(name, _)| *name).collect();
        let missing: HashSet<PieceName> = self.shelf.missing(&names).into_iter().collect();
        let mut fresh: BTreeMap<PieceName, Vec<u8>> = BTreeMap::new();
        for (name, piece) in named.iter().filter(|(name, _)| missing.contains(name)) {
            fresh.entry(*name).or_insert_with(|| self.presser.squeeze(piece, LEVEL));
        }
        let fresh: Vec<(PieceName, Vec<u8>)> = fresh.into_iter().collect();
        if !fresh.is_empty() {
            self.shelf.put_pieces(&fresh).ok()?;
        }
        self.unsynced += fresh.iter().map(|(_, frame)| frame.len() as u64).sum::<u64>();
        self.sync_now_and_then()
    }

    fn flush(&mut self) -> Option<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Some(());
        }
        self.unsynced += BATCH_BYTES as u64;
        self.shelf.put(&batch).ok()?;
        self.sync_now_and_then()
    }

    fn sync_now_and_then(&mut self) -> Option<()> {
        if self.unsynced < SYNC_BYTES {
            return Some(());
        }
        self.unsynced = 0;
        self.shelf.sync().ok()
    }
}

fn name_of(piece: &[u8]) -> PieceName {
    let mut name = [0; 16];
    name.copy_from_slice(&ContentHash::of(piece).0[..16]);
    name
}
