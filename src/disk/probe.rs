//! What a destination can keep of an entry, found out by trying in its own folder.

use super::error::DestinationError;
use super::metadata::timestamps;
use super::own::OwnFolder;
use super::stat::Stat;
use crate::model::Time;
use crate::model::limits::NAME_BYTES;
use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, OwnedFd};

const FILE: &str = "probe";
const LINK: &str = "probe-link";
const CLONE: &str = "probe-clone";
/// Two spellings that fold together where case does not count; and composed and decomposed é.
const FOLDING: [(&str, &str); 2] = [("probe-case", "PROBE-CASE"), ("probe-\u{e9}", "probe-e\u{301}")];
/// Odd in every digit, so that each coarser clock shows.
const TIME: Time = Time { secs: 1_700_000_001, nanos: 987_654_321 };
/// Steps of the clocks of file systems, in ns.
const STEPS_NS: [u32; 8] = [1, 100, 1_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 2_000_000_000];

/// What a file system keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// Times are multiples of this, rounded down.
    pub time_step_ns: u32,
    /// Permission bits that can be both set and cleared.
    pub mode_mask: u16,
    /// Whether two names that differ in case, or in how accents are composed, are the same.
    pub folds_case: bool,
    pub symlinks: bool,
    /// Whether a file can be made that shares the blocks of another.
    pub clones: bool,
    /// Longest name.
    pub name_bytes: u16,
}

/// Tries what the file system of `own` keeps, and leaves nothing behind.
pub fn probe(own: &OwnFolder) -> std::result::Result<Keeps, DestinationError> {
    let dir = &own.dir;
    sweep(dir);
    // Before the sweep: what is free then was not when it failed.
    let probed = try_all(dir).map_err(|errno| DestinationError::of(&".strait/probe", errno, dir.as_fd()));
    sweep(dir);
    probed
}

/// A number that the file system of `own` has for as long as it exists; `None` where it tells none.
pub fn file_system_id(own: &OwnFolder) -> Option<u64> {
    sys::fstatvfs(&own.dir).ok().map(|space| space.f_fsid).filter(|id| *id != 0)
}

fn try_all(dir: &OwnedFd) -> Result<Keeps> {
    let file = create(dir, FILE)?;
    // One that keeps none says so each time.
    let symlinks = match again_if_not_permitted(|| sys::symlinkat("target", dir, LINK)) {
        Ok(()) => true,
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => false,
        Err(errno) => return Err(errno),
    };
    let longest = u16::try_from(sys::fstatvfs(dir)?.f_namemax).unwrap_or(u16::MAX);
    Ok(Keeps {
        time_step_ns: time_step_ns(&file)?,
        mode_mask: mode_mask(&file)?,
        folds_case: folds(dir)?,
        symlinks,
        clones: clones(dir, &file)?,
        name_bytes: longest.min(NAME_BYTES as u16),
    })
}

fn create(dir: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

fn clones(dir: &OwnedFd, file: &OwnedFd) -> Result<bool> {
    let clone = create(dir, CLONE)?;
    rustix::io::pwrite(file, &[1; 4096], 0)?;
    match sys::ioctl_ficlone(&clone, file) {
        Ok(()) => Ok(true),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS)) => Err(errno),
        Err(_) => Ok(false),
    }
}

fn time_step_ns(file: &OwnedFd) -> Result<u32> {
    sys::futimens(file, &timestamps(TIME))?;
    let kept = Stat::of(&sys::fstat(file)?).mtime;
    Ok(step_of(kept))
}

/// The finest step that makes [`TIME`] into what was kept; the coarsest when none does.
fn step_of(kept: Time) -> u32 {
    let nanos = |time: Time| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let rounds = |step: &u32| nanos(TIME) - nanos(TIME) % i128::from(*step) == nanos(kept);
    STEPS_NS.into_iter().find(rounds).unwrap_or(2_000_000_000)
}

fn mode_mask(file: &OwnedFd) -> Result<u16> {
    let seen = |mode| -> Result<u32> {
        match again_if_not_permitted(|| sys::fchmod(file, Mode::from_raw_mode(mode))) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(Stat::of(&sys::fstat(file)?).mode),
            Err(errno) => Err(errno),
        }
    };
    let (set, cleared) = (seen(0o777)?, seen(0)?);
    Ok((set & !cleared & 0o777) as u16)
}

/// Tries once more where a file system says that it keeps no such thing: what is said once may have another reason.
fn again_if_not_permitted(call: impl Fn() -> Result<()>) -> Result<()> {
    match call() {
        Err(Errno::PERM) => call(),
        result => result,
    }
}

fn folds(dir: &OwnedFd) -> Result<bool> {
    for (name, other) in FOLDING {
        match create(dir, name) {
            Ok(_) => {}
            // A file system that refuses a name says so again when one comes.
            Err(Errno::INVAL | Errno::ILSEQ) => continue,
            Err(errno) => return Err(errno),
        }
        if sys::statat(dir, other, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sweep(dir: &OwnedFd) {
    for name in [FILE, LINK, CLONE].into_iter().chain(FOLDING.map(|(name, _)| name)) {
        // What is not there need not go; what cannot go makes the probe fail.
        let _ = sys::unlinkat(dir, name, AtFlags::empty());
    }
}

/// Bytes that this user may still write where a folder lies.
pub fn free_bytes(folder: &std::path::Path) -> Option<u64> {
    let space = sys::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_read_off_what_was_kept() {
        for (secs, nanos, step) in [
            (1_700_000_001, 987_654_321, 1),
            (1_700_000_001, 987_654_300, 100),
            (1_700_000_001, 987_654_000, 1_000),
            (1_700_000_001, 980_000_000, 10_000_000),
            (1_700_000_001, 0, 1_000_000_000),
            (1_700_000_000, 0, 2_000_000_000),
        ] {
            assert_eq!(step_of(Time { secs, nanos }), step);
        }
    }
}
