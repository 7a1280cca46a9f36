//! Opens a TCP connection, and sees how long the other system took to answer.
//!
//! The kernels shake hands on their own, so that time tells of the link. A thread that waits for it on a busy machine
//! is told late: a peer on this machine, or a room away, would pass for one at the end of a long line.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getpeername, socket_with};
use tokio::net::{TcpStream, lookup_host};

/// Connects to the first of the places of `host:port` that answers; gives the round trip at most.
///
/// # Cancel safety
/// Dropped in the middle, the connection is closed.
pub(super) async fn dial(address: &str) -> io::Result<(TcpStream, Duration)> {
    let mut last = None;
    for place in lookup_host(address).await? {
        match dial_place(place).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

async fn dial_place(place: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    let began = Instant::now();
    match connect(&socket, &place) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    // On one machine the answer is there when the call returns; then nobody needs to be woken.
    let at_once = getpeername(&socket).is_ok().then(|| began.elapsed());
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok((stream, at_once.unwrap_or_else(|| began.elapsed()))),
    }
}
