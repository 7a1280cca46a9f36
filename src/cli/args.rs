//! The words of the command line, and the options of the lower floors that they become.
//!
//! Only what is built is offered. Every refusal is one sentence with the next step and ends with exit
//! code 2, before anything was read, written or connected.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::receiving::{Authorised, FoundArgs, MakingArgs, Trash};
use super::words::{self, Place};
use crate::client::event::Outcome;
use crate::client::options::{ClientOptions, Destination, Once, ShadowSize};
use crate::server::aside::Aside;
use crate::server::options::{Found, ServerOptions};

const EXIT_CODES: &str = "\
Exit codes:
  0  in step: verified identical, or ended in order
  1  error
  2  the command line makes no sense
  3  partial: some entries could not be read here or kept there; each was named
  4  held: deletes wait for a human's word (--allow-mass-delete)
  5  not authorised: one side does not know the other's key
  6  no connection, or the destination is busy with another client";

/// One verb with its options, ready for the program that does it.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve(ServerOptions),
    /// `push` and `watch`.
    Send(ClientOptions),
    /// Print the public key of this identity, or of the user's own.
    Key(Option<PathBuf>),
    /// `trash` and `authorized`.
    Aside(Aside),
}

/// How much is said, and in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Say {
    pub loudness: Loudness,
    pub json: bool,
    /// Show the programs' own trace too.
    pub trace: bool,
    /// Standard output carries the protocol: say everything on standard error.
    pub stdout_taken: bool,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    /// Errors, and what is not in step.
    Quiet,
    #[default]
    Normal,
    /// Each change too.
    Each,
}

/// A command line that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    pub say: Say,
    pub command: Command,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints it where it belongs: help to standard output, a refusal to standard error.
    pub fn tell(&self) -> Outcome {
        // A closed standard output leaves nobody to tell.
        let _ = self.0.print();
        if self.0.use_stderr() { Outcome::Usage } else { Outcome::InStep }
    }
}

/// Reads the words of one command line, program name first.
///
/// # Errors
/// A refusal, or the help or version that was asked for.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refusal> {
    let mut command = Line::command();
    let matches = command.try_get_matches_from_mut(words).map_err(Refusal)?;
    let line = Line::from_arg_matches(&matches).map_err(Refusal)?;
    let (verb, of_verb) = matches.subcommand().expect("clap demands a verb");
    let say = line.say();
    line.verb.command(&Given(of_verb)).map(|command| Parsed { say, command }).map_err(|text| {
        let usage_of = command.find_subcommand_mut(verb).expect("clap just matched it");
        Refusal(usage_of.error(ErrorKind::ValueValidation, text))
    })
}

/// Keeps a directory on a server identical to a directory here.
///
/// One way only: what SRC holds, DEST gets. DEST is a local path, [user@]host:path over ssh, or left out:
/// then the server at --host and --port, started there with `strait serve`.
#[derive(Parser)]
#[command(name = "strait", version, after_help = EXIT_CODES)]
struct Line {
    #[command(subcommand)]
    verb: Verb,

    /// Say each change; twice: show the programs' own trace on standard error
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Say only errors and what is not in step
    #[arg(short, long, global = true, display_order = 901)]
    quiet: bool,

    /// Say one JSON object per event and line
    #[arg(long, global = true, display_order = 902)]
    json: bool,
}

