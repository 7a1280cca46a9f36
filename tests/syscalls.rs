//! The n-th system call fails, or the process dies in it: whatever happens, each path at the destination
//! is an old or a new version, what is in both is there, nothing beside the destination is touched, an exit
//! status 0 is true, and the next push mends everything.
//!
//! The calls are made to fail by `strace --inject`. A push to a local destination runs both sides in one
//! process, so calls of the source, the destination and both caches are met. `STRAIT_CALLS=all` tries every
//! n of every call and fault, `STRAIT_CALLS='rename KILL'` of those that hold these words (`docs/testing.md`);
//! without it a seeded sample is tried.

mod faults;
#[path = "syscalls/scenes.rs"]
mod scenes;
#[path = "syscalls/steps.rs"]
mod steps;
#[path = "syscalls/strace.rs"]
mod strace;

use faults::stays::what_stays_is_there;
use faults::tree::{self, Seens};
use faults::versions::is_old_or_new;
use faults::{Rng, Yard};
use scenes::{SCENES, Scene};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use strace::{CALLS, Fault, Outcome, can_trace};

/// Tries of each scene in the short form.
const SAMPLES: usize = 8;
/// Largest n of the short form: most calls come less often.
const SAMPLED_N: usize = 24;

/// One scene, between whose two versions the destination goes to and fro.
struct Stage {
    scene: &'static Scene,
    yard: Yard,
    sources: [PathBuf; 2],
    next: usize,
    n_tries: usize,
    codes: BTreeMap<String, usize>,
    beside: Seens,
}

impl Stage {
    fn new(scene: &'static Scene) -> Self {
        let yard = Yard::new();
        let sources = [0, 1].map(|version| yard.path.join(format!("version-{version}")));
        let outside = yard.path.join("outside");
        scenes::add_outside(&outside);
        for (version, source) in sources.iter().enumerate() {
            fs::create_dir(source).unwrap();
            (scene.build)(source, version);
            scenes::add_what_stays(source, version, &outside);
        }
        let beside = beside(&yard);
        let stage = Self { scene, yard, sources, next: 1, n_tries: 0, codes: BTreeMap::new(), beside };
        stage.yard.push_from(&stage.sources[0], None).is_in_step(scene.name);
        stage
    }

    /// Goes to the other version with a fault on the way; `false` when the fault never came.
    fn goes_on_after(&mut self, fault: &Fault) -> bool {
        let what = format!("{}: {fault}", self.scene.name);
        let source = self.sources[self.next].clone();
        self.next = 1 - self.next;
        self.n_tries += 1;
        if self.scene.is_first {
            fs::remove_dir_all(&self.yard.dest).unwrap();
            fs::remove_dir_all(self.yard.path.join("home")).unwrap();
            fs::create_dir(&self.yard.dest).unwrap();
            fs::create_dir(self.yard.path.join("home")).unwrap();
        }
        let old = tree::read(&self.yard.dest);
        let new = tree::read(&source);
        if self.scene.is_broken_off {
            let killed = strace::push(&self.yard, &source, &Fault::new("pwrite64", "signal=KILL", 6));
            assert!(!killed.status.success(), "{what}: nothing was broken off");
        }
        let Outcome { status, has_come, said } = strace::push(&self.yard, &source, fault);
        *self.codes.entry(status.to_string()).or_default() += 1;
        let between = tree::read(&self.yard.dest);
        is_old_or_new(&between, &old, &new)
            .unwrap_or_else(|path| panic!("{what}: {path:?} is neither old nor new\n{said}"));
        what_stays_is_there(&between, &old, &new)
            .unwrap_or_else(|path| panic!("{what}: {path:?} is in both and not there\n{said}"));
        self.nothing_beside_is_touched(&what, &said);
        if status.success() {
            assert!(between == new, "{what}: exit 0 and {}\n{said}", tree::difference(&new, &between));
        }
        self.yard.push_from(&source, None).is_in_step(&what);
        let after = tree::read(&self.yard.dest);
        assert!(after == new, "{what}: {}", tree::difference(&new, &after));
        self.nothing_beside_is_touched(&what, "");
        self.empty_trash();
        has_come
    }

