//! A line between client and server as thin, long and unsteady as a test wants it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// What a line does to what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of each direction.
    pub bytes_per_s: u64,
    /// Of each direction.
    pub delay: Duration,
    /// How long a connection lives.
    pub life: Option<Duration>,
}

pub const PLAIN: Shape = Shape { bytes_per_s: u64::MAX, delay: Duration::ZERO, life: None };

struct Shared {
    shape: Shape,
    target: u16,
    /// Connections open and stay open, and nothing passes.
    is_silent: AtomicBool,
    n_connections: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// The line; ends when it is dropped.
pub struct Line {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Line {
    /// Leads to a port of this machine. The server is called from 127.0.0.`from`.
    pub fn start(target: u16, from: u8, shape: Shape) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            shape,
            target,
            is_silent: AtomicBool::new(false),
            n_connections: AtomicU64::new(0),
            streams: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if of_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(far) = call(of_thread.target, from) {
                    carry(&near, &far, &of_thread);
                }
            }
        });
        Self { port, shared }
    }

    /// From now on nothing passes, and nobody is told.
    pub fn fall_silent(&self) {
        self.shared.is_silent.store(true, Ordering::Relaxed);
    }

    /// New connections are as usual again; those that fell silent stay so.
    pub fn speak_again(&self) {
        let kept = std::mem::take(&mut *self.shared.streams.lock().unwrap());
        // Forgotten, not closed: whoever holds their other ends sees nothing.
        kept.into_iter().for_each(std::mem::forget);
        self.shared.is_silent.store(false, Ordering::Relaxed);
    }

    pub fn n_connections(&self) -> u64 {
        self.shared.n_connections.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn call(target: u16, from: u8) -> std::io::Result<TcpStream> {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
    connect(&stream, &SocketAddr::from((Ipv4Addr::LOCALHOST, target)))?;
    Ok(stream.into())
}

fn carry(near: &TcpStream, far: &TcpStream, shared: &Arc<Shared>) {
    shared.n_connections.fetch_add(1, Ordering::Relaxed);
    let is_dead = Arc::new(AtomicBool::new(false));
    for (from, to) in [(near, far), (far, near)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        shared.streams.lock().unwrap().push(from.try_clone().unwrap());
        let (shared, is_dead) = (shared.clone(), is_dead.clone());
        std::thread::spawn(move || carry_one_way(from, to, &shared, &is_dead));
    }
    if let Some(life) = shared.shape.life {
        let (near, far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || {
            std::thread::sleep(life);
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        });
    }
}

/// Reads at the line's rate, and writes what was read when it has been under way for long enough.
fn carry_one_way(mut from: TcpStream, mut to: TcpStream, shared: &Shared, is_dead: &Arc<AtomicBool>) {
    let Shape { bytes_per_s, delay, .. } = shared.shape;
    let (under_way, arriving) = channel::<(Instant, Vec<u8>)>();
    let writer = std::thread::spawn(move || {
        for (at, bytes) in arriving {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to
    });
    let mut buffer = vec![0; (bytes_per_s / 20).clamp(64, 32 << 10) as usize];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if shared.is_silent.load(Ordering::Relaxed) {
            is_dead.store(true, Ordering::Relaxed);
        }
        if is_dead.load(Ordering::Relaxed) {
            continue;
        }
        if bytes_per_s < u64::MAX {
            std::thread::sleep(Duration::from_nanos(n as u64 * 1_000_000_000 / bytes_per_s));
        }
        if under_way.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
            break;
        }
    }
    drop(under_way);
    let to = writer.join().unwrap();
    if is_dead.load(Ordering::Relaxed) {
        // The other end is never told that this one has gone.
        std::mem::forget(to);
    } else {
        let _ = to.shutdown(Shutdown::Write);
    }
}
