//! What somebody else does at the destination is found and repaired by the next push, the source unchanged.

use crate::common::tree::*;
use crate::common::{Server, World};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// A world in step, its server still running, with something of every kind.
fn in_step() -> (World, Server) {
    let world = World::new();
    write(world.src.join("file"), noise(1, 100_000));
    write(world.src.join("d/below"), "below");
    write(world.src.join("d/e/deep"), "deep");
    link("file", world.src.join("link"));
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    (world, server)
}

/// Pushes twice: the first repairs, the second has nothing left to do.
#[track_caller]
fn is_repaired(world: &World, server: &Server) {
    let ran = world.push_in_step(server, &[]);
    assert_ne!(ran.did(), [0; 4]);
    assert_eq!(world.push_in_step(server, &[]).did(), [0; 4]);
}

#[test]
fn an_edited_file_is_repaired() {
    let (world, server) = in_step();
    write(world.dst.join("file"), "somebody's own");
    write(world.dst.join("d/below"), "other");
    is_repaired(&world, &server);
}

#[test]
fn an_edit_that_keeps_size_and_time_is_repaired() {
    let (world, server) = in_step();
    let path = world.dst.join("d/below");
    let time = std::fs::metadata(&path).and_then(|meta| meta.modified()).expect("it stands");
    write(&path, "BELOW");
    let file = std::fs::File::options().write(true).open(&path).expect("it opens");
    file.set_modified(time).expect("its time can be set");
    is_repaired(&world, &server);
}

#[test]
fn what_was_deleted_comes_back() {
    let (world, server) = in_step();
    rm(world.dst.join("d"));
    rm(world.dst.join("link"));
    is_repaired(&world, &server);
}

#[test]
fn what_was_added_goes_again() {
    let (world, server) = in_step();
    write(world.dst.join("d/foreign/deep/x"), "x");
    write(world.dst.join("foreign"), "x");
    link("x", world.dst.join("d/foreign link"));
    is_repaired(&world, &server);
}

#[test]
fn changed_modes_and_times_are_set_again() {
    let (world, server) = in_step();
    chmod(world.dst.join("file"), 0o600);
    chmod(world.dst.join("d"), 0o777);
    set_time(world.dst.join("d/e/deep"), 5);
    set_time(world.dst.join("d/e"), 6);
    is_repaired(&world, &server);
}

#[test]
fn other_kinds_in_the_place_of_entries_are_replaced() {
    let (world, server) = in_step();
    rm(world.dst.join("d"));
    write(world.dst.join("d"), "a file now");
    rm(world.dst.join("file"));
    mkdir(world.dst.join("file/with/more"));
    rm(world.dst.join("link"));
    // A link out of the destination must not be followed.
    let outside = write(world.at("outside/precious"), "x");
    link(outside.parent().expect("it has one"), world.dst.join("link"));
    is_repaired(&world, &server);
    assert!(outside.exists());
}

/// They were in no tree, so that a FIFO stood at the destination for ever and the push ended with 0.
#[test]
fn a_fifo_a_socket_and_a_device_that_do_not_belong_there_go_or_give_way() {
    let (world, server) = in_step();
    fifo(world.dst.join("d/fifo"));
    fifo(world.dst.join("kept.log"));
    let socket = world.dst.join("socket");
    std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    // Only root may make one.
    let device = world.dst.join("null");
    let _ = mknodat(CWD, &device, FileType::CharacterDevice, Mode::RWXU, makedev(1, 3));
    for name in ["file", "link", "d/e/deep", "d/e"] {
        rm(world.dst.join(name));
        if name != "d/e/deep" {
            fifo(world.dst.join(name));
        }
    }
    let options = ["--exclude", "*.log"];
    let found = world.push(&server, &["--exclude", "*.log", "--dry-run"]);
    assert!(found.ended_with(0).events("planned").iter().any(|planned| planned["path"] == "d/fifo"));
    assert!(world.dst.join("d/fifo").exists(), "a dry run changes nothing");
    let ran = world.push(&server, &options);
    ran.ended_with(0);
    assert!(ran.n("deleted") >= 2);
    for gone in [&world.dst.join("d/fifo"), &socket, &device] {
        assert!(!gone.exists());
    }
    assert!(world.dst.join("kept.log").exists(), "what is excluded stays");
    assert_eq!(world.push(&server, &options).ended_with(0).did(), [0; 4]);
    rm(world.dst.join("kept.log"));
    assert_same(&world.src, &world.dst);
}

fn fifo(path: std::path::PathBuf) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

#[test]
fn drift_while_no_server_runs_is_repaired_too() {
    let (world, server) = in_step();
    server.stop().ended_with(0);
    write(world.dst.join("file"), "edited");
    rm(world.dst.join("d/e"));
    let server = world.serve(&[]);
    is_repaired(&world, &server);
}

#[test]
fn a_lost_cache_costs_no_content() {
    let (world, server) = in_step();
    server.stop().ended_with(0);
    rm(world.dst.join(".strait/state"));
    rm(world.me.home.join(".local/state/strait"));
    let server = world.serve(&[]);
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.did(), [0; 4]);
    assert_eq!(ran.n("content_bytes"), 0);
}

#[test]
fn a_damaged_cache_is_made_again_and_said() {
    let (world, server) = in_step();
    let port = server.port;
    server.stop().ended_with(0);
    let mut n_damaged = 0;
    for state in [world.dst.join(".strait/state"), world.me.home.join(".local/state/strait")] {
        n_damaged += damage_below(&state);
    }
    assert!(n_damaged >= 2);
    let server = world.me.serve_at(&world.dst, port, &[]);
    assert_eq!(server.running.count("cache_rebuilt"), 1);
    let ran = world.push_in_step(&server, &[]);
    assert_eq!(ran.events("cache_rebuilt").len(), 1);
    assert_eq!(ran.did(), [0; 4]);
}

fn damage_below(dir: &std::path::Path) -> usize {
    let mut n = 0;
    for found in std::fs::read_dir(dir).expect("it can be listed") {
        let path = found.expect("it can be listed").path();
        if path.is_dir() {
            n += damage_below(&path);
        } else if path.metadata().expect("it stands").len() > 4096 {
            std::fs::write(&path, b"rubbish").expect("it can be written");
            n += 1;
        }
    }
    n
}
