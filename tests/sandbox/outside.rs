//! Programs that try to open a file outside, as a fault in their own checks would make them: strace writes
//! another path into their calls and takes the bounds away, so that only the kernel is left to refuse.

use crate::common::running::Running;
use crate::common::ssh::{over_ssh, stand_in_below};
use crate::common::traced::{can_trace, lines, traced};
use crate::common::tree::write;
use crate::common::{World, text, wait_until};
use crate::has_landlock;
use std::path::{Path, PathBuf};

/// Calls that are left as they are in each thread: the roots are opened with them. What is looked at before the
/// thread is confined, besides, may go astray.
const N_BEFORE: usize = 2;

/// A world with a tree to send, and a file outside that nobody has to open.
struct Trap {
    world: World,
    log: PathBuf,
    inject: [String; 4],
}

impl Trap {
    /// `None` where it cannot be laid, which is said.
    fn new(test: &str) -> Option<Self> {
        if !can_trace(test) || !has_landlock(test) {
            return None;
        }
        let world = World::new();
        // Enough for each thread that walks.
        for n in 0..12 {
            write(world.src.join(format!("d{n}/f")), "f");
        }
        let canary = write(world.at("canary"), "sings");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let path = hex(&[text(&canary).as_bytes(), &[0]].concat());
        // Of `open_how`: to read, no mode, no bound on where the path leads.
        let (how, when) = (hex(&[0; 24]), N_BEFORE + 1);
        let inject = format!("inject=openat2:poke_enter=@arg2={path},@arg3={how}:when={when}+");
        let trace = "trace=openat2,landlock_create_ruleset,landlock_restrict_self".to_owned();
        let log = world.at("strace.log");
        Some(Self { world, log, inject: ["-e".into(), trace, "-e".into(), inject] })
    }

    fn words(&self) -> Vec<&str> {
        self.inject.iter().map(String::as_str).collect()
    }

    fn run(&self, strace: &[&str], words: &[&str]) -> Running {
        let strace = [&self.words()[..], strace].concat();
        Running::start(traced(&self.world.me, &self.log, &strace, words))
    }

    /// Demands that it was tried by a confined program, and refused each time.
    #[track_caller]
    fn held(&self) {
        let lines = lines(&self.log);
        let confines = |line: &String| line.contains("landlock_restrict_self(") && line.ends_with("= 0");
        let confined = lines.iter().skip_while(|line| !confines(line));
        let tried: Vec<_> = confined.filter(|line| line.contains("(INJECTED")).collect();
        assert!(!tried.is_empty(), "{lines:#?}");
        let opened: Vec<_> = tried.iter().filter(|line| !line.contains("= -1 EACCES")).collect();
        assert!(opened.is_empty(), "{opened:#?}");
    }
}

fn push_words<'a>(src: &'a Path, dst: &'a str) -> [&'a str; 4] {
    ["push", text(src), dst, "--json"]
}

#[test]
fn a_push_to_a_path_can_open_nothing_outside() {
    let Some(trap) = Trap::new("a push to a path") else { return };
    trap.run(&[], &push_words(&trap.world.src, text(&trap.world.dst))).ended().ended_with(3);
    trap.held();
}

#[test]
fn a_push_to_a_server_can_open_nothing_outside() {
    let Some(trap) = Trap::new("a push to a server") else { return };
    let server = trap.world.serve(&[]);
    let port = server.port.to_string();
    let words = ["push", text(&trap.world.src), "--host", "127.0.0.1", "--port", &port, "--json"];
    trap.run(&[], &words).ended().ended_with(3);
    trap.held();
    server.stop().ended_with(0);
}

#[test]
fn a_server_can_open_nothing_outside() {
    let Some(trap) = Trap::new("a server") else { return };
    let words = ["serve", text(&trap.world.dst), "--host", "127.0.0.1", "--port", "0", "--json"];
    let server = trap.run(&[], &words);
    let address = server.wait_for_event("listening")["address"].as_str().expect("an address").to_owned();
    let port = address.rsplit_once(':').expect("a port").1.parse().expect("a number");
    trap.world.me.push(&trap.world.src, port, &[]);
    server.interrupt().ended_with(0).says_nothing_of("sandboxed");
    trap.held();
}

#[test]
fn a_server_over_ssh_can_open_nothing_outside() {
    let Some(trap) = Trap::new("a server over ssh") else { return };
    let words: Vec<String> = trap.inject.iter().map(|word| format!("'{word}'")).collect();
    let strace = format!("strace -f -e signal=none -o '{}' {}", text(&trap.log), words.join(" "));
    stand_in_below(&trap.world, &strace);
    let far = format!("far:{}", text(&trap.world.dst));
    over_ssh(&trap.world, &push_words(&trap.world.src, &far));
    trap.held();
}

/// Else the tests above would hold of any program.
#[test]
fn without_the_sandbox_the_same_calls_open_the_file() {
    let Some(trap) = Trap::new("a push without") else { return };
    let without = ["-e", "inject=landlock_create_ruleset:error=ENOSYS"];
    let push = trap.run(&without, &push_words(&trap.world.src, text(&trap.world.dst)));
    // What it makes of such a file is not looked at.
    wait_until("the file outside is opened", || {
        let log = std::fs::read_to_string(&trap.log).unwrap_or_default();
        let is_open =
            |line: &str| line.contains("/canary\"") && line.contains("(INJECTED") && !line.contains("= -1");
        log.lines().any(is_open)
    });
    push.kill();
}
