//! Scenario 15. Moves, swaps and rings: each in one batch, killed between every two steps, cut at every message. Whenever
//! it is killed, each path is absent, old or new.

use super::*;
use crate::model::Kind;

/// Makes a batch of edits and brings it over: whole, killed at every step, cut at every message.
fn carried_over(files: &[(&str, &[u8])], edit: fn(&mut Files)) -> Vec<Up> {
    let fresh = || {
        let mut pair = Pair::with(files);
        assert_eq!(pair.push(), Ending::Identical);
        edit(&mut pair.files);
        pair.forget_messages();
        pair
    };
    let mut pair = fresh();
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    let changes = pair.ups.iter().filter(|up| up.change_id().is_some()).cloned().collect();
    for at in 0.. {
        let mut pair = fresh();
        let old = pair.disk.items.clone();
        pair.join();
        pair.disk.kill_at = Some(at);
        pair.run();
        let was_killed = pair.sender.is_none();
        for (path, item) in pair.disk.items.iter().filter(|(_, item)| item.kind() == Kind::File) {
            let is = |side: &Items| side.get(path).is_some_and(|other| other.bytes() == item.bytes());
            assert!(is(&old) || is(&pair.files.items), "killed at {at}: {path} is neither old nor new");
        }
        if was_killed {
            pair.join();
        }
        assert_eq!(pair.settle(), Ending::Identical, "killed at {at}");
        pair.assert_in_step();
        pair.assert_quiet();
        if !was_killed {
            break;
        }
    }
    with_every_cut(|settle| {
        let mut pair = fresh();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
    });
    changes
}

fn swap(files: &mut Files, a: &str, b: &str) {
    files.rename(&path(a), &path("swapping"));
    files.rename(&path(b), &path(a));
    files.rename(&path("swapping"), &path(b));
}

// Told as refused and made all the same, it was undone when it was tried again, and said to be in step.
#[test]
fn a_swap_that_could_not_be_made_durable_is_looked_at_before_it_is_tried_again() {
    let mut pair = Pair::with(&[("a", b"one"), ("b", b"two")]);
    pair.config.once = false;
    assert_eq!(pair.push(), Ending::Identical);
    swap(&mut pair.files, "a", "b");
    pair.disk.syncs_that_fail = 1;
    pair.push();
    while pair.ending != Some(Ending::Identical) {
        pair.let_time_pass();
        pair.run();
        assert!(pair.now_ms < 1_000_000);
    }
    pair.assert_in_step();
}

fn n_swaps(changes: &[Up]) -> usize {
    changes.iter().filter(|up| matches!(up, Up::Swap { .. })).count()
}

fn sends_content(changes: &[Up]) -> bool {
    changes.iter().any(|up| matches!(up, Up::Put(_) | Up::Pack(_)))
}

#[test]
fn two_files_that_trade_names_are_one_swap() {
    let changes = carried_over(&[("a", b"1"), ("b", b"2")], |files| swap(files, "a", "b"));
    assert_eq!(n_swaps(&changes), 1);
    assert!(!sends_content(&changes));
}

#[test]
fn two_directories_that_trade_names_are_one_swap() {
    let changes =
        carried_over(&[("a/x", b"1"), ("a/d/y", b"2"), ("b/x", b"3")], |files| swap(files, "a", "b"));
    assert_eq!(n_swaps(&changes), 1);
    assert!(!sends_content(&changes));
}

#[test]
fn a_ring_of_three_is_one_change() {
    let changes = carried_over(&[("a", b"1"), ("b", b"2"), ("d/c", b"3")], |files| {
        swap(files, "a", "b");
        swap(files, "a", "d/c");
    });
    assert!(matches!(&changes[..], [Up::Rotate { .. }, ..]), "{changes:?}");
    assert_eq!(n_swaps(&changes), 0);
    assert!(!sends_content(&changes));
}

/// A receiver that cannot rotate is sent swaps.
#[test]
fn a_ring_for_a_receiver_that_only_swaps_is_k_minus_one_swaps() {
    let mut pair = Pair::with(&[("a", b"1"), ("b", b"2"), ("c", b"3"), ("d/e", b"4")]);
    pair.is_plain = true;
    pair.push();
    for other in ["b", "c", "d/e"] {
        swap(&mut pair.files, "a", other);
    }
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Identical);
    let changes: Vec<Up> = pair.ups.iter().filter(|up| up.change_id().is_some()).cloned().collect();
    assert_eq!(n_swaps(&changes), 3);
    assert!(!sends_content(&changes) && !changes.iter().any(|up| matches!(up, Up::Rotate { .. })));
    pair.assert_in_step();
}

#[test]
fn a_ring_of_three_directories_sends_no_content() {
    let changes = carried_over(&[("a/x", b"1"), ("b/x", b"2"), ("c/x", b"3")], |files| {
        swap(files, "a", "b");
        swap(files, "a", "c");
    });
    assert!(!sends_content(&changes));
}

#[test]
fn a_rotation_of_eight_logs_sends_the_newest_only() {
    let logs: Vec<(String, Vec<u8>)> =
        (0..8).map(|index| (format!("log.{index}"), noise(index, 80_000))).collect();
    let logs: Vec<(&str, &[u8])> =
        logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let changes = carried_over(&logs, |files| {
        for index in (0..7).rev() {
            files.rename(&path(&format!("log.{index}")), &path(&format!("log.{}", index + 1)));
        }
        files.write(&path("log.0"), b"begun");
    });
    assert_eq!(changes.iter().filter(|up| matches!(up, Up::Move { .. })).count(), 7);
    assert_eq!(changes.iter().filter(|up| matches!(up, Up::Pack(_) | Up::Put(_))).count(), 1);
}

#[test]
fn a_file_and_a_directory_trade_names() {
    carried_over(&[("a", b"1"), ("b/x", b"2"), ("b/y", b"3")], |files| swap(files, "a", "b"));
}

#[test]
fn a_file_leaves_a_directory_that_goes() {
    let changes = carried_over(&[("a/keep", b"1"), ("a/drop", b"2"), ("b", b"3")], |files| {
        files.rename(&path("a/keep"), &path("keep"));
        files.remove(&path("a"));
    });
    assert!(!sends_content(&changes));
}

#[test]
fn a_directory_leaves_one_that_becomes_a_file() {
    carried_over(&[("a/in/x", b"1"), ("a/in/y", b"2")], |files| {
        files.rename(&path("a/in"), &path("out"));
        files.remove(&path("a"));
        files.write(&path("a"), b"a file");
    });
}

#[test]
fn what_is_deleted_and_made_again_is_there() {
    carried_over(&[("a/x", b"1"), ("a/y", b"2"), ("b", b"3")], |files| {
        files.remove(&path("a"));
        files.write(&path("a/x"), b"1");
        files.remove(&path("b"));
        files.write(&path("b"), b"3");
    });
}

#[test]
fn a_directory_moves_into_a_new_one_and_gets_a_new_entry() {
    let changes = carried_over(&[("a/x", b"1"), ("a/y", b"22"), ("a/z/w", b"333")], |files| {
        files.put(&path("n/m"), items::Body::Dir);
        files.rename(&path("a"), &path("n/m/a"));
        files.write(&path("n/m/a/new"), b"4");
    });
    assert!(changes.iter().any(|up| matches!(up, Up::Move { .. })));
}

#[test]
fn a_parent_and_its_child_trade_places() {
    carried_over(&[("a/b/x", b"1"), ("a/y", b"2")], |files| {
        files.rename(&path("a/b"), &path("t"));
        files.rename(&path("a"), &path("t/b"));
        files.rename(&path("t"), &path("a"));
    });
}
