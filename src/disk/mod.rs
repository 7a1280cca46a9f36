//! Floor 3: the file systems of both sides, and the only owner of `rustix`.
//!
//! Everything here blocks and is called from threads. Each operation starts at the held
//! descriptor of a [`Root`] and works on descriptors from there: no symlink below a root is ever
//! followed and nothing outside it is reached, whatever happens to names meanwhile. What the
//! source and the destination share (walking, reading) comes first, what only a destination does
//! (staging, installing, cleaning) after it. Nothing here knows of trees other than as the result
//! of a scan, nor of messages, nor of the state store.

mod contents;
mod file;
mod findings;
mod listing;
mod resolve;
mod root;
mod scan;
mod stat;
mod walk;

pub use contents::{ContentSink, Contents, Hashed, Indexing, hash_pending};
pub use file::File;
pub use findings::{Findings, Hashing, Notes, Options, Progress, Unreadable, Verdict, What};
pub use root::{Root, RootError};
pub use scan::{Rescan, Scan, ScanError, Touched, rescan, scan};
pub use stat::{DirId, FileType, RACY_MS, Stat, now};

#[cfg(test)]
mod tests;
