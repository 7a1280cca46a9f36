//! Through a real `sshd`, as an ordinary process on loopback with keys and a configuration of the test's own.

mod common;

use common::running::Running;
use common::tree::*;
use common::{World, assert_same, text, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An `sshd` that lets in who has the key of this test, and runs what is asked for with a home of its own.
struct Sshd {
    _running: Running,
    port: u16,
    rsh: String,
}

impl Sshd {
    /// `None`, and said, where this machine has none or it lets nobody in.
    fn start(world: &World) -> Option<Self> {
        let Some(program) = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|at| Path::new(at).exists())
        else {
            println!("skipped: needs sshd");
            return None;
        };
        if !has_client() {
            println!("skipped: needs ssh and ssh-keygen");
            return None;
        }
        let folder = world.at("sshd");
        mkdir(&folder);
        chmod(&folder, 0o700);
        let [host_key, key] = ["host_key", "key"].map(|name| make_key(&folder.join(name)));
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound").port();
        let public = |key: &Path| std::fs::read_to_string(key.with_extension("pub")).expect("it was made");
        let known = write(folder.join("known"), format!("[127.0.0.1]:{port} {}", public(&host_key)));
        let allowed = write(folder.join("allowed"), public(&key));
        let far_home = world.at("far-home");
        mkdir(&far_home);
        let bin = world.me.program().parent().expect("it lies in a directory").to_owned();
        let command = write(
            folder.join("command"),
            format!(
                "#!/bin/sh\ncd '{home}'\nexport HOME='{home}' PATH='{bin}':$PATH\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
                home = text(&far_home),
                bin = text(&bin)
            ),
        );
        chmod(&command, 0o755);
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nForceCommand {}\n",
            text(&host_key),
            text(&allowed),
            text(&command)
        );
        let config = write(folder.join("config"), config);
        if common::is_root() {
            // Where sshd puts those who are not let in yet; the package's service makes it.
            std::fs::create_dir_all("/run/sshd").expect("root may do that");
        }
        let mut sshd = Command::new(program);
        sshd.args(["-D", "-e", "-f", text(&config)]);
        let running = Running::start(sshd);
        wait_until("sshd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let options = "-F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes";
        let (key, known) = (text(&key), text(&known));
        let rsh = format!("ssh -p {port} -i {key} -o UserKnownHostsFile={known} {options}");
        Some(Self { _running: running, port, rsh })
    }

    /// Words of a verb from `src` to `dst` over there.
    fn words<'a>(&'a self, verb: &'a str, world: &'a World, dest: &'a str) -> Vec<&'a str> {
        vec![verb, text(&world.src), dest, "--json", "-v", "--rsh", &self.rsh]
    }
}

fn has_client() -> bool {
    let is_there = |words: &[&str]| Command::new(words[0]).args(&words[1..]).output().is_ok();
    is_there(&["ssh", "-V"]) && is_there(&["ssh-keygen", "-?"])
}

fn make_key(at: &Path) -> PathBuf {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", text(at)]).output();
    assert!(made.is_ok_and(|output| output.status.success()), "a key at {}", at.display());
    at.to_owned()
}

/// Processes of this test's server over there, or of the `ssh` that leads to it.
fn processes(world: &World, program: &str) -> Vec<Pid> {
    let dst = text(&world.dst).to_owned();
    let is_wanted = |words: &[String]| {
        let name = words.first().and_then(|word| word.rsplit('/').next());
        name == Some(program)
            && words.iter().any(|word| word.contains(&dst))
            && words.join(" ").contains("--stdio")
    };
    let entries = std::fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok);
    let of = |entry: std::fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> =
            words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        Pid::from_raw(id).filter(|_| is_wanted(&words))
    };
    entries.filter_map(of).collect()
}

fn arrives(world: &World) {
    wait_until("the change arrives", || differences(&world.src, &world.dst).is_empty());
}

#[test]
fn a_push_through_sshd_brings_in_step_and_the_next_sends_nothing() {
    let world = World::new();
    let Some(sshd) = Sshd::start(&world) else { return };
    write(world.src.join("d/large"), noise(1, 3_000_000));
    write(world.src.join("it's; a $(touch bad) \"name\"\nof two lines"), "small");
    link("large", world.src.join("d/link"));
    let dest = format!("127.0.0.1:{}", text(&world.dst));
    let first = world.me.run(&sshd.words("push", &world, &dest));
    first.ended_with(0);
    assert_same(&world.src, &world.dst);
    let second = world.me.run(&sshd.words("push", &world, &dest));
    assert_eq!(second.ended_with(0).did(), [0; 4]);
    assert!(second.wire() < 5_000, "{}", second.wire());
    // Relative paths begin at the home directory over there.
    let relative = world.me.run(&sshd.words("push", &world, "127.0.0.1:in home"));
    relative.ended_with(0);
    assert_same(&world.src, &world.at("far-home/in home"));
    let foreign = world.at("foreign");
    write(foreign.join("x"), "x");
    let refused = format!("127.0.0.1:{}", text(&foreign));
    world.me.run(&sshd.words("push", &world, &refused)).ended_with(1).says("--adopt").says("--clean");
}

#[test]
fn a_watch_through_sshd_outlives_its_server_and_its_link() {
    let world = World::new();
    let Some(sshd) = Sshd::start(&world) else { return };
    write(world.src.join("file"), noise(1, 200_000));
    let dest = format!("127.0.0.1:{}", text(&world.dst));
    let watch = world.me.start(&sshd.words("watch", &world, &dest));
    watch.wait_for_event("pass_done");
    assert_same(&world.src, &world.dst);
    write(world.src.join("d/new"), "new");
    arrives(&world);
    for (program, name) in [("strait", "server"), ("ssh", "link")] {
        let found = processes(&world, program);
        assert_eq!(found.len(), 1, "the {name}");
        kill_process(found[0], Signal::KILL).expect("it runs");
        write(world.src.join(name), noise(2, 100_000));
        write(world.src.join("file"), noise(3, 200_000));
        arrives(&world);
    }
    watch.interrupt().ended_with(0);
    wait_until("the server over there ends too", || processes(&world, "strait").is_empty());
}

#[test]
fn a_key_that_sshd_does_not_know_is_said_in_its_own_words() {
    let world = World::new();
    let Some(sshd) = Sshd::start(&world) else { return };
    write(world.src.join("file"), "x");
    let stranger = make_key(&world.at("stranger"));
    let rsh = format!(
        "ssh -p {} -i {} -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes",
        sshd.port,
        text(&stranger)
    );
    let rsh = format!("{rsh} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null");
    let dest = format!("127.0.0.1:{}", text(&world.dst));
    let ran = world.me.run(&["push", text(&world.src), &dest, "--rsh", &rsh]);
    ran.says("Permission denied");
    assert!(matches!(ran.code, Some(5 | 6)), "{}", ran.all());
    assert!(!world.dst.exists());
}
