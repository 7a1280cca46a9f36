//! What can go wrong: one clear sentence with the next step, and the right exit code.

use crate::common::running::{Ran, Running};
use crate::common::tree::*;
use crate::common::{World, assert_same, is_root, listed_names, text};
use std::net::TcpListener;

/// Demands one error, in one line, on standard error, and nothing else there.
#[track_caller]
fn one_sentence(ran: &Ran, code: i32) {
    ran.ended_with(code);
    assert_eq!(ran.err.len(), 1, "{:#?}", ran.err);
    assert!(ran.err[0].starts_with("error: "), "{:?}", ran.err);
    assert!(ran.err[0].len() < 400, "{:?}", ran.err);
}

#[test]
fn a_source_that_is_missing_or_no_directory_is_named() {
    let world = World::new();
    let missing = world.at("no such");
    let ran = world.me.run(&["push", text(&missing), text(&world.dst)]);
    one_sentence(&ran, 1);
    ran.says("no such").says("does not exist");
    let file = write(world.at("file"), "x");
    let ran = world.me.run(&["push", text(&file), text(&world.dst)]);
    one_sentence(&ran, 1);
    ran.says("not a directory");
    assert!(!world.dst.exists(), "nothing is made for a source that is none");
}

#[test]
fn source_and_destination_must_lie_apart() {
    let world = World::new();
    write(world.src.join("sub/a"), "a");
    let inside = world.src.join("inside");
    let ran = world.me.run(&["push", text(&world.src), text(&inside)]);
    one_sentence(&ran, 1);
    ran.says("inside");
    assert!(!inside.exists(), "nothing is made in the source");
    for (src, dst) in [(world.src.join("sub"), world.src.clone()), (world.src.clone(), world.src.clone())] {
        let ran = world.me.run(&["push", text(&src), text(&dst), "--adopt"]);
        one_sentence(&ran, 1);
        ran.says("apart");
    }
    assert_eq!(listed_names(&world.src), ["sub"]);
}

// Over a connection neither side sees the other's paths: the file was moved out of the source, and the source removed.
#[test]
fn they_must_lie_apart_also_where_they_meet_over_a_connection() {
    let world = World::new();
    let outer = write(world.at("outer/inner/file"), "precious").parent().expect("a parent").to_owned();
    let top = world.at("outer");
    let server = world.me.serve(&top, &["--adopt"]);
    let before = listed(&outer);
    for (src, says) in [(&outer, "lies inside the destination"), (&top, "is the destination")] {
        let ran = world.me.push(src, server.port, &["-a"]);
        ran.ended_with(1).says(says).says("apart");
        assert_eq!(listed(&outer), before, "the source is as it was");
        world.me.watch(src, server.port, &[]).ended().ended_with(1).says(says);
    }
    server.stop().ended_with(0);
    let around = write(world.at("around/file"), "a").parent().expect("a parent").to_owned();
    let server = world.me.serve(&around.join("dest"), &[]);
    for words in [&["-a"][..], &[]] {
        let ran = world.me.push(&around, server.port, words);
        ran.ended_with(1).says("holds the destination").says("around/dest/.strait");
    }
    world.me.watch(&around, server.port, &[]).ended().ended_with(1).says("holds the destination");
    assert_eq!(listed_names(&world.at("around/dest")), [".strait"]);
    world.me.push(&around, server.port, &["--exclude", "/dest"]).ended_with(0);
}

#[test]
fn a_destination_that_comes_into_the_source_ends_a_watch() {
    let world = World::new();
    write(world.src.join("file"), "a");
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, &[]);
    watch.wait_for_event("pass_done");
    mv(&world.dst, world.src.join("moved"));
    watch.ended().ended_with(1).says("holds the destination");
}

