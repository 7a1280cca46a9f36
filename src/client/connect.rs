//! The way to the receiver: TCP with TLS, ssh, or this process; and the greeting's first bytes.

use super::options::{ClientOptions, Destination};
use crate::client::event::{Event, Outcome, Report};
use crate::model::limits::SEGMENT_BYTES;
use crate::net::destination::SshDestination;
use crate::net::link::plain;
use crate::net::pipe::{PipeError, Sending};
use crate::net::preface::PrefaceError;
use crate::net::ssh::{SshCommand, SshError, SshSession, split_words};
use crate::net::tls::KeyExchange;
use crate::net::{
    ClientTrust, Identity, Pipe, Places, PublicKey, SegmentReader, SegmentWriter, Squeeze, Ticket,
};
use crate::net::{Traffic, pace::Rate};
use crate::proto::frame::encode;
use crate::proto::message::{Up, VERSION};
use crate::server::options::Found;
use crate::server::{Fatal, GONE, LocalReceiver};
use std::ffi::OsString;
use std::sync::Arc;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(transparent)]
    Preface(#[from] PrefaceError),
    #[error("the connection broke during the greeting: {0}")]
    Broken(#[from] std::io::Error),
    #[error(
        "the server speaks version {theirs} of the protocol, this strait version {VERSION}: {text}; update the older of the two"
    )]
    Version { theirs: u16, text: String },
    #[error("the keys cannot be used: {0}")]
    Keys(String),
    /// Of a local destination.
    #[error("{GONE}")]
    Gone,
}

impl ConnectError {
    /// The error in words that follow the name of the receiver.
    pub fn why(&self) -> String {
        match self {
            ConnectError::Pipe(PipeError::Connect { source, .. }) => plain(source),
            ConnectError::Broken(error) => format!("the connection broke in the greeting: {}", plain(error)),
            other => other.to_string(),
        }
    }

    /// How the program ends; `None`: trying again may help. `once`: this is a push.
    pub fn outcome(&self, once: bool) -> Option<Outcome> {
        match self {
            // What lasts there is a key that is not the one expected.
            ConnectError::Pipe(error) => error.is_lasting().then_some(Outcome::NotAuthorised),
            ConnectError::Keys(_) => Some(Outcome::NotAuthorised),
            ConnectError::Ssh(error) => ssh_outcome(error, once),
            ConnectError::Preface(PrefaceError::NotStrait(_)) | ConnectError::Version { .. } => {
                Some(Outcome::Failed)
            }
            ConnectError::Gone => Some(Outcome::Failed),
            ConnectError::Preface(_) | ConnectError::Broken(_) => None,
        }
    }
}

/// ssh may ask for a password each time it is started: a push starts it once.
fn ssh_outcome(error: &SshError, once: bool) -> Option<Outcome> {
    match error {
        SshError::Ended { code: Some(code), .. } if *code != i32::from(Outcome::NoConnection.exit_code()) => {
            Some(Outcome::Failed)
        }
        SshError::Ended { .. } | SshError::Connect(_) => once.then_some(Outcome::NoConnection),
        SshError::Start { .. } => once.then_some(Outcome::Failed),
        other => other.is_lasting().then_some(Outcome::Failed),
    }
}

/// Ways to one receiver; a new connection each time it is asked.
pub enum Way {
    Server { options: Arc<ClientOptions>, places: Places, identity: Identity, address: String },
    Ssh { command: SshCommand, destination: SshDestination },
    Local(LocalReceiver),
}

/// A connection on which the first words were sent.
pub struct Connection {
    pub reader: SegmentReader,
    pub writer: SegmentWriter,
    pub traffic: Arc<Traffic>,
    pub peer: String,
    pub trust: Option<(ClientTrust, PublicKey)>,
    pub carrier: Carrier,
}

/// What carries a connection and ends with it.
pub enum Carrier {
    Tcp,
    Ssh(Box<SshSession>),
    Local(tokio::task::JoinHandle<()>),
}

impl Way {
    /// Makes ready; opens a local destination.
    pub fn open(
        options: &Arc<ClientOptions>,
        places: &Places,
        events: &'static dyn Report,
    ) -> Result<Self, Fatal> {
        let failed = |error: &dyn std::error::Error| Fatal::new(Outcome::Failed, error);
        match &options.destination {
            Destination::Server { host, port } => {
                let identity =
                    Identity::load(options.identity.as_deref(), places).map_err(|error| failed(&error))?;
                check_keys(options)?;
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                Ok(Way::Server {
                    options: options.clone(),
                    places: places.clone(),
                    identity,
                    address: format!("{host}:{port}"),
                })
            }
            Destination::Local(dest) => {
                LocalReceiver::open(dest, options.found, options.making, &options.source, events)
                    .map(Way::Local)
            }
            Destination::Ssh { host, path, rsh } => {
                let rsh = split_words(rsh).map_err(|error| Fatal::new(Outcome::Usage, &error))?;
                let found = match options.found {
                    Found::Refuse => None,
                    Found::Adopt => Some("--adopt".to_owned()),
                    Found::Clean => Some("--clean".to_owned()),
                };
                let far = found.into_iter().chain(options.making.words()).map(OsString::from).collect();
                let (user, host) = match host.split_once('@') {
                    Some((user, host)) => (Some(user.to_owned()), host.to_owned()),
                    None => (None, host.clone()),
                };
                let destination = SshDestination { user, host, path: path.into() };
                let program = std::env::var("STRAIT_REMOTE_PROGRAM").unwrap_or_else(|_| "strait".to_owned());
                let command = SshCommand { rsh, program, options: far };
                Ok(Way::Ssh { command, destination })
            }
        }
    }

