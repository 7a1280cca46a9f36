//! `watch`: every change arrives, whatever happens to the server, and both programs end when told to.

use crate::common::running::Running;
use crate::common::tree::*;
use crate::common::{Server, World, assert_same, text, wait_until};
use rustix::process::Signal;
use std::net::TcpListener;

/// A watch that is in step with a server.
fn watching(world: &World, words: &[&str]) -> (Server, Running) {
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, words);
    watch.wait_for_event("pass_done");
    (server, watch)
}

#[track_caller]
fn arrives(world: &World) {
    let mut last = Vec::new();
    let until = std::time::Instant::now() + crate::common::DEADLINE;
    while std::time::Instant::now() < until {
        last = differences(&world.src, &world.dst);
        if last.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the destination does not become the source:\n{}", last.join("\n"));
}

/// A port that nobody listens at, as far as anybody can know.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn every_change_arrives() {
    let world = World::new();
    write(world.src.join("there/before"), noise(1, 50_000));
    let (_server, watch) = watching(&world, &[]);
    assert_same(&world.src, &world.dst);
    let src = &world.src;

    write(src.join("added"), noise(2, 200_000));
    mkdir(src.join("empty"));
    link("added", src.join("link"));
    write(src.join("new/deep/tree/file"), "x");
    arrives(&world);

    write(src.join("added"), noise(3, 200_000));
    chmod(src.join("there/before"), 0o600);
    set_time(src.join("new"), 1_000_000_000);
    arrives(&world);

    mv(src.join("new"), src.join("there/moved"));
    mv(src.join("added"), src.join("renamed"));
    arrives(&world);
    // What lies in a moved directory is still watched.
    write(src.join("there/moved/deep/tree/file"), "changed");
    arrives(&world);

    rm(src.join("empty"));
    rm(src.join("link"));
    rm(src.join("there/moved/deep"));
    arrives(&world);

    rm(src.join("renamed"));
    write(src.join("renamed/now/a dir"), "x");
    arrives(&world);
    watch.interrupt().ended_with(0);
}

#[test]
fn a_directory_deleted_and_made_again_is_watched() {
    let world = World::new();
    write(world.src.join("d/e/a"), "a");
    let (_server, watch) = watching(&world, &[]);
    for round in 0..3 {
        rm(world.src.join("d"));
        write(world.src.join("d/e/a"), format!("{round}"));
        arrives(&world);
        write(world.src.join("d/e/b"), format!("later {round}"));
        arrives(&world);
    }
    watch.interrupt().ended_with(0);
}

/// What it could not read kept its directory at the destination after that was gone, until the next scan of everything.
#[test]
fn what_could_not_be_read_is_forgotten_with_the_directory_it_was_in() {
    let world = World::new();
    world.open_to_all();
    let me = world.user("nobody").who_is_not_root();
    let dirs = ["", "d", "d/e"].map(|dir| mkdir(world.src.join(dir)));
    dirs.iter().chain([&mkdir(&world.dst)]).for_each(|dir| me.owns(dir));
    for name in ["d/e/file", "d/e/secret", "stays"] {
        me.owns(&write(world.src.join(name), name));
    }
    chmod(world.src.join("d/e/secret"), 0o000);
    let watch = me.start(&["watch", text(&world.src), text(&world.dst), "--json"]);
    watch.wait_for_event("skipped");
    wait_until("the rest is there", || {
        world.dst.join("d/e/file").exists() && world.dst.join("stays").exists()
    });
    mv(world.src.join("d"), world.dst.with_extension("elsewhere"));
    arrives(&world);
    watch.interrupt().ended_with(0);
}

#[test]
fn a_burst_in_fresh_directories_loses_nothing() {
    let world = World::new();
    let (_server, watch) = watching(&world, &[]);
    for n in 0..1_500 {
        write(world.src.join(format!("{}/{}/{}/{n}", n % 5, n % 11, n % 3)), format!("{n}"));
    }
    arrives(&world);
    watch.interrupt().ended_with(0);
}

