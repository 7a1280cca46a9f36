//! The words of the command line, and the options of the lower floors that they become.
//!
//! Only what is built is offered. Every refusal is one sentence with the next step and ends with exit
//! code 2, before anything was read, written or connected.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::receiving::{Authorised, FoundArgs, MakingArgs, Trash};
use super::report::{unwritten, unwritten_text};
use super::sending::{Push, Send, StatusArgs};
use super::words::{self, Place};
use crate::client::event::Outcome;
use crate::client::options::{ClientOptions, Destination, Once};
use crate::server::aside::Aside;
use crate::server::options::ServerOptions;

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
    /// How this source and destination stand, or all.
    Status(Option<(PathBuf, Destination)>),
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
        let printed = self.0.print().and_then(|()| std::io::stdout().flush());
        if self.0.use_stderr() {
            return Outcome::Usage;
        }
        match unwritten(printed) {
            None => Outcome::InStep,
            Some(error) => {
                let _ = writeln!(std::io::stderr(), "{}", unwritten_text(&error));
                Outcome::Failed
            }
        }
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
    /// Tell how far behind this user's pushes and watches are, or one of them
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Print this side's public key, for --authorize and --server-key
    #[command(after_help = EXIT_CODES)]
    Key(Key),
    /// Look at what was removed from a destination, bring it back, or empty it
    #[command(subcommand, after_help = EXIT_CODES)]
    Trash(Trash),
    /// List the clients that a destination lets in, or remove one
    #[command(subcommand, after_help = EXIT_CODES)]
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
            Verb::Status(status) => Command::Status(status.asked(given)?),
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
struct Key {
    /// The private key's file, instead of this user's own
    #[arg(long, value_name = "FILE", env = "STRAIT_IDENTITY")]
    identity: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct KeyArgs {
    /// The private key's file, instead of this user's own
    #[arg(long, value_name = "FILE", env = "STRAIT_IDENTITY")]
    pub identity: Option<PathBuf>,

    /// Key exchange; x25519 alone saves 2.3 KB a connection on the thinnest links
    #[arg(long, value_name = "EXCHANGE", default_value = "x25519mlkem768")]
    pub kx: Exchange,
}

/// The key exchanges of TLS that are offered.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Exchange {
    // X25519 and ML-KEM-768 together: what is recorded today stays secret from a quantum computer.
    X25519mlkem768,
    X25519,
}

/// Tells what was written on the command line from what is a default or in the environment.
pub(super) struct Given<'a>(&'a ArgMatches);

impl Given<'_> {
    pub fn none_of(&self, ids: &[&str], why_not: &str) -> Result<(), String> {
        match ids.iter().find(|id| self.0.value_source(id) == Some(ValueSource::CommandLine)) {
            Some(id) => Err(format!("--{} {why_not}", id.replace('_', "-"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
