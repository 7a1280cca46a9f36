//! Tests that mount: run again in a mount namespace of their own, which takes all mounts with it.

use std::path::Path;
use std::process::Command;

const INSIDE: &str = "STRAIT_OWN_MOUNTS";

/// Where a test that mounts finds itself.
#[derive(PartialEq, Eq)]
pub enum Place {
    /// In a mount namespace of its own: it does its work.
    Inside,
    /// Outside: it was run inside, and passed; or it cannot be.
    Done,
}

/// Runs the test of this name once more where it may mount.
pub fn own_mounts(test: &str, tools: &[&str]) -> Place {
    if std::env::var_os(INSIDE).is_some() {
        return Place::Inside;
    }
    if let Some(lacks) = lacking(tools) {
        println!("skipped: needs {lacks}");
        return Place::Done;
    }
    if !may_mount() {
        println!("skipped: needs the right to mount");
        return Place::Done;
    }
    run_again(test, unshare().env(INSIDE, "1"));
    Place::Done
}

/// The first of these tools that this machine does not have.
pub fn lacking<'a>(tools: &[&'a str]) -> Option<&'a str> {
    tools.iter().find(|tool| !has(tool)).copied()
}

/// Runs the test of this name once more, behind a command that runs another.
pub fn run_again(test: &str, behind: &mut Command) {
    behind.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = behind.output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in a place of its own");
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command
}

fn has(tool: &str) -> bool {
    let mut found = Command::new("sh");
    found.args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool}")]);
    run_quietly(&mut found)
}

fn may_mount() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut command = unshare();
    run_quietly(command.args(["mount", "-t", "tmpfs", "none"]).arg(dir.path()))
}

pub fn run_quietly(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a tool of the system to its end; what it printed.
pub fn run(tool: &str, words: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(tool).args(words).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{tool} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Mounts a small file system in memory.
pub fn tmpfs(at: &Path, options: &str) {
    std::fs::create_dir_all(at).unwrap();
    run("mount", &["-t", "tmpfs", "-o", options, "none", at.to_str().unwrap()]);
}

/// Makes an image with a file system in it.
pub fn make_image(image: &Path, n_mib: u64, make: &[&str]) {
    let file = std::fs::File::create(image).unwrap();
    file.set_len(n_mib << 20).unwrap();
    let mut words = make[1..].to_vec();
    words.push(image.to_str().unwrap());
    run(make[0], &words);
}

pub fn mount_image(image: &Path, at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
}

pub fn unmount(at: &Path) {
    run("umount", &[at.to_str().unwrap()]);
}
