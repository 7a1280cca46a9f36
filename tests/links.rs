//! Bad links, and two who want the same destination, with the built program: links that fall silent, flap, are thin or
//! long; a second server and a second client are told who was first, and a dead one is no obstacle.

mod faults;
#[path = "links/line.rs"]
mod line;
#[path = "links/loss.rs"]
mod loss;

use faults::{Ended, Rng, Running, Yard, deadline, free_port};
use line::{Line, PLAIN, Shape};
use std::fs;
use std::time::{Duration, Instant};

/// What is promised: a peer that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(45);
/// A client that is silent for so long loses its place to another.
const TAKEOVER: Duration = Duration::from_secs(15);
/// For the clocks of busy machines.
const SLACK: Duration = Duration::from_secs(20);

fn push(yard: &Yard, port: u16) -> Running {
    let (src, port) = (yard.src.to_str().unwrap(), port.to_string());
    yard.start("push", &["push", src, "-a", "--json", "--host", "127.0.0.1", "--port", &port])
}

/// Another process of the same user, with a source of its own.
fn other_push(yard: &Yard, port: u16) -> Ended {
    let (src, port) = (yard.path.join("other"), port.to_string());
    fs::create_dir_all(&src).unwrap();
    fs::write(src.join("other"), "other").unwrap();
    let words = ["push", src.to_str().unwrap(), "-a", "--json", "--host", "127.0.0.1", "--port", &port];
    yard.start("other", &words).ended()
}

/// Waits until it is so, and says how long that took.
fn within(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < most + deadline(), "{what}: not within {:?}", most + deadline());
        std::thread::sleep(Duration::from_millis(50));
    }
    started.elapsed()
}

#[test]
fn a_link_that_falls_silent_is_noticed_by_both_ends_in_the_promised_time() {
    let yard = Yard::new();
    let port = free_port();
    let server = yard.serve(port);
    let line = Line::start(port, 1, PLAIN);
    fs::write(yard.src.join("a"), "a").unwrap();
    let mut watch = yard.watch(line.port);
    watch.wait_for("\"pass_done\"");
    line.fall_silent();
    let taken = within(SILENCE, "the client notices", || watch.said().contains("\"disconnected\""));
    assert!(taken < SILENCE + SLACK, "the client took {taken:?}");
    fs::write(yard.src.join("b"), "b").unwrap();
    line.speak_again();
    // Over the new connection at once: the old one's lease is of the same process.
    yard.converges("after the silence");
    within(SILENCE, "the server notices", || server.said().contains("\"client_left\""));
    assert!(watch.is_alive());
}

#[test]
fn a_link_that_flaps_every_few_seconds_makes_progress() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let shape = Shape { bytes_per_s: 300_000, life: Some(Duration::from_millis(2_500)), ..PLAIN };
    let line = Line::start(port, 1, shape);
    let mut rng = Rng::seeded("flapping");
    fs::write(yard.src.join("large"), rng.bytes(2_500_000)).unwrap();
    for number in 0..30 {
        fs::write(yard.src.join(format!("small{number}")), rng.bytes(3_000)).unwrap();
    }
    let mut watch = yard.watch(line.port);
    yard.converges("over a link that flaps");
    let n = line.n_connections();
    println!("{n} connections");
    assert!((3..=40).contains(&n), "{n} connections");
    assert!(watch.is_alive());
}

#[test]
fn a_link_of_32_kbit_and_one_of_a_second_there_and_back_bring_everything() {
    let thin = Shape { bytes_per_s: 4_000, ..PLAIN };
    let long = Shape { delay: Duration::from_millis(500), ..PLAIN };
    std::thread::scope(|scope| {
        for (name, shape, bytes) in [("thin", thin, 12_000), ("long", long, 2_000_000)] {
            scope.spawn(move || {
                let yard = Yard::new();
                let port = free_port();
                let _server = yard.serve(port);
                let line = Line::start(port, 1, shape);
                let mut rng = Rng::seeded(name);
                fs::create_dir(yard.src.join("d")).unwrap();
                fs::write(yard.src.join("d/noise"), rng.bytes(bytes)).unwrap();
                fs::write(yard.src.join("text"), "the same again and again\n".repeat(2_000)).unwrap();
                push(&yard, line.port).ended().is_in_step(name);
                yard.is_in_step(name);
                let edited = fs::read(yard.src.join("d/noise")).unwrap();
                fs::write(yard.src.join("d/noise"), [&edited[..], b"more"].concat()).unwrap();
                push(&yard, line.port).ended().is_in_step(name);
                yard.is_in_step(name);
                assert_eq!(line.n_connections(), 2, "{name}: no connection was given up");
            });
        }
    });
}

