//! Partials that wait: what earlier sessions, or an earlier process, left of transfers.
//!
//! They are listed to a sender, resumed or leaned on, and go after a week, for space, or when there are
//! too many. One that is resumed is taken out; what comes of it is put back when its session ends.

use crate::disk::{DestinationError, OwnFolder, PartialId, StoredPartial, load_partial, now, remove_partial};
use crate::model::limits::{FRAME_BYTES, PARTIAL_SECS, PARTIALS};
use crate::proto::message::PartialInfo;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a listed partial beside its path, at most.
const INFO_BYTES: usize = 80;

/// All partials of a destination that no transfer is using, those noted last first.
#[derive(Debug, Default)]
pub struct Partials(Mutex<Vec<StoredPartial>>);

impl Partials {
    /// Reads the records in the stage; removes everything else there.
    pub fn load(own: &OwnFolder) -> Result<Self, DestinationError> {
        let partials = own.partials()?.iter().filter_map(|id| load_partial(own, id)).collect();
        let partials = Self(Mutex::new(partials));
        partials.trim(own);
        let ids: Vec<PartialId> = partials.list().iter().map(|partial| partial.id).collect();
        own.sweep_stage(&|_| false, &ids)?;
        Ok(partials)
    }

    fn list(&self) -> MutexGuard<'_, Vec<StoredPartial>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in, in place of the oldest where there are too many.
    pub fn put(&self, own: &OwnFolder, partial: StoredPartial) {
        self.list().push(partial);
        self.trim(own);
    }

    /// Removes those that are too old, and the oldest where there are too many.
    fn trim(&self, own: &OwnFolder) {
        let oldest = now().secs - PARTIAL_SECS;
        let mut list = self.list();
        list.sort_by_key(|partial| std::cmp::Reverse(partial.noted));
        let n_kept = PARTIALS.min(list.partition_point(|partial| partial.noted.secs >= oldest));
        list.drain(n_kept..).for_each(|partial| remove_partial(own, &partial.id));
    }

    pub fn find(&self, id: &PartialId) -> Option<StoredPartial> {
        self.list().iter().find(|partial| partial.id == *id).cloned()
    }

    /// Takes one out, to be written on.
    pub fn take(&self, id: &PartialId) -> Option<StoredPartial> {
        let mut list = self.list();
        let index = list.iter().position(|partial| partial.id == *id)?;
        Some(list.remove(index))
    }

    /// Says that one was compared with its tree as far as this.
    pub fn proven(&self, id: &PartialId, have: u64) {
        if let Some(partial) = self.list().iter_mut().find(|partial| partial.id == *id) {
            (partial.have, partial.is_doubtful) = (have, false);
        }
    }

    pub fn forget(&self, own: &OwnFolder, id: &PartialId) {
        if self.take(id).is_some() {
            remove_partial(own, id);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Removes the oldest, for space.
    pub fn make_room(&self, own: &OwnFolder) {
        if let Some(oldest) = self.list().pop() {
            tracing::info!(path = %oldest.intent.path, "what came of it goes, for space");
            remove_partial(own, &oldest.id);
        }
    }

    /// What a greeting lists; no more than fits it.
    pub fn infos(&self, own: &OwnFolder) -> Vec<PartialInfo> {
        self.trim(own);
        let mut message_bytes = 0;
        let fits = |partial: &&StoredPartial| {
            message_bytes += partial.intent.path.as_bytes().len() + INFO_BYTES;
            message_bytes < FRAME_BYTES / 2
        };
        let list = self.list();
        let fitting = list.iter().take_while(fits).take(PARTIALS);
        let info = |partial: &StoredPartial| PartialInfo {
            name: partial.id,
            hash: partial.intent.hash,
            size: partial.intent.size,
            have: partial.have,
            path: partial.intent.path.clone(),
        };
        fitting.map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Destination, Intent, Ledger, Root};
    use crate::model::{ContentHash, RelPath};
    use std::time::{Duration, SystemTime};

    const ID: PartialId = [0x81; 16];
    const BYTES: u64 = 100_000;

    /// Leaves a partial in the stage.
    fn leave(own: &OwnFolder) -> StoredPartial {
        let mut data = own.create_data(&ID).unwrap();
        data.write(&vec![7; BYTES as usize]).unwrap();
        data.keep().unwrap();
        let path = RelPath::parse(b"f").unwrap();
        let mut ledger = Ledger::new(own, ID, Intent { hash: ContentHash([1; 32]), size: 2 * BYTES, path });
        ledger.note(BYTES, &[[9; 32]], None).unwrap();
        ledger.keep()
    }

    fn destination(dir: &std::path::Path) -> Destination {
        Destination::open(Root::open_destination(dir).unwrap(), [7; 16]).unwrap()
    }

    fn n_staged(dir: &std::path::Path) -> usize {
        std::fs::read_dir(dir.join(".strait/stage")).unwrap().count()
    }

    #[test]
    fn what_nobody_came_back_for_is_gone_after_a_week_at_the_next_start() {
        for (days, n_left) in [(6, 1), (8, 0)] {
            let dir = tempfile::tempdir().unwrap();
            let destination = destination(dir.path());
            leave(destination.own());
            let record = dir.path().join(".strait/stage").join(format!("{}.rec", "81".repeat(16)));
            let then = SystemTime::now() - Duration::from_secs(days * 24 * 3_600);
            std::fs::File::options().write(true).open(record).unwrap().set_modified(then).unwrap();
            let partials = Partials::load(destination.own()).unwrap();
            assert_eq!(partials.infos(destination.own()).len(), n_left, "{days} days");
            assert_eq!(n_staged(dir.path()), 3 * n_left, "{days} days");
        }
    }

    // A server that ran for weeks kept them until it was started again.
    #[test]
    fn what_nobody_came_back_for_is_gone_after_a_week_under_a_server_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let destination = destination(dir.path());
        let partials = Partials::load(destination.own()).unwrap();
        let partial = leave(destination.own());
        partials.put(destination.own(), partial);
        assert_eq!(partials.infos(destination.own()).len(), 1);
        partials.list()[0].noted.secs -= PARTIAL_SECS + 1;
        assert!(partials.infos(destination.own()).is_empty());
        assert_eq!(n_staged(dir.path()), 0);
    }
}
