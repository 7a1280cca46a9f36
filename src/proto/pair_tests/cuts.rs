//! Scenarios that elsewhere run once, here with the link cut at every message and joined again:
//! whatever was under way, both sides end in step.

use super::disk::Body;
use super::*;
use crate::model::{Meta, Time};

const FOREIGN: Meta = Meta { mode: 0o600, mtime: Time { secs: 3, nanos: 0 } };

/// Sets a scene, lets both sides meet with every cut, and holds that they agree.
fn agrees_with_every_cut(scene: impl Fn() -> Pair) {
    with_every_cut(|settle| {
        let mut pair = scene();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
    });
}

fn pushed() -> Pair {
    let large = noise(1, 150_000);
    let mut pair = Pair::with(&[
        ("a", b"one"),
        ("d/b", b"two"),
        ("d/e/c", b"three"),
        ("empty/", b""),
        ("large", &large),
    ]);
    pair.push();
    pair
}

/// Scenario 1.
#[test]
fn equal_trees() {
    agrees_with_every_cut(pushed);
}

/// Scenario 3.
#[test]
fn a_lost_acknowledgement() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.cache = None;
        pair
    });
}

/// Scenario 6.
#[test]
fn an_edited_destination() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.disk.put_foreign(&path("a"), Body::File(b"foreign".to_vec()), FOREIGN);
        pair.disk.put_foreign(&path("more"), Body::File(b"foreign".to_vec()), FOREIGN);
        pair
    });
}

/// Scenario 7: a kill comes in place of the cut in `moves.rs`; here large and small together.
#[test]
fn a_mixed_group() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.files.write(&path("large"), &noise(2, 150_000));
        pair.files.write(&path("d/b"), b"newer");
        pair.files.put(&path("link"), Body::Link(b"a".to_vec()));
        pair.files.remove(&path("d/e"));
        pair
    });
}

/// Scenario 16, a stale tag.
#[test]
fn a_move_of_what_drifted() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.files.rename(&path("large"), &path("z"));
        pair.files.rename(&path("d"), &path("y"));
        pair.disk.edit_before_commit = vec![(path("large"), b"foreign".to_vec())];
        pair
    });
}

/// Scenario 17.
#[test]
fn other_kinds_under_one_name() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.files.remove(&path("a"));
        pair.files.write(&path("a/inside"), b"now a directory");
        pair.files.remove(&path("d"));
        pair.files.write(&path("d"), b"now a file");
        pair
    });
}

/// Scenario 24.
#[test]
fn a_removed_directory_that_grew_there() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.disk.put_foreign(&path("d/grown"), Body::File(b"foreign".to_vec()), FOREIGN);
        pair.files.remove(&path("d"));
        pair
    });
}

/// Scenario 31.
#[test]
fn many_transfers_in_any_order() {
    agrees_with_every_cut(|| {
        let mut pair = Pair::new();
        pair.turn = Turn::Random(7);
        for index in 0..8 {
            pair.files.write(&path(&format!("f{index}")), &noise(index, 66_000 + index as usize));
        }
        pair
    });
}
