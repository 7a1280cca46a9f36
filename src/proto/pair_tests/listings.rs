//! Listings that a sender has no room for.

use super::Pair;
use crate::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag};
use crate::plan::scope::Scope;
use crate::proto::message::*;
use crate::proto::sender::{Action, Sender};

/// A sender that lists a destination, with room for a part of a MiB, and its question.
fn walking(pair: &mut Pair) -> (&mut Sender, RequestId) {
    pair.push();
    let sender = pair.sender.as_mut().expect("joined");
    let state = RootState::Complete { root: ContentHash([9; 32]), entries: 1, age_ms: 0, unreadable: 0 };
    sender.receive(Down::Root { state, why: RootReason::Drift }, 5).expect("another root");
    let asked = std::iter::from_fn(|| sender.next_action()).find_map(|action| match action {
        Action::Send(Up::List { request, .. }) => Some(request),
        _ => None,
    });
    sender.set_walk_room(1 << 19);
    (sender, asked.expect("a question"))
}

/// Parts of one directory that never ends, until they are refused; how many.
fn parts_taken(sender: &mut Sender, request: RequestId, part: &[EntryInfo], more: bool) -> usize {
    let listing = || Listing {
        request,
        dir: RelPath::root(),
        hash: None,
        n_below: 0,
        body: ListingBody::Entries(List::new(part.to_vec())),
        more,
    };
    (0..20_000).take_while(|_| sender.receive(Down::Listing(Box::new(listing())), 6).is_ok()).count()
}

fn entry(name: &str, kind: Kind) -> EntryInfo {
    let name = Name::parse(name.as_bytes()).expect("a name");
    let meta = Meta { mode: 0o644, ..Meta::default() };
    EntryInfo { name, kind, meta, size: 1, hash: EntryHash::Tag(Tag([7; 8])), n_below: 0 }
}

// Fifty million entries were taken, which is more memory than most machines have.
#[test]
fn a_listing_without_end_is_refused_before_it_fills_the_memory() {
    for part in [vec![entry("a", Kind::File); 100], vec![entry(&"n".repeat(255), Kind::Dir); 10], vec![]] {
        let mut pair = Pair::with(&[("a", b"one")]);
        let (sender, request) = walking(&mut pair);
        let n_bytes = parts_taken(sender, request, &part, true) * part.len().max(1) * size_of::<EntryInfo>();
        assert!(n_bytes > 1 << 17, "{n_bytes}: an honest one has room");
        assert!(n_bytes <= 1 << 19, "{n_bytes}");
    }
}

#[test]
fn names_that_are_left_out_and_directories_take_room_for_their_paths() {
    for kind in [Kind::File, Kind::Dir] {
        let name = if kind == Kind::File { format!(".{}", "h".repeat(254)) } else { "d".repeat(255) };
        let mut pair = Pair::with(&[("a", b"one")]);
        pair.config.scope = Scope::new(false, &[]).expect("a scope");
        let (sender, request) = walking(&mut pair);
        let n_fit = (1 << 19) / (size_of::<EntryInfo>() + 2 * 255 + 64);
        assert_eq!(parts_taken(sender, request, &vec![entry(&name, kind); n_fit + 1], false), 0, "{kind:?}");
    }
}
