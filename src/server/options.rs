//! What `serve` was asked to do, checked by the command line and free of it.

use std::path::PathBuf;

/// What a receiver does with a destination that is not empty and not its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Touch nothing and end with a message that names the two others.
    #[default]
    Refuse,
    /// Keep what is there and use it as basis.
    Adopt,
    /// Empty it first; never `/`, a home directory, or one that holds the source or the state.
    Clean,
}

/// Options of one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The destination; made when its parent exists.
    pub dest: PathBuf,
    /// Address or name to listen at; not used with `stdio`.
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
    pub found: Found,
    /// Speak over standard input and output, for one client, without TLS: the other end of ssh.
    pub stdio: bool,
    /// Public keys of clients, as `strait key` prints them; checked by the receiver.
    pub authorize: Vec<String>,
    /// The private key's file, instead of this user's own.
    pub identity: Option<PathBuf>,
    /// Key exchange X25519 alone, for the thinnest links.
    pub x25519_only: bool,
    /// Where the state lies, instead of `.strait/state` at the destination.
    pub state: Option<PathBuf>,
}
