//! Staging: transfers and packs become files in the stage, hashed while they are written.

use super::bases::{OpenBases, open_file};
use super::filling::{Filling, store_whole, stored_reader};
use super::over::refusal_of;
use super::packs::{packed_bytes, stage_small};
use super::refusal::{refusal_of_rebuild, refusal_of_stage};
use super::shore::Shore;
use super::sink::{StageSink, Stop, index_staged};
use super::standing::Standing;
use crate::delta::groups::GroupTree;
use crate::delta::index::Indexer;
use crate::delta::ops::{Op, PartialName};
use crate::delta::rebuild::rebuild;
use crate::disk::{Destination, DestinationError, File, Ledger, StagedFile};
use crate::model::limits::{MISMATCH_HASHES, PACK_FILE_BYTES};
use crate::model::{ContentHash, Meta};
use crate::proto::message::{ChangeId, Refusal};
use crate::proto::receiver::{BasisRef, Offer, PackedFile, RESUMED, Staged};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What came of sealing a transfer.
pub enum Sealed {
    Right,
    /// The content is another: its group tree at a level that fits a message.
    Mismatch {
        level: u8,
        values: Vec<[u8; 32]>,
    },
}

/// A file that is ready to be installed.
pub struct Ready {
    pub file: StagedFile,
    pub hash: ContentHash,
    /// Removed with this, once the file is in place.
    ledger: Option<Ledger>,
    /// Of a file that is to be written over in place.
    pub standing: Option<Standing>,
}

/// Everything staged for one session.
pub struct Stage {
    stop: Stop,
    filling: BTreeMap<ChangeId, (Filling, OpenBases)>,
    /// What came of transfers that the sender gave up.
    kept: BTreeMap<ChangeId, Filling>,
    whole: BTreeMap<ChangeId, Ready>,
    /// Small files, closed so that any number of them may wait: number in the stage and content.
    packed: BTreeMap<(ChangeId, u32), (u64, ContentHash)>,
    /// Small files for which there was no space, beside others of their pack for which there was.
    unstaged: BTreeMap<(ChangeId, u32), DestinationError>,
    /// Room for what is copied.
    buffer: Vec<u8>,
}

impl Stage {
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop: Stop::new(stop),
            filling: BTreeMap::new(),
            kept: BTreeMap::new(),
            whole: BTreeMap::new(),
            packed: BTreeMap::new(),
            unstaged: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// The session is over: what is written of that which came goes on for a moment.
    pub fn drain(&self) {
        self.stop.put_off();
    }

    /// What ends the work on a huge file.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Bytes that were written for a transfer that is staged.
    #[cfg(test)]
    pub fn n_written(&self, id: ChangeId) -> Option<u64> {
        self.whole.get(&id).map(|ready| ready.file.n_written())
    }

    /// Opens the stage and the bases of a transfer; resumed, the stage is a partial.
    pub fn open(
        &mut self,
        shore: &Shore,
        id: ChangeId,
        offer: &Offer,
        bases: &[BasisRef],
        resume: Option<(PartialName, u64)>,
    ) -> Result<(), Refusal> {
        let mut open = Vec::with_capacity(bases.len());
        for (index, basis) in bases.iter().enumerate() {
            let gone = Refusal::BasisGone { index: index as u32 };
            open.push(self.open_basis(shore, basis).ok_or(gone)?);
        }
        let mut filling = match resume {
            None => {
                let hash = bases.first().and_then(BasisRef::hash).filter(|_| offer.size > PACK_FILE_BYTES);
                Filling::create(shore, offer, hash.and_then(|hash| shore.known.earlier(&hash)))?
            }
            Some((PartialName::Stored(name), start)) => Filling::resume(shore, &name, offer, start)?,
            Some((PartialName::Sent(sent), start)) => {
                let kept = self.kept.remove(&sent).ok_or(Refusal::BasisGone { index: RESUMED })?;
                kept.take_over(offer, start)?
            }
        };
        if let (None, Some(open), Some(BasisRef::File { path, leaf })) = (resume, open.first(), bases.first())
        {
            let (file, hash) = (&mut filling.file, leaf.content.whole());
            let standing = Standing::clone_of(shore, file, open, hash, offer.size);
            filling.standing = standing.map_err(|error| refusal_of_stage(&error))?;
            if filling.standing.is_none() && *path == offer.path {
                filling.standing = Standing::in_place(shore, open, hash, offer.size);
            }
            if filling.is_in_place() {
                // What is staged is not the beginning of the file: it can not be resumed.
                filling.ledger = None;
            }
        }
        self.filling.insert(id, (filling, OpenBases::new(open)));
        Ok(())
    }

