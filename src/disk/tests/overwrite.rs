//! A file is the old or the new one wherever writing over it stops.

use super::path;
use crate::disk::{Destination, Edit, EditKind, Overlay, OverwriteError, Root, Stat};
use crate::model::{Meta, Time};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

const KIB: usize = 1 << 10;
const SIZE: usize = 300 * KIB;

fn open(dir: &Path) -> Destination {
    Destination::open(Root::open_destination(dir).unwrap(), [3; 16]).unwrap()
}

fn old() -> Vec<u8> {
    (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// Two ranges of other bytes, a hole, and a tail, or another end.
fn new(size: usize) -> (Vec<u8>, Vec<Edit>) {
    let mut new = old();
    new.resize(size, 9);
    new[5_000..9_000].fill(1);
    new[100 * KIB..164 * KIB].fill(0);
    new[200_000..200_001].fill(2);
    let bytes =
        |offset: usize, len: usize| Edit { offset: offset as u64, len: len as u64, kind: EditKind::Bytes };
    let mut edits = vec![bytes(5_000, 4_000), Edit { kind: EditKind::Zeros, ..bytes(100 * KIB, 64 * KIB) }];
    edits.push(bytes(200_000, 1));
    if size > SIZE {
        edits.push(bytes(SIZE, size - SIZE));
    }
    (new, edits)
}

struct Scene {
    dir: TempDir,
    new: Vec<u8>,
    edits: Vec<Edit>,
}

impl Scene {
    fn new(size: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), old()).unwrap();
        let (new, edits) = new(size);
        Self { dir, new, edits }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("f")).unwrap()
    }

    fn stat(&self, destination: &Destination) -> Stat {
        destination.root().stat(&path("f")).unwrap().unwrap()
    }

    fn overlay(&self, before: &Stat) -> Overlay {
        let meta = Meta { mode: 0o604, mtime: Time { secs: 1_600_000_000, nanos: 5 } };
        let size = self.new.len() as u64;
        Overlay { path: path("f"), ino: before.ino, size, meta, edits: self.edits.clone() }
    }

    /// Writes over it, and stops as a kill would at the `n`-th gate; whether it came to the end.
    fn run(&self, destination: &Destination, n_gates: &mut usize) -> Result<Stat, OverwriteError> {
        let before = self.stat(destination);
        let mut staged = destination.stage().unwrap();
        for edit in self.edits.iter().filter(|edit| edit.kind == EditKind::Bytes) {
            let range = edit.offset as usize..(edit.offset + edit.len) as usize;
            staged.write_at(&self.new[range], edit.offset).unwrap();
        }
        let overlay = self.overlay(&before);
        destination.overwrite_gated(&mut staged, &overlay, &before, &mut || killed(n_gates))
    }
}

fn killed(n_gates: &mut usize) -> io::Result<()> {
    *n_gates = n_gates.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
    Ok(())
}

#[test]
fn a_file_is_written_over_in_place() {
    for size in [SIZE, SIZE - 70 * KIB, SIZE + 70 * KIB] {
        let scene = Scene::new(size);
        let destination = open(scene.dir.path());
        let before = scene.stat(&destination);
        let stat = scene.run(&destination, &mut usize::MAX.clone()).unwrap();
        assert!(scene.bytes() == scene.new, "{size}");
        assert_eq!((stat.ino, stat.size, stat.mode), (before.ino, size as u64, 0o604));
        assert_eq!(stat.mtime, Time { secs: 1_600_000_000, nanos: 5 });
        assert_eq!(stat, scene.stat(&destination));
        let n_staged = std::fs::read_dir(scene.dir.path().join(".strait/stage")).unwrap().count();
        assert_eq!(n_staged, 0, "nothing is left in the stage");
    }
}

#[test]
fn wherever_it_is_killed_the_next_start_has_the_old_or_the_new() {
    let (mut n_old, mut n_new) = (0, 0);
    for size in [SIZE - 70 * KIB, SIZE + 70 * KIB] {
        for n in 0.. {
            let scene = Scene::new(size);
            let destination = open(scene.dir.path());
            let ended = scene.run(&destination, &mut n.clone()).is_ok();
            drop(destination);
            let restarted = open(scene.dir.path());
            let bytes = scene.bytes();
            assert!(bytes == old() || bytes == scene.new, "killed at gate {n}: neither old nor new");
            match bytes == old() {
                true => n_old += 1,
                false => n_new += 1,
            }
            assert_eq!(restarted.finish_overwrites().unwrap(), 0, "nothing is left to do");
            restarted.own().sweep_stage(&|_| false, &[]).unwrap();
            if ended {
                assert!(bytes == scene.new);
                break;
            }
        }
    }
    assert!(n_old >= 10 && n_new >= 15, "{n_old} old, {n_new} new");
}

#[test]
fn a_kill_while_it_is_done_again_changes_nothing_of_that() {
    // Killed with the record written and one range copied.
    let first = 9;
    for n in 0.. {
        let scene = Scene::new(SIZE);
        let destination = open(scene.dir.path());
        assert!(scene.run(&destination, &mut first.clone()).is_err());
        assert!(scene.bytes() != old() && scene.bytes() != scene.new, "it stands between both");
        let again = destination.finish_overwrites_gated(&mut || killed(&mut n.clone()));
        let mut left = n;
        let again = again.and_then(|_| destination.finish_overwrites_gated(&mut || killed(&mut left)));
        drop(destination);
        open(scene.dir.path());
        assert!(scene.bytes() == scene.new, "killed again at gate {n}");
        if again.is_ok() {
            break;
        }
    }
}

#[test]
fn what_must_not_be_written_over_is_left_alone() {
    let scene = Scene::new(SIZE);
    let (dir, destination) = (scene.dir.path(), open(scene.dir.path()));
    let unfit = |before: &Stat| {
        let mut staged = destination.stage().unwrap();
        let result = destination.overwrite(&mut staged, &scene.overlay(before), before);
        matches!(result, Err(OverwriteError::Unfit))
    };
    let before = scene.stat(&destination);
    std::fs::hard_link(dir.join("f"), dir.join("other")).unwrap();
    assert!(unfit(&scene.stat(&destination)), "a second name, as snapshots have");
    std::fs::remove_file(dir.join("other")).unwrap();
    assert!(unfit(&before), "ctime moved");
    let before = scene.stat(&destination);
    let file = std::fs::File::options().write(true).open(dir.join("f")).unwrap();
    file.write_all_at(b"changed", 0).unwrap();
    assert!(unfit(&before), "somebody wrote");
    std::fs::rename(dir.join("f"), dir.join("g")).unwrap();
    std::os::unix::fs::symlink("g", dir.join("f")).unwrap();
    assert!(unfit(&before), "a symlink");
    assert!(std::fs::read(dir.join("g")).unwrap()[7..] == old()[7..]);
}

#[test]
fn a_record_is_not_followed_into_another_file() {
    let scene = Scene::new(SIZE);
    let destination = open(scene.dir.path());
    assert!(scene.run(&destination, &mut 9.clone()).is_err());
    drop(destination);
    let at = scene.dir.path().join("f");
    std::fs::rename(&at, scene.dir.path().join("g")).unwrap();
    std::fs::write(&at, b"another").unwrap();
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o600)).unwrap();
    let destination = open(scene.dir.path());
    assert_eq!(scene.bytes(), b"another");
    assert_eq!(destination.finish_overwrites().unwrap(), 0);
}
