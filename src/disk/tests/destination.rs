//! Changing a destination.

use super::*;
use crate::disk::{Destination, DestinationError, OwnFolder, OwnFolderError, StagedFile, probe};
use crate::model::{Meta, Time};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const META: Meta = Meta { mode: 0o640, mtime: Time { secs: 1_600_000_000, nanos: 123_456_789 } };

fn put(destination: &Destination, at: &str, bytes: &[u8]) -> Stat {
    let mut staged = destination.stage().unwrap();
    staged.write(bytes).unwrap();
    staged.set_meta(&META).unwrap();
    staged.sync().unwrap();
    destination.install(staged, &path(at)).unwrap()
}

#[test]
fn an_installed_file_keeps_mode_and_time_to_the_nanosecond() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    fs::write(dir.path().join("f"), "old").unwrap();
    let stat = put(&destination, "f", b"new");
    assert_eq!(stat.meta(), META);
    assert_eq!(destination.root().stat(&path("f")).unwrap(), Some(stat));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"new");
    assert_eq!(count(&dir.path().join(".strait/stage")), 0);
}

#[test]
fn a_staged_file_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let mut staged = destination.stage().unwrap();
    staged.write(b"bytes").unwrap();
    let refused = destination.install(staged, &path("none/f")).expect_err("no such directory");
    assert!(matches!(refused.error, DestinationError::NoParent { .. }), "{refused}");
    drop(refused);
    assert_eq!(count(&dir.path().join(".strait/stage")), 0);
}

#[test]
fn zeros_are_holes_also_in_the_middle_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let mut staged = destination.stage().unwrap();
    staged.write(&[1; 4096]).unwrap();
    staged.zeros(1 << 20).unwrap();
    staged.write(&[2; 4096]).unwrap();
    staged.zeros(1 << 20).unwrap();
    staged.write_at(&[3; 10], 0).unwrap();
    let stat = destination.install(staged, &path("f")).unwrap();
    assert_eq!(stat.size, 2 * 4096 + (2 << 20));
    let holes = destination.root().open_file(&path("f")).unwrap().holes().unwrap();
    assert_eq!(holes, [(4096, 1 << 20), (8192 + (1 << 20), 1 << 20)]);
    let bytes = fs::read(dir.path().join("f")).unwrap();
    assert_eq!((bytes[0], bytes[10], bytes[4096], bytes[4096 + (1 << 20)]), (3, 1, 0, 2));
}

#[test]
fn a_kept_file_goes_on_where_it_ended_and_others_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    for id in [1, 2] {
        let mut staged = StagedFile::create(destination.own(), id).unwrap();
        staged.write(b"begun").unwrap();
        staged.keep().unwrap();
    }
    fs::create_dir_all(dir.path().join(".strait/stage/odd/below")).unwrap();
    assert_eq!(destination.own().sweep_stage(&|id| id == 1, &[]).unwrap(), 3);
    let mut staged = StagedFile::reopen(destination.own(), 1).unwrap();
    assert_eq!(staged.position(), 5);
    staged.write(b" and ended").unwrap();
    destination.install(staged, &path("f")).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"begun and ended");
}

#[test]
fn one_process_holds_a_destination_and_its_id_stays() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let busy = OwnFolder::open_or_create(destination.root(), [8; 16]).expect_err("it is locked");
    assert!(
        matches!(busy, OwnFolderError::Busy { holder: Some(pid) } if pid == std::process::id()),
        "{busy}"
    );
    drop(destination);
    let again = Destination::open(root(dir.path()), [9; 16]).unwrap();
    assert_eq!(again.own().id(), &[7; 16]);
    assert_eq!(fs::metadata(dir.path().join(".strait")).unwrap().mode() & 0o777, 0o700);
    drop(again);
    fs::write(dir.path().join(".strait/id"), "strait 2\n").unwrap();
    assert!(matches!(Destination::open(root(dir.path()), [9; 16]), Err(OwnFolderError::BadId)));
}

#[test]
fn a_symlink_in_place_of_the_own_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    symlink("elsewhere", dir.path().join(".strait")).unwrap();
    assert!(matches!(Destination::open(root(dir.path()), [9; 16]), Err(OwnFolderError::NotDir)));
}

