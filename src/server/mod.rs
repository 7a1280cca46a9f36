//! Floor 4: the receiver, one of the two programs.
//!
//! [`run`] opens the destination (`shore`), listens (`listen`), lets senders in (`greet`,
//! `lease`) and drives one machine for each (`session`); a thread for each session touches the
//! disk (`worker`: `stage`, `commit`, `asks`, `hasher`).

pub mod aside;
mod asks;
mod bases;
mod commit;
pub mod confine;
pub mod contents;
mod filling;
mod greet;
mod hasher;
pub mod holdings;
mod keeps;
mod lease;
mod listen;
pub mod options;
mod over;
mod packs;
mod partials;
mod refusal;
mod session;
mod shore;
mod sink;
pub mod snapshots;
mod space;
mod stage;
mod standing;
pub mod stop;
mod strangers;
mod tally;
mod trash;
mod warm;
mod worker;

#[cfg(test)]
mod tests;

pub use shore::{GONE, ShoreError};

use crate::client::event::{Event, Outcome, Report, sentence};
use crate::net::tls::ServerTls;
use crate::net::{Door, Endpoint, Identity, Pipe, Places, PublicKey};
use lease::Lease;
use listen::{Harbour, listen, serve_pipe, tell_listening};
use options::{Found, Making, ServerOptions};
use shore::Shore;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use stop::stop_on_signal;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use trash::Trash;
use warm::Warm;

/// An error in one sentence, with the exit class that it means.
pub struct Fatal {
    pub outcome: Outcome,
    pub text: String,
}

impl Fatal {
    pub fn new(outcome: Outcome, error: &dyn std::error::Error) -> Self {
        Self { outcome, text: sentence(error) }
    }
}

/// Serves a destination until told to stop, and says what happens.
pub fn run(options: ServerOptions, events: &'static dyn Report) -> Outcome {
    let outcome = prepare(&options, events)
        .and_then(|(shore, entrance)| in_runtime(serve(shore, entrance, events)))
        .and_then(|ended| ended);
    outcome.unwrap_or_else(|fatal| {
        events.event(Event::Error { text: fatal.text });
        fatal.outcome
    })
}

/// Runs a program's work on threads that it has to itself; they are as confined as this one.
pub(crate) fn in_runtime<T>(work: impl Future<Output = T>) -> Result<T, Fatal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Fatal::new(Outcome::Failed, &error))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(done)
}

/// What clients meet: this side's key, the keys that are let in, and the port. There is none for one client over
/// standard input and output.
struct Entrance {
    places: Places,
    identity: Identity,
    authorized: Vec<PublicKey>,
    listener: std::net::TcpListener,
}

impl Entrance {
    fn open(options: &ServerOptions) -> Result<Self, Fatal> {
        let failed = |error: &dyn std::error::Error| Fatal::new(Outcome::Failed, error);
        let authorized = options.authorize.iter().map(|text| {
            let bad = |error| Fatal { outcome: Outcome::Usage, text: format!("--authorize {text}: {error}") };
            text.parse().map_err(bad)
        });
        let authorized = authorized.collect::<Result<_, _>>()?;
        let places = Places::from_environment().map_err(|error| failed(&error))?;
        let identity =
            Identity::load(options.identity.as_deref(), &places).map_err(|error| failed(&error))?;
        Ok(Self { places, identity, authorized, listener: bind(options)? })
    }
}

/// Opens what has to be there, then gives up the right to anything else.
///
/// The destination comes last: a start that fails has not emptied, adopted or made it.
fn prepare(
    options: &ServerOptions,
    events: &'static dyn Report,
) -> Result<(Arc<Shore>, Option<Entrance>), Fatal> {
    let entrance = (!options.stdio).then(|| Entrance::open(options)).transpose()?;
    let shore =
        open_shore(&options.dest, options.found, options.making, options.state.as_deref(), None, events)?;
    if let Some(entrance) = &entrance {
        confine::make_key_folders(&entrance.places);
        shore.mark().map_err(|error| Fatal::new(Outcome::Failed, &error))?;
    }
    let places = entrance.as_ref().map(|entrance| &entrance.places);
    confine::confine(&confine::kept_by_server(&shore.path, options, places), events);
    Trash::start(&shore);
    Ok((shore, entrance))
}

