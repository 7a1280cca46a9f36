//! Which directories a server takes, and what happens when two meet.

use crate::common::tree::*;
use crate::common::{Running, World, assert_same, listed_names, text, wait_until};
use std::net::TcpListener;
use std::path::Path;

#[test]
fn an_empty_directory_is_taken() {
    let world = World::new();
    write(world.src.join("a"), "a");
    mkdir(&world.dst);
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
}

#[test]
fn a_missing_one_is_made_but_not_its_parents() {
    let world = World::new();
    let far = world.at("no/such/parent");
    let ran = world.me.run(&["serve", text(&far), "--port", "0"]);
    ran.ended_with(1).says("parent").says("make it first");
    assert!(!world.at("no").exists());
    let server = world.serve(&[]);
    assert!(world.dst.is_dir());
    server.stop().ended_with(0);
}

#[test]
fn one_that_is_not_empty_is_refused_and_not_touched() {
    let world = World::new();
    write(world.dst.join("precious"), "x");
    set_time(&world.dst, 1_000_000_000);
    let before = listed(&world.dst);
    let ran = world.me.run(&["serve", text(&world.dst), "--port", "0"]);
    ran.ended_with(1).says("--clean").says("--adopt").says("not empty");
    assert_eq!(listed(&world.dst), before);
    assert_eq!(listed_names(&world.dst), ["precious"]);
    let time = std::fs::metadata(&world.dst).and_then(|meta| meta.modified()).expect("it stands");
    let since = time.duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    assert_eq!(since.as_secs(), 1_000_000_000, "not even its time is touched");
}

#[test]
fn a_destination_that_is_a_file_is_refused() {
    let world = World::new();
    write(&world.dst, "x");
    let ran = world.me.run(&["serve", text(&world.dst), "--port", "0"]);
    ran.ended_with(1).says("not a directory");
    assert_eq!(std::fs::read(&world.dst).expect("it stands"), b"x");
}

#[test]
fn clean_empties_it_first() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.dst.join("rubbish/deep"), "x");
    write(world.dst.join(".hidden"), "x");
    let server = world.serve(&["--clean"]);
    assert_eq!(listed_names(&world.dst), [".strait"]);
    world.push_in_step(&server, &[]);
}

// It was emptied, marked or made before the key was read and the port was bound.
#[test]
fn a_start_that_fails_leaves_the_destination_as_it_was() {
    let world = World::new();
    write(world.dst.join("precious"), "x");
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = busy.local_addr().expect("an address").port().to_string();
    let lost = world.at("no/such/key");
    let failing = [
        (["--port", &port], 1),
        (["--host", "192.0.2.1"], 1),
        (["--identity", text(&lost)], 1),
        (["--authorize", "rubbish"], 2),
    ];
    let before = listed(&world.dst);
    for (words, code) in failing {
        for found in ["--clean", "--adopt"] {
            let mut all = vec!["serve", text(&world.dst), found];
            all.extend(words);
            if words[0] != "--port" {
                all.extend(["--port", "0"]);
            }
            world.me.run(&all).ended_with(code);
            assert_eq!(listed(&world.dst), before, "{words:?} {found}");
        }
        let missing = world.at("missing");
        let host = if words[0] == "--port" { vec![] } else { vec!["--port", "0"] };
        world.me.run(&[&["serve", text(&missing)], &words[..], &host].concat()).ended_with(code);
        assert!(!missing.exists(), "{words:?}");
    }
}

#[test]
fn clean_never_empties_a_home_directory_or_one_that_holds_the_source() {
    let world = World::new();
    write(world.me.home.join("precious"), "x");
    for dest in [world.me.home.clone(), world.at("")] {
        let ran = world.me.run(&["serve", text(&dest), "--port", "0", "--clean"]);
        ran.ended_with(1).says("never emptied");
        assert!(world.me.home.join("precious").exists());
        assert!(!dest.join(".strait").exists());
    }
    write(world.at("tree/src/a"), "a");
    let (src, tree) = (world.at("tree/src"), world.at("tree"));
    let ran = world.me.run(&["push", text(&src), text(&tree), "--clean"]);
    ran.ended_with(1).says("source");
    assert!(src.join("a").exists());
    assert!(!tree.join(".strait").exists());
}

