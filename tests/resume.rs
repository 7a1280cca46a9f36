//! A transfer that is cut goes on where it was: by a broken link, a killed server, a killed client, a client
//! that comes back from another address.
//!
//! `STRAIT_CUTS=n` cuts at n points (`docs/testing.md`), `STRAIT_SEED=n` repeats them.

mod faults;
#[path = "resume/huge.rs"]
mod huge;
#[path = "resume/relay.rs"]
mod relay;

use faults::{Rng, Running, Yard, free_port, number};
use relay::{Cut, Relay};
use std::path::Path;

/// The file that is sent.
const SIZE: u64 = 12 << 20;
/// What of that which the receiver had written may come again.
const AGAIN: u64 = 1 << 20;
/// What has arrived and waits to be written when the connection ends, on a machine that is busy.
const IN_FLIGHT: u64 = 4 << 20;
/// A connection's own bytes, and those around so much content: TLS, frames.
const AROUND: u64 = 64 << 10;

/// Who or what fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Link,
    Server,
    Client,
    Address,
}

const FAULTS: [Fault; 4] = [Fault::Link, Fault::Server, Fault::Client, Fault::Address];

/// Without a shadow: what fills one reads the source once more, where a busy machine looks like a slow link.
fn push(yard: &Yard, relay: &Relay) -> Running {
    let (src, port) = (yard.src.to_str().unwrap(), relay.port.to_string());
    let words = ["push", src, "-a", "--json", "--shadow", "0", "--host", "127.0.0.1", "--port", &port];
    yard.start("push", &words)
}

/// A count that the kernel keeps of a process; `None` where it does not tell.
fn io_of(running: &Running, count: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", running.child.id())).ok()?;
    text.lines().find_map(|line| line.strip_prefix(count)?.strip_prefix(": "))?.trim().parse().ok()
}

/// Bytes that a process has read, from files and sockets.
fn read_bytes(of: &Running) -> Option<u64> {
    io_of(of, "rchar")
}

/// Waits until a process reads and writes nothing more, for a while that a busy machine seldom lets it sleep.
fn stands_still(running: &Running) {
    let until = std::time::Instant::now() + faults::deadline();
    let (mut before, mut n_same) = (None, 0);
    while n_same < 4 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(150));
        let now = Some((read_bytes(running), io_of(running, "wchar")));
        n_same = if now == before { n_same + 1 } else { 0 };
        before = now;
    }
}

/// Bytes of the one transfer that lie in the stage.
fn staged_bytes(yard: &Yard) -> u64 {
    let stage = yard.dest.join(".strait/stage");
    let is_data = |path: &Path| path.extension().is_some_and(|extension| extension == "data");
    let files = std::fs::read_dir(stage).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| is_data(path)).map(|path| path.metadata().unwrap().len()).max().unwrap_or(0)
}

/// Bytes of all files below a directory.
fn tree_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => tree_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

struct Cutter {
    yard: Yard,
    relay: Relay,
    server: Running,
    rng: Rng,
}

impl Cutter {
    fn new(rng: Rng) -> Self {
        let yard = Yard::new();
        let port = free_port();
        let server = yard.serve(port);
        Self { relay: Relay::start(port), yard, server, rng }
    }

    /// One transfer with one cut.
    fn cut(&mut self, fault: Fault, at: u64, what: &str) {
        let bytes = self.rng.bytes(SIZE as usize);
        std::fs::write(self.yard.src.join("f"), &bytes).unwrap();
        let hold = match fault {
            Fault::Link => Cut::Close,
            Fault::Address => Cut::HalfOpen,
            Fault::Server | Fault::Client => Cut::Hold,
        };
        self.relay.arm(at, hold);
        let mut client = push(&self.yard, &self.relay);
        assert!(self.relay.was_cut(faults::deadline()), "{what}: {}", client.said());
        let before = self.relay.up_bytes();
        // Bytes that the receiver had, as far as can be told from here, and what may be in flight beside.
        let (mut had, mut in_flight) = (at, IN_FLIGHT);
        match fault {
            Fault::Link => {}
            Fault::Address => self.relay.change_address(),
            Fault::Server => {
                self.server.kill();
                (had, in_flight) = (staged_bytes(&self.yard).min(at), 0);
                let port = free_port();
                self.relay.lead_to(port);
                self.server = self.yard.serve(port);
                self.relay.release();
            }
            Fault::Client => {
                // What it knows of the file is on its way to the disk: killed before, it rightly reads it again.
                stands_still(&client);
                client.kill();
                self.relay.release();
                // What was under way is read first, so that it is not taken for reading again.
                stands_still(&self.server);
                client = push(&self.yard, &self.relay);
            }
        }
        let read_before = read_bytes(&self.server);
        let mut read_by_client = None;
        while client.is_alive() {
            read_by_client = read_bytes(&client).or(read_by_client);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let ended = client.ended();
        ended.is_in_step(what);
        assert!(std::fs::read(self.yard.dest.join("f")).unwrap() == bytes, "{what}: another content");
        let after = self.relay.up_bytes() - before;
        let most = SIZE - had + AGAIN + 2 * AROUND + in_flight;
        println!("{what}: {had} had, then {after} of at most {most}");
        assert!(after <= most, "{what}: {after} bytes went up again, {had} were there");
        if let (Some(read_before), Some(read_after)) = (read_before, read_bytes(&self.server)) {
            let read = read_after - read_before;
            assert!(read <= after + 2 * AGAIN, "{what}: the server read {read} bytes, {after} of them sent");
        }
        if let (Fault::Client, Some(read)) = (fault, read_by_client) {
            // After a kill its cache is looked through.
            let state = tree_bytes(&self.yard.path.join("home"));
            assert!(
                read <= after + state + 2 * AGAIN,
                "{what}: the client read {read} bytes to send {after}"
            );
        }
        self.yard.is_in_step(what);
        assert_eq!(staged_bytes(&self.yard), 0, "{what}: nothing stays in the stage");
    }
}

#[test]
fn a_transfer_that_is_cut_goes_on_where_it_was() {
    let mut cutter = Cutter::new(Rng::seeded("resume"));
    let n_cuts = number("STRAIT_CUTS", 8) as u64;
    for n in 0..n_cuts {
        if n % 8 == 7 {
            // A fresh cache, so that what is read of it stays small.
            cutter = Cutter::new(cutter.rng);
        }
        let fault = FAULTS[n as usize % FAULTS.len()];
        // Spread over the file, and at any byte.
        let at = 64_000 + (SIZE - 200_000) * n / n_cuts + cutter.rng.below(90_000) as u64;
        cutter.cut(fault, at, &format!("cut {n}, {fault:?}, at {at}"));
    }
}
