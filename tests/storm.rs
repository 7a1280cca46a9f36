//! `watch` in a storm: bursts in fresh directories, trees renamed while they fill, directories that come
//! and go. Nothing may be lost, and it must go on noticing afterwards.
//!
//! `STRAIT_OVERFLOW=1`, as root, makes the kernel's queue of events overflow too (`docs/testing.md`).

mod faults;

use faults::{Rng, Running, Yard, free_port, number};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A yard with a server and a watch that is in step and waits for events.
fn watching() -> (Yard, Running, Running) {
    let yard = Yard::new();
    let port = free_port();
    let server = yard.serve(port);
    let watch = yard.watch(port);
    watch.wait_for("\"pass_done\"");
    (yard, server, watch)
}

/// Both are in step, alive, and one more change is noticed: nothing was lost but also nothing died.
fn ends_well(yard: &Yard, mut server: Running, mut watch: Running, what: &str) {
    yard.converges(what);
    for dir in deepest(&yard.src) {
        fs::write(dir.join("one more"), what).unwrap();
    }
    yard.converges(&format!("{what}, one more change"));
    assert!(server.is_alive() && watch.is_alive());
    server.did_not_panic();
    watch.did_not_panic();
}

/// Some directories at the end of their branch, and the root.
fn deepest(root: &Path) -> Vec<std::path::PathBuf> {
    let mut dirs = vec![root.to_owned()];
    for skip in 0..4 {
        let mut dir = root.to_owned();
        loop {
            let below = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path());
            let mut below: Vec<_> = below.filter(|path| path.is_dir() && !path.is_symlink()).collect();
            below.sort();
            let Some(next) = below.get(skip % below.len().max(1)) else { break };
            dir = next.clone();
        }
        dirs.push(dir);
    }
    dirs
}

#[test]
fn a_burst_of_files_in_fresh_nested_directories_loses_none() {
    let (yard, server, watch) = watching();
    for number in 0..number("STRAIT_FILES", 10_000) {
        let dir = yard.src.join(format!("{}/{}/{}", number % 7, number % 83, number % 581));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(number.to_string()), number.to_string()).unwrap();
    }
    ends_well(&yard, server, watch, "burst");
}

#[test]
fn trees_that_are_renamed_while_they_fill_lose_nothing() {
    let mut rng = Rng::seeded("storm, renames");
    let (yard, server, watch) = watching();
    let mut at = 0;
    fs::create_dir(yard.src.join("t0")).unwrap();
    for number in 0..1_500 {
        let top = yard.src.join(format!("t{at}"));
        let dir = top.join(format!("{}/{}", rng.below(5), rng.below(3)));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(number.to_string()), rng.bytes(200)).unwrap();
        if rng.chance(12) {
            let next = rng.below(4);
            // Over nothing, or aside: a name may come back with another tree.
            if fs::rename(&top, yard.src.join(format!("t{next}"))).is_ok() {
                at = next;
            } else {
                fs::rename(yard.src.join(format!("t{next}")), top.join(format!("was {number}"))).ok();
            }
        }
        if rng.chance(9) {
            let from = top.join(rng.below(5).to_string());
            fs::rename(from, top.join(format!("{}", rng.below(5)))).ok();
        }
        if rng.chance(10) {
            std::thread::sleep(Duration::from_millis(rng.below(25) as u64));
        }
    }
    ends_well(&yard, server, watch, "renames");
}

#[test]
fn a_directory_deleted_and_made_again_many_times_is_still_noticed() {
    let mut rng = Rng::seeded("storm, again");
    let (yard, server, watch) = watching();
    for number in 0..250 {
        let dir = yard.src.join("dir");
        if rng.chance(3) {
            fs::rename(&dir, yard.src.join("aside")).ok();
            fs::remove_dir_all(yard.src.join("aside")).ok();
        } else {
            fs::remove_dir_all(&dir).ok();
        }
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), number.to_string()).unwrap();
        if rng.chance(2) {
            fs::write(dir.join("a/beside"), rng.bytes(50)).unwrap();
        }
        std::thread::sleep(Duration::from_micros(rng.below(12_000) as u64));
    }
    ends_well(&yard, server, watch, "again");
}

#[test]
fn files_written_again_and_again_end_as_their_last_version() {
    let mut rng = Rng::seeded("storm, writes");
    let (yard, server, watch) = watching();
    fs::write(yard.src.join("large"), rng.bytes(6 << 20)).unwrap();
    for number in 0..400 {
        let path = yard.src.join(format!("f{}", rng.below(6)));
        fs::write(&path, rng.bytes(3_000)).unwrap();
        if number % 20 == 0 {
            use std::os::unix::fs::FileExt;
            let large = fs::OpenOptions::new().write(true).open(yard.src.join("large")).unwrap();
            large.write_all_at(&rng.bytes(500), rng.below(6 << 20) as u64).unwrap();
        }
        std::thread::sleep(Duration::from_micros(rng.below(6_000) as u64));
    }
    ends_well(&yard, server, watch, "writes");
}