#[test]
fn nothing_is_made_through_a_symlink() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("alias")).unwrap();
    let below = path("alias/f");
    let errors = [
        destination.make_dir(&below, &META).unwrap_err(),
        destination.make_link(&below, b"x", META.mtime).unwrap_err(),
        destination.rename(&path("real"), &below).unwrap_err(),
        destination.rename_over(&path("real"), &below).unwrap_err(),
        destination.remove(&below).unwrap_err(),
        destination.set_meta(&below, &META).unwrap_err(),
        destination.install(destination.stage().unwrap(), &below).unwrap_err().error,
    ];
    for error in errors {
        assert!(matches!(error, DestinationError::NoParent { .. }), "{error}");
    }
    let before = fs::metadata(dir.path().join("real")).unwrap();
    destination.set_meta(&path("alias"), &META).unwrap();
    assert_eq!(fs::metadata(dir.path().join("real")).unwrap().mtime(), before.mtime());
    assert_eq!(fs::symlink_metadata(dir.path().join("alias")).unwrap().mtime(), META.mtime.secs);
}

#[test]
fn links_replace_files_and_links_and_keep_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    for target in ["one", "two"] {
        let stat = destination.make_link(&path("l"), target.as_bytes(), META.mtime).unwrap();
        assert_eq!(stat.meta(), Meta { mode: 0, mtime: META.mtime });
        assert_eq!(destination.root().read_link(&path("l")).unwrap(), target.as_bytes());
    }
    destination.make_dir(&path("d"), &META).unwrap();
    let error = destination.make_link(&path("d"), b"x", META.mtime).unwrap_err();
    assert!(matches!(error, DestinationError::WrongKind { .. }), "{error}");
    assert_eq!(count(&dir.path().join(".strait/stage")), 0);
}

#[test]
fn a_rename_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    put(&destination, "a", b"a");
    put(&destination, "b", b"b");
    let taken = destination.rename(&path("a"), &path("b")).unwrap_err();
    assert!(matches!(taken, DestinationError::NameTaken { .. }), "{taken}");
    destination.rename(&path("a"), &path("c")).unwrap();
    let missing = destination.rename(&path("a"), &path("d")).unwrap_err();
    assert!(matches!(missing, DestinationError::Missing { .. }), "{missing}");
    assert_eq!(fs::read(dir.path().join("c")).unwrap(), b"a");
}

// A file that was replaced by a move was removed first: killed in between, the server left nothing at its name.
#[test]
fn a_rename_over_replaces_files_and_links_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    put(&destination, "a", b"a");
    put(&destination, "b", b"b");
    let b = fs::File::open(dir.path().join("b")).unwrap();
    destination.rename_over(&path("a"), &path("b")).unwrap();
    assert_eq!((read("b"), b.metadata().unwrap().nlink()), (b"a".to_vec(), 0));
    let missing = destination.rename_over(&path("a"), &path("b")).unwrap_err();
    assert!(matches!(missing, DestinationError::Missing { .. }), "{missing}");
    symlink("b", dir.path().join("link")).unwrap();
    destination.rename_over(&path("b"), &path("link")).unwrap();
    assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_file());
    destination.make_dir(&path("d"), &META).unwrap();
    let is_dir = destination.rename_over(&path("link"), &path("d")).unwrap_err();
    assert!(matches!(is_dir, DestinationError::WrongKind { .. }), "{is_dir}");
    fs::hard_link(dir.path().join("link"), dir.path().join("twin")).unwrap();
    destination.rename_over(&path("link"), &path("twin")).unwrap();
    assert_eq!((read("twin"), dir.path().join("link").exists()), (b"a".to_vec(), false));
}

#[test]
fn an_exchange_swaps_a_file_and_a_directory_in_one_step_or_in_three() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    put(&destination, "f", b"bytes");
    destination.make_dir(&path("d"), &META).unwrap();
    destination.exchange(&path("f"), &path("d")).unwrap();
    assert_eq!(fs::read(dir.path().join("d")).unwrap(), b"bytes");
    destination.rotate_one_by_one(&[path("f"), path("d")]).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"bytes");
    assert!(dir.path().join("d").is_dir());
    assert!(!dir.path().join(".strait/swap").exists() && !dir.path().join(".strait/intent").exists());
}