#[test]
fn clean_never_empties_one_that_holds_the_state() {
    let world = World::new();
    let state = mkdir(world.dst.join("my state"));
    write(world.dst.join("precious"), "x");
    let serve = |dst: &Path, state: &str| {
        world.me.run(&["serve", text(dst), "--port", "0", "--clean", "--state", state])
    };
    serve(&world.dst, text(&state)).ended_with(1).says("state");
    // A relative name, or one through a symlink, was not recognised.
    serve(&world.dst, "../dst/my state").ended_with(1).says("state");
    link("dst/my state", world.at("elsewhere"));
    serve(&world.dst, text(&world.at("elsewhere/not there yet"))).ended_with(1).says("state");
    assert!(world.dst.join("precious").exists());
    // Nor were this user's own keys.
    world.me.run(&["key"]).ended_with(0);
    let config = world.me.home.join(".config");
    world.me.run(&["serve", text(&config), "--port", "0", "--clean"]).ended_with(1).says("keys");
    assert!(config.join("strait/identity").exists());
}

#[test]
fn adopt_keeps_what_is_there_and_uses_it_as_basis() {
    let world = World::new();
    let content = noise(1, 1_000_000);
    write(world.src.join("same"), noise(2, 500_000));
    write(world.dst.join("same"), noise(2, 500_000));
    write(world.src.join("like"), [&content[..], b"and more"].concat());
    write(world.dst.join("like"), &content);
    write(world.src.join("elsewhere"), noise(3, 400_000));
    write(world.dst.join("old name"), noise(3, 400_000));
    write(world.dst.join("foreign"), "x");
    let server = world.serve(&["--adopt"]);
    let ran = world.push_in_step(&server, &[]);
    assert!(ran.wire() < 60_000, "{}", ran.wire());
    assert_eq!(world.push_in_step(&server, &[]).did(), [0; 4]);
}

/// Bytes that a process has read so far.
fn n_read(id: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{id}/io")).expect("it runs");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("the kernel counts");
    line.parse().expect("a number")
}

#[test]
fn what_is_adopted_is_hashed_in_the_background_and_a_restart_in_the_middle_goes_on() {
    const FILE_BYTES: usize = 2 << 20;
    const N_FILES: usize = 24;
    let world = World::new();
    for index in 0..N_FILES {
        let content = noise(index as u64, FILE_BYTES);
        write(world.dst.join(format!("d{}/f{index}", index % 5)), &content);
        write(world.src.join(format!("d{}/f{index}", index % 5)), content);
    }
    let server = world.serve(&["--adopt"]);
    let progress = server.running.wait_for_event("scanning");
    let n_hashed = progress["bytes_hashed"].as_u64().expect("a number");
    assert!(n_hashed > 0 && progress["bytes_to_hash"] == (N_FILES * FILE_BYTES) as u64, "{progress}");
    server.stop().ended_with(0);
    // It is strait's own now: nothing need be said again.
    let server = world.serve(&[]);
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.did()[..3], [0; 3], "nothing was sent");
    // Of a file that was not read to its end nothing is kept: one for each core.
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (N_FILES + n_cores) * FILE_BYTES + (8 << 20) - n_hashed as usize;
    let n_read = n_read(server.running.id());
    assert!(n_read <= most as u64, "{n_read} bytes were read after {n_hashed} were hashed before");
}

#[test]
fn hashing_goes_on_when_a_client_that_needed_a_part_of_it_has_left() {
    const FILE_BYTES: usize = 4 << 20;
    const N_DIRS: usize = 30;
    let world = World::new();
    for index in 0..N_DIRS {
        write(world.dst.join(format!("d{index}/f")), noise(index as u64, FILE_BYTES));
    }
    write(world.src.join("d7/f"), noise(7, FILE_BYTES));
    let server = world.serve(&["--adopt"]);
    let mut words = Vec::new();
    let others: Vec<String> =
        (0..N_DIRS).filter(|index| *index != 7).map(|index| format!("/d{index}")).collect();
    others.iter().for_each(|other| words.extend(["--exclude", other.as_str()]));
    let ran = world.push(&server, &words);
    assert_eq!(ran.ended_with(0).did()[0], 0, "no file was sent");
    let id = server.running.id();
    let n_when_left = n_read(id);
    assert!(n_when_left < (N_DIRS * FILE_BYTES) as u64, "all was hashed before it left: {n_when_left}");
    wait_until("everything is hashed", || n_read(id) > (N_DIRS * FILE_BYTES) as u64);
    server.stop().ended_with(0);
}