    /// Otherwise each try leaves more there for the next to look at, and the n-th call never is the last.
    fn empty_trash(&self) {
        let Ok(versions) = fs::read_dir(self.yard.dest.join(".strait/trash")) else { return };
        for version in versions.map(|version| version.unwrap()) {
            match version.file_type().unwrap().is_dir() {
                true => fs::remove_dir_all(version.path()).unwrap(),
                false => fs::remove_file(version.path()).unwrap(),
            }
        }
    }

    fn nothing_beside_is_touched(&self, what: &str, said: &str) {
        let now = beside(&self.yard);
        let is_touched = now != self.beside;
        assert!(!is_touched, "{what}: beside: {}\n{said}", tree::difference(&self.beside, &now));
    }

    fn tells(&self) {
        println!("{}: {} tries, ended with {:?}", self.scene.name, self.n_tries, self.codes);
    }
}

/// Everything beside the destination, the sources too, but for what programs write there by right.
fn beside(yard: &Yard) -> Seens {
    let is_written = |path: &Path| {
        let is_of_a_run = path.extension().is_some_and(|end| end == "out" || end == "err" || end == "log");
        is_of_a_run || path.starts_with("dest") || path.starts_with("home")
    };
    tree::read(&yard.path).into_iter().filter(|(path, _)| !is_written(path)).collect()
}

fn scene(name: &str) {
    if !can_trace() {
        return println!("skipped: needs strace with --seccomp-bpf, and the right to trace");
    }
    let scene = SCENES.iter().find(|scene| scene.name == name).expect("it is in the list");
    let mut stage = Stage::new(scene);
    match std::env::var("STRAIT_CALLS").as_deref() {
        Ok("all") => every_call(&mut stage, ""),
        Ok(words) => every_call(&mut stage, words),
        Err(_) => sampled_calls(&mut stage),
    }
    stage.tells();
}

fn sampled_calls(stage: &mut Stage) {
    let mut rng = Rng::seeded(stage.scene.name);
    let mut n_come = 0;
    for _ in 0..SAMPLES {
        let call = rng.pick(&CALLS);
        let fault = rng.pick(call.faults);
        // Small n are met by every scene, large ones by few.
        let n = rng.below(SAMPLED_N) + 1;
        let n = rng.below(n) + 1;
        n_come += usize::from(stage.goes_on_after(&Fault::new(call.names, fault, n)));
    }
    // One that is sure to come.
    assert!(stage.goes_on_after(&Fault::new("renameat,renameat2", "error=EIO", 1)), "no fault came");
    println!("{}: {} of {SAMPLES} sampled faults came", stage.scene.name, n_come);
}

/// Every n of those calls and faults that hold each of these words, on the way to either version.
fn every_call(stage: &mut Stage, words: &str) {
    for call in &CALLS {
        let is_meant = |fault: &&&str| {
            words.split_whitespace().all(|word| format!("{} {fault}", call.names).contains(word))
        };
        for fault in call.faults.iter().filter(is_meant) {
            let mut n = 1;
            let mut both_ways = |n| [(); 2].map(|()| stage.goes_on_after(&Fault::new(call.names, fault, n)));
            while both_ways(n).contains(&true) {
                n += 1;
            }
            println!("{}: {} {fault}: {} times", stage.scene.name, call.names, n - 1);
        }
    }
}

#[test]
fn a_first_upload_survives_any_failing_call() {
    scene("first upload");
}

#[test]
fn an_edit_of_a_large_file_survives_any_failing_call() {
    scene("large edit");
}

#[test]
fn moves_survive_any_failing_call() {
    scene("moves");
}

#[test]
fn deletes_survive_any_failing_call() {
    scene("deletes");
}

#[test]
fn many_small_files_survive_any_failing_call() {
    scene("many small files");
}

#[test]
fn a_transfer_that_was_broken_off_survives_any_failing_call() {
    scene("broken off");
}

#[test]
fn changes_of_kind_and_metadata_survive_any_failing_call() {
    scene("kinds and metadata");
}

