//! Commands that are run for what they print: an answer that could not be written is no success.

use crate::common::tree::write;
use crate::common::{World, text};
use std::fs::File;
use std::process::{Output, Stdio};

/// What is asked, of a destination that has a trash and a client.
fn questions(world: &World) -> Vec<Vec<&str>> {
    let dst = text(&world.dst);
    let asked = [&["key"][..], &["status"], &["trash", "list", dst], &["authorized", "list", dst]];
    let json = asked.iter().map(|words| [words, &["--json"][..]].concat());
    let help = [&["--help"][..], &["--version"], &["push", "--help"]];
    json.chain(asked.iter().chain(&help).map(|words| words.to_vec())).collect()
}

fn world() -> World {
    let world = World::new();
    write(world.src.join("a"), "a");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    std::fs::remove_file(world.src.join("a")).expect("it is there");
    world.push_in_step(&server, &[]);
    let guest = world.user("guest");
    guest.push(&world.src, server.port, &["--ticket", &server.ticket, "--dry-run"]).ended_with(0);
    server.stop().ended_with(0);
    world
}

fn ask(world: &World, words: &[&str], out: Stdio) -> Output {
    world.me.strait(words).stdout(out).stdin(Stdio::null()).output().expect("it runs")
}

#[test]
fn an_answer_that_a_full_disk_does_not_take_is_a_failure() {
    let world = world();
    for words in questions(&world) {
        let heard = ask(&world, &words, Stdio::piped());
        assert!(heard.status.success() && !heard.stdout.is_empty(), "{words:?}: {heard:?}");
        let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
        let lost = ask(&world, &words, full.into());
        let why = String::from_utf8_lossy(&lost.stderr);
        assert_eq!(lost.status.code(), Some(1), "{words:?}: {why}");
        assert!(why.contains("standard output: No space left on device"), "{words:?}: {why}");
        assert_eq!(why.lines().count(), 1, "{words:?}: said once: {why}");
    }
}

/// As with `strait trash list DEST | head -1`.
#[test]
fn who_reads_no_further_is_left_in_peace() {
    let world = world();
    for words in questions(&world) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let left = ask(&world, &words, writer.into());
        assert!(left.status.success() && left.stderr.is_empty(), "{words:?}: {left:?}");
    }
}

/// What a push says is not what it is run for.
#[test]
fn a_push_whose_words_nobody_takes_brings_everything_all_the_same() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
    let pushed = ask(&world, &["push", text(&world.src), text(&world.dst), "--json"], full.into());
    assert_eq!(pushed.status.code(), Some(0), "{pushed:?}");
    crate::common::assert_same(&world.src, &world.dst);
}
