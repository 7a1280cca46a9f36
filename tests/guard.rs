//! Ways to lose a source, and that none of them deletes at the destination what was in it.

mod common;

#[path = "guard/ways.rs"]
mod ways;

use common::tree::{assert_same, listed, mkdir, mv, rm, write};
use common::{World, text, wait_until};
use std::fs;

/// A tree that the guard does not take for small.
const MANY: usize = 150;

/// A world whose source of `n` files in three directories is in step with its destination.
fn in_step(n: usize) -> World {
    let world = World::new();
    fill(&world, n);
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    world
}

fn fill(world: &World, n: usize) {
    for index in 0..n {
        write(world.src.join(format!("d{}/f{index}", index % 3)), format!("content {index}"));
    }
}

/// Takes the source away at once. Where it goes slowly, a watch that looks meanwhile sees one ordinary
/// delete after the other.
fn vanish(world: &World) {
    mv(&world.src, world.at("vanished"));
    rm(world.at("vanished"));
}

/// Every file of a source of `n` is still at the destination.
#[track_caller]
fn assert_all_there(world: &World, n: usize) {
    let there = listed(&world.dst);
    for index in 0..n {
        let path = format!("d{}/f{index}", index % 3);
        assert!(there.contains_key(std::ffi::OsStr::new(&path)), "{path} was deleted");
    }
}

#[test]
fn an_allowance_is_for_one_push() {
    let world = in_step(MANY);
    rm(&world.src);
    mkdir(&world.src);
    for _ in 0..2 {
        world.push_here(&[]).ended_with(4).says("held");
        assert_all_there(&world, MANY);
    }
    world.push_here(&["--allow-mass-delete"]).ended_with(0);
    assert!(listed(&world.dst).is_empty());
    fill(&world, MANY);
    world.push_here(&[]).ended_with(0);
    rm(&world.src);
    mkdir(&world.src);
    world.push_here(&[]).ended_with(4);
    assert_all_there(&world, MANY);
}

#[test]
fn an_allowance_is_for_the_first_pass_of_a_watch() {
    let world = in_step(MANY);
    rm(&world.src);
    mkdir(&world.src);
    let words = ["watch", text(&world.src), text(&world.dst), "--json", "-v", "--allow-mass-delete"];
    let watch = world.me.start(&words);
    watch.wait_for_event("pass_done");
    assert!(listed(&world.dst).is_empty());
    fill(&world, MANY);
    wait_until("it is sent", || listed(&world.dst).len() == MANY + 3);
    vanish(&world);
    mkdir(&world.src);
    watch.wait_for("held deletes", |said| {
        said.out.iter().find(|line| line.contains("\"held\"") && line.contains("deletes wait")).cloned()
    });
    assert_all_there(&world, MANY);
    watch.interrupt().ended_with(0);
}

#[test]
fn ordinary_deletes_go_and_an_emptied_small_tree_too() {
    let world = in_step(90);
    rm(world.src.join("d0"));
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    rm(&world.src);
    mkdir(&world.src);
    world.push_here(&[]).ended_with(0);
    assert!(listed(&world.dst).is_empty());
}

#[test]
fn a_tenth_of_a_large_tree_may_go_and_half_of_what_a_watch_saw() {
    let world = in_step(1_200);
    for index in 0..110 {
        rm(world.src.join(format!("d{}/f{index}", index % 3)));
    }
    world.push_here(&[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json", "-v"]);
    watch.wait_for_event("pass_done");
    rm(world.src.join("d0"));
    wait_until("it is gone there too", || !world.dst.join("d0").exists());
    watch.interrupt().ended_with(0).says_nothing_of("\"held\"");
    assert_same(&world.src, &world.dst);
}

#[test]
fn no_delete_never_removes_whatever_happens() {
    let world = in_step(MANY);
    mv(world.src.join("d0/f0"), world.src.join("moved"));
    rm(world.src.join("d1"));
    for words in [&["--no-delete"][..], &["--no-delete", "-n"]] {
        world.push_here(words).ended_with(0);
        assert_all_there(&world, MANY);
    }
    assert_eq!(fs::read(world.dst.join("moved")).expect("it was sent"), b"content 0");
    rm(&world.src);
    mkdir(&world.src);
    world.push_here(&["--no-delete"]).ended_with(0);
    assert_all_there(&world, MANY);
}

/// A source that was removed and made anew under a watch was once held until the old one came back.
#[test]
fn a_small_source_that_is_made_anew_under_a_watch_is_followed() {
    let world = in_step(9);
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json", "-v"]);
    watch.wait_for_event("pass_done");
    rm(&world.src);
    mkdir(&world.src);
    wait_until("it is empty there too", || listed(&world.dst).is_empty());
    for round in 0..3 {
        write(world.src.join("new/file"), format!("round {round}"));
        wait_until("the new one is watched", || {
            fs::read(world.dst.join("new/file"))
                .is_ok_and(|bytes| bytes == format!("round {round}").as_bytes())
        });
    }
    watch.interrupt().ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_large_source_that_is_made_anew_under_a_watch_is_held_and_goes_on() {
    let world = in_step(MANY);
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json", "-v"]);
    watch.wait_for_event("pass_done");
    vanish(&world);
    mkdir(&world.src);
    watch.wait_for("held deletes", |said| {
        said.out.iter().find(|line| line.contains("\"held\"") && line.contains("deletes wait")).cloned()
    });
    write(world.src.join("new"), "new");
    wait_until("what is new is sent", || world.dst.join("new").exists());
    assert_all_there(&world, MANY);
    // It comes back, piece by piece: what is there again needs no delete any more.
    rm(world.src.join("new"));
    fill(&world, MANY);
    wait_until("in step again", || common::tree::differences(&world.src, &world.dst).is_empty());
    watch.interrupt().ended_with(0);
}

// A watch that was started again had forgotten what it had seen go.
#[test]
fn what_goes_in_slices_is_held_across_a_restart_of_the_watch() {
    let world = in_step(MANY);
    let watch = |words: &[&str]| {
        let all = [&["watch", text(&world.src), text(&world.dst), "--json", "-v"], words].concat();
        world.me.start(&all)
    };
    let is_held = |watch: &common::Running| {
        watch.wait_for("held deletes", |said| {
            said.out.iter().find(|line| line.contains("\"held\"") && line.contains("bit by bit")).cloned()
        })
    };
    let first = watch(&[]);
    first.wait_for_event("pass_done");
    rm(world.src.join("d0"));
    wait_until("a third is gone there too", || !world.dst.join("d0").exists());
    first.kill();
    let second = watch(&[]);
    second.wait_for_event("pass_done");
    rm(world.src.join("d1"));
    is_held(&second);
    second.interrupt();
    let third = watch(&[]);
    is_held(&third);
    third.interrupt();
    assert_eq!(fs::read_dir(world.dst.join("d1")).expect("it is there").count(), MANY / 3);
    let last = watch(&["--allow-mass-delete"]);
    wait_until("allowed, it goes", || !world.dst.join("d1").exists());
    // And what was allowed is not held against what goes later.
    rm(world.src.join("d2/f2"));
    wait_until("one more goes", || !world.dst.join("d2/f2").exists());
    last.interrupt().ended_with(0);
    assert_same(&world.src, &world.dst);
}
