//! Segments: frame bytes in pieces of at most 256 KiB, stored or squeezed, over one pipe.
//!
//! The writer gives the pipe whole TLS records while there is more to come and a short one only at
//! [`SegmentWriter::flush`], and holds to a pace. The reader checks every length before it makes
//! room. Neither knows what a frame is.
//!
//! Wire form: kind u8 (0 stored, 1 zstd), plain length u24, for zstd also wire length u24, bytes.
//! What is stored does not enter the zstd history. The greeting travels stored: a stranger must
//! not make a server take memory for a window.

mod reader;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

pub use self::reader::SegmentReader;

use super::pace::Pace;
use super::preface;
use super::pressure::{Effort, Pressure};
use super::squeeze::Squeezer;
use super::traffic::Traffic;
use super::unsent::Unsent;
use crate::model::limits::{SEGMENT_BYTES, SQUEEZED_BYTES};
use crate::proto::frame::encode;
use crate::proto::message::{Down, Refuse, VERSION};

const STORED: u8 = 0;
const SQUEEZED: u8 = 1;
/// Plain bytes of a full TLS record.
const RECORD_BYTES: usize = 16 * 1024;
/// Above it squeezing takes more than the 2 ms that it may take in place.
const IN_PLACE_LEVEL: i32 = 3;
/// Pieces that the probe judges by themselves.
const PIECE_BYTES: usize = 32 * 1024;
/// Less than this is not worth zstd's own bytes.
const SQUEEZE_FROM_BYTES: usize = 32;
/// From here on a probe costs less than squeezing in vain.
const PROBE_FROM_BYTES: usize = 1024;

/// What to do with bytes that are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squeeze {
    /// Squeeze what shrinks; larger pieces are probed.
    Auto,
    /// Send as they are: compressed already, or a greeting.
    Stored,
}

/// The peer broke the form of segments. Class: session. Travels inside an [`io::Error`] of kind
/// `InvalidData`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SegmentError {
    #[error("the other side sent a segment of unknown kind {0}")]
    Kind(u8),
    #[error("the other side sent a segment of {0} plain bytes; 1 to 262,144 are allowed")]
    PlainLength(usize),
    #[error("the other side sent a squeezed segment of {0} bytes; 1 to {SQUEEZED_BYTES} are allowed")]
    WireLength(usize),
    #[error("the other side sent a squeezed segment that does not hold the {0} bytes it says")]
    Content(usize),
    #[error("the other side sent more than 4 KiB, or squeezed bytes, before it was let in")]
    Greeting,
}

