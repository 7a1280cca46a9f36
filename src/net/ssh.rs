//! ssh as the way to a server: starts `ssh HOST strait serve --stdio … -- PATH` and talks over its
//! standard input and output.
//!
//! Who may come in is ssh's decision. Its messages go straight to the user's terminal.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::destination::SshDestination;
use super::pipe::Pipe;

/// How long ssh may take to end after its pipe did.
const END_TIME: Duration = Duration::from_secs(5);

/// How to start the far side.
#[derive(Clone, Debug)]
pub struct SshCommand {
    /// The words of `--rsh`, by default `ssh`. Not empty.
    pub rsh: Vec<String>,
    /// The far side's program, by default `strait`; it is seen by the shell there as one word.
    pub program: String,
    /// Options for `serve` over there, before the path. Quoted here.
    pub options: Vec<OsString>,
}

/// The way over ssh failed. Class: session, but for [`Rsh`](Self::Rsh),
/// [`NotFound`](Self::NotFound) and [`NoProgram`](Self::NoProgram), which are fatal.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error("--rsh {0:?} is not understood: {1}")]
    Rsh(String, &'static str),
    #[error(
        "{0} is not installed here; install it (package openssh-client), or name another program with --rsh"
    )]
    NotFound(String),
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("ssh could not connect to {0}, and said why. `ssh {0} true` must work without a question")]
    Connect(String),
    #[error(
        "{login} has no program `{program}`; install strait there, or name its path in STRAIT_REMOTE_PROGRAM"
    )]
    NoProgram { login: String, program: String },
    #[error("strait on {login} ended with {ended}, and said why")]
    Ended { login: String, ended: String, code: Option<i32> },
}

impl SshError {
    /// True when trying again is of no use before the user has done something.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Rsh(..) | Self::NotFound(_) | Self::NoProgram { .. })
    }
}

impl Default for SshCommand {
    fn default() -> Self {
        Self { rsh: vec!["ssh".into()], program: "strait".into(), options: Vec::new() }
    }
}

/// A running ssh. Dropping it kills the process.
#[derive(Debug)]
pub struct SshSession {
    child: Child,
    login: String,
    program: String,
}

impl SshCommand {
    /// Starts ssh and gives the pipe to the far side's standard input and output. Whether ssh
    /// gets through shows at the first read: on an end or error there ask [`SshSession::end`].
    ///
    /// # Errors
    /// [`SshError::NotFound`] and [`SshError::Start`].
    pub fn start(&self, destination: &SshDestination) -> Result<(Pipe, SshSession), SshError> {
        let (program, words) = self.rsh.split_first().expect("the words of --rsh are not empty");
        let login = destination.login();
        let spawned = Command::new(program)
            .args(words)
            .arg(&login)
            .arg(self.remote_line(&destination.path))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SshError::NotFound(program.clone()),
            _ => SshError::Start { program: program.clone(), source },
        })?;
        let stdin = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let pipe = Pipe::new(stdout, stdin, format!("{login} over ssh"));
        Ok((pipe, SshSession { child, login, program: self.program.clone() }))
    }

    /// The one line that the far side's shell reads.
    fn remote_line(&self, path: &OsStr) -> OsString {
        let mut line = quote(OsStr::new(&self.program));
        line.extend_from_slice(b" serve --stdio");
        for option in &self.options {
            line.push(b' ');
            line.extend(quote(option));
        }
        // After `--` a path that begins with `-` is a path.
        line.extend_from_slice(b" -- ");
        line.extend(quote_path(path));
        OsString::from_vec(line)
    }
}

impl SshSession {
    /// Waits for ssh to end (it is killed if it has not after 5 s) and says what its status
    /// means. Drop both halves of the pipe before.
    ///
    /// # Errors
    /// [`SshError`] for any status but 0.
    ///
    /// # Cancel safety
    /// Dropped in the middle, ssh is killed.
    pub async fn end(mut self) -> Result<(), SshError> {
        let Ok(waited) = tokio::time::timeout(END_TIME, self.child.wait()).await else {
            let ended = "no end after its pipe was closed (killed)".into();
            return Err(SshError::Ended { login: self.login, ended, code: None });
        };
        match waited {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(explain(status, self.login, self.program)),
            Err(source) => Err(SshError::Start { program: self.login, source }),
        }
    }
}

fn explain(status: ExitStatus, login: String, program: String) -> SshError {
    match (status.code(), status.signal()) {
        (Some(255), _) => SshError::Connect(login),
        (Some(126 | 127), _) => SshError::NoProgram { login, program },
        (code @ Some(status), _) => SshError::Ended { login, ended: format!("status {status}"), code },
        (None, signal) => {
            let ended = format!("signal {}", signal.unwrap_or_default());
            SshError::Ended { login, ended, code: None }
        }
    }
}

/// Quotes one word for any shell of the Bourne family, and fish.
fn quote(word: &OsStr) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(byte);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut quoted = vec![b'\''];
    for &byte in bytes {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            other => quoted.push(other),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Quotes a path but for a leading `~` or `~user`, which the shell over there resolves.
fn quote_path(path: &OsStr) -> Vec<u8> {
    let bytes = path.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len());
    let (home, rest) = bytes.split_at(end);
    let is_home = home.first() == Some(&b'~')
        && home[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    match (is_home, rest) {
        (false, _) => quote(path),
        (true, b"" | b"/") => bytes.to_vec(),
        // The slash stays outside the quotes, else the shell does not see where the name ends.
        (true, rest) => [home, b"/", &quote(OsStr::from_bytes(&rest[1..]))].concat(),
    }
}

/// Splits the text of `--rsh` into words as a shell does: blanks, simple and double quotes,
/// backslashes. No variables, no patterns.
///
/// # Errors
/// [`SshError::Rsh`] for an open quote or no words at all.
pub fn split_words(text: &str) -> Result<Vec<String>, SshError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => match characters.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(SshError::Rsh(text.into(), "it ends with a backslash")),
            },
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(_), _) => Err(SshError::Rsh(text.into(), "a quote is not closed")),
        (None, true) => Err(SshError::Rsh(text.into(), "it is empty")),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
