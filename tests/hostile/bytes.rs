//! Bytes that are no segments, no frames, no messages or no paths.

use crate::harbour::*;
use crate::wire::{Near, body_of};
use strait::delta::ops::{Basis, Op};
use strait::model::{Kind, List, Name, RelPath, Tag, Time};
use strait::proto::frame::Message;
use strait::proto::message::*;

#[test]
fn lengths_and_kinds_that_cannot_be_end_the_connection() {
    let harbour = Harbour::new();
    let bomb = zstd::encode_all(&vec![0; 1 << 20][..], 3).expect("memory takes it");
    let mut bomb_segment = vec![1, 10, 0, 0];
    bomb_segment.extend(&(bomb.len() as u32).to_le_bytes()[..3]);
    bomb_segment.extend(bomb);
    let segments: [(&str, &[u8]); 9] = [
        ("a segment of unknown kind", &[7, 1, 0, 0, 0]),
        ("a segment of no bytes", &[0, 0, 0, 0]),
        ("a segment that is too long", &[0, 1, 0, 4]),
        ("a squeezed segment of no wire bytes", &[1, 1, 0, 0, 0, 0, 0]),
        ("a squeezed segment that is too long", &[1, 1, 0, 0, 0xff, 0xff, 0xff]),
        ("a squeezed segment that is none", &[1, 10, 0, 0, 5, 0, 0, 1, 2, 3, 4, 5]),
        ("a squeezed segment that makes more than it says", &bomb_segment),
        ("a frame of no bytes", &[0, 3, 0, 0, 0, 0, 0]),
        ("a frame that is too long", &[0, 4, 0, 0, 1, 0, 4, 19]),
    ];
    for (what, bytes) in segments {
        harbour.is_breach(what, |near| near.raw(bytes));
    }
    harbour.still_serves();
}

#[test]
fn bodies_that_are_no_messages_end_the_connection() {
    let harbour = Harbour::new();
    let mut trailing = body_of(&Up::Ping(5));
    trailing.push(0);
    let bodies: [(&str, &[u8], &str); 8] = [
        ("a byte too many", &trailing, "1 bytes too many"),
        ("a byte too few", &[19], "number 19 cannot be read"),
        ("the first number that no message has", &[Up::LAST + 1], "is unknown"),
        ("an unknown number below 128", &[127, 1, 2], "127 is unknown"),
        ("a number from 251 on", &[251, 1], "251 is unknown"),
        ("a list of 2^40 directories", &[2, 1, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0], "cannot be read"),
        ("a basis of unknown kind", &[3, 1, 9, 0, 0, 0], "cannot be read"),
        (
            "a path that claims more bytes than there are",
            &[11, 1, 0xfc, 0xff, 0xff, 0xff, 0x7f, b'x'],
            "cannot be read",
        ),
    ];
    for (what, body, reason) in bodies {
        let why = harbour.is_breach(what, |near| near.body(body));
        assert!(why.contains(reason), "{what}: {why}");
    }
    harbour.still_serves();
}

#[test]
fn numbers_from_128_on_are_skipped() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    for number in [128, 200, 250] {
        near.body(&[number, 1, 2, 3]);
    }
    near.say(&Up::Ping(77));
    near.hear_until("the answer to the ping", |down| (*down == Down::Pong(77)).then_some(()));
    drop(near);
    harbour.still_serves();
}

#[test]
fn a_frame_that_never_ends_is_cut_off_with_the_connection() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    near.segment(&[0, 0, 3, 19, 1, 1]);
    drop(near);
    harbour.still_serves();
}

#[test]
fn climbing_paths_end_the_connection_in_every_message() {
    let harbour = Harbour::new();
    let absolute = harbour.world.at("other").to_str().expect("UTF-8").as_bytes().to_vec();
    let climbing: Vec<Vec<u8>> = [
        &b"../x"[..],
        b"/x",
        b".strait/x",
        b".strait",
        b"a/../../x",
        b"a/./x",
        b"a//x",
        b"x/",
        b"..",
        b".",
        b"a\0x",
        &absolute,
    ]
    .map(<[u8]>::to_vec)
    .into();
    for forged in &climbing {
        let placeholder = vec![b'Z'; forged.len()];
        for message in with_path(&placeholder) {
            let what = format!("{} in message {}", String::from_utf8_lossy(forged), body_of(&message)[0]);
            let why = harbour.is_breach(&what, |near| near.say_forged(&message, &placeholder, forged));
            assert!(why.contains("a path ") || why.contains("a name "), "{what}: {why}");
        }
    }
    harbour.still_serves();
}

