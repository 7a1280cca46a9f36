//! Who is trusted: the servers that a client talks to, the clients that a server lets in.
//!
//! There is no trust on first use. A client trusts a key pinned by hand, learned through a ticket,
//! or found in an endpoint file of its own user. A server lets in a key it was told of, a ticket,
//! and its own user. Both lists are text files, read again at each connection, so that a line
//! taken out counts at once.

use std::path::PathBuf;
use std::time::Instant;

use super::endpoint::Endpoint;
use super::identity::{Identity, PublicKey};
use super::places::Places;
use super::private_file::{self, PrivateFileError};
use super::ticket::{Secret, Ticket, TicketBook, TicketError};
use super::tls::KeyExchange;

/// Servers that this user's clients know: lines `host:port KEY` in `known-servers`.
#[derive(Clone, Debug)]
pub struct KnownServers {
    path: PathBuf,
}

impl KnownServers {
    /// The list of this user.
    pub fn of(places: &Places) -> Self {
        Self { path: places.config.join("known-servers") }
    }

    /// The key of the server at `address` (`host:port` as the user writes it), if known.
    ///
    /// # Errors
    /// When the file cannot be read or is open to others.
    pub fn find(&self, address: &str) -> Result<Option<PublicKey>, PrivateFileError> {
        let text = private_file::read_text(&self.path)?;
        Ok(text.lines().find_map(|line| {
            let (name, key) = line.trim().split_once(char::is_whitespace)?;
            if name.eq_ignore_ascii_case(address) { key.parse().ok() } else { None }
        }))
    }

    /// Keeps the key of the server at `address` in place of what was known of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn learn(&self, address: &str, key: PublicKey) -> Result<(), PrivateFileError> {
        private_file::edit(&self.path, |text| {
            let other = |line: &&str| {
                line.split_whitespace().next().is_none_or(|name| !name.eq_ignore_ascii_case(address))
            };
            let kept: String = text.lines().filter(other).map(|line| format!("{line}\n")).collect();
            format!("{kept}{address} {key}\n")
        })
    }
}

/// Clients that may write to one destination: lines `KEY [note]` in `clients/ROOT`.
#[derive(Clone, Debug)]
pub struct AuthorisedClients {
    path: PathBuf,
}

impl AuthorisedClients {
    /// The list of the destination with this root id.
    pub fn of(places: &Places, root_id: &[u8; 16]) -> Self {
        let name: String = root_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: places.config.join("clients").join(name) }
    }

    /// All keys with their notes, in the order of the file. Lines that hold no key are skipped.
    ///
    /// # Errors
    /// When the file cannot be read or is open to others.
    pub fn list(&self) -> Result<Vec<(PublicKey, String)>, PrivateFileError> {
        let text = private_file::read_text(&self.path)?;
        Ok(text.lines().filter_map(parse_client).collect())
    }

    /// True when this key is in the list.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn contains(&self, key: &PublicKey) -> Result<bool, PrivateFileError> {
        Ok(self.list()?.iter().any(|(client, _)| client == key))
    }

    /// Adds a key with a note (one line, for people); one that is there already stays as it is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, key: PublicKey, note: &str) -> Result<(), PrivateFileError> {
        if self.contains(&key)? {
            return Ok(());
        }
        let note: String = note.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        private_file::edit(&self.path, |mut text| {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text + format!("{key} {note}").trim_end() + "\n"
        })
    }

    /// Removes a key; false when it was not in the list.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&self, key: &PublicKey) -> Result<bool, PrivateFileError> {
        if !self.contains(key)? {
            return Ok(false);
        }
        private_file::edit(&self.path, |text| {
            let other = |line: &&str| parse_client(line).is_none_or(|(client, _)| client != *key);
            text.lines().filter(other).map(|line| format!("{line}\n")).collect()
        })?;
        Ok(true)
    }
}

fn parse_client(line: &str) -> Option<(PublicKey, String)> {
    let line = line.trim();
    let (key, note) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    Some((key.parse().ok()?, note.trim().to_string()))
}

/// Why a client trusts a server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--server-key`.
    Pinned,
    /// An endpoint file: same user, same machine.
    Endpoint,
    /// `--ticket`.
    Ticket,
    /// Learned through an earlier ticket.
    Known,
}

/// Everything a client needs to know before it connects to one address.
///
/// Gather it anew for each attempt: a server that starts later has a new endpoint file.
#[derive(Clone, Debug)]
pub struct ClientTrust {
    pub(super) identity: Identity,
    pub(super) address: String,
    pub(super) key_exchange: KeyExchange,
    trusted: Vec<(PublicKey, Origin, Option<Secret>)>,
    known: Option<PublicKey>,
}

impl ClientTrust {
    /// Collects the keys that the server at `address` (`host:port`) may have.
    ///
    /// Keys in `server_keys` (`--server-key`) are an exclusive choice: nothing else is then
    /// accepted, but an endpoint's or ticket's secret still goes with its key.
    ///
    /// # Errors
    /// When the list of known servers cannot be used.
    pub fn gather(
        places: &Places,
        identity: &Identity,
        address: &str,
        server_keys: &[PublicKey],
        ticket: Option<&Ticket>,
        key_exchange: KeyExchange,
    ) -> Result<Self, PrivateFileError> {
        let known = KnownServers::of(places).find(address)?;
        let endpoints = Endpoint::all(places)
            .into_iter()
            .map(|found| (found.server_key, Origin::Endpoint, Some(found.secret)));
        let tickets = ticket.map(|ticket| (ticket.server_key, Origin::Ticket, Some(ticket.secret)));
        let found = endpoints.chain(tickets).chain(known.map(|key| (key, Origin::Known, None)));
        let pinned = server_keys.iter().map(|key| (*key, Origin::Pinned, None));
        let exclusive = |(key, ..): &(PublicKey, Origin, Option<Secret>)| {
            server_keys.is_empty() || server_keys.contains(key)
        };
        let trusted = found.filter(exclusive).chain(pinned).collect();
        Ok(Self { identity: identity.clone(), address: address.to_string(), key_exchange, trusted, known })
    }

