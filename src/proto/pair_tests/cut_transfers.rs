//! Transfers that are broken off for a reason of their own, here with the link, or the power, cut at every message too.

use super::cuts::cut_anywhere;
use super::items::Body;
use super::partials::{Loss, SYNC_BYTES};
use super::*;
use crate::model::{ContentHash, Meta, Time};

const SIZE: usize = 400_000;
const FOREIGN: Meta = Meta { mode: 0o600, mtime: Time { secs: 3, nanos: 0 } };

fn n_frames(pair: &Pair) -> usize {
    pair.count_ups(|up| matches!(up, Up::Delta { .. }))
}

fn n_puts(pair: &Pair) -> usize {
    pair.count_ups(|up| matches!(up, Up::Put(_)))
}

fn stream(pair: &mut Pair, n: usize) {
    while n_frames(pair) < n {
        assert!(pair.step(), "it streams");
    }
    pair.drain();
}

/// A file of several syncs, beside small ones and a move.
fn with_power_that_goes() -> Pair {
    let mut pair = Pair::with(&[("a", b"one"), ("d/b", b"two")]);
    pair.push();
    pair.disk.loss = Loss::Unsynced;
    pair.files.write(&path("large"), &noise(1, 2 * SYNC_BYTES + 100_000));
    pair.files.write(&path("a"), b"newer");
    pair.files.rename(&path("d"), &path("moved"));
    pair
}

fn have(pair: &Pair) -> u64 {
    let large = pair.disk.items.get(&path("large")).map_or(0, |item| item.bytes().len() as u64);
    large + pair.disk.partials().iter().map(|info| info.have).sum::<u64>()
}

/// Scenario 8, after every message.
#[test]
fn a_power_cut_costs_what_was_not_synced() {
    let mut seen = std::collections::BTreeSet::new();
    for cut in 0.. {
        let mut pair = with_power_that_goes();
        pair.join();
        pair.cut_after = Some(cut);
        pair.run();
        if pair.sender.is_some() {
            assert!(cut > 50, "{cut} messages were tried");
            break;
        }
        let have = have(&pair);
        seen.insert(have);
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Identical, "after {cut} messages");
        assert_eq!(pair.literal_bytes(), (2 * SYNC_BYTES + 100_000) as u64 - have, "after {cut} messages");
        pair.assert_in_step();
        pair.assert_quiet();
    }
    let sync_bytes = SYNC_BYTES as u64;
    assert_eq!(Vec::from_iter(seen), [0, sync_bytes, 2 * sync_bytes, 2 * sync_bytes + 100_000]);
}

/// Scenario 8: the power goes in the middle of a group, none of which is then there.
#[test]
fn a_power_cut_at_any_step_of_a_group_undoes_the_group() {
    for at in 0.. {
        let mut pair = with_power_that_goes();
        pair.join();
        pair.disk.kill_at = Some(at);
        pair.run();
        let was_cut = pair.sender.is_none();
        if was_cut {
            pair.join();
        }
        assert_eq!(pair.settle(), Ending::Identical, "cut at step {at}");
        pair.assert_in_step();
        pair.assert_quiet();
        if !was_cut {
            assert!(at >= 4, "{at} steps were tried");
            break;
        }
    }
}

/// Scenario 8: a disk that said it had synced, and had not: found by the hash of the whole, never seen.
#[test]
fn a_beginning_that_the_power_cut_spoiled_is_repaired() {
    with_every_cut(|settle| {
        let mut pair = with_power_that_goes();
        pair.join();
        stream(&mut pair, 30);
        pair.leave();
        let kept = pair.disk.stored.values_mut().next().expect("it was worth a record");
        kept.bytes[100_000..].fill(0);
        pair.disk.loss = Loss::Nothing;
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        let is_told = pair.downs.iter().any(|down| matches!(down, Down::Mismatch { .. }));
        assert!(is_told || pair.n_cuts > 0);
        pair.assert_in_step();
    });
}

