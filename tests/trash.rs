//! What is removed at a destination can be brought back, as the built program does it.

mod common;

use common::tree::{assert_same, listed, listed_names, mkdir, noise, raw, rm, write};
use common::{User, World, text, wait_until};
use std::fs;
use std::path::Path;

fn trash_of(user: &User, dst: &Path) -> Vec<serde_json::Value> {
    let ran = user.run(&["trash", "list", text(dst), "--json"]);
    ran.ended_with(0);
    ran.events("trashed")
}

fn paths(trashed: &[serde_json::Value]) -> Vec<&str> {
    trashed.iter().map(|event| event["path"].as_str().expect("a path")).collect()
}

#[test]
fn a_removed_directory_comes_back_to_the_source_and_stays() {
    let world = World::new();
    write(world.src.join("docs/old/a"), "a");
    write(world.src.join("docs/old/deep/b"), noise(1, 300_000));
    std::os::unix::fs::symlink("a", world.src.join("docs/old/link")).expect("a link");
    world.push_here(&[]).ended_with(0);
    let before = listed(&world.src);
    rm(world.src.join("docs/old"));
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    let trashed = trash_of(&world.me, &world.dst);
    assert_eq!(paths(&trashed), ["docs/old"]);
    assert_eq!((&trashed[0]["kind"], &trashed[0]["entries_below"]), (&"dir".into(), &4.into()));
    let restore = ["trash", "restore", text(&world.dst), "docs/old", "--to", text(&world.src)];
    world.me.run(&restore).ended_with(0).says("docs/old is back");
    assert_eq!(listed(&world.src).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    // Times and modes too, but for the directory that it came back to.
    for (path, entry) in listed(&world.src) {
        assert!(path == "docs" || before[&path] == entry, "{path:?}");
    }
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    world.me.run(&restore).ended_with(1).says("nothing is written over");
}

#[test]
fn every_name_and_every_length_of_path_is_kept() {
    let world = World::new();
    let deep = [&"x".repeat(200), "/", &"y".repeat(200), "/z"].concat();
    let names: [&[u8]; 5] = [b"new\nline", b"not\xffutf8", b"100%2F", b"-rf", deep.as_bytes()];
    for name in names {
        write(raw(&world.src, name), name);
    }
    world.push_here(&[]).ended_with(0);
    for name in names {
        fs::remove_file(raw(&world.src, name)).expect("it can be removed");
    }
    world.push_here(&[]).ended_with(0);
    let trashed = trash_of(&world.me, &world.dst);
    assert_eq!(trashed.len(), 5);
    let mut ids: Vec<&str> = trashed.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    let back = mkdir(world.at("back"));
    let restore = [&["trash", "restore", text(&world.dst), "--to", text(&back)], &ids[..]].concat();
    world.me.run(&restore).ended_with(0);
    for name in names {
        assert_eq!(fs::read(raw(&back, name)).expect("it is back"), name, "{}", name.escape_ascii());
    }
}

#[test]
fn replaced_files_are_kept_only_when_asked() {
    let world = World::new();
    write(world.src.join("f"), "one");
    world.push_here(&[]).ended_with(0);
    write(world.src.join("f"), "two, longer");
    world.push_here(&[]).ended_with(0);
    assert!(trash_of(&world.me, &world.dst).is_empty());
    for content in ["three, longer still", "four"] {
        write(world.src.join("f"), content);
        world.push_here(&["--keep-replaced"]).ended_with(0);
    }
    assert_eq!(paths(&trash_of(&world.me, &world.dst)), ["f", "f"]);
    assert_same(&world.src, &world.dst);
    let back = mkdir(world.at("back"));
    world.me.run(&["trash", "restore", text(&world.dst), "f", "--to", text(&back)]).ended_with(0);
    assert_eq!(fs::read(back.join("f")).expect("it is back"), b"three, longer still", "the last is meant");
}

#[test]
fn the_trash_is_never_part_of_the_tree_and_works_beside_a_server() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("b"), "b");
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    rm(world.src.join("a"));
    world.push_in_step(&server, &[]);
    assert_eq!(paths(&trash_of(&world.me, &world.dst)), ["a"]);
    let again = world.push_in_step(&server, &[]);
    assert_eq!(again.did(), [0; 4]);
    world.me.run(&["trash", "empty", text(&world.dst)]).ended_with(0).says("1 entry is gone");
    assert!(trash_of(&world.me, &world.dst).is_empty());
    world.push_in_step(&server, &[]);
    server.stop().ended_with(0);
}

#[test]
fn off_means_that_nothing_is_kept() {
    for words in [["--trash-days", "0"], ["--trash-size", "0"]] {
        let world = World::new();
        write(world.src.join("d/a"), "a");
        let server = world.serve(&words);
        world.push_in_step(&server, &[]);
        rm(world.src.join("d"));
        world.push_in_step(&server, &[]);
        wait_until("what was removed is gone", || {
            listed_names(&world.dst.join(".strait/gone")).is_empty()
                && listed_names(&world.dst.join(".strait/trash")).is_empty()
        });
    }
}

#[test]
fn the_oldest_goes_when_the_trash_is_larger_than_its_bound() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        write(world.src.join(name), noise(2, 100_000));
    }
    let server = world.serve(&["--trash-size", "250K"]);
    world.push_in_step(&server, &[]);
    for name in ["a", "b", "c"] {
        rm(world.src.join(name));
        world.push_in_step(&server, &[]);
    }
    wait_until("the oldest is gone", || paths(&trash_of(&world.me, &world.dst)) == ["b", "c"]);
}

