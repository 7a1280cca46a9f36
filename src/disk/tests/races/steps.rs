//! Operations of several steps: a name may lead elsewhere between any two of them.

use super::*;
use crate::disk::clean::empty;
use crate::disk::partial::{Intent, Ledger, load_partial, load_values};
use crate::disk::{Edit, EditKind, Overlay, StagedFile, TrashFolder, salvage};
use crate::model::limits::GROUP_BYTES;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat, unlinkat};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

const INSIDE: &[u8] = b"inside";

/// The stat of the file that is to be written over, or, each second time, of the one outside: whoever came to
/// that one would take it for the right one.
fn stat_meant(yard: &Yard, n: usize) -> Stat {
    let stat = match n % 2 {
        0 => statat(&yard.home, "file", AtFlags::SYMLINK_NOFOLLOW),
        _ => statat(CWD, yard.outer.join("file"), AtFlags::SYMLINK_NOFOLLOW),
    };
    Stat::of(&stat.unwrap())
}

fn overlay(at: &str, stat: &Stat) -> Overlay {
    let edits = vec![Edit { offset: 0, len: 3, kind: EditKind::Bytes }];
    Overlay { path: path(at), ino: stat.ino, size: 5, meta: META, edits }
}

/// Writes a file into the directory that flips, by its descriptor.
fn write_home(yard: &Yard, name: &str, bytes: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let file = openat(&yard.home, name, flags, Mode::from_raw_mode(0o600)).unwrap();
    fs::File::from(file).write_all(bytes).unwrap();
}

fn write_inside(yard: &Yard, name: &str) {
    fs::write(yard.inner.join(name), INSIDE).unwrap();
}

/// Demands that nothing from outside came in under a name.
fn is_from_inside(yard: &Yard, name: &str) {
    if let Ok(bytes) = fs::read(yard.inner.join(name)) {
        assert_eq!(bytes, INSIDE, "{name} came from outside");
    }
}

#[test]
fn a_file_is_written_over_inside_only() {
    let yard = Yard::new();
    yard.hammer("overwrite", |destination, n| {
        let stat = stat_meant(&yard, n);
        let mut staged = destination.stage().unwrap();
        staged.write(b"new").unwrap();
        let overwritten = destination.overwrite(&mut staged, &overlay("flips/file", &stat), &stat);
        assert!(overwritten.is_err() || n % 2 == 0, "a file outside was written over");
        overwritten.is_ok()
    });
}

#[test]
fn what_was_left_half_written_over_is_ended_inside_only() {
    let yard = Yard::new();
    let stage = yard.inner.join(".strait/stage");
    yard.hammer("finish overwrites", |destination, n| {
        let overlay = overlay("flips/file", &stat_meant(&yard, n));
        fs::write(stage.join("0000000000000001"), "new").unwrap();
        fs::write(stage.join("0000000000000001.over"), overlay.to_bytes()).unwrap();
        destination.finish_overwrites().is_ok_and(|n_done| n_done > 0)
    });
}

/// A name that stands outside too, from where it could be taken, or one that does not, where it could be put.
fn name_in_turn(n: usize) -> &'static str {
    ["file", "turned"][n % 2]
}

#[test]
fn a_rotation_touches_nothing_outside() {
    let yard = Yard::in_memory();
    yard.hammer("rotate", |destination, n| {
        for name in ["one", "two"] {
            write_inside(&yard, name);
        }
        write_home(&yard, name_in_turn(n), INSIDE);
        let at = format!("flips/{}", name_in_turn(n));
        let is_done = destination.rotate(&["one", &at, "two"].map(path)).is_ok();
        ["one", "two"].iter().for_each(|name| is_from_inside(&yard, name));
        is_done
    });
}

#[test]
fn a_rotation_that_was_left_half_done_is_ended_inside_only() {
    let yard = Yard::in_memory();
    let own = yard.inner.join(".strait");
    yard.hammer("finish exchange", |destination, n| {
        let _ = fs::remove_file(yard.inner.join("one"));
        write_inside(&yard, "two");
        write_home(&yard, name_in_turn(n), INSIDE);
        fs::write(own.join("swap"), INSIDE).unwrap();
        fs::write(own.join("intent"), format!("one\0flips/{}\0two", name_in_turn(n))).unwrap();
        let is_done = destination.finish_exchange().is_ok();
        ["one", "two"].iter().for_each(|name| is_from_inside(&yard, name));
        is_done
    });
}

