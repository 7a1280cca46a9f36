//! What a push brings over: contents, kinds, modes, times, names, holes.

use crate::common::tree::*;
use crate::common::{World, assert_same};
use std::fs;
use std::os::unix::fs::FileExt;

/// What a push with nothing to send may cost on the wire: handshake, greeting, one root.
const IDLE_WIRE_BYTES: u64 = 5 * 1024;

#[test]
fn everything_a_tree_can_hold_arrives_and_a_second_push_sends_nothing() {
    let world = World::new();
    let src = &world.src;
    write(src.join("deep/er/file"), noise(1, 300_000));
    write(src.join("small"), "hello\n");
    write(src.join("empty"), "");
    mkdir(src.join("empty dir/in it"));
    link("deep/er/file", src.join("link"));
    link("/nowhere/at all", src.join("dangling"));
    chmod(write(src.join("tool"), "#!/bin/sh\n"), 0o755);
    chmod(write(src.join("secret"), "x"), 0o400);
    chmod(mkdir(src.join("closed")), 0o500);
    set_time(src.join("small"), 1_000_000_000);
    set_time(src.join("deep"), 1_100_000_000);
    let server = world.serve(&[]);
    let first = world.push_in_step(&server, &[]);
    assert_eq!(first.n("files"), 5);
    let second = world.push_in_step(&server, &[]);
    assert_eq!(second.did(), [0; 4]);
    assert_eq!(second.n("content_bytes"), 0);
    assert!(second.wire() < IDLE_WIRE_BYTES, "{}", second.wire());
    assert_eq!(second.summary()["root"], first.summary()["root"]);
    server.stop().ended_with(0);
}

#[test]
fn names_that_are_no_text_arrive_as_they_are() {
    let world = World::new();
    let names: [&[u8]; 6] =
        [b"not utf-8 \xff\xfe", b"new\nline", b"\x1b[31mred", b" blank ", b"-rf", &[b'n'; 255]];
    for (n, name) in names.iter().enumerate() {
        write(raw(&world.src, name), format!("{n}"));
        mkdir(raw(&mkdir(world.src.join("dirs")), name));
    }
    let server = world.serve(&[]);
    let ran = world.push_in_step(&server, &[]);
    assert!(!ran.all().contains('\x1b'), "no name may steer the terminal");
    assert!(ran.events("applied").iter().any(|event| event["path_hex"].is_string()));
    assert_eq!(world.push_in_step(&server, &[]).did(), [0; 4]);
}

#[test]
fn edits_modes_and_times_are_sent_as_what_they_are() {
    let world = World::new();
    let file = write(world.src.join("d/file"), noise(1, 1_000_000));
    let other = write(world.src.join("other"), "x");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);

    let open = fs::File::options().write(true).open(&file).expect("it opens");
    open.write_all_at(b"a few bytes in the middle", 500_000).expect("it can be written");
    let edited = world.push_in_step(&server, &[]);
    assert_eq!(edited.n("changed"), 1);
    assert!(edited.wire() < 20_000, "a delta, not the file: {}", edited.wire());

    chmod(&file, 0o640);
    chmod(world.src.join("d"), 0o700);
    set_time(&other, 1_234_567_890);
    set_time(world.src.join("d"), 1_234_567_891);
    let metadata = world.push_in_step(&server, &[]);
    assert_eq!(metadata.did(), [0, 0, 0, 3]);
    assert!(metadata.wire() < IDLE_WIRE_BYTES, "no content: {}", metadata.wire());
}

#[test]
fn what_is_appended_or_cut_off_or_put_in_front_travels_alone() {
    let world = World::new();
    let content = noise(1, 1_500_000);
    let (log, cut, head) = (world.src.join("log"), world.src.join("cut"), world.src.join("head"));
    for path in [&log, &cut, &head] {
        write(path, &content);
    }
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    write(&log, [&content[..], b"one more line\n"].concat());
    write(&cut, &content[..700_000]);
    write(&head, [b"one line before\n", &content[..]].concat());
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.n("changed"), 3);
    assert!(ran.wire() < 60_000, "{}", ran.wire());
}

#[test]
fn a_name_can_change_from_any_kind_to_any_other() {
    let world = World::new();
    let kinds = ["file", "dir", "link", "full"];
    let make = |kind: &str, path: &std::path::Path| match kind {
        "file" => drop(write(path, kind)),
        "dir" => drop(mkdir(path)),
        "link" => link("somewhere", path),
        _ => drop((write(path.join("a/b"), "below"), write(path.join("c"), "below"))),
    };
    for from in kinds {
        for to in kinds {
            make(from, &world.src.join(format!("{from} to {to}")));
        }
    }
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    for from in kinds {
        for to in kinds {
            let path = world.src.join(format!("{from} to {to}"));
            rm(&path);
            make(to, &path);
        }
    }
    world.push_in_step(&server, &[]);
    assert_eq!(world.push_in_step(&server, &[]).did(), [0; 4]);
}

#[test]
fn holes_stay_holes_and_long_runs_of_zeros_become_holes() {
    let world = World::new();
    const SIZE: u64 = 8 << 20;
    let sparse = fs::File::create(world.src.join("sparse")).expect("it is made");
    sparse.set_len(SIZE).expect("it grows");
    sparse.write_all_at(b"in the middle", SIZE / 2).expect("it can be written");
    let mut zeros = vec![0; SIZE as usize];
    zeros[..5].copy_from_slice(b"begin");
    write(world.src.join("zeros"), &zeros);
    let server = world.serve(&[]);
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < 20_000, "{}", ran.wire());
    for name in ["sparse", "zeros"] {
        let bytes = disk_bytes(world.dst.join(name));
        assert!(bytes <= 256 << 10, "{name} takes {bytes} bytes there");
    }
    // A change inside leaves the rest of the hole alone.
    sparse.write_all_at(b"elsewhere", SIZE / 4).expect("it can be written");
    world.push_in_step(&server, &[]);
    assert!(disk_bytes(world.dst.join("sparse")) <= 512 << 10);
}

#[test]
fn thousands_of_small_files_arrive() {
    let world = World::new();
    for n in 0..2_000 {
        write(world.src.join(format!("{}/{}/{n}", n % 10, n % 7)), format!("file {n}\n"));
    }
    let server = world.serve(&[]);
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.n("files"), 2_000);
    write(world.src.join("3/3/3"), "changed\n");
    let again = world.push_in_step(&server, &[]);
    assert_eq!(again.n("changed"), 1);
    assert!(again.wire() < 10_000, "{}", again.wire());
    let server_said = server.stop();
    server_said.ended_with(0);
    assert!(!server_said.events("received").is_empty());
}

#[test]
fn a_copied_directory_of_small_files_does_not_travel_again() {
    let world = World::new();
    let fill = |dir: &str| {
        for n in 0..200 {
            write(world.src.join(format!("{dir}/{}/{n}", n % 7)), noise(n, 2_000));
        }
    };
    fill("project");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    fill("copied");
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.n("content_bytes"), 200 * 2_000);
    // Hashes do not squeeze: 32 bytes a file, and its name and time.
    assert!(ran.wire() < IDLE_WIRE_BYTES + 200 * 64, "{}", ran.wire());
}

#[test]
fn a_trailing_slash_means_the_same() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    let port = server.port.to_string();
    let src = format!("{}/", crate::common::text(&world.src));
    let ran = world.me.run(&["push", &src, "--host", "127.0.0.1", "--port", &port, "--json"]);
    ran.ended_with(0);
    assert_eq!(ran.did(), [0; 4]);
    assert_same(&world.src, &world.dst);
}
