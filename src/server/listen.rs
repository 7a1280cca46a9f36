//! Listens for senders, and greets each in a task of its own.

use super::greet::{greet, in_time};
use super::lease::{Holder, Lease};
use super::session::serve_guest;
use super::shore::Shore;
use super::strangers::{Place, Strangers};
use super::warm::Warm;
use crate::client::event::{Event, Report, Shown};
use crate::model::limits::GREETING_MS;
use crate::net::tls::ServerTls;
use crate::net::{Door, Pipe};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Everything that the sessions of one destination share.
pub struct Harbour {
    pub shore: Arc<Shore>,
    pub lease: Lease,
    pub warm: Warm,
    pub events: &'static dyn Report,
    pub stop: watch::Receiver<bool>,
    /// Told when the destination cannot be served any more.
    pub lost: Notify,
}

/// Accepts senders until the server stops, then waits for the sessions to end.
pub async fn listen(harbour: Arc<Harbour>, listener: TcpListener, tls: ServerTls, door: Door) {
    let tls = Arc::new(tls);
    let door = Arc::new(Mutex::new(door));
    let strangers = Strangers::default();
    let mut sessions = JoinSet::new();
    let mut stop = harbour.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            () = harbour.lost.notified() => break,
        };
        while sessions.try_join_next().is_some() {}
        let Ok((stream, address)) = accepted else {
            // Out of descriptors, most likely: a pause lets sessions end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let place = strangers.enter(address.ip());
        sessions.spawn(meet(harbour.clone(), stream, tls.clone(), door.clone(), place));
    }
    let all = async { while sessions.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
}

async fn meet(
    harbour: Arc<Harbour>,
    stream: TcpStream,
    tls: Arc<ServerTls>,
    door: Arc<Mutex<Door>>,
    place: Place,
) {
    let address = stream.peer_addr().map_or_else(|_| "a client".to_owned(), |address| address.to_string());
    let until = greeting_ends();
    let refused = |why: String| {
        harbour.events.event(Event::ClientRefused { peer: address.clone(), why });
    };
    let greeting = async {
        let (pipe, key) = in_time(until, Pipe::accept(stream, &tls)).await?;
        greet(pipe, Some((&*door, key)), &harbour.lease, until).await
    };
    let greeted = tokio::select! {
        greeted = greeting => greeted,
        () = place.is_lost() => return refused("too many wait to be let in, and it was the oldest".into()),
    };
    drop(place);
    match greeted {
        Ok((guest, holder)) => serve(&harbour, guest, holder, address).await,
        Err(error) => refused(error.why),
    }
}

/// When a greeting that begins now must be complete, the handshake below it too.
fn greeting_ends() -> Instant {
    Instant::now() + Duration::from_millis(GREETING_MS)
}

/// Serves a sender that came over a pipe that needs no door: ssh, or this process.
pub async fn serve_pipe(harbour: &Harbour, pipe: Pipe) -> Result<(), String> {
    let peer = pipe.peer.clone();
    match greet(pipe, None, &harbour.lease, greeting_ends()).await {
        Ok((guest, holder)) => {
            serve(harbour, guest, holder, peer).await;
            Ok(())
        }
        Err(error) => Err(error.why),
    }
}

async fn serve(harbour: &Harbour, guest: super::session::Guest, holder: Option<Arc<Holder>>, peer: String) {
    let client = guest.hello.name.to_string();
    if holder.is_some()
        && let Err(error) = mark(harbour.shore.clone()).await
    {
        return harbour.events.event(Event::ClientRefused { peer, why: error });
    }
    harbour.warm.yield_to_session(&harbour.shore).await;
    harbour.events.event(Event::ClientConnected { client: client.clone(), peer });
    // A sender that only looks holds no lease.
    let holder = holder.unwrap_or_else(Holder::looking);
    let why = serve_guest(harbour.shore.clone(), guest, holder, harbour.events, harbour.stop.clone()).await;
    if let Some(why_damaged) = harbour.shore.known.cache().take_damage() {
        harbour.events.event(Event::CacheRebuilt { why: why_damaged });
    }
    harbour.events.event(Event::ClientLeft { client, why });
    if !harbour.shore.is_in_place() {
        harbour.lost.notify_one();
    }
    harbour.warm.session_ended(&harbour.shore, harbour.events);
}

/// Before the first change; who only looks at a directory leaves it foreign.
async fn mark(shore: Arc<Shore>) -> Result<(), String> {
    let marked = tokio::task::spawn_blocking(move || shore.mark().map_err(|error| error.to_string()));
    marked.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// What `serve` says when it is ready.
pub fn tell_listening(harbour: &Harbour, address: String, ticket_line: Option<String>) {
    let dest = Shown::from(harbour.shore.path.as_path());
    harbour.events.event(Event::Listening { address, dest, ticket_line });
}
