//! How far behind it is: told by a watch, and by `strait status` to whoever asks.

use crate::common::running::Ran;
use crate::common::tree::*;
use crate::common::{World, text};

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
