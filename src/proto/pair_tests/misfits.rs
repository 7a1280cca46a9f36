//! Destinations that never fit what they list: a pass must end all the same.

use super::*;
use crate::model::Tag;
use crate::proto::message::Refusal;

/// It was listed and tried for ever, in silence.
#[test]
fn a_change_that_drifts_at_every_try_fails_and_the_others_are_made() {
    for why in [Refusal::Drifted { tag: Tag::UNKNOWN }, Refusal::WrongKind, Refusal::NoParent] {
        let mut pair = Pair::with(&[("a", b"one"), ("b", b"two")]);
        pair.disk.refuses.insert(path("a"), (why, u32::MAX));
        assert_eq!(pair.push(), Ending::Failed);
        assert!(pair.disk.items.contains_key(&path("b")) && !pair.disk.items.contains_key(&path("a")));
        assert!(pair.now_ms < 60_000, "it took {} ms", pair.now_ms);
        pair.disk.refuses.clear();
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
    }
}

#[test]
fn a_change_that_drifts_four_times_in_a_row_is_made_at_the_fifth() {
    let mut pair = Pair::with(&[("a", b"one")]);
    pair.disk.refuses.insert(path("a"), (Refusal::Drifted { tag: Tag::UNKNOWN }, 4));
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
}
