//! Whether a directory may become a destination, and emptying it when the user says so.

use super::error::DestinationError;
use super::lock::Lock;
use super::own::{OwnFolderError, is_begun_destination, is_destination, open_or_make};
use super::removal::{names, remove_entries};
use super::root::Root;
use super::stat::{Stat, now};
use crate::model::path::OWN_FOLDER;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// Nothing.
    Empty,
    /// It is a destination of strait already.
    Destination,
    /// Something that strait did not put there.
    Foreign,
}

/// Why a directory is never emptied. Fatal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    #[error("{0} belongs to the system and is never emptied")]
    System(PathBuf),
    #[error("{0} is a home directory, or holds one, and is never emptied")]
    Home(PathBuf),
    #[error("{dest} cannot be emptied: it holds the source {source_dir}, or lies in it")]
    Source { dest: PathBuf, source_dir: PathBuf },
    #[error("{dest} cannot be emptied: it holds strait's state or keys in {state_dir}, or lies in them")]
    State { dest: PathBuf, state_dir: PathBuf },
    #[error("{0} is not an absolute path without `.` and `..`")]
    NotCanonical(PathBuf),
}

/// Directories right below `/` that are never emptied, nor anything that holds them.
const SYSTEM: [&str; 18] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc",
    "/root", "/run", "/sbin", "/sys", "/usr", "/var",
];

/// Looks whether a directory is empty or a destination.
pub fn occupancy(root: &Root) -> Result<Occupancy, DestinationError> {
    let fail = |errno| DestinationError::of(&root.path().display(), errno, root.dir.as_fd());
    if is_destination(root).map_err(fail)? {
        return Ok(Occupancy::Destination);
    }
    let names = names(root.dir.as_fd()).map_err(fail)?;
    // A first start that ended before there was an id left nothing else: the next one goes on.
    let is_alone = names.iter().all(|name| name.to_bytes() == OWN_FOLDER);
    let is_empty = names.is_empty() || is_alone && is_begun_destination(root).map_err(fail)?;
    Ok(if is_empty { Occupancy::Empty } else { Occupancy::Foreign })
}

/// Whether `dest` may be emptied. All paths are canonical (absolute, symlinks resolved): this only
/// compares them and asks no file system.
pub fn may_clean(
    dest: &Path,
    source: Option<&Path>,
    state_dirs: &[PathBuf],
    home: Option<&Path>,
) -> Result<(), CleanError> {
    let is_canonical = dest.is_absolute()
        && dest.components().collect::<PathBuf>().as_os_str() == dest.as_os_str()
        && !has_dots(dest);
    if !is_canonical {
        return Err(CleanError::NotCanonical(dest.to_owned()));
    }
    if is_home(dest) || home.is_some_and(|home| home.starts_with(dest)) {
        return Err(CleanError::Home(dest.to_owned()));
    }
    if SYSTEM.iter().any(|system| Path::new(system).starts_with(dest)) {
        return Err(CleanError::System(dest.to_owned()));
    }
    let touches = |other: &Path| other.starts_with(dest) || dest.starts_with(other);
    if let Some(source) = source.filter(|source| touches(source)) {
        return Err(CleanError::Source { dest: dest.to_owned(), source_dir: source.to_owned() });
    }
    match state_dirs.iter().find(|state_dir| touches(state_dir) && !is_own(state_dir, dest)) {
        Some(state_dir) => Err(CleanError::State { dest: dest.to_owned(), state_dir: state_dir.clone() }),
        None => Ok(()),
    }
}

fn has_dots(path: &Path) -> bool {
    path.components().any(|part| matches!(part, std::path::Component::ParentDir))
}

/// `/root`, and what lies right below `/home`.
fn is_home(path: &Path) -> bool {
    path == Path::new("/root") || path.parent() == Some(Path::new("/home"))
}

/// The destination's own folder stays when it is emptied, and may hold the state.
fn is_own(state_dir: &Path, dest: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    state_dir.starts_with(dest.join(std::ffi::OsStr::from_bytes(OWN_FOLDER)))
}

/// Removes everything below a foreign root except `.strait`; returns how many entries went. Ask
/// [`may_clean`] first.
///
/// It holds the lock meanwhile, and gives no id: one that ends half way leaves a foreign root. What became
/// a destination before there was the lock is left alone.
///
/// # Errors
/// The first one, `OtherDevice` for another file system mounted inside, which is left alone;
/// everything that could be removed is gone all the same.
pub fn clean(root: &Root, stop: &AtomicBool) -> Result<u64, OwnFolderError> {
    let _lock = Lock::take(&open_or_make(&root.dir, OWN_FOLDER)?)?;
    if occupancy(root)? != Occupancy::Foreign {
        return Ok(0);
    }
    let emptied = empty(root, stop);
    Ok(emptied.map_err(|errno| DestinationError::of(&root.path().display(), errno, root.dir.as_fd()))?)
}

/// Removes everything below a root except `.strait`, whatever it is.
pub(super) fn empty(root: &Root, stop: &AtomicBool) -> rustix::io::Result<u64> {
    let next = AtomicU64::new((now().secs as u64) << 32);
    let number = || next.fetch_add(1, Ordering::Relaxed);
    let keeps = |name: &[u8], _: &Stat| name == OWN_FOLDER;
    remove_entries(root.dir.as_fd(), &keeps, &number, stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(dest: &str) -> Result<(), CleanError> {
        let at = |text: &'static str| Some(Path::new(text));
        may_clean(Path::new(dest), at("/data/source"), &["/data/state/strait".into()], at("/users/me"))
    }

    #[test]
    fn the_system_homes_the_source_and_the_state_are_never_emptied() {
        for dest in ["/", "/etc", "/home", "/home/somebody", "/root", "/users", "/users/me"] {
            let error = ask(dest).expect_err(dest);
            assert!(matches!(error, CleanError::System(_) | CleanError::Home(_)), "{error}");
        }
        for dest in ["/data", "/data/source", "/data/source/below"] {
            assert!(matches!(ask(dest), Err(CleanError::Source { .. })), "{dest}");
        }
        for dest in ["/data/state", "/data/state/strait", "/data/state/strait/below"] {
            assert!(matches!(ask(dest), Err(CleanError::State { .. })), "{dest}");
        }
        for dest in ["relative", "/data/../etc", "/data/./dest"] {
            assert!(matches!(ask(dest), Err(CleanError::NotCanonical(_))), "{dest}");
        }
        for dest in ["/data/dest", "/srv", "/users/me/copy", "/home/somebody/copy", "/data/source-2"] {
            assert_eq!(ask(dest), Ok(()), "{dest}");
        }
    }

    #[test]
    fn the_state_in_the_own_folder_of_the_destination_is_no_hindrance() {
        let state_dirs = [PathBuf::from("/data/dest/.strait/state")];
        assert_eq!(may_clean(Path::new("/data/dest"), None, &state_dirs, None), Ok(()));
    }
}
