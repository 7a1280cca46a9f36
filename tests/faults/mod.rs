//! What the tests of faults share: the built program as child processes with deadlines, and trees
//! made, changed and compared by plain `std::fs`, which knows nothing of strait.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod edits;
pub mod mounts;
pub mod nets;
pub mod shapes;
pub mod stays;
pub mod tree;
pub mod versions;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing in these tests may take longer, however slow the machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The same, unless `STRAIT_DEADLINE` says otherwise, in seconds.
pub fn deadline() -> Duration {
    Duration::from_secs(number("STRAIT_DEADLINE", DEADLINE.as_secs() as usize) as u64)
}

/// Numbers that look random and come again with the same seed (SplitMix64, Steele et al. 2014).
pub struct Rng(pub u64);

impl Rng {
    /// Seeded by `STRAIT_SEED` or the clock; prints the seed.
    pub fn seeded(name: &str) -> Self {
        let given = std::env::var("STRAIT_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        };
        let seed = given.unwrap_or_else(clock);
        println!("{name}: STRAIT_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n + 8);
        while bytes.len() < n {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(n);
        bytes
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A whole number from the environment: how long the long runs are.
pub fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A source, a destination and a home of their own; kept for inspection when the test fails.
pub struct Yard {
    dir: Option<tempfile::TempDir>,
    pub path: PathBuf,
    pub src: PathBuf,
    pub dest: PathBuf,
}

impl Yard {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("strait-faults-").tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let (src, dest) = (path.join("src"), path.join("dest"));
        for made in [&src, &dest, &path.join("home")] {
            std::fs::create_dir(made).unwrap();
        }
        Self { dir: Some(dir), path, src, dest }
    }

    /// The program with this yard's home and nothing else of the environment.
    pub fn strait(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).env_clear().env("HOME", self.path.join("home")).stdin(Stdio::null());
        command
    }

    /// Starts it; what it says goes to files named by `name`.
    pub fn start(&self, name: &str, words: &[&str]) -> Running {
        self.start_command(name, self.strait(words))
    }

    pub fn start_command(&self, name: &str, mut command: Command) -> Running {
        let (out, err) = (self.path.join(format!("{name}.out")), self.path.join(format!("{name}.err")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).process_group(0);
        let child = command.spawn().unwrap();
        Running { child, out, err, name: name.to_owned() }
    }

    /// One push to the end, to the local destination or to a port.
    pub fn push(&self, port: Option<u16>) -> Ended {
        self.push_from(&self.src.clone(), port)
    }

    pub fn push_from(&self, src: &Path, port: Option<u16>) -> Ended {
        let port = port.map(|port| port.to_string());
        let mut words = vec!["push", src.to_str().unwrap(), "-a", "--allow-mass-delete", "--json"];
        match &port {
            None => words.push(self.dest.to_str().unwrap()),
            Some(port) => words.extend(["--host", "127.0.0.1", "--port", port]),
        }
        self.start("push", &words).ended()
    }

    /// A server of the destination that listens.
    pub fn serve(&self, port: u16) -> Running {
        let port = port.to_string();
        let dest = self.dest.to_str().unwrap();
        let words = ["serve", dest, "--host", "127.0.0.1", "--port", &port, "--json", "--adopt"];
        let server = self.start("serve", &words);
        server.wait_for("\"listening\"");
        server
    }

    /// A watch towards a port.
    pub fn watch(&self, port: u16) -> Running {
        let port = port.to_string();
        let src = self.src.to_str().unwrap();
        let words =
            ["watch", src, "-a", "--allow-mass-delete", "--host", "127.0.0.1", "--port", &port, "--json"];
        self.start("watch", &words)
    }

    /// Waits until both trees are equal, and says the first differences when they do not become so.
    pub fn converges(&self, what: &str) {
        self.converges_within(deadline(), what);
    }

    pub fn converges_within(&self, limit: Duration, what: &str) {
        let until = Instant::now() + limit;
        loop {
            let (src, dest) = (tree::read(&self.src), tree::read(&self.dest));
            if src == dest {
                return;
            }
            assert!(
                Instant::now() < until,
                "{what}: not in step after {limit:?}: {}",
                tree::difference(&src, &dest)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asserts that the destination is the source now.
    pub fn is_in_step(&self, what: &str) {
        let (src, dest) = (tree::read(&self.src), tree::read(&self.dest));
        assert!(src == dest, "{what}: {}", tree::difference(&src, &dest));
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            println!("kept for inspection: {}", dir.keep().display());
        }
    }
}

/// The program under test; another build of it where `STRAIT_PROGRAM` says so.
pub fn program() -> PathBuf {
    std::env::var_os("STRAIT_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_strait").into(), PathBuf::from)
}

/// A port that nobody listens at just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A child process; killed when it is dropped.
pub struct Running {
    pub child: Child,
    pub out: PathBuf,
    pub err: PathBuf,
    name: String,
}

/// A child process that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap()).into_owned()
    }

    pub fn erred(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    /// Waits until its standard output holds a text.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    pub fn wait_for_times(&self, text: &str, n: usize) {
        let until = Instant::now() + deadline();
        while self.said().matches(text).count() < n {
            assert!(
                Instant::now() < until,
                "{} never said {text:?} {n} times:\n{}{}",
                self.name,
                self.said(),
                self.erred()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and the end of it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.did_not_panic();
    }

    /// Waits for its end, within the deadline.
    pub fn ended(self) -> Ended {
        self.ended_within(deadline())
    }

    pub fn ended_within(mut self, limit: Duration) -> Ended {
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("{} has not ended after {limit:?}:\n{}{}", self.name, self.said(), self.erred());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.did_not_panic();
        Ended { status, out: self.said(), err: self.erred() }
    }

    pub fn did_not_panic(&self) {
        let erred = self.erred();
        assert!(!erred.contains("panicked"), "{} panicked:\n{erred}", self.name);
    }

    /// Open descriptors, and resident memory in KiB, of the process now.
    pub fn n_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Asserts exit 0.
    pub fn is_in_step(&self, what: &str) -> &Self {
        assert!(self.status.success(), "{what}: {}\n{}{}", self.status, self.out, self.err);
        self
    }

    /// The numbers of the last summary.
    pub fn summary(&self) -> BTreeMap<String, u64> {
        let line = self.out.lines().rfind(|line| line.contains("\"pass_done\""));
        let line = line.unwrap_or_else(|| panic!("no summary:\n{}{}", self.out, self.err));
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = value.as_object().unwrap();
        fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
    }
}
