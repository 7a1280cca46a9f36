//! The destination as the server holds it: its directory, its cache and what it can keep.

use super::contents::KnownContents;
use super::keeps::tried_or_known;
use super::options::{Found, Making};
use super::partials::Partials;
use super::trash::Trash;
use crate::disk::{
    Destination, DestinationError, Occupancy, OwnFolderError, Root, RootError, clean, may_clean, occupancy,
};
use crate::model::limits::LOW_SPACE_BYTES;
use crate::net::{Places, Secret};
use crate::proto::message::{Keeps, RootId};
use crate::store::{Cache, CacheError, Opened};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The word of the cache that holds the last source.
const SOURCE: &str = "source";

/// What is said when it is not; the end of every session and of the server.
pub const GONE: &str = "`.strait` at the destination was removed or replaced while it was in use; start strait \
                        again, with --adopt to keep what is there";

/// Why a destination cannot be served. Fatal; each text says the next step.
#[derive(Debug, thiserror::Error)]
pub enum ShoreError {
    #[error("{path}: its parent directory does not exist; make it first")]
    NoParent { path: PathBuf },
    #[error("{path} cannot be made: {source}")]
    Make { path: PathBuf, source: std::io::Error },
    #[error("the destination {0}; DEST must be a directory that this user may write")]
    Root(#[from] RootError),
    #[error(
        "{path} is not empty and not a destination of strait; use --adopt to keep what is there and bring it \
         in step, or --clean to empty it first"
    )]
    Foreign { path: PathBuf },
    #[error("--clean: {0}")]
    Clean(#[from] crate::disk::CleanError),
    #[error("the destination {path} cannot be used: {source}")]
    Own { path: PathBuf, source: OwnFolderError },
    #[error("the destination {path} cannot be used: {source}")]
    Disk { path: PathBuf, source: DestinationError },
    #[error("the state in {path} cannot be used: {source}")]
    Cache { path: PathBuf, source: CacheError },
    #[error(
        "the source {source_dir} and the destination {dest} are the same directory or one lies inside the other; \
         choose two that lie apart"
    )]
    Nested { source_dir: PathBuf, dest: PathBuf },
}

impl ShoreError {
    /// Whether another process serves the destination.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            ShoreError::Own { source: OwnFolderError::Busy { .. }, .. }
                | ShoreError::Cache { source: CacheError::Busy, .. }
        )
    }
}

/// The open destination; one for each server process and directory.
pub struct Shore {
    pub destination: Destination,
    pub known: KnownContents,
    pub partials: Partials,
    pub keeps: Keeps,
    /// Whether files can share blocks.
    pub clones: bool,
    /// Files from so many bytes on are written over in place where they can not.
    pub in_place: Option<u64>,
    pub trash: Trash,
    pub path: PathBuf,
    /// Whether files were left unhashed when the last who hashed them ended.
    pub is_unhashed: AtomicBool,
    /// Set when the cache was damaged: said once.
    pub rebuilt: Option<String>,
}

impl Shore {
    /// Opens, makes or empties the destination. One that is to be adopted stays foreign until
    /// [`Shore::mark`].
    ///
    /// `source`: the source, when it is on this machine, which must lie apart from it.
    pub fn open(
        dest: &Path,
        found: Found,
        making: Making,
        state: Option<&Path>,
        source: Option<&Path>,
    ) -> Result<Arc<Self>, ShoreError> {
        let source = source.and_then(|source| source.canonicalize().ok());
        // Looked at before it is made: a refusal leaves nothing behind.
        let path = will_be(dest).map_err(|source| ShoreError::Make { path: dest.to_owned(), source })?;
        if let Some(source) = source.as_deref().filter(|source| is_nested(source, &path)) {
            return Err(ShoreError::Nested { source_dir: source.to_owned(), dest: path });
        }
        make_if_missing(dest)?;
        let path =
            dest.canonicalize().map_err(|source| ShoreError::Make { path: dest.to_owned(), source })?;
        let root = Root::open_destination(&path)?;
        let disk = |source| ShoreError::Disk { path: path.clone(), source };
        let occupied = occupancy(&root).map_err(disk)?;
        let own = |source| ShoreError::Own { path: path.clone(), source };
        match (occupied, found) {
            (Occupancy::Foreign, Found::Refuse) => return Err(ShoreError::Foreign { path }),
            (Occupancy::Foreign, Found::Clean) => {
                may_clean(&path, source.as_deref(), &own_places(state), home().as_deref())?;
                clean(&root, &AtomicBool::new(false)).map_err(own)?;
            }
            _ => {}
        }
        let fresh_id = Secret::random().0;
        let destination = match (occupied, found) {
            (Occupancy::Foreign, Found::Adopt) => Destination::open_unmarked(root, fresh_id),
            _ => Destination::open(root, fresh_id),
        };
        let destination = destination.map_err(own)?;
        let partials = Partials::load(destination.own()).map_err(disk)?;
        destination.own().sweep_pins().map_err(disk)?;
        let state = state.map_or_else(|| path.join(".strait/state"), Path::to_owned);
        let (cache, opened) =
            Cache::open(&state).map_err(|source| ShoreError::Cache { path: state.clone(), source })?;
        let keeps = tried_or_known(destination.own(), &cache).map_err(disk)?;
        let rebuilt = match opened {
            Opened::Rebuilt { why, .. } => Some(why),
            Opened::Fresh | Opened::Found => None,
        };
        Ok(Arc::new(Self {
            destination,
            trash: Trash::new(making.trash),
            known: KnownContents::without_chunks(Arc::new(cache)),
            partials,
            clones: keeps.clones,
            in_place: making.in_place,
            keeps: Keeps {
                time_step_ns: keeps.time_step_ns,
                mode_mask: keeps.mode_mask,
                symlinks: keeps.symlinks,
                folds_case: keeps.folds_case,
                name_bytes: keeps.name_bytes,
            },
            path,
            is_unhashed: AtomicBool::new(false),
            rebuilt,
        }))
    }

