//! Scenarios: what is out of scope, and removals that are looked at twice or held.

use super::items::Body;
use super::*;
use crate::model::{List, Meta, Name, Time};
use crate::plan::guard::RootChange;
use crate::proto::message::{Refusal, SetMeta};
use crate::proto::receiver;
use std::collections::BTreeSet;

const FOREIGN: Meta = Meta { mode: 0o600, mtime: Time { secs: 3, nanos: 0 } };

fn small() -> Pair {
    Pair::with(&[("a", b"one"), ("d/b", b"two"), ("d/e/c", b"three"), ("empty/", b"")])
}

fn is_list(up: &Up) -> bool {
    matches!(up, Up::List { .. })
}

fn is_change(up: &Up) -> bool {
    up.change_id().is_some()
}

fn with_scope(pair: &mut Pair, hidden: bool, excludes: &[&str]) {
    let excludes: Vec<String> = excludes.iter().map(|text| text.to_string()).collect();
    pair.config.scope = Scope::new(hidden, &excludes).expect("a scope");
}

/// Scenario 23.
#[test]
fn excluded_names_at_the_destination_stay_untouched() {
    with_every_cut(|settle| {
        let mut pair = small();
        with_scope(&mut pair, false, &["*.log"]);
        for name in [".hidden", "x.log", "old", "dir"] {
            let body = if name == "dir" { Body::Dir } else { Body::File(b"foreign".to_vec()) };
            pair.disk.put_foreign(&path(name), body, FOREIGN);
        }
        pair.disk.put_foreign(&path("dir/y.log"), Body::File(b"kept".to_vec()), FOREIGN);
        pair.disk.put_foreign(&path("dir/z"), Body::File(b"goes".to_vec()), FOREIGN);
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        let names: BTreeSet<String> = pair.disk.items.keys().map(|path| path.to_string()).collect();
        for kept in [".hidden", "x.log", "dir", "dir/y.log"] {
            assert!(names.contains(kept), "{kept} stays: {names:?}");
        }
        assert!(!names.contains("old") && !names.contains("dir/z"), "{names:?}");
        pair.assert_in_step();
        pair.assert_quiet();
        // A directory of the source takes the place that was kept.
        pair.files.write(&path("dir/new"), b"new");
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
        assert!(pair.disk.items.contains_key(&path("dir/y.log")));
    });
}

/// Scenario 23, the option dropped.
#[test]
fn with_another_scope_the_names_are_in_the_tree_again() {
    let mut pair = small();
    with_scope(&mut pair, false, &[]);
    pair.disk.put_foreign(&path(".hidden"), Body::File(b"foreign".to_vec()), FOREIGN);
    pair.push();
    assert!(pair.disk.items.contains_key(&path(".hidden")));
    with_scope(&mut pair, true, &[]);
    assert_eq!(pair.push(), Ending::Identical);
    assert!(!pair.disk.items.contains_key(&path(".hidden")));
    pair.assert_in_step();
}

/// The acknowledged tree of a wider scope made every name that went out of scope a removal.
#[test]
fn a_narrower_scope_removes_nothing() {
    let mut pair = small();
    pair.files.write(&path(".hidden/x"), b"kept");
    pair.files.write(&path("d/.y"), b"kept");
    pair.push();
    with_scope(&mut pair, false, &[]);
    pair.files.remove(&path(".hidden"));
    pair.files.remove(&path("d/.y"));
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.disk.items.contains_key(&path(".hidden/x")));
    assert!(pair.disk.items.contains_key(&path("d/.y")));
    pair.assert_in_step();
}

/// A file where a directory was set aside cannot be made: said, not tried for ever.
#[test]
fn a_file_under_the_name_of_a_kept_directory_is_an_exception() {
    let mut pair = small();
    with_scope(&mut pair, false, &[]);
    pair.disk.put_foreign(&path("dir"), Body::Dir, FOREIGN);
    pair.disk.put_foreign(&path("dir/.kept"), Body::File(b"kept".to_vec()), FOREIGN);
    pair.push();
    pair.files.write(&path("dir"), b"a file");
    assert_eq!(pair.push(), Ending::Partial);
    assert!(pair.disk.items.contains_key(&path("dir/.kept")));
}

