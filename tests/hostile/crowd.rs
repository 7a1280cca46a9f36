//! A thousand who never say who they are, from forty addresses.

use crate::common::tree::write;
use crate::common::wait_until;
use crate::harbour::Harbour;
use crate::wire::{identity, places};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use strait::model::limits::{GREETING_MS, GREETINGS, GREETINGS_OF_ONE};
use strait::net::{ClientTrust, KeyExchange, tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const CONNECTIONS: usize = 1_000;
const ADDRESSES: usize = 40;
const _: () = assert!(CONNECTIONS / ADDRESSES < GREETINGS_OF_ONE, "no address reaches its own bound");
/// The longest that somebody with a right to come in waits for what they came for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that any of them stays: the ten seconds, and as much again for a busy machine.
const STAY: Duration = Duration::from_secs(20);

struct Crowd {
    _runtime: Runtime,
    n_open: Arc<AtomicUsize>,
    /// Each tells how long it was borne.
    stays: Vec<JoinHandle<Duration>>,
}

impl Crowd {
    /// All are connected when this returns, and those who do it have shaken hands.
    fn gather(harbour: &Harbour) -> Self {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("up to the hard limit");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let trust = trust(harbour);
        let server = SocketAddr::from(([127, 0, 0, 1], harbour.server.port));
        let n_open = Arc::new(AtomicUsize::new(0));
        let mut stays = Vec::new();
        for number in 0..CONNECTIONS {
            let began = Instant::now();
            let stream = runtime.block_on(connect(number, server));
            n_open.fetch_add(1, Ordering::Relaxed);
            let (n_open, trust) = (n_open.clone(), trust.clone());
            stays.push(runtime.spawn(async move {
                match number % 3 {
                    0 => until_closed(stream).await,
                    1 => drip(stream).await,
                    // One that is put out in the middle of its handshake stays no longer than others.
                    _ => match tls::connect(stream, &trust).await {
                        Ok((stream, _)) => until_closed(stream).await,
                        Err(error) => drop(error),
                    },
                }
                n_open.fetch_sub(1, Ordering::Relaxed);
                began.elapsed()
            }));
        }
        Self { _runtime: runtime, n_open, stays }
    }

    fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    /// Waits until the server has closed all of them; how long each was borne.
    fn stays(self) -> Vec<Duration> {
        let Self { _runtime: runtime, stays, .. } = self;
        let wait = |stay| runtime.block_on(async { tokio::time::timeout(STAY, stay).await });
        let borne = stays.into_iter().map(|stay| wait(stay).expect("it is closed").expect("it ends"));
        borne.collect()
    }
}

/// Of somebody who knows the server, and whom it does not know.
fn trust(harbour: &Harbour) -> ClientTrust {
    let other = harbour.world.user("other");
    let server_key = identity(&harbour.world.me).public_key();
    let address = format!("127.0.0.1:{}", harbour.server.port);
    let (places, identity) = (places(&other), identity(&other));
    ClientTrust::gather(&places, &identity, &address, &[server_key], None, KeyExchange::X25519)
        .expect("there is no list to be read")
}

async fn connect(number: usize, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let last = (number % ADDRESSES + 1) as u8;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("all of 127.0.0.0/8 is this machine's");
    socket.connect(server).await.expect("the server listens")
}

async fn until_closed(mut stream: impl AsyncRead + Unpin) {
    let mut heard = [0; 64];
    while matches!(stream.read(&mut heard).await, Ok(1..)) {}
}

/// Says a ClientHello of 512 bytes, one of them each second.
async fn drip(stream: TcpStream) {
    let (reader, mut writer) = stream.into_split();
    let drops = async {
        for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252].into_iter().chain(std::iter::repeat(0)) {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = until_closed(reader) => {}
        () = drops => {}
    }
}

/// All places were theirs for ten seconds, and whoever had a right to come in was turned away.
#[test]
fn a_thousand_silent_and_slow_connections_keep_nobody_out() {
    let harbour = Harbour::new();
    let world = &harbour.world;
    let watch = world.me.watch(&world.src, harbour.server.port, &[]);
    watch.wait_for_event("pass_done");
    let crowd = Crowd::gather(&harbour);

    let began = Instant::now();
    wait_until("all but so many have given way", || crowd.n_open() <= GREETINGS);
    assert!(began.elapsed() < PATIENCE, "they gave way after {:?}", began.elapsed());
    assert!(crowd.n_open() > GREETINGS / 2, "{} are left: they do not fill the places", crowd.n_open());

    let began = Instant::now();
    write(world.src.join("meanwhile"), "watched");
    wait_until("the change arrives", || world.dst.join("meanwhile").exists());
    assert!(began.elapsed() < PATIENCE, "a change came after {:?}", began.elapsed());
    watch.interrupt().ended_with(0);

    write(world.src.join("and then"), "pushed");
    let began = Instant::now();
    world.push_in_step(&harbour.server, &[]);
    assert!(began.elapsed() < PATIENCE, "a push took {:?}", began.elapsed());
    assert!(crowd.n_open() > GREETINGS / 2, "only {} were there all the time", crowd.n_open());

    let stays = crowd.stays();
    let longest = stays.iter().max().expect("there are some");
    assert!((Duration::from_millis(GREETING_MS - 1_000)..STAY).contains(longest), "{longest:?}");
    says_why(&harbour);
    harbour.still_serves();
}

/// The server gave a reason for each.
fn says_why(harbour: &Harbour) {
    let running = &harbour.server.running;
    wait_until("each was told of", || running.count("client_refused") >= CONNECTIONS);
    let lines = running.wait_for("the reasons", |said| Some(said.out.to_vec()));
    let all = lines.iter().filter(|line| line.contains("\"client_refused\""));
    let (crowded, others): (Vec<_>, Vec<&String>) = all.partition(|line| line.contains("too many wait"));
    let is_late = |line: &&String| line.contains("in time") || line.contains("within 10 s");
    let (late, others): (Vec<&String>, Vec<&String>) = others.into_iter().partition(is_late);
    assert!(others.is_empty(), "other reasons: {others:#?}");
    assert_eq!(crowded.len() + late.len(), CONNECTIONS, "nobody else was turned away");
    assert!(late.len() > GREETINGS / 2, "{} had their ten seconds", late.len());
}
