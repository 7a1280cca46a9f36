//! Changed small files, by the names of their blocks.

use super::*;
use crate::proto::message::PackBody;

/// Forty files of 4 KiB that were pushed.
fn pushed() -> Pair {
    let mut pair = Pair::new();
    for index in 0..40 {
        pair.files.write(&path(&format!("d{}/f{index}", index % 3)), &noise(index, 4_096));
    }
    pair.push();
    pair.forget_messages();
    pair
}

/// Changes a few bytes of each.
fn edit(pair: &mut Pair) {
    for index in 0..40 {
        let mut bytes = noise(index, 4_096);
        bytes.splice(2_000..2_003, *b"edited");
        pair.files.write(&path(&format!("d{}/f{index}", index % 3)), &bytes);
    }
}

fn asks(pair: &Pair) -> usize {
    pair.count_ups(|up| matches!(up, Up::AskBlocks { .. }))
}

/// Content bytes in packs, and whether every body was one of runs.
fn packed(pair: &Pair) -> (u64, bool) {
    let packs = pair.ups.iter().filter_map(|up| if let Up::Pack(pack) = up { Some(pack) } else { None });
    let bodies: Vec<&PackBody> = packs.flat_map(|pack| pack.files.iter().map(|file| &file.body)).collect();
    let bytes = bodies.iter().map(|body| body.content_bytes()).sum();
    (bytes, bodies.iter().all(|body| matches!(body, PackBody::Runs(_))))
}

#[test]
fn many_changed_small_files_travel_as_runs_after_two_questions() {
    let mut pair = pushed();
    edit(&mut pair);
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    assert_eq!(asks(&pair), 2);
    let (bytes, all_runs) = packed(&pair);
    assert!(all_runs);
    assert!(bytes <= 40 * (6 + 2 * 128), "{bytes} bytes");
}

#[test]
fn a_sender_that_knows_nothing_asks_as_well() {
    let mut pair = pushed();
    edit(&mut pair);
    pair.cache = None;
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    assert!(packed(&pair).1);
}

#[test]
fn a_few_changed_small_files_wait_for_no_answer() {
    let mut pair = pushed();
    pair.files.write(&path("d0/f0"), &noise(99, 4_096));
    assert_eq!(pair.push(), Ending::Identical);
    assert_eq!(asks(&pair), 0);
}

#[test]
fn files_whose_runs_make_something_else_come_one_by_one() {
    let mut pair = pushed();
    edit(&mut pair);
    pair.disk.garbles.insert(4_099, 1);
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    assert_eq!(pair.count_ups(|up| matches!(up, Up::Put(_))), 40);
}

#[test]
fn what_differs_wholly_travels_whole() {
    let mut pair = pushed();
    for index in 0..40 {
        pair.files.write(&path(&format!("d{}/f{index}", index % 3)), &noise(1_000 + index, 4_096));
    }
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    let (bytes, all_runs) = packed(&pair);
    assert!(!all_runs);
    assert_eq!(bytes, 40 * 4_096);
}

/// The link is cut at every message, and the source changes once more before it is joined again.
#[test]
fn cut_anywhere_both_end_in_step() {
    with_every_cut(|settle| {
        let mut pair = pushed();
        edit(&mut pair);
        pair.files.remove(&path("d0/f3"));
        pair.files.rename(&path("d1/f1"), &path("d2/moved"));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
    });
}

#[test]
fn a_basis_that_changed_behind_the_receiver_is_not_asked_in_vain() {
    let mut pair = pushed();
    edit(&mut pair);
    pair.join();
    // Until the receiver has walked; then it looks again before it answers.
    while pair.ups.iter().all(|up| !matches!(up, Up::AskBlocks { .. })) {
        assert!(pair.step());
        if pair.up.iter().any(|bytes| bytes.get(3) == Some(&22)) {
            break;
        }
    }
    let meta = crate::model::Meta { mode: 0o600, mtime: crate::model::Time { secs: 3, nanos: 0 } };
    pair.disk.put_foreign(&path("d0/f0"), items::Body::File(b"foreign".to_vec()), meta);
    assert_eq!(pair.settle(), Ending::Identical);
    pair.assert_in_step();
}
