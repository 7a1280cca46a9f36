//! Batches that are hard to send in order, with a kill before every step: swaps, rings, a rotation of logs, names that
//! change their kind, moves out of what goes, delete and make again.

use super::Stage;
use crate::faults::shapes::SHAPES;
use crate::scenes::Scene;
use crate::strace::{Fault, can_trace};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

const SCENE: Scene = Scene { name: "steps", build, is_first: false, is_broken_off: false };

/// Calls that take a step: what changes names, and in the long form what else there is.
const RENAMES: &str = "rename,renameat,renameat2";
const OTHERS: [&str; 3] = ["mkdir,mkdirat", "unlink,unlinkat", "linkat,symlinkat"];

/// All shapes side by side: before, and after. The way back is another hard batch.
fn build(dir: &Path, version: usize) {
    for shape in &SHAPES {
        let dir = dir.join(shape.name);
        fs::create_dir(&dir).unwrap();
        (shape.begin)(&dir, "one version");
        if version == 1 {
            (shape.change)(&dir, "one version");
        }
    }
    // What only moves has one time in both versions.
    set_times(dir);
}

fn set_times(dir: &Path) {
    for found in fs::read_dir(dir).unwrap() {
        let path = found.unwrap().path();
        if path.is_dir() {
            set_times(&path);
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::open(path).unwrap().set_modified(time).unwrap();
    }
}

/// Kills there and back before the n-th of these calls, for every n; returns how many there are.
fn kill_before_each(stage: &mut Stage, calls: &str) -> usize {
    let mut n = 1;
    loop {
        let fault = Fault::new(calls, "signal=KILL", n);
        let has_come = [stage.goes_on_after(&fault), stage.goes_on_after(&fault)];
        if has_come == [false, false] {
            return n - 1;
        }
        n += 1;
    }
}

#[test]
fn hard_batches_survive_a_kill_before_every_step() {
    if !can_trace() {
        return println!("skipped: needs strace with --seccomp-bpf, and the right to trace");
    }
    let mut stage = Stage::new(&SCENE);
    let n_renames = kill_before_each(&mut stage, RENAMES);
    // A swap is one, the rotation eight; the shapes have more than two each on the whole.
    assert!(n_renames > 2 * SHAPES.len(), "{n_renames} renames");
    if std::env::var("STRAIT_CALLS").is_ok_and(|calls| calls == "all") {
        for calls in OTHERS {
            println!("steps: {calls}: {} times", kill_before_each(&mut stage, calls));
        }
    }
    stage.tells();
}
