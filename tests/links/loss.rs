//! Packets that are lost: one in twenty, and all of them for a while.

use crate::faults::mounts::Place;
use crate::faults::{Rng, Running, Yard, free_port, nets};
use crate::{SILENCE, SLACK, push, within};
use std::fs;
use std::time::Duration;

#[test]
fn a_link_that_loses_one_packet_in_twenty_brings_everything_over_one_connection() {
    let name = "loss::a_link_that_loses_one_packet_in_twenty_brings_everything_over_one_connection";
    if nets::own_net(name) == Place::Done {
        return;
    }
    let yard = Yard::new();
    let port = free_port();
    let server = yard.serve(port);
    nets::lose_one_in_twenty();
    let mut rng = Rng::seeded("loss");
    fs::write(yard.src.join("large"), rng.bytes(2_000_000)).unwrap();
    for number in 0..30 {
        fs::write(yard.src.join(format!("small{number}")), rng.bytes(3_000)).unwrap();
    }
    push(&yard, port).ended().is_in_step("one in twenty is lost");
    let mut watch = yard.watch(port);
    watch.wait_for("\"pass_done\"");
    for number in 0..10 {
        fs::write(yard.src.join(format!("small{number}")), rng.bytes(5_000)).unwrap();
        yard.converges("a change where one in twenty is lost");
    }
    let n_lost = nets::n_lost();
    println!("{n_lost} packets were lost");
    assert!(n_lost > 50, "{n_lost} packets were lost");
    assert!(watch.is_alive());
    for (side, word) in [(&watch, "\"disconnected\""), (&server, "\"client_refused\"")] {
        assert!(!side.said().contains(word), "{}", side.said());
    }
    assert_eq!(server.said().matches("\"client_connected\"").count(), 2, "{}", server.said());
}

#[test]
fn a_link_that_drops_everything_in_the_middle_is_given_up_in_time_and_gone_on_with() {
    let name = "loss::a_link_that_drops_everything_in_the_middle_is_given_up_in_time_and_gone_on_with";
    if nets::own_net(name) == Place::Done {
        return;
    }
    let yard = Yard::new();
    let port = free_port();
    let server = yard.serve(port);
    let mut watch = slow_watch(&yard, port);
    watch.wait_for("\"pass_done\"");
    fs::write(yard.src.join("large"), Rng::seeded("dropped").bytes(3_000_000)).unwrap();
    let stage = yard.dest.join(".strait/stage");
    within(Duration::ZERO, "a part of it is there", || bytes_in(&stage) > 600_000);
    nets::lose_all();
    // The sender waits for what it sent to be taken (TCP_USER_TIMEOUT), the receiver for anything at all (heartbeat).
    let taken = within(SILENCE, "both notice", || {
        watch.said().contains("\"disconnected\"") && server.said().contains("\"client_left\"")
    });
    assert!(nets::n_lost() > 5, "{} packets were lost", nets::n_lost());
    assert!(taken < SILENCE + SLACK, "it took {taken:?}");
    assert!(!yard.dest.join("large").exists(), "it was dropped in the middle");
    nets::lose_none();
    yard.converges("when the link is back");
    assert!(watch.is_alive());
    let n_literal = literal_bytes(&watch);
    assert!(n_literal < 2_600_000, "{n_literal} bytes came over the second connection");
}

/// A watch that takes ten seconds for three megabytes.
fn slow_watch(yard: &Yard, port: u16) -> Running {
    let (src, port) = (yard.src.to_str().unwrap(), port.to_string());
    let words = ["watch", src, "-a", "--json", "--bwlimit", "300k", "--host", "127.0.0.1", "--port", &port];
    yard.start("watch", &words)
}

/// Literal bytes of the last summary.
fn literal_bytes(watch: &Running) -> u64 {
    let said = watch.said();
    let line = said.lines().rfind(|line| line.contains("\"pass_done\"")).expect("it did a pass");
    let value: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
    value["literal"].as_u64().expect("it counts them")
}

/// Bytes of the files of a directory.
fn bytes_in(dir: &std::path::Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
