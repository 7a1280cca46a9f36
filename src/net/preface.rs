//! The first bytes of a connection: `strait` and a version each way, and the `Refuse` that every
//! version can read.
//!
//! The bytes of this file are frozen for all versions.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::limits::TEXT_BYTES;

/// The version that this build speaks.
pub const VERSION: u16 = 1;
/// Length of a preface.
pub const PREFACE_BYTES: usize = 8;

const NAME: &[u8; 6] = b"strait";
/// Bytes of a `Refuse` body before its text: number, code, lowest, highest, length of the text.
const REFUSE_HEAD_BYTES: usize = 9;

/// The other side did not begin as strait does. Class: session.
#[derive(Debug, thiserror::Error)]
pub enum PrefaceError {
    #[error("the other side closed the connection before it said anything; its own output says why")]
    Closed,
    #[error(
        "the other side began with {0:?} instead of strait's greeting; if this goes over ssh, something there \
             prints on standard output when it starts (see ~/.bashrc): `ssh HOST true` must print nothing"
    )]
    NotStrait(String),
    #[error(
        "the other side speaks version {theirs} of the protocol, this one {VERSION}; \
             install the same version of strait on both"
    )]
    Version { theirs: u16 },
    #[error("the other side refused in a form that cannot be read")]
    Refuse,
    #[error("the link broke before the greeting: {}", super::link::plain(.0))]
    Link(#[from] io::Error),
}

/// The 8 bytes that open a connection in this version.
pub fn encode_preface(version: u16) -> [u8; PREFACE_BYTES] {
    let [low, high] = version.to_le_bytes();
    let [s, t, r, a, i, t2] = *NAME;
    [s, t, r, a, i, t2, low, high]
}

/// Reads the other side's preface; gives its version, whatever it is.
///
/// # Errors
/// [`PrefaceError`] when the bytes are not strait's or do not come.
///
/// # Cancel safety
/// Not cancel safe: what was read is lost.
pub async fn read_preface(reader: &mut (impl AsyncRead + Unpin)) -> Result<u16, PrefaceError> {
    let mut bytes = [0; PREFACE_BYTES];
    let mut have = 0;
    while have < PREFACE_BYTES {
        let n = reader.read(&mut bytes[have..]).await?;
        have += n;
        // Said at the first byte that differs: a talkative shell may send fewer than eight.
        let compared = have.min(NAME.len());
        if bytes[..compared] != NAME[..compared] {
            return Err(PrefaceError::NotStrait(printable(&bytes[..have])));
        }
        if n == 0 {
            return Err(if have == 0 {
                PrefaceError::Closed
            } else {
                io::Error::from(io::ErrorKind::UnexpectedEof).into()
            });
        }
    }
    Ok(u16::from_le_bytes([bytes[6], bytes[7]]))
}

/// Why a receiver does not go on; the codes are frozen.
pub mod code {
    pub const VERSION: u16 = 0;
    pub const NOT_AUTHORISED: u16 = 1;
    pub const BUSY: u16 = 2;
    pub const NO_SUCH_ROOT: u16 = 3;
    pub const RIGHTS: u16 = 4;
    pub const LIMIT: u16 = 5;
}

/// The frozen refusal of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// One of [`code`], or one of a later version.
    pub code: u16,
    /// Versions that the receiver speaks.
    pub lowest: u16,
    pub highest: u16,
    /// For people; at most 512 bytes of UTF-8, without control characters.
    pub text: String,
}

impl Refuse {
    /// A refusal by this build. A text that is too long is cut.
    pub fn new(code: u16, text: &str) -> Self {
        let mut text = printable(text.as_bytes());
        text.truncate(cut(&text).len());
        Self { code, lowest: VERSION, highest: VERSION, text }
    }

    /// Encodes the whole frame: length u24, 0x00, code, lowest, highest, length of the text (all
    /// u16, little-endian), text.
    pub fn encode(&self) -> Vec<u8> {
        let text = cut(&self.text).as_bytes();
        let text_bytes = text.len() as u16;
        let body_bytes = (REFUSE_HEAD_BYTES + text.len()) as u32;
        let mut frame = body_bytes.to_le_bytes()[..3].to_vec();
        frame.push(0);
        for field in [self.code, self.lowest, self.highest, text_bytes] {
            frame.extend_from_slice(&field.to_le_bytes());
        }
        frame.extend_from_slice(text);
        frame
    }

    /// Decodes the body of a frame (without its length); `None` when it is not a `Refuse`.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (head, text) = body.split_at_checked(REFUSE_HEAD_BYTES)?;
        let field = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if head[0] != 0 || usize::from(field(7)) != text.len() || text.len() > TEXT_BYTES {
            return None;
        }
        Some(Self { code: field(1), lowest: field(3), highest: field(5), text: printable(text) })
    }
}

/// Reads the `Refuse` that follows the preface of a receiver of another version.
///
/// # Errors
/// [`PrefaceError::Refuse`] for other bytes, [`PrefaceError::Link`] when they do not come.
///
/// # Cancel safety
/// Not cancel safe.
pub async fn read_refuse(reader: &mut (impl AsyncRead + Unpin)) -> Result<Refuse, PrefaceError> {
    let mut length = [0; 3];
    reader.read_exact(&mut length).await?;
    let body_bytes = u32::from_le_bytes([length[0], length[1], length[2], 0]) as usize;
    if !(REFUSE_HEAD_BYTES..=REFUSE_HEAD_BYTES + TEXT_BYTES).contains(&body_bytes) {
        return Err(PrefaceError::Refuse);
    }
    let mut body = vec![0; body_bytes];
    reader.read_exact(&mut body).await?;
    Refuse::decode(&body).ok_or(PrefaceError::Refuse)
}

/// As much of a text as a `Refuse` may carry, cut between two characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A peer's text, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_preface_is_read_back_with_its_version() {
        assert_eq!(&encode_preface(0x0201), b"strait\x01\x02");
        assert_eq!(read_preface(&mut &encode_preface(700)[..]).await.unwrap(), 700);
    }

    #[tokio::test]
    async fn other_beginnings_are_told_apart() {
        assert!(matches!(read_preface(&mut &b""[..]).await, Err(PrefaceError::Closed)));
        assert!(matches!(read_preface(&mut &b"stra"[..]).await, Err(PrefaceError::Link(_))));
        let error = read_preface(&mut &b"Hi\x1b\n"[..]).await.unwrap_err();
        assert!(matches!(&error, PrefaceError::NotStrait(text) if text == "Hi  "), "{error}");
    }

    #[test]
    fn the_bytes_of_a_refusal_are_frozen() {
        let refuse = Refuse { code: 2, lowest: 1, highest: 3, text: "no".into() };
        assert_eq!(refuse.encode(), b"\x0b\0\0\0\x02\0\x01\0\x03\0\x02\0no");
        assert_eq!(Refuse::decode(&refuse.encode()[3..]), Some(refuse));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let refuse = Refuse::new(code::BUSY, &"é".repeat(400));
        assert_eq!(refuse.text.len(), 512);
        assert_eq!(Refuse::new(code::BUSY, &("x".to_string() + &"é".repeat(400))).text.len(), 511);
        assert_eq!(Refuse::decode(&refuse.encode()[3..]), Some(refuse));
    }

    #[tokio::test]
    async fn a_refusal_of_absurd_length_is_not_allocated() {
        assert!(matches!(read_refuse(&mut &[0xff; 64][..]).await, Err(PrefaceError::Refuse)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Some(refuse) = Refuse::decode(&bytes) {
                prop_assert!(refuse.encode().len() >= 12);
            }
        }
    }
}