#[test]
fn unreadable_entries_are_named_and_the_rest_is_sent() {
    let world = World::new();
    world.open_to_all();
    let me = world.user("nobody").who_is_not_root();
    for dir in [&world.src, &mkdir(&world.dst), &mkdir(world.src.join("closed")), &mkdir(world.src.join("d"))]
    {
        me.owns(dir);
    }
    for name in ["secret", "d/open", "closed/below"] {
        me.owns(&write(world.src.join(name), name));
    }
    let words = ["push", text(&world.src), text(&world.dst), "--json"];
    me.run(&words).ended_with(0);
    // Both stood open when they were sent first: what is there stays.
    write(world.src.join("d/open"), "changed");
    write(world.src.join("secret"), "changed");
    chmod(world.src.join("secret"), 0o000);
    chmod(world.src.join("closed"), 0o000);
    let ran = me.run(&words);
    ran.ended_with(3);
    let skipped: Vec<_> = ran.events("skipped").iter().map(|event| event["path"].clone()).collect();
    assert_eq!(skipped, ["closed", "secret"], "{}", ran.all());
    assert_eq!(ran.n("partial"), 2);
    assert_eq!(std::fs::read(world.dst.join("d/open")).expect("it stands"), b"changed");
    assert_eq!(std::fs::read(world.dst.join("secret")).expect("it stands"), b"secret");
    assert!(world.dst.join("closed/below").exists());
    // In words, on standard error; also with -q.
    let words = me.run(&["push", text(&world.src), text(&world.dst), "-q"]);
    words.ended_with(3).says("skipped secret: cannot be read");
    assert_eq!((words.out.len(), words.err.len()), (0, 2), "{}", words.all());
    chmod(world.src.join("secret"), 0o644);
    chmod(world.src.join("closed"), 0o755);
    me.run(&["push", text(&world.src), text(&world.dst)]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn modes_that_close_entries_to_their_owner_arrive_without_root() {
    let world = World::new();
    world.open_to_all();
    let me = world.user("nobody").who_is_not_root();
    for dir in [&world.src, &mkdir(&world.dst), &mkdir(world.src.join("read only"))] {
        me.owns(dir);
    }
    me.owns(&write(world.src.join("read only/a"), "a"));
    chmod(world.src.join("read only"), 0o555);
    let server = me.serve(&world.dst, &[]);
    me.push(&world.src, server.port, &[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    chmod(world.src.join("read only"), 0o755);
    me.owns(&write(world.src.join("read only/b"), "b"));
    rm(world.src.join("read only/a"));
    chmod(world.src.join("read only"), 0o555);
    me.push(&world.src, server.port, &[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    for dir in [&world.src, &world.dst] {
        chmod(dir.join("read only"), 0o755);
    }
}

#[test]
fn a_destination_that_may_not_be_written_is_named() {
    let world = World::new();
    world.open_to_all();
    write(world.src.join("a"), "a");
    chmod(mkdir(&world.dst), 0o555);
    let me = world.user("nobody").who_is_not_root();
    me.owns(&world.src);
    for words in
        [&["push", text(&world.src), text(&world.dst)][..], &["serve", text(&world.dst), "--port", "0"]]
    {
        let ran = me.run(words);
        one_sentence(&ran, 1);
        ran.says("dst").says("ermission denied");
    }
    assert!(!world.dst.join("a").exists());
}

/// Runs a line of shell where mounts are private and go with the process.
fn with_own_mounts(world: &World, line: &str) -> Option<Ran> {
    let mut command = world.me.command("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // A name space of processes ends with its first one: nothing of it outlives the test.
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", line]);
    let ran = Running::start(command).ended();
    if !is_root() && ran.code == Some(1) && ran.all().contains("unshare") {
        println!("skipped: needs root or user namespaces");
        return None;
    }
    Some(ran)
}

#[test]
fn a_full_destination_keeps_the_old_and_takes_what_fits() {
    let world = World::new();
    mkdir(&world.dst);
    write(world.src.join("big"), noise(1, 1 << 20));
    write(world.src.join("small"), "old");
    let program = text(world.me.program());
    let (src, dst) = (text(&world.src), text(&world.dst));
    let line = format!(
        "mount -t tmpfs -o size=4m none '{dst}' && '{program}' push '{src}' '{dst}' -q || exit 90
        head -c 8000000 /dev/urandom > '{src}/huge'; head -c 1500000 /dev/urandom > '{src}/big'; echo new > '{src}/small'
        '{program}' push '{src}' '{dst}' --json; code=$?
        grep -q new '{dst}/small' || exit 91; [ ! -e '{dst}/huge' ] || exit 92
        [ $code = 1 ] || exit $code
        rm '{src}/huge'; '{program}' push '{src}' '{dst}' -q || exit 93
        cmp '{src}/big' '{dst}/big' || exit 94"
    );
    let Some(ran) = with_own_mounts(&world, &line) else { return };
    ran.ended_with(0).says("\"path\":\"huge\"").says("disk is full");
}

#[test]
fn a_destination_that_is_mounted_read_only_is_named() {
    let world = World::new();
    mkdir(&world.dst);
    write(world.src.join("a"), "a");
    let (program, src, dst) = (text(world.me.program()), text(&world.src), text(&world.dst));
    let line = format!("mount -t tmpfs -o ro none '{dst}' || exit 90; exec '{program}' push '{src}' '{dst}'");
    let Some(ran) = with_own_mounts(&world, &line) else { return };
    one_sentence(&ran, 1);
    ran.says("ead-only");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let ran = world.me.run(&["serve", text(&world.dst), "--host", "127.0.0.1", "--port", &port]);
    one_sentence(&ran, 1);
    ran.says(&port).says("another program listens there").says("--port");
}

#[test]
fn an_address_that_is_not_here_is_named() {
    let world = World::new();
    let ran = world.me.run(&["serve", text(&world.dst), "--host", "192.0.2.1", "--port", "0"]);
    one_sentence(&ran, 1);
    ran.says("--host");
}

#[test]
fn a_server_that_nobody_started_ends_a_push_with_6() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    drop(listener);
    let ran = world.me.run(&["push", text(&world.src), "--host", "127.0.0.1", "--port", &port]);
    ran.ended_with(6).says("strait serve").says("--port");
    assert_eq!(ran.err.len(), 2, "it says once that it waits, then that it gave up: {:#?}", ran.err);
}

#[test]
fn option_values_that_make_no_sense_are_refused_before_anything_happens() {
    let world = World::new();
    let (src, dst) = (text(&world.src), text(&world.dst));
    let push = |words: &[&str]| world.me.run(&[&["push", src][..], words].concat());
    for (words, said) in [
        (&["--bwlimit", "0"][..], "--bwlimit"),
        (&["--bwlimit", "fast"], "--bwlimit"),
        (&["--port", "0"], "--port"),
        (&["--port", "70000"], "--port"),
        (&["--port", "http"], "--port"),
        (&["--host", ""], "--host"),
        (&["--adopt"], "serve"),
        (&["--clean"], "serve"),
        (&[dst, "--adopt", "--clean"], "--clean"),
        (&[dst, "--port", "5000"], "--port"),
        (&[dst, "--rsh", "ssh"], "--rsh"),
        (&["far:x", "--rsh", "'open"], "--rsh"),
        (&["--no-delete", "--allow-mass-delete"], "--no-delete"),
        (&["--kx", "rot13"], "--kx"),
        (&["-v", "-q"], "--quiet"),
        (&["http://far/x"], "http://"),
        (&[":x"], "host"),
        (&[""], "DEST"),
        (&["--no-such-option"], "--no-such-option"),
        (&["--exclude", "a[b"], "--exclude"),
        (&["--exclude", ""], "--exclude"),
    ] {
        let ran = push(words);
        ran.ended_with(2).says(said);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{words:?}: {}", ran.all());
    }
    world.me.run(&["push", ""]).ended_with(2).says("SRC");
    world.me.run(&["serve", "far:x"]).ended_with(2).says("serve");
    world.me.run(&[]).ended_with(2);
    assert!(!world.dst.exists());
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let world = World::new();
    for verb in ["serve", "watch", "push", "key", "status", "trash", "authorized"] {
        let ran = world.me.run(&[verb, "--help"]);
        ran.ended_with(0).says("Exit codes:").says("5  not authorised").says("6  no connection");
        assert!(ran.err.is_empty());
    }
    world.me.run(&["--version"]).ended_with(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn without_a_home_it_says_what_to_set() {
    let world = World::new();
    let mut command = world.me.strait(&["push", text(&world.src), text(&world.dst)]);
    command.env_remove("HOME");
    let ran = Running::start(command).ended();
    one_sentence(&ran, 1);
    ran.says("HOME");
}

#[test]
fn what_another_file_system_at_the_destination_is_in_the_way_of_is_named() {
    let world = World::new();
    mkdir(&world.dst);
    write(world.src.join("a"), "a");
    // An entry of another file system stands where a name is wanted: it can not be replaced.
    write(world.src.join("mounted"), "a file here");
    let (program, src, dst) = (text(world.me.program()), text(&world.src), text(&world.dst));
    let line = format!(
        "mkdir '{dst}/mounted' && mount -t tmpfs none '{dst}/mounted' && touch '{dst}/mounted/x' || exit 90
        '{program}' push '{src}' '{dst}' --adopt --json; code=$?
        [ -e '{dst}/mounted/x' ] || exit 91; [ -e '{dst}/a' ] || exit 92; exit $code"
    );
    let Some(ran) = with_own_mounts(&world, &line) else { return };
    ran.ended_with(3).says("\"path\":\"mounted\"");
}