#[test]
fn an_exchange_that_a_crash_cut_off_is_ended_at_the_next_start() {
    for n_renames in 0..=3 {
        let dir = tempfile::tempdir().unwrap();
        let destination = open(dir.path());
        put(&destination, "a", b"was a");
        put(&destination, "b", b"was b");
        drop(destination);
        fs::write(dir.path().join(".strait/intent"), b"a\0b").unwrap();
        for (from, to) in
            [("a", ".strait/swap"), ("b", "a"), (".strait/swap", "b")].into_iter().take(n_renames)
        {
            fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
        }
        drop(open(dir.path()));
        let read = |name| fs::read(dir.path().join(name)).unwrap();
        let done = (b"was b".to_vec(), b"was a".to_vec());
        let not_begun = (done.1.clone(), done.0.clone());
        assert_eq!((read("a"), read("b")), if n_renames == 0 { not_begun } else { done });
        assert!(!dir.path().join(".strait/intent").exists());
    }
}

#[test]
fn a_ring_that_a_crash_cut_off_anywhere_is_ended_and_no_path_ever_holds_what_is_not_its_own() {
    let steps = [("a", ".strait/swap"), ("d", "a"), ("c", "d"), ("b", "c"), (".strait/swap", "b")];
    for n_renames in 0..=steps.len() {
        let dir = tempfile::tempdir().unwrap();
        let destination = open(dir.path());
        for name in ["a", "b", "c", "d"] {
            put(&destination, name, name.as_bytes());
        }
        drop(destination);
        fs::write(dir.path().join(".strait/intent"), b"a\0b\0c\0d").unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        for (from, to) in steps.into_iter().take(n_renames) {
            fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
            for (old, new) in [("a", "d"), ("b", "a"), ("c", "b"), ("d", "c")] {
                assert!(read(old).is_none_or(|is| is == old || is == new), "{n_renames}: {old}");
            }
        }
        drop(open(dir.path()));
        let ends = ["a", "b", "c", "d"].map(|name| read(name).unwrap()).concat();
        assert_eq!(ends, if n_renames == 0 { "abcd" } else { "dabc" }, "after {n_renames} renames");
        assert!(!dir.path().join(".strait/intent").exists() && !dir.path().join(".strait/swap").exists());
    }
}

// The next ring was written over the intent of one whose last step had failed: what it had set aside was put in
// the trash, under a name that was never its own.
#[test]
fn a_ring_that_failed_half_way_is_ended_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    for name in ["a", "c", "d", "e"] {
        put(&destination, name, name.as_bytes());
    }
    fs::write(dir.path().join(".strait/intent"), b"a\0b").unwrap();
    fs::write(dir.path().join(".strait/swap"), b"was a").unwrap();
    destination.rotate(&[path("c"), path("d"), path("e")]).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(["a", "b", "c", "d", "e"].map(read), ["a", "was a", "e", "c", "d"]);
}

#[test]
fn a_ring_rotates_files_and_directories_or_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    put(&destination, "a", b"file");
    for name in ["b", "c", "e"] {
        // To be looked into by a user who is not root, too.
        destination.make_dir(&path(name), &Meta { mode: 0o755, ..META }).unwrap();
        put(&destination, &format!("{name}/is-{name}"), b"x");
    }
    destination.rotate(&[path("a"), path("b"), path("c")]).unwrap();
    let exists = |name: &str| dir.path().join(name).exists();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"file");
    assert!(exists("c/is-b") && exists("a/is-c"));
    // A name that is not there, and one below another, which no rename can bring about.
    assert!(destination.rotate(&[path("a"), path("none"), path("c")]).is_err());
    assert!(destination.rotate(&[path("a"), path("b"), path("a/is-c")]).is_err());
    assert!(exists("a/is-c") && exists("c/is-b") && exists("b"), "all as it was");
    assert!(!exists(".strait/intent") && !exists(".strait/swap"));
}

