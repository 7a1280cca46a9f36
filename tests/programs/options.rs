//! What the options of `push` change.

use crate::common::tree::*;
use crate::common::{World, assert_same, is_root, text};
use std::time::Instant;

#[test]
fn hidden_names_are_skipped_and_counted_unless_asked_for() {
    let world = World::new();
    write(world.src.join("seen"), "x");
    write(world.src.join(".hidden"), "x");
    write(world.src.join("d/.git/config"), "x");
    let server = world.serve(&[]);
    let ran = world.push(&server, &[]);
    ran.ended_with(0);
    assert_eq!(ran.n("hidden"), 2);
    assert!(world.dst.join("seen").exists() && !world.dst.join(".hidden").exists());
    assert!(!world.dst.join("d/.git").exists());
    world.push_in_step(&server, &["-a"]);
    // Out of scope again: left alone there, neither compared nor deleted.
    rm(world.src.join(".hidden"));
    world.push(&server, &[]).ended_with(0);
    assert!(world.dst.join(".hidden").exists());
    world.push_in_step(&server, &["-a"]);
}

#[test]
fn excluded_names_are_neither_sent_nor_touched_there() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("b.tmp"), "here");
    write(world.src.join("d/c.tmp"), "here");
    write(world.src.join("cache/x"), "here");
    write(world.dst.join("b.tmp"), "there");
    write(world.dst.join("only-there.tmp"), "there");
    let server = world.serve(&["--adopt"]);
    let ran = world.push(&server, &["--exclude", "*.tmp", "--exclude", "/cache"]);
    ran.ended_with(0);
    assert_eq!(ran.n("excluded"), 3);
    assert_eq!(std::fs::read(world.dst.join("b.tmp")).expect("it stands"), b"there");
    assert!(world.dst.join("only-there.tmp").exists());
    assert!(!world.dst.join("d/c.tmp").exists() && !world.dst.join("cache").exists());
    let second = world.push(&server, &["--exclude", "*.tmp", "--exclude", "/cache"]);
    assert_eq!(second.ended_with(0).did(), [0; 4]);
    world.push_in_step(&server, &[]);
}

#[test]
fn a_removed_directory_that_holds_excluded_names_stays_and_is_named() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("d/plain"), "x");
    let server = world.serve(&[]);
    world.push(&server, &["--exclude", "*.keep"]).ended_with(0);
    write(world.dst.join("d/there.keep"), "there");
    rm(world.src.join("d"));
    let ran = world.push(&server, &["--exclude", "*.keep"]);
    ran.ended_with(0).says("d stays at the destination");
    assert!(world.dst.join("d/there.keep").exists() && !world.dst.join("d/plain").exists());
    assert_eq!(world.push(&server, &["--exclude", "*.keep"]).ended_with(0).did(), [0; 4]);
    world.push_in_step(&server, &[]);
}

#[test]
fn a_dry_run_lists_and_sends_nothing() {
    let world = World::new();
    write(world.src.join("changed"), noise(1, 200_000));
    write(world.src.join("gone"), "x");
    write(world.src.join("moved"), noise(2, 50_000));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    write(world.src.join("changed"), noise(3, 200_000));
    write(world.src.join("new"), noise(4, 200_000));
    rm(world.src.join("gone"));
    mv(world.src.join("moved"), world.src.join("elsewhere"));
    let before = listed(&world.dst);
    let ran = world.push(&server, &["--dry-run"]);
    ran.ended_with(0);
    assert_eq!(listed(&world.dst), before);
    let mut planned: Vec<String> = ran
        .events("planned")
        .iter()
        .map(|event| format!("{} {}", event["change"].as_str().unwrap(), event["path"].as_str().unwrap()))
        .collect();
    planned.sort();
    assert_eq!(planned, ["create new", "move elsewhere", "remove gone", "update changed"]);
    assert!(ran.wire() < 10_000, "{}", ran.wire());
    let words = world.me.run(&[
        "push",
        text(&world.src),
        "--host",
        "127.0.0.1",
        "--port",
        &server.port.to_string(),
        "-n",
    ]);
    words.ended_with(0).says("would add new (195 KiB)").says("would delete gone").says("nothing was sent");
    words.says_nothing_of("in step");
    world.push_in_step(&server, &[]);
    let nothing = world.push(&server, &["--dry-run"]);
    assert!(nothing.ended_with(0).events("planned").is_empty());
}

#[test]
fn the_bandwidth_limit_holds_roughly() {
    let world = World::new();
    write(world.src.join("noise"), noise(1, 600 << 10));
    let server = world.serve(&[]);
    let started = Instant::now();
    world.push_in_step(&server, &["--bwlimit", "300K"]);
    let took_ms = started.elapsed().as_millis();
    assert!((1_200..8_000).contains(&took_ms), "600 KiB at 300 KiB/s took {took_ms} ms");
}

#[test]
fn no_delete_keeps_what_is_gone_here() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("b"), "b");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    rm(world.src.join("b"));
    let ran = world.push(&server, &["--no-delete"]);
    assert!(world.dst.join("b").exists());
    assert_eq!(ran.ended_with(0).n("deleted"), 0);
    world.push_in_step(&server, &[]);
}

