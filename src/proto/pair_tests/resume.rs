//! Scenarios: what came of a transfer is not sent again.

use super::items::Body;
use super::partials::Loss;
use super::*;
use crate::model::limits::PARTIAL_BYTES;
use crate::proto::message::Put;

/// Seventeen frames of the source in memory.
const SIZE: usize = 400_000;
/// A file that is worth a record before it is cut.
const LARGE: usize = PARTIAL_BYTES as usize + 10_000;
/// Target bytes of one frame of the source in memory, with what is in flight beside it.
const SLACK: u64 = 8 * (24 << 10);

fn puts(pair: &Pair) -> Vec<&Put> {
    pair.ups.iter().filter_map(|up| if let Up::Put(put) = up { Some(&**put) } else { None }).collect()
}

impl Pair {
    /// Bytes of literals that reached the receiver.
    pub(super) fn literal_bytes(&self) -> u64 {
        let bytes = |up: &Up| match up {
            Up::Delta { ops, .. } => ops.iter().map(|op| op.wire_bytes() as u64).sum(),
            _ => 0,
        };
        self.ups.iter().map(bytes).sum()
    }
}

/// Runs until so many frames of content have arrived, then cuts the link.
fn cut_after_frames(pair: &mut Pair, n: usize) {
    let before = pair.count_ups(|up| matches!(up, Up::Delta { .. }));
    while pair.count_ups(|up| matches!(up, Up::Delta { .. })) < before + n {
        assert!(pair.step(), "it streams");
    }
    pair.drain();
    pair.leave();
}

/// Scenario 9: the link is cut, at every message; nothing that arrived is sent again.
#[test]
fn a_transfer_that_is_cut_goes_on_where_it_was() {
    let bytes = noise(1, SIZE);
    let mut n_messages = None;
    for cut in 0.. {
        let mut pair = Pair::with(&[("f", &bytes), ("d/small", b"1")]);
        pair.join();
        pair.cut_after = Some(cut);
        assert_eq!(pair.settle(), Ending::Identical);
        pair.assert_in_step();
        let sent = pair.literal_bytes();
        assert_eq!(sent, SIZE as u64, "cut {cut}: every byte arrived once");
        if pair.cut_after.take().is_some() {
            break;
        }
        n_messages = Some(cut);
    }
    assert!(n_messages > Some(20));
}

/// Scenario 7: the receiver's process is killed; what it had noted is not sent again.
#[test]
fn a_killed_receiver_goes_on_from_what_it_had_noted() {
    for n in [1, 12, 30, 40] {
        let mut pair = Pair::with(&[("f", &noise(1, LARGE))]);
        pair.disk.loss = Loss::Unnoted;
        pair.join();
        cut_after_frames(&mut pair, n);
        let have: u64 = pair.disk.partials().iter().map(|info| info.have).sum();
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Identical);
        assert_eq!(pair.literal_bytes(), LARGE as u64 - have);
        pair.assert_in_step();
        pair.assert_quiet();
    }
}

/// Scenario 9: the sender's cache is lost with it; the content is found by its hash.
#[test]
fn a_sender_that_lost_its_cache_resumes_by_content() {
    let mut pair = Pair::with(&[("f", &noise(1, SIZE))]);
    pair.join();
    cut_after_frames(&mut pair, 12);
    pair.cache = None;
    pair.files.history.clear();
    pair.forget_messages();
    assert_eq!(pair.push(), Ending::Identical);
    assert!(pair.literal_bytes() <= SIZE as u64 - 11 * (24 << 10));
    pair.assert_in_step();
}

/// Scenario 10: the source changed while the link was down; what came is a basis, also when the sender
/// does not remember it.
#[test]
fn what_came_of_an_older_version_is_leaned_on() {
    let scene = |remembers: bool, settle: &mut dyn FnMut(&mut Pair) -> Ending| {
        let mut pair = Pair::with(&[("f", &noise(1, SIZE))]);
        pair.push();
        pair.files.write(&path("f"), &noise(2, SIZE));
        pair.join();
        cut_after_frames(&mut pair, 12);
        let mut bytes = noise(2, SIZE);
        bytes[100_000] ^= 1;
        bytes[SIZE - 70_000..].copy_from_slice(&noise(1, SIZE)[SIZE - 70_000..]);
        pair.files.write(&path("f"), &bytes);
        if !remembers {
            pair.files.history.clear();
        }
        pair.forget_messages();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        if pair.n_cuts == 0 {
            let most = SIZE as u64 - 11 * (24 << 10) - 70_000;
            // Without its memory of contents the sender compares whole groups.
            let most = most + if remembers { 1 } else { 3 } * (64 << 10);
            assert!(pair.files.literal_bytes < most, "{} literals", pair.files.literal_bytes);
            assert_eq!(puts(&pair)[0].bases.len(), 2, "what came, and the version before");
        }
        pair.assert_in_step();
        assert!(pair.disk.partials().is_empty(), "nothing stays of it");
    };
    with_every_cut(|settle| scene(true, settle));
    scene(false, &mut Pair::settle);
}

