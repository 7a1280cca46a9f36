//! Scenarios: transfers, drift, repair.

use super::items::Body;
use super::*;
use crate::model::{ContentHash, List, Meta, Time};
use crate::proto::message::{Put, Refusal};

const META: Meta = Meta { mode: 0o640, mtime: Time { secs: 5, nanos: 0 } };

fn is_put(up: &Up) -> bool {
    matches!(up, Up::Put(_))
}

/// Scenario 2, the receiver's side.
#[test]
fn changes_ahead_count_only_for_the_root_they_were_made_for() {
    for is_right in [true, false] {
        let mut pair = Pair::with(&[("a", b"one")]);
        pair.push();
        let scope = pair.config.scope.id();
        let root = pair.disk.tree().root_hash(&scope).expect("whole");
        let root = if is_right { root } else { ContentHash([0; 32]) };
        pair.leave();
        let hello = ahead_hello(scope, root);
        pair.greet(&hello);
        let receiver = pair.receiver.as_mut().expect("greeted");
        let make = Up::MakeDir { id: 1, path: path("ahead"), meta: META };
        receiver.receive(make, 5).expect("a change ahead");
        pair.run();
        assert_eq!(pair.disk.items.contains_key(&path("ahead")), is_right);
        let receiver = pair.receiver.as_mut().expect("greeted");
        receiver.receive(Up::Begin { root: None }, 6).expect("a beginning");
        let make = Up::MakeDir { id: 2, path: path("behind"), meta: META };
        receiver.receive(make, 7).expect("a change");
        pair.run();
        assert!(pair.disk.items.contains_key(&path("behind")));
    }
}

pub(super) fn ahead_hello(scope: [u8; 16], root: ContentHash) -> Hello {
    Hello {
        capabilities: 0,
        client: [1; 16],
        process: [2; 16],
        name: crate::proto::message::Text::default(),
        root_name: crate::proto::message::Text::default(),
        role: crate::proto::message::Role::Push,
        scope,
        keeps: None,
        fresh_ms: 0,
        ahead: Some((ROOT_ID, root)),
        ticket: None,
        extra: List::default(),
    }
}

/// Scenario 12.
#[test]
fn of_fifty_newer_versions_while_one_streams_the_last_stands() {
    for seed in 0..6 {
        let mut pair = Pair::with(&[("f", &noise(0, 200_000))]);
        pair.config.once = false;
        pair.turn = Turn::Random(seed);
        pair.push();
        for version in 1..=50 {
            let mut bytes = noise(0, 200_000);
            bytes[version * 3_000..][..100].fill(version as u8);
            pair.files.write(&path("f"), &bytes);
            pair.scan();
            for _ in 0..version % 13 {
                pair.step();
            }
        }
        assert_eq!(pair.settle(), Ending::Identical, "seed {seed}");
        pair.assert_in_step();
        assert!(pair.files.literal_bytes < 200_000 * 4, "{} literals", pair.files.literal_bytes);
    }
}

/// Scenario 13.
#[test]
fn a_source_that_changes_while_it_is_read_is_never_seen_torn() {
    for at in 0..9 {
        let mut pair = Pair::with(&[("f", &noise(1, 150_000)), ("g", b"small")]);
        pair.files.edit_at = Some((at, path("f"), noise(2, 140_000)));
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
    }
}

