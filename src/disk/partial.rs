//! The record of a transfer while it comes in, so that it can be resumed after a cut or a kill.
//!
//! In the stage lie `ID.data`, which becomes the file, `ID.tree`, the chaining values of its whole
//! groups, and `ID.rec`: what the transfer is and how far it came, in two slots that are written in turn,
//! each sealed with a check. What was noted outlives the process; what was synced outlives the machine.

use super::error::DestinationError;
use super::own::OwnFolder;
use super::slot::{Slot, read_slots};
use super::stage::StagedFile;
use super::stat::Stat;
use crate::delta::groups::kept_bytes;
use crate::model::limits::{PARTIAL_SYNC_BYTES, PARTIAL_SYNC_MS};
use crate::model::{ContentHash, RelPath, Time};
use rustix::fs::{self as sys, AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a chaining value.
const VALUE_BYTES: usize = 32;

/// Names a partial in the stage.
pub type PartialId = [u8; 16];

/// What a partial is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub hash: ContentHash,
    pub size: u64,
    pub path: RelPath,
}

/// A partial that an earlier session or process left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPartial {
    pub id: PartialId,
    pub intent: Intent,
    /// Bytes from the start that are there.
    pub have: u64,
    /// They were written before the machine or its mount went down: to be compared with the tree.
    pub is_doubtful: bool,
    /// When it was noted last.
    pub noted: Time,
}

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8.
///
/// RACE: older kernels give the number of a mount again to the next one, so that a disk that was pulled out and
/// put back within one boot may look as if it had never been away.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Where a process runs: what it has written and not synced is there as long as both stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub boot: [u8; 16],
    pub mount: u64,
}

impl Life {
    /// The kernel's boot and the mount of the stage; `None` where they cannot be told.
    pub(super) fn now(dir: &OwnedFd) -> Option<Self> {
        static BOOT: OnceLock<Option<[u8; 16]>> = OnceLock::new();
        let id = (*BOOT.get_or_init(|| {
            let text = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
            blake3::hash(&text).as_bytes().first_chunk::<16>().copied()
        }))?;
        let stat = sys::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | UNIQUE_MOUNT).ok()?;
        let is_told = stat.stx_mask & (StatxFlags::MNT_ID | UNIQUE_MOUNT).bits() != 0;
        is_told.then_some(Self { boot: id, mount: stat.stx_mnt_id })
    }
}

/// Writes the record of one transfer. Dropped, unless it is kept, it removes the record.
#[derive(Debug)]
pub struct Ledger {
    id: PartialId,
    intent: Intent,
    shared: Arc<Shared>,
    n_values: usize,
    /// Over the values that are in the tree.
    values: blake3::Hasher,
    noted_at: Instant,
    synced_at: Instant,
    exists: bool,
    is_kept: bool,
}

/// What the thread that syncs needs.
#[derive(Debug)]
struct Shared {
    dir: Arc<OwnedFd>,
    life: Option<Life>,
    state: Mutex<State>,
    is_syncing: AtomicBool,
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    turn: u64,
    written: u64,
    synced: u64,
    values: [u8; 32],
}

impl Ledger {
    /// For a transfer that begins. Nothing is written before the first [`Ledger::note`].
    pub fn new(own: &OwnFolder, id: PartialId, intent: Intent) -> Self {
        Self::of(own, id, intent, &[], None)
    }

    /// For a transfer that goes on behind these whole groups.
    pub fn resume(own: &OwnFolder, id: PartialId, intent: Intent, values: &[[u8; 32]]) -> Self {
        let slot = open(&own.stage(), &id, "rec", OFlags::RDONLY).ok().and_then(|rec| read_slots(&rec));
        Self::of(own, id, intent, values, Some(slot.map_or(0, |slot| slot.turn)))
    }

    fn of(own: &OwnFolder, id: PartialId, intent: Intent, values: &[[u8; 32]], turn: Option<u64>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(values.as_flattened());
        let state = State { turn: turn.unwrap_or(0), ..State::default() };
        let shared = Shared {
            dir: own.stage(),
            life: Life::now(&own.stage()),
            state: Mutex::new(state),
            is_syncing: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        };
        let now = Instant::now();
        Self {
            id,
            intent,
            shared: Arc::new(shared),
            n_values: values.len(),
            values: hasher,
            noted_at: now,
            synced_at: now,
            exists: turn.is_some(),
            is_kept: false,
        }
    }

    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The same record for another path, with these values of whole groups, which may be fewer.
    pub fn renamed(mut self, intent: Intent, values: &[[u8; 32]]) -> Self {
        self.intent = intent;
        if values.len() < self.n_values {
            self.n_values = values.len();
            self.values = blake3::Hasher::new();
            self.values.update(values.as_flattened());
        }
        self
    }

