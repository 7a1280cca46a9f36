//! Segments read: every length is checked before there is room for it.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, BufReader};

use super::{RECORD_BYTES, SQUEEZED, STORED, SegmentError, Source};
use crate::model::limits::{GREETING_BYTES, SEGMENT_BYTES, SQUEEZED_BYTES};
use crate::net::preface::{self, PrefaceError};
use crate::net::squeeze::Expander;
use crate::net::traffic::Traffic;
use crate::proto::message::Refuse;

/// The receiving end of a connection.
pub struct SegmentReader {
    source: BufReader<Source>,
    traffic: Arc<Traffic>,
    expander: Option<Expander>,
    wire: Vec<u8>,
    /// Plain bytes that a stranger may still send; `None` once it was let in.
    greeting_left: Option<usize>,
}

impl SegmentReader {
    pub(in crate::net) fn new(source: Source, traffic: Arc<Traffic>) -> Self {
        let source = BufReader::with_capacity(2 * RECORD_BYTES, source);
        Self { source, traffic, expander: None, wire: Vec::new(), greeting_left: None }
    }

    /// From now on takes at most 4 KiB, stored, until [`Self::admit`]: for a server's end of a
    /// connection that is not authorised yet.
    pub fn limit_to_greeting(&mut self) {
        self.greeting_left = Some(GREETING_BYTES);
    }

    /// Ends the limit of a greeting.
    pub fn admit(&mut self) {
        self.greeting_left = None;
    }

    /// Reads the peer's preface; gives its version, whatever it is.
    ///
    /// # Errors
    /// [`PrefaceError`].
    ///
    /// # Cancel safety
    /// Not cancel safe.
    pub async fn read_preface(&mut self) -> Result<u16, PrefaceError> {
        preface::read_preface(&mut self.source).await
    }

    /// Reads the `Refuse` of a receiver of another version, right behind its preface.
    ///
    /// # Errors
    /// [`PrefaceError`].
    ///
    /// # Cancel safety
    /// Not cancel safe.
    pub async fn read_refuse(&mut self) -> Result<Refuse, PrefaceError> {
        preface::read_refuse(&mut self.source).await
    }

    /// Appends the plain bytes of the next segment (1 to 262,144) to `plain`; false at a clean
    /// end between two segments.
    ///
    /// # Errors
    /// Those of the pipe; `UnexpectedEof` when it ends inside a segment; `InvalidData` with a
    /// [`SegmentError`] when the peer broke the form. After one the connection is of no more use.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped in the middle of a segment, the stream is broken. Give the
    /// reader a task of its own.
    pub async fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut kind = [0; 1];
        if self.source.read(&mut kind).await? == 0 {
            return Ok(false);
        }
        let plain_bytes = self.read_u24().await?;
        if !(1..=SEGMENT_BYTES).contains(&plain_bytes) {
            return Err(SegmentError::PlainLength(plain_bytes).into());
        }
        self.count_greeting(kind[0], plain_bytes)?;
        let wire_bytes = match kind[0] {
            STORED => self.read_stored(plain_bytes, plain).await?,
            SQUEEZED => self.read_squeezed(plain_bytes, plain).await?,
            other => return Err(SegmentError::Kind(other).into()),
        };
        self.traffic.received.add_pipe(wire_bytes);
        self.traffic.received.add_frames(plain_bytes);
        Ok(true)
    }

    fn count_greeting(&mut self, kind: u8, plain_bytes: usize) -> Result<(), SegmentError> {
        if let Some(left) = &mut self.greeting_left {
            if kind != STORED {
                return Err(SegmentError::Greeting);
            }
            *left = left.checked_sub(plain_bytes).ok_or(SegmentError::Greeting)?;
        }
        Ok(())
    }

    async fn read_stored(&mut self, plain_bytes: usize, plain: &mut Vec<u8>) -> io::Result<usize> {
        let start = plain.len();
        plain.resize(start + plain_bytes, 0);
        self.source.read_exact(&mut plain[start..]).await?;
        Ok(4 + plain_bytes)
    }

    async fn read_squeezed(&mut self, plain_bytes: usize, plain: &mut Vec<u8>) -> io::Result<usize> {
        let wire_bytes = self.read_u24().await?;
        if !(1..=SQUEEZED_BYTES).contains(&wire_bytes) {
            return Err(SegmentError::WireLength(wire_bytes).into());
        }
        self.wire.resize(wire_bytes, 0);
        self.source.read_exact(&mut self.wire).await?;
        let expander = match &mut self.expander {
            Some(expander) => expander,
            none => none.insert(Expander::new()?),
        };
        if !expander.expand(&self.wire, plain_bytes, plain) {
            return Err(SegmentError::Content(plain_bytes).into());
        }
        Ok(7 + wire_bytes)
    }

    async fn read_u24(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 3];
        self.source.read_exact(&mut bytes).await?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) as usize)
    }
}
