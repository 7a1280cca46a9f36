//! Floor 3: the file systems of both sides, and the only owner of `rustix`.
//!
//! Everything here blocks and is called from threads. Each operation starts at the held
//! descriptor of a [`Root`] and works on descriptors from there: no symlink below a root is ever
//! followed and nothing outside it is reached, whatever happens to names meanwhile. What the
//! source and the destination share (walking, reading) comes first, what only a destination does
//! (staging, installing, cleaning) after it. Nothing here knows of trees other than as the result
//! of a scan, nor of messages, nor of the state store.

mod clean;
mod contents;
mod destination;
mod edit;
mod error;
mod exchange;
mod file;
mod findings;
mod listing;
mod lock;
mod metadata;
mod overwrite;
mod own;
mod partial;
mod probe;
mod removal;
mod resolve;
mod root;
mod salvage;
pub mod sandbox;
mod scan;
mod slot;
mod spare;
mod stage;
mod stat;
mod trash;
mod walk;

pub use clean::{CleanError, Occupancy, clean, may_clean, occupancy};
pub use contents::{ContentSink, Contents, Hashed, Indexing, hash_pending};
pub use destination::Destination;
pub use edit::{Edit, EditKind, Overlay};
pub use error::DestinationError;
pub use file::File;
pub use findings::{
    BeforeList, Findings, Hashing, Inode, Linked, Notes, Options, Progress, Special, Unreadable, Verdict,
    What,
};
pub use overwrite::OverwriteError;
pub use own::{OwnFolder, OwnFolderError, id_of};
pub use partial::{Intent, Ledger, PartialId, StoredPartial, load_partial, load_values, remove_partial};
pub use probe::{Keeps, file_system_id, free_bytes, probe};
pub use root::{Root, RootError};
pub use salvage::{SalvageError, salvage};
pub use scan::{Rescan, Scan, ScanError, Touched, rescan, scan};
pub use spare::Spare;
pub use stage::{NotInstalled, StagedFile};
pub use stat::{DirId, FileType, RACY_MS, Stat, now};
pub use trash::{Extent, TrashFolder, Trashed};

#[cfg(test)]
mod tests;