    /// Makes a directory that was foreign strait's own; before anything in it is changed.
    pub fn mark(&self) -> Result<(), ShoreError> {
        let path = self.path.clone();
        self.destination.own().keep_id().map_err(|source| ShoreError::Disk { path, source })
    }

    /// The source that removals were last taken from, else the first that sent something.
    pub fn last_source(&self) -> Option<[u8; 16]> {
        self.known.cache().word(SOURCE)?.try_into().ok()
    }

    /// A source sends changes; `removes`: removals among them.
    pub fn note_source(&self, source: Option<[u8; 16]>, removes: bool) {
        let Some(source) = source else { return };
        let last = self.last_source();
        if last != Some(source)
            && (removes || last.is_none())
            && let Err(error) = self.known.cache().set_word(SOURCE, &source)
        {
            tracing::warn!(%error, "the source of this destination is not remembered");
        }
    }

    /// Sees to it that so many bytes can be written, as far as what was removed, and then what came of
    /// transfers that nobody goes on with, can give them.
    pub fn make_room(&self, bytes: u64) {
        self.trash.make_room(&self.destination, bytes);
        let own = self.destination.own();
        let is_low =
            || own.trash().space().is_ok_and(|(free, _, _)| free < bytes.saturating_add(LOW_SPACE_BYTES));
        while !self.partials.is_empty() && is_low() {
            self.partials.make_room(own);
        }
    }

    /// Whether strait's own folder still stands at the destination.
    pub fn is_in_place(&self) -> bool {
        self.destination.own().is_in_place(self.destination.root())
    }

    /// Names the destination for ever.
    pub fn root_id(&self) -> RootId {
        *self.destination.own().id()
    }
}

/// Where a destination lies or will lie, symlinks resolved.
pub(super) fn will_be(dest: &Path) -> std::io::Result<PathBuf> {
    if let Ok(path) = dest.canonicalize() {
        return Ok(path);
    }
    let path = std::path::absolute(dest)?;
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(path) };
    // Without its parent it is refused later, in better words.
    Ok(parent.canonicalize().map_or_else(|_| path.clone(), |parent| parent.join(name)))
}

/// Where strait's own files are, symlinks resolved: keys and states of this user, and the state that was asked for.
fn own_places(state: Option<&Path>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = state.into_iter().map(Path::to_owned).collect();
    if let Ok(Places { config, state, runtime }) = Places::from_environment() {
        places.extend([config, state].into_iter().chain(runtime));
    }
    places.into_iter().filter_map(|place| resolved(&place)).collect()
}

/// A path with the symlinks of that part of it resolved that stands.
fn resolved(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let stands = |part: &&Path| part.canonicalize().is_ok();
    let standing = path.ancestors().find(stands)?;
    Some(standing.canonicalize().ok()?.join(path.strip_prefix(standing).ok()?))
}

pub(super) fn make_if_missing(dest: &Path) -> Result<(), ShoreError> {
    match std::fs::create_dir(dest) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ShoreError::NoParent { path: dest.to_owned() })
        }
        // It may exist all the same, on a file system that is read-only.
        Err(_) if dest.is_dir() => Ok(()),
        Err(source) => Err(ShoreError::Make { path: dest.to_owned(), source }),
    }
}

/// Whether one of two canonical paths holds the other.
pub fn is_nested(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).and_then(|home| home.canonicalize().ok())
}