/// The handshake, then the greeting with the change behind it. A destination that somebody has changed meanwhile is
/// found out all the same.
#[test]
fn a_small_change_to_a_destination_that_is_known_waits_for_two_answers() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let delay = Duration::from_millis(500);
    let line = Line::start(port, 1, Shape { delay, ..PLAIN });
    fs::write(yard.src.join("file"), "one").unwrap();
    push(&yard, line.port).ended().is_in_step("first");
    let mut fastest = Duration::MAX;
    for number in 0..3 {
        fs::write(yard.src.join("file"), format!("newer {number}")).unwrap();
        let started = Instant::now();
        push(&yard, line.port).ended().is_in_step("newer");
        fastest = fastest.min(started.elapsed());
        yard.is_in_step("newer");
    }
    println!("{fastest:?} for a small change");
    assert!(fastest < 5 * delay, "{fastest:?}: it waited for a third answer");
    fs::write(yard.dest.join("file"), "somebody's").unwrap();
    fs::write(yard.dest.join("foreign"), "somebody's").unwrap();
    fs::write(yard.src.join("file"), "the newest").unwrap();
    push(&yard, line.port).ended().is_in_step("after somebody else");
    yard.is_in_step("after somebody else");
}

#[test]
fn a_second_server_is_told_of_the_first_and_a_killed_one_is_taken_over() {
    let yard = Yard::new();
    let port = free_port();
    let mut first = yard.serve(port);
    let dest = yard.dest.to_str().unwrap();
    let other_port = free_port().to_string();
    let words = ["serve", dest, "--host", "127.0.0.1", "--port", &other_port, "--json"];
    let second = yard.start("second", &words).ended();
    assert_eq!(second.status.code(), Some(6), "{}{}", second.out, second.err);
    let holder = format!("process {}", first.child.id());
    assert!(second.out.contains(&holder), "it names {holder}: {}{}", second.out, second.err);
    // Local, the push is itself the writer.
    let local = yard.push(None);
    assert_eq!(local.status.code(), Some(6), "{}{}", local.out, local.err);
    assert!(local.out.contains(&holder), "it names {holder}: {}{}", local.out, local.err);
    first.kill();
    fs::write(yard.src.join("a"), "a").unwrap();
    let port = free_port();
    let _second = yard.serve(port);
    let busy = yard.push(None);
    assert_eq!(busy.status.code(), Some(6), "the new one holds it: {}", busy.out);
    yard.push(Some(port)).is_in_step("to the new one");
    yard.is_in_step("to the new one");
}

#[test]
fn a_second_client_is_told_of_the_first_and_a_dead_one_is_taken_over_from_another_address() {
    let yard = Yard::new();
    let port = free_port();
    let server = yard.serve(port);
    let (line, elsewhere) = (Line::start(port, 1, PLAIN), Line::start(port, 7, PLAIN));
    fs::write(yard.src.join("a"), "a").unwrap();
    let mut watch = yard.watch(line.port);
    watch.wait_for("\"pass_done\"");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for port in [port, elsewhere.port] {
        let busy = other_push(&yard, port);
        assert_eq!(busy.status.code(), Some(6), "{}{}", busy.out, busy.err);
        assert!(busy.out.contains("busy") && busy.out.contains(host.trim()), "{}", busy.out);
    }
    // Killed behind a link that fell silent: to the server it looks alive.
    line.fall_silent();
    watch.kill();
    let started = Instant::now();
    let taken_over = other_push(&yard, elsewhere.port);
    taken_over.is_in_step("after the takeover");
    assert!(started.elapsed() < TAKEOVER + SLACK + deadline(), "{:?}", started.elapsed());
    assert!(server.said().contains("\"client_left\""), "{}", server.said());
    assert!(yard.dest.join("other").exists());
    // One whose connection ended with it is no obstacle at all.
    let mut watch = yard.watch(port);
    watch.wait_for("\"connected\"");
    watch.kill();
    let started = Instant::now();
    other_push(&yard, port).is_in_step("after a kill");
    assert!(started.elapsed() < TAKEOVER, "{:?}", started.elapsed());
}