// The summary counted one entry that was not in step, and none was named.
#[test]
fn no_delete_names_what_it_keeps_in_the_way() {
    let world = World::new();
    write(world.src.join("d/e"), "e");
    write(world.src.join("f"), "f");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("d"));
    write(world.src.join("d"), "a file");
    rm(world.src.join("f"));
    write(world.src.join("f/g"), "below a directory");
    let ran = world.push_here(&["--no-delete"]);
    assert_eq!(ran.ended_with(3).n("partial"), 2);
    let named = ran.events("skipped");
    assert_eq!(named.iter().map(|event| &event["path"]).collect::<Vec<_>>(), ["d", "f"]);
    assert!(world.dst.join("d/e").exists() && world.dst.join("f").is_file());
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

// It was said that the destination does not tell the name from itself.
#[test]
fn a_file_in_place_of_a_directory_that_holds_excluded_names_is_refused_for_its_kind() {
    let world = World::new();
    write(world.src.join("d/a"), "a");
    write(world.src.join("d/b.keep"), "b");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("d"));
    write(world.src.join("d"), "a file");
    let ran = world.push_here(&["--exclude", "*.keep"]);
    ran.ended_with(3).says("something of another kind has its name").says_nothing_of("does not tell");
    assert!(world.dst.join("d/b.keep").exists());
}

#[test]
fn a_mass_delete_is_held_until_it_is_allowed() {
    let world = World::new();
    for n in 0..150 {
        write(world.src.join(format!("d/{n}")), format!("{n}"));
    }
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    rm(world.src.join("d"));
    write(world.src.join("new"), "x");
    let held = world.push(&server, &[]);
    held.ended_with(4).says("--allow-mass-delete");
    assert_eq!(held.events("held").len(), 1);
    assert!(held.summary()["held"].is_string());
    assert!(world.dst.join("d/17").exists(), "nothing is deleted");
    assert!(world.dst.join("new").exists(), "all else goes on");
    world.push_in_step(&server, &["--allow-mass-delete"]);
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let ran = world.me.run(&["push", text(&world.src), text(&world.dst), "-q"]);
    assert_eq!(ran.ended_with(0).all(), "");
    assert_same(&world.src, &world.dst);
}

#[test]
fn json_lines_are_versioned_and_end_with_the_outcome() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let ran = world.push_here(&[]);
    for line in &ran.ended_with(0).out {
        let event: serde_json::Value = serde_json::from_str(line).expect("each line is an object");
        assert_eq!(event["v"], 1);
        assert!(event["at_ms"].is_u64());
    }
    let end = ran.events("end");
    assert_eq!((&end[0]["outcome"], &end[0]["exit_code"]), (&"in_step".into(), &0.into()));
    assert!(ran.out.last().expect("lines").contains("\"end\""));
    assert!(ran.err.is_empty());
}

#[test]
fn what_is_not_carried_over_is_said_once_and_counted() {
    let world = World::new();
    write(world.src.join("one"), "two names");
    std::fs::hard_link(world.src.join("one"), world.src.join("two")).expect("a second name");
    write(world.src.join("sticky"), "x");
    chmod(world.src.join("sticky"), 0o1644);
    let fifo = std::process::Command::new("mkfifo").arg(world.src.join("fifo")).status();
    assert!(fifo.is_ok_and(|status| status.success()));
    let mut words = vec!["2 files have more than one name", "1 entry has setuid, setgid or sticky bits"];
    let (file, dir) = (write(world.src.join("marked"), "x"), mkdir(world.src.join("directory")));
    let mark = |path| rustix::fs::setxattr(path, "user.mark", b"1", rustix::fs::XattrFlags::empty());
    match (mark(&file), mark(&dir)) {
        (Ok(()), Ok(())) => words.push("2 entries have extended attributes or ACLs"),
        _ => println!("extended attributes are not kept here"),
    }
    if is_root() {
        std::os::unix::fs::chown(world.src.join("sticky"), Some(12_345), None).expect("another owner");
        words.push("1 entry belongs to another owner");
    }
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, &[]);
    let first = watch.wait_for_event("pass_done");
    assert_eq!(first["special"], 1);
    assert_same_but_for_special(&world);
    write(world.src.join("later"), "x");
    watch.wait_for_nth("pass_done", 2);
    let ran = watch.interrupt();
    ran.ended_with(0);
    let notes: Vec<String> = ran.events("note").iter().map(|note| note["text"].to_string()).collect();
    for words in words {
        assert_eq!(notes.iter().filter(|note| note.contains(words)).count(), 1, "{words}: {notes:?}");
    }
}

/// What can be carried over is there, the rest is not.
fn assert_same_but_for_special(world: &World) {
    assert!(!world.dst.join("fifo").exists());
    assert_eq!(std::fs::read(world.dst.join("two")).expect("a file of its own"), b"two names");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.dst.join("sticky")).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o7777, 0o644);
}
