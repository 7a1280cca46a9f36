//! How far behind it is: told by a watch, and by `strait status` to whoever asks.

use crate::common::running::{Ran, Running};
use crate::common::tree::*;
use crate::common::{World, text, wait_until};
use serde_json::Value;

fn ask(world: &World, port: u16) -> Ran {
    let port = port.to_string();
    world.me.run(&["status", text(&world.src), "--host", "127.0.0.1", "--port", &port, "--json"])
}

#[test]
fn a_watch_tells_how_far_behind_it_is_while_the_server_is_away() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 10_000));
    let server = world.serve(&[]);
    let port = server.port;
    let watch = world.me.watch(&world.src, port, &[]);
    watch.wait_for_event("pass_done");
    let status = ask(&world, port);
    status.ended_with(0);
    assert_eq!(status.events("status")[0]["stand"], "in_step");

    server.stop().ended_with(0);
    watch.wait_for_event("disconnected");
    write(world.src.join("b"), noise(2, 50_000));
    write(world.src.join("c"), noise(3, 7_000));
    mv(world.src.join("a"), world.src.join("moved"));
    let behind = |view: &crate::common::running::View| {
        let told = crate::common::running::events(view.out);
        told.into_iter().rfind(|event| event["event"] == "behind" && event["changes"] == 3)
    };
    let told = watch.wait_for("three changes behind", behind);
    assert_eq!(told["content_bytes"], 57_000, "a move brings no content: {told}");
    let status = ask(&world, port);
    status.ended_with(6);
    let status = &status.events("status")[0];
    assert_eq!((&status["stand"], &status["changes"]), (&"waiting".into(), &3.into()), "{status}");
    assert!(status["in_step_ms"].is_u64() && status["is_running"] == true, "{status}");

    let _server = world.me.serve_at(&world.dst, port, &[]);
    watch.wait_for_nth("pass_done", 2);
    let status = ask(&world, port);
    status.ended_with(0);
    assert_eq!(status.events("status")[0]["changes"], 0);
    watch.interrupt().ended_with(0);
    // Nobody brings changes there any more.
    ask(&world, port).ended_with(1);
}

#[test]
fn a_push_is_told_of_when_it_is_over() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let none = world.me.run(&["status"]);
    none.ended_with(1).says("has not pushed or watched anything");
    world.push_here(&[]).ended_with(0);
    let all = world.me.run(&["status", "--json"]);
    all.ended_with(0);
    let told = &all.events("status")[0];
    assert_eq!((&told["source"], &told["destination"]), (&text(&world.src).into(), &text(&world.dst).into()));
    assert_eq!(told["is_running"], false);
    // A dry run changes nothing here either.
    write(world.src.join("b"), "b");
    world.push_here(&["--dry-run"]).ended_with(0);
    assert_eq!(world.me.run(&["status", "--json"]).events("status")[0]["written_ms"], told["written_ms"]);
    world
        .me
        .run(&["status", text(&world.dst)])
        .ended_with(1)
        .says("`strait status` alone lists what there is");
}

/// Asks until it stands so.
fn stands(world: &World, port: u16, stand: &str, code: i32) -> Value {
    let mut last = None;
    wait_until(&format!("the status says {stand}"), || {
        let status = ask(world, port);
        let is_so = status.events("status").first().is_some_and(|told| told["stand"] == stand);
        last = is_so.then_some(status);
        is_so
    });
    let last = last.expect("it was waited for");
    last.ended_with(code);
    last.events("status").remove(0)
}

#[test]
fn deletes_that_are_held_stay_in_the_status_until_the_source_is_whole_again() {
    let world = World::new();
    let fill = || (0..150).for_each(|n| drop(write(world.src.join(format!("d/{n}")), format!("{n}"))));
    fill();
    write(world.src.join("kept"), "kept");
    let server = world.serve(&[]);
    let watch = world.me.watch(&world.src, server.port, &[]);
    watch.wait_for_event("pass_done");
    rm(world.src.join("d"));
    let reason = watch.wait_for_event("held")["reason"].clone();
    let told = stands(&world, server.port, "held", 4);
    assert_eq!((&told["why"], &told["is_running"]), (&reason, &true.into()), "{told}");
    assert!(told["in_step_ms"].as_u64() < told["since_ms"].as_u64(), "it was in step before: {told}");
    // What is sent beside them does not make them forgotten.
    write(world.src.join("kept"), "and changed");
    wait_until("the change arrives", || {
        std::fs::read_to_string(world.dst.join("kept")).is_ok_and(|content| content == "and changed")
    });
    let port = server.port.to_string();
    let words = ["status", text(&world.src), "--host", "127.0.0.1", "--port", &port];
    let reason = reason.as_str().expect("a text");
    wait_until("it is held again, in words too", || {
        let told = world.me.run(&words);
        told.code == Some(4) && told.all().contains(reason)
    });
    assert!(world.dst.join("d/17").exists());
    fill();
    let told = stands(&world, server.port, "in_step", 0);
    assert_eq!(told["why"], "", "{told}");
    watch.interrupt().ended_with(0);
}

/// The limit of watches is lowered in a user namespace of the watch's own.
#[test]
fn directories_that_are_polled_are_counted_in_the_status() {
    let world = World::new();
    (0..12).for_each(|n| drop(mkdir(world.src.join(format!("d{n}")))));
    let unshare = |words: &[&str]| {
        let script = "echo 6 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
        let mut command = world.me.command("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).args(words);
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: needs user namespaces, to lower a limit for one program");
        return;
    }
    let (src, dst) = (text(&world.src), text(&world.dst));
    let watch = Running::start(unshare(&[text(world.me.program()), "watch", src, dst, "--json"]));
    let polled = watch.wait_for_event("pass_done")["polled"].as_u64().expect("a number");
    assert!((5..=12).contains(&polled), "{polled} of 13 directories are polled");
    wait_until("the status says so", || {
        let status = world.me.run(&["status", src, dst, "--json"]);
        status.events("status").first().is_some_and(|told| told["polled"] == polled)
    });
    let words = format!("{polled} directories polled, not watched");
    world.me.run(&["status", src, dst]).ended_with(0).says(&words).says("fs.inotify.max_user_watches");
    // What becomes free covers the others.
    (0..12).for_each(|n| rm(world.src.join(format!("d{n}"))));
    wait_until("nothing is polled any more", || {
        let status = world.me.run(&["status", src, dst, "--json"]);
        status.events("status").first().is_some_and(|told| told["polled"] == 0)
    });
    world.me.run(&["status", src, dst]).ended_with(0).says_nothing_of("polled");
    drop(watch);
}
