//! One end of a connection that may say anything: whole messages, bodies of frames, or bare bytes.

use crate::common::{DEADLINE, User};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use strait::net::pipe::Sending;
use strait::net::{Identity, Pipe, Places, SegmentReader};
use strait::proto::frame::{Frames, HEAD_BYTES, Message, encode};
use strait::proto::message::{Down, Up};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

pub const PREFACE: &[u8] = b"strait\x01\0";

/// A sender's end.
pub type Near = Wire<Down, Up>;
/// A receiver's end.
pub type Host = Wire<Up, Down>;

pub struct Wire<In, Out> {
    runtime: Arc<Runtime>,
    reader: SegmentReader,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    frames: Frames,
    messages: PhantomData<fn(Out) -> In>,
}

impl<In: Message + std::fmt::Debug, Out: Message> Wire<In, Out> {
    /// Nothing has been said yet.
    pub fn new(runtime: Arc<Runtime>, pipe: Pipe) -> Self {
        let Pipe { reader, writer, .. } = pipe;
        let reader = Pipe::new(reader, tokio::io::sink(), "the other side".into());
        let (reader, _) = reader.into_segments(Sending::default());
        Self { runtime, reader, writer, frames: Frames::default(), messages: PhantomData }
    }

    /// Says bytes as they are. A peer that is gone already does not hear them.
    pub fn raw(&mut self, bytes: &[u8]) {
        let Self { runtime, writer, .. } = self;
        let _ = runtime.block_on(async {
            let sent = async {
                writer.write_all(bytes).await?;
                writer.flush().await
            };
            tokio::time::timeout(DEADLINE, sent).await.expect("the other side reads, or is gone")
        });
    }

    /// Says frame bytes in a stored segment.
    pub fn segment(&mut self, frames: &[u8]) {
        let mut bytes = vec![0];
        bytes.extend(&(frames.len() as u32).to_le_bytes()[..3]);
        bytes.extend(frames);
        self.raw(&bytes);
    }

    /// Says one frame with this body.
    pub fn body(&mut self, body: &[u8]) {
        let mut frame = (body.len() as u32).to_le_bytes()[..HEAD_BYTES].to_vec();
        frame.extend(body);
        for piece in frame.chunks(1 << 18) {
            self.segment(piece);
        }
    }

    pub fn say(&mut self, message: &Out) {
        self.body(&body_of(message));
    }

    /// Says a message in which some bytes are replaced by others, as long, that no value could hold.
    pub fn say_forged(&mut self, message: &Out, placeholder: &[u8], forged: &[u8]) {
        assert_eq!(placeholder.len(), forged.len());
        let mut body = body_of(message);
        let at = body.windows(forged.len()).position(|window| window == placeholder);
        let at = at.expect("the message holds the placeholder");
        body[at..at + forged.len()].copy_from_slice(forged);
        self.body(&body);
    }

    /// Reads the other side's preface.
    pub fn meet(&mut self) -> Option<u16> {
        let Self { runtime, reader, .. } = self;
        runtime.block_on(async {
            let read = tokio::time::timeout(DEADLINE, reader.read_preface()).await;
            read.expect("a preface or the end comes in time").ok()
        })
    }

    /// Reads the refusal of a receiver of another version.
    pub fn refuse(&mut self) -> strait::proto::message::Refuse {
        let Self { runtime, reader, .. } = self;
        runtime.block_on(async {
            let read = tokio::time::timeout(DEADLINE, reader.read_refuse()).await;
            read.expect("it comes in time").expect("it can be read")
        })
    }

    /// The next message; none at the end of the connection.
    pub fn hear(&mut self) -> Option<In> {
        self.hear_within(DEADLINE).expect("a message or the end comes in time")
    }

    /// The same; none when neither came in time.
    pub fn hear_within(&mut self, limit: Duration) -> Option<Option<In>> {
        let Self { runtime, reader, frames, .. } = self;
        let heard = runtime.block_on(async {
            let heard = async {
                loop {
                    if let Some(message) = frames.next_message().expect("the program speaks the protocol") {
                        return Some(message);
                    }
                    if !reader.read(frames.buffer()).await.unwrap_or(false) {
                        return None;
                    }
                }
            };
            tokio::time::timeout(limit, heard).await
        });
        heard.ok()
    }

    /// Listens until `found` makes something of a message.
    #[track_caller]
    pub fn hear_until<T>(&mut self, what: &str, mut found: impl FnMut(&In) -> Option<T>) -> T {
        let mut heard = Vec::new();
        while let Some(message) = self.hear() {
            if let Some(found) = found(&message) {
                return found;
            }
            heard.push(short(&message));
        }
        panic!("the connection ended before {what}; heard: {heard:#?}");
    }

    /// Everything that comes until the other side ends the connection.
    pub fn over(&mut self) -> Vec<In> {
        std::iter::from_fn(|| self.hear()).collect()
    }
}

/// The body of a message's frame.
pub fn body_of(message: &impl Message) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(message, &mut frame);
    frame.split_off(HEAD_BYTES)
}

pub fn short(message: &impl std::fmt::Debug) -> String {
    format!("{message:?}").chars().take(120).collect()
}

pub fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"))
}

pub fn places(user: &User) -> Places {
    let variable = |name: &str| match name {
        "HOME" => Some(user.home.clone().into()),
        "XDG_RUNTIME_DIR" => Some(user.home.join("run").into()),
        _ => None,
    };
    Places::compute(variable).expect("a home is set")
}

pub fn identity(user: &User) -> Identity {
    Identity::load(None, &places(user)).expect("a key can be made")
}
