//! One push under `strace --inject`.

use crate::faults::{Ended, Yard, program};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Calls that fail together, and how.
pub struct Call {
    pub names: &'static str,
    pub faults: &'static [&'static str],
}

const ERRORS: &[&str] = &["error=ENOSPC", "error=EIO", "error=EDQUOT", "error=EINTR", "signal=KILL"];
/// A write that takes nothing is the one short write that an injection can make without lying about data.
const WRITES: &[&str] =
    &["error=ENOSPC", "error=EIO", "error=EDQUOT", "error=EINTR", "signal=KILL", "retval=0"];
const FEW: &[&str] = &["error=EIO", "error=EACCES", "error=EPERM", "signal=KILL"];

pub const CALLS: [Call; 14] = [
    Call { names: "openat,openat2", faults: ERRORS },
    Call { names: "write", faults: WRITES },
    Call { names: "pwrite64", faults: WRITES },
    Call { names: "fsync", faults: ERRORS },
    Call { names: "fdatasync", faults: ERRORS },
    Call { names: "syncfs", faults: ERRORS },
    Call { names: "rename,renameat,renameat2", faults: ERRORS },
    Call { names: "mkdir,mkdirat", faults: ERRORS },
    Call { names: "unlink,unlinkat", faults: ERRORS },
    Call { names: "ftruncate", faults: ERRORS },
    Call { names: "copy_file_range", faults: WRITES },
    Call { names: "fallocate,linkat,symlinkat", faults: FEW },
    Call { names: "utimensat,fchmod,fchmodat", faults: FEW },
    Call { names: "fstat,newfstatat,statx,fstatfs", faults: &["error=EIO", "error=ENOMEM"] },
];

/// What happens at the n-th call of each thread, or at every one.
pub struct Fault {
    names: String,
    what: String,
    when: String,
}

impl Fault {
    pub fn new(names: &str, what: &str, n: usize) -> Self {
        Self { names: names.into(), what: what.into(), when: n.to_string() }
    }

    pub fn always(names: &str, what: &str) -> Self {
        Self { names: names.into(), what: what.into(), when: "1+".into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "-e inject={}:{}:when={}", self.names, self.what, self.when)
    }
}

/// How a push with a fault ended.
pub struct Outcome {
    pub status: ExitStatus,
    /// The fault came, at least once.
    pub has_come: bool,
    pub said: String,
}

/// Whether strace is there and may trace.
pub fn can_trace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=none", "true"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// Pushes a source to the yard's local destination with a fault.
pub fn push(yard: &Yard, source: &Path, fault: &Fault) -> Outcome {
    push_and_trace(yard, source, fault, &fault.names).0
}

/// The same; what strace saw of these calls too.
pub fn push_and_trace(yard: &Yard, source: &Path, fault: &Fault, calls: &str) -> (Outcome, String) {
    let log = yard.path.join("strace.log");
    let inject = format!("inject={}:{}:when={}", fault.names, fault.what, fault.when);
    let mut command = Command::new("strace");
    // A signal only comes where each call is stopped at: with the filter it would be lost.
    let speed = if fault.what.starts_with("signal") { "-qq" } else { "--seccomp-bpf" };
    command.args(["-f", speed, "-qq", "-e", "signal=none", "-o"]).arg(&log);
    command.args(["-e", &format!("trace={calls}"), "-e", &inject]);
    if fault.names == "write" {
        // Those to files: to fail a write to a pipe or an event would only test the runtime.
        for path in ["lock", "id.new", "id"] {
            command.arg("-P").arg(yard.dest.join(".strait").join(path));
        }
    }
    strait(&mut command, yard, source);
    let Ended { status, out, err } = yard.start_command("injected", command).ended();
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    // Killed in a call, it leaves no line of it; strace ends as what it runs does.
    let has_come = log.contains("(INJECTED)") || status.signal() == Some(9);
    (Outcome { status, has_come, said: out + &err }, log)
}

/// A push in which no file can grow past a size.
pub fn short_of(yard: &Yard, source: &Path, n_kib: u64) -> Command {
    let mut command = Command::new("bash");
    // Ignored, the signal becomes EFBIG.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {n_kib}; exec \"$@\""), "bash"]);
    strait(&mut command, yard, source);
    command
}

fn strait(command: &mut Command, yard: &Yard, source: &Path) {
    command.arg(program()).arg("push").arg(source).arg(&yard.dest);
    command.args(["-a", "--allow-mass-delete", "--json"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", yard.path.join("home")).stdin(Stdio::null());
    // It would begin itself again, and load its libraries twice under every fault.
    command.env("MALLOC_ARENA_MAX", "2");
}