#[test]
fn what_is_removed_lies_in_the_trash_until_that_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let mut deep = dir.path().join("d");
    for _ in 0..200 {
        deep.push("deeper");
    }
    fs::create_dir_all(&deep).unwrap();
    symlink("/etc", deep.join("link")).unwrap();
    fs::write(dir.path().join("d/f"), "x").unwrap();
    assert!(!destination.remove(&path("d")).unwrap());
    let (trash, stop) = (destination.own().trash(), AtomicBool::new(false));
    let kept = trash.list().unwrap();
    assert_eq!((kept.len(), kept[0].path.clone()), (1, Some(path("d"))));
    assert_eq!(trash.extent(&kept[0], &stop).entries, 203);
    assert_eq!(trash.sweep(&stop).unwrap(), 0);
    assert!(trash.discard(&kept[0]).unwrap() && !trash.discard(&kept[0]).unwrap());
    assert_eq!(trash.sweep(&stop).unwrap(), 203);
    assert_eq!(count(&dir.path().join(".strait/trash")) + count(&dir.path().join(".strait/gone")), 0);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn a_pinned_content_outlives_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    put(&destination, "f", b"basis");
    let pin = destination.pin(&path("f")).unwrap();
    put(&destination, "f", b"other");
    let mut bytes = [0; 5];
    destination.open_pin(pin).unwrap().read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"basis");
    destination.unpin(pin).unwrap();
    assert_eq!(count(&dir.path().join(".strait/pins")), 0);
}

#[test]
fn closed_directories_take_entries_and_stay_closed() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    for (name, mode) in [("a", 0o555), ("b", 0o000)] {
        let meta = Meta { mode, ..META };
        let inner = format!("{name}/inner");
        destination.make_dir(&path(name), &meta).unwrap();
        destination.make_dir(&path(&inner), &meta).unwrap();
        put(&destination, &format!("{inner}/f"), b"bytes");
        let closed = Meta { mode: 0, ..META };
        destination.set_meta(&path(&format!("{inner}/f")), &closed).unwrap();
        destination.make_link(&path(&format!("{inner}/l")), b"x", META.mtime).unwrap();
        assert!(destination.root().open_file(&path(&format!("{inner}/f"))).is_ok());
        destination.sync_dir(&path(&inner)).unwrap();
        // A directory that moves to another one has to change itself.
        destination.rename(&path(&inner), &path(&format!("moved-{name}"))).unwrap();
        destination.exchange(&path(name), &path(&format!("moved-{name}/f"))).unwrap();
        destination.exchange(&path(name), &path(&format!("moved-{name}/f"))).unwrap();
        put(&destination, &format!("{name}/over"), b"bytes");
        destination.set_meta(&path(&format!("{name}/over")), &closed).unwrap();
        destination.rename_over(&path(&format!("{name}/over")), &path(&format!("moved-{name}/f"))).unwrap();
        for left in [name, &format!("moved-{name}")] {
            assert_eq!(
                destination.root().stat(&path(left)).unwrap().unwrap().mode,
                u32::from(mode),
                "{left}"
            );
        }
        let stat = destination.root().stat(&path(&format!("moved-{name}/f"))).unwrap().unwrap();
        assert_eq!(stat.meta(), closed);
        destination.remove(&path(&format!("moved-{name}"))).unwrap();
    }
    let opened = destination.open_up(&path("a")).unwrap();
    if let Some(mode) = opened {
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o755);
        destination.close_up(&path("a"), mode).unwrap();
    }
    destination.sync_fs().unwrap();
    let (trash, stop) = (destination.own().trash(), AtomicBool::new(false));
    for trashed in trash.list().unwrap() {
        assert!(trash.discard(&trashed).unwrap());
    }
    trash.sweep(&stop).unwrap();
    assert_eq!(count(&dir.path().join(".strait/trash")) + count(&dir.path().join(".strait/gone")), 0);
}

#[test]
fn a_directory_keeps_the_sgid_bit_of_the_destination() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::set_permissions(dir.path().join("d"), fs::Permissions::from_mode(0o2755)).unwrap();
    assert_eq!(destination.set_meta(&path("d"), &META).unwrap().mode, 0o2640);
}

#[test]
fn the_probe_tells_what_is_kept_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let destination = open(dir.path());
    let n_before = count(&dir.path().join(".strait"));
    let keeps = probe(destination.own()).unwrap();
    // What any file system for tests on Linux does; coarser clocks are in the unit test.
    assert_eq!((keeps.mode_mask, keeps.folds_case, keeps.symlinks), (0o777, false, true));
    assert_eq!(put(&destination, "f", b"").mtime.nanos % keeps.time_step_ns, 0);
    assert_eq!(count(&dir.path().join(".strait")), n_before);
}