    /// What is waited for, for people.
    pub fn name(&self) -> String {
        match self {
            Way::Server { address, .. } => format!("the server at {address}"),
            Way::Ssh { destination, .. } => format!("strait over ssh at {}", destination.login()),
            Way::Local(_) => "the local destination".to_owned(),
        }
    }

    /// What to do when it cannot be reached, to be joined to why.
    pub fn next_step(&self) -> &'static str {
        match self {
            Way::Server { .. } => "; start `strait serve` there, or check --host and --port",
            Way::Ssh { .. } | Way::Local(_) => "",
        }
    }

    /// Connects and sends the first words, which the caller makes knowing the ticket and the link: the greeting, and
    /// what goes ahead of the answer to it.
    ///
    /// # Cancel safety
    /// Dropped in the middle, the connection is closed.
    pub async fn connect(
        &self,
        limit: Option<Rate>,
        greet: impl FnOnce(Option<[u8; 16]>, &Traffic) -> Vec<Up>,
    ) -> Result<Connection, ConnectError> {
        let (pipe, trust, carrier) = match self {
            Way::Server { options, places, identity, address } => {
                let trust = gather(options, places, identity, address)?;
                let (pipe, key) = Pipe::connect(&trust).await?;
                (pipe, Some((trust, key)), Carrier::Tcp)
            }
            Way::Ssh { command, destination } => {
                let (pipe, session) = command.start(destination)?;
                (pipe, None, Carrier::Ssh(Box::new(session)))
            }
            Way::Local(receiver) if !receiver.is_in_place() => return Err(ConnectError::Gone),
            Way::Local(receiver) => {
                let (pipe, session) = receiver.connect();
                (pipe, None, Carrier::Local(session))
            }
        };
        let peer = pipe.peer.clone();
        let traffic = pipe.traffic.clone();
        let (reader, mut writer) = pipe.into_segments(Sending { limit, ..Sending::default() });
        let ticket = trust.as_ref().and_then(|(trust, key)| trust.secret_for(key));
        let ups = greet(ticket, &traffic);
        let sent = send_first(&mut writer, &ups).await;
        let mut connection = Connection { reader, writer, traffic, peer, trust, carrier };
        let met = connection.meet().await;
        match (met, connection.carrier) {
            (Ok(()), carrier) => {
                sent?;
                Ok(Connection { carrier, ..connection })
            }
            (Err(error), Carrier::Ssh(session)) => {
                drop((connection.reader, connection.writer));
                // ssh knows better why nobody answered.
                session.end().await?;
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Sends the preface, the greeting as it is, and what goes ahead squeezed.
async fn send_first(writer: &mut SegmentWriter, ups: &[Up]) -> std::io::Result<()> {
    let mut frames = Vec::new();
    writer.put_preface();
    for (index, up) in ups.iter().enumerate() {
        encode(up, &mut frames);
        if index == 0 {
            writer.write(&frames, Squeeze::Stored).await?;
            frames.clear();
        }
    }
    for piece in frames.chunks(SEGMENT_BYTES) {
        writer.write(piece, Squeeze::Auto).await?;
    }
    writer.flush().await
}

impl Connection {
    /// Reads the receiver's preface.
    async fn meet(&mut self) -> Result<(), ConnectError> {
        let theirs = self.reader.read_preface().await?;
        if theirs != VERSION {
            let text =
                self.reader.read_refuse().await.map(|refuse| refuse.text.to_string()).unwrap_or_default();
            return Err(ConnectError::Version { theirs, text });
        }
        Ok(())
    }

    /// After the receiver let us in: keeps what a ticket taught.
    pub fn remember(trust: &Option<(ClientTrust, PublicKey)>, places: &Places, events: &dyn Report) {
        if let Some((trust, key)) = trust
            && let Err(error) = trust.remember(places, key)
        {
            let text = format!("the server's key is not remembered: {error}");
            events.event(Event::Note { text });
        }
    }
}

fn check_keys(options: &ClientOptions) -> Result<(), Fatal> {
    let usage = |text: String| Fatal { outcome: Outcome::Usage, text };
    if let Some(key) = &options.server_key {
        key.parse::<PublicKey>().map_err(|error| usage(format!("--server-key {key}: {error}")))?;
    }
    if let Some(ticket) = &options.ticket {
        ticket.parse::<Ticket>().map_err(|error| usage(format!("--ticket: {error}")))?;
    }
    Ok(())
}

fn gather(
    options: &ClientOptions,
    places: &Places,
    identity: &Identity,
    address: &str,
) -> Result<ClientTrust, ConnectError> {
    let keys = |error: String| ConnectError::Keys(error);
    let server_keys: Vec<PublicKey> = options.server_key.iter().filter_map(|key| key.parse().ok()).collect();
    let ticket: Option<Ticket> = options.ticket.as_ref().and_then(|ticket| ticket.parse().ok());
    let exchange = if options.x25519_only { KeyExchange::X25519 } else { KeyExchange::Hybrid };
    ClientTrust::gather(places, identity, address, &server_keys, ticket.as_ref(), exchange)
        .map_err(|error| keys(error.to_string()))
}

/// Where the state of a source and a destination lies.
pub fn state_name(source: &std::path::Path, destination: &Destination) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut hasher = blake3::Hasher::new_derive_key("strait 1 client state");
    hasher.update(source.as_os_str().as_bytes());
    let way = match destination {
        Destination::Server { host, port } => format!("\0server\0{host}\0{port}"),
        Destination::Local(dest) => {
            let dest = dest.canonicalize().unwrap_or_else(|_| dest.clone());
            format!("\0local\0{}", dest.display())
        }
        Destination::Ssh { host, path, .. } => format!("\0ssh\0{host}\0{path}"),
    };
    hasher.update(way.as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}