/// Scenario 11.
#[test]
fn a_partial_that_is_gone() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("f", &noise(1, SIZE)), ("g", &noise(2, SIZE))]);
        pair.join();
        stream(&mut pair, 14);
        pair.leave();
        pair.files.write(&path("g"), &noise(3, SIZE));
        pair.forget_messages();
        pair.join();
        while pair.count_ups(|up| matches!(up, Up::Hello(_))) == 0 {
            assert!(pair.step());
        }
        assert!(!pair.disk.stored.is_empty());
        pair.disk.stored.clear();
        assert_eq!(settle(&mut pair), Ending::Identical);
        let most = 4 + 2 * pair.n_cuts;
        assert!(n_puts(&pair) <= most, "{} announcements", n_puts(&pair));
        pair.assert_in_step();
    });
}

/// A file with a change in every tenth of it, under way.
fn leaning_on_a_basis() -> Pair {
    let old = noise(1, SIZE);
    let mut new = old.clone();
    (0..SIZE).step_by(40_000).for_each(|at| new[at] ^= 1);
    let mut pair = Pair::with(&[("f", &old), ("g", b"1")]);
    pair.push();
    pair.files.write(&path("f"), &new);
    pair.forget_messages();
    pair.join();
    pair
}

/// Scenario 18: killed after any message, and the basis is gone when the server is there again.
#[test]
fn a_basis_that_is_gone_after_a_kill() {
    for cut in 0.. {
        let mut pair = leaning_on_a_basis();
        pair.cut_after = Some(cut);
        pair.run();
        if pair.sender.is_some() {
            assert!(cut > 20, "{cut} messages were tried");
            return;
        }
        let have: u64 = pair.disk.partials().iter().map(|info| info.have).sum();
        pair.disk.items.remove(&path("f"));
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Identical, "after {cut} messages");
        assert_eq!(pair.literal_bytes(), SIZE as u64 - have, "after {cut} messages");
        pair.assert_in_step();
    }
}

/// Scenario 18: the basis goes, or is another, while it is used; then the link.
#[test]
fn a_basis_that_goes_while_it_is_used() {
    for is_replaced in [false, true] {
        with_every_cut(|settle| {
            let mut pair = leaning_on_a_basis();
            stream(&mut pair, 9);
            match is_replaced {
                true => pair.disk.put_foreign(&path("f"), Body::File(noise(7, SIZE)), FOREIGN),
                false => drop(pair.disk.items.remove(&path("f"))),
            }
            assert_eq!(settle(&mut pair), Ending::Identical);
            pair.assert_in_step();
        });
    }
}

/// Scenario 2, the sender's side: what goes ahead of a greeting is made once and not sent again where the guess holds,
/// and dropped and sent once more where the destination is another by now.
#[test]
fn a_sender_goes_ahead() {
    for (is_right, scene) in
        [true, false].into_iter().flat_map(|right| (0..3).map(move |scene| (right, scene)))
    {
        with_every_cut(|settle| {
            let mut pair = Pair::with(&[("a", b"one"), ("b", b"two"), ("d/in", b"three")]);
            pair.push();
            if !is_right {
                pair.disk.put_foreign(&path("there"), Body::File(b"other".to_vec()), FOREIGN);
            }
            match scene {
                0 => pair.files.write(&path("b"), b"newer"),
                1 => pair.files.rename(&path("a"), &path("d/a")),
                // What may not go ahead: a removal, and what is large.
                _ => {
                    pair.files.remove(&path("a"));
                    pair.files.write(&path("d/new"), b"new");
                    pair.files.write(&path("large"), &noise(3, 100 << 10));
                }
            }
            pair.forget_messages();
            pair.join();
            pair.drain();
            let waits = |up: &Up| matches!(up, Up::Remove { .. } | Up::Put(_) | Up::Begin { .. });
            assert_eq!(pair.count_ups(waits), 0, "nothing was heard yet");
            assert_eq!(settle(&mut pair), Ending::Identical);
            pair.assert_in_step();
            if pair.n_cuts > 0 {
                return;
            }
            let n_others = usize::from(!is_right);
            assert_eq!(pair.count_ups(|up| matches!(up, Up::Begin { .. })), n_others);
            assert_eq!(pair.count_ups(|up| matches!(up, Up::List { .. })), n_others);
            let is_announced =
                |up: &Up| up.change_id().is_some() && !matches!(up, Up::Delta { .. } | Up::End { .. });
            // One of them goes ahead, and once more if it was dropped; what is there is removed.
            let n_changes = if is_right { [1, 1, 3] } else { [3, 3, 4] };
            assert_eq!(pair.count_ups(is_announced), n_changes[scene], "{:?}", pair.ups);
        });
    }
}

