//! Frames: a length and a message, the only place that knows bincode.
//!
//! A frame is its body's length (u24, little-endian, 1 to 262,144) and the body: the message's
//! number in one byte, then its fields in bincode (standard configuration, variable-length
//! integers). The decoder is total: any bytes give a message or an error, never a panic, and never
//! more memory than the limit of a frame.

use crate::model::limits::{FRAME_BYTES, TEXT_BYTES};
use crate::proto::message::{Down, Refuse, RefuseCode, Text, Up};
use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes before the body of a frame.
pub const HEAD_BYTES: usize = 3;
/// Message numbers from here to 250 are skipped when unknown.
const SKIPPED_FROM: u8 = 128;

/// Why bytes are not a frame. Class: session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes, where 1 to {FRAME_BYTES} are allowed")]
    Length(usize),
    #[error("message number {0} is unknown")]
    Unknown(u8),
    #[error("message number {number} cannot be read: {what}")]
    Body { number: u8, what: String },
    #[error("message number {number} has {n} bytes too many")]
    Trailing { number: u8, n: usize },
}

/// A side of the protocol: which messages it sends.
pub trait Message: Serialize + DeserializeOwned {
    /// Numbers 0 to this are known.
    const LAST: u8;

    /// A body whose bytes are frozen apart from bincode.
    fn frozen(&self) -> Option<Vec<u8>> {
        None
    }

    /// Reads a frozen body; `None` when this number is not frozen.
    fn parse_frozen(_body: &[u8]) -> Option<Result<Self, FrameError>> {
        None
    }
}

impl Message for Up {
    const LAST: u8 = 23;
}

impl Message for Down {
    const LAST: u8 = 16;

    fn frozen(&self) -> Option<Vec<u8>> {
        match self {
            Down::Refuse(refuse) => Some(freeze(refuse)),
            _ => None,
        }
    }

    fn parse_frozen(body: &[u8]) -> Option<Result<Self, FrameError>> {
        (body[0] == 0).then(|| {
            thaw(&body[1..])
                .map(Down::Refuse)
                .ok_or_else(|| FrameError::Body { number: 0, what: "a refusal is cut short".into() })
        })
    }
}

fn config() -> Configuration<LittleEndian, Varint, Limit<FRAME_BYTES>> {
    standard().with_limit::<FRAME_BYTES>()
}

/// Appends a message as a frame.
///
/// # Panics
/// When the body is longer than a frame may be: whoever made the message cut it wrongly.
pub fn encode<M: Message>(message: &M, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; HEAD_BYTES]);
    match message.frozen() {
        Some(body) => out.extend(body),
        None => {
            bincode::serde::encode_into_std_write(message, out, standard())
                .expect("memory takes every write");
        }
    }
    let body_bytes = out.len() - start - HEAD_BYTES;
    assert!((1..=FRAME_BYTES).contains(&body_bytes), "a frame of {body_bytes} bytes");
    out[start..start + HEAD_BYTES].copy_from_slice(&(body_bytes as u32).to_le_bytes()[..HEAD_BYTES]);
}

/// Length of the first frame in `bytes`, head included; `None` while its head is not complete.
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
    let body_bytes = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    if (1..=FRAME_BYTES).contains(&body_bytes) {
        Ok(Some(HEAD_BYTES + body_bytes))
    } else {
        Err(FrameError::Length(body_bytes))
    }
}