/// A file that can grow no further: its last write is a short one, the next fails.
#[test]
fn a_write_that_comes_short_leaves_the_old_version_and_is_said() {
    let yard = Yard::new();
    let (small, large) = (yard.src.join("small"), yard.src.join("large"));
    fs::write(&small, "old").unwrap();
    fs::write(&large, vec![1; 100_000]).unwrap();
    yard.push(None).is_in_step("before");
    let old = tree::read(&yard.dest);
    for n_kib in [70, 256, 300, 511, 1_000, 1_500] {
        let mut rng = Rng(n_kib);
        fs::write(&small, format!("new {n_kib}")).unwrap();
        fs::write(&large, rng.bytes(2 << 20)).unwrap();
        let command = strace::short_of(&yard, &yard.src, n_kib);
        let ended = yard.start_command("push", command).ended();
        assert!(!ended.status.success(), "{n_kib} KiB: exit 0\n{}", ended.out);
        let between = tree::read(&yard.dest);
        let new = tree::read(&yard.src);
        is_old_or_new(&between, &old, &new).unwrap();
        what_stays_is_there(&between, &old, &new).unwrap();
        assert_eq!(between.get(&PathBuf::from("large")), old.get(&PathBuf::from("large")), "{n_kib} KiB");
    }
    yard.push(None).is_in_step("after");
    yard.is_in_step("after");
}

/// So a file system says that it keeps no symlinks: the push ended with 0, and they were not there.
#[test]
fn symlinks_that_a_destination_cannot_hold_are_named_and_the_push_is_partial() {
    if !can_trace() {
        return println!("skipped: needs strace with --seccomp-bpf, and the right to trace");
    }
    let yard = Yard::new();
    fs::create_dir(yard.src.join("d")).unwrap();
    fs::write(yard.src.join("d/file"), "there").unwrap();
    std::os::unix::fs::symlink("file", yard.src.join("d/link")).unwrap();
    let none = Fault::always("symlinkat", "error=EPERM");
    for round in ["first", "second"] {
        let Outcome { status, said, .. } = strace::push(&yard, &yard.src, &none);
        assert_eq!(status.code(), Some(3), "{round}: {said}");
        assert!(
            said.contains("d/link") && said.contains("cannot store entries of its kind"),
            "{round}: {said}"
        );
        assert_eq!(fs::read(yard.dest.join("d/file")).unwrap(), b"there");
        assert!(fs::symlink_metadata(yard.dest.join("d/link")).is_err());
    }
    yard.push(None).is_in_step("where symlinks are kept");
    assert_eq!(fs::read_link(yard.dest.join("d/link")).unwrap(), PathBuf::from("file"));
}

// The kernel tells a failed write once, of whatever file: a group failed for it, and the file that had lost its
// bytes came through with the next group, whose sync said nothing any more.
#[test]
fn after_a_sync_of_the_file_system_that_failed_files_are_synced_one_by_one() {
    if !can_trace() {
        return println!("skipped: needs strace with --seccomp-bpf, and the right to trace");
    }
    let yard = Yard::new();
    // More than is staged within the time that a group may wait.
    for n in 0..2_000 {
        fs::write(yard.src.join(format!("file-{n}")), Rng(n).bytes(15_000)).unwrap();
    }
    let first_fails = Fault::new("syncfs", "error=EIO", 1);
    let (Outcome { has_come, said, .. }, log) =
        strace::push_and_trace(&yard, &yard.src, &first_fails, "syncfs,fsync");
    assert!(has_come, "{said}");
    let n_there = fs::read_dir(&yard.dest).unwrap().count() - 1;
    assert!(n_there >= 100, "later groups went on: {n_there}\n{said}");
    let n_synced = log.lines().filter(|line| line.contains("fsync(")).count();
    assert!(n_synced >= n_there, "{n_there} files, {n_synced} syncs of a file");
    yard.push(None).is_in_step("after");
    yard.is_in_step("after");
}

// In the long form a process that was killed counted as one that had not met its fault: no second call was tried.
#[test]
fn a_kill_in_a_call_is_a_fault_that_came() {
    if !can_trace() {
        return println!("skipped: needs strace with --seccomp-bpf, and the right to trace");
    }
    let yard = Yard::new();
    fs::write(yard.src.join("file"), "content").unwrap();
    let killed = strace::push(&yard, &yard.src, &Fault::new("renameat,renameat2", "signal=KILL", 1));
    assert!(killed.has_come && !killed.status.success(), "{}", killed.said);
    let passed = strace::push(&yard, &yard.src, &Fault::new("renameat,renameat2", "signal=KILL", 1_000));
    assert!(!passed.has_come && passed.status.success(), "{}", passed.said);
}
