//! What stands elsewhere at the destination need not travel: parts of other files, old names, likely names.

use crate::common::World;
use crate::common::tree::*;

/// Two files of noise of 2 MiB, and a third made of parts of both with something new between.
fn parts(world: &World) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (one, two) = (noise(1, 2 << 20), noise(2, 2 << 20));
    write(world.src.join("one"), &one);
    write(world.src.join("two"), &two);
    let made = [&one[300_001..1_700_000], &noise(3, 5_000)[..], &two[100_003..1_900_000]].concat();
    (one, two, made)
}

#[test]
fn a_new_file_made_of_parts_of_others_costs_what_is_new_and_the_chunks_at_the_seams() {
    let world = World::new();
    let (_, _, made) = parts(&world);
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    write(world.src.join("d/made"), &made);
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < 600_000, "{} of {}", ran.wire(), made.len());
    assert!(ran.n("by_chunks") > made.len() as u64 / 2, "{}", ran.summary());
    assert_eq!(ran.n("by_chunks") + ran.n("by_blocks") + ran.n("literal"), made.len() as u64);
}

#[test]
fn a_client_that_knows_nothing_asks_which_chunks_are_held() {
    let world = World::new();
    let (_, _, made) = parts(&world);
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    write(world.src.join("d/made"), &made);
    rm(world.me.home.join(".local/state/strait"));
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < 700_000, "{} of {}", ran.wire(), made.len());
    assert!(ran.n("by_chunks") > made.len() as u64 / 2, "{}", ran.summary());
}

#[test]
fn a_dump_under_a_new_name_leans_on_the_last_one_though_no_chunk_is_the_same() {
    let world = World::new();
    let old = noise(4, 1 << 20);
    write(world.src.join("dumps/db-2026-11-23.sql"), &old);
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    // A byte more in every 10,000: every chunk is another.
    let new: Vec<u8> = old.chunks(10_000).flat_map(|piece| [piece, b"+"].concat()).collect();
    write(world.src.join("dumps/db-2026-11-24.sql"), &new);
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < new.len() as u64 / 5, "{} of {}", ran.wire(), new.len());
    assert!(ran.n("by_blocks") > new.len() as u64 / 10 * 9, "{}", ran.summary());
}

#[test]
fn a_log_that_is_rotated_and_written_on_costs_what_was_written() {
    let world = World::new();
    let log = noise(5, 1_500_000);
    write(world.src.join("app.log"), &log);
    write(world.src.join("app.log.1"), noise(6, 1_500_000));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    mv(world.src.join("app.log.1"), world.src.join("app.log.2"));
    write(world.src.join("app.log.1"), [&log[..], b"a last line\n"].concat());
    write(world.src.join("app.log"), noise(7, 100_000));
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < 200_000, "{}", ran.wire());
}
