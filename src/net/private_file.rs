//! Small files that only their owner may read: keys, secrets, lists of keys.
//!
//! Every one of them is written and read through here, so that owner and mode are checked in one
//! place. A file is written whole under another name first: readers see the old one or the new.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// No file of this room is larger; a bound on what is read into memory.
const FILE_BYTES: u64 = 1 << 20;

/// A private file could not be used. Class: fatal, unless the caller can do without the file.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Reading, writing or making it failed.
    #[error("cannot {verb} {path}: {source}", path = path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    /// Others than the owner may read or change it.
    #[error("{path} can be read or changed by others (mode {mode:04o}), so it is not used; \
             run: chmod {wanted} {path}", path = path.display())]
    Open { path: PathBuf, mode: u32, wanted: &'static str },
    /// It belongs to another user.
    #[error("{path} belongs to user {owner}, not to user {us} who runs strait, so it is not used; \
             run strait as its owner, or: chown {us} {path}", path = path.display())]
    Foreign { path: PathBuf, owner: u32, us: u32 },
    /// It is not a plain file, or far too large for what it should be.
    #[error("{path} is not a plain file of at most 1 MiB; move it out of the way or name another", path = path.display())]
    Unfit { path: PathBuf },
}

impl PrivateFileError {
    /// True when the file is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn io_error<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PrivateFileError + 'a {
    move |source| PrivateFileError::Io { verb, path: path.to_path_buf(), source }
}

/// Makes a directory (and those above it) with mode 0700 if it is not there, and checks that
/// it is ours and that nobody else can write to it.
pub(super) fn own_directory(path: &Path) -> Result<(), PrivateFileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make the directory", path))?;
    check_directory(path)
}

/// Checks that a directory is ours and that nobody else can write to it.
pub(super) fn check_directory(path: &Path) -> Result<(), PrivateFileError> {
    let metadata = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(PrivateFileError::Foreign { path: path.to_path_buf(), owner: metadata.uid(), us });
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(PrivateFileError::Open { path: path.to_path_buf(), mode, wanted: "0700" });
    }
    Ok(())
}

/// Opens a private file for reading after checking what was opened, not what the name says.
///
/// Ours with no right for anybody else; or root's and readable to us through our group alone, as
/// orchestrators mount secrets.
pub(super) fn open(path: &Path) -> Result<File, PrivateFileError> {
    // Without NONBLOCK a FIFO under this name would make us wait for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(io_error("read", path))?;
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    let (us, owner, mode) = (rustix::process::geteuid().as_raw(), metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() || metadata.len() > FILE_BYTES {
        return Err(PrivateFileError::Unfit { path: path.to_path_buf() });
    }
    let mounted_secret = owner == 0 && us != 0;
    if owner != us && !mounted_secret {
        return Err(PrivateFileError::Foreign { path: path.to_path_buf(), owner, us });
    }
    let forbidden = if mounted_secret { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        let wanted = if mounted_secret { "0440" } else { "0600" };
        return Err(PrivateFileError::Open { path: path.to_path_buf(), mode, wanted });
    }
    Ok(file)
}

/// Reads a private file whole (at most 1 MiB).
pub(super) fn read(path: &Path) -> Result<Vec<u8>, PrivateFileError> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}

/// Reads a private text file; a file that is not there is empty. Bytes that are not UTF-8 make
/// their line unreadable, not the file.
pub(super) fn read_text(path: &Path) -> Result<String, PrivateFileError> {
    match read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_absent() => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Writes a file of mode 0600 beside `path` and gives its name and the open file.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> Result<(PathBuf, File), PrivateFileError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}-{number}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(io_error("make", &beside))?;
    if let Err(source) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        let _ = fs::remove_file(&beside);
        return Err(PrivateFileError::Io { verb: "write", path: beside, source });
    }
    Ok((beside, file))
}

/// Writes a new file; false when there is one of that name already, which is left alone.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<bool, PrivateFileError> {
    let (beside, _) = write_beside(path, bytes)?;
    // A link, not a rename: it never replaces, so of two first runs at once only one key counts.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(io_error("remove", &beside))?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("make", path)(error)),
    }
}

/// Replaces a text file by what `change` makes of it, one process at a time.
///
/// The directory is made when it is missing.
pub(super) fn edit(path: &Path, change: impl FnOnce(String) -> String) -> Result<(), PrivateFileError> {
    own_directory(path.parent().unwrap_or(Path::new(".")))?;
    let mut lock_name = path.file_name().unwrap_or_default().to_os_string();
    lock_name.push(".lock");
    let lock_path = path.with_file_name(lock_name);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io_error("make", &lock_path))?;
    lock.lock().map_err(io_error("lock", &lock_path))?;
    let (beside, _) = write_beside(path, change(read_text(path)?).as_bytes())?;
    fs::rename(&beside, path).map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_is_readable_to_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(create(&path, b"one").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(create(&path, b"one").unwrap());
        assert!(!create(&path, b"two").unwrap());
        assert_eq!(read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let text = read(&path).unwrap_err().to_string();
        assert!(text.contains("mode 0640") && text.contains("chmod 0600"), "{text}");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(own_directory(dir.path()), Err(PrivateFileError::Open { mode: 0o777, .. })));
    }

    #[test]
    fn an_edit_makes_the_directory_and_sees_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/list");
        edit(&path, |text| text + "a\n").unwrap();
        edit(&path, |text| text + "b\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a\nb\n");
    }
}
