//! How a scan is asked for, and what it finds beside the tree.

use super::stat::{DirId, FileType, Stat};
use crate::model::{ContentHash, Kind, RelPath, Time};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// What the scope says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// Left out because its name begins with a dot.
    Hidden,
    /// Left out because a rule says so.
    Excluded,
}

/// When files whose hash is not known are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// In this scan.
    Now,
    /// Afterwards, by the caller: they are listed as pending.
    Later,
}

/// What becomes of sockets, FIFOs and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Of a source: counted, in no tree.
    LeaveOut,
    /// Of a destination: in the tree, as what no source holds, so that it goes or is replaced like
    /// everything else that does not belong there.
    Show,
}

/// How far a scan is; bytes are of files that are read.
#[derive(Debug, Default)]
pub struct Progress {
    pub entries: AtomicU64,
    pub bytes_hashed: AtomicU64,
    pub bytes_to_hash: AtomicU64,
    /// Files that were read and have extended attributes or ACLs.
    pub with_attributes: AtomicU64,
}

/// Hears of a directory, and which one it is.
pub type BeforeList<'a> = &'a (dyn Fn(&RelPath, DirId) + Sync);

/// How to scan.
pub struct Options<'a> {
    /// Asked for every entry that could be carried; a directory left out is not entered.
    pub filter: &'a (dyn Fn(&RelPath, Kind) -> Verdict + Sync),
    /// Told each directory right before it is listed: the place to watch it. A rescan tells
    /// directories again; one with another identity than before needs a new watch. `None` where
    /// nothing is watched: that saves a call for each directory.
    pub before_list: Option<BeforeList<'a>>,
    pub hashing: Hashing,
    pub special: Special,
    /// Number of threads; 0 for one per core.
    pub n_threads: usize,
    pub progress: &'a Progress,
    /// Raised to end the scan early.
    pub stop: &'a AtomicBool,
}

/// What an error kept from being seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The entry at the path.
    Entry,
    /// Names of the directory at the path.
    Listing,
    /// A name in it that no path can hold: too long or too deep.
    Unfit,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub path: RelPath,
    pub what: What,
    /// For people.
    pub error: String,
}

/// What is not carried over, counted; directories and files alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Files with more than one name.
    pub n_hardlinked: u64,
    /// Entries whose owner is not the root directory's.
    pub n_other_owner: u64,
    /// Entries with suid, sgid or sticky bits.
    pub n_masked_modes: u64,
}

/// Device and inode.
pub type Inode = (u64, u64);

/// One name of a file that has more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    pub path: RelPath,
    pub inode: Inode,
    /// Content and mtime of the file when it was last read, under whatever name.
    pub earlier: Option<(ContentHash, Time)>,
}

/// What a scan found beside the tree. After a rescan it speaks of the listed directories only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub n_hidden: u64,
    pub n_excluded: u64,
    /// Sockets, FIFOs and devices.
    pub n_special: u64,
    /// Whether a folder `.strait` stands at the root; it is never part of the tree.
    pub has_own_folder: bool,
    /// Directories below the root that hold the folder of a destination, with its id.
    pub destinations: Vec<(RelPath, [u8; 16])>,
    pub unreadable: Vec<Unreadable>,
    /// Files that kept changing while they were read; left out of the tree.
    pub unstable: Vec<RelPath>,
    /// Files in the tree whose content is not known yet.
    pub pending: Vec<RelPath>,
    /// Files with more than one name.
    pub linked: Vec<Linked>,
    pub notes: Notes,
}

impl Unreadable {
    pub(super) fn new(path: &RelPath, what: What, error: &dyn fmt::Display) -> Self {
        Self { path: path.clone(), what, error: error.to_string() }
    }
}

impl Notes {
    pub(super) fn add(&mut self, stat: &Stat, uid: u32) {
        self.n_hardlinked += u64::from(stat.is_file() && stat.n_links > 1);
        self.n_other_owner += u64::from(stat.uid != uid);
        self.n_masked_modes += u64::from(stat.file_type != FileType::Link && stat.mode & !0o777 != 0);
    }
}

impl Findings {
    /// Whether everything in scope was seen and read.
    pub fn is_healthy(&self) -> bool {
        self.unreadable.is_empty() && self.unstable.is_empty()
    }

    /// Whether something at or below a path that is not in the tree may exist all the same, because
    /// it could not be seen or read: it must not be deleted elsewhere.
    pub fn hides(&self, path: &RelPath) -> bool {
        let unreadable = self.unreadable.iter().map(|unreadable| &unreadable.path);
        let mut hidden = unreadable.chain(&self.unstable);
        hidden.any(|hidden| path.is_at_or_below(hidden) || hidden.is_at_or_below(path))
    }

    /// Directories of which not all names are known: no delete in them may be concluded.
    pub fn incomplete_dirs(&self) -> impl Iterator<Item = &RelPath> {
        let listings = self.unreadable.iter().filter(|unreadable| unreadable.what != What::Entry);
        listings.map(|unreadable| &unreadable.path)
    }

    /// Whether the system let every directory be listed.
    pub fn is_listed(&self) -> bool {
        self.unreadable.iter().all(|unreadable| unreadable.what != What::Listing)
    }

    pub(super) fn add(&mut self, other: Findings) {
        self.n_hidden += other.n_hidden;
        self.n_excluded += other.n_excluded;
        self.n_special += other.n_special;
        self.has_own_folder |= other.has_own_folder;
        self.destinations.extend(other.destinations);
        self.unreadable.extend(other.unreadable);
        self.unstable.extend(other.unstable);
        self.pending.extend(other.pending);
        self.linked.extend(other.linked);
        self.notes.n_hardlinked += other.notes.n_hardlinked;
        self.notes.n_other_owner += other.notes.n_other_owner;
        self.notes.n_masked_modes += other.notes.n_masked_modes;
    }
}