#[test]
fn names_that_are_paths_end_the_connection() {
    let harbour = Harbour::new();
    for forged in [&b"../x"[..], b"/x", b"..", b".", b"d/f", b"a\0"] {
        let placeholder = vec![b'Z'; forged.len()];
        let name = std::str::from_utf8(&placeholder).expect("ASCII");
        let rows = [(Name::parse(&placeholder).expect("a name"), meta(0o644))];
        let messages = [
            Up::Pack(Box::new(pack(1, "", name, b"x"))),
            Up::SetMeta(Box::new(SetMeta::of(1, path(""), &rows))),
        ];
        for message in messages {
            harbour.is_breach(name, |near| near.say_forged(&message, &placeholder, forged));
        }
    }
    // Whole in itself, but not where it is put.
    harbour.is_breach("strait's own folder by a name", |near: &mut Near| {
        near.say(&Up::Pack(Box::new(pack(1, "", ".strait", b"x"))));
    });
    harbour.still_serves();
}

/// In how many places a message of this kind can hold a path. Without a wildcard: a new message does not compile
/// until somebody has said it.
fn n_paths(message: &Up) -> usize {
    match message {
        Up::Hello(_) | Up::Begin { .. } | Up::AskHave { .. } | Up::End { .. } | Up::Cancel { .. } => 0,
        Up::Check { .. } | Up::Ping(_) | Up::Pong(_) | Up::Bye { .. } => 0,
        Up::List { .. } | Up::AskGroups { .. } | Up::AskSignature { .. } | Up::AskBlocks { .. } => 1,
        Up::Delta { .. } | Up::MakeDir { .. } | Up::Link { .. } | Up::SetMeta(_) => 1,
        Up::Remove { .. } | Up::Leave { .. } | Up::Rotate { .. } => 1,
        Up::Put(_) | Up::Pack(_) | Up::Move { .. } | Up::Swap { .. } => 2,
    }
}

#[test]
fn every_place_for_a_path_is_tried() {
    let messages = with_path(b"ZZZZ");
    let known: Vec<u8> = (0..=Up::LAST).collect();
    for number in known {
        let of_number = messages.iter().filter(|message| body_of(*message)[0] == number);
        let n_tried = of_number.clone().count();
        let n_places = of_number.map(n_paths).next().unwrap_or(0);
        assert_eq!(n_tried, n_places, "message {number}");
    }
}

/// Messages that change or ask, each with this path in one place.
fn with_path(bytes: &[u8]) -> Vec<Up> {
    let at = || RelPath::parse(bytes).expect("the placeholder is a path");
    let text = std::str::from_utf8(bytes).expect("ASCII");
    let basis = || Basis::Path { path: at(), tag: Tag([1; 8]) };
    vec![
        Up::Put(Box::new(put(1, text, b"x", vec![]))),
        Up::Put(Box::new(put(1, "n", b"x", vec![basis()]))),
        Up::Delta { id: 1, at: 0, ops: List::new(vec![Op::Use { basis: basis() }]) },
        Up::Pack(Box::new(pack(1, text, "n", b"x"))),
        Up::Pack(Box::new(same(basis()))),
        Up::MakeDir { id: 1, path: at(), meta: meta(0o755) },
        Up::Link {
            id: 1,
            path: at(),
            target: Target::parse(b"t".to_vec()).expect("a target"),
            mtime: Time { secs: 0, nanos: 0 },
        },
        Up::SetMeta(Box::new(SetMeta::of(1, at(), &[]))),
        Up::Move { id: 1, from: at(), to: path("n"), kind: Kind::File, tag: Tag([1; 8]) },
        Up::Move { id: 1, from: path("a"), to: at(), kind: Kind::File, tag: Tag([1; 8]) },
        Up::Swap { id: 1, a: at(), a_tag: Tag([1; 8]), b: path("a"), b_tag: Tag([1; 8]) },
        Up::Swap { id: 1, a: path("a"), a_tag: Tag([1; 8]), b: at(), b_tag: Tag([1; 8]) },
        Up::Rotate {
            id: 1,
            ring: List::new([path("a"), path("d"), at()].map(|at| (at, Tag([1; 8]))).into()),
        },
        Up::Remove { id: 1, items: List::new(vec![removal(text, Kind::File)]) },
        Up::Leave { id: 1, paths: List::new(vec![at()]) },
        Up::List {
            request: 1,
            dirs: List::new(vec![ListDir { dir: at(), ranges: List::default() }]),
            full: false,
        },
        Up::AskGroups { request: 1, basis: basis(), level: 0, first: 0, n: 1 },
        Up::AskSignature {
            request: 1,
            basis: basis(),
            ranges: List::default(),
            block_bytes: 1_021,
            strong_bytes: 8,
        },
        Up::AskBlocks {
            request: 1,
            files: List::new(vec![AskedFile {
                path: at(),
                parts: List::new(vec![(0, 3_000)]),
                block_bytes: 1_024,
            }]),
        },
    ]
}

/// A pack whose one file is another's content.
fn same(basis: Basis) -> Pack {
    let whole = pack(1, "", "n", b"x");
    let file = PackFile { body: PackBody::Same { basis }, ..whole.files[0].clone() };
    Pack { files: List::new(vec![file]), ..whole }
}