#[test]
fn a_directory_is_closed_up_inside_only() {
    let yard = Yard::new();
    yard.hammer("close up", |destination, _| {
        let sub = openat(&yard.home, "sub", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        fs::File::from(sub).set_permissions(fs::Permissions::from_mode(0o500)).unwrap();
        while !matches!(destination.open_up(&path("flips/sub")), Ok(Some(0o500))) {}
        destination.close_up(&path("flips/sub"), 0o500).is_ok()
    });
}

/// Notes and writes on in a transfer as a session does that goes on with one.
fn resume(destination: &Destination, id: [u8; 16]) {
    let own = destination.own();
    let stored = load_partial(own, &id).expect("it was kept");
    let mut values = load_values(own, &stored).expect("they were kept");
    let have = stored.have + 1;
    let mut ledger = Ledger::resume(own, id, stored.intent, &values);
    let mut data = own.open_data(&id).unwrap();
    data.write(b"+").unwrap();
    data.flush().unwrap();
    // Each group that is whole has its value.
    values.resize(usize::try_from(have).unwrap() / GROUP_BYTES, [7; 32]);
    ledger.note(have, &values, None).unwrap();
    ledger.keep();
    data.keep().unwrap();
}

#[test]
fn a_transfer_goes_on_in_the_stage_that_is_held() {
    let yard = Yard::new();
    let own = yard.destination.own();
    let intent = Intent { hash: ContentHash::of(b""), size: 1 << 40, path: path("a") };
    let id = [5; 16];
    let mut ledger = Ledger::new(own, id, intent);
    let mut data = own.create_data(&id).unwrap();
    data.write(b"begun").unwrap();
    data.flush().unwrap();
    ledger.note(5, &[], None).unwrap();
    ledger.keep();
    data.keep().unwrap();
    let mut staged = yard.destination.stage().unwrap();
    let number = u64::from_str_radix(staged.name(), 16).unwrap();
    staged.write(b"begun").unwrap();
    staged.keep().unwrap();
    // The same names outside: whoever came there would find all that it looks for.
    let (stage, other) = (yard.inner.join(".strait/stage"), yard.inner.join(".strait/other"));
    for entry in fs::read_dir(&stage).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), yard.outer.join(entry.file_name())).unwrap();
    }
    symlink(&yard.outer, &other).unwrap();
    yard.hammer_at("resume", [stage.clone(), other], |destination, _| {
        let leads_inside = || fs::symlink_metadata(&stage).unwrap().is_dir();
        let before = leads_inside();
        resume(destination, id);
        let mut staged = StagedFile::reopen(destination.own(), number).unwrap();
        staged.write(b"+").unwrap();
        staged.keep().unwrap();
        // Both happen: it goes through whatever the name leads to.
        before && leads_inside()
    });
}

#[test]
fn a_stage_that_was_removed_is_made_anew_inside_only() {
    let yard = Yard::new();
    let stage = yard.inner.join(".strait/stage");
    let flip = || {
        let _ = fs::remove_dir(&stage);
        let is_done = symlink(&yard.outer, &stage).is_ok();
        let _ = fs::remove_file(&stage);
        is_done
    };
    yard.hammer_with("stage", flip, |destination, _| {
        let Ok(mut staged) = destination.stage() else { return false };
        staged.write(b"new").unwrap();
        staged.flush().is_ok()
    });
}

#[test]
fn emptying_a_root_removes_nothing_outside() {
    let yard = Yard::in_memory();
    let (flips, other) = (yard.inner.join("flips"), yard.inner.join("other"));
    let exchange = || renameat_with(CWD, &flips, CWD, &other, RenameFlags::EXCHANGE).is_ok();
    let make = || {
        let _ = fs::create_dir_all(flips.join("sub"));
        if fs::symlink_metadata(&flips).is_ok_and(|found| found.is_dir()) {
            let _ = fs::write(flips.join("sub/file"), INSIDE);
        }
        let _ = symlink(&yard.outer, &other);
        false
    };
    let flip = || exchange() || make();
    yard.hammer_with("empty", flip, |destination, _| {
        // Not before both stand again, or it would be done with one at a time.
        while fs::symlink_metadata(&flips).is_err() || fs::symlink_metadata(&other).is_err() {}
        empty(destination.root(), &AtomicBool::new(false)).is_ok_and(|n_removed| n_removed > 0)
    });
}

/// The trash with one entry, a directory that holds `name`.
fn trash_with(yard: &Yard, name: &str) -> TrashFolder {
    fs::create_dir_all(yard.inner.join("old").join(name)).unwrap();
    fs::write(yard.inner.join("old").join(name).join("file"), INSIDE).unwrap();
    yard.destination.remove(&path("old")).unwrap();
    TrashFolder::of(yard.destination.root()).unwrap().expect("it is a destination")
}

#[test]
fn what_is_copied_out_of_the_trash_lands_inside_only() {
    let yard = Yard::new();
    let trash = trash_with(&yard, "sub");
    let entry = trash.list().unwrap().remove(0);
    yard.hammer("restore", |destination, _| {
        let is_done = salvage(&trash, &entry, &path("flips/made/old"), destination.root()).is_ok();
        for (name, flags) in [
            ("made/old/sub/file", AtFlags::empty()),
            ("made/old/sub", AtFlags::REMOVEDIR),
            ("made/old", AtFlags::REMOVEDIR),
            ("made", AtFlags::REMOVEDIR),
        ] {
            let _ = unlinkat(&yard.home, name, flags);
        }
        is_done
    });
}

#[test]
fn nothing_from_outside_is_copied_out_of_the_trash() {
    let yard = Yard::new();
    let trash = trash_with(&yard, "flips");
    let entry = trash.list().unwrap().remove(0);
    let at = yard.inner.join(".strait/trash").join(entry.name.to_str().unwrap());
    symlink(&yard.outer, at.join("other")).unwrap();
    let restored = yard.inner.join("restored");
    yard.hammer_at("restore from", [at.join("flips"), at.join("other")], |destination, _| {
        let is_done = salvage(&trash, &entry, &path("restored"), destination.root()).is_ok();
        for name in ["flips", "other"] {
            // What is a link here leads outside by itself.
            if fs::symlink_metadata(restored.join(name)).is_ok_and(|found| found.is_dir()) {
                is_from_inside(&yard, &format!("restored/{name}/file"));
            }
        }
        fs::remove_dir_all(&restored).unwrap();
        is_done
    });
}
