//! Scenarios: what is sent when, credit, and destinations without room.

use super::items::Body;
use super::*;
use crate::model::limits::CREDIT_BYTES;
use crate::model::ranges::counted::N_HASHED;
use crate::proto::message::{Down, Refusal};

/// Scenario 26.
#[test]
fn without_space_for_one_of_ten_nine_end_and_the_last_follows() {
    with_every_cut(|settle| {
        let mut pair = Pair::new();
        for index in 0..10 {
            pair.files.write(&path(&format!("f{index}")), &noise(index, 66_000));
        }
        pair.disk.refuses.insert(path("f3"), (Refusal::NoSpace { need: 1, free: 0 }, 1_000));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Failed);
        assert_eq!(pair.disk.items.len(), 9);
        pair.disk.refuses.clear();
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
    });
}

/// Scenario 26, in a watch: it is tried again after a while.
#[test]
fn a_watch_tries_again_when_there_may_be_space() {
    let mut pair = Pair::with(&[("small", b"1"), ("large", &noise(1, 70_000))]);
    pair.config.once = false;
    pair.disk.refuses.insert(path("large"), (Refusal::NoSpace { need: 1, free: 0 }, 2));
    pair.disk.refuses.insert(path("small"), (Refusal::Io { errno: 5 }, 2));
    assert_eq!(pair.push(), Ending::Failed);
    while pair.ending != Some(Ending::Identical) {
        pair.let_time_pass();
        pair.run();
        assert!(pair.now_ms < 1_000_000);
    }
    pair.assert_in_step();
}

/// Scenario 27: the order in which it is sent.
#[test]
fn a_small_change_is_sent_while_a_large_transfer_streams() {
    let mut pair = Pair::with(&[("large", &noise(1, 2_000_000)), ("small", b"1")]);
    pair.credit_bytes = 256 << 10;
    pair.join();
    while pair.count_ups(|up| matches!(up, Up::Delta { .. })) < 20 {
        assert!(pair.step());
    }
    let before = pair.ups.len();
    pair.files.write(&path("small"), b"2");
    pair.files.put(&path("dir"), Body::Dir);
    pair.scan();
    assert_eq!(pair.settle(), Ending::Identical);
    let planned = pair.news.iter().filter_map(|news| match news {
        News::Planned { n_files, content_bytes, .. } => Some((*n_files, *content_bytes)),
        _ => None,
    });
    let planned: Vec<_> = planned.collect();
    let [(2, 2_000_001), (2, left)] = planned[..] else { panic!("{planned:?}") };
    assert!((1..1_800_000).contains(&left), "what is under way counts as far as it was not sent, not {left}");
    let behind = pair.ups[before..].iter().filter(|up| !matches!(up, Up::Ping(_)));
    let n_before_small = behind
        .take_while(|up| !matches!(up, Up::Pack(_)))
        .filter(|up| matches!(up, Up::Delta { .. }))
        .count();
    assert!(n_before_small <= 3, "{n_before_small} frames of the large file went first");
    pair.assert_in_step();
}

/// Four at a time waited for the answers to their questions, and the link had nothing to do meanwhile: a hundred
/// of them took a hundred round trips.
#[test]
fn many_transfers_begin_side_by_side_where_they_are_small() {
    for (n_files, file_bytes, n_together) in [(40, 70_000, 32), (8, 2_000_000, 4), (40, 500_000, 8)] {
        let mut pair = Pair::new();
        pair.credit_bytes = CREDIT_BYTES;
        for index in 0..n_files {
            pair.files.write(&path(&format!("f{index}")), &noise(index, file_bytes));
        }
        assert_eq!(pair.push(), Ending::Identical);
        let before_first_end = pair.ups.iter().take_while(|up| !matches!(up, Up::End { .. }));
        let n_begun = before_first_end.filter(|up| matches!(up, Up::Put(_))).count();
        assert_eq!(n_begun, n_together, "files of {file_bytes} bytes");
        pair.assert_in_step();
    }
}

/// A symlink was charged to the credit and never given back: the link stalled after enough of them.
#[test]
fn many_symlinks_do_not_use_up_the_credit() {
    let mut pair = Pair::new();
    pair.credit_bytes = 256 << 10;
    for index in 0..300 {
        pair.files.put(&path(&format!("l{index}")), Body::Link(vec![b'x'; 2_000]));
    }
    pair.files.write(&path("after"), &noise(1, 60_000));
    assert_eq!(pair.push(), Ending::Identical);
    pair.files.write(&path("later"), &noise(2, 60_000));
    pair.files.write(&path("large"), &noise(2, 600_000));
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
}

/// Scenario 31.
#[test]
fn the_acknowledged_root_follows_whatever_the_order() {
    for seed in 0..10 {
        let mut pair = Pair::new();
        pair.turn = Turn::Random(seed);
        for index in 0..64 {
            pair.files.write(&path(&format!("f{index}")), &noise(index, 66_000 + index as usize));
        }
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
        assert_eq!(pair.count_ups(|up| matches!(up, Up::List { .. })), 0, "seed {seed}: never in doubt");
    }
}

/// More than a few transfers are under way at once: an acknowledgement is not waited for.
#[test]
fn transfers_do_not_wait_for_acknowledgements() {
    let mut pair = Pair::new();
    pair.credit_bytes = 8 << 20;
    for index in 0..40 {
        pair.files.write(&path(&format!("f{index}")), &noise(index, 70_000));
    }
    pair.join();
    while pair.count_ups(|up| matches!(up, Up::Begin { .. })) == 0 {
        assert!(pair.step());
    }
    // Nothing comes down any more.
    let hold = |pair: &mut Pair| {
        pair.drain();
        let can = !pair.replies.is_empty() || !pair.up.is_empty() || !pair.pulls.is_empty();
        if !pair.replies.is_empty() {
            pair.reply();
        } else if let Some(id) = pair.pulls.pop_front() {
            pair.pull(id);
        } else if !pair.up.is_empty() {
            pair.deliver_up();
        }
        can
    };
    while hold(&mut pair) {}
    assert_eq!(pair.count_ups(|up| matches!(up, Up::End { .. })), 40);
    assert_eq!(pair.settle(), Ending::Identical);
    pair.assert_in_step();
}

/// The parent of thousands of directories changes with each acknowledgement: it was hashed anew each time.
#[test]
fn directories_below_one_parent_cost_no_more_each_when_there_are_more_of_them() {
    let hashed_for_each = |n_dirs: usize| {
        let mut pair = Pair::new();
        // Little is under way at a time, and much is acknowledged by itself.
        pair.credit_bytes = 256 << 10;
        pair.files.put(&path("p"), Body::Dir);
        for index in 0..n_dirs {
            pair.files.put(&path(&format!("p/d{index}")), Body::Dir);
            pair.files.write(&path(&format!("p/d{index}/f")), &noise(index as u64, 3_000));
        }
        let before = N_HASHED.get();
        assert_eq!(pair.push(), Ending::Identical);
        let n_done =
            pair.downs.iter().filter(|down| matches!(down, Down::Done { root: Some(_), .. })).count();
        assert!(n_done > n_dirs / 400, "{n_done} roots are told of {n_dirs}");
        (N_HASHED.get() - before) as usize / n_dirs
    };
    let (few, many) = (hashed_for_each(1_000), hashed_for_each(4_000));
    assert!(
        many <= few * 3 / 2,
        "{few} entries are hashed for each of 1,000 directories, {many} for each of 4,000"
    );
}
