//! Scenarios: sessions, drift, names, metadata and scope.

use super::items::Body;
use super::*;
use crate::model::{ContentHash, Kind, Meta, Time};
use crate::proto::message::{Refusal, RootState};
use crate::proto::receiver;

const FOREIGN: Meta = Meta { mode: 0o600, mtime: Time { secs: 3, nanos: 0 } };

fn small() -> Pair {
    Pair::with(&[("a", b"one"), ("d/b", b"two"), ("d/e/c", b"three"), ("empty/", b"")])
}

/// Small files, large ones, a symlink, directories.
fn mixed() -> Pair {
    let mut pair = small();
    pair.files.write(&path("d/large"), &noise(1, 150_000));
    pair.files.write(&path("large"), &noise(2, 90_000));
    pair.files.put(&path("d/link"), Body::Link(b"../a".to_vec()));
    pair
}

fn is_list(up: &Up) -> bool {
    matches!(up, Up::List { .. })
}

fn is_change(up: &Up) -> bool {
    up.change_id().is_some()
}

#[test]
fn an_empty_destination_is_filled_whatever_is_cut() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// Scenario 1.
#[test]
fn equal_trees_need_one_root_and_nothing_else() {
    let mut pair = mixed();
    pair.push();
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Identical);
    assert_eq!(pair.count_ups(|up| is_list(up) || is_change(up)), 0);
    assert_eq!(pair.downs.len(), 2, "Welcome and Root: {:?}", pair.downs);
    pair.assert_in_step();
}

/// Scenario 4.
#[test]
fn a_lost_cache_of_either_side_costs_no_content() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        pair.push();
        pair.cache = None;
        pair.disk.forget_hashes();
        pair.forget_messages();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert_eq!(pair.count_ups(is_change), 0);
        pair.assert_in_step();
    });
}

/// Scenario 3.
#[test]
fn a_lost_acknowledgement_of_everything_walks_nothing() {
    let mut pair = mixed();
    pair.push();
    pair.cache = None;
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Identical);
    assert_eq!(pair.count_ups(|up| is_list(up) || is_change(up)), 0);
    pair.assert_in_step();
}

/// Scenario 3, half of it.
#[test]
fn after_half_a_pass_only_the_rest_is_sent() {
    let mut pair = Pair::new();
    for index in 0..6 {
        pair.files.write(&path(&format!("f{index}")), &noise(index, 100_000));
    }
    pair.join();
    pair.cut_after = Some(75);
    pair.run();
    pair.cut_after = None;
    assert!(pair.sender.is_none(), "the cut came in the middle");
    let n_there = pair.disk.items.len();
    assert!((1..6).contains(&n_there), "{n_there} files were through");
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Identical);
    assert_eq!(pair.count_ups(|up| matches!(up, Up::Put(_))), 6 - n_there);
    pair.assert_in_step();
}

/// Scenario 5.
#[test]
fn a_restored_destination_gets_the_differences_only() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        pair.push();
        let backup = pair.disk.items.clone();
        let mut bytes = noise(1, 150_000);
        bytes[70_000] ^= 1;
        pair.files.write(&path("d/large"), &bytes);
        pair.files.write(&path("a"), b"other");
        pair.push();
        pair.disk.items = backup;
        pair.disk.forget_hashes();
        pair.forget_messages();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert!(pair.files.literal_bytes < 80_000 * (pair.n_cuts as u64 + 1), "{}", pair.files.literal_bytes);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// Scenario 6, between the check of the row and the rename.
