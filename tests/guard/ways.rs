//! The ways, one after the other.

use super::{MANY, assert_all_there, fill, in_step, vanish};
use crate::common::tree::{chmod, link, listed, mkdir, mv, rm, write};
use crate::common::{Ran, Running, User, World, text, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Loses a source of many files in some way and pushes: nothing that was in it may go.
#[track_caller]
fn loses_nothing(code: i32, lose: impl Fn(&World)) {
    let world = in_step(MANY);
    lose(&world);
    for words in [&[][..], &["-n"], &[]] {
        world.push_here(words).ended_with(code);
        assert_all_there(&world, MANY);
    }
}

fn empty(dir: &Path) {
    rm(dir);
    mkdir(dir);
}

#[test]
fn removed() {
    loses_nothing(4, |world| rm(&world.src));
}

#[test]
fn renamed_away() {
    loses_nothing(4, |world| mv(&world.src, world.at("away")));
}

#[test]
fn emptied() {
    loses_nothing(4, |world| {
        fs::read_dir(&world.src).expect("it is there").for_each(|entry| rm(entry.expect("an entry").path()));
    });
}

#[test]
fn made_anew_and_empty() {
    loses_nothing(4, |world| empty(&world.src));
}

#[test]
fn replaced_by_another_directory() {
    loses_nothing(4, |world| {
        let other = world.at("other");
        (0..200).for_each(|index| drop(write(other.join(format!("g{index}")), "other")));
        rm(&world.src);
        mv(&other, &world.src);
    });
}

#[test]
fn replaced_by_a_file() {
    loses_nothing(4, |world| {
        rm(&world.src);
        write(&world.src, "a file");
    });
}

#[test]
fn replaced_by_a_link_to_nothing() {
    loses_nothing(4, |world| {
        rm(&world.src);
        link("nowhere", &world.src);
    });
}

#[test]
fn replaced_by_a_link_to_an_empty_directory() {
    loses_nothing(4, |world| {
        rm(&world.src);
        link(mkdir(world.at("empty")), &world.src);
    });
}

#[test]
fn a_link_that_leads_elsewhere_now() {
    let world = World::new();
    fs::remove_dir(&world.src).expect("it is empty");
    link(mkdir(world.at("real")), &world.src);
    fill(&world, MANY);
    world.push_here(&[]).ended_with(0);
    fs::remove_file(&world.src).expect("it is a link");
    link(mkdir(world.at("empty")), &world.src);
    world.push_here(&[]).ended_with(4);
    assert_all_there(&world, MANY);
}

#[test]
fn a_link_within_a_loop() {
    loses_nothing(4, |world| {
        rm(&world.src);
        link(&world.src, &world.src);
    });
}

#[test]
fn most_of_it_lost() {
    loses_nothing(4, |world| {
        ["d0", "d1", "d2"].iter().for_each(|dir| {
            fs::read_dir(world.src.join(dir))
                .expect("a directory")
                .skip(5)
                .for_each(|entry| rm(entry.expect("an entry").path()));
        })
    });
}

#[test]
fn directories_replaced_by_files() {
    loses_nothing(4, |world| {
        ["d0", "d1", "d2"].iter().for_each(|dir| {
            rm(world.src.join(dir));
            write(world.src.join(dir), "a file");
        })
    });
}

#[test]
fn directories_replaced_by_links() {
    loses_nothing(4, |world| {
        ["d0", "d1", "d2"].iter().for_each(|dir| {
            rm(world.src.join(dir));
            link("nowhere", world.src.join(dir));
        })
    });
}

#[test]
fn everything_renamed_out_of_scope() {
    loses_nothing(4, |world| {
        ["d0", "d1", "d2"].iter().for_each(|dir| {
            mv(world.src.join(dir), world.src.join(format!(".{dir}")));
        })
    });
}

#[test]
fn everything_left_out_by_a_pattern() {
    let world = in_step(MANY);
    world.push_here(&["--exclude", "*"]).ended_with(0);
    assert_all_there(&world, MANY);
}

#[test]
fn every_name_in_capitals() {
    loses_nothing(4, |world| {
        for index in 0..MANY {
            rm(world.src.join(format!("d{}/f{index}", index % 3)));
            write(world.src.join(format!("d{}/F{index}", index % 3)), format!("other {index}"));
        }
    });
}

#[test]
fn another_source_than_before() {
    let world = in_step(MANY);
    let other = world.at("other");
    (0..1_000).for_each(|index| drop(write(other.join(format!("d0/g{index}")), "other")));
    // The first push of the other adds; what it lacks stays.
    for _ in 0..2 {
        world.me.run(&["push", text(&other), text(&world.dst)]).ended_with(4);
        assert_all_there(&world, MANY);
    }
}

#[test]
fn emptied_and_the_memory_of_it_lost_too() {
    loses_nothing(4, |world| {
        empty(&world.src);
        let clients = world.me.home.join(".local/state/strait/clients");
        fs::remove_dir_all(clients).expect("the client's cache is there");
    });
}

#[test]
fn emptied_and_the_memory_of_the_destination_lost_too() {
    loses_nothing(4, |world| {
        empty(&world.src);
        fs::remove_dir_all(world.dst.join(".strait/state")).expect("the server's cache is there");
    });
}

#[test]
fn emptied_while_a_server_listens() {
    let world = World::new();
    fill(&world, MANY);
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    empty(&world.src);
    for _ in 0..2 {
        world.push(&server, &[]).ended_with(4);
        assert_all_there(&world, MANY);
    }
}

/// A world of somebody whom modes bind.
fn bound(n: usize) -> (World, User) {
    let world = World::new();
    world.open_to_all();
    let user = world.user("bound").who_is_not_root();
    mkdir(&world.dst);
    fill(&world, n);
    for path in [&world.dst, &world.src, &world.src.join("d0"), &world.src.join("d1"), &world.src.join("d2")]
    {
        user.owns(path);
    }
    user.run(&["push", text(&world.src), text(&world.dst)]).ended_with(0);
    (world, user)
}

#[test]
fn closed_to_its_user() {
    for mode in [0o000, 0o100, 0o400] {
        let (world, user) = bound(9);
        chmod(&world.src, mode);
        let code = user.run(&["push", text(&world.src), text(&world.dst)]).code;
        assert!(matches!(code, Some(1 | 3 | 4)), "{mode:o}: {code:?}");
        assert_all_there(&world, 9);
        chmod(&world.src, 0o755);
    }
}

#[test]
fn unreadable_in_part() {
    let (world, user) = bound(9);
    chmod(world.src.join("d0"), 0o000);
    rm(world.src.join("d1/f1"));
    write(world.src.join("new"), "new");
    user.run(&["push", text(&world.src), text(&world.dst)]).ended_with(4).says("could not be listed");
    assert_all_there(&world, 9);
    assert!(world.dst.join("new").exists(), "the rest goes on");
    chmod(world.src.join("d0"), 0o755);
    user.run(&["push", text(&world.src), text(&world.dst)]).ended_with(0);
    assert!(!world.dst.join("d1/f1").exists());
}

/// A file system that is mounted for a test, and no longer.
struct Mount<'d>(&'d Path);

