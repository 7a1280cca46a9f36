//! Listings of large directories, and those that a sender has no room for.

use super::items::Body;
use super::{Pair, path};
use crate::model::ranges::begins_range;
use crate::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag};
use crate::plan::scope::Scope;
use crate::proto::message::*;
use crate::proto::sender::{Action, Ending, Sender};

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

/// Entries that were listed since messages were forgotten.
fn n_listed(pair: &Pair) -> usize {
    let n_of = |down: &Down| match down {
        Down::Listing(listing) => match &listing.body {
            ListingBody::Entries(entries) => entries.len(),
            ListingBody::Ranges(_) | ListingBody::Missing => 0,
        },
        _ => 0,
    };
    pair.downs.iter().map(n_of).sum()
}

/// A source and a destination in step, with one directory of so many files.
fn in_step(names: impl Iterator<Item = String>) -> Pair {
    let mut pair = Pair::with(&[("other/file", b"one")]);
    names.for_each(|name| pair.files.write(&path(&format!("large/{name}")), name.as_bytes()));
    assert_eq!(pair.push(), Ending::Identical);
    pair.forget_messages();
    pair
}

fn edit_at_destination(pair: &mut Pair, name: &str) {
    let path = path(&format!("large/{name}"));
    pair.disk.items.remove(&path);
    let meta = Meta { mode: 0o600, ..Meta::default() };
    pair.disk.put_foreign(&path, Body::File(b"somebody's".to_vec()), meta);
}

#[test]
fn of_a_large_directory_only_the_ranges_that_differ_are_listed() {
    for (is_known, is_plain) in [(true, false), (false, false), (true, true)] {
        let mut pair = in_step((0..3_000).map(|number| format!("{number:04}")));
        edit_at_destination(&mut pair, "1234");
        edit_at_destination(&mut pair, "foreign");
        // What is equal is told by the source alone, too.
        pair.cache = pair.cache.filter(|_| is_known);
        pair.is_plain = is_plain;
        pair.files.write(&path("large/0007"), b"newer");
        assert_eq!(pair.push(), Ending::Identical);
        pair.assert_in_step();
        let n_listed = n_listed(&pair);
        assert!(if is_plain { n_listed > 3_000 } else { (3..1_500).contains(&n_listed) }, "{n_listed}");
        pair.assert_quiet();
    }
}

#[test]
fn a_broken_link_costs_no_listing_of_all_that_had_come() {
    let mut most = 0;
    for cut_after in (3..30).step_by(3) {
        let mut pair = Pair::new();
        (0..3_000).for_each(|number| pair.files.write(&path(&format!("large/{number:04}")), &[1; 100]));
        pair.join();
        pair.cut_after = Some(cut_after);
        assert_eq!(pair.settle(), Ending::Identical);
        pair.assert_in_step();
        most = most.max(n_listed(&pair));
    }
    assert!(most < 1_500, "{most}");
}

/// A directory of names each of which begins a range: more differ than one question has room for.
#[test]
fn ranges_that_all_differ_are_asked_for_in_several_questions() {
    let begins = |name: &String| begins_range(&Name::parse(name.as_bytes()).expect("a name"));
    let names: Vec<String> = (0..).map(|number| format!("n{number}")).filter(begins).take(1_100).collect();
    let mut pair = in_step(names.iter().cloned());
    pair.cache = None;
    for name in &names {
        edit_at_destination(&mut pair, name);
    }
    assert_eq!(pair.push(), Ending::Identical);
    pair.assert_in_step();
    let asked =
        pair.ups.iter().filter_map(|up| if let Up::List { dirs, .. } = up { Some(dirs) } else { None });
    let asked: Vec<usize> =
        asked.flat_map(|dirs| dirs.iter()).map(|dir| dir.ranges.len()).filter(|n| *n > 0).collect();
    assert_eq!(asked, [256, 256, 256, 256, 76]);
}

#[test]
fn ranges_in_answer_to_a_question_for_ranges_are_refused() {
    let mut pair = in_step((0..1_500).map(|number| format!("{number:04}")));
    let (sender, request) = walking(&mut pair);
    let range = RangeInfo { first: Name::parse(b"a").expect("a name"), tag: Tag([1; 8]), n: 7 };
    let told = |request| {
        let body = ListingBody::Ranges(List::new(vec![range.clone()]));
        Down::Listing(Box::new(Listing {
            request,
            dir: RelPath::root(),
            hash: None,
            n_below: 0,
            body,
            more: false,
        }))
    };
    sender.receive(told(request), 6).expect("the first time");
    let asked = std::iter::from_fn(|| sender.next_action()).find_map(|action| match action {
        Action::Send(Up::List { request, .. }) => Some(request),
        _ => None,
    });
    assert!(sender.receive(told(asked.expect("a question for that range")), 7).is_err());
}