/// Each look found another name, which was gone before it was read: a push of such a source did not end.
#[test]
fn a_source_that_has_new_names_all_the_time_is_sent_in_part() {
    let mut pair = Pair::with(&[("a", b"1"), ("d/b", b"2"), ("fleeting-0", b"gone when it is read")]);
    pair.files.fleeting = Some(0);
    assert_eq!(pair.push(), Ending::Partial);
    assert!(pair.disk.items.contains_key(&path("a")) && pair.disk.items.contains_key(&path("d/b")));
    let named = pair.news.iter().filter(|news| matches!(news, News::Unreadable { .. })).count();
    assert_eq!(named, 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named_once_and_the_rest_is_sent() {
    let mut pair = Pair::with(&[("small", b"1"), ("good", b"2"), ("large", &noise(1, 100_000))]);
    pair.files.unreadable.insert(path("small"));
    assert_eq!(pair.push(), Ending::Partial);
    assert!(pair.disk.items.contains_key(&path("good")) && pair.disk.items.contains_key(&path("large")));
    let named = pair.news.iter().filter(|news| matches!(news, News::Unreadable { .. })).count();
    assert_eq!(named, 1);
}

/// Scenario 16: a stale tag.
#[test]
fn a_move_of_what_drifted_becomes_a_new_entry_by_content() {
    let mut pair = Pair::with(&[("a", &noise(1, 100_000)), ("d/b", b"2"), ("d/c", b"3")]);
    pair.push();
    pair.files.rename(&path("a"), &path("z"));
    pair.files.rename(&path("d"), &path("e"));
    pair.disk.edit_before_commit = vec![(path("a"), b"foreign".to_vec())];
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    pair.assert_quiet();
}

/// Scenario 16: move and edit in one settle window.
#[test]
fn a_moved_and_edited_file_is_sent_against_what_it_was() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("d/f", &noise(1, 200_000)), ("d/g", b"1"), ("d/h", b"2")]);
        pair.push();
        pair.files.rename(&path("d"), &path("e"));
        let mut bytes = noise(1, 200_000);
        bytes[9_000] ^= 1;
        pair.files.write(&path("e/f"), &bytes);
        pair.files.literal_bytes = 0;
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert!(pair.files.literal_bytes < 70_000 * (pair.n_cuts as u64 + 1), "{}", pair.files.literal_bytes);
        pair.assert_in_step();
    });
}

/// Scenario 17.
#[test]
fn under_one_name_the_last_kind_wins() {
    for seed in 0..20 {
        let mut pair = Pair::with(&[("x", b"file"), ("keep", b"1")]);
        pair.turn = Turn::Random(seed);
        pair.push();
        for round in 0..6 {
            pair.files.remove(&path("x"));
            match (round + seed) % 4 {
                0 => pair.files.write(&path("x"), &noise(seed + round, 3)),
                1 => pair.files.write(&path("x/y/z"), &noise(seed + round, 70_000)),
                2 => pair.files.put(&path("x"), Body::Link(b"keep".to_vec())),
                _ => pair.files.write(&path("x"), &noise(round, 90_000)),
            }
            pair.scan();
            for _ in 0..seed * 2 {
                pair.step();
            }
        }
        assert_eq!(pair.settle(), Ending::Identical, "seed {seed}");
        pair.assert_in_step();
        let is_wrong = |down: &Down| matches!(down, Down::Refused { why: Refusal::WrongKind, .. });
        assert!(!pair.downs.iter().any(is_wrong), "seed {seed}");
    }
}

/// Scenario 19.
#[test]
fn a_file_that_is_rebuilt_wrongly_is_repaired_by_literals() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("f", &noise(1, 200_000))]);
        pair.push();
        let mut bytes = noise(1, 200_000);
        bytes[5] ^= 1;
        pair.files.write(&path("f"), &bytes);
        pair.disk.garbles.insert(200_000, 2);
        pair.files.literal_bytes = 0;
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// Scenario 19: after three rounds a fresh stage of literals, then an exception.
#[test]
fn a_file_that_cannot_be_rebuilt_is_sent_whole_once_more_and_then_named() {
    let mut pair = Pair::with(&[("f", &noise(1, 200_000)), ("g", b"1")]);
    pair.push();
    let old = pair.disk.items[&path("f")].clone();
    pair.files.write(&path("f"), &noise(2, 200_001));
    pair.files.write(&path("g"), b"2");
    pair.disk.garbles.insert(200_001, 6);
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    pair.disk.items.insert(path("f"), old.clone());
    pair.disk.garbles.insert(200_001, 1_000);
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Partial);
    assert_eq!(pair.disk.items[&path("f")].bytes(), old.bytes(), "the old version stays");
    assert_eq!(pair.count_ups(is_put), 2);
}

/// Scenario 20: only a walk with whole hashes tells the contents apart.
#[test]
fn contents_with_equal_tags_are_found_by_a_full_walk() {
    let mut pair = Pair::with(&[("a", b"one"), ("d/b", b"two")]);
    pair.push();
    // A listing that claims the source's tag for another content.
    pair.disk.put_foreign(&path("a"), Body::File(b"two".to_vec()), pair.files.items[&path("a")].meta);
    let mut colliding = pair.files.items[&path("a")].leaf_hash();
    colliding.0[31] ^= 1;
    pair.disk.lie = Some((path("a"), colliding));
    pair.forget_messages();
    pair.cache = None;
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.ups.iter().any(|up| matches!(up, Up::List { full: true, .. })));
    assert_eq!(pair.disk.items[&path("a")].bytes(), b"one");
}

