//! The other ways to a destination: a path of this machine, and ssh (here a script that stands in for it).

use crate::common::ssh::{over_ssh, stand_in};
use crate::common::tree::*;
use crate::common::{World, assert_same, text};

#[test]
fn a_local_path_is_brought_in_step() {
    let world = World::new();
    write(world.src.join("d/a"), noise(1, 300_000));
    link("d", world.src.join("l"));
    let first = world.push_here(&[]);
    first.ended_with(0);
    assert_same(&world.src, &world.dst);
    let second = world.push_here(&[]);
    assert_eq!(second.ended_with(0).did(), [0; 4]);
    assert!(second.wire() < 512, "{} bytes to find that nothing changed", second.wire());
    mv(world.src.join("d"), world.src.join("e"));
    let third = world.push_here(&[]);
    assert_eq!(third.ended_with(0).did(), [0, 1, 0, 0]);
    assert_same(&world.src, &world.dst);
}

#[test]
fn relative_paths_and_slashes_mean_what_they_say() {
    let world = World::new();
    write(world.me.home.join("here/a"), "a");
    world.me.run(&["push", "here/", "there/"]).ended_with(0);
    assert_same(&world.me.home.join("here"), &world.me.home.join("there"));
    write(world.me.home.join("here/b"), "b");
    world.me.run(&["push", "./here", "./there"]).ended_with(0);
    write(world.me.home.join("with:colon/a"), "a");
    world.me.run(&["push", "here", "./with:colon", "--adopt"]).ended_with(0);
    assert_same(&world.me.home.join("here"), &world.me.home.join("with:colon"));
}

#[test]
fn a_foreign_local_destination_needs_adopt_or_clean() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 200_000));
    write(world.dst.join("a"), noise(1, 200_000));
    write(world.dst.join("foreign"), "x");
    world.push_here(&[]).ended_with(1).says("--adopt").says("--clean");
    assert!(!world.dst.join(".strait").exists());
    let adopted = world.push_here(&["--adopt"]);
    assert!(adopted.ended_with(0).wire() < 20_000, "{}", adopted.wire());
    assert_same(&world.src, &world.dst);
    rm(world.dst.join(".strait"));
    world.push_here(&["--clean"]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

// It took the directory for strait's own from then on.
#[test]
fn a_dry_run_that_is_to_adopt_changes_nothing_and_leaves_it_foreign() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.dst.join("foreign"), "x");
    let far = format!("far:{}", text(&world.dst));
    let over_there = ["push", text(&world.src), &far, "--dry-run", "--adopt"];
    over_ssh(&world, &over_there).ended_with(0).says("would delete foreign");
    let planned = world.push_here(&["--dry-run", "--adopt"]);
    assert_eq!(planned.ended_with(0).events("planned").len(), 2);
    world.push_here(&[]).ended_with(1).says("--adopt").says("--clean");
    assert_eq!(listed_names(&world.dst), [".strait", "foreign"]);
    world.push_here(&["--adopt"]).ended_with(0);
    assert_same(&world.src, &world.dst);
    world.push_here(&[]).ended_with(0);
}

// Each connection of a watch empties it again: all was gone, and sent once more.
#[test]
fn clean_over_ssh_empties_a_destination_only_once() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 300_000));
    write(world.dst.join("foreign"), "x");
    let far = format!("far:{}", text(&world.dst));
    let words = ["push", text(&world.src), &far, "--clean", "--json"];
    over_ssh(&world, &words).ended_with(0);
    assert_same(&world.src, &world.dst);
    assert_eq!(over_ssh(&world, &words).ended_with(0).did(), [0; 4]);
}

// It waited for ever, for what only a new start can bring.
#[test]
fn a_watch_whose_local_destination_was_removed_ends_and_says_so() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json"]);
    watch.wait_for_event("pass_done");
    rm(&world.dst);
    write(world.src.join("b"), "b");
    watch.ended().ended_with(1).says("was removed or replaced while it was in use");
}

#[test]
fn ssh_runs_a_server_over_there() {
    let world = World::new();
    write(world.src.join("a"), noise(1, 300_000));
    let dest = format!("me@far:{}", text(&world.dst));
    let first = over_ssh(&world, &["push", text(&world.src), &dest, "--json"]);
    first.ended_with(0);
    assert_same(&world.src, &world.dst);
    let words = std::fs::read_to_string(world.at("words")).expect("the stand-in wrote it");
    assert!(words.starts_with("me@far\nstrait serve --stdio -- "), "{words}");
    let second = over_ssh(&world, &["push", text(&world.src), &dest, "--json"]);
    assert_eq!(second.ended_with(0).did(), [0; 4]);
    assert!(second.wire() < 5_000, "{}", second.wire());
    // The far end told of its client and what came of it, whatever this side was asked to say.
    write(world.src.join("b"), "b");
    let quiet = over_ssh(&world, &["push", text(&world.src), &dest, "-q"]);
    assert_eq!(quiet.ended_with(0).all(), "", "{}", quiet.all());
}

