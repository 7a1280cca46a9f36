//! The part of the target that the sieve holds: one buffer, used again for every read.

use std::io;

use super::sieve::{DeltaError, ReadAt};

/// Consecutive bytes of the target.
#[derive(Default)]
pub(super) struct Window {
    /// Longer than what it holds: growing or shrinking it would write zeros each time.
    buffer: Vec<u8>,
    n_held: usize,
    at: u64,
}

impl Window {
    /// Forgets all and stands at an offset of the target.
    pub(super) fn restart(&mut self, at: u64) {
        self.n_held = 0;
        self.at = at;
    }

    /// Where it starts in the target.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.n_held]
    }

    /// Number of bytes held.
    pub(super) fn n_held(&self) -> usize {
        self.n_held
    }

    /// Reads on up to an offset of the target.
    ///
    /// # Errors
    /// The target can not be read, or ends before, and so has changed.
    pub(super) fn read_to(&mut self, content: &dyn ReadAt, end: u64) -> Result<(), DeltaError> {
        let wanted = (end - self.at) as usize;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.next_power_of_two(), 0);
        }
        while self.n_held < wanted {
            let at = self.at + self.n_held as u64;
            match content.read_at(&mut self.buffer[self.n_held..wanted], at) {
                Ok(0) => return Err(DeltaError::Changed { at }),
                Ok(n_read) => self.n_held += n_read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DeltaError::Read { at, source }),
            }
        }
        Ok(())
    }

    /// Drops the first bytes.
    pub(super) fn advance(&mut self, n_bytes: usize) {
        self.buffer.copy_within(n_bytes..self.n_held, 0);
        self.n_held -= n_bytes;
        self.at += n_bytes as u64;
    }
}
