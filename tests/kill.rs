//! `kill -9` of either side at random moments: nothing half made is ever to be seen, and after a restart
//! both sides find together by themselves, within half a minute.
//!
//! `STRAIT_CYCLES=n` makes it long, `STRAIT_SEED=n` repeats the edits (`docs/testing.md`).

mod faults;
#[path = "kill/kept.rs"]
mod kept;
#[path = "kill/load.rs"]
mod load;

use faults::edits::Editor;
use faults::shapes::{SHAPES, Shape};
use faults::stays::what_stays_is_there;
use faults::versions::{Versions, is_old_or_new};
use faults::{Rng, Running, Yard, free_port, number, tree};
use kept::Kept;
use load::Load;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many of each shape one batch holds.
const INSTANCES: usize = 4;

/// How long both sides may take to find together; longer where `STRAIT_DEADLINE` says so, in seconds.
fn patience() -> Duration {
    Duration::from_secs(number("STRAIT_DEADLINE", 30) as u64)
}

fn sleep_below(rng: &mut Rng, most_ms: usize) {
    std::thread::sleep(Duration::from_micros(rng.below(most_ms * 1_000) as u64));
}

#[test]
fn a_watch_survives_kills_of_both_sides_under_load() {
    let mut rng = Rng::seeded("kill, watch");
    let yard = Yard::new();
    let mut load = Load::new(&yard.src, yard.path.join("aside"));
    let kept = Kept::new(&yard.src, yard.path.join("kept"), &mut rng, &mut load.versions);
    let port = free_port();
    let (mut server, mut watch) = (yard.serve(port), yard.watch(port));
    yard.converges_within(patience(), "before");
    let mut n_kills = 0;
    for cycle in 0..number("STRAIT_CYCLES", 10) {
        let what = format!("cycle {cycle}");
        for _ in 0..rng.below(60) {
            load.step(&mut rng);
            if rng.chance(6) {
                kept.replace(&mut rng, &mut load.versions);
            }
            sleep_below(&mut rng, 8);
        }
        let victims = rng.below(4);
        n_kills += 1 + usize::from(victims == 1);
        if victims != 0 {
            server.kill();
            load.versions.hold_all_of(&yard.dest, &what);
            kept.are_in(&yard.dest, &load.versions, &what);
        }
        (0..rng.below(5)).for_each(|_| load.step(&mut rng));
        if victims <= 1 {
            watch.kill();
            kept.are_in(&yard.dest, &load.versions, &what);
            watch = yard.watch(port);
        }
        if victims != 0 {
            server = yard.serve(port);
        }
        // Some kills come on top of the one before.
        if !rng.chance(3) {
            yard.converges_within(patience(), &what);
            kept.are_in(&yard.dest, &load.versions, &what);
        }
    }
    // What had come of it, of any of its versions, has no use any more.
    load.put_big(&mut rng);
    yard.converges_within(patience(), "the end");
    assert!(server.is_alive() && watch.is_alive());
    watch.kill();
    yard.push(Some(port)).is_in_step("after everything");
    yard.is_in_step("after everything");
    assert_eq!(staged(&yard), [""; 0]);
    println!("{n_kills} kills under a watch");
}

#[test]
fn a_push_survives_kills_of_both_sides() {
    let mut rng = Rng::seeded("kill, push");
    let yard = Yard::new();
    let editor = Editor { root: yard.src.join("edited"), largest_bytes: 3 << 20 };
    std::fs::create_dir(&editor.root).unwrap();
    let mut versions = Versions::default();
    let kept = Kept::new(&yard.src, yard.path.join("kept"), &mut rng, &mut versions);
    let port = free_port();
    let mut server = yard.serve(port);
    yard.push(Some(port)).is_in_step("before");
    let mut n_kills = 0;
    for cycle in 0..number("STRAIT_CYCLES", 8) {
        let what = format!("cycle {cycle}");
        let old = tree::read(&yard.src);
        (0..10 + rng.below(60)).for_each(|_| editor.edit(&mut rng));
        (0..rng.below(4)).for_each(|_| kept.replace(&mut rng, &mut versions));
        let new = tree::read(&yard.src);
        versions.note_tree(&yard.src);
        // Some kills in a row: each push goes on from what the last one left.
        for _ in 0..rng.below(3) {
            let mut push = start_push(&yard, port);
            push.wait_for("\"connected\"");
            sleep_below(&mut rng, 120);
            n_kills += 1;
            if rng.chance(2) {
                push.kill();
            } else {
                server.kill();
                versions.hold_all_of(&yard.dest, &what);
                what_stays_is_there(&tree::read(&yard.dest), &old, &new)
                    .unwrap_or_else(|path| panic!("{what}: {path:?} is in both and not there"));
                server = yard.serve(port);
                push.ended_within(patience()).is_in_step(&what);
                yard.is_in_step(&what);
            }
            versions.hold_all_of(&yard.dest, &what);
            kept.are_in(&yard.dest, &versions, &what);
        }
        start_push(&yard, port).ended_within(patience()).is_in_step(&what);
        yard.is_in_step(&what);
    }
    // Of a path that is gone, what had come may be kept for a week; nothing else.
    let left = staged(&yard);
    let is_partial = |name: &&String| {
        let id = name.split_once('.').map_or("", |(id, _)| id);
        id.len() == 32 && left.contains(&format!("{id}.rec"))
    };
    assert!(left.iter().all(|name| is_partial(&name)), "{left:?}");
    println!("{n_kills} kills in pushes");
}

