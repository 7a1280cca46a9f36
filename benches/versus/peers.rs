//! The programs that are compared, each with its server on loopback behind a relay.

use super::cases::{Case, age, copy, difference};
use super::relay::{Link, Relay};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The strait that is measured: the one that cargo built with the bench, unless another was named.
pub static STRAIT: OnceLock<PathBuf> = OnceLock::new();

fn strait_program() -> &'static Path {
    STRAIT.get_or_init(|| env!("CARGO_BIN_EXE_strait").into())
}

/// A server that does not listen after this is broken.
const START: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Rsync,
    Strait,
    StraitCold,
}

pub const PEERS: [Peer; 3] = [Peer::Rsync, Peer::Strait, Peer::StraitCold];

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Rsync => "rsync -z",
            Peer::Strait => "strait",
            Peer::StraitCold => "strait, cold",
        }
    }
}

/// One timed synchronisation.
#[derive(Clone, Copy)]
pub struct Run {
    pub seconds: f64,
    pub wire_bytes: u64,
}

/// A server; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// First line of what a program says of its version.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

pub fn rsync_version() -> Option<String> {
    version_of(Path::new("rsync"))
}

pub fn strait_version() -> String {
    version_of(strait_program()).expect("strait can be started")
}

/// Makes a case anew, starts a server, and times the synchronisation of the change.
///
/// # Panics
/// When a program fails, or the destination is not the source afterwards: no figure is worth that.
pub fn run(peer: Peer, case: &Case, link: &'static Link, size: usize) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, dest) = (folder.path().join("source"), folder.path().join("dest"));
    fs::create_dir(&source).and_then(|()| (case.make)(&source, size)).expect("the case can be made");
    age(&source).and_then(|()| copy(&source, &dest)).expect("the case can be copied");
    let server_address = free_address();
    let _server = match peer {
        Peer::Rsync => serve_rsync(folder.path(), &dest, server_address),
        Peer::Strait | Peer::StraitCold => serve_strait(folder.path(), &dest, server_address),
    };
    wait_for(server_address);
    let relay = Relay::start(server_address, link).expect("a relay on loopback");
    if peer == Peer::Strait {
        // This client makes the last push too.
        synchronise(push_command(peer, folder.path(), &source, relay.address));
    }
    (case.change)(&source, size).expect("the case can be changed");
    let before = relay.passed_bytes();
    let seconds = synchronise(push_command(peer, folder.path(), &source, relay.address));
    let wire_bytes = relay.passed_bytes() - before;
    let differs = difference(&source, &dest).expect("both sides can be read");
    assert_eq!(differs, None, "{} on {} did not do its work", peer.name(), case.name);
    Run { seconds, wire_bytes }
}

fn synchronise(mut command: Command) -> f64 {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let seconds = started.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {text}", output.status);
    seconds
}

fn push_command(peer: Peer, folder: &Path, source: &Path, address: SocketAddr) -> Command {
    if peer == Peer::Rsync {
        let mut command = Command::new("rsync");
        command.args(["-a", "-z", "--delete"]).arg(format!("{}/", source.display()));
        command.arg(format!("rsync://{address}/dest/"));
        return command;
    }
    let mut command = strait(folder);
    command.arg("push").arg(source).args(["-a", "-q", "--host", "127.0.0.1"]);
    command.args(["--port", &address.port().to_string()]);
    command
}

fn serve_rsync(folder: &Path, dest: &Path, address: SocketAddr) -> Server {
    let config = folder.join("rsyncd.conf");
    let log = folder.join("rsyncd.log");
    let text = format!(
        "use chroot = no\nlog file = {}\n[dest]\npath = {}\nread only = no\n{}",
        log.display(),
        dest.display(),
        // Only root has to say whose rights the daemon takes.
        if is_root(folder) { "uid = 0\ngid = 0\n" } else { "" }
    );
    fs::write(&config, text).expect("a configuration can be written");
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    command.arg(format!("--port={}", address.port())).arg(format!("--config={}", config.display()));
    start(command)
}

fn is_root(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == 0)
}

fn serve_strait(folder: &Path, dest: &Path, address: SocketAddr) -> Server {
    let mut command = strait(folder);
    command.arg("serve").arg(dest).args(["--adopt", "-q", "--host", "127.0.0.1"]);
    command.args(["--port", &address.port().to_string()]);
    start(command)
}

/// strait with keys and state of its own: both ends are one user and find each other.
fn strait(folder: &Path) -> Command {
    let mut command = Command::new(strait_program());
    command.env("HOME", folder.join("home"));
    for name in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
        let place = folder.join(name);
        let _ = fs::create_dir(&place);
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(&place, fs::Permissions::from_mode(0o700));
        command.env(name, place);
    }
    command
}

fn start(mut command: Command) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server(command.spawn().expect("the server starts"))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it has an address")
}

fn wait_for(address: SocketAddr) {
    let until = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "nothing listens at {address}");
        thread::sleep(Duration::from_millis(20));
    }
}
