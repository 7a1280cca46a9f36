//! What is done at a destination beside a server, and while one runs: looking into its trash, and at
//! the clients that it lets in. Takes no lock.

use super::Fatal;
use super::shore::{make_if_missing, will_be};
use crate::client::event::{Event, Outcome, Report, Shown, What};
use crate::disk::{FileType, Root, SalvageError, TrashFolder, Trashed, id_of, salvage};
use crate::model::RelPath;
use crate::net::{AuthorisedClients, Places, PublicKey};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Aside {
    Trash {
        dest: PathBuf,
        task: TrashTask,
    },
    /// Lists the clients, or removes the one with this key.
    Authorised {
        dest: PathBuf,
        remove: Option<String>,
    },
}

/// What is done with the trash. `what`: numbers or paths.
#[derive(Debug, PartialEq, Eq)]
pub enum TrashTask {
    List,
    Restore {
        what: Vec<OsString>,
        to: PathBuf,
    },
    /// Everything when `what` is empty.
    Empty {
        what: Vec<OsString>,
    },
}

/// Does it and says what came of it.
pub fn run(aside: Aside, events: &dyn Report) -> Outcome {
    let done = match &aside {
        Aside::Trash { dest, task } => trash(dest, task, events),
        Aside::Authorised { dest, remove } => authorised(dest, remove.as_deref(), events),
    };
    match done {
        Ok(()) => Outcome::InStep,
        Err(fatal) => {
            events.event(Event::Error { text: fatal.text });
            fatal.outcome
        }
    }
}

fn failed(text: String) -> Fatal {
    Fatal { outcome: Outcome::Failed, text }
}

fn open(dest: &Path) -> Result<Root, Fatal> {
    Root::open_destination(dest).map_err(|error| failed(format!("the destination {error}")))
}

fn no_destination(dest: &Path) -> Fatal {
    failed(format!("{} is no destination of strait: it holds no `.strait`", dest.display()))
}

fn trash(dest: &Path, task: &TrashTask, events: &dyn Report) -> Result<(), Fatal> {
    let root = open(dest)?;
    let error = |error: crate::disk::DestinationError| Fatal::new(Outcome::Failed, &error);
    let trash = TrashFolder::of(&root).map_err(error)?.ok_or_else(|| no_destination(dest))?;
    let kept = trash.list().map_err(error)?;
    match task {
        TrashTask::List => {
            kept.iter().for_each(|trashed| tell(&trash, trashed, events));
            Ok(())
        }
        TrashTask::Restore { what, to } => {
            let to = open_target(&root, to)?;
            what.iter().try_for_each(|word| restore(&trash, &kept, word, &to, events))
        }
        TrashTask::Empty { what } => {
            let mut chosen = Vec::new();
            for word in what {
                let found = find(&kept, word);
                if found.is_empty() {
                    return Err(nothing_of(word));
                }
                chosen.extend(found);
            }
            let chosen = if what.is_empty() { kept.iter().collect() } else { chosen };
            for trashed in chosen {
                trash.discard(trashed).map_err(error)?;
            }
            let entries = trash.sweep(&AtomicBool::new(false)).map_err(error)?;
            events.event(Event::Emptied { entries });
            Ok(())
        }
    }
}

fn tell(trash: &TrashFolder, trashed: &Trashed, events: &dyn Report) {
    let kind = match trashed.file_type {
        FileType::Dir => What::Dir,
        FileType::Link => What::Link,
        FileType::File | FileType::Other(_) => What::File,
    };
    let extent = trash.extent(trashed, &AtomicBool::new(false));
    let removed = trashed.removed();
    events.event(Event::Trashed {
        id: number(trashed),
        path: trashed.path.as_ref().map(Shown::from),
        kind,
        removed_at_ms: (removed.secs * 1_000 + i64::from(removed.nanos / 1_000_000)).unsigned_abs(),
        disk_bytes: extent.bytes,
        entries_below: extent.entries.saturating_sub(1),
    });
}

fn number(trashed: &Trashed) -> String {
    format!("{:016x}", trashed.id)
}

/// Where things come back to, made when it is missing: outside of the destination, which would only remove them
/// again.
fn open_target(root: &Root, to: &Path) -> Result<Root, Fatal> {
    let fail = |error: &dyn std::fmt::Display| failed(format!("--to {}: {error}", to.display()));
    let path = will_be(to).map_err(|error| fail(&error))?;
    let dest = root.path().canonicalize().map_err(|error| failed(error.to_string()))?;
    if path.starts_with(&dest) {
        return Err(failed(format!(
            "--to {} lies in the destination, where the next pass would remove it again: name the source, or a \
             directory elsewhere",
            to.display()
        )));
    }
    make_if_missing(&path).map_err(|error| failed(format!("--to {error}")))?;
    Root::open(&path).map_err(|error| failed(format!("--to {error}")))
}

fn restore(
    trash: &TrashFolder,
    kept: &[Trashed],
    word: &OsStr,
    to: &Root,
    events: &dyn Report,
) -> Result<(), Fatal> {
    let trashed = *find(kept, word).last().ok_or_else(|| nothing_of(word))?;
    let lost = RelPath::parse(format!("restored-{}", number(trashed)).as_bytes());
    let path = trashed.path.clone().unwrap_or_else(|| lost.expect("the word and a number are a name"));
    let copied = salvage(trash, trashed, &path, to)
        .map_err(|error: SalvageError| Fatal::new(Outcome::Failed, &error))?;
    events.event(Event::Restored {
        path: Shown::from(&path),
        to: Shown::from(to.path()),
        entries: copied.entries,
        size_bytes: copied.bytes,
    });
    Ok(())
}

/// What a word means: one number, or everything that was removed under a path, oldest first.
fn find<'k>(kept: &'k [Trashed], word: &OsStr) -> Vec<&'k Trashed> {
    let bytes = word.as_bytes();
    let bytes = bytes.strip_prefix(b"./").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    let is_path = |trashed: &&Trashed| trashed.path.as_ref().is_some_and(|path| path.as_bytes() == bytes);
    let by_path: Vec<_> = kept.iter().filter(is_path).collect();
    if !by_path.is_empty() {
        return by_path;
    }
    kept.iter().filter(|trashed| number(trashed).as_bytes() == bytes).collect()
}

fn nothing_of(word: &OsStr) -> Fatal {
    let word = Shown::new(word.as_bytes());
    failed(format!("the trash holds nothing of {word}: `strait trash list DEST` says what it holds"))
}

fn authorised(dest: &Path, remove: Option<&str>, events: &dyn Report) -> Result<(), Fatal> {
    let error = |error: &dyn std::error::Error| Fatal::new(Outcome::Failed, error);
    let id = id_of(&open(dest)?).map_err(|own| error(&own))?.ok_or_else(|| no_destination(dest))?;
    let places = Places::from_environment().map_err(|no_home| error(&no_home))?;
    let clients = AuthorisedClients::of(&places, &id);
    let Some(text) = remove else {
        for (key, note) in clients.list().map_err(|file| error(&file))? {
            events.event(Event::Authorised { key: key.to_string(), note });
        }
        return Ok(());
    };
    let key: PublicKey =
        text.parse().map_err(|error| Fatal { outcome: Outcome::Usage, text: format!("{text}: {error}") })?;
    if !clients.remove(&key).map_err(|file| error(&file))? {
        return Err(failed(format!("{key} is not let in: `strait authorized list DEST` says who is")));
    }
    events.event(Event::Note {
        text: format!("{key} is let in no more; a connection that it has ends within seconds"),
    });
    Ok(())
}