#[test]
fn a_file_edited_at_the_destination_just_before_it_is_replaced_is_repaired() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        pair.push();
        pair.files.write(&path("a"), b"new");
        pair.files.write(&path("large"), &noise(8, 90_000));
        pair.disk.edit_before_commit =
            vec![(path("a"), b"foreign".to_vec()), (path("large"), b"foreign too".to_vec())];
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// Scenario 6, during a watch.
#[test]
fn an_edit_at_the_destination_is_found_by_the_next_walk_and_repaired() {
    let mut pair = mixed();
    pair.push();
    pair.disk.put_foreign(&path("a"), Body::File(b"foreign".to_vec()), FOREIGN);
    pair.disk.put_foreign(&path("new"), Body::File(b"foreign".to_vec()), FOREIGN);
    pair.disk.items.remove(&path("d/e/c"));
    pair.ending = None;
    pair.forget_messages();
    assert_eq!(pair.settle(), Ending::Identical);
    assert!(pair.now_ms >= 900_000, "the receiver walks now and then");
    pair.assert_in_step();
    let is_told = |down: &Down| {
        matches!(down, Down::Root { state: RootState::Complete { .. } | RootState::Hashing { .. }, .. })
    };
    assert!(pair.downs.iter().any(is_told));
}

/// Scenario 7.
#[test]
fn a_receiver_killed_at_any_step_leaves_every_path_old_or_new() {
    let mut at = 0;
    loop {
        let mut pair = mixed();
        pair.push();
        let mut allowed: std::collections::HashSet<ContentHash> =
            pair.disk.items.values().map(|item| item.leaf_hash()).collect();
        pair.files.write(&path("a"), b"one more");
        pair.files.write(&path("d/large"), &noise(3, 160_000));
        pair.files.rename(&path("d/e"), &path("e"));
        pair.files.write(&path("e/n/m"), b"new");
        pair.files.remove(&path("empty"));
        pair.files.remove(&path("d/link"));
        pair.files.set_mtime(&path("large"));
        allowed.extend(pair.files.items.values().map(|item| item.leaf_hash()));
        pair.disk.kill_at = Some(at);
        pair.disk.n_steps = 0;
        pair.join();
        pair.disk.kill_at = Some(at);
        pair.run();
        assert_eq!(pair.disk.torn(&allowed), []);
        let was_killed = pair.sender.is_none();
        if was_killed {
            pair.join();
        }
        assert_eq!(pair.settle(), Ending::Identical, "killed at step {at}");
        pair.assert_in_step();
        pair.assert_quiet();
        if !was_killed {
            break;
        }
        at += 1;
    }
    assert!(at > 10, "{at} steps were tried");
}

/// Scenario 21, the part about metadata.
#[test]
fn times_and_modes_of_directories_are_right_after_what_is_in_them_changed() {
    with_every_cut(|settle| {
        let mut pair = small();
        for index in 0..50 {
            pair.files.write(&path(&format!("d/e/{index}")), b"x");
        }
        pair.files.items.get_mut(&path("d/e")).expect("a directory").meta.mode = 0o555;
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        for index in 0..50 {
            pair.files.set_mtime(&path(&format!("d/e/{index}")));
        }
        pair.files.set_mtime(&path("d"));
        pair.files.literal_bytes = 0;
        assert_eq!(pair.push(), Ending::Identical);
        assert_eq!(pair.files.literal_bytes, 0);
        pair.assert_in_step();
    });
}

/// A directory that was written into and then moved in one group got its time from the rename.
#[test]
fn a_directory_moved_after_it_was_written_into_keeps_its_time() {
    let mut pair = small();
    pair.push();
    pair.files.write(&path("d/e/new"), b"x");
    pair.scan();
    pair.run();
    pair.files.rename(&path("d"), &path("q"));
    pair.push();
    pair.assert_in_step();
    pair.assert_quiet();
}

/// Scenario 22.
#[test]
fn a_destination_that_keeps_less_agrees_on_what_it_keeps() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        pair.keeps = Keeps { time_step_ns: 2_000_000_000, mode_mask: 0o700, symlinks: false, ..Keeps::ALL };
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Partial, "there are no symlinks there");
        pair.assert_in_step();
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Partial);
        assert_eq!(pair.count_ups(is_change), 0, "{:?}", pair.ups);
        let named = |news: &News| matches!(news, News::Refused { path, why: Refusal::KindUnfit } if path.to_string() == "d/link");
        assert_eq!(pair.news.iter().filter(|news| named(news)).count(), 1, "{:?}", pair.news);
        pair.files.remove(&path("d/link"));
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
    });
}