/// Scenario 2, the receiver's side: the link goes after any of the changes ahead, and a sender that sends none
/// comes in its place. What was made is not sent again; what was made for another root was not made.
#[test]
fn changes_ahead_of_the_greeting() {
    for (is_right, n_ahead) in (0..=3).flat_map(|n| [(true, n), (false, n)]) {
        with_every_cut(|settle| {
            let mut pair = Pair::with(&[("a", b"one"), ("b", b"two")]);
            pair.push();
            let root = pair.disk.tree().root_hash(&pair.config.scope.id()).expect("whole");
            pair.files.put(&path("ahead/in"), Body::Dir);
            let tag = pair.files.items[&path("a")].leaf_hash().tag();
            pair.files.rename(&path("a"), &path("ahead/a"));
            pair.leave();
            pair.greet(&transfers::ahead_hello(
                pair.config.scope.id(),
                if is_right { root } else { ContentHash([0; 32]) },
            ));
            let make =
                |id, name| Up::MakeDir { id, path: path(name), meta: pair.files.items[&path(name)].meta };
            let kind = crate::model::Kind::File;
            let changes = [
                make(1, "ahead"),
                make(2, "ahead/in"),
                Up::Move { id: 3, from: path("a"), to: path("ahead/a"), kind, tag },
            ];
            for up in changes.into_iter().take(n_ahead) {
                let receiver = pair.receiver.as_mut().expect("greeted");
                receiver.receive(up, pair.now_ms).expect("a change ahead");
            }
            pair.run();
            pair.down.clear();
            let n_made = [path("ahead"), path("ahead/in"), path("ahead/a")];
            let n_made = n_made.iter().filter(|path| pair.disk.items.contains_key(path)).count();
            assert_eq!(n_made, if is_right { n_ahead } else { 0 });
            pair.forget_messages();
            pair.goes_ahead = false;
            pair.join();
            assert_eq!(settle(&mut pair), Ending::Identical);
            pair.assert_in_step();
            if pair.n_cuts == 0 && is_right && n_ahead == 3 {
                assert_eq!(pair.count_ups(|up| up.change_id().is_some()), 0, "{:?}", pair.ups);
            }
        });
    }
}

/// Scenario 28.
#[test]
fn a_disk_that_stalls() {
    let scene = || {
        let mut pair = Pair::with(&[("f", &noise(1, 3 * SIZE)), ("g", b"1")]);
        pair.credit_bytes = 256 << 10;
        pair.join();
        pair
    };
    cut_anywhere(scene, |pair| {
        while n_frames(pair) < 5 && pair.step() {}
        let until = pair.now_ms + 60_000;
        pair.disk.stands = true;
        while pair.now_ms < until {
            if pair.step() {
                continue;
            }
            match pair.sender {
                Some(_) => pair.let_time_pass(),
                None => pair.join(),
            }
        }
        pair.disk.stands = false;
        let n_cuts = usize::from(pair.cut_after.is_some());
        assert_eq!(pair.settle(), Ending::Identical);
        assert!(pair.n_cuts <= n_cuts, "nobody was given up");
        pair.assert_in_step();
    });
}
