//! Listing one directory: its names, the stat of each, and what the scope says of them.

use super::file::has_attributes;
use super::findings::{Findings, Hashing, Inode, Linked, Options, Special, Unreadable, Verdict, What};
use super::own::id_in;
use super::resolve::is_dot;
use super::root::Root;
use super::stat::{DirId, FileType, Stat};
use crate::disk::Contents;
use crate::model::path::OWN_FOLDER;
use crate::model::{Content, Kind, Leaf, Meta, Name, RelPath, Time};
use rustix::fs::{self as sys, AtFlags, RawDir, RawDirEntry};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Bytes of names asked of the kernel at once.
const NAMES_BYTES: usize = 32 * 1024;

/// A directory as it was listed.
pub(super) struct Listed {
    pub(super) id: DirId,
    pub(super) meta: Meta,
    pub(super) entries: Vec<(Name, Found)>,
    /// Subdirectories, in the order of the listing.
    pub(super) subdirs: Vec<(RelPath, DirId)>,
    /// Files to be read: index into `entries`, and where they lie on the disk.
    pub(super) unhashed: Vec<(u32, Inode)>,
    pub(super) findings: Findings,
}

/// One entry of a listed directory.
pub(super) enum Found {
    Leaf(Leaf),
    Dir(Meta),
    /// Left out of the tree: it vanished or cannot be read.
    Nothing,
}

impl Found {
    /// Bytes of a file or of a symlink's target.
    pub(super) fn size(&self) -> u64 {
        match self {
            Found::Leaf(leaf) => leaf.size,
            Found::Dir(_) | Found::Nothing => 0,
        }
    }
}

/// What a listing works with.
pub(super) struct Lister<'a> {
    pub(super) root: &'a Root,
    pub(super) contents: &'a dyn Contents,
    pub(super) options: &'a Options<'a>,
    /// Owner of the root directory.
    pub(super) uid: u32,
}