#[test]
fn a_move_while_watched_sends_no_content() {
    let world = World::new();
    write(world.src.join("dir/big"), noise(1, 800_000));
    mkdir(world.src.join("other"));
    let (_server, watch) = watching(&world, &["-v"]);
    let n = watch.count("pass_done");
    mv(world.src.join("dir"), world.src.join("other/dir"));
    arrives(&world);
    wait_until("a summary", || watch.count("pass_done") > n);
    let ran = watch.interrupt();
    let passes = ran.ended_with(0).events("pass_done");
    let content: u64 = passes[n..].iter().map(|pass| pass["content_bytes"].as_u64().unwrap_or(0)).sum();
    assert_eq!(content, 0);
}

#[test]
fn hidden_and_excluded_names_stay_out_while_watched() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let (_server, watch) = watching(&world, &["--exclude", "*.tmp"]);
    write(world.src.join(".hidden"), "x");
    write(world.src.join("x.tmp"), "x");
    write(world.src.join("d/.git/x"), "x");
    write(world.src.join("d/seen"), "x");
    wait_until("the name in scope is there", || world.dst.join("d/seen").exists());
    watch.interrupt().ended_with(0);
    assert_eq!(crate::common::listed_names(&world.dst), [".strait", "a", "d"]);
    assert_eq!(crate::common::listed_names(&world.dst.join("d")), ["seen"]);
}

#[test]
fn a_client_that_is_first_waits_for_its_server_and_says_so_once() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let port = free_port();
    let watch = world.me.watch(&world.src, port, &[]);
    watch.wait_for_event("waiting");
    let server = world.me.serve_at(&world.dst, port, &[]);
    watch.wait_for_event("pass_done");
    assert_same(&world.src, &world.dst);
    assert_eq!(watch.count("waiting"), 1);
    server.stop().ended_with(0);
    watch.interrupt().ended_with(0);
}

#[test]
fn a_push_that_is_first_waits_a_while() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let port = free_port();
    let number = port.to_string();
    let src = text(&world.src);
    let push = world.me.start(&["push", src, "--host", "127.0.0.1", "--port", &number, "--json"]);
    push.wait_for_event("waiting");
    let _server = world.me.serve_at(&world.dst, port, &[]);
    push.ended().ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_server_that_goes_and_returns_is_ridden_out() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 100_000));
    write(world.src.join("b"), "b");
    let (server, watch) = watching(&world, &[]);
    let port = server.port;
    server.stop().ended_with(0);
    write(world.src.join("a"), noise(2, 100_000));
    rm(world.src.join("b"));
    write(world.src.join("c/d"), "new");
    watch.wait_for_event("disconnected");
    let server = world.me.serve_at(&world.dst, port, &[]);
    arrives(&world);
    server.running.kill();
    write(world.src.join("e"), "after the kill");
    watch.wait_for_nth("disconnected", 2);
    let server = world.me.serve_at(&world.dst, port, &[]);
    arrives(&world);
    assert!(watch.interrupt().ended_with(0).events("error").is_empty());
    server.stop().ended_with(0);
}

#[test]
fn both_programs_end_in_order_when_told_to() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        write(world.src.join("a"), "a");
        let (server, watch) = watching(&world, &[]);
        watch.signal(signal);
        let ran = watch.ended();
        ran.ended_with(0);
        assert_eq!(ran.events("stopping").len(), 1);
        server.running.signal(signal);
        let ran = server.running.ended();
        ran.ended_with(0);
        assert_eq!(ran.events("stopping").len(), 1);
        assert!(ran.err.is_empty(), "{:?}", ran.err);
    }
}

#[test]
fn a_server_ends_in_order_while_a_client_is_connected() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let (server, watch) = watching(&world, &[]);
    server.stop().ended_with(0);
    watch.wait_for_event("disconnected");
    watch.interrupt().ended_with(0);
}

#[test]
fn both_end_in_order_in_the_middle_of_a_transfer() {
    let world = World::new();
    write(world.src.join("big"), noise(1, 4 << 20));
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, &["--bwlimit", "200K"]);
    watch.wait_for_event("progress");
    watch.interrupt().ended_with(0);
    server.stop().ended_with(0);
    assert!(!world.dst.join("big").exists(), "no half file");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
}

