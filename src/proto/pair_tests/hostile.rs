//! Peers that break the protocol: an error each time, never a panic.

use super::*;
use crate::delta::ops::{Basis, Op};
use crate::model::{ContentHash, Kind, List, Meta, Name, Tag, Time};
use crate::proto::frame::{FrameError, Message, decode};
use crate::proto::message::*;
use crate::proto::receiver::Breach;
use proptest::prelude::*;

const META: Meta = Meta { mode: 0o640, mtime: Time { secs: 5, nanos: 0 } };

/// A receiver whose walk is done and that counts changes.
pub(super) fn ready() -> Pair {
    let mut pair = Pair::with(&[("a", b"one"), ("d/b", &noise(1, 70_000))]);
    pair.push();
    pair.sender = None;
    let receiver = pair.receiver.as_mut().expect("joined");
    receiver.receive(Up::Begin { root: None }, 1).expect("a beginning");
    pair
}

fn put(id: u64, size: u64, bases: Vec<Basis>) -> Up {
    let hash = ContentHash([7; 32]);
    let bases = List::new(bases);
    let put = Put { id, path: path("x"), meta: META, size, hash, bases, resume: None, wait: false };
    Up::Put(Box::new(put))
}

fn delta(id: u64, at: u64, ops: Vec<Op>) -> Up {
    Up::Delta { id, at, ops: List::new(ops) }
}

/// The last message must be refused, those before it taken.
fn breaks(ups: Vec<Up>) -> Breach {
    let mut pair = ready();
    let n = ups.len();
    for (index, up) in ups.into_iter().enumerate() {
        let receiver = pair.receiver.as_mut().expect("joined");
        match receiver.receive(up.clone(), 2) {
            Ok(()) => assert!(index + 1 < n, "taken: {up:?}"),
            Err(breach) => {
                assert_eq!(index + 1, n, "{breach}: {up:?}");
                return breach;
            }
        }
    }
    panic!("nothing was refused");
}

fn held() -> Basis {
    Basis::Content { hash: ContentHash::of(&noise(1, 70_000)) }
}

#[test]
fn a_sender_that_breaks_a_bound_is_refused() {
    let id = 1_000;
    let literal = |n: usize| Op::Literal(vec![1; n]);
    breaks(vec![delta(id, 0, Vec::new())]);
    breaks(vec![Up::End { id }]);
    breaks(vec![put(id, 100_000, Vec::new()), put(id, 100_000, Vec::new())]);
    breaks(vec![put(id, 1 << 49, Vec::new())]);
    breaks(vec![put(id, 100, Vec::new()), Up::End { id }]);
    breaks(vec![put(id, 100, Vec::new()), delta(id, 1, vec![literal(3)])]);
    breaks(vec![put(id, 100, Vec::new()), delta(id, 0, vec![literal(101)])]);
    breaks(vec![put(id, 100, Vec::new()), delta(id, 0, vec![Op::Same { len: 5 }])]);
    breaks(vec![put(id, 100, vec![held()]), delta(id, 0, vec![Op::Copy { basis: 1, offset: 0, len: 5 }])]);
    breaks(vec![put(id, 1 << 40, vec![held()]), delta(id, 0, vec![Op::Zeros { len: u64::MAX }])]);
    // Beyond the basis.
    breaks(vec![put(id, 80_000, vec![held()]), delta(id, 0, vec![Op::Same { len: 70_001 }])]);
    breaks(vec![
        put(id, 80_000, vec![held()]),
        delta(id, 0, vec![Op::Copy { basis: 0, offset: 69_999, len: 2 }]),
    ]);
    let blocks = Op::Blocks { basis: 0, offset: 69_999, len: 2, target_len: 9, delta: vec![1] };
    breaks(vec![put(id, 80_000, vec![held()]), delta(id, 0, vec![blocks])]);
    let prefix = |offset, len, target_len| Op::Prefix { basis: 0, offset, len, target_len, frame: vec![1] };
    breaks(vec![put(id, 80_000, vec![held()]), delta(id, 0, vec![prefix(69_999, 2, 9)])]);
    breaks(vec![put(id, 80_000, vec![held()]), delta(id, 0, vec![prefix(0, 2, 80_001)])]);
    breaks(vec![put(id, 1 << 30, vec![held()]), delta(id, 0, vec![prefix(0, 2, (2 << 20) + 1)])]);
    breaks(vec![put(id, 80_000, Vec::new()), delta(id, 0, vec![prefix(0, 0, 9)])]);
    breaks(vec![Up::Remove {
        id,
        items: List::new(vec![Removal { path: RelPath::root(), kind: Kind::Dir, n_below: 9 }]),
    }]);
    breaks(vec![Up::MakeDir { id, path: RelPath::root(), meta: META }]);
    breaks(vec![Up::MakeDir { id, path: path("m"), meta: Meta { mode: 0o4755, ..META } }]);
    breaks(vec![Up::MakeDir { id: 0, path: path("m"), meta: META }]);
    breaks(vec![Up::Hello(Box::new(hello()))]);
    let set_meta = SetMeta { modes: List::new(vec![(u32::MAX, 0)]), ..SetMeta::of(id, path("d"), &[]) };
    breaks(vec![Up::SetMeta(Box::new(set_meta))]);
    breaks(vec![Up::AskGroups { request: 1, basis: held(), level: 99, first: 0, n: 1 }]);
    breaks(vec![Up::AskSignature {
        request: 1,
        basis: held(),
        ranges: List::new(vec![(0, u64::MAX)]),
        block_bytes: 64,
        strong_bytes: 16,
    }]);
}

