//! Changes that are well formed and not what they should be.

use crate::common::tree::{link, rm};
use crate::harbour::*;
use crate::wire::Near;
use strait::model::{Kind, List, Meta, Tag, Time};
use strait::proto::message::*;

#[test]
fn numbers_and_metadata_that_cannot_be_end_the_session() {
    let harbour = Harbour::new();
    let dir = |id, meta| Up::MakeDir { id, path: path("new"), meta };
    let time = Time { secs: 0, nanos: 1_000_000_000 };
    let breaches: [(&str, Vec<Up>); 9] = [
        ("an id twice", vec![dir(5, meta(0o755)), Up::Remove { id: 5, items: List::default() }]),
        ("an id that falls", vec![Up::Leave { id: 5, paths: List::default() }, dir(4, meta(0o755))]),
        ("a mode with setuid", vec![dir(1, meta(0o4755))]),
        ("a billion nanoseconds", vec![dir(1, Meta { mode: 0o755, mtime: time })]),
        ("the root as directory", vec![Up::MakeDir { id: 1, path: path(""), meta: meta(0o755) }]),
        (
            "the removal of the root",
            vec![Up::Remove { id: 1, items: List::new(vec![removal("", Kind::Dir)]) }],
        ),
        ("the root set aside", vec![Up::Leave { id: 1, paths: List::new(vec![path("")]) }]),
        ("a greeting in a session", vec![hello(Role::Push, 1)]),
        ("columns of metadata that do not fit", vec![Up::SetMeta(Box::new(uneven()))]),
    ];
    for (what, ups) in breaches {
        let mut near = harbour.session();
        ups.iter().for_each(|up| near.say(up));
        let heard = near.over();
        assert!(heard.iter().any(|down| matches!(down, Down::Bye { code: ByeCode::Breach, .. })), "{what}");
    }
    harbour.still_serves();
}

fn uneven() -> SetMeta {
    let mut set_meta = SetMeta::of(1, path(""), &[]);
    set_meta.modes = List::new(vec![(u32::MAX, 0o644); 4_000]);
    set_meta.secs = List::new(vec![i64::MAX; 2]);
    set_meta
}

#[test]
fn moves_that_cannot_be_are_refused() {
    let harbour = Harbour::new();
    let tag = Tag::UNKNOWN;
    let moves = |from: &str, to: &str| {
        vec![
            Up::Move { id: 1, from: path(from), to: path(to), kind: Kind::Dir, tag },
            Up::Swap { id: 2, a: path(from), a_tag: tag, b: path(to), b_tag: tag },
        ]
    };
    for (from, to) in [("", "d/x"), ("d", ""), ("d", "d"), ("d", "d/x"), ("d/f", "d"), ("", "")] {
        for up in moves(from, to) {
            let mut near = harbour.session();
            near.say(&up);
            near.hear_until("a refusal or the end", |down| {
                assert!(!matches!(down, Down::Done { ids, .. } if !ids.is_empty()), "{up:?} was done");
                matches!(down, Down::Refused { .. } | Down::Bye { .. }).then_some(())
            });
        }
    }
    harbour.still_serves();
}

#[test]
fn a_sender_that_came_to_look_may_not_touch() {
    let harbour = Harbour::new();
    for role in [Role::Plan, Role::Audit] {
        let mut near = harbour.session_as(role);
        near.say(&Up::MakeDir { id: 1, path: path("looked"), meta: meta(0o755) });
        ends_in_breach("a change", &mut near);
        assert!(!harbour.world.dst.join("looked").exists());
    }
    harbour.still_serves();
}

#[test]
fn nothing_is_done_behind_a_symlink() {
    let harbour = Harbour::new();
    through(&harbour, &mut harbour.session(), "out");
    harbour.still_serves();
}

#[test]
fn nothing_is_done_behind_a_symlink_that_came_after_the_walk() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    for name in ["d", "e"] {
        rm(harbour.world.dst.join(name));
        link("../outside", harbour.world.dst.join(name));
    }
    through(&harbour, &mut near, "d");
    through(&harbour, &mut near, "e");
    drop(near);
    harbour.still_serves();
}

/// Tries to reach through a name: every change is refused.
fn through(harbour: &Harbour, near: &mut Near, name: &str) {
    let (new, canary) = (format!("{name}/new"), format!("{name}/canary"));
    let first = if name == "e" { 100 } else { 1 };
    let target = Target::parse(b"t".to_vec()).expect("a target");
    let rows = [(strait::model::Name::parse(b"canary").expect("a name"), meta(0o600))];
    let tag = Tag::UNKNOWN;
    let ups = [
        Up::MakeDir { id: first, path: path(&new), meta: meta(0o755) },
        Up::Link { id: first + 1, path: path(&new), target, mtime: meta(0).mtime },
        Up::Pack(Box::new(pack(first + 2, name, "new", b"x"))),
        Up::SetMeta(Box::new(SetMeta::of(first + 3, path(name), &rows))),
        Up::Move { id: first + 4, from: path("a"), to: path(&new), kind: Kind::File, tag },
        Up::Move { id: first + 5, from: path(&canary), to: path("stolen"), kind: Kind::File, tag },
        Up::Swap { id: first + 6, a: path(&canary), a_tag: tag, b: path("a"), b_tag: tag },
        Up::Remove { id: first + 7, items: List::new(vec![removal(&canary, Kind::File)]) },
    ];
    ups.iter().for_each(|up| near.say(up));
    near.say(&Up::Put(Box::new(put(first + 8, &new, b"", vec![]))));
    near.say(&Up::End { id: first + 8 });
    near.hear_until("the last answer", |down| match down {
        Down::Refused { id, .. } => (*id == first + 8).then_some(()),
        Down::Done { ids, .. } => {
            let is_last = ids.iter().any(|&(id, n)| id + u64::from(n) > first + 8);
            assert!(!is_last, "a file was made behind {name}");
            None
        }
        _ => None,
    });
    assert!(!harbour.world.dst.join("stolen").exists());
    assert!(!harbour.world.at("outside").join("new").exists());
}

#[test]
fn what_is_sent_before_it_counts_is_dropped() {
    let harbour = Harbour::new();
    let mut near = harbour.greet(Role::Push, 1);
    near.say(&Up::Remove { id: 1, items: List::new(vec![removal("a", Kind::File)]) });
    near.say(&Up::Ping(5));
    near.hear_until("the walk", |down| matches!(down, Down::Root { .. }).then_some(()));
    near.say(&Up::List { request: 1, dirs: List::default(), full: true });
    near.say(&Up::Check { request: 1, deep: true });
    near.hear_until("the second walk", |down| {
        assert!(!matches!(down, Down::Done { .. }));
        matches!(down, Down::Root { why: RootReason::Check(1), .. }).then_some(())
    });
    assert!(harbour.world.dst.join("a").exists());
    drop(near);
    harbour.still_serves();
}