#[test]
fn a_source_that_vanishes_deletes_nothing_and_goes_on_when_it_is_back() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let (_server, watch) = watching(&world, &[]);
    mv(&world.src, world.at("aside"));
    watch.wait_for_event("held");
    assert!(world.dst.join("a").exists());
    write(world.at("aside/b"), "b");
    mv(world.at("aside"), &world.src);
    arrives(&world);
    watch.interrupt().ended_with(0);
    assert!(world.dst.join("a").exists());
}

#[test]
fn a_watch_of_a_local_path_sends_changes_too() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let (src, dst) = (text(&world.src), text(&world.dst));
    let watch = world.me.start(&["watch", src, dst, "--json"]);
    watch.wait_for_event("pass_done");
    write(world.src.join("b"), "b");
    arrives(&world);
    watch.interrupt().ended_with(0);
}

#[test]
fn drift_at_the_destination_during_a_watch_is_repaired_by_the_next_change_there() {
    let world = World::new();
    write(world.src.join("d/a"), "a");
    let (_server, watch) = watching(&world, &[]);
    write(world.dst.join("d/a"), "somebody's own");
    write(world.src.join("d/a"), "newer");
    arrives(&world);
    watch.interrupt().ended_with(0);
}

#[test]
fn a_push_that_is_stopped_does_not_end_as_if_all_were_well() {
    let world = World::new();
    write(world.src.join("big"), noise(1, 4 << 20));
    let server = world.serve(&[]);
    for signal in [Signal::INT, Signal::TERM] {
        let port = server.port.to_string();
        let src = text(&world.src);
        let words = ["push", src, "--host", "127.0.0.1", "--port", &port, "--bwlimit", "200K", "--json"];
        let push = world.me.start(&words);
        push.wait_for_event("progress");
        push.signal(signal);
        push.ended().ended_with(1).says("stopped before");
    }
    world.push_in_step(&server, &[]);
}

#[test]
fn a_link_that_breaks_is_told_once_and_in_plain_words() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    let port = server.port.to_string();
    let src = text(&world.src);
    let watch = world.me.start(&["watch", src, "--host", "127.0.0.1", "--port", &port]);
    watch.wait_for("a summary", |said| said.out.iter().find(|line| line.starts_with("in step")).cloned());
    server.running.kill();
    watch.wait_for("a wait", |said| said.err.iter().find(|line| line.starts_with("waiting")).cloned());
    let ran = watch.interrupt();
    ran.ended_with(0).says_nothing_of("http").says_nothing_of("os error");
    assert_eq!(ran.err.len(), 2, "{:#?}", ran.err);
    assert!(ran.err[0].starts_with("disconnected: "), "{:#?}", ran.err);
}

/// The other names of a file raise no event when it is written through one: they stayed as they were until the next scan
/// of everything.
#[test]
fn a_write_through_one_name_of_a_file_reaches_its_other_names() {
    let world = World::new();
    let src = &world.src;
    write(src.join("a/one"), "first");
    mkdir(src.join("b"));
    mkdir(src.join("c"));
    std::fs::hard_link(src.join("a/one"), src.join("b/two")).unwrap();
    write(src.join("a/single"), "its own");
    write(src.join("a/alone"), "alone so far");
    let (_server, watch) = watching(&world, &[]);
    assert_same(src, &world.dst);
    for (name, content) in [("b/two", "second"), ("a/one", "the third")] {
        // Not replaced: written to.
        std::fs::write(src.join(name), content).unwrap();
        arrives(&world);
    }
    chmod(src.join("b/two"), 0o600);
    arrives(&world);
    // A name that comes later, of a file that had one alone when it was looked at.
    std::fs::hard_link(src.join("a/single"), src.join("c/three")).unwrap();
    arrives(&world);
    std::fs::write(src.join("c/three"), "through the third").unwrap();
    arrives(&world);
    // The same at once: when it is looked at, its new name tells nothing of what it was.
    std::fs::hard_link(src.join("a/alone"), src.join("c/four")).unwrap();
    std::fs::write(src.join("c/four"), "linked and written").unwrap();
    arrives(&world);
    // A directory that moves takes its names with it.
    mv(src.join("b"), src.join("d"));
    arrives(&world);
    std::fs::write(src.join("d/two"), "from where it moved").unwrap();
    arrives(&world);
    watch.interrupt().ended_with(0);
}