impl Line {
    fn say(&self) -> Say {
        let loudness = match self.verbose {
            _ if self.quiet => Loudness::Quiet,
            0 => Loudness::Normal,
            _ => Loudness::Each,
        };
        let stdout_taken = matches!(&self.verb, Verb::Serve(serve) if serve.stdio);
        Say { loudness, json: self.json, trace: self.verbose > 1, stdout_taken }
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Receive: keep DEST as the client's source is
    #[command(after_help = EXIT_CODES)]
    Serve(Serve),
    /// Bring DEST in step with SRC, then send every change
    #[command(after_help = EXIT_CODES)]
    Watch(Send),
    /// Bring DEST in step with SRC once, verify and exit
    #[command(after_help = EXIT_CODES)]
    Push(Push),
    /// Print this side's public key, for --authorize and --server-key
    #[command(after_help = EXIT_CODES)]
    Key(Key),
    /// Look at what was removed from a destination, bring it back, or empty it
    #[command(subcommand)]
    Trash(Trash),
    /// List the clients that a destination lets in, or remove one
    #[command(subcommand)]
    Authorized(Authorised),
}

impl Verb {
    fn command(self, given: &Given) -> Result<Command, String> {
        Ok(match self {
            Verb::Serve(serve) => Command::Serve(serve.options()?),
            Verb::Watch(send) => Command::Send(send.options(Once::Watch, given)?),
            Verb::Push(Push { send, dry_run }) => {
                Command::Send(send.options(if dry_run { Once::DryRun } else { Once::Push }, given)?)
            }
            Verb::Key(key) => Command::Key(key.identity),
            Verb::Trash(trash) => trash.command(),
            Verb::Authorized(authorised) => authorised.command(),
        })
    }
}

#[derive(Args)]
struct Serve {
    /// The directory that receives; made when its parent exists
    dest: PathBuf,

    /// Address to listen at
    #[arg(long, default_value = "0.0.0.0", conflicts_with = "stdio", value_parser = words::parse_host)]
    host: String,

    /// Port to listen at; 0 lets the system choose
    #[arg(long, default_value_t = 5000, conflicts_with = "stdio")]
    port: u16,

    #[command(flatten)]
    found: FoundArgs,

    #[command(flatten)]
    making: MakingArgs,

    /// Serve one client over standard input and output; `push` and `watch` use this through ssh
    #[arg(long)]
    stdio: bool,

    /// Let in the client with this public key, as its `strait key` prints it; may be given again
    #[arg(long, value_name = "KEY", conflicts_with = "stdio", value_parser = NonEmptyStringValueParser::new())]
    authorize: Vec<String>,

    #[command(flatten)]
    keys: KeyArgs,

    /// Keep the state here instead of in DEST/.strait/state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Serve {
    fn options(self) -> Result<ServerOptions, String> {
        let dest = match words::parse_place(self.dest.into_os_string())? {
            Place::Local(dest) => dest,
            Place::Remote { host, path } => {
                return Err(format!(
                    "`serve` receives on this machine: run it on {host}, or, when a directory here has a colon in its name, say ./{host}:{path}"
                ));
            }
        };
        Ok(ServerOptions {
            dest,
            host: self.host,
            port: self.port,
            found: self.found.found(),
            making: self.making.options(),
            stdio: self.stdio,
            authorize: self.authorize,
            identity: self.keys.identity,
            x25519_only: self.keys.kx == Exchange::X25519,
            state: self.state,
        })
    }
}

#[derive(Args)]
struct Push {
    #[command(flatten)]
    send: Send,

    /// List what would change and be deleted; send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Args)]
struct Send {
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
    fn options(self, mode: Once, given: &Given) -> Result<ClientOptions, String> {
        if self.src.as_os_str().is_empty() {
            return Err("SRC is empty: name the directory to send".into());
        }
        let found = self.found.found();
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
struct Key {
    /// The private key's file, instead of this user's own
    #[arg(long, value_name = "FILE", env = "STRAIT_IDENTITY")]
    identity: Option<PathBuf>,
}

#[derive(Args)]
struct KeyArgs {
    /// The private key's file, instead of this user's own
    #[arg(long, value_name = "FILE", env = "STRAIT_IDENTITY")]
    identity: Option<PathBuf>,

    /// Key exchange; x25519 alone saves 2.3 KB a connection on the thinnest links
    #[arg(long, value_name = "EXCHANGE", default_value = "x25519mlkem768")]
    kx: Exchange,
}

/// The key exchanges of TLS that are offered.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Exchange {
    // X25519 and ML-KEM-768 together: what is recorded today stays secret from a quantum computer.
    X25519mlkem768,
    X25519,
}

/// Tells what was written on the command line from what is a default or in the environment.
struct Given<'a>(&'a ArgMatches);

impl Given<'_> {
    fn none_of(&self, ids: &[&str], why_not: &str) -> Result<(), String> {
        match ids.iter().find(|id| self.0.value_source(id) == Some(ValueSource::CommandLine)) {
            Some(id) => Err(format!("--{} {why_not}", id.replace('_', "-"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