/// Scenario 24.
#[test]
fn a_directory_that_grew_at_the_destination_is_looked_at_before_it_is_removed() {
    let mut pair = small();
    pair.push();
    pair.disk.put_foreign(&path("d/grown"), Body::File(b"foreign".to_vec()), FOREIGN);
    let now_ms = pair.now_ms;
    // The receiver knows, the sender does not yet.
    let receiver = pair.receiver.as_mut().expect("joined");
    receiver.tick(now_ms + 40_000);
    receiver.receive(Up::Check { request: 99, deep: false }, now_ms + 40_001).expect("a check");
    pair.drain();
    pair.down.clear();
    while !pair.answers.is_empty() {
        pair.answer();
        pair.drain();
        pair.down.clear();
    }
    pair.files.remove(&path("d"));
    pair.forget_messages();
    pair.scan();
    assert_eq!(pair.settle(), Ending::Identical);
    let refused = |down: &Down| matches!(down, Down::Refused { why: Refusal::MoreThanSaid { n: 4 }, .. });
    assert!(pair.downs.iter().any(refused), "{:?}", pair.downs);
    assert!(pair.count_ups(is_list) > 0);
    pair.assert_in_step();
}

fn many() -> Pair {
    let mut pair = small();
    for index in 0..1_000 {
        pair.files.write(&path(&format!("m/{index}")), b"x");
    }
    pair.push();
    pair
}

/// Scenario 25.
#[test]
fn a_mass_delete_is_held_and_the_rest_goes_on() {
    let mut pair = many();
    pair.files.remove(&path("m"));
    pair.files.write(&path("a"), b"changed");
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("m/7")));
    assert_eq!(pair.disk.items[&path("a")].bytes(), b"changed");
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Held);
    assert_eq!(pair.count_ups(is_change), 0);
    pair.config.allow_mass_delete = true;
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
}

/// Scenario 25: also when the names that go make place for entries of another kind.
#[test]
fn a_mass_delete_by_a_change_of_kind_is_held_too() {
    let mut pair = many();
    pair.files.write(&path("m"), b"a file now");
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("m/7")));
    // A file that is moved to the name of the directory.
    let mut pair = many();
    pair.files.rename(&path("a"), &path("m"));
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("m/7")));
}

/// Scenario 25: the root was replaced.
#[test]
fn another_directory_under_the_name_of_the_source_deletes_nothing_past_a_hundred() {
    let mut pair = many();
    for index in 0..101 {
        pair.files.remove(&path(&format!("m/{index}")));
    }
    for index in 101..1_000 {
        pair.files.write(&path(&format!("m/{index}")), b"another");
    }
    pair.files.root = RootChange::Replaced;
    pair.files.seen_gone = [path("m")].into();
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("m/7")));
    assert_eq!(pair.disk.items[&path("m/107")].bytes(), b"another");
    // With most of it there it is the same source in another place.
    let mut pair = many();
    pair.files.remove(&path("m/7"));
    pair.files.root = RootChange::Replaced;
    assert_eq!(pair.push(), Ending::Identical);
}

/// Scenario 25: the file system of the source was unmounted; what lay below is empty.
#[test]
fn an_unmounted_source_deletes_nothing_however_small() {
    let mut pair = small();
    pair.push();
    pair.files.items.clear();
    pair.files.root = RootChange::OtherDevice;
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("a")));
    pair.files.root = RootChange::None;
    assert_eq!(pair.push(), Ending::Identical, "an emptied small tree is an ordinary thing");
    assert!(pair.disk.items.is_empty());
}

/// Scenario 25: what a running watch saw go may be up to half of all.
#[test]
fn what_was_seen_as_events_may_be_more() {
    for (n_gone, ending) in [(450, Ending::Identical), (550, Ending::Held)] {
        let mut pair = many();
        for index in 0..n_gone {
            pair.files.remove(&path(&format!("m/{index}")));
        }
        assert_eq!(pair.push(), Ending::Held, "not seen");
        pair.files.seen_gone = (0..n_gone - 1).map(|index| path(&format!("m/{index}"))).collect();
        assert_eq!(pair.push(), Ending::Held, "one of them not seen");
        pair.files.seen_gone.insert(path(&format!("m/{}", n_gone - 1)));
        assert_eq!(pair.push(), ending);
    }
}

/// A slow removal under a watch went through in slices, each of them small.
#[test]
fn what_goes_in_slices_is_held_once_more_than_half_is_gone() {
    let mut pair = many();
    pair.files.n_lately = pair.files.items.len() as u64;
    for slice in 0..10 {
        for index in slice * 90..(slice + 1) * 90 {
            pair.files.remove(&path(&format!("m/{index}")));
            pair.files.seen_gone.insert(path(&format!("m/{index}")));
        }
        let ending = if slice < 5 { Ending::Identical } else { Ending::Held };
        assert_eq!(pair.push(), ending, "slice {slice}");
    }
    assert!(pair.disk.items.contains_key(&path("m/450")) && !pair.disk.items.contains_key(&path("m/449")));
    pair.config.allow_mass_delete = true;
    assert_eq!(pair.push(), Ending::Identical);
}