    /// True when the server may have this key.
    pub fn accepts(&self, key: &PublicKey) -> bool {
        self.trusted.iter().any(|(trusted, ..)| trusted == key)
    }

    /// Why this key is trusted; the first reason when there are several.
    pub fn origin(&self, key: &PublicKey) -> Option<Origin> {
        self.trusted.iter().find(|(trusted, ..)| trusted == key).map(|(_, origin, _)| *origin)
    }

    /// What belongs in the greeting's ticket field for the server that showed this key. An
    /// endpoint's secret goes before a ticket, which is so kept for another time.
    pub fn secret_for(&self, key: &PublicKey) -> Option<[u8; 16]> {
        self.trusted
            .iter()
            .find_map(|(trusted, _, secret)| secret.filter(|_| trusted == key))
            .map(|secret| secret.0)
    }

    /// After the server let us in: keeps its key for `address` if it came with a ticket, so that
    /// the next connection needs none. Says whether it did.
    ///
    /// # Errors
    /// When the list of known servers cannot be written.
    pub fn remember(&self, places: &Places, key: &PublicKey) -> Result<bool, PrivateFileError> {
        let by_ticket =
            self.trusted.iter().any(|(trusted, origin, _)| trusted == key && *origin == Origin::Ticket);
        if by_ticket && self.known != Some(*key) {
            KnownServers::of(places).learn(&self.address, *key)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// True when an earlier ticket taught another key for this address than the given one.
    pub(super) fn known_differs(&self, key: &PublicKey) -> bool {
        self.known.is_some_and(|known| known != *key)
    }

    /// The address as the user wrote it, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Why a client was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its key is in the list of the destination.
    Authorised,
    /// It has this server's own key, or read an endpoint file: the same user.
    SameUser,
    /// It brought a ticket; its key is now in the list.
    Ticket,
}

/// The right of a client that was let in to stay, which ends when it is taken off the list.
#[derive(Clone, Debug)]
pub struct Stay {
    key: PublicKey,
    clients: AuthorisedClients,
}

impl Stay {
    /// Whether the client would still be let in. A list that cannot be used lets nobody stay, as it lets
    /// nobody in.
    pub fn holds(&self) -> bool {
        self.clients.contains(&self.key).unwrap_or(false)
    }
}

/// A client is not let in. Class: session.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(
        "the server does not know this client's key {0}; start `strait serve` there with --authorize {0}, \
             or use the ticket in the line that `strait serve` prints"
    )]
    NotAuthorised(PublicKey),
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The list of clients cannot be used. Its text names paths of the server: not for clients.
    #[error("the list of authorised clients cannot be used: {0}")]
    List(#[from] PrivateFileError),
}

impl DoorError {
    /// The text that the client may see: nothing of the server's paths.
    pub fn text_for_client(&self) -> String {
        match self {
            Self::List(_) => "the server cannot read its list of clients; its own output says why".into(),
            known => known.to_string(),
        }
    }
}

/// The server's door: decides after the greeting, before anything is said of the destination.
#[derive(Debug)]
pub struct Door {
    places: Places,
    own_key: PublicKey,
    clients: AuthorisedClients,
    tickets: TicketBook,
}

impl Door {
    /// The door of the destination with this root id, at the server with this key.
    pub fn new(places: Places, own_key: PublicKey, root_id: &[u8; 16]) -> Self {
        let clients = AuthorisedClients::of(&places, root_id);
        Self { places, own_key, clients, tickets: TicketBook::default() }
    }

    /// The list of clients, for `--authorize` and its like.
    pub fn clients(&self) -> &AuthorisedClients {
        &self.clients
    }

    /// The right to stay of a client that was let in with this key; none where no list says so.
    pub fn stay(&self, client: &PublicKey, admission: Admission) -> Option<Stay> {
        let is_listed = matches!(admission, Admission::Authorised | Admission::Ticket);
        is_listed.then(|| Stay { key: *client, clients: self.clients.clone() })
    }

    /// Draws a ticket for the line that `serve` prints.
    pub fn issue(&mut self, now: Instant) -> Ticket {
        self.tickets.issue(self.own_key, now)
    }

    /// Decides on a client by the key that its handshake proved and the 16 bytes of its greeting.
    ///
    /// The secret of any endpoint file of this user counts: a client that goes through a relay
    /// cannot know which of the user's servers, all with one key, it will reach.
    ///
    /// # Errors
    /// [`DoorError`]; send its [`text_for_client`](DoorError::text_for_client) and close.
    pub fn admit(
        &mut self,
        client: &PublicKey,
        ticket: Option<&[u8; 16]>,
        now: Instant,
    ) -> Result<Admission, DoorError> {
        if *client == self.own_key {
            return Ok(Admission::SameUser);
        }
        if self.clients.contains(client)? {
            return Ok(Admission::Authorised);
        }
        let Some(ticket) = ticket else { return Err(DoorError::NotAuthorised(*client)) };
        if Endpoint::all(&self.places).iter().any(|endpoint| endpoint.secret.matches(ticket)) {
            return Ok(Admission::SameUser);
        }
        self.tickets.redeem(ticket, now)?;
        self.clients.add(*client, "by ticket")?;
        Ok(Admission::Ticket)
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
