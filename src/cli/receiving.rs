//! Options of a receiver that `push` and `watch` take too, when they start it themselves; and the
//! verbs that look into what it keeps.

use super::args::Command;
use super::words;
use crate::server::aside::{Aside, TrashTask};
use crate::server::options::{Found, Making, TrashOptions, TrashSize};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct FoundArgs {
    /// Empty a DEST that is not empty and not strait's own
    #[arg(long, conflicts_with = "adopt")]
    clean: bool,

    /// Keep what such a DEST holds, and use it as basis
    #[arg(long)]
    adopt: bool,
}

impl FoundArgs {
    pub(super) fn found(&self) -> Found {
        match (self.adopt, self.clean) {
            (true, _) => Found::Adopt,
            (_, true) => Found::Clean,
            _ => Found::Refuse,
        }
    }
}

#[derive(Args)]
struct TrashArgs {
    /// Keep what is removed at DEST for so many days in DEST/.strait/trash; 0 keeps nothing
    #[arg(long, value_name = "DAYS", default_value_t = TrashOptions::default().days)]
    trash_days: u32,

    /// Let the trash take so much: a share of the disk, or for example 20G; 0 keeps nothing
    #[arg(long, value_name = "SIZE", default_value = "10%", value_parser = words::parse_trash_size)]
    trash_size: TrashSize,

    /// Keep old versions of files that are replaced there too
    #[arg(long)]
    keep_replaced: bool,
}

impl TrashArgs {
    fn options(&self) -> TrashOptions {
        TrashOptions { days: self.trash_days, size: self.trash_size, keep_replaced: self.keep_replaced }
    }
}

#[derive(Args)]
pub(super) struct MakingArgs {
    #[command(flatten)]
    trash: TrashArgs,

    /// Where DEST's file system does not clone, write over files of SIZE and more (1G when left out) in place:
    /// no room for a second copy, but readers may see both versions mixed for a moment
    #[arg(
        long,
        value_name = "SIZE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1G",
        value_parser = words::parse_size
    )]
    inplace: Option<u64>,
}

impl MakingArgs {
    pub(super) fn options(&self) -> Making {
        Making { trash: self.trash.options(), in_place: self.inplace }
    }
}

#[derive(Subcommand)]
pub(super) enum Trash {
    /// List what was removed, oldest first
    List {
        /// The destination
        dest: PathBuf,
    },
    /// Copy something out; it stays in the trash
    ///
    /// It comes below DIR under the path that it had. Name the source as DIR to have it back for good:
    /// what stands only at DEST is removed again by the next pass. Nothing is written over.
    Restore {
        /// The destination
        dest: PathBuf,
        /// Its path, for what was removed last under it; or its number, as `list` prints it
        #[arg(required = true)]
        what: Vec<OsString>,
        /// Where it comes; made when its parent exists
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Remove something for good, or everything
    Empty {
        /// The destination
        dest: PathBuf,
        /// A path, for all that was removed there; or a number. Everything when left out
        what: Vec<OsString>,
    },
}

impl Trash {
    pub(super) fn command(self) -> Command {
        let (dest, task) = match self {
            Trash::List { dest } => (dest, TrashTask::List),
            Trash::Restore { dest, what, to } => (dest, TrashTask::Restore { what, to }),
            Trash::Empty { dest, what } => (dest, TrashTask::Empty { what }),
        };
        Command::Aside(Aside::Trash { dest, task })
    }
}

#[derive(Subcommand)]
pub(super) enum Authorised {
    /// List the keys of the clients that a destination lets in
    List {
        /// The destination
        dest: PathBuf,
    },
    /// Let a client in no more; a connection that it has ends within seconds
    Remove {
        /// The destination
        dest: PathBuf,
        /// Its public key, as `list` prints it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
    },
}

impl Authorised {
    pub(super) fn command(self) -> Command {
        let (dest, remove) = match self {
            Authorised::List { dest } => (dest, None),
            Authorised::Remove { dest, key } => (dest, Some(key)),
        };
        Command::Aside(Aside::Authorised { dest, remove })
    }
}
