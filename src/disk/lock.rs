//! The lock of a destination: one server at a time, and whether names may be less durable than they look.
//!
//! The file holds a mark and the number of the holder's process. The mark stands while names change and are
//! not synced yet. It is written without a sync: it shall outlive the process, not the kernel, for what
//! stands after a power cut is on the disk.

use super::error::DestinationError;
use super::own::{OwnFolderError, open_file};
use rustix::fs::{self as sys, FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const MARK: u8 = b'*';
const NO_MARK: u8 = b' ';

/// The lock, as long as it is held.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    is_marked: AtomicBool,
}

impl Lock {
    /// Takes the lock and writes who holds it; a mark that the last holder left stays.
    pub fn take(dir: &OwnedFd) -> Result<Self, OwnFolderError> {
        let file = open_file(dir, "lock", OFlags::RDWR | OFlags::CREATE)?;
        let fail = |error| DestinationError::of_io(&"lock", error, dir.as_fd());
        let mut text = String::new();
        // Damaged or empty: the holder is just not named, and nothing is in doubt.
        let _ = (&file).take(16).read_to_string(&mut text);
        match sys::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = text.trim_start_matches([MARK as char, NO_MARK as char]).trim().parse().ok();
                return Err(OwnFolderError::Busy { holder });
            }
            Err(errno) => return Err(DestinationError::of(&"lock", errno, dir.as_fd()).into()),
        }
        let mut mark = [NO_MARK];
        // Read again: until now another may have held it.
        let is_marked = file.read_at(&mut mark, 0).map_err(fail)? == 1 && mark[0] == MARK;
        let mark = if is_marked { MARK } else { NO_MARK } as char;
        let line = format!("{mark}{}\n", std::process::id());
        file.write_all_at(line.as_bytes(), 0).and_then(|()| file.set_len(line.len() as u64)).map_err(fail)?;
        Ok(Self { file, is_marked: AtomicBool::new(is_marked) })
    }

    pub fn is_marked(&self) -> bool {
        self.is_marked.load(Ordering::Relaxed)
    }

    /// Sets or takes away the mark.
    pub fn set_mark(&self, is_marked: bool) -> io::Result<()> {
        self.file.write_all_at(&[if is_marked { MARK } else { NO_MARK }], 0)?;
        self.is_marked.store(is_marked, Ordering::Relaxed);
        Ok(())
    }
}
