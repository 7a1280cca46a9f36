//! The trash of a destination while it is served: its bounds, and a thread that keeps them.
//!
//! Old entries go when they are older than their days, when all together are larger than their
//! share, and first of all when the disk fills. Each goes by a rename to where it is then removed,
//! so that nobody waits for more than that; whatever a crash leaves there goes at the next start.

use super::options::{TrashOptions, TrashSize};
use super::shore::Shore;
use crate::disk::{Destination, DestinationError, Extent, TrashFolder, Trashed, now};
use crate::model::limits::{LOW_SPACE_BYTES, LOW_SPACE_INODES};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Without a removal the trash is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// Removals come in bursts: between two looks there is at least this.
const PAUSE: Duration = Duration::from_secs(2);
const DAY_S: i64 = 86_400;

/// What is kept of what was removed.
pub struct Trash {
    options: TrashOptions,
    /// Measured once each; the lock also keeps two from throwing away at a time.
    extents: Mutex<BTreeMap<u64, Extent>>,
    wake: Mutex<Option<SyncSender<()>>>,
    stop: AtomicBool,
}

impl Trash {
    pub fn new(options: TrashOptions) -> Self {
        let stop = AtomicBool::new(false);
        Self { options, extents: Mutex::default(), wake: Mutex::new(None), stop }
    }

    pub fn options(&self) -> &TrashOptions {
        &self.options
    }

    /// Begins to keep the bounds, in a thread that ends with the shore.
    pub fn start(shore: &Arc<Shore>) {
        let (wake, woken) = sync_channel(1);
        *shore.trash.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
        let shore = Arc::downgrade(shore);
        std::thread::spawn(move || keep_bounds(&shore, &woken));
    }

    /// Something was removed.
    pub fn wake(&self) {
        if let Some(wake) = &*self.wake.lock().unwrap_or_else(PoisonError::into_inner) {
            // Full: it is about to look anyway.
            let _ = wake.try_send(());
        }
    }

    /// Ends what is being emptied, as soon as it can; the rest goes at the next start.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Throws away what is older or more than the bounds allow.
    pub fn tend(&self, destination: &Destination) {
        let trash = destination.own().trash();
        let mut extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.try_tend(trash, &mut extents) {
            tracing::warn!(%error, "the trash could not be emptied");
        }
    }

    fn try_tend(
        &self,
        trash: &TrashFolder,
        extents: &mut BTreeMap<u64, Extent>,
    ) -> Result<(), DestinationError> {
        trash.sweep(&self.stop)?;
        let kept = trash.list()?;
        let is_there = |id: &u64| kept.binary_search_by_key(id, |trashed| trashed.id).is_ok();
        extents.retain(|id, _| is_there(id));
        for trashed in &kept {
            extents.entry(trashed.id).or_insert_with(|| trash.extent(trashed, &self.stop));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (_, _, disk_bytes) = trash.space()?;
        let sizes: Vec<u64> = kept.iter().map(|trashed| extents[&trashed.id].bytes).collect();
        for trashed in &kept[..self.n_surplus(&kept, &sizes, disk_bytes, now().secs)] {
            trash.discard(trashed)?;
            extents.remove(&trashed.id);
        }
        trash.sweep(&self.stop)?;
        Ok(())
    }

    /// How many of the oldest have to go.
    fn n_surplus(&self, kept: &[Trashed], sizes: &[u64], disk_bytes: u64, now_s: i64) -> usize {
        if !self.options.is_on() {
            return kept.len();
        }
        let oldest_s = now_s.saturating_sub(i64::from(self.options.days).saturating_mul(DAY_S));
        let n_expired = kept.iter().take_while(|trashed| trashed.removed().secs < oldest_s).count();
        let budget = match self.options.size {
            TrashSize::Bytes(bytes) => bytes,
            TrashSize::Percent(percent) => disk_bytes / 100 * u64::from(percent),
        };
        let mut total: u64 = sizes.iter().sum();
        let n_large = sizes.iter().take_while(|&&bytes| {
            let is_over = total > budget;
            total = total.saturating_sub(bytes);
            is_over
        });
        n_expired.max(n_large.count())
    }

    /// Sees to it that so many bytes can be written, as far as what was removed can give them;
    /// oldest first. Costs one question to the file system while there is room.
    pub fn make_room(&self, destination: &Destination, bytes: u64) {
        let trash = destination.own().trash();
        let is_enough = || {
            let (free, inodes, _) = trash.space().ok()?;
            Some(free >= bytes.saturating_add(LOW_SPACE_BYTES) && inodes >= LOW_SPACE_INODES)
        };
        if is_enough().unwrap_or(true) {
            return;
        }
        let mut extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        let never = AtomicBool::new(false);
        let mut give = || -> Result<(), DestinationError> {
            trash.sweep(&never)?;
            for trashed in trash.list()? {
                if is_enough().unwrap_or(true) {
                    break;
                }
                trash.discard(&trashed)?;
                extents.remove(&trashed.id);
                trash.sweep(&never)?;
            }
            Ok(())
        };
        if let Err(error) = give() {
            tracing::warn!(%error, "the trash could not be emptied to make room");
        }
    }
}

fn keep_bounds(shore: &Weak<Shore>, woken: &Receiver<()>) {
    loop {
        match shore.upgrade() {
            Some(shore) => shore.trash.tend(&shore.destination),
            None => return,
        }
        match woken.recv_timeout(LOOK_EVERY) {
            Ok(()) => std::thread::sleep(PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_and_size_take_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let root = crate::disk::Root::open_destination(dir.path()).unwrap();
        let destination = Destination::open(root, [1; 16]).unwrap();
        let now_s = now().secs;
        let days_ago = |days: i64| {
            let name = format!("{:016x} f", (now_s - days * DAY_S) * 1_000_000_000 + days);
            std::fs::write(dir.path().join(".strait/trash").join(name), "x").unwrap();
        };
        [9, 8, 6, 1].into_iter().for_each(days_ago);
        let kept = destination.own().trash().list().unwrap();
        let n_surplus = |days, size| {
            let trash = Trash::new(TrashOptions { days, size, keep_replaced: false });
            trash.n_surplus(&kept, &[10, 20, 30, 40], 1_000, now_s)
        };
        let percent = TrashSize::Percent;
        assert_eq!(n_surplus(7, percent(10)), 2);
        assert_eq!(n_surplus(10, percent(10)), 0);
        assert_eq!(n_surplus(10, percent(9)), 1);
        assert_eq!(n_surplus(10, TrashSize::Bytes(40)), 3);
        assert_eq!(n_surplus(10, TrashSize::Bytes(39)), 4);
        assert_eq!(n_surplus(u32::MAX, percent(90)), 0);
        for (days, size) in [(0, percent(10)), (7, percent(0)), (7, TrashSize::Bytes(0))] {
            assert_eq!(n_surplus(days, size), 4, "off");
        }
        let off = Trash::new(TrashOptions { days: 0, size: percent(10), keep_replaced: false });
        off.tend(&destination);
        assert!(destination.own().trash().list().unwrap().is_empty());
    }
}