    /// Bytes that the last note says.
    pub fn written(&self) -> u64 {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).written
    }

    /// How long ago that was.
    pub fn since_note(&self) -> Duration {
        self.noted_at.elapsed()
    }

    /// Whether a sync in the background failed: then nothing of the transfer may be believed.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    /// Notes that the data file holds the first `written` bytes, whose whole groups have these values and
    /// then, where the last is not among them yet, this one.
    pub fn note(
        &mut self,
        written: u64,
        values: &[[u8; 32]],
        last: Option<[u8; 32]>,
    ) -> Result<(), DestinationError> {
        let fail = |error| DestinationError::of_io(&"stage", error, self.shared.dir.as_fd());
        let last = last.filter(|_| self.n_values <= values.len());
        // Not put together: of a huge file that goes on far ahead it is many.
        let fresh = [values.get(self.n_values..).unwrap_or_default(), last.as_slice()];
        if !self.exists || fresh.iter().any(|values| !values.is_empty()) {
            let tree =
                open(&self.shared.dir, &self.id, "tree", OFlags::WRONLY | OFlags::CREATE).map_err(fail)?;
            for values in fresh {
                let at = (self.n_values * VALUE_BYTES) as u64;
                tree.write_all_at(values.as_flattened(), at).map_err(fail)?;
                self.values.update(values.as_flattened());
                self.n_values += values.len();
            }
        }
        self.exists = true;
        self.noted_at = Instant::now();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.written = written;
        state.values = *self.values.finalize().as_bytes();
        write_slot(&self.shared, &self.id, &self.intent, &mut state).map_err(fail)?;
        let is_due = written.saturating_sub(state.synced) >= PARTIAL_SYNC_BYTES
            || self.synced_at.elapsed() >= Duration::from_millis(PARTIAL_SYNC_MS);
        drop(state);
        if is_due && !self.shared.is_syncing.swap(true, Ordering::AcqRel) {
            self.synced_at = Instant::now();
            self.sync_behind(written);
        }
        Ok(())
    }

    /// Makes what was noted durable, in a thread of its own.
    fn sync_behind(&self, written: u64) {
        let (shared, id, intent) = (self.shared.clone(), self.id, self.intent.clone());
        std::thread::spawn(move || {
            let synced = sync(&shared.dir, &id).and_then(|()| {
                // RACE: the transfer may end here; a record without its data is swept at the next start.
                open(&shared.dir, &id, "rec", OFlags::RDONLY)?;
                let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.synced = written;
                write_slot(&shared, &id, &intent, &mut state)?;
                drop(state);
                open(&shared.dir, &id, "rec", OFlags::RDONLY)?.sync_data()
            });
            match synced {
                Ok(()) => {}
                // The transfer has ended meanwhile: nothing is to be synced any more.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => shared.has_failed.store(true, Ordering::Release),
            }
            shared.is_syncing.store(false, Ordering::Release);
        });
    }

    /// Leaves the record beside its data; returns what stands in it.
    pub fn keep(mut self) -> StoredPartial {
        self.is_kept = true;
        let (id, intent, have) = (self.id, self.intent.clone(), self.written());
        StoredPartial { id, intent, have, is_doubtful: false, noted: super::stat::now() }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if !self.is_kept && self.exists {
            for part in ["rec", "tree"] {
                let _ = sys::unlinkat(&*self.shared.dir, file_name(&self.id, part), AtFlags::empty());
            }
        }
    }
}

fn sync(dir: &OwnedFd, id: &PartialId) -> std::io::Result<()> {
    open(dir, id, "data", OFlags::RDONLY)?.sync_data()?;
    open(dir, id, "tree", OFlags::RDONLY)?.sync_data()
}

