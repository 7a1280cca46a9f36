//! What the tests of the built program share: a world of its own for each, with users who know nothing of each
//! other, programs that are ended when the test is over, and trees that can be compared.

#![allow(dead_code, reason = "each test crate uses its own part")]

pub mod running;
pub mod ssh;
pub mod traced;
pub mod tree;

pub use running::{Ran, Running};
#[allow(unused_imports)] // Not every test crate looks at names.
pub use tree::{assert_same, listed_names};

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest that anything here is waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until `is_so`, or fails with `what`.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {} s: {what}", DEADLINE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory that goes with the test; `src` and `dst` in it are what most tests need.
pub struct World {
    folder: tempfile::TempDir,
    pub me: User,
    pub src: PathBuf,
    pub dst: PathBuf,
}

impl World {
    /// `src` is made, empty; `dst` is not.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("strait-e2e-").tempdir().expect("a temporary directory");
        let at = folder.path().canonicalize().expect("it was just made");
        let (src, dst) = (at.join("src"), at.join("dst"));
        std::fs::create_dir(&src).expect("src is made");
        Self { me: User::new(&at.join("me")), folder, src, dst }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().expect("it stands").join(name)
    }

    /// Somebody with keys of their own.
    pub fn user(&self, name: &str) -> User {
        User::new(&self.at(name))
    }

    /// Opens the way to what lies below for users that are not root.
    pub fn open_to_all(&self) {
        tree::chmod(self.folder.path(), 0o755);
    }

    pub fn serve(&self, words: &[&str]) -> Server {
        self.me.serve(&self.dst, words)
    }

    /// Pushes `src` to a server.
    pub fn push(&self, server: &Server, words: &[&str]) -> Ran {
        self.me.push(&self.src, server.port, words)
    }

    /// Pushes, demands exit 0 and equal trees.
    pub fn push_in_step(&self, server: &Server, words: &[&str]) -> Ran {
        let ran = self.push(server, words);
        ran.ended_with(0);
        assert_same(&self.src, &self.dst);
        ran
    }

    /// Pushes to a path of this machine.
    pub fn push_here(&self, words: &[&str]) -> Ran {
        let all = [&["push", text(&self.src), text(&self.dst), "--json", "-v"], words].concat();
        self.me.run(&all)
    }
}

/// A path as text; those of the tests' own directories are.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' own directories are UTF-8")
}

/// A user: home, keys and state of their own.
#[derive(Clone)]
pub struct User {
    pub home: PathBuf,
    program: PathBuf,
    uid: Option<u32>,
}

impl User {
    fn new(home: &Path) -> Self {
        std::fs::create_dir_all(home.join("run")).expect("a home directory");
        Self { home: home.to_owned(), program: env!("CARGO_BIN_EXE_strait").into(), uid: None }
    }

    /// Is somebody whom file modes bind, also where the tests run as root.
    ///
    /// The way to the program may be closed to others, so it is copied.
    pub fn who_is_not_root(mut self) -> Self {
        if is_root() {
            const NOBODY: u32 = 65_534;
            let copy = self.home.join("strait");
            // By another process: a program that is begun here meanwhile would hold the copy open for writing, and nobody
            // could run it.
            let copied = Command::new("cp").args([&self.program, &copy]).status();
            assert!(copied.is_ok_and(|status| status.success()), "the program is copied");
            for path in [&self.home, &self.home.join("run")] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
            }
            (self.program, self.uid) = (copy, Some(NOBODY));
        }
        self
    }

    /// Gives a directory to this user.
    pub fn owns(&self, path: &Path) {
        if let Some(uid) = self.uid {
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("root may do that");
        }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command in this user's surroundings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("XDG_RUNTIME_DIR", self.home.join("run"));
        command.current_dir(&self.home);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    pub fn strait(&self, words: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(words);
        command
    }

    /// Runs strait to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        Running::start(self.strait(words)).ended()
    }

    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(self.strait(words))
    }

    pub fn push(&self, src: &Path, port: u16, words: &[&str]) -> Ran {
        self.run(&[&to_port("push", src, &port.to_string())[..], words].concat())
    }

    pub fn watch(&self, src: &Path, port: u16, words: &[&str]) -> Running {
        self.start(&[&to_port("watch", src, &port.to_string())[..], words].concat())
    }

    /// A server on a port that the system chooses, once it listens.
    pub fn serve(&self, dst: &Path, words: &[&str]) -> Server {
        self.serve_at(dst, 0, words)
    }

    pub fn serve_at(&self, dst: &Path, port: u16, words: &[&str]) -> Server {
        let port = port.to_string();
        let all =
            [&["serve", text(dst), "--host", "127.0.0.1", "--port", &port, "--json", "-v"], words].concat();
        let running = self.start(&all);
        let listening = running.wait_for_event("listening");
        let address = listening["address"].as_str().expect("an address");
        let port = address.rsplit_once(':').expect("a port").1.parse().expect("a number");
        Server { running, port, ticket: ticket_of(&listening) }
    }
}

fn to_port<'a>(verb: &'a str, src: &'a Path, port: &'a str) -> [&'a str; 8] {
    [verb, text(src), "--host", "127.0.0.1", "--port", port, "--json", "-v"]
}

fn ticket_of(listening: &serde_json::Value) -> String {
    let line = listening["ticket_line"].as_str().expect("a line to run elsewhere");
    let rest = line.split_once("STRAIT_TICKET=").expect("a ticket in it").1;
    rest.split(' ').next().expect("there is always a first").to_string()
}

/// A server that listens.
pub struct Server {
    pub running: Running,
    pub port: u16,
    pub ticket: String,
}

impl Server {
    /// Ends it in order, as Ctrl-C does.
    pub fn stop(self) -> Ran {
        self.running.interrupt()
    }
}
