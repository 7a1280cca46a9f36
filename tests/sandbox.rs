//! Which threads of the built program are confined, and that it says so where they are not. What a
//! confined thread can do is told by the tests of `src/disk/sandbox.rs`.

mod common;

use common::tree::{assert_same, listed, mkdir, rm, write};
use common::{Running, World, text, wait_until};
use std::fs;

/// Whether each thread of a program gave up its privileges, as confining does first.
fn threads_confined(running: &Running) -> Vec<bool> {
    let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).expect("it runs");
    let status =
        |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("status")).ok();
    tasks.filter_map(status).map(|status| status.contains("NoNewPrivs:\t1")).collect()
}

fn has_landlock(test: &str) -> bool {
    let world = World::new();
    write(world.src.join("a"), "a");
    let has = !world.push_here(&[]).all().contains("not sandboxed");
    if !has {
        println!("skipped: needs Landlock: {test}");
    }
    has
}

#[test]
fn every_thread_of_a_server_is_confined() {
    if !has_landlock("a server") {
        return;
    }
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&["--state", text(&mkdir(world.at("elsewhere")))]);
    world.push_in_step(&server, &[]);
    let confined = threads_confined(&server.running);
    assert!(confined.len() > 2 && confined.iter().all(|is_confined| *is_confined), "{confined:?}");
    server.stop().ended_with(0).says_nothing_of("sandboxed");
}

/// The thread that only waits, to begin anew when the source was replaced, is not.
#[test]
fn every_working_thread_of_a_watch_is_confined_also_after_its_source_was_replaced() {
    if !has_landlock("a watch") {
        return;
    }
    let world = World::new();
    write(world.src.join("a"), "a");
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json", "-v"]);
    watch.wait_for_event("pass_done");
    rm(&world.src);
    mkdir(&world.src);
    write(world.src.join("b"), "b");
    wait_until("the new source is there", || world.dst.join("b").exists() && !world.dst.join("a").exists());
    let confined = threads_confined(&watch);
    let n_free = confined.iter().filter(|is_confined| !**is_confined).count();
    assert!(confined.len() > 3 && n_free == 1, "{confined:?}");
    watch.interrupt().ended_with(0).says_nothing_of("sandboxed");
}

/// Names are looked up, keys kept elsewhere are read, a link leads to the source, and all of it works.
#[test]
fn what_a_client_needs_stays_open() {
    let world = World::new();
    write(world.src.join("d/a"), "a");
    let other = world.user("other");
    let key = world.at("key");
    let server = world.serve(&[]);
    std::os::unix::fs::symlink(&world.src, world.at("link")).expect("a link");
    let port = server.port.to_string();
    let source = world.at("link");
    let words = ["push", text(&source), "--host", "localhost", "--port", &port, "--identity", text(&key)];
    other.run(&[&words[..], &["--ticket", &server.ticket]].concat()).ended_with(0);
    write(world.src.join("d/b"), "b");
    other.run(&words).ended_with(0);
    assert_same(&world.src, &world.dst);
    rm(world.src.join("d"));
    other.run(&words).ended_with(0);
    assert!(listed(&world.dst).is_empty());
    server.stop().ended_with(0);
}