/// Scenario 33.
#[test]
fn a_pack_that_fails_is_refused_whole_and_its_files_come_one_by_one() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("a", b"12345"), ("b", b"123"), ("d/c", b"1"), ("e/", b"")]);
        pair.disk.garbles.insert(3, 1);
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        pair.assert_quiet();
    });
}

/// Scenario 33: the one that stays bad is named, the others land.
#[test]
fn a_small_file_that_stays_bad_is_an_exception_of_its_own() {
    let mut pair = Pair::with(&[("a", b"12345"), ("b", b"123"), ("d/c", b"1")]);
    pair.disk.garbles.insert(3, 1_000);
    assert_eq!(pair.push(), Ending::Partial);
    assert!(pair.disk.items.contains_key(&path("a")) && pair.disk.items.contains_key(&path("d/c")));
    assert!(!pair.disk.items.contains_key(&path("b")));
}

/// Scenario 34: what was given up too late ends once, and the new version follows.
#[test]
fn a_cancel_that_comes_too_late_is_answered_by_done_alone() {
    let mut pair = Pair::with(&[]);
    pair.push();
    let bytes = noise(1, 70_000);
    let hash = ContentHash::of(&bytes);
    let put = Put {
        id: 1,
        path: path("f"),
        meta: META,
        size: 70_000,
        hash,
        bases: List::default(),
        resume: None,
        wait: false,
    };
    let receiver = pair.receiver.as_mut().expect("joined");
    for up in [
        Up::Begin { root: None },
        Up::Put(Box::new(put)),
        Up::Delta { id: 1, at: 0, ops: List::new(vec![crate::delta::ops::Op::Literal(bytes)]) },
        Up::End { id: 1 },
        Up::Cancel { id: 1, keep: false },
    ] {
        receiver.receive(up, 5).expect("an honest sender");
    }
    pair.sender = None;
    let mut ends = Vec::new();
    loop {
        pair.drain();
        if pair.answers.is_empty() {
            break;
        }
        pair.answer();
    }
    while let Some(bytes) = pair.down.pop_front() {
        let mut frames = Frames::default();
        frames.buffer().extend(bytes);
        match frames.next_message::<Down>().expect("a frame").expect("a message") {
            Down::Done { ids, .. } => ends.extend(ids.iter().copied()),
            Down::Refused { id, .. } => ends.push((id, 0)),
            _ => {}
        }
    }
    assert_eq!(ends, [(1, 1)]);
}

/// A basis that the receiver lost costs literals, not a loop.
#[test]
fn a_basis_that_is_gone_is_replaced_by_literals() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("f", &noise(1, 100_000)), ("g", &noise(2, 100_000))]);
        pair.push();
        pair.disk.edit_before_commit = vec![(path("f"), b"x".to_vec()), (path("g"), b"y".to_vec())];
        let mut bytes = noise(1, 100_000);
        bytes[0] ^= 1;
        pair.files.write(&path("f"), &bytes);
        pair.files.write(&path("h"), &noise(2, 100_000));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
    });
}

/// A destination whose files are hashed while it is listed.
#[test]
fn a_large_foreign_tree_is_listed_while_it_is_hashed() {
    let mut pair = Pair::new();
    for dir in 0..300 {
        for file in 0..2 {
            let name = path(&format!("d{dir}/e{}/f{file}", dir % 7));
            let bytes = noise(dir * 10 + file, 20);
            pair.files.write(&name, &bytes);
            for parent in [name.parent().parent(), name.parent()] {
                if !pair.disk.items.contains_key(&parent) {
                    pair.disk.put_foreign(&parent, Body::Dir, META);
                }
            }
            let bytes = if file == 0 { bytes } else { b"foreign".to_vec() };
            pair.disk.put_foreign(&name, Body::File(bytes), META);
        }
    }
    let items = pair.disk.items.clone();
    for seed in 0..3 {
        pair.leave();
        pair.cache = None;
        pair.disk.items = items.clone();
        pair.disk.forget_hashes();
        pair.turn = Turn::Random(seed);
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
    }
}