impl<'d> Mount<'d> {
    fn new(at: &'d Path) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "strait-test", text(at)]).output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        if !is_mounted {
            println!("skipped: needs root, to mount a file system");
        }
        is_mounted.then(|| Self(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{:?} is unmounted", self.0);
    }
}

/// However small: an empty mount point is no emptied source.
#[test]
fn unmounted() {
    let world = World::new();
    let Some(mount) = Mount::new(&world.src) else { return };
    fill(&world, 9);
    world.push_here(&[]).ended_with(0);
    drop(mount);
    for _ in 0..2 {
        world.push_here(&[]).ended_with(4).says("unmounted");
        assert_all_there(&world, 9);
    }
}

/// Pushes as on a machine that was started anew.
fn push_after_boot(world: &World, boot: &str) -> Ran {
    let id = write(world.at("boot_id"), format!("{boot}\n"));
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let mut command = world.me.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(id);
    command.arg(world.me.program()).args(["push", text(&world.src), text(&world.dst), "--json", "-v"]);
    Running::start(command).ended()
}

// Within one boot numbers tell an empty mount point from the source; after another nothing did, and all of it was
// deleted at the destination, however it was called.
#[test]
fn unmounted_while_the_machine_was_off() {
    let world = World::new();
    // The clock of births has ticks of up to 10 ms: a mount point is older than what is mounted on it.
    std::thread::sleep(Duration::from_millis(50));
    let Some(mount) = Mount::new(&world.src) else { return };
    fill(&world, 9);
    world.push_here(&[]).ended_with(0);
    push_after_boot(&world, "6a1b5f0e-0000-4000-8000-000000000001").ended_with(0);
    drop(mount);
    for _ in 0..2 {
        push_after_boot(&world, "6a1b5f0e-0000-4000-8000-000000000002").ended_with(4).says("unmounted");
        assert_all_there(&world, 9);
    }
    world.push_here(&[]).ended_with(4).says("unmounted");
    assert_all_there(&world, 9);
}

#[test]
fn unmounted_above() {
    let world = World::new();
    let volume = mkdir(world.at("volume"));
    mkdir(volume.join("photos"));
    let Some(mount) = Mount::new(&volume) else { return };
    let photos = mkdir(volume.join("photos"));
    (0..9).for_each(|index| drop(write(photos.join(format!("d{}/f{index}", index % 3)), "photo")));
    let push = || world.me.run(&["push", text(&photos), text(&world.dst)]);
    push().ended_with(0);
    drop(mount);
    push().ended_with(4).says("unmounted");
    assert_all_there(&world, 9);
}

#[test]
fn something_mounted_over_it() {
    let world = in_step(9);
    let Some(mount) = Mount::new(&world.src) else { return };
    write(world.src.join("lost+found"), "");
    world.push_here(&[]).ended_with(4).says("unmounted");
    assert_all_there(&world, 9);
    drop(mount);
    world.push_here(&[]).ended_with(0);
}

/// Starts a watch, loses the source, and waits until that is said.
fn watch_loses_nothing(world: &World, n: usize, lose: impl FnOnce(), restore: impl FnOnce()) {
    let watch = world.me.start(&["watch", text(&world.src), text(&world.dst), "--json", "-v"]);
    watch.wait_for_event("pass_done");
    lose();
    watch.wait_for_event("held");
    assert_all_there(world, n);
    restore();
    write(world.src.join("after"), "it goes on");
    wait_until("it goes on", || world.dst.join("after").exists());
    assert_all_there(world, n);
    watch.interrupt().ended_with(0);
}

#[test]
fn removed_under_a_watch() {
    let world = in_step(MANY);
    watch_loses_nothing(&world, MANY, || vanish(&world), || fill(&world, MANY));
}

#[test]
fn renamed_away_under_a_watch() {
    let world = in_step(MANY);
    let away = world.at("away");
    watch_loses_nothing(&world, MANY, || mv(&world.src, &away), || mv(&away, &world.src));
}

#[test]
fn replaced_by_another_under_a_watch() {
    let world = in_step(MANY);
    let (away, other) = (world.at("away"), world.at("other"));
    (0..9).for_each(|index| drop(write(other.join(format!("g{index}")), "other")));
    let lose = || {
        mv(&world.src, &away);
        mv(&other, &world.src);
    };
    let restore = || {
        mv(&world.src, world.at("gone"));
        mv(&away, &world.src);
    };
    watch_loses_nothing(&world, MANY, lose, restore);
}

#[test]
fn unmounted_under_a_watch() {
    let world = World::new();
    let Some(mount) = Mount::new(&world.src) else { return };
    fill(&world, 9);
    world.push_here(&[]).ended_with(0);
    watch_loses_nothing(&world, 9, || drop(mount), || ());
    assert!(!listed(&world.dst).is_empty());
}
