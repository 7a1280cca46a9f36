//! Where rebuilt bytes go: into the stage, hashed on their way.

use super::refusal::refusal_of_stage;
use super::standing::Standing;
use crate::delta::index::{ContentIndex, Indexer};
use crate::delta::rebuild::Sink;
use crate::disk::{DestinationError, EditKind, StagedFile};
use crate::model::limits::{GIB, MIB};
use crate::proto::message::Refusal;
use blake3::hazmat::ChainingValue;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Zeros that are hashed before it is looked whether the session is over.
const ZEROS_BYTES: u64 = GIB / 16;

/// Whether work on a huge file is to end in the middle.
#[derive(Clone)]
pub struct Stop {
    /// The session is over.
    flag: Arc<AtomicBool>,
    /// What it brought is written until then; set when that is first looked at.
    until: Arc<OnceLock<Instant>>,
}

impl Stop {
    pub fn new(flag: Arc<AtomicBool>) -> Self {
        Self { flag, until: Arc::default() }
    }

    /// Lets what came before the end be written, for a moment after the first call.
    pub fn put_off(&self) {
        self.until.get_or_init(|| Instant::now() + DRAIN);
    }

    fn is_raised(&self) -> bool {
        self.flag.load(Ordering::Relaxed) && self.until.get().is_none_or(|until| Instant::now() >= *until)
    }

    /// An error when what came is not to be written any more. A write that is under way when the session ends
    /// is not cut off: what is behind it would not fit the beginning that stands.
    pub fn write_on(&self) -> io::Result<()> {
        if self.flag.load(Ordering::Relaxed) {
            self.put_off();
        }
        self.go_on()
    }

    /// An error when it is.
    pub fn go_on(&self) -> io::Result<()> {
        if self.is_raised() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// What came before the end of a session is still written for so long.
const DRAIN: Duration = Duration::from_secs(5);

/// Writes to the stage, and to the index while everything comes in order.
pub struct StageSink<'s> {
    pub file: &'s mut StagedFile,
    pub indexer: Option<&'s mut Indexer>,
    pub standing: Option<&'s mut Standing>,
    pub at: u64,
    pub failed: Option<DestinationError>,
    pub stop: &'s Stop,
}

impl StageSink<'_> {
    fn done(&mut self, result: Result<(), DestinationError>, len: u64) -> io::Result<()> {
        self.at += len;
        result.map_err(|error| {
            self.failed = Some(error);
            io::ErrorKind::Other.into()
        })
    }

    /// Writes; with the values of whole groups, where they were computed.
    fn put(&mut self, bytes: &[u8], values: Option<&[ChainingValue]>) -> io::Result<()> {
        self.stop.write_on()?;
        let result = match &mut self.indexer {
            Some(indexer) => {
                match values {
                    Some(values) => indexer.update_hashed(bytes, values),
                    None => indexer.update(bytes),
                }
                self.file.write(bytes)
            }
            None => self.file.write_at(bytes, self.at),
        };
        if let Some(standing) = &mut self.standing {
            standing.wrote(self.at, bytes.len() as u64, EditKind::Bytes);
        }
        self.done(result, bytes.len() as u64)
    }
}

impl Sink for StageSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, None)
    }

    fn group_bytes(&self) -> Option<u64> {
        self.indexer.as_ref().map(|indexer| indexer.group_bytes())
    }

    fn write_hashed(&mut self, bytes: &[u8], values: &[ChainingValue]) -> io::Result<()> {
        self.put(bytes, Some(values))
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        let result = match &mut self.indexer {
            Some(indexer) => {
                let mut left = len;
                while left > 0 {
                    // Hashing zeros takes its time too.
                    self.stop.write_on()?;
                    indexer.update_zeros(left.min(ZEROS_BYTES));
                    left -= left.min(ZEROS_BYTES);
                }
                if let Some(standing) = &mut self.standing {
                    standing.wrote(self.at, len, EditKind::Zeros);
                }
                self.file.zeros(len)
            }
            None => write_zeros_at(self.file, self.at, len, self.stop),
        };
        self.done(result, len)
    }

    fn keep(&mut self, len: u64) -> io::Result<bool> {
        let (Some(standing), Some(indexer)) = (&mut self.standing, &mut self.indexer) else {
            return Ok(false);
        };
        let stop = self.stop;
        match standing.keep(self.file, indexer, (self.at, len), &|| stop.write_on())? {
            Ok(false) => Ok(false),
            Ok(true) => self.done(Ok(()), len).map(|()| true),
            Err(error) => self.done(Err(error), 0).map(|()| true),
        }
    }
}

fn write_zeros_at(file: &mut StagedFile, at: u64, len: u64, stop: &Stop) -> Result<(), DestinationError> {
    let zeros = vec![0; MIB.min(len as usize)];
    let mut done = 0;
    while done < len && !stop.is_raised() {
        let n = (len - done).min(zeros.len() as u64);
        file.write_at(&zeros[..n as usize], at + done)?;
        done += n;
    }
    Ok(())
}

/// Indexes a staged file from what is there.
pub fn index_staged(
    file: &mut StagedFile,
    mut indexer: Indexer,
    stop: &Stop,
) -> Result<ContentIndex, Refusal> {
    let mut buffer = vec![0; MIB];
    let mut at = 0;
    loop {
        if stop.is_raised() {
            return Err(Refusal::Cancelled);
        }
        let n = file.read_at(&mut buffer, at).map_err(|error| refusal_of_stage(&error))?;
        if n == 0 {
            return Ok(indexer.finish());
        }
        indexer.update(&buffer[..n]);
        at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A write that was under way when the link broke ended in the middle; what came behind it was taken for a
    // repair, and nothing of the transfer was left to go on from.
    #[test]
    fn the_end_of_a_session_cuts_off_no_write_but_all_else() {
        let flag = Arc::new(AtomicBool::new(false));
        let stop = Stop::new(flag.clone());
        assert!(stop.go_on().is_ok() && stop.write_on().is_ok());
        flag.store(true, Ordering::Relaxed);
        assert!(stop.go_on().is_err(), "hashing a huge file ends at once");
        assert!(stop.write_on().is_ok(), "what came is still written");
        assert!(stop.clone().go_on().is_ok(), "for a moment");
    }
}