async fn serve(
    shore: Arc<Shore>,
    entrance: Option<Entrance>,
    events: &'static dyn Report,
) -> Result<Outcome, Fatal> {
    let (stopper, stop) = watch::channel(false);
    let Some(Entrance { places, identity, authorized, listener }) = entrance else {
        let events: &'static dyn Report = Box::leak(Box::new(FarEnd(events)));
        let harbour =
            Harbour { shore, lease: Lease::default(), warm: Warm::none(), events, stop, lost: Notify::new() };
        let pipe = Pipe::stdio().map_err(|error| Fatal::new(Outcome::Failed, &error))?;
        tokio::spawn(stop_on_signal(stopper, events));
        return match serve_pipe(&harbour, pipe).await {
            Ok(()) if !harbour.shore.is_in_place() => {
                Err(Fatal { outcome: Outcome::Failed, text: GONE.into() })
            }
            Ok(()) => Ok(Outcome::InStep),
            Err(text) => Err(Fatal { outcome: Outcome::Failed, text }),
        };
    };
    let failed = |error: &dyn std::error::Error| Fatal::new(Outcome::Failed, error);
    let mut door = Door::new(places.clone(), identity.public_key(), &shore.root_id());
    for key in authorized {
        door.clients().add(key, "by --authorize").map_err(|error| failed(&error))?;
    }
    let listener = TcpListener::from_std(listener).map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let endpoint = Endpoint::announce(&places, identity.public_key(), address);
    if let Err(error) = &endpoint {
        let text = format!("clients of this user need a ticket or a key: {}", sentence(error));
        events.event(Event::Note { text });
    }
    let ticket = door.issue(Instant::now());
    let warm = Warm::start(shore.clone(), events);
    let harbour =
        Arc::new(Harbour { shore, lease: Lease::default(), warm, events, stop, lost: Notify::new() });
    // In the variable, as the words of a command line are everybody's to read.
    let (host, port) = (shown_host(address), address.port());
    let line = format!("STRAIT_TICKET={ticket} strait watch SRC --host {host} --port {port}");
    tokio::spawn(stop_on_signal(stopper, events));
    tell_listening(&harbour, address.to_string(), Some(line));
    listen(harbour.clone(), listener, ServerTls::new(&identity), door).await;
    harbour.warm.end().await;
    harbour.shore.trash.stop();
    harbour.shore.known.sync();
    if !harbour.shore.is_in_place() {
        return Err(Fatal { outcome: Outcome::Failed, text: GONE.into() });
    }
    Ok(Outcome::InStep)
}

fn open_shore(
    dest: &Path,
    found: Found,
    making: Making,
    state: Option<&Path>,
    source: Option<&Path>,
    events: &'static dyn Report,
) -> Result<Arc<Shore>, Fatal> {
    let shore = Shore::open(dest, found, making, state, source).map_err(|error| {
        let outcome = if error.is_busy() { Outcome::NoConnection } else { Outcome::Failed };
        Fatal::new(outcome, &error)
    })?;
    if let Some(why) = &shore.rebuilt {
        events.event(Event::CacheRebuilt { why: why.clone() });
    }
    Ok(shore)
}

/// A receiver in this process, for a local destination.
pub struct LocalReceiver {
    harbour: Arc<Harbour>,
    _stopper: watch::Sender<bool>,
}

impl LocalReceiver {
    /// Opens the destination, which must lie apart from `source`.
    pub fn open(
        dest: &Path,
        found: Found,
        making: Making,
        source: &Path,
        events: &'static dyn Report,
    ) -> Result<Self, Fatal> {
        let shore = open_shore(dest, found, making, None, Some(source), events)?;
        let (stopper, stop) = watch::channel(false);
        let events: &'static dyn Report = &Silent;
        let harbour = Arc::new(Harbour {
            shore,
            lease: Lease::default(),
            warm: Warm::none(),
            events,
            stop,
            lost: Notify::new(),
        });
        Ok(Self { harbour, _stopper: stopper })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.harbour.shore.path
    }

    /// Whether it can be served still: strait's own folder was not removed.
    pub fn is_in_place(&self) -> bool {
        self.harbour.shore.is_in_place()
    }

    /// Begins to keep the bounds of its trash; once this thread is confined.
    pub fn tend(&self) {
        Trash::start(&self.harbour.shore);
    }

    /// A pipe to it; the session ends with the pipe.
    pub fn connect(&self) -> (Pipe, tokio::task::JoinHandle<()>) {
        let (near, far) = Pipe::memory();
        let harbour = self.harbour.clone();
        let session = tokio::spawn(async move {
            if let Err(why) = serve_pipe(&harbour, far).await {
                tracing::debug!(why, "the local session did not begin");
            }
        });
        (near, session)
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        self.harbour.shore.trash.stop();
    }
}

/// The far end of ssh says on standard error, which comes to who sits at the near end, only what is not told there.
struct FarEnd(&'static dyn Report);

impl Report for FarEnd {
    fn event(&self, event: Event) {
        match event {
            Event::ClientConnected { .. } | Event::ClientLeft { .. } | Event::Received(_) => {}
            event => self.0.event(event),
        }
    }
}

/// The receiver of a local destination says nothing of its own: the sender tells all.
struct Silent;

impl Report for Silent {
    fn event(&self, _event: Event) {}
}

fn bind(options: &ServerOptions) -> Result<std::net::TcpListener, Fatal> {
    let listener = std::net::TcpListener::bind((options.host.as_str(), options.port));
    let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| {
        let next = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; choose another --port",
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another --host",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need root; choose another --port",
            _ => "check --host and --port",
        };
        let text = format!("cannot listen at {}:{}: {error}; {next}", options.host, options.port);
        Fatal { outcome: Outcome::Failed, text }
    })
}

/// The host for the line that is run elsewhere.
fn shown_host(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .unwrap_or_else(|_| "HOST".to_owned());
    }
    address.ip().to_string()
}