/// Scenario 25: another source than the one that this destination had.
#[test]
fn another_source_deletes_nothing_past_a_hundred_until_it_is_allowed_once() {
    let mut pair = many();
    pair.config.source_id = Some([1; 16]);
    pair.disk.last_source = Some([2; 16]);
    for index in 0..101 {
        pair.files.remove(&path(&format!("m/{index}")));
    }
    for index in 101..1_000 {
        pair.files.write(&path(&format!("m/{index}")), b"another");
    }
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("m/7")));
    pair.config.allow_mass_delete = true;
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.news.iter().any(|news| matches!(news, News::AllowanceUsed)));
}

/// `--no-delete`: a name that was moved away at the source stays at the destination.
#[test]
fn where_nothing_may_be_deleted_nothing_is_moved_away() {
    let mut pair = small();
    pair.push();
    pair.config.no_delete = true;
    pair.files.rename(&path("a"), &path("moved"));
    pair.files.rename(&path("d/e"), &path("d/moved"));
    assert_eq!(pair.push(), Ending::Identical);
    for name in ["a", "moved", "d/e/c", "d/moved/c"] {
        assert!(pair.disk.items.contains_key(&path(name)), "{name}");
    }
}

/// Scenario 25: a part could not be read.
#[test]
fn what_cannot_be_listed_is_not_removed_and_makes_a_partial_end() {
    with_every_cut(|settle| {
        let mut pair = small();
        pair.push();
        pair.files.remove(&path("d/e"));
        pair.files.untouched.insert(path("d/e"));
        pair.files.write(&path("a"), b"changed");
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Partial);
        assert!(pair.disk.items.contains_key(&path("d/e/c")));
        assert_eq!(pair.disk.items[&path("a")].bytes(), b"changed");
    });
}

/// What was never listed and is not at the destination either is still not "identical".
#[test]
fn a_source_that_is_listed_in_part_deletes_nothing_anywhere() {
    let mut pair = small();
    pair.push();
    pair.files.remove(&path("a"));
    pair.files.write(&path("new"), b"new");
    pair.files.is_unlisted = true;
    assert_eq!(pair.push(), Ending::Held);
    assert!(pair.disk.items.contains_key(&path("a")) && pair.disk.items.contains_key(&path("new")));
    pair.config.allow_mass_delete = true;
    assert_eq!(pair.push(), Ending::Identical);
}

#[test]
fn an_unreadable_directory_makes_a_partial_end_even_when_roots_agree() {
    let mut pair = small();
    pair.files.untouched.insert(path("closed"));
    assert_eq!(pair.push(), Ending::Partial);
}

/// Each of its names was told as refused, where the group that it was in could not be made durable.
#[test]
fn names_that_are_left_are_left_also_in_a_group_that_is_refused() {
    let mut pair = super::hostile::ready();
    let receiver = pair.receiver.as_mut().expect("joined");
    let leave = Up::Leave { id: 1_000, paths: List::new(vec![path("a"), path("gone")]) };
    let set_meta = SetMeta::of(1_001, path("d"), &[(Name::parse(b"b").expect("a name"), FOREIGN)]);
    for up in [leave, Up::SetMeta(Box::new(set_meta))] {
        receiver.receive(up, 2).expect("it fits");
    }
    let mut said = Vec::new();
    while let Some(action) = receiver.next_action() {
        match action {
            receiver::Action::Commit { steps, .. } => {
                let results = steps.iter().map(|_| Err(Refusal::Io { errno: 5 })).collect();
                let refused = Some(Refusal::Io { errno: 5 });
                receiver.committed(receiver::Committed { results, refused, is_uncertain: true });
            }
            receiver::Action::Send(Down::Done { ids, .. }) => {
                said.extend(ids.iter().map(|(first, n)| (*first, *n)))
            }
            receiver::Action::Send(Down::Refused { id, item, .. }) => {
                assert_eq!((id, item), (1_001, Some(0)))
            }
            _ => {}
        }
    }
    assert_eq!(said, [(1_000, 1), (1_001, 1)]);
    assert!(receiver.tree().get(&path("a")).is_none() && receiver.tree().get(&path("d/b")).is_some());
}