    /// Opens one more basis of a transfer.
    pub fn add_basis(&mut self, shore: &Shore, id: ChangeId, basis: &BasisRef) -> Result<(), Refusal> {
        let Some((_, bases)) = self.filling.get(&id) else { return Ok(()) };
        let index = bases.files.len() as u32;
        let basis = self.open_basis(shore, basis).ok_or(Refusal::BasisGone { index })?;
        if let Some((_, bases)) = self.filling.get_mut(&id) {
            bases.files.push(basis);
        }
        Ok(())
    }

    /// Opens a basis if it is still what the tree, or the list of partials, says.
    pub fn open_basis(&mut self, shore: &Shore, basis: &BasisRef) -> Option<File> {
        match basis {
            BasisRef::File { path, leaf } => open_file(&shore.destination, path, leaf),
            BasisRef::Partial { of: PartialName::Stored(name), len, .. } => stored_reader(shore, name, *len),
            BasisRef::Partial { of: PartialName::Sent(id), len, .. } => {
                self.kept.get_mut(id).and_then(|kept| kept.reader(*len))
            }
        }
    }

    /// Keeps what came of a transfer that was given up.
    pub fn keep(&mut self, id: ChangeId) {
        if let Some((filling, _)) = self.filling.remove(&id)
            && !filling.is_in_place()
        {
            self.kept.insert(id, filling);
        }
    }

    /// Throws away what was kept.
    pub fn forget(&mut self, shore: &Shore, of: PartialName) {
        match of {
            PartialName::Sent(id) => drop(self.kept.remove(&id)),
            PartialName::Stored(name) => shore.partials.forget(shore.destination.own(), &name),
        }
    }

    /// Notes how far the transfers are that had no reason to for a while.
    pub fn note_all(&mut self) {
        for (filling, _) in self.filling.values_mut() {
            // A sync that failed is found again when more is written.
            let _ = filling.note_if_due();
        }
    }

    /// Writes ops from a target offset on; anywhere in a repair, else where the last ones ended.
    pub fn write(&mut self, id: ChangeId, at: u64, ops: &[Op]) -> Result<(), Refusal> {
        let Some((filling, bases)) = self.filling.get_mut(&id) else { return Ok(()) };
        if self.stop.write_on().is_err() {
            // Time is up: what stands is the beginning of the file, and stays that.
            return Ok(());
        }
        if at != filling.at {
            // A repair: what was hashed on the way does not hold any more.
            filling.indexer = None;
            if let Some(mut standing) = filling.standing.take_if(|standing| standing.is_in_place()) {
                let whole = standing.make_whole(&mut filling.file, &|| self.stop.go_on());
                whole.map_err(refusal_of)?;
            }
        }
        let mut at = at;
        for op in ops {
            let mut sink = StageSink {
                file: &mut filling.file,
                indexer: filling.indexer.as_mut(),
                standing: filling.standing.as_mut(),
                at,
                failed: None,
                stop: &self.stop,
            };
            let result = rebuild(op, at, bases, &mut sink, &mut self.buffer);
            let result = match (result, sink.failed) {
                (_, Some(error)) => Err(refusal_of_stage(&error)),
                (Err(error), None) => Err(refusal_of_rebuild(&error)),
                (Ok(n), None) => Ok(n),
            };
            // What was hashed is not what stands then.
            at += result.inspect_err(|_| filling.indexer = None)?;
        }
        filling.at = at;
        filling.note_if_due()
    }

    /// Compares what was staged with the offer.
    pub fn seal(&mut self, shore: &Shore, id: ChangeId, hash: ContentHash) -> Result<Sealed, Refusal> {
        let Some((mut filling, bases)) = self.filling.remove(&id) else { return Err(Refusal::Cancelled) };
        // A clone may have been longer.
        filling.file.cut_to(filling.size).map_err(|error| refusal_of_stage(&error))?;
        let index = match filling.finish_index() {
            Some(index) => index,
            None => index_staged(&mut filling.file, Indexer::signing(filling.size, None), &self.stop)?,
        };
        if filling.ledger.as_ref().is_some_and(Ledger::has_failed) {
            return Err(Refusal::Io { errno: 5 });
        }
        if index.hash == hash && index.size == filling.size {
            shore.known.keep(&index);
            let (n_written, n_read) = (filling.file.n_written(), filling.file.n_read());
            tracing::debug!(
                size = filling.size,
                n_written,
                n_read,
                stands = filling.standing.is_some(),
                "staged"
            );
            let (file, ledger) = (filling.file, filling.ledger);
            let standing = filling.standing.filter(Standing::is_in_place);
            self.whole.insert(id, Ready { file, hash, ledger, standing });
            return Ok(Sealed::Right);
        }
        let mut level = index.groups.as_ref().map_or(0, GroupTree::finest);
        let values = match &index.groups {
            Some(groups) => {
                while groups.level(level).len() > MISMATCH_HASHES {
                    level += 1;
                }
                groups.level(level)
            }
            None => vec![index.hash.0],
        };
        // No offset is in order any more: all that comes now is repair.
        filling.at = u64::MAX;
        self.filling.insert(id, (filling, bases));
        Ok(Sealed::Mismatch { level, values })
    }

