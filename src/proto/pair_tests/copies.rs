//! Copies of small files: what the destination holds under another name is named, and does not travel.

use super::*;
use crate::proto::message::{PackBody, Refusal};

/// Small files whose contents were named, and content bytes of the others.
fn packed(pair: &Pair) -> (usize, u64) {
    let packs = pair.ups.iter().filter_map(|up| if let Up::Pack(pack) = up { Some(pack) } else { None });
    let bodies: Vec<&PackBody> = packs.flat_map(|pack| pack.files.iter().map(|file| &file.body)).collect();
    let n_same = bodies.iter().filter(|body| matches!(body, PackBody::Same { .. })).count();
    (n_same, bodies.iter().map(|body| body.content_bytes()).sum())
}

fn in_step() -> Pair {
    let mut pair = Pair::new();
    for index in 0..30 {
        pair.files.write(&path(&format!("d/f{index:02}")), &noise(index, 1_000 + index as usize));
    }
    pair.files.write(&path("d/tiny"), b"tiny");
    assert_eq!(pair.push(), Ending::Identical);
    pair.forget_messages();
    pair
}

#[test]
fn a_copied_directory_of_small_files_is_named_and_not_sent() {
    with_every_cut(|settle| {
        let mut pair = in_step();
        for index in 0..30 {
            pair.files.write(&path(&format!("copy/f{index:02}")), &noise(index, 1_000 + index as usize));
        }
        pair.files.write(&path("copy/tiny"), b"tiny");
        pair.files.write(&path("copy/new"), &noise(99, 500));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
        if pair.n_cuts == 0 {
            assert_eq!(packed(&pair), (30, 4 + 500), "what is tiny costs less than its name");
        }
    });
}

/// A rotation by copies: the old content of one path comes to another in the same pass.
#[test]
fn a_content_that_is_replaced_in_the_same_pass_still_comes_to_where_it_belongs() {
    with_every_cut(|settle| {
        let mut pair = in_step();
        pair.files.write(&path("d/f01"), &noise(0, 1_000));
        pair.files.write(&path("d/f00"), &noise(50, 900));
        pair.files.write(&path("z"), &noise(1, 1_001));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        pair.assert_in_step();
    });
}

#[test]
fn a_content_that_is_gone_there_is_sent_once_more_and_whole() {
    let mut pair = in_step();
    assert_eq!(pair.push(), Ending::Identical);
    pair.forget_messages();
    // Behind the back of both machines.
    pair.disk.items.remove(&path("d/f07"));
    pair.files.write(&path("copy"), &noise(7, 1_007));
    pair.scan();
    assert_eq!(pair.settle(), Ending::Identical);
    assert!(pair.disk.items.contains_key(&path("copy")));
    let is_gone = |down: &Down| matches!(down, Down::Refused { why: Refusal::BasisGone { .. }, .. });
    assert_eq!(pair.downs.iter().filter(|down| is_gone(down)).count(), 1, "{:?}", pair.downs);
    assert_eq!(packed(&pair), (1, 1_007));
    // The next walk finds what is missing.
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
}
