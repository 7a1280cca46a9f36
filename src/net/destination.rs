//! The destination as the user writes it: a local directory, or `[user@]host:path` over ssh.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where a push goes, but for a server that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A directory of this machine. One with a colon before its first slash is written `./a:b`.
    Local(PathBuf),
    /// A directory that `ssh` leads to.
    Ssh(SshDestination),
}

/// `[user@]host:path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDestination {
    pub user: Option<String>,
    /// Name or address, an IPv6 address without its brackets. Never begins with `-`.
    pub host: String,
    /// As the far side's shell is to see it: relative to the home there; not empty.
    pub path: OsString,
}

/// A text is not a destination. Class: fatal (the command line is wrong).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DestinationError {
    #[error("the destination is empty; write a directory, or [user@]host:directory")]
    Empty,
    #[error(
        "{0:?} names no directory after the colon; write host:directory (`host:.` is the home directory over there)"
    )]
    NoPath(String),
    #[error(
        "{0:?} names no host before the colon; write host:directory, or ./{0} for a directory of this machine"
    )]
    NoHost(String),
    #[error(
        "{0:?} begins like an option where a host or user should be; write ./{0} for a directory of this machine"
    )]
    Option(String),
    #[error(
        "{0:?} is an address of an rsync server; strait has its own: run `strait serve` there and \
             use --host and --port here, or host:directory for ssh"
    )]
    Rsync(String),
    #[error("{0:?} is not understood: an IPv6 address is written in brackets, as in [::1]:directory")]
    Brackets(String),
}

impl Destination {
    /// Reads a destination from the command line.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub fn parse(text: &OsStr) -> Result<Self, DestinationError> {
        let bytes = text.as_bytes();
        let shown = || text.to_string_lossy().into_owned();
        if bytes.is_empty() {
            return Err(DestinationError::Empty);
        }
        if bytes.starts_with(b"rsync://") {
            return Err(DestinationError::Rsync(shown()));
        }
        let Some(colon) = find_colon(bytes).map_err(|()| DestinationError::Brackets(shown()))? else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let (before, path) = (&bytes[..colon], &bytes[colon + 1..]);
        if path.starts_with(b":") {
            return Err(DestinationError::Rsync(shown()));
        }
        let before = std::str::from_utf8(before).map_err(|_| DestinationError::NoHost(shown()))?;
        let (user, host) = match before.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_string()), host),
            None => (None, before),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // ssh would take such a host for an option, and an option can run a command.
        if before.starts_with('-') || host.starts_with('-') {
            return Err(DestinationError::Option(shown()));
        }
        let unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']');
        if host.is_empty() || user.as_deref() == Some("") || host.contains(unfit) {
            return Err(DestinationError::NoHost(shown()));
        }
        if path.is_empty() {
            return Err(DestinationError::NoPath(shown()));
        }
        Ok(Self::Ssh(SshDestination { user, host: host.into(), path: OsString::from_vec(path.to_vec()) }))
    }
}

/// The colon that ends the host, if one comes before the first slash.
fn find_colon(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let at = bytes.iter().position(|byte| *byte == b'@').map_or(0, |at| at + 1);
    if bytes.get(at) == Some(&b'[') && !bytes[..at].contains(&b'/') {
        let end = bytes.iter().position(|byte| *byte == b']').ok_or(())?;
        return match bytes.get(end + 1) {
            Some(b':') => Ok(Some(end + 1)),
            // A file name such as `[old]` is a local path.
            _ if !bytes[..end].contains(&b':') => Ok(None),
            _ => Err(()),
        };
    }
    let head = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
    Ok(head.iter().position(|byte| *byte == b':'))
}

impl SshDestination {
    /// What ssh takes for the host: `[user@]host`.
    pub fn login(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Destination, DestinationError> {
        Destination::parse(OsStr::new(text))
    }

    fn ssh(user: Option<&str>, host: &str, path: &str) -> Result<Destination, DestinationError> {
        let user = user.map(str::to_string);
        Ok(Destination::Ssh(SshDestination { user, host: host.into(), path: path.into() }))
    }

    #[test]
    fn a_colon_before_the_first_slash_makes_a_host() {
        assert_eq!(parse("host:dir"), ssh(None, "host", "dir"));
        assert_eq!(parse("me@host:/a/b:c"), ssh(Some("me"), "host", "/a/b:c"));
        assert_eq!(parse("me@corp@host:x"), ssh(Some("me@corp"), "host", "x"));
        assert_eq!(parse("host:-x"), ssh(None, "host", "-x"));
    }

    #[test]
    fn all_else_is_local() {
        for text in ["dir", "./a:b", "/a:b", "a/b:c", "[old]", "a@b"] {
            assert_eq!(parse(text), Ok(Destination::Local(text.into())), "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(parse("[fe80::1%eth0]:dir"), ssh(None, "fe80::1%eth0", "dir"));
        assert_eq!(parse("me@[::1]:/d"), ssh(Some("me"), "::1", "/d"));
        assert!(matches!(parse("[::1"), Err(DestinationError::Brackets(_))));
        assert!(matches!(parse("[::1]x"), Err(DestinationError::Brackets(_))));
    }

    #[test]
    fn a_host_that_looks_like_an_option_never_reaches_ssh() {
        for text in ["-oProxyCommand=x:dir", "me@-x:dir", "-me@host:dir", "[-x]:dir"] {
            assert!(matches!(parse(text), Err(DestinationError::Option(_))), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(matches!(parse(""), Err(DestinationError::Empty)));
        assert!(matches!(parse("host:"), Err(DestinationError::NoPath(_))));
        assert!(matches!(parse(":dir"), Err(DestinationError::NoHost(_))));
        assert!(matches!(parse("@host:dir"), Err(DestinationError::NoHost(_))));
        assert!(matches!(parse("host::module"), Err(DestinationError::Rsync(_))));
        assert!(matches!(parse("rsync://host/m"), Err(DestinationError::Rsync(_))));
    }

    #[test]
    fn a_path_that_is_not_utf8_is_kept() {
        let text = OsString::from_vec(b"host:\xff".to_vec());
        let Ok(Destination::Ssh(ssh)) = Destination::parse(&text) else { panic!("it names a host") };
        assert_eq!(ssh.path.as_bytes(), b"\xff");
    }
}
