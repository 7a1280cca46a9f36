//! What may become a destination, and how one is emptied first.

use super::*;
use crate::disk::{Destination, Occupancy, clean, id_of, occupancy};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

#[test]
fn cleaning_removes_all_but_the_own_folder_and_follows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, outer) = (dir.path().join("dest"), dir.path().join("outer"));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(&outer).unwrap();
    fs::write(outer.join("precious"), "x").unwrap();
    let root = root(&inner);
    assert_eq!(occupancy(&root).unwrap(), Occupancy::Empty);
    fs::create_dir_all(inner.join("a/b/c")).unwrap();
    fs::write(inner.join("a/b/c/f"), "x").unwrap();
    symlink(&outer, inner.join("a/out")).unwrap();
    assert_eq!(occupancy(&root).unwrap(), Occupancy::Foreign);
    assert_eq!(clean(&root, &AtomicBool::new(false)).unwrap(), 5);
    assert_eq!(occupancy(&root).unwrap(), Occupancy::Empty);
    assert_eq!(count(&inner), 1);
    assert!(outer.join("precious").exists());
}

// `--clean` emptied a destination as well: again at each start of a service, at each connection over ssh.
#[test]
fn cleaning_leaves_a_destination_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("kept"), "x").unwrap();
    assert_eq!(clean(&root(dir.path()), &AtomicBool::new(false)).unwrap(), 0);
    assert!(dir.path().join("kept").exists());
}

// It became a destination before it was emptied, and what was left of it was taken for strait's own.
#[test]
fn a_root_that_was_not_emptied_to_the_end_stays_foreign() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("left"), "x").unwrap();
    assert_eq!(clean(&root(dir.path()), &AtomicBool::new(true)).unwrap(), 0);
    assert_eq!(occupancy(&root(dir.path())).unwrap(), Occupancy::Foreign);
}

#[test]
fn a_root_with_an_own_folder_but_no_id_is_foreign_unless_nothing_but_a_first_start_was_there() {
    // A first start that was killed before it wrote the id left a destination that the next refused.
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(".strait");
    fs::create_dir_all(own.join("stage")).unwrap();
    fs::write(own.join("lock"), "1").unwrap();
    fs::write(own.join("id.new"), "").unwrap();
    assert_eq!(occupancy(&root(dir.path())).unwrap(), Occupancy::Empty);
    for foreign in [own.join("stage/0000000000000001"), own.join("else"), dir.path().join("file")] {
        fs::write(&foreign, "x").unwrap();
        assert_eq!(occupancy(&root(dir.path())).unwrap(), Occupancy::Foreign, "{foreign:?}");
        fs::remove_file(&foreign).unwrap();
    }
}

// A dry run made it a destination, and the next push, not told to adopt, removed what stood there.
#[test]
fn a_foreign_root_that_was_only_looked_at_stays_foreign() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("theirs"), "x").unwrap();
    let destination = Destination::open_unmarked(root(dir.path()), [7; 16]).unwrap();
    assert_eq!(occupancy(&root(dir.path())).unwrap(), Occupancy::Foreign);
    destination.own().keep_id().unwrap();
    assert_eq!(occupancy(&root(dir.path())).unwrap(), Occupancy::Destination);
    assert_eq!(id_of(&root(dir.path())).unwrap(), Some([7; 16]));
}
