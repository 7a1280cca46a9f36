//! What a refusal of a basis costs the next try, with a receiver that the test plays.

use super::*;
use crate::proto::message::Refusal;
use crate::proto::sender::Action;

/// A sender whose file changed and that has just announced it; what the file leans on as far as announced.
fn announced() -> (Pair, Sender) {
    let mut pair = Pair::with(&[("f", &noise(1, 200_000))]);
    pair.push();
    let mut bytes = noise(1, 200_000);
    bytes[5] ^= 1;
    pair.files.write(&path("f"), &bytes);
    pair.join();
    pair.forget_messages();
    while !pair.ups.iter().any(|up| matches!(up, Up::Put(_))) {
        assert!(pair.step(), "it is announced");
    }
    let sender = pair.sender.take().expect("joined");
    (pair, sender)
}

/// The next transfer that it opens: its number, how many bases were announced, and whether it may lean on no others.
fn next_try(sender: &mut Sender) -> Option<(u64, usize, bool)> {
    while let Some(action) = sender.next_action() {
        if let Action::OpenDelta { id, bases, alone, .. } = action {
            return Some((id, bases.len(), alone));
        }
    }
    None
}

fn refuse(pair: &Pair, sender: &mut Sender, id: u64, index: u32) -> Option<(u64, usize, bool)> {
    let refused = Down::Refused { id, item: None, why: Refusal::BasisGone { index } };
    sender.receive(refused, pair.now_ms).expect("a refusal");
    next_try(sender)
}

fn put_id(pair: &Pair) -> u64 {
    pair.ups
        .iter()
        .find_map(|up| if let Up::Put(put) = up { Some(put.id) } else { None })
        .expect("a transfer")
}

/// A chosen basis that was gone cost the file its own old version too.
#[test]
fn a_refusal_takes_away_the_basis_that_it_names_and_leaves_the_others() {
    for (first, then) in [(1, (1, true)), (0, (0, false))] {
        let (pair, mut sender) = announced();
        let (id, n_bases, alone) = refuse(&pair, &mut sender, put_id(&pair), first).expect("another try");
        assert_eq!((n_bases, alone), then, "after basis {first} was refused");
        let (_, n_bases, alone) = refuse(&pair, &mut sender, id, 0).expect("a last try");
        assert_eq!((n_bases, alone), (0, true));
    }
}

/// A receiver that misses a basis which nobody named was sent the same file for ever.
#[test]
fn bases_that_are_gone_for_ever_end_in_a_refusal() {
    let (pair, mut sender) = announced();
    let mut next = Some((put_id(&pair), 0, false));
    let mut n_tries = 0;
    while let Some((id, ..)) = next {
        n_tries += 1;
        assert!(n_tries < 20, "it tries for ever");
        next = refuse(&pair, &mut sender, id, n_tries % 3);
    }
    assert!(n_tries > 2, "it tried without the bases too");
}
