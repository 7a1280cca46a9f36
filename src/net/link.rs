//! Messages over a pipe: two tasks, one that reads and one that writes, and queues between them
//! and the session.
//!
//! A session never waits for its own sending, or two sessions could wait for each other: the
//! queue towards the peer takes everything, and [`Outbox::is_full`] tells when content should
//! wait. What it can hold is bounded by the protocol's limits on what is under way.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::segment::{SegmentError, SegmentReader, SegmentWriter, Squeeze};
use super::traffic::Traffic;
use crate::model::limits::{INBOX_MESSAGES, SEGMENT_BYTES};
use crate::proto::frame::{FrameError, Frames, Message, encode};

/// So many frames of content may wait to be written; what comes after them should wait with its maker.
const FULL_FRAMES: usize = 3;

/// Why no more messages come. Class: session.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the connection broke: {}", plain(.0))]
    Pipe(#[from] io::Error),
    #[error("the other side does not speak the protocol: {0}")]
    Frame(#[from] FrameError),
}

/// An error of a link in plain words: without numbers, and without the advice that TLS has for
/// programmers.
pub fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the other side is gone".into();
    }
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

impl LinkError {
    /// Whether the peer sent what it must not, rather than the link having failed.
    pub fn is_breach(&self) -> bool {
        match self {
            Self::Pipe(error) => error.get_ref().is_some_and(|inner| inner.is::<SegmentError>()),
            Self::Frame(_) => true,
        }
    }
}

/// Where messages to the peer go.
pub struct Outbox<M> {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
    drained: Arc<Notify>,
    traffic: Arc<Traffic>,
    writer: JoinHandle<io::Result<()>>,
    message: PhantomData<fn(M)>,
}

impl<M: Message> Outbox<M> {
    /// Starts the task that writes.
    pub fn new(writer: SegmentWriter) -> Self {
        let (queue, frames) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let drained = Arc::new(Notify::new());
        let traffic = writer.traffic();
        let writer = tokio::spawn(write_all(writer, frames, waiting_bytes.clone(), drained.clone()));
        Self { queue, waiting_bytes, drained, traffic, writer, message: PhantomData }
    }

    /// Queues a message. One to a peer that is gone is lost: the inbox tells of that.
    pub fn send(&self, message: &M) {
        let mut frame = Vec::new();
        encode(message, &mut frame);
        // Megabytes of them wait at a time: not with the room that they grew in.
        frame.shrink_to_fit();
        self.waiting_bytes.fetch_add(frame.len(), Ordering::Relaxed);
        let _ = self.queue.send(frame);
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Whether so much waits that content should not be added.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes() >= FULL_FRAMES * self.traffic.frame_bytes()
    }

    /// Waits until the outbox is not full.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn has_room(&self) {
        while self.is_full() {
            self.drained.notified().await;
        }
    }

    /// Writes what is queued, says that nothing follows and ends the task.
    pub async fn close(self) {
        drop(self.queue);
        let _ = self.writer.await;
    }
}

async fn write_all(
    mut writer: SegmentWriter,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
    drained: Arc<Notify>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(SEGMENT_BYTES);
    while let Some(frame) = frames.recv().await {
        batch.extend(frame);
        while batch.len() < SEGMENT_BYTES / 4
            && let Ok(frame) = frames.try_recv()
        {
            batch.extend(frame);
        }
        for piece in batch.chunks(SEGMENT_BYTES) {
            writer.write(piece, Squeeze::Auto).await?;
        }
        if frames.is_empty() {
            writer.flush().await?;
        }
        waiting_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        drained.notify_waiters();
        drained.notify_one();
        batch.clear();
    }
    writer.close().await
}

/// Where messages of the peer come from; `None` after a clean end.
pub struct Inbox<M> {
    messages: mpsc::Receiver<Result<M, LinkError>>,
    reader: JoinHandle<()>,
}

impl<M: Message + Send + 'static> Inbox<M> {
    /// Starts the task that reads; `frames` may hold bytes that were read before.
    pub fn new(reader: SegmentReader, frames: Frames) -> Self {
        let (queue, messages) = mpsc::channel(INBOX_MESSAGES);
        Self { messages, reader: tokio::spawn(read_all(reader, frames, queue)) }
    }

    /// The next message.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<M, LinkError>> {
        self.messages.recv().await
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_all<M: Message>(
    mut reader: SegmentReader,
    mut frames: Frames,
    queue: mpsc::Sender<Result<M, LinkError>>,
) {
    loop {
        loop {
            match frames.next_message() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if queue.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = queue.send(Err(error.into())).await;
                    return;
                }
            }
        }
        match reader.read(frames.buffer()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let _ = queue.send(Err(error.into())).await;
                return;
            }
        }
    }
}

/// Reads the first message of a peer, before there are tasks for it.
///
/// # Errors
/// Also when the pipe ends before the message.
pub async fn read_first<M: Message>(reader: &mut SegmentReader, frames: &mut Frames) -> Result<M, LinkError> {
    loop {
        if let Some(message) = frames.next_message()? {
            return Ok(message);
        }
        if !reader.read(frames.buffer()).await? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
