//! Strangers, greetings that are none, and senders that get in each other's way.

use crate::harbour::*;
use crate::wire::{Near, PREFACE};
use strait::model::List;
use strait::proto::message::*;

#[test]
fn a_stranger_learns_nothing() {
    let harbour = Harbour::new();
    let mut near = harbour.connect_as(&harbour.world.user("other"));
    near.raw(PREFACE);
    near.say(&hello(Role::Push, 9));
    let root = ListDir { dir: path(""), ranges: List::default() };
    near.say(&Up::List { request: 1, dirs: List::new(vec![root]), full: true });
    near.meet();
    let heard = near.over();
    let [Down::Refuse(refuse)] = &heard[..] else { panic!("heard more than a refusal: {heard:?}") };
    assert_eq!(refuse.code, RefuseCode::NotAuthorised);
    let dst = harbour.world.dst.to_str().expect("UTF-8");
    assert!(!refuse.text.as_ref().contains(dst));
    harbour.still_serves();
}

type Attack<'a> = &'a dyn Fn(&mut Near);

#[test]
fn greetings_that_are_none_are_answered_by_the_end() {
    let harbour = Harbour::new();
    let long = vec![0; 4_096];
    let attacks: [(&str, Attack); 8] = [
        ("another protocol", &|near| near.raw(b"GET / HTTP/1.1\r\n\r\n")),
        ("a ping for a greeting", &|near| {
            near.raw(PREFACE);
            near.say(&Up::Ping(1));
        }),
        ("more than 4 KiB", &|near| {
            near.raw(PREFACE);
            near.segment(&[0, 0, 3]);
            near.segment(&long);
        }),
        ("a segment of more than 4 KiB", &|near| {
            near.raw(PREFACE);
            near.raw(&[0, 1, 16, 0]);
        }),
        ("squeezed bytes", &|near| {
            near.raw(PREFACE);
            near.raw(&[1, 10, 0, 0, 10, 0, 0]);
            near.raw(&[0; 10]);
        }),
        ("a greeting cut short", &|near| {
            near.raw(PREFACE);
            near.body(&[0, 0, 1, 1]);
        }),
        ("a change for a greeting", &|near| {
            near.raw(PREFACE);
            near.say(&Up::MakeDir { id: 1, path: path("x"), meta: meta(0o755) });
        }),
        ("a skipped message and nothing else", &|near| {
            near.raw(PREFACE);
            near.body(&[128]);
            near.body(&[22]);
        }),
    ];
    for (what, attack) in attacks {
        let mut near = harbour.connect();
        attack(&mut near);
        near.meet();
        let heard = near.over();
        assert!(heard.is_empty(), "{what}: {heard:?}");
    }
    harbour.still_serves();
}

#[test]
fn another_version_is_answered_in_a_form_that_all_versions_read() {
    let harbour = Harbour::new();
    let mut near = harbour.connect();
    near.raw(b"strait\x09\x01");
    assert_eq!(near.meet(), Some(1));
    let refuse = near.refuse();
    assert_eq!((refuse.code, refuse.lowest, refuse.highest), (RefuseCode::Version, 1, 1));
    harbour.still_serves();
}

#[test]
fn roles_and_roots_that_are_not_there_are_refused() {
    let harbour = Harbour::new();
    let named = |change: fn(&mut Hello)| {
        let Up::Hello(mut hello) = hello(Role::Push, 1) else { unreachable!("it is one") };
        change(&mut hello);
        Up::Hello(hello)
    };
    let hellos = [
        (named(|hello| hello.role = Role::Pull), RefuseCode::Rights),
        (named(|hello| hello.root_name = Text::new("../other")), RefuseCode::NoSuchRoot),
    ];
    for (hello, code) in hellos {
        let mut near = harbour.connect();
        near.raw(PREFACE);
        near.say(&hello);
        near.meet();
        let heard = near.over();
        assert!(matches!(&heard[..], [Down::Refuse(refuse)] if refuse.code == code), "{heard:?}");
    }
    harbour.still_serves();
}

#[test]
fn the_same_process_takes_its_lease_back() {
    let harbour = Harbour::new();
    let mut first = harbour.session();
    first.say(&Up::Put(Box::new(put(1, "half", b"half", vec![]))));
    let mut second = harbour.session();
    let fenced = first.over();
    assert!(fenced.iter().any(|down| matches!(down, Down::Bye { code: ByeCode::Fenced, .. })), "{fenced:?}");
    second.say(&Up::MakeDir { id: 1, path: path("second"), meta: meta(0o755) });
    second.hear_until("its acknowledgement", |down| {
        matches!(down, Down::Done { ids, .. } if !ids.is_empty()).then_some(())
    });
    drop(second);
    harbour.still_serves();
}

#[test]
fn another_process_is_told_that_the_destination_is_busy() {
    let harbour = Harbour::new();
    let mut first = harbour.session();
    let mut second = harbour.connect();
    second.raw(PREFACE);
    second.say(&hello(Role::Push, 2));
    let number = first.hear_until("a ping", |down| match down {
        Down::Ping(number) => Some(*number),
        _ => None,
    });
    first.say(&Up::Pong(number));
    second.meet();
    let heard = second.over();
    assert!(matches!(&heard[..], [Down::Refuse(refuse)] if refuse.code == RefuseCode::Busy), "{heard:?}");
    first.say(&Up::Ping(3));
    first.hear_until("an answer", |down| (*down == Down::Pong(3)).then_some(()));
    drop(first);
    harbour.still_serves();
}