#[test]
fn the_server_tells_of_directories_whose_mode_alone_changed() {
    let world = World::new();
    write(world.src.join("d/f"), "f");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    chmod(world.src.join("d"), 0o700);
    world.push_in_step(&server, &[]);
    let received = server.stop().events("received");
    let told: Vec<_> =
        received.iter().map(|told| (told["changed"].clone(), told["metadata"].clone())).collect();
    assert_eq!(told, [(2.into(), 0.into()), (0.into(), 1.into())]);
}

#[test]
fn a_restart_on_its_own_destination_goes_on() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 300_000));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    server.stop().ended_with(0);
    for words in [&[][..], &["--adopt"]] {
        let server = world.serve(words);
        let ran = world.push_in_step(&server, &[]);
        assert_eq!(ran.did(), [0; 4]);
        server.stop().ended_with(0);
    }
}

#[test]
fn state_elsewhere_leaves_none_in_the_destination() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let state = world.at("state");
    let server = world.serve(&["--state", text(&state)]);
    world.push_in_step(&server, &[]);
    assert!(state.is_dir() && !world.dst.join(".strait/state").exists());
}

#[test]
fn a_second_server_on_a_destination_is_refused() {
    let world = World::new();
    let first = world.serve(&[]);
    let second = world.me.run(&["serve", text(&world.dst), "--port", "0"]);
    second.ended_with(6).says("another strait");
    write(world.src.join("a"), "a");
    world.push_here(&[]).ended_with(6).says("another strait");
    world.push_in_step(&first, &[]);
}

#[test]
fn a_second_client_is_told_who_holds_the_destination() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, &[]);
    watch.wait_for_event("pass_done");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux says it");
    let busy = world.push(&server, &[]);
    busy.ended_with(6).says("busy").says(host.trim());
    // It only looks: that needs no turn.
    world.push(&server, &["--dry-run"]).ended_with(0);
    watch.interrupt().ended_with(0);
    world.push_in_step(&server, &[]);
}

#[test]
fn a_server_tells_a_client_of_a_destination_that_vanished() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    mv(&world.dst, world.at("elsewhere"));
    write(world.src.join("b"), "b");
    // The server holds the directory itself, wherever its name went: either it goes on there, or it says so.
    let ran = world.push(&server, &[]);
    match ran.code {
        Some(0) => assert_same(&world.src, &world.at("elsewhere")),
        _ => drop(ran.says("destination")),
    }
    assert!(!world.dst.exists());
}

/// It went on and refused every file.
#[test]
fn a_server_whose_own_folder_is_removed_ends_and_says_so() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    let watch = world.me.watch(&world.src, server.port, &[]);
    watch.wait_for_event("pass_done");
    rm(world.dst.join(".strait"));
    write(world.src.join("b"), "b");
    let port = server.port;
    server.running.ended().ended_with(1).says("`.strait` at the destination was removed or replaced");
    // The client waits, as for every server that is away, and goes on when it is back.
    let server = world.me.serve_at(&world.dst, port, &["--adopt"]);
    wait_until("the second file arrives", || world.dst.join("b").exists());
    drop((watch, server));
}

#[test]
fn its_threads_share_two_heaps_unless_another_number_is_asked_for() {
    let world = World::new();
    let heaps = |running: &Running| {
        running.wait_for_event("listening");
        let environment = std::fs::read(format!("/proc/{}/environ", running.id())).expect("it runs");
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        variables.find_map(|one| one.strip_prefix("MALLOC_ARENA_MAX=").map(str::to_owned))
    };
    let serve =
        || world.me.strait(&["serve", text(&world.dst), "--host", "127.0.0.1", "--port", "0", "--json"]);
    let usual = Running::start(serve());
    assert_eq!(heaps(&usual).as_deref(), Some("2"));
    usual.interrupt().ended_with(0);
    let mut command = serve();
    command.env("MALLOC_ARENA_MAX", "7");
    assert_eq!(heaps(&Running::start(command)).as_deref(), Some("7"));
}