#[test]
fn batches_of_hard_shapes_survive_a_kill_of_the_server_in_the_middle() {
    let mut rng = Rng::seeded("kill, shapes");
    let yard = Yard::new();
    let port = free_port();
    let mut server = yard.serve(port);
    let mut n_between = 0;
    let n_cycles = number("STRAIT_CYCLES", 6);
    for cycle in 0..n_cycles {
        let what = format!("cycle {cycle}");
        for_each_shape(&yard.src, |shape, dir| {
            let _ = std::fs::remove_dir_all(dir);
            std::fs::create_dir(dir).unwrap();
            (shape.begin)(dir, &format!("version {cycle}"));
        });
        yard.push(Some(port)).is_in_step(&what);
        yard.is_in_step(&what);
        let old = tree::read(&yard.src);
        for_each_shape(&yard.src, |shape, dir| (shape.change)(dir, &format!("version {cycle}")));
        let new = tree::read(&yard.src);
        let push = start_push(&yard, port);
        wait_for_first_sight(&yard, &push, &old, &new, &mut rng);
        server.kill();
        let between = tree::read(&yard.dest);
        n_between += usize::from(between != old && between != new);
        is_old_or_new(&between, &old, &new)
            .unwrap_or_else(|path| panic!("{what}: {path:?} is neither old nor new"));
        what_stays_is_there(&between, &old, &new)
            .unwrap_or_else(|path| panic!("{what}: {path:?} is in both and not there"));
        server = yard.serve(port);
        push.ended_within(patience()).is_in_step(&what);
        yard.is_in_step(&what);
    }
    assert_eq!(staged(&yard), [""; 0]);
    println!("{n_cycles} cycles; {n_between} of {n_cycles} kills came in the middle");
}

/// Returns when one of the paths that change, any of them, is seen to have changed: in the middle.
fn wait_for_first_sight(yard: &Yard, push: &Running, old: &tree::Seens, new: &tree::Seens, rng: &mut Rng) {
    let paths: Vec<_> = old.iter().filter(|(path, seen)| new.get(*path) != Some(seen)).collect();
    let path = yard.dest.join(rng.pick(&paths).0);
    let look = || std::fs::symlink_metadata(&path).ok().map(|meta| (meta.ino(), meta.mtime_nsec()));
    let before = look();
    push.wait_for("\"connected\"");
    let until = Instant::now() + Duration::from_millis(500);
    while look() == before && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(50));
    }
    sleep_below(rng, 4);
}

/// What lies in the stage.
fn staged(yard: &Yard) -> Vec<String> {
    let entries = std::fs::read_dir(yard.dest.join(".strait/stage")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn start_push(yard: &Yard, port: u16) -> Running {
    let (src, port) = (yard.src.to_str().unwrap(), port.to_string());
    let words = ["push", src, "-a", "--allow-mass-delete", "--json", "--host", "127.0.0.1", "--port", &port];
    yard.start("push", &words)
}

/// A stage that was removed while the server ran made every file be refused until that was started again.
#[test]
fn a_server_that_lost_its_stage_makes_another() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    std::fs::write(yard.src.join("old"), "old").unwrap();
    yard.push(Some(port)).is_in_step("before");
    std::fs::remove_dir(yard.dest.join(".strait/stage")).unwrap();
    std::fs::write(yard.src.join("small"), "small").unwrap();
    std::fs::write(yard.src.join("large"), vec![7; 300_000]).unwrap();
    std::os::unix::fs::symlink("old", yard.src.join("link")).unwrap();
    yard.push(Some(port)).is_in_step("with the stage removed");
    yard.is_in_step("with the stage removed");
}

fn for_each_shape(src: &Path, work: impl Fn(&Shape, &Path)) {
    for shape in &SHAPES {
        for instance in 0..INSTANCES {
            work(shape, &src.join(format!("{}-{instance}", shape.name)));
        }
    }
}
