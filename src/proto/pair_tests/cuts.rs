//! Scenarios that elsewhere run once, here with the link cut at every message and joined again:
//! whatever was under way, both sides end in step.

use super::items::Body;
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

/// Scenario 3, half of it: cut after every message, and what came of it then cut once more.
#[test]
fn half_of_a_pass() {
    let six = || {
        let mut pair = Pair::new();
        for index in 0..6 {
            pair.files.write(&path(&format!("f{index}")), &noise(index, 100_000));
        }
        pair.join();
        pair
    };
    let n_sent = |pair: &Pair| pair.count_ups(|up| matches!(up, Up::Put(_)));
    cut_anywhere(six, |pair| {
        pair.run();
        let n_there = pair.disk.items.len();
        if pair.sender.is_none() {
            pair.forget_messages();
            assert_eq!(pair.push(), Ending::Identical);
            assert_eq!(n_sent(pair), 6 - n_there);
        }
        pair.assert_in_step();
    });
    agrees_with_every_cut(|| {
        let mut pair = six();
        pair.cut_after = Some(75);
        pair.run();
        pair.cut_after = None;
        assert!(pair.sender.is_none() && (1..6).contains(&pair.disk.items.len()));
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

/// Cuts the link after every number of messages of a scene that goes on meanwhile: a message may also come
/// between two edits. What it is about is looked at by `act` itself.
pub(super) fn cut_anywhere(scene: impl Fn() -> Pair, act: impl Fn(&mut Pair)) {
    for cut in 0.. {
        let mut pair = scene();
        pair.cut_after = Some(cut);
        act(&mut pair);
        if pair.cut_after.is_some() {
            assert!(cut > 10, "{cut} messages were tried");
            return;
        }
    }
}

/// Scenario 12.
#[test]
fn newer_versions_while_one_streams() {
    let base = noise(0, 200_000);
    let scene = || {
        let mut pair = Pair::with(&[("f", &base)]);
        pair.config.once = false;
        pair.turn = Turn::Random(3);
        pair.push();
        pair
    };
    cut_anywhere(scene, |pair| {
        for version in 1..=50 {
            let mut bytes = base.clone();
            bytes[version * 3_000..][..100].fill(version as u8);
            pair.files.write(&path("f"), &bytes);
            pair.scan();
            for _ in 0..version % 13 {
                pair.step();
            }
        }
        assert_eq!(pair.settle(), Ending::Identical);
        pair.assert_in_step();
        assert_eq!(pair.disk.items[&path("f")].bytes(), pair.files.items[&path("f")].bytes());
    });
}

/// Scenario 13.
#[test]
fn a_source_that_changes_while_it_is_read() {
    for at in [0, 3, 6] {
        agrees_with_every_cut(|| {
            let mut pair = Pair::with(&[("f", &noise(1, 150_000)), ("g", b"small")]);
            pair.files.edit_at = Some((at, path("f"), noise(2, 140_000)));
            pair
        });
    }
}

/// Scenario 19, after three rounds of repair: once more without a basis, then the old version stays. The disk makes
/// the same mistake each time, whatever connection it is.
#[test]
fn a_file_that_cannot_be_rebuilt() {
    for (n_wrong, expected) in [(6, Ending::Identical), (1_000, Ending::Partial)] {
        with_every_cut(|settle| {
            let mut pair = Pair::with(&[("f", &noise(1, 200_000)), ("g", b"1")]);
            pair.push();
            pair.files.write(&path("f"), &noise(2, 200_001));
            pair.files.write(&path("g"), b"2");
            pair.disk.garbles.insert(200_001, n_wrong);
            pair.join();
            assert_eq!(settle(&mut pair), expected);
            let is_old = pair.disk.items[&path("f")].bytes() == noise(1, 200_000);
            assert_eq!(is_old, expected == Ending::Partial);
            assert_eq!(pair.disk.items[&path("g")].bytes(), b"2");
            if expected == Ending::Identical {
                pair.assert_in_step();
            }
        });
    }
}

/// Scenario 20.
#[test]
fn contents_with_equal_tags() {
    agrees_with_every_cut(|| {
        let mut pair = pushed();
        pair.disk.put_foreign(&path("a"), Body::File(b"two".to_vec()), pair.files.items[&path("a")].meta);
        let mut colliding = pair.files.items[&path("a")].leaf_hash();
        colliding.0[31] ^= 1;
        pair.disk.lie = Some((path("a"), colliding));
        pair.cache = None;
        pair
    });
}

/// Scenario 23, the option dropped: what was set aside is in the tree again, and goes.
#[test]
fn another_scope() {
    with_every_cut(|settle| {
        let mut pair = pushed();
        pair.config.scope = Scope::new(false, &["*.log".into()]).expect("a scope");
        for name in [".hidden", "d/x.log", "d/e/y.log"] {
            pair.disk.put_foreign(&path(name), Body::File(b"foreign".to_vec()), FOREIGN);
        }
        assert_eq!(pair.push(), Ending::Identical);
        assert!(pair.disk.items.contains_key(&path(".hidden")));
        pair.files.write(&path("d/x.log"), b"in scope now");
        pair.config.scope = Scope::new(true, &[]).expect("a scope");
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert_eq!(pair.disk.items[&path("d/x.log")].bytes(), b"in scope now");
        assert!(!pair.disk.items.contains_key(&path(".hidden")));
        pair.assert_in_step();
    });
}

/// Scenario 27.
#[test]
fn a_small_change_while_a_large_transfer_streams() {
    let scene = || {
        let mut pair = Pair::with(&[("large", &noise(1, 700_000)), ("small", b"1")]);
        pair.credit_bytes = 256 << 10;
        pair.join();
        pair
    };
    cut_anywhere(scene, |pair| {
        while pair.count_ups(|up| matches!(up, Up::Delta { .. })) < 10 && pair.step() {}
        pair.files.write(&path("small"), b"2");
        pair.scan();
        assert_eq!(pair.settle(), Ending::Identical);
        pair.assert_in_step();
        assert_eq!(pair.disk.items[&path("small")].bytes(), b"2");
    });
}

/// Scenario 34: a word to give up that stands behind the end, and the newer version behind both.
#[test]
fn a_cancel_that_comes_too_late() {
    let scene = || {
        let mut pair = Pair::with(&[("f", &noise(1, 150_000)), ("g", b"1")]);
        pair.config.once = false;
        pair.join();
        pair
    };
    cut_anywhere(scene, |pair| {
        let mut end = None;
        while end.is_none() && pair.step() {
            pair.drain();
            end = pair.up.iter().find_map(|frame| match read(frame) {
                Up::End { id } => Some(id),
                _ => None,
            });
        }
        if let Some(id) = end {
            let mut bytes = Vec::new();
            crate::proto::frame::encode(&Up::Cancel { id, keep: false }, &mut bytes);
            pair.up.push_back(bytes);
            pair.run();
            let ends = pair.downs.iter().filter(|down| ends(down, id)).count();
            assert!(ends == 1 || pair.sender.is_none(), "{ends} ends");
        }
        pair.files.write(&path("f"), &noise(2, 140_000));
        pair.scan();
        assert_eq!(pair.settle(), Ending::Identical);
        pair.assert_in_step();
        assert!(pair.disk.items[&path("f")].bytes() == noise(2, 140_000));
    });
}

fn read(frame: &[u8]) -> Up {
    let mut frames = Frames::default();
    frames.buffer().extend(frame);
    frames.next_message().expect("a frame").expect("a message")
}

fn ends(down: &Down, id: u64) -> bool {
    match down {
        Down::Done { ids, .. } => ids.iter().any(|(first, n)| (*first..first + u64::from(*n)).contains(&id)),
        Down::Refused { id: refused, item, .. } => *refused == id && item.is_none(),
        _ => false,
    }
}
