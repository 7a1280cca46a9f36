//! What is moved at the source is renamed at the destination: no content travels.

use crate::common::tree::*;
use crate::common::{Ran, World};

/// More than a pass of renames alone may cost; much less than the contents in these tests.
const RENAMES_WIRE_BYTES: u64 = 8 * 1024;

#[track_caller]
fn sent_no_content(ran: &Ran) {
    assert_eq!(ran.n("content_bytes"), 0, "{}", ran.all());
    assert!(ran.wire() < RENAMES_WIRE_BYTES, "{}", ran.wire());
}

#[test]
fn moved_files_and_directories_send_no_content() {
    let world = World::new();
    write(world.src.join("big"), noise(1, 500_000));
    for n in 0..50 {
        write(world.src.join(format!("dir/sub/{n}")), noise(n, 5_000));
    }
    write(world.src.join("keep/x"), "x");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);

    mv(world.src.join("big"), world.src.join("keep/renamed"));
    mv(world.src.join("dir"), world.src.join("keep/moved"));
    let ran = world.push_in_step(&server, &[]);
    sent_no_content(&ran);
    assert_eq!(ran.n("moved"), 2);
}

#[test]
fn swapped_names_and_rings_of_three_send_no_content() {
    let world = World::new();
    for name in ["a", "b", "r1", "r2", "r3"] {
        write(world.src.join(name), noise(u64::from(name.as_bytes()[name.len() - 1]), 100_000));
        write(world.src.join(format!("dir {name}/in")), noise(u64::from(name.len() as u8), 90_000));
        write(world.src.join(format!("dir {name}/own")), name);
    }
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    let ring = |names: &[&str]| {
        let at = |name: &str| world.src.join(name);
        mv(at(names[names.len() - 1]), at("aside"));
        for pair in names.windows(2).rev() {
            mv(at(pair[0]), at(pair[1]));
        }
        mv(at("aside"), at(names[0]));
    };
    ring(&["a", "b"]);
    ring(&["dir a", "dir b"]);
    ring(&["r1", "r2", "r3"]);
    ring(&["dir r1", "dir r2", "dir r3"]);
    sent_no_content(&world.push_in_step(&server, &[]));
}

#[test]
fn a_file_and_a_directory_can_swap_names() {
    let world = World::new();
    write(world.src.join("x"), noise(1, 200_000));
    write(world.src.join("y/in"), noise(2, 200_000));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    mv(world.src.join("x"), world.src.join("z"));
    mv(world.src.join("y"), world.src.join("x"));
    mv(world.src.join("z"), world.src.join("y"));
    sent_no_content(&world.push_in_step(&server, &[]));
}

#[test]
fn a_log_rotation_sends_only_the_new_log() {
    let world = World::new();
    write(world.src.join("log"), noise(0, 100_000));
    for n in 1..8 {
        write(world.src.join(format!("log.{n}")), noise(n, 100_000));
    }
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    rm(world.src.join("log.7"));
    for n in (1..7).rev() {
        mv(world.src.join(format!("log.{n}")), world.src.join(format!("log.{}", n + 1)));
    }
    mv(world.src.join("log"), world.src.join("log.1"));
    write(world.src.join("log"), "a new day\n");
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < RENAMES_WIRE_BYTES, "{}", ran.wire());
    assert_eq!(ran.n("content_bytes"), 10);
}

#[test]
fn what_leaves_a_directory_before_it_is_deleted_is_moved() {
    let world = World::new();
    write(world.src.join("old/inner/precious"), noise(1, 300_000));
    write(world.src.join("old/rubbish"), "x");
    write(world.src.join("stays"), "x");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    mv(world.src.join("old/inner/precious"), world.src.join("precious"));
    rm(world.src.join("old"));
    let ran = world.push_in_step(&server, &[]);
    sent_no_content(&ran);
    assert_eq!(ran.n("moved"), 1);
}

#[test]
fn a_directory_moved_into_a_new_one_and_its_old_name_taken_again() {
    let world = World::new();
    write(world.src.join("d/big"), noise(1, 300_000));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    mkdir(world.src.join("new"));
    mv(world.src.join("d"), world.src.join("new/d"));
    write(world.src.join("d"), "now a file");
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < RENAMES_WIRE_BYTES, "{}", ran.wire());
}
