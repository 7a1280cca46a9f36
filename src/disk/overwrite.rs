//! Writing over a file in place, so that it is the old or the new one after any crash.
//!
//! All that changes lies in a staged file first, at its own offsets, and its hash was right. Then a record
//! says which ranges go into which file; from the moment that it is durable the file shall be the new one:
//! what a crash left half done the next start does again, before anything is served. Until then nothing of
//! the file was touched.

use super::destination::Destination;
use super::edit::{Edit, EditKind, Overlay};
use super::error::DestinationError;
use super::metadata::timestamps;
use super::own::OwnFolder;
use super::stage::StagedFile;
use super::stat::Stat;
use crate::model::RelPath;
use crate::model::limits::MIB;
use rustix::fs::{self as sys, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// What the name of a record ends with; before that stands the number of its staged file.
const RECORD: &str = ".over";
/// Longest record that is read.
const RECORD_BYTES: u64 = 1 << 28;

/// Asked before each write, sync and change of a name; an error stands for a crash there. Tests alone use it.
pub(super) type Gate<'g> = dyn FnMut() -> io::Result<()> + 'g;

/// Why nothing was written over. The file is what it was.
#[derive(Debug, thiserror::Error)]
pub enum OverwriteError {
    /// It is another file by now, was changed, has another name too, or cannot be opened for writing: it
    /// must be made anew.
    #[error("the file is not one that can be written over")]
    Unfit,
    /// The disk does not do it (class: file). What was begun goes on at the next start.
    #[error(transparent)]
    Failed(#[from] DestinationError),
}

impl Destination {
    /// Writes an overlay over the file at its path, if that is still the file of this stat.
    ///
    /// Returns its stat when content, mode, time and the end of the record are durable.
    ///
    /// RACE: what somebody else writes into it meanwhile stays, as if it had been written right afterwards;
    /// where that falls between the last write and the stat that is returned, only reading the file tells.
    pub fn overwrite(
        &self,
        staged: &mut StagedFile,
        overlay: &Overlay,
        before: &Stat,
    ) -> std::result::Result<Stat, OverwriteError> {
        self.overwrite_gated(staged, overlay, before, &mut || Ok(()))
    }

    pub(super) fn overwrite_gated(
        &self,
        staged: &mut StagedFile,
        overlay: &Overlay,
        before: &Stat,
        gate: &mut Gate<'_>,
    ) -> std::result::Result<Stat, OverwriteError> {
        // What is under way is ended first: its record must not be followed after this one.
        self.finish_overwrites()?;
        let fail = |error| self.fail_io(&overlay.path, error);
        let file = self.open_over(&overlay.path).map_err(|_| OverwriteError::Unfit)?;
        let stat = Stat::of(&sys::fstat(&file).map_err(|errno| fail(errno.into()))?);
        if !stat.is_same_version(before) || stat.n_links != 1 {
            return Err(OverwriteError::Unfit);
        }
        gate().map_err(fail)?;
        reserve(&file, overlay).map_err(|errno| fail(errno.into()))?;
        gate().map_err(fail)?;
        staged.sync()?;
        let record = format!("{}{RECORD}", staged.name());
        // From here on it must be there as long as the record may be.
        staged.set_stays(true);
        self.write_record(&record, overlay, gate).map_err(fail)?;
        let source = staged.reader()?;
        let mut read = |buffer: &mut [u8], at| source.read_at(buffer, at);
        apply(&file, overlay, &mut read, gate).map_err(fail)?;
        self.end_record(&record, gate).map_err(fail)?;
        staged.set_stays(false);
        Ok(Stat::of(&sys::fstat(&file).map_err(|errno| fail(errno.into()))?))
    }

    /// Ends what an earlier run, or a failure, left half written over; returns how many files that were.
    pub(super) fn finish_overwrites(&self) -> std::result::Result<usize, DestinationError> {
        self.finish_overwrites_gated(&mut || Ok(()))
    }

    pub(super) fn finish_overwrites_gated(
        &self,
        gate: &mut Gate<'_>,
    ) -> std::result::Result<usize, DestinationError> {
        let own = self.own();
        let fail = |error| self.fail_io(&"the stage", error);
        let mut n_done = 0;
        for record in records(own).map_err(|errno| fail(errno.into()))? {
            let overlay = read_record(own, &record).map_err(fail)?;
            // A record that is not whole was never followed.
            if let Some(overlay) = overlay {
                n_done += usize::from(self.redo(&record, &overlay, gate).map_err(fail)?);
            }
            self.end_record(&record, gate).map_err(fail)?;
            // What stays is swept at the next start.
            let _ = sys::unlinkat(&*own.stage(), staged_of(&record), AtFlags::empty());
        }
        Ok(n_done)
    }

    /// Does again what a record says; `false` when its file is another by now.
    fn redo(&self, record: &str, overlay: &Overlay, gate: &mut Gate<'_>) -> io::Result<bool> {
        let file = match self.open_over(&overlay.path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let stage = self.own().stage();
        let stage = &*stage;
        // A device has another number after a restart of the machine, a file system does not change.
        let (stat, here) = (Stat::of(&sys::fstat(&file)?), Stat::of(&sys::fstat(stage)?));
        if stat.ino != overlay.ino || stat.dev != here.dev || !stat.is_file() || stat.n_links != 1 {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let staged = match sys::openat(stage, staged_of(record), flags, Mode::empty()) {
            // It goes after its record: this one came back without ever having been needed.
            Err(Errno::NOENT) => return Ok(false),
            result => File::from(result?),
        };
        let mut read = |buffer: &mut [u8], at| staged.read_at(buffer, at);
        apply(&file, overlay, &mut read, gate)?;
        Ok(true)
    }

    fn open_over(&self, path: &RelPath) -> Result<File> {
        let (dir, name) = self.root().parent_of(path)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(sys::openat(&dir, name.as_bytes(), flags, Mode::empty())?.into())
    }

    fn write_record(&self, record: &str, overlay: &Overlay, gate: &mut Gate<'_>) -> io::Result<()> {
        let stage = self.own().stage();
        let stage = &*stage;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        gate()?;
        let file = File::from(sys::openat(stage, record, flags, Mode::RUSR | Mode::WUSR)?);
        let bytes = overlay.to_bytes();
        // In two, so that a record may be cut anywhere.
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        gate()?;
        file.write_all_at(head, 0)?;
        gate()?;
        file.write_all_at(tail, head.len() as u64)?;
        gate()?;
        file.sync_all()?;
        gate()?;
        Ok(sys::fsync(stage)?)
    }

    /// Removes a record, durably: it must not come back when the file is a later one.
    fn end_record(&self, record: &str, gate: &mut Gate<'_>) -> io::Result<()> {
        let stage = self.own().stage();
        let stage = &*stage;
        gate()?;
        match sys::unlinkat(stage, record, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        gate()?;
        Ok(sys::fsync(stage)?)
    }

    fn fail_io(&self, path: &dyn std::fmt::Display, error: io::Error) -> DestinationError {
        DestinationError::of_io(path, error, self.root().dir.as_fd())
    }
}

/// Takes the space for what will be written, so that a full disk is found before anything is.
fn reserve(file: &File, overlay: &Overlay) -> Result<()> {
    for edit in overlay.edits.iter().filter(|edit| edit.kind == EditKind::Bytes) {
        match sys::fallocate(file, FallocateFlags::KEEP_SIZE, edit.offset, edit.len) {
            Ok(()) => {}
            // Then it is found later, and the record stays until there is space.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes the file the new one. Doing it again changes nothing.
fn apply(
    file: &File,
    overlay: &Overlay,
    read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    gate: &mut Gate<'_>,
) -> io::Result<()> {
    let mut buffer = vec![0; MIB];
    for edit in &overlay.edits {
        gate()?;
        match edit.kind {
            EditKind::Bytes => copy(file, edit, &mut buffer, read, gate)?,
            EditKind::Zeros => punch(file, edit, &mut buffer)?,
        }
    }
    gate()?;
    sys::ftruncate(file, overlay.size)?;
    gate()?;
    sys::futimens(file, &timestamps(overlay.meta.mtime))?;
    sys::fchmod(file, Mode::from_raw_mode(u32::from(overlay.meta.mode)))?;
    gate()?;
    file.sync_all()
}

fn copy(
    file: &File,
    edit: &Edit,
    buffer: &mut [u8],
    read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    gate: &mut Gate<'_>,
) -> io::Result<()> {
    let (mut at, end) = (edit.offset, edit.offset + edit.len);
    while at < end {
        let n = buffer.len().min(usize::try_from(end - at).unwrap_or(buffer.len()));
        let n = read(&mut buffer[..n], at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&buffer[..n], at)?;
        at += n as u64;
        gate()?;
    }
    Ok(())
}

fn punch(file: &File, edit: &Edit, buffer: &mut [u8]) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match sys::fallocate(file, flags, edit.offset, edit.len) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    buffer.fill(0);
    let (mut at, end) = (edit.offset, edit.offset + edit.len);
    while at < end {
        let n = buffer.len().min(usize::try_from(end - at).unwrap_or(buffer.len()));
        file.write_all_at(&buffer[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

fn records(own: &OwnFolder) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in sys::Dir::read_from(&*own.stage())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| name.ends_with(RECORD)));
    }
    // One number after another, as they were written.
    names.sort();
    Ok(names)
}

/// The staged file of a record.
fn staged_of(record: &str) -> &str {
    record.strip_suffix(RECORD).unwrap_or(record)
}

/// What a record says; `None` when it is not whole.
fn read_record(own: &OwnFolder, record: &str) -> io::Result<Option<Overlay>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(sys::openat(&*own.stage(), record, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, RECORD_BYTES), &mut bytes)?;
    Ok(Overlay::parse(&bytes))
}