impl From<SegmentError> for io::Error {
    fn from(error: SegmentError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

type Source = Box<dyn AsyncRead + Send + Unpin>;
type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// The sending end of a connection.
pub struct SegmentWriter {
    sink: Sink,
    traffic: Arc<Traffic>,
    pace: Option<Pace>,
    /// `None`: everything is stored.
    pressure: Option<Pressure>,
    squeezer: Option<Squeezer>,
    /// Of a TCP connection.
    unsent: Option<Unsent>,
    out: Vec<u8>,
}

impl SegmentWriter {
    /// Writes to `sink`; `level` is zstd's at the start, `None` stores everything.
    pub(super) fn new(sink: Sink, traffic: Arc<Traffic>, level: Option<i32>, pace: Option<Pace>) -> Self {
        // A limit of the user's makes any link thin.
        let is_near = pace.is_none() && traffic.is_near();
        let pressure = level.map(|level| Pressure::new(Effort::of_level(level), is_near));
        Self { sink, traffic, pace, pressure, squeezer: None, unsent: None, out: Vec::new() }
    }

    /// The counts of its connection.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// Lets the system hold back no more than the link takes in a moment.
    pub(super) fn with_unsent(self, unsent: Option<Unsent>) -> Self {
        Self { unsent, ..self }
    }

    /// Puts our preface at the head of what is sent next: it travels with the greeting.
    pub fn put_preface(&mut self) {
        self.out.extend_from_slice(&preface::encode_preface(VERSION));
    }

    /// Puts a `Refuse` outside any segment, for a peer of another version, behind our preface.
    pub fn put_refuse(&mut self, refuse: &Refuse) {
        encode(&Down::Refuse(refuse.clone()), &mut self.out);
    }

    /// Sends bytes of frames, as one segment or several. The last ones may stay here until more
    /// come or [`Self::flush`] is called.
    ///
    /// Up to level 3 squeezing is done in place: at most 2 ms of work for 256 KiB.
    ///
    /// # Errors
    /// Those of the pipe; after one the connection is of no more use.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped in the middle, the stream is broken. Give the writer a task.
    ///
    /// # Panics
    /// When there are more than 256 KiB of `frames`.
    pub async fn write(&mut self, frames: &[u8], squeeze: Squeeze) -> io::Result<()> {
        assert!(frames.len() <= SEGMENT_BYTES, "a caller sends at most one segment's worth at a time");
        self.traffic.sent.add_frames(frames.len());
        self.encode(frames, squeeze).await?;
        let whole = self.out.len() / RECORD_BYTES * RECORD_BYTES;
        self.send(whole).await?;
        self.judge();
        Ok(())
    }

    /// Lets the effort follow what was measured of the link.
    fn judge(&mut self) {
        let Some(pressure) = &mut self.pressure else { return };
        if let (Some(level), Some(squeezer)) =
            (pressure.judge().and_then(Effort::level), self.squeezer.as_mut())
        {
            tracing::debug!(level, rate = pressure.rate(), "squeezes otherwise");
            squeezer.set_level(level);
        }
        if let Some(rate) = pressure.rate() {
            self.traffic.set_rate(rate);
            if let Some(unsent) = &mut self.unsent {
                unsent.follow(rate);
            }
        }
    }

    /// Sends what is left, as a short record.
    ///
    /// # Errors
    /// Those of the pipe.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::write`].
    pub async fn flush(&mut self) -> io::Result<()> {
        self.send(self.out.len()).await?;
        // TLS takes 64 KiB without a word: that the link is slow often shows here alone.
        let began = Instant::now();
        self.sink.flush().await?;
        if let Some(pressure) = &mut self.pressure {
            pressure.sent(0, began.elapsed());
            pressure.rests();
        }
        Ok(())
    }

    /// Flushes and says that nothing will follow: the reader over there sees a clean end.
    ///
    /// # Errors
    /// Those of the pipe.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::write`].
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.sink.shutdown().await
    }

    async fn send(&mut self, n_bytes: usize) -> io::Result<()> {
        let mut sent = 0;
        while sent < n_bytes {
            let began = Instant::now();
            let chunk_bytes = self.pace.as_ref().map_or(RECORD_BYTES, Pace::chunk_bytes);
            let chunk = &self.out[sent..n_bytes.min(sent + chunk_bytes)];
            if let Some(pace) = &mut self.pace {
                let wait = pace.take(chunk.len(), Instant::now());
                if !wait.is_zero() {
                    self.sink.flush().await?;
                    tokio::time::sleep(wait).await;
                }
            }
            self.sink.write_all(chunk).await?;
            self.traffic.sent.add_pipe(chunk.len());
            sent += chunk.len();
            if let Some(pressure) = &mut self.pressure {
                pressure.sent(chunk.len(), began.elapsed());
            }
        }
        self.out.drain(..sent);
        Ok(())
    }

    async fn encode(&mut self, frames: &[u8], squeeze: Squeeze) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        let Some(pressure) = &mut self.pressure else {
            put_stored(&mut self.out, frames);
            return Ok(());
        };
        pressure.took(frames.len());
        let level = pressure.effort().level();
        let level = level.filter(|_| squeeze == Squeeze::Auto && frames.len() >= SQUEEZE_FROM_BYTES);
        let Some(level) = level else {
            put_stored(&mut self.out, frames);
            return Ok(());
        };
        let mut squeezer = match self.squeezer.take() {
            Some(squeezer) => squeezer,
            None => Squeezer::new(level)?,
        };
        let began = Instant::now();
        let worked = if level <= IN_PLACE_LEVEL {
            put_frames(&mut self.out, &mut squeezer, frames)?
        } else {
            let (frames, mut out) = (frames.to_vec(), std::mem::take(&mut self.out));
            let work = tokio::task::spawn_blocking(move || {
                let worked = put_frames(&mut out, &mut squeezer, &frames);
                (worked, out, squeezer)
            });
            let worked;
            (worked, self.out, squeezer) = work.await.map_err(io::Error::other)?;
            worked?
        };
        pressure.squeezed(worked.plain, worked.shrunk, began.elapsed());
        self.squeezer = Some(squeezer);
        Ok(())
    }
}

/// What squeezing took in and made.
struct Worked {
    plain: usize,
    shrunk: usize,
}

/// Puts frames behind each other, squeezed where a probe says that it is worth it.
fn put_frames(out: &mut Vec<u8>, squeezer: &mut Squeezer, frames: &[u8]) -> io::Result<Worked> {
    let mut worked = Worked { plain: 0, shrunk: 0 };
    let is_small = frames.len() < PROBE_FROM_BYTES;
    let verdict = |piece: &[u8]| is_small || squeezer.is_worth(piece);
    let verdicts: Vec<bool> = frames.chunks(PIECE_BYTES).map(verdict).collect();
    let mut rest = frames;
    for run in verdicts.chunk_by(|one, next| one == next) {
        let (run_bytes, later) = rest.split_at(rest.len().min(run.len() * PIECE_BYTES));
        if run[0] {
            worked.plain += run_bytes.len();
            worked.shrunk += put_squeezed(out, squeezer, run_bytes)?;
        } else {
            put_stored(out, run_bytes);
        }
        rest = later;
    }
    Ok(worked)
}

fn u24(length: usize) -> [u8; 3] {
    let [low, middle, high, _] =
        u32::try_from(length).expect("lengths of segments are below 2^24").to_le_bytes();
    [low, middle, high]
}

fn put_stored(out: &mut Vec<u8>, plain: &[u8]) {
    out.push(STORED);
    out.extend_from_slice(&u24(plain.len()));
    out.extend_from_slice(plain);
}

/// Puts a squeezed segment and gives its bytes on the wire.
fn put_squeezed(out: &mut Vec<u8>, squeezer: &mut Squeezer, plain: &[u8]) -> io::Result<usize> {
    out.push(SQUEEZED);
    out.extend_from_slice(&u24(plain.len()));
    let length_at = out.len();
    out.extend_from_slice(&[0; 3]);
    squeezer.squeeze(plain, out)?;
    let wire_bytes = out.len() - length_at - 3;
    assert!(wire_bytes <= SQUEEZED_BYTES, "zstd holds to its bound");
    out[length_at..length_at + 3].copy_from_slice(&u24(wire_bytes));
    Ok(wire_bytes)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