/// Scenario 10: renamed while the link was down.
#[test]
fn a_renamed_file_is_resumed_under_its_new_path() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("f", &noise(1, SIZE)), ("d/", b"")]);
        pair.join();
        cut_after_frames(&mut pair, 12);
        pair.files.rename(&path("f"), &path("d/g"));
        pair.forget_messages();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        let most = SIZE as u64 - 11 * (24 << 10) + pair.n_cuts as u64 * SLACK;
        assert!(pair.files.literal_bytes <= most, "{} literals", pair.files.literal_bytes);
        pair.assert_in_step();
    });
}

/// Scenario 11: what was listed is gone when it is asked for.
#[test]
fn a_partial_that_is_gone_is_begun_anew_without_a_loop() {
    let mut pair = Pair::with(&[("f", &noise(1, SIZE)), ("g", &noise(2, SIZE))]);
    pair.join();
    cut_after_frames(&mut pair, 14);
    pair.files.write(&path("g"), &noise(3, SIZE));
    pair.forget_messages();
    pair.join();
    while pair.count_ups(|up| matches!(up, Up::Hello(_))) == 0 {
        assert!(pair.step());
    }
    assert!(!pair.disk.stored.is_empty());
    pair.disk.stored.clear();
    assert_eq!(pair.settle(), Ending::Identical);
    assert!(puts(&pair).len() <= 4, "{} announcements", puts(&pair).len());
    pair.assert_in_step();
}

/// Scenario 12: what came of a version that was superseded is the basis of the next.
#[test]
fn fifty_newer_versions_send_what_is_new_in_them() {
    for seed in 0..3 {
        let size = 400_000;
        let mut pair = Pair::with(&[("f", &noise(0, size))]);
        pair.config.once = false;
        pair.turn = Turn::Random(seed);
        pair.join();
        let mut bytes = noise(0, size);
        for version in 1..=50 {
            for _ in 0..20 + version % 13 {
                pair.step();
            }
            bytes[version * 7_000..][..100].fill(version as u8);
            pair.files.write(&path("f"), &bytes);
            pair.scan();
        }
        assert_eq!(pair.settle(), Ending::Identical, "seed {seed}");
        pair.assert_in_step();
        let kept = pair.count_ups(|up| matches!(up, Up::Cancel { keep: true, .. }));
        assert!(kept >= 5, "seed {seed}: {kept} were superseded");
        let sent = pair.literal_bytes();
        // Each version is one block of 1 KiB that differs, sent again at most once.
        assert!(sent < size as u64 + 50 * 4 * 1_024 + SLACK, "seed {seed}: {sent} literals");
    }
}

/// Scenario 14.
#[test]
fn a_directory_that_moves_under_a_transfer_costs_nothing_twice() {
    with_every_cut(|settle| {
        let mut pair = Pair::with(&[("d/old", &noise(9, 70_000)), ("d/more", b"1")]);
        pair.config.once = false;
        pair.push();
        pair.files.write(&path("d/new"), &noise(1, SIZE));
        pair.forget_messages();
        pair.scan();
        while pair.count_ups(|up| matches!(up, Up::Delta { .. })) < 15 {
            assert!(pair.step(), "it streams");
        }
        pair.files.rename(&path("d"), &path("e"));
        pair.scan();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert_eq!(pair.literal_bytes(), SIZE as u64, "every byte arrived once");
        if pair.n_cuts == 0 {
            assert_eq!(pair.count_ups(|up| matches!(up, Up::Move { .. })), 1);
            let resumed = puts(&pair).into_iter().filter(|put| put.resume.is_some());
            assert_eq!(resumed.map(|put| put.path.clone()).collect::<Vec<_>>(), [path("e/new")]);
        }
        pair.assert_in_step();
    });
}

