//! What `push` and `watch` were asked to do, checked by the command line and free of it.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::server::options::{Found, Making};

/// Where the destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A receiver that listens already.
    Server { host: String, port: u16 },
    /// A directory of this machine; the receiver runs in this process.
    Local(PathBuf),
    /// A directory of another machine; the receiver is started there by `rsh`.
    Ssh {
        /// `host` or `user@host`; never begins with `-`, so it is no option of `rsh`.
        host: String,
        /// The directory there; not quoted, and may begin with `-`. Relative to the home directory there.
        path: String,
        /// The command and its options, in words divided by blanks; `ssh` unless told.
        rsh: String,
    },
}

/// How long, and how seriously.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// One pass, then the end.
    Push,
    /// One pass that changes nothing: the list of what a push would do.
    DryRun,
    /// A pass at once, then every change.
    Watch,
}

/// Room for acknowledged contents on this side's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowSize {
    /// The lesser of 10 GiB and a tenth of what is free, and only where the link is slow.
    Usual,
    /// So many bytes, on any link; 0: nothing is kept.
    Bytes(u64),
}

/// Options of one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The directory whose contents are sent.
    pub source: PathBuf,
    pub destination: Destination,
    pub mode: Once,
    /// Send names that begin with a dot too.
    pub hidden: bool,
    /// Patterns in the syntax of gitignore, in the order given; checked by the sender.
    pub excludes: Vec<String>,
    /// For the receiver that this sender starts itself; `Refuse` with `Destination::Server`.
    pub found: Found,
    /// For the same receiver.
    pub making: Making,
    /// Bytes a second on the wire; never 0.
    pub bwlimit_bytes_per_s: Option<u64>,
    /// The one-time ticket that `serve` printed; checked by the sender.
    pub ticket: Option<String>,
    /// The receiver's public key, as `strait key` prints it; checked by the sender.
    pub server_key: Option<String>,
    /// The private key's file, instead of this user's own.
    pub identity: Option<PathBuf>,
    /// Key exchange X25519 alone, for the thinnest links.
    pub x25519_only: bool,
    /// Let a pass through that deletes surprisingly much.
    pub allow_mass_delete: bool,
    /// Never delete at the destination.
    pub no_delete: bool,
    /// What is kept to send the next versions as differences.
    pub shadow: ShadowSize,
    /// A file that never rests is sent, as it was at one moment, after so long.
    pub max_staleness: Duration,
}
