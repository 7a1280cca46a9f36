//! The greeting, from a fresh pipe to a sender that was let in.

use super::lease::{Busy, Lease};
use super::session::Guest;
use crate::net::link::read_first;
use crate::net::pipe::Sending;
use crate::net::trust::DoorError;
use crate::net::{Door, Pipe, PublicKey, SegmentWriter, Squeeze};
use crate::proto::frame::{Frames, encode};
use crate::proto::message::{Down, Refuse, RefuseCode, Role, Text, Up, VERSION};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Why a sender was not let in; for the server's own output.
#[derive(Debug)]
pub struct NotLetIn {
    pub why: String,
}

impl<E: std::fmt::Display> From<E> for NotLetIn {
    fn from(error: E) -> Self {
        Self { why: error.to_string() }
    }
}

/// Waits for what a stranger has to do, and no longer than `until`.
///
/// # Errors
/// What came of it, and that nothing came.
pub async fn in_time<T, E: std::fmt::Display>(
    until: Instant,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, NotLetIn> {
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(NotLetIn { why: "it did not finish its greeting in time".into() }),
    }
}

/// Greets whoever is at the other end of a pipe.
///
/// `door`: who may come in, with the key that the peer proved; `None` where the way in was
/// somebody else's decision (ssh, this process). `until`: when its words must have come.
///
/// # Errors
/// The peer was told, or showed nothing that could be answered, and the pipe is closed.
pub async fn greet(
    pipe: Pipe,
    door: Option<(&Mutex<Door>, PublicKey)>,
    lease: &Lease,
    until: Instant,
) -> Result<(Guest, Option<Arc<super::lease::Holder>>), NotLetIn> {
    let traffic = pipe.traffic.clone();
    let (mut reader, mut writer) = pipe.into_segments(Sending::default());
    reader.limit_to_greeting();
    writer.put_preface();
    let mut frames = Frames::default();
    let version = in_time(until, reader.read_preface()).await?;
    if version != VERSION {
        let text =
            format!("this server speaks version {VERSION} of the protocol, the client version {version}");
        writer.put_refuse(&refusal(RefuseCode::Version, &text));
        writer.close().await?;
        return Err(NotLetIn { why: text });
    }
    let first = in_time(until, read_first::<Up>(&mut reader, &mut frames)).await?;
    let Up::Hello(hello) = first else { return Err(NotLetIn { why: "it did not greet".into() }) };
    let mut stay = None;
    if let Some((door, key)) = door {
        let admitted = {
            let mut door = door.lock().unwrap_or_else(PoisonError::into_inner);
            let admission = door.admit(&key, hello.ticket.as_ref(), Instant::now());
            admission.map(|admission| door.stay(&key, admission))
        };
        match admitted {
            Ok(admitted) => stay = admitted,
            Err(error) => {
                let why = match &error {
                    DoorError::NotAuthorised(key) => {
                        format!("its key is not known; --authorize {key} lets it in, or a ticket")
                    }
                    other => other.to_string(),
                };
                refuse(writer, RefuseCode::NotAuthorised, &error.text_for_client()).await?;
                return Err(NotLetIn { why });
            }
        }
    }
    reader.admit();
    if !hello.root_name.as_ref().is_empty() {
        let text = "this server has one root only; leave its name out";
        refuse(writer, RefuseCode::NoSuchRoot, text).await?;
        return Err(NotLetIn { why: text.into() });
    }
    let holder = match hello.role {
        Role::Push => match lease.take(&hello).await {
            Ok(holder) => Some(holder),
            Err(busy) => {
                let text = busy_text(&busy);
                refuse(writer, RefuseCode::Busy, &text).await?;
                return Err(NotLetIn { why: text });
            }
        },
        Role::Plan | Role::Audit => None,
        Role::Pull => {
            let text = "pull is not built yet";
            refuse(writer, RefuseCode::Rights, text).await?;
            return Err(NotLetIn { why: text.into() });
        }
    };
    Ok((Guest { hello, stay, reader, writer, frames, traffic }, holder))
}

/// Begins with the word that the sender tells this refusal by.
fn busy_text(busy: &Busy) -> String {
    match busy.minutes {
        0 => format!("busy: {} has begun to send to it", busy.holder),
        minutes => format!("busy: {} has been sending to it for {minutes} min", busy.holder),
    }
}

async fn refuse(mut writer: SegmentWriter, code: RefuseCode, text: &str) -> std::io::Result<()> {
    let mut frame = Vec::new();
    encode(&Down::Refuse(refusal(code, text)), &mut frame);
    writer.write(&frame, Squeeze::Stored).await?;
    writer.close().await
}

fn refusal(code: RefuseCode, text: &str) -> Refuse {
    Refuse { code, lowest: VERSION, highest: VERSION, text: Text::new(text) }
}