fn write_slot(shared: &Shared, id: &PartialId, intent: &Intent, state: &mut State) -> std::io::Result<()> {
    state.turn += 1;
    let slot = Slot {
        turn: state.turn,
        intent: intent.clone(),
        written: state.written,
        synced: state.synced,
        life: shared.life,
        values: state.values,
    };
    let rec = open(&shared.dir, id, "rec", OFlags::WRONLY | OFlags::CREATE)?;
    rec.write_all_at(&slot.to_bytes(), slot.offset())
}

/// The name of one of a partial's files.
pub(super) fn file_name(id: &PartialId, part: &str) -> String {
    format!("{:032x}.{part}", u128::from_be_bytes(*id))
}

/// The partial that a name in the stage belongs to.
pub(super) fn partial_of(name: &[u8]) -> Option<PartialId> {
    let text = std::str::from_utf8(name).ok()?;
    let (digits, part) = text.split_once('.')?;
    let is_ours = digits.len() == 32 && ["data", "tree", "rec"].contains(&part);
    is_ours.then(|| u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes))?
}

fn open(dir: &OwnedFd, id: &PartialId, part: &str, flags: OFlags) -> std::io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(sys::openat(dir, file_name(id, part), flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Removes all files of a partial.
pub fn remove_partial(own: &OwnFolder, id: &PartialId) {
    for part in ["rec", "tree", "data"] {
        // What stays is swept at the next start.
        let _ = sys::unlinkat(&*own.stage(), file_name(id, part), AtFlags::empty());
    }
}

/// What an earlier process left of a partial; `None` when it is damaged or cannot be read. Reads the
/// record and the tree, not the data.
pub fn load_partial(own: &OwnFolder, id: &PartialId) -> Option<StoredPartial> {
    let rec = open(&own.stage(), id, "rec", OFlags::RDONLY).ok()?;
    let slot = read_slots(&rec)?;
    let noted = Stat::of(&sys::fstat(&rec).ok()?).mtime;
    let is_doubtful = slot.life.is_none() || slot.life != Life::now(&own.stage());
    // Of the last group, which is not whole, there is no value to compare it with.
    let group = kept_bytes(slot.intent.size);
    let have = if is_doubtful { slot.synced / group * group } else { slot.written };
    let data = sys::statat(&*own.stage(), file_name(id, "data"), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let data = Stat::of(&data);
    let fits = have > 0 && have <= slot.intent.size && data.is_file() && data.size >= have;
    let partial = StoredPartial { id: *id, intent: slot.intent, have, is_doubtful, noted };
    let values = load_values(own, &partial).filter(|_| fits)?;
    let is_whole = is_doubtful || *blake3::hash(values.as_flattened()).as_bytes() == slot.values;
    is_whole.then_some(partial)
}

/// The values of its whole groups.
pub fn load_values(own: &OwnFolder, partial: &StoredPartial) -> Option<Vec<[u8; 32]>> {
    let tree = open(&own.stage(), &partial.id, "tree", OFlags::RDONLY).ok()?;
    let n_values = usize::try_from(partial.have / kept_bytes(partial.intent.size)).ok()?;
    let n_bytes = n_values.checked_mul(VALUE_BYTES)?;
    // Not more is read than there is.
    if Stat::of(&sys::fstat(&tree).ok()?).size < n_bytes as u64 {
        return None;
    }
    let mut bytes = vec![0; n_bytes];
    tree.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes.as_chunks::<VALUE_BYTES>().0.to_vec())
}

impl OwnFolder {
    /// All partials in the stage.
    pub fn partials(&self) -> Result<Vec<PartialId>, DestinationError> {
        let fail = |errno: Errno| DestinationError::of(&"the stage", errno, self.stage().as_fd());
        let mut ids = Vec::new();
        for entry in sys::Dir::read_from(&*self.stage()).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            ids.extend(partial_of(&name).filter(|_| name.ends_with(b".rec")));
        }
        Ok(ids)
    }

    /// Makes the data file of a partial.
    pub fn create_data(&self, id: &PartialId) -> Result<StagedFile, DestinationError> {
        StagedFile::create_as(self, file_name(id, "data"))
    }

    /// Opens the data file of a partial; writing goes on at its end.
    pub fn open_data(&self, id: &PartialId) -> Result<StagedFile, DestinationError> {
        StagedFile::reopen_as(self, file_name(id, "data"))
    }
}
