//! Counts of what went over a connection, for the summary and for measuring the link.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::limits::{DELTA_AIM_BYTES, KIB};

/// Bytes one way, counted at three heights.
#[derive(Debug, Default)]
pub struct Flow {
    /// Plain bytes of frames, before they are squeezed.
    frames: AtomicU64,
    /// Bytes of segments: what the pipe carries, above TLS.
    pipe: AtomicU64,
    /// Bytes below TLS, without the headers of TCP and IP. Zero where nothing is below.
    wire: AtomicU64,
}

/// The counters of one connection, or of several if they share it. Never falls.
#[derive(Debug, Default)]
pub struct Traffic {
    pub sent: Flow,
    pub received: Flow,
    /// Bytes a second that the link takes from here; 0: not known.
    rate: AtomicU64,
    /// Microseconds that the peer took to answer when the link was made; 0: not known.
    round_trip_us: AtomicU64,
}

/// A link below this rate, in bytes a second, is worth much work for each byte.
const SLOW_RATE: u64 = 4_000_000;
/// Where no rate is known yet, an answer later than this means that the link is long, and so thin.
const LONG_TRIP_US: u64 = 5_000;

/// How many frames a link should take in a second, and the bounds of one: smaller ones would be mostly headers.
const FRAMES_A_SECOND: u64 = 8;
const FRAME_BYTES_MIN: usize = 4 * KIB;
const FRAME_BYTES_MAX: usize = DELTA_AIM_BYTES;

/// An answer sooner than this comes from the same machine or room: whoever is waited for there is busy with its
/// disk or processor, and the link is not thin.
const NEAR_TRIP_US: u64 = 1_500;

impl Traffic {
    pub(super) fn set_rate(&self, bytes_per_s: u64) {
        self.rate.store(bytes_per_s, Ordering::Relaxed);
    }

    pub(super) fn set_round_trip(&self, time: Duration) {
        self.round_trip_us.store((time.as_micros() as u64).max(1), Ordering::Relaxed);
    }

    /// Whether the peer is so near that the link can hardly be what is waited for.
    pub(super) fn is_near(&self) -> bool {
        (1..NEAR_TRIP_US).contains(&self.round_trip_us.load(Ordering::Relaxed))
    }

    /// Content bytes that one frame should carry at most, so that a small change waits for little: what the link
    /// takes in a moment.
    pub fn frame_bytes(&self) -> usize {
        match self.rate.load(Ordering::Relaxed) {
            0 => FRAME_BYTES_MAX,
            rate => ((rate / FRAMES_A_SECOND) as usize).clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX),
        }
    }

    /// Whether bytes on this link are dear: as measured while sending, else as its delay lets expect.
    pub fn is_slow(&self) -> bool {
        match self.rate.load(Ordering::Relaxed) {
            0 => self.round_trip_us.load(Ordering::Relaxed) >= LONG_TRIP_US,
            rate => rate < SLOW_RATE,
        }
    }
}

/// The values of a [`Flow`] at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    pub pipe: u64,
    pub wire: u64,
}

impl Flow {
    /// The counts so far. `wire` is `pipe` where there is no TLS.
    pub fn counts(&self) -> Counts {
        let pipe = self.pipe.load(Ordering::Relaxed);
        let wire = self.wire.load(Ordering::Relaxed);
        Counts {
            frames: self.frames.load(Ordering::Relaxed),
            pipe,
            wire: if wire == 0 { pipe } else { wire },
        }
    }

    pub(super) fn add_frames(&self, bytes: usize) {
        self.frames.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_pipe(&self, bytes: usize) {
        self.pipe.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn add_wire(&self, bytes: usize) {
        self.wire.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A stream that counts the bytes that pass as `wire` bytes.
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    /// Counts `stream` into `traffic`.
    pub fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buf: &mut ReadBuf,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buf))?;
        self.traffic.received.add_wire(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.traffic.sent.add_wire(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[std::io::IoSlice],
    ) -> Poll<std::io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.traffic.sent.add_wire(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