#[test]
fn what_was_removed_too_long_ago_goes_at_the_next_start() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("b"), "b");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("a"));
    world.push_here(&[]).ended_with(0);
    // A name of eight days ago.
    let trash = world.dst.join(".strait/trash");
    let eight_days_ns = 8 * 86_400 * 1_000_000_000;
    let name = listed_names(&trash).remove(0);
    let id = u64::from_str_radix(&name[..16], 16).expect("a number") - eight_days_ns;
    fs::rename(trash.join(&name), trash.join(format!("{id:016x} a"))).expect("it can be renamed");
    let server = world.serve(&[]);
    wait_until("it is gone", || trash_of(&world.me, &world.dst).is_empty());
    server.stop().ended_with(0);
}

#[test]
fn nothing_comes_back_into_the_destination_or_from_what_is_none() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.src.join("b"), "b");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("a"));
    world.push_here(&[]).ended_with(0);
    let dst = text(&world.dst);
    world
        .me
        .run(&["trash", "restore", dst, "a", "--to", dst])
        .ended_with(1)
        .says("the next pass would remove");
    world
        .me
        .run(&["trash", "restore", dst, "c", "--to", text(&world.src)])
        .ended_with(1)
        .says("holds nothing of c");
    world.me.run(&["trash", "list", text(&world.src)]).ended_with(1).says("no destination of strait");
    assert!(!world.dst.join("a").exists());
    let trash = ["push", text(&world.src), "--trash-days", "3"];
    world.me.run(&trash).ended_with(2).says("give it to `strait serve`");
}

// A directory that was not there was an error of the system, without a word on what to do.
#[test]
fn what_is_restored_comes_to_a_directory_that_is_made_but_not_in_the_destination() {
    let world = World::new();
    write(world.src.join("a"), "a");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("a"));
    world.push_here(&[]).ended_with(0);
    let restore =
        |to: &str| world.me.run(&["trash", "restore", text(&world.dst), "a", "--to", text(&world.at(to))]);
    restore("dst/new").ended_with(1).says("the next pass would remove");
    assert_eq!(listed_names(&world.dst), [".strait"]);
    restore("no/new").ended_with(1).says("make it first");
    restore("new").ended_with(0);
    assert_eq!(std::fs::read(world.at("new/a")).expect("it is back"), b"a");
}

/// A link that somebody put where a directory is to be made leads nothing out of DIR.
#[test]
fn restoring_follows_no_link_at_its_target() {
    let world = World::new();
    write(world.src.join("d/a"), "a");
    write(world.src.join("b"), "b");
    world.push_here(&[]).ended_with(0);
    rm(world.src.join("d/a"));
    world.push_here(&[]).ended_with(0);
    let (back, outside) = (mkdir(world.at("back")), mkdir(world.at("outside")));
    std::os::unix::fs::symlink(&outside, back.join("d")).expect("a link");
    world.me.run(&["trash", "restore", text(&world.dst), "d/a", "--to", text(&back)]).ended_with(1);
    assert!(listed_names(&outside).is_empty());
}

#[test]
fn a_client_that_was_removed_is_let_in_no_more() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let other = world.user("other");
    let server = world.serve(&[]);
    other.push(&world.src, server.port, &["--ticket", &server.ticket]).ended_with(0);
    other.push(&world.src, server.port, &[]).ended_with(0);
    let dst = text(&world.dst);
    let listed = world.me.run(&["authorized", "list", dst, "--json"]);
    let clients = listed.ended_with(0).events("authorised");
    let key = clients[0]["key"].as_str().expect("a key");
    assert_eq!((clients.len(), key), (1, other.run(&["key"]).out[0].as_str()));
    world.me.run(&["authorized", "remove", dst, key]).ended_with(0);
    other.push(&world.src, server.port, &[]).ended_with(5);
    world.me.run(&["authorized", "remove", dst, key]).ended_with(1).says("is not let in");
    world.me.run(&["authorized", "remove", dst, "nonsense"]).ended_with(2);
    server.stop().ended_with(0);
}

/// A client that was connected when it was removed stayed so, and its changes were taken.
#[test]
fn a_connection_of_a_client_that_is_removed_ends_within_seconds() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let other = world.user("other");
    let server = world.serve(&[]);
    let watch = other.watch(&world.src, server.port, &["--ticket", &server.ticket]);
    watch.wait_for_event("pass_done");
    let dst = text(&world.dst);
    let key = other.run(&["key"]).out[0].clone();
    world.me.run(&["authorized", "remove", dst, &key]).ended_with(0);
    let removed = std::time::Instant::now();
    let left = server.running.wait_for_event("client_left");
    assert!(removed.elapsed() < std::time::Duration::from_secs(20), "{:?}", removed.elapsed());
    assert!(left["why"].as_str().is_some_and(|why| why.contains("list of clients")), "{left}");
    write(world.src.join("b"), "b");
    server.running.wait_for_event("client_refused");
    assert!(!world.dst.join("b").exists(), "what it changes afterwards is not taken");
}

/// A small file system of its own, for root.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).expect("it is made");
        let options = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "strait-test", text(at)])
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_takes_the_trash_first_and_the_push_ends_well() {
    let world = World::new();
    let Some(_mount) = Mount::tmpfs(&world.dst, "120m") else {
        println!("skipped: needs root, to mount a small file system");
        return;
    };
    let words = ["--trash-size", "90%"];
    for round in 0..4 {
        write(world.src.join(format!("f{round}")), noise(round, 30 << 20));
        world.push_here(&words).ended_with(0);
        rm(world.src.join(format!("f{round}")));
        write(world.src.join("small"), format!("{round}"));
        world.push_here(&words).ended_with(0);
        assert_same(&world.src, &world.dst);
    }
    let kept = trash_of(&world.me, &world.dst);
    assert!(paths(&kept).contains(&"f3") && !paths(&kept).contains(&"f0"), "{kept:?}");
}
