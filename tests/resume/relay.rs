//! A way between client and server that counts what goes up and breaks where it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// What happens at the chosen byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ways are closed.
    Close,
    /// The client's end is closed; to the server the connection looks alive, and silent.
    HalfOpen,
    /// Everything stands still, until [`Relay::release`]: time to kill somebody.
    Hold,
}

#[derive(Default)]
struct State {
    target: Option<u16>,
    /// Bytes that went up since [`Relay::arm`].
    up_bytes: u64,
    cut: Option<(u64, Cut)>,
    is_holding: bool,
    /// Of connections that ended, ends that are to look alive.
    kept: Vec<TcpStream>,
    /// The last part of the address from which the server is called.
    from: u8,
    stop: bool,
}

/// The relay; ends when it is dropped.
pub struct Relay {
    pub port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Relay {
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { target: Some(target), from: 1, ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.0.lock().unwrap().stop {
                    return;
                }
                let (Ok(client), shared) = (client, of_thread.clone()) else { continue };
                std::thread::spawn(move || carry(client, &shared));
            }
        });
        Self { port, shared }
    }

    /// Leads to another port from now on.
    pub fn lead_to(&self, target: u16) {
        self.shared.0.lock().unwrap().target = Some(target);
    }

    /// Counts anew, and cuts when so many bytes have gone up.
    pub fn arm(&self, at: u64, cut: Cut) {
        let mut state = self.shared.0.lock().unwrap();
        (state.up_bytes, state.cut, state.is_holding) = (0, Some((at, cut)), false);
        state.kept.clear();
    }

    /// Waits for the cut; `false` when there was none within the time.
    pub fn was_cut(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.shared.0.lock().unwrap();
        while state.cut.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
        true
    }

    /// Ends what stands still.
    pub fn release(&self) {
        self.shared.0.lock().unwrap().is_holding = false;
        self.shared.1.notify_all();
    }

    pub fn up_bytes(&self) -> u64 {
        self.shared.0.lock().unwrap().up_bytes
    }

    /// Calls the server from another address of this machine from now on.
    pub fn change_address(&self) {
        let mut state = self.shared.0.lock().unwrap();
        state.from = state.from % 100 + 1;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().stop = true;
        self.release();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn call(target: u16, from: u8) -> std::io::Result<TcpStream> {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
    connect(&stream, &SocketAddr::from((Ipv4Addr::LOCALHOST, target)))?;
    Ok(stream.into())
}

fn carry(client: TcpStream, shared: &Arc<(Mutex<State>, Condvar)>) {
    let (target, from) = {
        let state = shared.0.lock().unwrap();
        (state.target, state.from)
    };
    let Some(Ok(server)) = target.map(|target| call(target, from)) else { return };
    let (mut down_from, mut down_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let downs = std::thread::spawn(move || {
        let _ = std::io::copy(&mut down_from, &mut down_to);
        let _ = down_to.shutdown(Shutdown::Both);
    });
    let cut = carry_up(&client, &server, shared);
    let _ = client.shutdown(Shutdown::Both);
    if cut == Some(Cut::HalfOpen) {
        shared.0.lock().unwrap().kept.push(server);
        return;
    }
    // What was passed on is still read there: the way is closed, not reset.
    let _ = server.shutdown(Shutdown::Write);
    let _ = downs.join();
}

fn carry_up(
    mut client: &TcpStream,
    mut server: &TcpStream,
    shared: &Arc<(Mutex<State>, Condvar)>,
) -> Option<Cut> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        let (n_passed, cut) = {
            let mut state = shared.0.lock().unwrap();
            let left = state.cut.map_or(u64::MAX, |(at, _)| at.saturating_sub(state.up_bytes));
            let n_passed = left.min(n as u64);
            state.up_bytes += n_passed;
            (n_passed as usize, state.cut.filter(|_| n_passed == left).map(|(_, cut)| cut))
        };
        server.write_all(&buffer[..n_passed]).ok()?;
        if let Some(cut) = cut {
            let mut state = shared.0.lock().unwrap();
            (state.cut, state.is_holding) = (None, cut == Cut::Hold);
            shared.1.notify_all();
            while state.is_holding {
                state = shared.1.wait(state).unwrap();
            }
            return Some(cut);
        }
    }
}
