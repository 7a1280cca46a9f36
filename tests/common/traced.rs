//! Programs whose system calls are written down, and some of them changed, by strace.

use super::{User, text, wait_until};
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether strace is there and may trace; says so where not.
pub fn can_trace(test: &str) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=none", "true"]).stdin(Stdio::null());
    let can = command.output().is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: needs strace and the right to trace: {test}");
    }
    can
}

/// strait under strace, which stands beside it: signals and the exit status are strait's own.
pub fn traced(user: &User, log: &Path, strace: &[&str], words: &[&str]) -> Command {
    let mut command = user.command("strace");
    command.args(["-D", "-f", "-e", "signal=none", "-o", text(log)]).args(strace);
    command.arg(user.program()).args(words);
    command
}

/// What strace wrote down, once all that it traced is over.
pub fn lines(log: &Path) -> Vec<String> {
    let read = || std::fs::read_to_string(log).unwrap_or_default();
    let is_over = |text: &String| {
        let first = text.split(' ').next().unwrap_or_default();
        !first.is_empty() && text.lines().any(|line| line.starts_with(first) && line.contains(" +++ "))
    };
    wait_until("the end of a trace", || is_over(&read()));
    read().lines().map(str::to_owned).collect()
}
