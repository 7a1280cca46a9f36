//! The first bytes of a connection: `strait` and a version each way, and the `Refuse` that every
//! version can read.
//!
//! The bytes of the preface are frozen for all versions; those of `Refuse` stand in `proto::frame`.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::limits::TEXT_BYTES;
use crate::proto::frame::{HEAD_BYTES, decode, frame_bytes};
use crate::proto::message::{Down, Refuse, VERSION};

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

/// Reads the `Refuse` that follows the preface of a receiver of another version.
///
/// # Errors
/// [`PrefaceError::Refuse`] for other bytes, [`PrefaceError::Link`] when they do not come.
///
/// # Cancel safety
/// Not cancel safe.
pub async fn read_refuse(reader: &mut (impl AsyncRead + Unpin)) -> Result<Refuse, PrefaceError> {
    let mut head = [0; HEAD_BYTES];
    reader.read_exact(&mut head).await?;
    let n_bytes = frame_bytes(&head).ok().flatten().unwrap_or(usize::MAX);
    if n_bytes > HEAD_BYTES + REFUSE_HEAD_BYTES + TEXT_BYTES {
        return Err(PrefaceError::Refuse);
    }
    let mut body = vec![0; n_bytes - HEAD_BYTES];
    reader.read_exact(&mut body).await?;
    match decode::<Down>(&body) {
        Ok(Some(Down::Refuse(refuse))) => Ok(refuse),
        _ => Err(PrefaceError::Refuse),
    }
}

/// A peer's text, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_refusal_of_absurd_length_is_not_allocated() {
        assert!(matches!(read_refuse(&mut &[0xff; 64][..]).await, Err(PrefaceError::Refuse)));
        assert!(matches!(read_refuse(&mut &[0; 64][..]).await, Err(PrefaceError::Refuse)));
        assert!(matches!(read_refuse(&mut &[2, 0, 0, 13, 1][..]).await, Err(PrefaceError::Refuse)), "a ping");
    }
}