/// Scenario 18: the basis is removed while it is used, and the receiver killed: the transfer goes on with
/// what it has, and what it still leaned on comes as content.
#[test]
fn a_basis_that_goes_under_a_transfer_costs_what_was_still_to_come_of_it() {
    let old = noise(1, SIZE);
    let mut new = old.clone();
    for at in (0..SIZE).step_by(40_000) {
        new[at] ^= 1;
    }
    for n in [3, 9, 15] {
        let mut pair = Pair::with(&[("f", &old)]);
        pair.push();
        pair.files.write(&path("f"), &new);
        pair.join();
        cut_after_frames(&mut pair, n);
        let have: u64 = pair.disk.partials().iter().map(|info| info.have).sum();
        assert!(have > 0);
        pair.disk.items.remove(&path("f"));
        pair.forget_messages();
        assert_eq!(pair.push(), Ending::Identical);
        assert_eq!(pair.literal_bytes(), SIZE as u64 - have);
        pair.assert_in_step();
    }
}

/// Scenario 28: the disk stands still; credit runs out, the link stays, and it ends.
#[test]
fn a_disk_that_stalls_for_a_minute_loses_nobody() {
    let mut pair = Pair::with(&[("f", &noise(1, 6 * SIZE))]);
    pair.credit_bytes = 512 << 10;
    pair.join();
    while pair.count_ups(|up| matches!(up, Up::Delta { .. })) < 5 {
        assert!(pair.step(), "it streams");
    }
    let until = pair.now_ms + 60_000;
    pair.disk.stands = true;
    while pair.now_ms < until {
        if !pair.step() {
            pair.let_time_pass();
        }
    }
    pair.disk.stands = false;
    let sent = pair.literal_bytes();
    assert!(sent < 5 * (24 << 10) + (512 << 10), "{sent} literals on credit");
    assert!(pair.count_ups(|up| matches!(up, Up::Ping(_) | Up::Pong(_))) >= 3);
    assert_eq!(pair.settle(), Ending::Identical);
    assert_eq!(pair.n_cuts, 0);
    pair.assert_in_step();
}

/// Scenario 35: a link that breaks after a few messages, again and again: what is there never gets less.
#[test]
fn a_link_that_flaps_makes_progress_every_time() {
    for n_messages in [14, 20, 31] {
        let mut pair = Pair::with(&[("d/f", &noise(1, SIZE)), ("g", b"1"), ("l", &noise(2, 80_000))]);
        pair.files.put(&path("link"), Body::Link(b"g".to_vec()));
        let mut have = 0;
        for round in 0.. {
            assert!(round < 500, "no progress with {n_messages} messages");
            pair.join();
            pair.cut_after = Some(n_messages);
            pair.run();
            if pair.ending.is_some() {
                break;
            }
            pair.leave();
            let largest = pair.disk.items.get(&path("d/f")).map_or(0, |item| item.bytes().len() as u64);
            let now: u64 = pair.disk.partials().iter().map(|info| info.have).max().unwrap_or(0).max(largest);
            assert!(now >= have, "{now} of {have}");
            have = now;
        }
        pair.cut_after = None;
        assert_eq!(pair.push(), Ending::Identical);
        assert!(pair.literal_bytes() < (SIZE + 80_000) as u64 * 3 / 2);
        pair.assert_in_step();
    }
}

/// A file that never rests for as long as a version of it takes: past the bound one is sent to its end, from
/// a snapshot, and the newer ones follow.
#[test]
fn a_file_that_never_rests_is_sent_when_it_is_too_old() {
    let mut pair = Pair::with(&[("f", &noise(0, SIZE)), ("g", b"1")]);
    pair.config.once = false;
    pair.config.max_staleness_ms = 500;
    pair.push();
    let mut n_seen = 0;
    let mut last = pair.disk.items[&path("f")].leaf_hash();
    for version in 1..60 {
        // All of it is new each time, so that no version gets to its end before the next comes.
        pair.files.write(&path("f"), &noise(version, SIZE));
        pair.scan();
        (0..30).for_each(|_| {
            let _ = pair.step();
        });
        let now = pair.disk.items[&path("f")].leaf_hash();
        n_seen += usize::from(now != last);
        last = now;
    }
    assert!(n_seen >= 2, "{n_seen} versions were seen while it was written");
    assert!(pair.files.n_snapshots >= n_seen);
    assert_eq!(pair.settle(), Ending::Identical);
    pair.assert_in_step();
    pair.assert_quiet();
}