impl Lister<'_> {
    /// Lists one directory, telling the watch first.
    ///
    /// # Errors
    /// When it cannot be opened; an error further on makes the listing incomplete instead.
    pub(super) fn list(&self, path: &RelPath) -> io::Result<Listed> {
        let dir = self.root.open_dir(path)?;
        let (mut stat, born) = Stat::with_birth(&dir, b"")?;
        let id = stat.dir_id(born);
        if let Some(before_list) = self.options.before_list {
            before_list(path, id);
            // Looked at again: a change before the watch began raises no event, one after it does.
            stat = Stat::of(&sys::fstat(&dir)?);
        }
        let mut listed = Listed {
            id,
            meta: stat.meta(),
            entries: Vec::new(),
            subdirs: Vec::new(),
            unhashed: Vec::new(),
            findings: Findings::default(),
        };
        self.read_names(path, &dir, &mut listed);
        let has_attributes = u64::from(has_attributes(&dir));
        self.options.progress.with_attributes.fetch_add(has_attributes, Ordering::Relaxed);
        self.options.progress.entries.fetch_add(listed.entries.len() as u64, Ordering::Relaxed);
        Ok(listed)
    }

    fn read_names(&self, path: &RelPath, dir: &OwnedFd, listed: &mut Listed) {
        let mut buffer = vec![MaybeUninit::uninit(); NAMES_BYTES];
        let mut names = RawDir::new(dir, &mut buffer);
        while let Some(entry) = names.next() {
            match entry {
                Ok(entry) if is_dot(entry.file_name()) => {}
                Ok(entry) => self.take(path, dir, &entry, listed),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let unreadable = Unreadable::new(path, What::Listing, &errno);
                    return listed.findings.unreadable.push(unreadable);
                }
            }
        }
    }

    fn take(&self, parent: &RelPath, dir: &OwnedFd, entry: &RawDirEntry, listed: &mut Listed) {
        let bytes = entry.file_name().to_bytes();
        if parent.is_root() && bytes == OWN_FOLDER {
            listed.findings.has_own_folder = true;
            return;
        }
        if bytes == OWN_FOLDER
            && let Some(id) = id_in(dir)
        {
            listed.findings.destinations.push((parent.clone(), id));
        }
        let named = Name::parse(bytes).and_then(|name| Ok((parent.join(&name)?, name)));
        let (path, name) = match named {
            Ok(named) => named,
            Err(error) => {
                let text = format!("{}: {error}", bytes.escape_ascii());
                return listed.findings.unreadable.push(Unreadable::new(parent, What::Unfit, &text));
            }
        };
        // Of a directory the birth is asked with the rest.
        let is_file = entry.file_type() == sys::FileType::RegularFile;
        let call = || match is_file {
            true => Ok((Stat::of(&sys::statat(dir, bytes, AtFlags::SYMLINK_NOFOLLOW)?), Time::default())),
            false => Stat::with_birth(dir, bytes),
        };
        match self.root.opened_up(&[dir.as_fd()], call) {
            Ok((stat, born)) => self.take_entry(path, name, dir, (&stat, born), listed),
            Err(Errno::NOENT) => {}
            Err(errno) => listed.findings.unreadable.push(Unreadable::new(&path, What::Entry, &errno)),
        }
    }

    fn take_entry(
        &self,
        path: RelPath,
        name: Name,
        dir: &OwnedFd,
        (stat, born): (&Stat, Time),
        listed: &mut Listed,
    ) {
        let Some(kind) = stat.file_type.kind() else {
            listed.findings.n_special += 1;
            return self.take_special(&path, name, stat, listed);
        };
        match (self.options.filter)(&path, kind) {
            Verdict::Take => {}
            Verdict::Hidden => return listed.findings.n_hidden += 1,
            Verdict::Excluded => return listed.findings.n_excluded += 1,
        }
        listed.findings.notes.add(stat, self.uid);
        if stat.is_file() && stat.n_links > 1 {
            let (path, inode) = (path.clone(), (stat.dev, stat.ino));
            listed.findings.linked.push(Linked { path, inode, earlier: self.contents.earlier(stat) });
        }
        let found = match kind {
            Kind::Dir => {
                listed.subdirs.push((path, stat.dir_id(born)));
                Found::Dir(stat.meta())
            }
            Kind::Link => self.read_link(&path, dir, &name, stat, &mut listed.findings),
            Kind::File => self.take_file(path, stat, listed),
        };
        listed.entries.push((name, found));
    }

    fn take_special(&self, path: &RelPath, name: Name, stat: &Stat, listed: &mut Listed) {
        if let (Special::Show, FileType::Other(word)) = (self.options.special, stat.file_type)
            && (self.options.filter)(path, Kind::File) == Verdict::Take
        {
            listed.entries.push((name, Found::Leaf(Leaf::special(stat.meta(), word))));
        }
    }

    fn take_file(&self, path: RelPath, stat: &Stat, listed: &mut Listed) -> Found {
        let content = match self.contents.known(stat) {
            Some(hash) => Content::Whole(hash),
            None => Content::Unknown,
        };
        if content == Content::Unknown {
            match self.options.hashing {
                Hashing::Now => listed.unhashed.push((listed.entries.len() as u32, (stat.dev, stat.ino))),
                Hashing::Later => listed.findings.pending.push(path),
            }
        }
        Found::Leaf(Leaf { kind: Kind::File, meta: stat.meta(), size: stat.size, content })
    }

    fn read_link(
        &self,
        path: &RelPath,
        dir: &OwnedFd,
        name: &Name,
        stat: &Stat,
        findings: &mut Findings,
    ) -> Found {
        debug_assert_eq!(stat.file_type, FileType::Link, "only symlinks have a target");
        let call = || sys::readlinkat(dir, name.as_bytes(), Vec::new());
        match self.root.opened_up(&[dir.as_fd()], call) {
            Ok(target) => Found::Leaf(Leaf::link(stat.mtime, target.to_bytes())),
            Err(Errno::NOENT) => Found::Nothing,
            Err(errno) => {
                findings.unreadable.push(Unreadable::new(path, What::Entry, &errno));
                Found::Nothing
            }
        }
    }
}
