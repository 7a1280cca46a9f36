//! Endpoint files: how a client finds a server of the same user on the same machine and proves
//! to be that user, with nothing to copy.
//!
//! A running server keeps one file of mode 0600 with its public key and a secret of this run.
//! Who can read it is the same user; the way to the server (any port, any relay) does not matter.
//! The server holds a lock on its file while it lives: a file without its lock is stale, whatever
//! became of its process number.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::base64::{self, Alphabet};
use super::identity::PublicKey;
use super::places::Places;
use super::private_file::{self, PrivateFileError};
use super::ticket::Secret;

const HEAD: &str = "strait endpoint 1";
const SUFFIX: &str = ".endpoint";
/// Endpoint files are far smaller.
const FILE_BYTES: u64 = 4096;

/// A running server of this user, as its endpoint file tells.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub server_key: PublicKey,
    /// Random, of this run of the server; goes into the greeting in place of a ticket.
    pub secret: Secret,
    /// Where the server listens.
    pub address: SocketAddr,
    pub pid: u32,
}

/// This server's endpoint file; dropping it removes the file.
#[derive(Debug)]
pub struct EndpointFile {
    endpoint: Endpoint,
    path: PathBuf,
    _locked: File,
}

impl Endpoint {
    /// Writes this server's endpoint file with a new secret, in the first runtime directory that
    /// can be had.
    ///
    /// # Errors
    /// When none of the directories is ours or can be made; the server can do without (clients
    /// then need a key or a ticket), so say it and go on.
    pub fn announce(
        places: &Places,
        server_key: PublicKey,
        address: SocketAddr,
    ) -> Result<EndpointFile, PrivateFileError> {
        let endpoint = Self { server_key, secret: Secret::random(), address, pid: std::process::id() };
        let name = format!("{}-{}{SUFFIX}", endpoint.pid, address.port());
        let mut first_error = None;
        for directory in &places.runtime {
            match endpoint.write(&directory.join(&name)) {
                Ok(file) => return Ok(file),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.expect("there is always a runtime directory"))
    }

    /// Makes the runtime directories that can be had, before this process confines itself: a server
    /// writes into one of them, and a client that was first looks there again later.
    pub fn make_places(places: &Places) {
        for directory in &places.runtime {
            // Where there is none, announcing says why.
            let _ = check_nearest(directory).and_then(|()| private_file::own_directory(directory));
        }
    }

    fn write(&self, path: &Path) -> Result<EndpointFile, PrivateFileError> {
        let directory = path.parent().expect("an endpoint file is in a directory");
        check_nearest(directory)?;
        private_file::own_directory(directory)?;
        let (beside, file) = private_file::write_beside(path, self.to_text().as_bytes())?;
        let io = |verb, source| PrivateFileError::Io { verb, path: path.to_path_buf(), source };
        // Locked before it has its name, so that nobody takes it for stale.
        file.try_lock().map_err(|error| io("lock", error.into()))?;
        fs::rename(&beside, path).map_err(|error| io("write", error))?;
        Ok(EndpointFile { endpoint: self.clone(), path: path.to_path_buf(), _locked: file })
    }

    /// Reads the endpoint files of all of this user's running servers. Files that are another's,
    /// open to others or unreadable are passed over; stale ones are removed.
    pub fn all(places: &Places) -> Vec<Self> {
        let usable =
            places.runtime.iter().filter(|directory| private_file::check_directory(directory).is_ok());
        let files = usable.filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        files
            .map(|file| file.path())
            .filter(|path| path.as_os_str().as_encoded_bytes().ends_with(SUFFIX.as_bytes()))
            .filter_map(|path| Self::read(&path))
            .collect()
    }

    fn read(path: &Path) -> Option<Self> {
        let file = private_file::open(path).ok()?;
        match file.try_lock_shared() {
            // RACE: a server that takes the very same process number and port between these two
            // lines loses its file; its clients then need a key or a ticket.
            Ok(()) => {
                let _ = fs::remove_file(path);
                return None;
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
        let mut text = String::new();
        file.take(FILE_BYTES).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    fn to_text(&self) -> String {
        let secret = base64::encode(&self.secret.0, Alphabet::Url);
        format!(
            "{HEAD}\nkey {}\nsecret {secret}\naddress {}\npid {}\n",
            self.server_key, self.address, self.pid
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(HEAD)?;
        let field = |name: &str| {
            rest.lines().find_map(|line| line.strip_prefix(name).and_then(|value| value.strip_prefix(' ')))
        };
        Some(Self {
            server_key: field("key")?.parse().ok()?,
            secret: Secret(base64::decode(field("secret")?, Alphabet::Url)?.try_into().ok()?),
            address: field("address")?.parse().ok()?,
            pid: field("pid")?.parse().ok()?,
        })
    }
}

/// Refuses to make directories below one of another user, whose variable we may have inherited.
fn check_nearest(directory: &Path) -> Result<(), PrivateFileError> {
    let us = rustix::process::geteuid().as_raw();
    match directory.ancestors().find_map(|above| Some((above, fs::metadata(above).ok()?))) {
        Some((above, metadata)) if metadata.uid() != us => {
            Err(PrivateFileError::Foreign { path: above.to_path_buf(), owner: metadata.uid(), us })
        }
        _ => Ok(()),
    }
}

impl EndpointFile {
    /// What the file says.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EndpointFile {
    fn drop(&mut self) {
        // Nothing to do about a failure: without the lock it is stale and will be swept.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const KEY: PublicKey = PublicKey([5; 32]);

    fn announce(places: &Places, port: u16) -> EndpointFile {
        Endpoint::announce(places, KEY, SocketAddr::from(([0, 0, 0, 0], port))).unwrap()
    }

    #[test]
    fn every_running_server_of_the_user_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let (one, two) = (announce(&places, 5000), announce(&places, 5001));
        let mut found = Endpoint::all(&places);
        found.sort_by_key(|endpoint| endpoint.address.port());
        assert_eq!(found.len(), 2);
        assert!(found[0].secret.matches(&one.endpoint().secret.0));
        assert!(found[1].secret.matches(&two.endpoint().secret.0));
        assert_eq!((found[0].server_key, found[0].pid), (KEY, std::process::id()));
    }

    #[test]
    fn a_server_that_ends_takes_its_file_along() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let file = announce(&places, 5000);
        assert!(file.path().exists());
        drop(file);
        assert_eq!(fs::read_dir(&places.runtime[0]).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_others_may_read_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let file = announce(&places, 5000);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Endpoint::all(&places).is_empty());
    }

    #[test]
    fn the_file_of_a_killed_server_is_ignored_and_swept() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let file = announce(&places, 5000);
        let left_behind = places.runtime[0].join("1-1.endpoint");
        fs::copy(file.path(), &left_behind).unwrap();
        assert_eq!(Endpoint::all(&places).len(), 1);
        assert!(!left_behind.exists() && file.path().exists());
    }

    #[test]
    fn the_second_runtime_directory_serves_when_the_first_cannot() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        let mut places = Places::below(dir.path());
        places.runtime.insert(0, dir.path().join("file/run"));
        let _file = announce(&places, 5000);
        assert_eq!(Endpoint::all(&places).len(), 1);
    }

    #[test]
    fn no_text_panics() {
        for text in ["", HEAD, "strait endpoint 1\nkey x\nsecret\n", "strait endpoint 1\nsecret !\npid 4"] {
            assert!(Endpoint::parse(text).is_none());
        }
    }
}
