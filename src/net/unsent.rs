//! How much the system may hold back of what it was given to send.
//!
//! Left alone it takes megabytes: on a thin link a small change then waits for seconds behind what was
//! written before it, and the writer, who never has to wait, cannot tell what the link takes. What is on its way
//! and not acknowledged is not counted, so that no link is slowed down.

use socket2::SockRef;
use std::os::fd::{AsFd, OwnedFd};

/// Before the link is measured.
const FIRST_BYTES: u32 = 128 * 1024;
/// What the link takes within this share of a second, and its bounds: a thread that wakes up must still find
/// something to follow, and a fast link is not to be woken for each record.
const SHARE_OF_SECOND: u64 = 10;
const LEAST_BYTES: u64 = 16 * 1024;
const MOST_BYTES: u64 = 1024 * 1024;

/// The limit of one TCP connection.
#[derive(Debug)]
pub(super) struct Unsent {
    socket: OwnedFd,
    limit_bytes: u32,
}

impl Unsent {
    /// Takes hold of a TCP socket and sets the first limit; `None` where the system does not let it.
    pub(super) fn of(stream: &impl AsFd) -> Option<Self> {
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        SockRef::from(&socket).set_tcp_notsent_lowat(FIRST_BYTES).ok()?;
        Some(Self { socket, limit_bytes: FIRST_BYTES })
    }

    /// Lets the limit follow a link that takes so many bytes a second.
    pub(super) fn follow(&mut self, rate: u64) {
        let limit_bytes = limit_bytes(rate);
        // Small changes of a measure are not worth a system call.
        if limit_bytes.abs_diff(self.limit_bytes) > self.limit_bytes / 4
            && SockRef::from(&self.socket).set_tcp_notsent_lowat(limit_bytes).is_ok()
        {
            self.limit_bytes = limit_bytes;
        }
    }
}

fn limit_bytes(rate: u64) -> u32 {
    (rate / SHARE_OF_SECOND).clamp(LEAST_BYTES, MOST_BYTES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_limit_is_a_tenth_of_a_second_within_bounds() {
        assert_eq!(limit_bytes(1_250_000), 125_000);
        assert_eq!(limit_bytes(4_000), 16 * 1024);
        assert_eq!(limit_bytes(10_000_000_000), 1024 * 1024);
    }

    #[test]
    fn the_system_holds_to_the_limit_that_follows_the_link() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut unsent = Unsent::of(&stream).unwrap();
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), FIRST_BYTES);
        unsent.follow(400_000);
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), 40_000);
    }
}
