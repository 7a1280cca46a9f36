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

/// What a receiver keeps of what it removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrashOptions {
    /// Days that something stays; 0: nothing is kept.
    pub days: u32,
    /// Space that it may take; none: nothing is kept.
    pub size: TrashSize,
    /// Keep old versions of files too.
    pub keep_replaced: bool,
}

/// How a receiver makes and keeps files, whoever starts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Making {
    pub trash: TrashOptions,
    /// Files of so many bytes and more are written over in place, where the file system does not clone.
    pub in_place: Option<u64>,
}

impl Making {
    /// The same for a receiver that is started elsewhere; nothing for what is usual.
    pub fn words(&self) -> Vec<String> {
        let in_place = self.in_place.map(|bytes| format!("--inplace={bytes}B"));
        self.trash.words().into_iter().chain(in_place).collect()
    }
}

/// A bound on the space of the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrashSize {
    /// Of the destination's file system.
    Percent(u8),
    Bytes(u64),
}

impl Default for TrashOptions {
    fn default() -> Self {
        Self { days: 7, size: TrashSize::Percent(10), keep_replaced: false }
    }
}

impl TrashOptions {
    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.days > 0 && !matches!(self.size, TrashSize::Percent(0) | TrashSize::Bytes(0))
    }

    /// The same for a receiver that is started elsewhere; nothing for what is usual.
    pub fn words(&self) -> Vec<String> {
        let usual = Self::default();
        let mut words = Vec::new();
        if self.days != usual.days {
            words.extend(["--trash-days".to_owned(), self.days.to_string()]);
        }
        if self.size != usual.size {
            let size = match self.size {
                TrashSize::Percent(percent) => format!("{percent}%"),
                TrashSize::Bytes(bytes) => format!("{bytes}B"),
            };
            words.extend(["--trash-size".to_owned(), size]);
        }
        if self.keep_replaced {
            words.push("--keep-replaced".to_owned());
        }
        words
    }
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
    pub making: Making,
    /// Where the state lies, instead of `.strait/state` at the destination.
    pub state: Option<PathBuf>,
}
