//! A byte stream each way to one peer, whatever carries it: TCP with TLS, ssh, this process's own
//! standard input and output, or memory.
//!
//! Only this file and `dial` own sockets. A pipe over TCP exists only after its TLS handshake.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, unix};

use super::dial::dial;
use super::identity::PublicKey;
use super::pace::{Pace, Rate};
use super::segment::{SegmentReader, SegmentWriter};
use super::tls::{self, ServerTls, TlsError};
use super::traffic::{Counted, Traffic};
use super::trust::ClientTrust;
use super::unsent::Unsent;
use crate::model::limits::{CONNECT_MS, SILENCE_MS};

/// Keeps up with 100 MB/s a core.
const FIRST_LEVEL: i32 = 3;
/// What is in flight between the two ends of a pipe in memory.
const MEMORY_BYTES: usize = 1 << 20;

/// A byte stream each way.
pub struct Pipe {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The other side, for messages to people.
    pub peer: String,
    /// Counts what goes through the segments made of this pipe.
    pub traffic: Arc<Traffic>,
    stores_all: bool,
    unsent: Option<Unsent>,
}

/// A pipe could not be had. Class: session.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{address} does not answer (tried for {seconds} s)", seconds = CONNECT_MS / 1_000)]
    NoAnswer { address: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("standard input and output cannot be used: {0}")]
    Stdio(io::Error),
}

impl PipeError {
    /// True when trying again is of no use before the user has done something.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Tls(error) if error.is_lasting())
    }
}

/// How the bytes of one direction are to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// zstd level at which the stream begins, before the link is measured; `None` stores everything.
    pub level: Option<i32>,
    /// `--bwlimit`.
    pub limit: Option<Rate>,
}

impl Default for Sending {
    fn default() -> Self {
        Self { level: Some(FIRST_LEVEL), limit: None }
    }
}

impl Pipe {
    /// A pipe of two halves that need no TLS.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        peer: String,
    ) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer,
            traffic: Arc::default(),
            stores_all: false,
            unsent: None,
        }
    }

    /// Both ends of a pipe within this process. It holds 1 MiB each way; its segments are stored.
    pub fn memory() -> (Self, Self) {
        let (near, far) = tokio::io::duplex(MEMORY_BYTES);
        let end = |stream| {
            let (reader, writer) = tokio::io::split(stream);
            Self { stores_all: true, ..Self::new(reader, writer, "this process".into()) }
        };
        (end(near), end(far))
    }

    /// Connects to the address of `trust` (`host:port`) and makes the connection secure; gives
    /// the key that the server proved.
    ///
    /// # Errors
    /// [`PipeError`].
    ///
    /// # Cancel safety
    /// Dropped in the middle, the connection is closed.
    pub async fn connect(trust: &ClientTrust) -> Result<(Self, PublicKey), PipeError> {
        let address = trust.address().to_string();
        let (stream, round_trip) =
            match tokio::time::timeout(Duration::from_millis(CONNECT_MS), dial(&address)).await {
                Err(_) => return Err(PipeError::NoAnswer { address }),
                Ok(connected) => {
                    connected.map_err(|source| PipeError::Connect { address: address.clone(), source })?
                }
            };
        let unsent = set_options(&stream);
        let traffic = Arc::new(Traffic::default());
        let began = Instant::now();
        let (stream, key) = tls::connect(Counted::new(stream, traffic.clone()), trust).await?;
        // That took one round trip and some work: less only where the first answer was seen late.
        traffic.set_round_trip(round_trip.min(began.elapsed()));
        Ok((Self { unsent, ..Self::over_tls(stream, address, traffic) }, key))
    }

    /// Makes a connection secure that a client opened; gives the key that the client proved.
    /// Whether it may come in is for [`super::trust::Door`] to say.
    ///
    /// # Errors
    /// [`TlsError`].
    ///
    /// # Cancel safety
    /// Dropped in the middle, the connection is closed.
    pub async fn accept(stream: TcpStream, server_tls: &ServerTls) -> Result<(Self, PublicKey), TlsError> {
        let peer = stream.peer_addr().map_or_else(|_| "a client".to_string(), |address| address.to_string());
        let unsent = set_options(&stream);
        let traffic = Arc::new(Traffic::default());
        let (stream, key) = tls::accept(Counted::new(stream, traffic.clone()), server_tls, &peer).await?;
        Ok((Self { unsent, ..Self::over_tls(stream, peer, traffic) }, key))
    }

    fn over_tls<S>(stream: S, peer: String, traffic: Arc<Traffic>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        Self { traffic, ..Self::new(reader, writer, peer) }
    }

    /// This process's standard input and output (`serve --stdio`). After this nothing else may
    /// read or print there. Over pipes the other side sees the end when this process exits.
    ///
    /// # Errors
    /// [`PipeError::Stdio`] when one of them is closed.
    pub fn stdio() -> Result<Self, PipeError> {
        let reader = open_stdin().map_err(PipeError::Stdio)?;
        let writer = open_stdout().map_err(PipeError::Stdio)?;
        Ok(Self {
            reader,
            writer,
            ..Self::new(tokio::io::empty(), tokio::io::sink(), "the ssh client".into())
        })
    }

    /// Makes segments of this pipe. Prefaces and frames go through them.
    pub fn into_segments(self, sending: Sending) -> (SegmentReader, SegmentWriter) {
        let level = if self.stores_all { None } else { sending.level };
        let pace = sending.limit.map(Pace::new);
        let writer =
            SegmentWriter::new(self.writer, self.traffic.clone(), level, pace).with_unsent(self.unsent);
        (SegmentReader::new(self.reader, self.traffic), writer)
    }
}

/// Sets what a busy and fragile link needs. A refusal costs only speed or an earlier notice.
fn set_options(stream: &TcpStream) -> Option<Unsent> {
    // Records are made whole by the writer; holding back a short one only costs time.
    if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(stream, true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MS as u32) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT was refused");
    }
    Unsent::of(stream)
}

// sshd gives its child a socket or two pipes, and those can be waited for. A thread that waits in
// `read`, which is what anything else needs, would outlive the session.

fn open_stdin() -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) {
        FileType::Fifo => Box::new(unix::pipe::Receiver::from_owned_fd(descriptor)?),
        FileType::Socket => Box::new(socket(descriptor)?),
        _ => Box::new(tokio::io::stdin()),
    })
}

fn open_stdout() -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) {
        FileType::Fifo => Box::new(unix::pipe::Sender::from_owned_fd(descriptor)?),
        FileType::Socket => Box::new(socket(descriptor)?),
        _ => Box::new(tokio::io::stdout()),
    })
}

fn socket(descriptor: std::os::fd::OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