#[test]
fn ssh_takes_paths_that_a_shell_would_take_apart() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let name = "it's; a $(touch bad) \"name\"";
    let dest = format!("far:{}", text(&world.at(name)));
    over_ssh(&world, &["push", text(&world.src), &dest]).ended_with(0);
    assert_same(&world.src, &world.at(name));
    // Relative paths begin at the home directory there.
    over_ssh(&world, &["push", text(&world.src), "far:in home"]).ended_with(0);
    assert_same(&world.src, &world.me.home.join("in home"));
    over_ssh(&world, &["push", text(&world.src), "far:~/tilde"]).ended_with(0);
    assert_same(&world.src, &world.me.home.join("tilde"));
    over_ssh(&world, &["push", text(&world.src), "far:-dash"]).ended_with(0);
    assert_same(&world.src, &world.me.home.join("-dash"));
}

#[test]
fn rsh_changes_the_command_and_may_carry_options() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let script = stand_in(&world);
    // `env` swallows nothing: the stand-in still sees the host first.
    let rsh = format!("env NOTHING=1 '{}'", text(&script));
    let dest = format!("far:{}", text(&world.dst));
    world.me.run(&["push", text(&world.src), &dest, "--rsh", &rsh]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn what_goes_wrong_over_there_is_said_here() {
    let world = World::new();
    write(world.src.join("a"), "a");
    write(world.dst.join("foreign"), "x");
    let dest = format!("far:{}", text(&world.dst));
    let ran = over_ssh(&world, &["push", text(&world.src), &dest]);
    ran.ended_with(1).says("--adopt").says("--clean");
    over_ssh(&world, &["push", text(&world.src), &dest, "--adopt"]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_far_side_without_ssh_or_strait_is_explained() {
    let world = World::new();
    write(world.src.join("a"), "a");
    let push = |rsh: &str| world.me.run(&["push", text(&world.src), "far:dst", "--rsh", rsh]);
    push("/no/such/program").ended_with(1).says("/no/such/program is not installed here");
    let script = write(world.at("rsh"), "#!/bin/sh\nshift\nPATH=/nowhere\neval \"$*\"\n");
    chmod(&script, 0o755);
    push(text(&script)).ended_with(1).says("install strait there");
    let script = write(world.at("rsh"), "#!/bin/sh\necho 'ssh: no route to host' >&2\nexit 255\n");
    chmod(&script, 0o755);
    let ran = push(text(&script));
    ran.says("could not connect to far").says("no route to host");
    assert_eq!(ran.code, Some(6), "{}", ran.all());
}

#[test]
fn another_version_of_the_protocol_is_told_to_be_updated() {
    let world = World::new();
    write(world.src.join("a"), "a");
    // The preface of version 9, then its frozen refusal.
    let script = write(
        world.at("rsh"),
        "#!/bin/sh\nprintf 'strait\\011\\000'\nprintf '\\023\\000\\000\\000\\000\\000\\011\\000\\011\\000\\011\\000too old. '\nexec sleep 1\n",
    );
    chmod(&script, 0o755);
    let ran = world.me.run(&["push", text(&world.src), "far:dst", "--rsh", text(&script)]);
    ran.ended_with(1).says("version 9").says("version 1").says("update");
    // A login script that prints is no strait.
    let script = write(world.at("rsh"), "#!/bin/sh\necho 'Welcome to this machine!'\nexec sleep 1\n");
    chmod(&script, 0o755);
    let ran = world.me.run(&["push", text(&world.src), "far:dst", "--rsh", text(&script)]);
    ran.ended_with(1).says("strait");
}

#[test]
fn another_version_of_a_client_is_refused_by_the_server() {
    let world = World::new();
    let mut command = world.me.command("sh");
    let program = text(world.me.program());
    let line = format!("printf 'strait\\011\\000' | '{program}' serve --stdio '{}'", text(&world.dst));
    command.args(["-c", &line]);
    // Its answer is binary: only what it says on standard error is looked at here.
    command.args(["sh"]);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("version 9"), "{said}");
    assert!(output.stdout.starts_with(b"strait\x01\x00"), "{:?}", output.stdout);
}

#[test]
fn a_source_inside_the_destination_over_ssh_is_left_alone() {
    let world = World::new();
    let inner = write(world.at("outer/inner/file"), "precious").parent().expect("a parent").to_owned();
    let before = listed(&inner);
    for _ in 0..2 {
        let far = format!("far:{}", text(&world.at("outer")));
        let ran = over_ssh(&world, &["push", text(&inner), &far, "--adopt"]);
        ran.ended_with(1).says("lies inside the destination");
        assert_eq!(listed(&inner), before);
    }
}
