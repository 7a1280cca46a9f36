//! A transfer while it is filled: a new file in the stage, or one that goes on from a partial.

use super::refusal::refusal_of_stage;
use super::shore::Shore;
use super::standing::Standing;
use crate::delta::groups::{group_value, kept_bytes, kept_level};
use crate::delta::index::{ContentIndex, Earlier, Indexer};
use crate::disk::{File, Intent, Ledger, PartialId, StagedFile, StoredPartial, load_values};
use crate::model::limits::*;
use crate::net::Secret;
use crate::proto::message::Refusal;
use crate::proto::receiver::{Offer, RESUMED};
use std::time::Duration;

/// What came of a transfer cannot be gone on from.
const GONE: Refusal = Refusal::BasisGone { index: RESUMED };

/// A file being filled.
pub struct Filling {
    pub file: StagedFile,
    /// `None` in a repair: what was hashed on the way does not hold any more.
    pub indexer: Option<Indexer>,
    /// What stands in the file already, as a clone of basis 0, or in that itself.
    pub standing: Option<Standing>,
    pub size: u64,
    pub at: u64,
    /// `None` where none can be written.
    pub ledger: Option<Ledger>,
}

impl Filling {
    /// Begins with an empty file.
    ///
    /// `earlier`: what is known of its first basis.
    pub fn create(shore: &Shore, offer: &Offer, earlier: Option<Earlier>) -> Result<Self, Refusal> {
        let own = shore.destination.own();
        let id = fresh_id();
        let file = own.create_data(&id).map_err(|error| refusal_of_stage(&error))?;
        let ledger = Some(Ledger::new(own, id, intent(offer)));
        Ok(Self {
            file,
            indexer: Some(Indexer::signing(offer.size, earlier)),
            standing: None,
            size: offer.size,
            at: 0,
            ledger,
        })
    }

    /// Whether it is to be written over its basis.
    pub fn is_in_place(&self) -> bool {
        self.standing.as_ref().is_some_and(Standing::is_in_place)
    }

    /// Goes on from what an earlier session left.
    pub fn resume(shore: &Shore, id: &PartialId, offer: &Offer, start: u64) -> Result<Self, Refusal> {
        let partial = prove(shore, id).filter(|partial| start <= partial.have).ok_or(GONE)?;
        let own = shore.destination.own();
        let mut values = load_values(own, &partial).ok_or(GONE)?;
        values.truncate((start / kept_bytes(offer.size)) as usize);
        let file = own.open_data(id).map_err(|_| GONE)?;
        shore.partials.take(id).ok_or(GONE)?;
        let ledger = Some(Ledger::resume(own, *id, intent(offer), &values));
        let mut filling = Self { file, indexer: None, standing: None, size: offer.size, at: 0, ledger };
        filling.go_back(start, values)?;
        Ok(filling)
    }

    /// Goes on, under a new offer, with what came of a transfer that was given up.
    pub fn take_over(mut self, offer: &Offer, start: u64) -> Result<Self, Refusal> {
        if self.standing.take().is_some() {
            // What stands behind is of a basis that may be another now.
            self.file.cut_to(self.at).map_err(|error| refusal_of_stage(&error))?;
        }
        if kept_level(offer.size) != kept_level(self.size) {
            return Err(GONE);
        }
        self.size = offer.size;
        if start != self.at {
            let mut values = self.indexer.take().ok_or(GONE)?.values().to_vec();
            values.truncate((start / kept_bytes(self.size)) as usize);
            self.go_back(start, values)?;
        }
        if let (Some(ledger), Some(indexer)) = (self.ledger.take(), &self.indexer) {
            let values = indexer.values();
            self.ledger = Some(ledger.renamed(intent(offer), values));
        }
        Ok(self)
    }

    /// Cuts it to `start` bytes, of whose whole groups these are the values.
    fn go_back(&mut self, start: u64, values: Vec<[u8; 32]>) -> Result<(), Refusal> {
        let of_stage = |error| refusal_of_stage(&error);
        self.file.truncate(start).map_err(of_stage)?;
        let n_rest = start % kept_bytes(self.size);
        let mut rest = vec![0; n_rest as usize];
        let n = self.file.read_at(&mut rest, start - n_rest).map_err(of_stage)?;
        if n < rest.len() {
            return Err(GONE);
        }
        let mut indexer = Indexer::resume(self.size, values);
        indexer.update(&rest);
        (self.indexer, self.at) = (Some(indexer), start);
        Ok(())
    }

