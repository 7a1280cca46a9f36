//! Filling the shadow: contents are read from the source, named, squeezed and written.

use super::{Changed, LEVEL};
use crate::disk::{File, Root};
use crate::model::{ContentHash, RelPath};
use crate::net::squeeze::Presser;
use crate::store::shadow::{Held, PIECE_BYTES, PieceName, ROW_BYTES, Shadow as Shelf};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Pieces that are read and named together.
const RUN_PIECES: usize = 64;
/// Plain bytes, and number of contents, that are written together: each commit writes the way to all that it
/// touched anew, and one for each file wrote seven times what was kept.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_CONTENTS: usize = 2048;
/// What was written is brought to the disk after so many plain bytes: before that its room is not free.
const SYNC_BYTES: usize = 64 << 20;

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
    buffer: Vec<u8>,
    /// What is not written yet, plain bytes of it, and what of the budget it leaves.
    contents: Vec<(ContentHash, Held)>,
    pieces: BTreeMap<PieceName, Vec<u8>>,
    batch_bytes: usize,
    room: u64,
    unsynced: usize,
}

impl<'k> Keeper<'k> {
    pub fn new(shelf: &'k Shelf, (root, stop): (&'k Root, &'k Stop<'k>), budget: u64) -> Self {
        Self {
            shelf,
            root,
            stop,
            budget,
            presser: Presser::default(),
            buffer: vec![0; RUN_PIECES * PIECE_BYTES],
            contents: Vec::new(),
            pieces: BTreeMap::new(),
            batch_bytes: 0,
            room: budget.saturating_sub(shelf.bytes()),
            unsynced: 0,
        }
    }

    /// True when all that it took from the queue is held in the end, and nothing had to be left there.
    pub fn keep_all(&mut self, wants: &Queue) -> bool {
        let mut is_whole = true;
        while let Some(want) = wants.next() {
            if self.must_end() {
                is_whole = false;
                break;
            }
            is_whole &= self.keep_one(&want).is_some();
        }
        self.flush().is_some() && is_whole
    }

    fn must_end(&self) -> bool {
        (self.stop)() || self.room == 0
    }

    /// `None`: it is not there any more, is another by now, or could not be kept.
    fn keep_one(&mut self, want: &Wanted) -> Option<()> {
        let file = self.root.open_file(&want.path).ok()?;
        if file.opened().size != want.size {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let held = self.hold(&file, want, &mut buffer);
        self.buffer = buffer;
        self.take_room(ROW_BYTES);
        self.contents.push((want.hash, held?));
        if self.contents.len() >= BATCH_CONTENTS { self.flush() } else { Some(()) }
    }

    /// Reads all of a content and squeezes it, if it is still the one that is wanted.
    fn hold(&mut self, file: &File, want: &Wanted, buffer: &mut [u8]) -> Option<Held> {
        let mut hasher = blake3::Hasher::new();
        let mut list = Vec::new();
        let mut at = 0;
        while at < want.size {
            let n = file.read_at(buffer, at).ok()?;
            if n == 0 || self.must_end() {
                return None;
            }
            let run = &buffer[..n];
            at += n as u64;
            hasher.update(run);
            if want.size <= PIECE_BYTES as u64 && n as u64 == want.size {
                let frame = (*hasher.finalize().as_bytes() == want.hash.0).then(|| self.squeeze(run))?;
                return Some(Held::Whole(frame));
            }
            self.keep_run(run, &mut list)?;
        }
        (at == want.size && *hasher.finalize().as_bytes() == want.hash.0).then_some(Held::Pieces(list))
    }

    /// Keeps the pieces of a run that are not held, and adds all of them to the list.
    fn keep_run(&mut self, run: &[u8], list: &mut Vec<(PieceName, u32)>) -> Option<()> {
        let named: Vec<(PieceName, &[u8])> =
            run.chunks(PIECE_BYTES).map(|piece| (name_of(piece), piece)).collect();
        list.extend(named.iter().map(|(name, piece)| (*name, piece.len() as u32)));
        let names: Vec<PieceName> = named.iter().map(|(name, _)| *name).collect();
        let missing: HashSet<PieceName> = self.shelf.missing(&names).into_iter().collect();
        for (name, piece) in named.iter().filter(|(name, _)| missing.contains(name)) {
            if !self.pieces.contains_key(name) {
                let frame = self.squeeze(piece);
                self.pieces.insert(*name, frame);
            }
        }
        if self.batch_bytes >= BATCH_BYTES { self.flush() } else { Some(()) }
    }

    fn squeeze(&mut self, plain: &[u8]) -> Vec<u8> {
        let frame = self.presser.squeeze(plain, LEVEL);
        self.batch_bytes += plain.len();
        self.take_room(frame.len() as u64);
        frame
    }

    fn take_room(&mut self, n_bytes: u64) {
        self.room = self.room.saturating_sub(n_bytes);
    }

    /// Writes what came together: pieces first, then contents, which may use them.
    fn flush(&mut self) -> Option<()> {
        self.unsynced += std::mem::take(&mut self.batch_bytes);
        let pieces: Vec<(PieceName, Vec<u8>)> = std::mem::take(&mut self.pieces).into_iter().collect();
        let mut contents = std::mem::take(&mut self.contents);
        contents.sort_unstable_by_key(|(hash, _)| hash.0);
        if !pieces.is_empty() {
            self.shelf.put_pieces(&pieces).ok()?;
        }
        if !contents.is_empty() {
            self.shelf.put(&contents).ok()?;
        }
        self.room = self.budget.saturating_sub(self.shelf.bytes());
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
