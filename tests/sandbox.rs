//! Which threads of the built program are confined, that they can open nothing outside, and that it says so
//! where they are not. What a confined thread can do is told by the tests of `src/disk/sandbox.rs`, what stays
//! open by those of `src/server/tests/confine.rs` and `src/client/ready_tests.rs`.

mod common;
#[path = "sandbox/outside.rs"]
mod outside;

use common::traced::{can_trace, traced};
use common::tree::{assert_same, listed, mkdir, rm, write};
use common::{Ran, Running, World, ssh, text, wait_until};
use std::fs;

/// Whether each thread of a program gave up its privileges, as confining does first.
fn threads_confined(process: u32) -> Vec<bool> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
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
    let confined = threads_confined(server.running.id());
    assert!(confined.len() > 2 && confined.iter().all(|is_confined| *is_confined), "{confined:?}");
    server.stop().ended_with(0).says_nothing_of("sandboxed");
}

/// A program that another started, by the words of its command line.
fn started_by(process: u32, word: &str) -> Option<u32> {
    let read = |what: &str| fs::read_to_string(format!("/proc/{process}/{what}")).unwrap_or_default();
    if read("cmdline").split('\0').any(|found| found == word) {
        return Some(process);
    }
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let children: Vec<String> = tasks.flatten().map(children).collect();
    children.join(" ").split_whitespace().find_map(|child| started_by(child.parse().ok()?, word))
}

#[test]
fn every_thread_of_a_server_over_ssh_is_confined() {
    if !has_landlock("a server over ssh") {
        return;
    }
    let world = World::new();
    write(world.src.join("a"), "a");
    let far = format!("far:{}", text(&world.dst));
    let watch = Running::start(ssh::command(&world, &["watch", text(&world.src), &far, "--json"]));
    watch.wait_for_event("pass_done");
    let server = started_by(watch.id(), "--stdio").expect("it was started");
    let confined = threads_confined(server);
    assert!(confined.len() > 2 && confined.iter().all(|is_confined| *is_confined), "{confined:?}");
    assert!(threads_confined(watch.id()).contains(&false), "this side is not: ssh would be too");
    watch.interrupt().ended_with(0);
    assert_same(&world.src, &world.dst);
}

/// Demands words in the note that a program begins with.
#[track_caller]
fn begins_with(ran: &Ran, words: &str) {
    let first: serde_json::Value = serde_json::from_str(&ran.out[0]).expect("it is an event");
    let is_said = first["event"] == "note" && first["text"].as_str().is_some_and(|text| text.contains(words));
    assert!(is_said, "{first}");
}

#[test]
fn a_push_over_ssh_says_first_that_this_side_is_not_sandboxed() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let far = format!("far:{}", text(&world.dst));
    let ran = ssh::over_ssh(&world, &["push", text(&world.src), &far, "--json"]);
    begins_with(ran.ended_with(0), "this side is not sandboxed");
}

#[test]
fn where_the_kernel_has_no_sandbox_that_is_said_first_and_all_works() {
    if !can_trace("a kernel without Landlock") {
        return;
    }
    let world = World::new();
    write(world.src.join("a"), "a");
    let log = world.at("strace.log");
    let without =
        ["-e", "inject=landlock_create_ruleset:error=ENOSYS", "-e", "trace=landlock_create_ruleset"];
    let run = |words: &[&str]| Running::start(traced(&world.me, &log, &without, words));
    let ran = run(&["push", text(&world.src), text(&world.dst), "--json"]).ended();
    begins_with(ran.ended_with(0), "not sandboxed");
    assert_same(&world.src, &world.dst);
    let server = run(&["serve", text(&world.dst), "--host", "127.0.0.1", "--port", "0", "--json"]);
    let address = server.wait_for_event("listening")["address"].as_str().expect("an address").to_owned();
    let port = address.rsplit_once(':').expect("a port").1;
    write(world.src.join("b"), "b");
    let ran = run(&["push", text(&world.src), "--host", "127.0.0.1", "--port", port, "--json"]).ended();
    begins_with(ran.ended_with(0), "not sandboxed");
    assert_same(&world.src, &world.dst);
    begins_with(server.interrupt().ended_with(0), "not sandboxed");
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
    let confined = threads_confined(watch.id());
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