/// A limit of watches in a user namespace of the watch's own. Directories past it were polled, and nothing but one
/// line at the start said so.
#[test]
fn past_the_limit_of_watches_directories_are_polled_and_every_summary_says_so() {
    let yard = Yard::new();
    for number in 0..12 {
        fs::create_dir_all(yard.src.join(format!("d{number}"))).unwrap();
    }
    let script = "echo 6 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
    let unshare = |words: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).args(words);
        command.env_clear().env("HOME", yard.path.join("home")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: needs user namespaces, to lower a limit for one program");
        return;
    }
    let program = faults::program();
    let (src, dest) = (yard.src.to_str().unwrap(), yard.dest.to_str().unwrap());
    let words = [program.to_str().unwrap(), "watch", src, dest, "--json"];
    let mut watch = yard.start_command("watch", unshare(&words));
    watch.wait_for("\"pass_done\"");
    let polled = |said: &str| {
        let line = said.lines().rfind(|line| line.contains("\"pass_done\"")).unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["polled"].as_u64().unwrap()
    };
    let first = polled(&watch.said());
    assert!((5..=12).contains(&first), "{first} of 13 directories are polled");
    assert!(watch.said().contains("fs.inotify.max_user_watches"), "{}", watch.said());
    for number in 0..12 {
        fs::write(yard.src.join(format!("d{number}/file")), number.to_string()).unwrap();
    }
    yard.converges("polled");
    // What becomes free covers others, and the number follows.
    for number in 0..12 {
        fs::remove_dir_all(yard.src.join(format!("d{number}"))).unwrap();
    }
    yard.converges("removed");
    let until = std::time::Instant::now() + faults::deadline();
    while polled(&watch.said()) != 0 {
        assert!(std::time::Instant::now() < until, "{}", watch.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(watch.is_alive());
    watch.did_not_panic();
}

const QUEUE: &str = "/proc/sys/fs/inotify/max_queued_events";

/// Stops a process without its doing, and lets it go on when dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(running: &Running) -> Self {
        let id = Pid::from_child(&running.child);
        kill_process(id, Signal::STOP).unwrap();
        Self(id)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A real overflow that needs no setting: the watch is stopped until the queue cannot hold more.
#[test]
fn an_overflow_while_the_watch_stands_still_loses_nothing() {
    let n_queued: usize = fs::read_to_string(QUEUE).unwrap().trim().parse().unwrap();
    if n_queued > 50_000 {
        println!("not run: {QUEUE} is {n_queued}");
        return;
    }
    let (yard, server, watch) = watching();
    let dirs: Vec<_> = (0..20).map(|number| yard.src.join(format!("d{number}"))).collect();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    yard.converges("before the overflow");
    let stopped = Stopped::new(&watch);
    // Making, writing and closing are an event each.
    for number in 0..n_queued / 3 + 1_000 {
        fs::write(dirs[number % 17].join(number.to_string()), b"x").unwrap();
    }
    // None of these is told: two directories under new names, one made again, one fresh.
    fs::rename(&dirs[17], yard.src.join("moved")).unwrap();
    fs::remove_dir_all(&dirs[18]).unwrap();
    fs::create_dir(&dirs[18]).unwrap();
    fs::rename(&dirs[19], dirs[18].join("inside")).unwrap();
    fs::create_dir(&dirs[17]).unwrap();
    drop(stopped);
    yard.converges("overflow");
    for dir in ["moved", "d18", "d18/inside", "d17"] {
        fs::write(yard.src.join(dir).join("later"), dir).unwrap();
    }
    ends_well(&yard, server, watch, "overflow");
}

/// Sets a limit of the system, and sets it back when dropped, also by a panic.
struct SmallQueue(String);

impl SmallQueue {
    fn new(n_events: usize) -> Self {
        let usual = fs::read_to_string(QUEUE).unwrap();
        println!("{QUEUE} was {}", usual.trim());
        let small = Self(usual);
        fs::write(QUEUE, n_events.to_string()).expect("STRAIT_OVERFLOW needs root");
        small
    }
}

impl Drop for SmallQueue {
    fn drop(&mut self) {
        match fs::write(QUEUE, self.0.trim()) {
            Ok(()) => println!("{QUEUE} is {} again", fs::read_to_string(QUEUE).unwrap_or_default().trim()),
            Err(error) => println!("{QUEUE} could not be set back to {}: {error}", self.0.trim()),
        }
    }
}

/// Changes a setting of the whole machine for a moment, so only when asked to.
#[test]
fn an_overflow_of_a_small_queue_loses_nothing() {
    if number("STRAIT_OVERFLOW", 0) != 1 {
        println!("not run: STRAIT_OVERFLOW is not 1");
        return;
    }
    let mut rng = Rng::seeded("storm, overflow");
    for round in 0..4 {
        // The kernel reads it when watching begins: it need not stay small for longer.
        let small = SmallQueue::new(2 + rng.below(14));
        let (yard, server, watch) = watching();
        drop(small);
        for number in 0..3_000 {
            let dir = yard.src.join(format!("{}/{}", rng.below(20), rng.below(5)));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(number.to_string()), rng.bytes(20)).unwrap();
            if rng.chance(200) {
                fs::remove_dir_all(yard.src.join(rng.below(20).to_string())).ok();
                std::thread::sleep(Duration::from_millis(rng.below(100) as u64));
            }
        }
        ends_well(&yard, server, watch, &format!("overflow, round {round}"));
    }
}