#[test]
fn more_content_than_credit_is_refused() {
    let mut ups = vec![put(1_000, 1 << 30, Vec::new())];
    ups.extend((0..5).map(|index| delta(1_000, index * 240_000, vec![Op::Literal(vec![1; 240_000])])));
    let breach = breaks(ups);
    assert!(breach.to_string().contains("credit"), "{breach}");
}

fn hello() -> Hello {
    Hello {
        capabilities: CAPABILITIES,
        client: [1; 16],
        process: [2; 16],
        name: Text::default(),
        root_name: Text::default(),
        role: Role::Push,
        scope: [0; 16],
        keeps: None,
        fresh_ms: 0,
        ahead: None,
        ticket: None,
        extra: List::default(),
    }
}

#[test]
fn a_receiver_that_breaks_the_protocol_is_refused() {
    for down in [
        Down::Done { ids: List::new(vec![(1, 1)]), root: None },
        Down::Done { ids: List::new(vec![(5, u32::MAX)]), root: None },
        Down::Groups { request: 9, found: None, level: 0, first: 0, tags: List::default() },
        Down::Mismatch { id: 1, round: 9, level: 0, first: 0, values: List::default() },
    ] {
        let mut pair = Pair::with(&[("a", b"one")]);
        pair.push();
        let sender = pair.sender.as_mut().expect("joined");
        assert!(sender.receive(down.clone(), 5).is_err(), "{down:?}");
    }
    let mut sender = Sender::new(Pair::new().config, 0);
    assert!(sender.receive(Down::Notice(Notice::SpaceBack), 0).is_err());
}

/// A file there that could not be read was in no tree, the roots agreed, and a push ended with 0 beside it.
#[test]
fn entries_that_cannot_be_read_there_are_looked_at_again_and_are_no_agreement() {
    let mut pair = Pair::with(&[("a", b"one")]);
    pair.push();
    let sender = pair.sender.as_mut().expect("joined");
    let root = sender.destination_tree().and_then(|tree| tree.root_hash(&pair.config.scope.id()));
    let complete = |unreadable| Down::Root {
        state: RootState::Complete { root: root.expect("known"), entries: 1, age_ms: 0, unreadable },
        why: RootReason::Drift,
    };
    let said = |sender: &mut Sender, unreadable| {
        sender.receive(complete(unreadable), 5).expect("it may say so");
        let (mut n_checks, mut endings) = (0, Vec::new());
        while let Some(action) = sender.next_action() {
            match action {
                crate::proto::sender::Action::Send(Up::Check { .. }) => n_checks += 1,
                crate::proto::sender::Action::Tell(News::InStep { ending, .. }) => endings.push(ending),
                _ => {}
            }
        }
        (n_checks, endings)
    };
    assert_eq!(said(sender, 1), (1, vec![]));
    assert_eq!(said(sender, 1), (0, vec![Ending::Partial]));
    assert_eq!(said(sender, 0), (0, vec![Ending::Identical]));
}

/// Scenario 32.
#[test]
fn bytes_that_are_no_frame_are_refused() {
    let unknown = Up::LAST + 1;
    assert_eq!(decode::<Up>(&[unknown, 0]), Err(FrameError::Unknown(unknown)));
    assert_eq!(decode::<Down>(&[200, 0]), Ok(None));
    // MakeDir whose path climbs, is absolute, or lies in strait's own folder.
    for name in [&b"../x"[..], b"/x", b"a/../b", b".strait/x", b"a//b", b"a\0"] {
        let mut body = vec![11, 1, name.len() as u8];
        body.extend(name);
        body.extend([0, 0, 0]);
        assert!(decode::<Up>(&body).is_err(), "{name:?}");
    }
}