/// Scenario 22: a name that folds with another is an exception, with all that is below it.
#[test]
fn a_refused_directory_is_said_once_and_nothing_below_it_is_tried() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("dir/x", b"1"), ("Dir/y", b"2"), ("Dir/sub/z", b"3"), ("f", b"4")]);
        pair.files.write(&path("Dir/large"), &noise(5, 80_000));
        let by = crate::model::Name::parse(b"dir").expect("a name");
        pair.disk.refuses.insert(path("Dir"), (Refusal::NameTaken { by }, 1_000));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Partial);
        assert!(pair.disk.items.contains_key(&path("dir/x")) && pair.disk.items.contains_key(&path("f")));
        let n_put = pair.count_ups(|up| matches!(up, Up::Put(_)));
        assert!(n_put <= 1 + pair.n_cuts, "{n_put} transfers into what was refused");
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Partial);
    });
}

#[test]
fn no_delete_keeps_what_is_there_and_is_identical() {
    let mut pair = small();
    pair.push();
    pair.files.remove(&path("d"));
    pair.config.no_delete = true;
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.disk.items.contains_key(&path("d/b")));
}

#[test]
fn a_dry_run_tells_the_changes_and_makes_none() {
    let mut pair = mixed();
    pair.config.dry_run = true;
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.disk.items.is_empty());
    assert_eq!(pair.count_ups(is_change), 0);
    assert!(pair.news.iter().any(|news| matches!(news, News::Planned { changes, .. } if changes.len() == 9)));
}

#[test]
fn a_foreign_destination_is_adopted_without_sending_what_it_holds() {
    with_every_cut(|settle| {
        let mut pair = mixed();
        for (name, item) in pair.files.items.clone() {
            if item.kind() != Kind::Dir && name != path("a") {
                continue;
            }
            let meta = FOREIGN;
            pair.disk.put_foreign(&name, item.body, meta);
        }
        pair.disk.put_foreign(&path("d/large"), Body::File(noise(1, 150_000)), FOREIGN);
        pair.disk.put_foreign(&path("elsewhere"), Body::File(noise(2, 90_000)), FOREIGN);
        pair.disk.put_foreign(&path("d/old"), Body::File(noise(4, 70_000)), FOREIGN);
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert!(pair.files.literal_bytes < 100 * (pair.n_cuts as u64 + 1), "{}", pair.files.literal_bytes);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// A walk of the receiver's own that takes a while is told of; when it found nothing, nothing was told any more, and
/// the sender waited for the root for ever.
#[test]
fn a_walk_that_was_told_of_and_finds_nothing_is_told_to_have_ended() {
    let mut pair = Pair::with(&[("a", b"one")]);
    pair.config.once = false;
    pair.join();
    assert_eq!(pair.settle(), Ending::Identical);
    let receiver = pair.receiver.as_mut().expect("it is joined");
    let mut at_ms = pair.now_ms;
    let mut walks = Vec::new();
    while walks.is_empty() {
        at_ms = at_ms.max(receiver.deadline_ms());
        receiver.receive(Up::Ping(0), at_ms).expect("an honest sender");
        receiver.tick(at_ms);
        let actions = std::iter::from_fn(|| receiver.next_action());
        walks.extend(actions.filter(|action| matches!(action, receiver::Action::Walk { .. })));
    }
    let told = |receiver: &mut Receiver| {
        let actions = std::iter::from_fn(|| receiver.next_action());
        let roots = actions.filter_map(|action| match action {
            receiver::Action::Send(Down::Root { state, .. }) => Some(state),
            _ => None,
        });
        roots.last()
    };
    receiver.tick(at_ms + 5_000);
    assert!(matches!(told(receiver), Some(RootState::Walking { .. })));
    let mut answers = Vec::new();
    pair.disk.act(walks.remove(0), &mut answers);
    let Some(Answer::Walked(walked)) = answers.into_iter().next() else { panic!("no walk") };
    receiver.walked(walked, at_ms + 5_000).expect("an honest sender");
    assert!(matches!(told(receiver), Some(RootState::Complete { .. })));
}
