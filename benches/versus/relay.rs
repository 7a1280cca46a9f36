//! A relay with a rate and a delay: every connection goes through it, and it counts what passes.
//!
//! In user space and above TCP, so that it needs no rights: the bytes are those of the streams, without
//! headers; each end's TCP talks to the relay without delay, so what is modelled is a link whose own losses
//! and start do not matter.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// A link, the same both ways but for the rate.
pub struct Link {
    pub name: &'static str,
    /// Bytes a second up and down; none: as fast as it goes.
    rates: Option<(u64, u64)>,
    /// One way.
    delay: Duration,
}

const fn mbit(rate: u64) -> u64 {
    rate * 1_000_000 / 8
}

pub const LINKS: [Link; 3] = [
    Link { name: "local", rates: None, delay: Duration::ZERO },
    Link { name: "dsl", rates: Some((mbit(10), mbit(40))), delay: Duration::from_millis(20) },
    Link { name: "slow", rates: Some((mbit(2), mbit(2))), delay: Duration::from_millis(50) },
];

/// Bytes taken from a stream at once: small against what a link carries in a round trip.
const PIECE_BYTES: usize = 8 * 1024;
/// Pieces on their way; more do not fit the link's queue.
const PIECES: usize = 64;

/// A relay in front of one server; ends with the process.
pub struct Relay {
    pub address: SocketAddr,
    passed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on loopback, and connects to `server` for each connection.
    pub fn start(server: SocketAddr, link: &'static Link) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (passed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, over) = (passed.clone(), is_over.clone());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(far) = TcpStream::connect(server) else { continue };
                if let Err(error) = join(near, far, link, &counter) {
                    eprintln!("versus: relay: {error}");
                }
            }
        });
        Ok(Self { address, passed, is_over })
    }

    /// Bytes of both directions so far.
    pub fn passed_bytes(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(near: TcpStream, far: TcpStream, link: &'static Link, passed: &Arc<AtomicU64>) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (up, down) = match link.rates {
        Some((up, down)) => (Some(up), Some(down)),
        None => (None, None),
    };
    carry(near.try_clone()?, far.try_clone()?, up, link.delay, passed.clone());
    carry(far, near, down, link.delay, passed.clone());
    Ok(())
}

/// Carries one direction: a thread that takes bytes in and stamps them, one that lets them out in time.
fn carry(mut from: TcpStream, to: TcpStream, rate: Option<u64>, delay: Duration, passed: Arc<AtomicU64>) {
    let (queue, queued) = sync_channel::<(Instant, Vec<u8>)>(PIECES);
    thread::spawn(move || {
        let mut free_at = Instant::now();
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            passed.fetch_add(n as u64, Ordering::Relaxed);
            free_at = free_at.max(Instant::now());
            if let Some(rate) = rate {
                free_at += Duration::from_secs_f64(n as f64 / rate as f64);
            }
            if queue.send((free_at + delay, buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || let_out(to, &queued));
}

fn let_out(mut to: TcpStream, queued: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, bytes)) = queued.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