    /// Stages small files; their content hashes, when their one hash is right. Where space is short, those that
    /// fit: the others fail when they are taken.
    pub fn pack(
        &mut self,
        shore: &Shore,
        id: ChangeId,
        files: Vec<PackedFile>,
        hash: ContentHash,
    ) -> Result<Vec<ContentHash>, Refusal> {
        let mut hashes = Vec::with_capacity(files.len());
        let mut hasher = blake3::Hasher::new();
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            let bytes = packed_bytes(&shore.destination, &file)?;
            let content_hash = ContentHash::of(&bytes);
            hasher.update(&content_hash.0);
            hashes.push(content_hash);
            contents.push(bytes);
        }
        if *hasher.finalize().as_bytes() != hash.0 {
            return Err(Refusal::HashDiffers);
        }
        let mut n_staged = 0;
        let mut full = None;
        for (index, (bytes, content_hash)) in (0..).zip(contents.iter().zip(&hashes)) {
            match stage_small(&shore.destination, bytes) {
                Ok(number) => {
                    n_staged += 1;
                    self.packed.insert((id, index), (number, *content_hash));
                }
                Err(error) if error.is_of_space() => {
                    full = Some(refusal_of_stage(&error));
                    self.unstaged.insert((id, index), error);
                }
                Err(error) => {
                    self.drop_change(&shore.destination, id);
                    return Err(refusal_of_stage(&error));
                }
            }
        }
        if let Some(why) = full.filter(|_| n_staged == 0) {
            self.drop_change(&shore.destination, id);
            return Err(why);
        }
        Ok(hashes)
    }

    /// Takes a staged file out, to be installed.
    pub fn take(
        &mut self,
        destination: &Destination,
        staged: Staged,
        meta: &Meta,
    ) -> Result<Ready, DestinationError> {
        if let Some(error) = self.unstaged.remove(&(staged.id, staged.index)) {
            return Err(error);
        }
        let mut ready = match self.packed.remove(&(staged.id, staged.index)) {
            Some((number, hash)) => {
                let file = StagedFile::reopen(destination.own(), number)?;
                Ready { file, hash, ledger: None, standing: None }
            }
            None => self.whole.remove(&staged.id).ok_or_else(|| DestinationError::Missing {
                path: format!("the staged file of change {}", staged.id),
            })?,
        };
        if ready.standing.is_none() {
            ready.file.set_meta(meta)?;
        }
        Ok(ready)
    }

    /// Throws away what was staged for a change.
    pub fn drop_change(&mut self, destination: &Destination, id: ChangeId) {
        self.filling.remove(&id);
        self.whole.remove(&id);
        self.unstaged.retain(|(of, _), _| *of != id);
        let packed: Vec<_> = self.packed.range((id, 0)..=(id, u32::MAX)).map(|(key, _)| *key).collect();
        for key in packed {
            if let Some((number, _)) = self.packed.remove(&key) {
                // Dropped, it is removed.
                drop(StagedFile::reopen(destination.own(), number));
            }
        }
    }

    /// Ends: large transfers stay to be resumed, everything else goes.
    pub fn clear(&mut self, shore: &Shore) {
        let ids: Vec<ChangeId> = self.packed.keys().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.drop_change(&shore.destination, id));
        let filling = std::mem::take(&mut self.filling).into_values().map(|(filling, _)| filling);
        filling.chain(std::mem::take(&mut self.kept).into_values()).for_each(|filling| filling.store(shore));
        for Ready { file, hash, ledger, .. } in std::mem::take(&mut self.whole).into_values() {
            let groups = shore.known.groups(&hash);
            store_whole(shore, file, ledger, groups.as_ref().map_or(&[], GroupTree::values));
        }
    }
}