fn any_path() -> impl Strategy<Value = RelPath> {
    prop::sample::select(vec!["", "a", "d", "d/b", "x", "x/y", "d/.h"]).prop_map(path)
}

fn any_basis() -> impl Strategy<Value = Basis> {
    prop_oneof![
        Just(held()),
        any::<[u8; 32]>().prop_map(|hash| Basis::Content { hash: ContentHash(hash) }),
        (any_path(), any::<[u8; 8]>()).prop_map(|(path, tag)| Basis::Path { path, tag: Tag(tag) }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let n = || prop_oneof![0..10u64, 60_000..80_000u64, any::<u64>()];
    prop_oneof![
        n().prop_map(|len| Op::Same { len }),
        n().prop_map(|len| Op::Zeros { len: len % 100_000 }),
        (0..3u32, n(), n()).prop_map(|(basis, offset, len)| Op::Copy { basis, offset, len }),
        (0..3000usize).prop_map(|n| Op::Literal(vec![3; n])),
        any_basis().prop_map(|basis| Op::Use { basis }),
    ]
}

fn any_up() -> impl Strategy<Value = Up> {
    let id = || prop_oneof![4 => 1_000..1_030u64, 1 => any::<u64>()];
    let tag = || prop_oneof![Just(ContentHash::of(b"one").tag()), any::<[u8; 8]>().prop_map(Tag)];
    let kind = || prop::sample::select(vec![Kind::File, Kind::Dir, Kind::Link]);
    let size = || prop_oneof![0..100u64, 65_000..80_000u64, any::<u64>()];
    prop_oneof![
        (id(), size(), prop::collection::vec(any_basis(), 0..3))
            .prop_map(|(id, size, bases)| put(id, size, bases)),
        (id(), size(), prop::collection::vec(any_op(), 0..4)).prop_map(|(id, at, ops)| delta(
            id,
            at % 9,
            ops
        )),
        id().prop_map(|id| Up::End { id }),
        (id(), any::<bool>()).prop_map(|(id, keep)| Up::Cancel { id, keep }),
        (id(), any_path()).prop_map(|(id, path)| Up::MakeDir { id, path, meta: META }),
        (id(), any_path(), any_path(), kind(), tag()).prop_map(|(id, from, to, kind, tag)| Up::Move {
            id,
            from,
            to,
            kind,
            tag
        }),
        (id(), any_path(), tag(), any_path(), tag()).prop_map(|(id, a, a_tag, b, b_tag)| Up::Swap {
            id,
            a,
            a_tag,
            b,
            b_tag
        }),
        (id(), any_path(), any_path(), any_path(), tag()).prop_map(|(id, a, b, c, tag)| Up::Rotate {
            id,
            ring: List::new(vec![(a, tag), (b, tag), (c, tag)])
        }),
        (id(), any_path(), kind(), 0..9u64).prop_map(|(id, path, kind, n_below)| Up::Remove {
            id,
            items: List::new(vec![Removal { path, kind, n_below }])
        }),
        (id(), any_path()).prop_map(|(id, path)| Up::Leave { id, paths: List::new(vec![path]) }),
        (id(), any_path()).prop_map(|(id, dir)| {
            let name = Name::parse(b"b").expect("a name");
            Up::SetMeta(Box::new(SetMeta::of(id, dir, &[(name, META)])))
        }),
        (id(), any_path()).prop_map(|(id, path)| Up::Link {
            id,
            path,
            target: Target::parse(b"t".to_vec()).expect("a target"),
            mtime: META.mtime
        }),
        (id(), any_path(), any::<u32>()).prop_map(|(id, dir, n)| pack(id, dir, n % 3)),
        (any::<u32>(), any_basis(), any::<u8>(), any::<u64>(), any::<u32>())
            .prop_map(|(request, basis, level, first, n)| Up::AskGroups { request, basis, level, first, n }),
        (any::<u32>(), any_path(), any::<bool>()).prop_map(|(request, dir, full)| Up::List {
            request,
            dirs: List::new(vec![ListDir { dir, ranges: List::default() }]),
            full
        }),
        (any::<u32>(), any::<bool>()).prop_map(|(request, deep)| Up::Check { request, deep }),
        Just(Up::Begin { root: None }),
    ]
}

fn pack(id: u64, dir: RelPath, n_files: u32) -> Up {
    let body = PackBody::Whole(b"one".to_vec());
    let file = PackFile { name: Name::parse(b"p").expect("a name"), meta: META, size: 3, body };
    let hash = ContentHash::of(&ContentHash::of(b"one").0);
    let dirs = List::new(vec![PackDir { path: dir, meta: Some(META), n_files }]);
    Up::Pack(Box::new(Pack { id, dirs, files: List::new(vec![file]), hash }))
}

fn any_down() -> impl Strategy<Value = Down> {
    let id = || prop_oneof![4 => 1..12u64, 1 => any::<u64>()];
    let request = || prop_oneof![4 => 0..5u32, 1 => any::<u32>()];
    let root = || prop::option::of(any::<[u8; 32]>().prop_map(ContentHash));
    let why = prop_oneof![
        Just(Refusal::HashDiffers),
        Just(Refusal::NoParent),
        Just(Refusal::Cancelled),
        Just(Refusal::BasisGone { index: 4 }),
        Just(Refusal::Io { errno: -7 }),
        Just(Refusal::NameUnfit),
    ];
    let entry = (any_path(), any::<u64>(), any::<i64>(), any::<u32>(), any::<[u8; 8]>()).prop_map(
        |(path, size, secs, nanos, tag)| EntryInfo {
            name: path.split().map_or_else(|| Name::parse(b"n").expect("a name"), |(_, name)| name),
            kind: [Kind::File, Kind::Dir, Kind::Link][(nanos % 3) as usize],
            meta: Meta { mode: nanos as u16, mtime: Time { secs, nanos } },
            size,
            hash: EntryHash::Tag(Tag(tag)),
            n_below: size,
        },
    );
    prop_oneof![
        (id(), any::<u32>(), root())
            .prop_map(|(id, n, root)| Down::Done { ids: List::new(vec![(id, n % 3)]), root }),
        (id(), prop::option::of(0..3u32), why).prop_map(|(id, item, why)| Down::Refused { id, item, why }),
        (id(), any::<u8>(), any::<u8>()).prop_map(|(id, round, level)| Down::Mismatch {
            id,
            round: round % 5,
            level,
            first: 0,
            values: List::new(vec![[1; 32]])
        }),
        (request(), any_path(), any::<bool>(), prop::collection::vec(entry, 0..4)).prop_map(
            |(request, dir, more, entries)| {
                let body = ListingBody::Entries(List::new(entries));
                Down::Listing(Box::new(Listing { request, dir, hash: None, n_below: 5, body, more }))
            }
        ),
        any::<[u8; 32]>().prop_map(|root| Down::Root {
            state: RootState::Complete {
                root: ContentHash(root),
                entries: u64::MAX,
                age_ms: u64::MAX,
                unreadable: 0
            },
            why: RootReason::Drift
        }),
        Just(Down::Root { state: RootState::Walking { done: 1 }, why: RootReason::Drift }),
        (id(), any::<u64>()).prop_map(|(id, n)| Down::Credit { grants: List::new(vec![(id, n)]) }),
        Just(Down::Notice(Notice::SpaceBack)),
        Just(Down::Notice(Notice::KeepsChanged(Keeps { time_step_ns: 0, mode_mask: 0, ..Keeps::ALL }))),
        (any::<u32>(), any::<u32>()).prop_map(|(step, mask)| {
            let keeps = Keeps { time_step_ns: step, mode_mask: mask as u16, ..Keeps::ALL };
            Down::Notice(Notice::KeepsChanged(keeps))
        }),
        Just(Down::Ping(4)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), n in 0..22u8) {
        let mut body = bytes;
        if let Some(first) = body.first_mut() {
            *first = n;
        }
        let _ = decode::<Up>(&body);
        let _ = decode::<Down>(&body);
    }

    #[test]
    fn any_messages_in_any_order_end_in_a_breach_or_are_taken(ups in prop::collection::vec(any_up(), 1..40)) {
        let mut pair = ready();
        for up in ups {
            let receiver = pair.receiver.as_mut().expect("joined");
            if receiver.receive(up, 2).is_err() {
                break;
            }
            for _ in 0..3 {
                pair.drain();
                pair.down.clear();
                if !pair.answers.is_empty() {
                    pair.answer();
                }
            }
        }
    }

    #[test]
    fn any_answers_in_any_order_end_in_a_breach_or_are_taken(
        downs in prop::collection::vec(any_down(), 1..40),
        n_steps in 0..60usize,
    ) {
        let mut pair = Pair::with(&[("a", b"one"), ("d/b", &noise(1, 70_000)), ("d/c", b"two")]);
        pair.join();
        for _ in 0..n_steps {
            pair.step();
        }
        for (index, down) in downs.into_iter().enumerate() {
            let now_ms = pair.now_ms + index as u64;
            let Some(sender) = &mut pair.sender else { break };
            if sender.receive(down, now_ms).is_err() {
                break;
            }
            if index % 3 == 0 {
                pair.drain();
                if !pair.replies.is_empty() {
                    pair.reply();
                }
            }
        }
    }
}
