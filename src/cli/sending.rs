//! The options of those who send, and of who asks how they stand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::args::{Exchange, Given, KeyArgs};
use super::receiving::{FoundArgs, MakingArgs};
use super::words::{self, Place};
use crate::client::options::{ClientOptions, Destination, Once, ShadowSize};
use crate::server::options::Found;

#[derive(Args)]
pub struct Push {
    #[command(flatten)]
    pub send: Send,

    /// List what would change and be deleted; send nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct Send {
    /// The directory whose contents are sent, with or without a trailing slash
    src: PathBuf,

    /// A local path, or [user@]host:path over ssh; left out: the server at --host and --port
    dest: Option<OsString>,

    /// Where `strait serve` listens
    #[arg(long, default_value = "localhost", value_parser = words::parse_host)]
    host: String,

    /// The port it listens at
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Send names that begin with a dot too
    #[arg(short = 'a', long)]
    include_hidden: bool,

    /// Leave out what matches (syntax of .gitignore); such names at DEST are left alone; may be given again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// Send at most this much a second, for example 500K or 2M
    #[arg(long, value_name = "RATE", value_parser = words::parse_rate)]
    bwlimit: Option<u64>,

    /// Command that reaches the other machine, instead of `ssh`
    #[arg(long, value_name = "COMMAND", value_parser = words::parse_rsh)]
    rsh: Option<String>,

    #[command(flatten)]
    found: FoundArgs,

    #[command(flatten)]
    making: MakingArgs,

    /// One-time ticket that `strait serve` printed; better in STRAIT_TICKET, where `ps` does not show it
    #[arg(long, env = "STRAIT_TICKET", hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    ticket: Option<String>,

    /// Accept only the server with this public key, as its `strait key` prints it
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    server_key: Option<String>,

    #[command(flatten)]
    keys: KeyArgs,

    /// Let a pass through that deletes surprisingly much
    #[arg(long, conflicts_with = "no_delete")]
    allow_mass_delete: bool,

    /// Never delete anything at DEST
    #[arg(long)]
    no_delete: bool,

    /// Disk for copies of what DEST holds, squeezed, so that changes to it travel as the least difference, for
    /// example 20G; 0 for none. Without it: on slow links, the lesser of 10G and a tenth of the free space
    #[arg(long, value_name = "SIZE", value_parser = words::parse_shadow)]
    shadow: Option<ShadowSize>,

    /// Send a file that never rests after so long, as it was at one moment: for example 500ms, 10s, 5m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = words::parse_duration)]
    max_staleness: Duration,
}

impl Send {
    pub fn options(self, mode: Once, given: &Given) -> Result<ClientOptions, String> {
        if self.src.as_os_str().is_empty() {
            return Err("SRC is empty: name the directory to send".into());
        }
        let found = self.found.found();
        if mode == Once::DryRun && found == Found::Clean {
            return Err(
                "a dry run empties nothing: say --adopt instead of --clean to see what would be deleted"
                    .into(),
            );
        }
        let destination = match self.dest {
            None => {
                if found != Found::Refuse {
                    return Err("--adopt and --clean are for whoever starts the receiver: give them to `strait serve`, or name a DEST".into());
                }
                given.none_of(
                    &["trash_days", "trash_size", "keep_replaced", "inplace"],
                    "is for whoever starts the receiver: give it to `strait serve`, or name a DEST",
                )?;
                Destination::Server { host: self.host, port: self.port }
            }
            Some(dest) => {
                given.none_of(
                    &["host", "port", "ticket", "server_key"],
                    "is for a server that listens already: leave out either it or DEST",
                )?;
                match words::parse_place(dest)? {
                    Place::Local(path) => Destination::Local(path),
                    Place::Remote { host, path } => {
                        let rsh = self.rsh.clone().unwrap_or_else(|| "ssh".into());
                        Destination::Ssh { host, path, rsh }
                    }
                }
            }
        };
        if self.rsh.is_some() && !matches!(destination, Destination::Ssh { .. }) {
            return Err("--rsh reaches another machine: name it in DEST as [user@]host:path".into());
        }
        Ok(ClientOptions {
            source: self.src,
            destination,
            mode,
            hidden: self.include_hidden,
            excludes: self.exclude,
            found,
            making: self.making.options(),
            bwlimit_bytes_per_s: self.bwlimit,
            ticket: self.ticket,
            server_key: self.server_key,
            identity: self.keys.identity,
            x25519_only: self.keys.kx == Exchange::X25519,
            allow_mass_delete: self.allow_mass_delete,
            no_delete: self.no_delete,
            shadow: self.shadow.unwrap_or(ShadowSize::Usual),
            max_staleness: self.max_staleness,
        })
    }
}

#[derive(Args)]
pub struct StatusArgs {
    /// The directory that is sent; left out: all that this user ever sent
    src: Option<PathBuf>,

    /// Its destination as it was given to `push` or `watch`; left out: the server at --host and --port
    dest: Option<OsString>,

    /// The server's host, as it was given
    #[arg(long, default_value = "localhost", value_parser = words::parse_host)]
    host: String,

    /// The server's port
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

impl StatusArgs {
    /// What is asked about; `None`: all.
    ///
    /// # Errors
    /// One sentence with the next step.
    pub fn asked(self, given: &Given) -> Result<Option<(PathBuf, Destination)>, String> {
        let Some(src) = self.src else {
            given.none_of(&["host", "port"], "tells one destination of a source: name SRC too")?;
            return Ok(None);
        };
        let Some(dest) = self.dest else {
            return Ok(Some((src, Destination::Server { host: self.host, port: self.port })));
        };
        given.none_of(&["host", "port"], "is for a server that listens: leave out either it or DEST")?;
        let destination = match words::parse_place(dest)? {
            Place::Local(path) => Destination::Local(path),
            Place::Remote { host, path } => Destination::Ssh { host, path, rsh: String::new() },
        };
        Ok(Some((src, destination)))
    }
}
