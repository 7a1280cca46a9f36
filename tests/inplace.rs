//! `--inplace`, as users see it: the same file, the old or the new version after `kill -9`.

mod common;

use common::tree::{noise, set_time, write};
use common::{DEADLINE, World, assert_same};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

const MIB: usize = 1 << 20;
const WORDS: [&str; 1] = ["--inplace=4M"];

/// Whether files on the file system of `dir` can be clones of each other: then nothing is written in place.
fn clones(dir: &Path) -> bool {
    let (one, other) = (write(dir.join("probe"), b"x"), dir.join("probe-clone"));
    let one = std::fs::File::open(one).unwrap();
    let clones = rustix::fs::ioctl_ficlone(std::fs::File::create(&other).unwrap(), one).is_ok();
    ["probe", "probe-clone"].into_iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
    clones
}

impl World {
    fn that_does_not_clone() -> Option<Self> {
        let world = Self::new();
        if clones(world.src.parent().unwrap()) {
            println!("skipped: needs a temporary directory that does not clone");
            return None;
        }
        Some(world)
    }
}

fn has_record(world: &World) -> bool {
    let Ok(stage) = std::fs::read_dir(world.dst.join(".strait/stage")) else { return false };
    stage.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".over"))
}

#[test]
fn a_large_file_stays_the_same_file() {
    let Some(world) = World::that_does_not_clone() else { return };
    let file = write(world.src.join("f"), noise(1, 8 * MIB));
    let small = write(world.src.join("small"), noise(2, MIB));
    let server = world.serve(&WORDS);
    world.push_in_step(&server, &[]);
    let ino = |name: &str| std::fs::metadata(world.dst.join(name)).unwrap().ino();
    let before = (ino("f"), ino("small"));
    for path in [&file, &small] {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&noise(3, 9_000), 500_000).unwrap();
    }
    world.push_in_step(&server, &[]);
    assert_eq!(ino("f"), before.0, "written over");
    assert_ne!(ino("small"), before.1, "made anew");
    // Without the option the next server makes it anew as well.
    drop(server);
    let server = world.serve(&[]);
    set_time(&file, 1_700_000_000);
    std::fs::File::options().write(true).open(&file).unwrap().write_all_at(b"end", 7_000_000).unwrap();
    world.push_in_step(&server, &[]);
    assert_ne!(ino("f"), before.0);
}

#[test]
fn a_huge_file_is_written_over_where_it_changed() {
    let Some(world) = World::that_does_not_clone() else { return };
    // Beyond 16 GiB larger nodes are kept of a file.
    let (size, at) = ((17 << 30) + 99, (17 << 29) - 5_000);
    let bytes = noise(4, MIB);
    let file = std::fs::File::create(world.src.join("f")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&bytes, at).unwrap();
    let server = world.serve(&WORDS);
    world.push(&server, &[]).ended_with(0);
    let ino = world.dst.join("f").metadata().unwrap().ino();
    file.write_all_at(b"edit", at + 500_000).unwrap();
    world.push(&server, &[]).ended_with(0);
    let held = std::fs::File::open(world.dst.join("f")).unwrap();
    let mut range = vec![0; MIB];
    held.read_exact_at(&mut range, at).unwrap();
    assert!(range == [&bytes[..500_000], b"edit", &bytes[500_004..]].concat());
    let meta = held.metadata().unwrap();
    assert_eq!((meta.ino(), meta.len()), (ino, size));
    assert!(meta.blocks() * 512 < 4 * MIB as u64, "its holes are holes");
}

#[test]
fn a_kill_while_a_file_is_written_over_leaves_the_new_one_after_a_restart() {
    let Some(world) = World::that_does_not_clone() else { return };
    let (size, mut n_mixed) = (48 * MIB, 0);
    let mut bytes = noise(10, size);
    let file = write(world.src.join("f"), &bytes);
    world.push_in_step(&world.serve(&WORDS), &[]);
    for round in 0..4 {
        let old = bytes.clone();
        bytes[4 * MIB..size - 4 * MIB].copy_from_slice(&noise(11 + round, size - 8 * MIB));
        write(&file, &bytes);
        let server = world.serve(&WORDS);
        let push =
            world.me.start(&["push", common::text(&world.src), "-a", "--port", &server.port.to_string()]);
        // Killed as soon as its first new bytes are seen.
        let dest = std::fs::File::open(world.dst.join("f")).unwrap();
        let until = Instant::now() + DEADLINE;
        let mut first = [0; 16];
        while first != bytes[4 * MIB..4 * MIB + 16] {
            assert!(Instant::now() < until, "round {round}: it is not written over");
            dest.read_exact_at(&mut first, 4 * MIB as u64).unwrap();
            std::thread::yield_now();
        }
        server.running.kill();
        push.kill();
        let between = std::fs::read(world.dst.join("f")).unwrap();
        n_mixed += usize::from(between != old && between != bytes);
        let was_recorded = has_record(&world);
        let server = world.serve(&WORDS);
        let seen = std::fs::read(world.dst.join("f")).unwrap();
        assert!(seen == old || seen == bytes, "round {round}: neither old nor new before anything was sent");
        assert!(!was_recorded || seen == bytes || between == old, "round {round}: what was begun is ended");
        world.push_in_step(&server, &[]);
        assert_same(&world.src, &world.dst);
    }
    println!("{n_mixed} of 4 kills fell between both versions");
}