    /// Notes how far it is, if so much has come or so long has passed since the last time.
    pub fn note_if_due(&mut self) -> Result<(), Refusal> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        if ledger.has_failed() {
            return Err(Refusal::Io { errno: 5 });
        }
        let fresh = self.at.saturating_sub(ledger.written());
        let is_much = fresh >= PARTIAL_NOTE_BYTES && self.at >= PARTIAL_BYTES;
        let is_late = fresh > 0 && ledger.since_note() >= Duration::from_millis(PARTIAL_NOTE_MS);
        if is_much || is_late {
            self.note();
        }
        Ok(())
    }

    /// Notes how far it is. Where that fails there is just no record.
    fn note(&mut self) {
        let (Some(ledger), Some(indexer)) = (&mut self.ledger, &self.indexer) else { return };
        let (values, last) = (indexer.values(), indexer.open_value());
        // Of a last group that is not whole, the value is not that of a group yet.
        let values = &values[..values.len().min((self.at / kept_bytes(self.size)) as usize)];
        let noted = self.file.flush().and_then(|()| ledger.note(self.at, values, last));
        if let Err(error) = noted {
            tracing::warn!(%error, "how far a transfer came cannot be noted");
            self.ledger = None;
        }
    }

    /// Ends the hashing: what was not seen of blocks is read from what stands, or was staged. `None` in a repair.
    pub fn finish_index(&mut self) -> Option<ContentIndex> {
        let indexer = self.indexer.take()?;
        let (file, standing) = (&mut self.file, &self.standing);
        Some(indexer.finish_rereading(&mut |at, buffer| match standing {
            Some(standing) => standing.read(file, buffer, at).unwrap_or(false),
            None => file.read_at(buffer, at).is_ok_and(|n| n == buffer.len()),
        }))
    }

    /// Leaves what came to be resumed, if there is anything.
    pub fn store(mut self, shore: &Shore) {
        if self.at == 0 || self.indexer.is_none() {
            return;
        }
        self.note();
        if let Some(ledger) = self.ledger.filter(|ledger| !ledger.has_failed())
            && self.file.keep().is_ok()
        {
            shore.partials.put(shore.destination.own(), ledger.keep());
        }
    }

    /// What is there, as a basis.
    pub fn reader(&mut self, len: u64) -> Option<File> {
        if len <= self.at { self.file.reader().ok() } else { None }
    }
}

/// What an earlier session left, as a basis.
pub fn stored_reader(shore: &Shore, id: &PartialId, len: u64) -> Option<File> {
    prove(shore, id).filter(|partial| len <= partial.have)?;
    let mut file = shore.destination.own().open_data(id).ok()?;
    let reader = file.reader().ok();
    file.keep().ok()?;
    reader
}

/// Leaves a file that is whole and was not installed to be resumed.
pub fn store_whole(shore: &Shore, mut file: StagedFile, ledger: Option<Ledger>, values: &[[u8; 32]]) {
    let Some(mut ledger) = ledger.filter(|ledger| !ledger.has_failed()) else { return };
    let size = ledger.intent().size;
    let n_whole = (size / kept_bytes(size)) as usize;
    let values = values.get(..n_whole).unwrap_or_default();
    if values.len() == n_whole
        && file.flush().and_then(|()| ledger.note(size, values, None)).is_ok()
        && file.keep().is_ok()
    {
        shore.partials.put(shore.destination.own(), ledger.keep());
    }
}

/// A partial whose bytes may be believed: after another boot or mount they are compared with the tree
/// once, and only what agrees is left.
pub fn prove(shore: &Shore, id: &PartialId) -> Option<StoredPartial> {
    let mut partial = shore.partials.find(id)?;
    if !partial.is_doubtful {
        return Some(partial);
    }
    let own = shore.destination.own();
    let values = load_values(own, &partial)?;
    let mut file = own.open_data(id).ok()?;
    let group = kept_bytes(partial.intent.size);
    let mut buffer = vec![0; group as usize];
    let mut n_right = 0;
    for (value, at) in values.iter().zip((0..).step_by(buffer.len())) {
        let n = file.read_at(&mut buffer, at).ok()?;
        if n < buffer.len() || group_value(&buffer, at) != *value {
            break;
        }
        n_right += 1;
    }
    file.keep().ok()?;
    partial.have = n_right * group;
    partial.is_doubtful = false;
    shore.partials.proven(id, partial.have);
    Some(partial)
}

fn intent(offer: &Offer) -> Intent {
    Intent { hash: offer.hash, size: offer.size, path: offer.path.clone() }
}

/// A random name that can not be taken for a number.
fn fresh_id() -> PartialId {
    let mut id = Secret::random().0;
    id[0] |= 0x80;
    id
}