/// Reads the body of a frame; `None` for a message that is to be skipped.
pub fn decode<M: Message>(body: &[u8]) -> Result<Option<M>, FrameError> {
    let Some(&number) = body.first() else { return Err(FrameError::Length(0)) };
    if body.len() > FRAME_BYTES {
        return Err(FrameError::Length(body.len()));
    }
    if number > M::LAST {
        return if (SKIPPED_FROM..=250).contains(&number) {
            Ok(None)
        } else {
            Err(FrameError::Unknown(number))
        };
    }
    if let Some(frozen) = M::parse_frozen(body) {
        return frozen.map(Some);
    }
    let (message, consumed) = bincode::serde::decode_from_slice::<M, _>(body, config())
        .map_err(|error| FrameError::Body { number, what: error.to_string() })?;
    if consumed != body.len() {
        return Err(FrameError::Trailing { number, n: body.len() - consumed });
    }
    Ok(Some(message))
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

impl Frames {
    /// Where the next bytes of the stream are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// The next message that is complete; skips what version 1 says to skip.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<M>, FrameError> {
        while let Some(n) = frame_bytes(&self.bytes[self.start..])? {
            let Some(frame) = self.bytes.get(self.start..self.start + n) else { return Ok(None) };
            let message = decode(&frame[HEAD_BYTES..])?;
            self.start += n;
            if let Some(message) = message {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// The frozen body of a refusal: 0x00, code u16, lowest u16, highest u16, text length u16, text.
fn freeze(refuse: &Refuse) -> Vec<u8> {
    let text = refuse.text.as_ref().as_bytes();
    let mut body = vec![0];
    for number in [refuse.code as u16, refuse.lowest, refuse.highest, text.len() as u16] {
        body.extend(number.to_le_bytes());
    }
    body.extend(text);
    body
}

fn thaw(body: &[u8]) -> Option<Refuse> {
    let number = |at: usize| Some(u16::from_le_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let code = match number(0)? {
        0 => RefuseCode::Version,
        1 => RefuseCode::NotAuthorised,
        2 => RefuseCode::Busy,
        3 => RefuseCode::NoSuchRoot,
        4 => RefuseCode::Rights,
        _ => RefuseCode::Limit,
    };
    let n = usize::from(number(6)?);
    let text = body.get(8..).filter(|text| text.len() == n && n <= TEXT_BYTES)?;
    let text = Text::new(&String::from_utf8_lossy(text));
    Some(Refuse { code, lowest: number(2)?, highest: number(4)?, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::List;

    #[test]
    fn the_last_numbers_are_those_of_the_last_variants() {
        let body = |message: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            message(&mut out);
            out[HEAD_BYTES]
        };
        let up = body(&|out| encode(&Up::Rotate { id: 0, ring: List::default() }, out));
        let down = body(&|out| encode(&Down::Blocks { request: 0, files: List::default() }, out));
        assert_eq!((up, down), (Up::LAST, Down::LAST));
    }

    #[test]
    fn unknown_numbers_end_the_session_below_128_and_are_skipped_above() {
        assert_eq!(decode::<Up>(&[24]), Err(FrameError::Unknown(24)));
        assert_eq!(decode::<Up>(&[127, 1, 2]), Err(FrameError::Unknown(127)));
        assert_eq!(decode::<Up>(&[128, 1, 2]), Ok(None));
        assert_eq!(decode::<Up>(&[251]), Err(FrameError::Unknown(251)));
    }

    #[test]
    fn the_bytes_of_a_refusal_are_frozen() {
        let refuse = Refuse { code: RefuseCode::Busy, lowest: 1, highest: 3, text: Text::new("no") };
        let mut frame = Vec::new();
        encode(&Down::Refuse(refuse), &mut frame);
        assert_eq!(frame, b"\x0b\0\0\0\x02\0\x01\0\x03\0\x02\0no");
    }

    #[test]
    fn a_trailing_byte_is_refused() {
        let mut out = Vec::new();
        encode(&Up::Ping(5), &mut out);
        assert_eq!(decode::<Up>(&out[HEAD_BYTES..]), Ok(Some(Up::Ping(5))));
        out.push(0);
        assert_eq!(decode::<Up>(&out[HEAD_BYTES..]), Err(FrameError::Trailing { number: 19, n: 1 }));
    }

    #[test]
    fn a_huge_claim_in_a_small_frame_is_an_error() {
        // List with a claim of 2^40 directories.
        let body = [2, 1, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(matches!(decode::<Up>(&body), Err(FrameError::Body { number: 2, .. })));
    }

    #[test]
    fn a_refusal_keeps_its_frozen_bytes() {
        let refuse = Refuse { code: RefuseCode::Busy, lowest: 1, highest: 1, text: Text::new("busy") };
        let mut out = Vec::new();
        encode(&Down::Refuse(refuse.clone()), &mut out);
        assert_eq!(out, *b"\x0d\0\0\0\x02\0\x01\0\x01\0\x04\0busy");
        assert_eq!(decode::<Down>(&out[HEAD_BYTES..]), Ok(Some(Down::Refuse(refuse))));
    }

    #[test]
    fn frames_are_cut_wherever_the_stream_is() {
        let mut stream = Vec::new();
        for number in 0..5 {
            encode(&Up::Ping(number), &mut stream);
        }
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in stream {
            frames.buffer().push(byte);
            while let Some(message) = frames.next_message::<Up>().expect("these are frames") {
                seen.push(message);
            }
        }
        assert_eq!(seen, (0..5).map(Up::Ping).collect::<Vec<_>>());
    }
}
