//! Contents that are not what was offered, and questions about contents that nobody should ask.

use crate::common::tree::noise;
use crate::harbour::*;
use crate::wire::Near;
use strait::delta::ops::{Basis, Op};
use strait::model::{ContentHash, List};
use strait::proto::message::*;

fn a_content() -> Vec<u8> {
    noise(1, A_BYTES)
}

fn a_basis() -> Basis {
    Basis::Content { hash: ContentHash::of(&a_content()) }
}

fn unknown_basis() -> Basis {
    Basis::Content { hash: ContentHash([9; 32]) }
}

fn delta(id: u64, at: u64, ops: Vec<Op>) -> Up {
    Up::Delta { id, at, ops: List::new(ops) }
}

/// What becomes of a change.
fn refusal(near: &mut Near, id: u64) -> Refusal {
    near.hear_until("a refusal", |down| match down {
        Down::Refused { id: refused, item: None, why } if *refused == id => Some(why.clone()),
        Down::Done { ids, .. } => {
            assert!(ids.is_empty(), "it was done: {ids:?}");
            None
        }
        _ => None,
    })
}

#[test]
fn a_content_of_another_hash_is_never_installed() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    let mut wrong = put(1, "wrong", b"what is sent", vec![]);
    wrong.hash = ContentHash([3; 32]);
    near.say(&Up::Put(Box::new(wrong)));
    near.say(&delta(1, 0, vec![Op::Literal(b"what is sent".to_vec())]));
    for _ in 0..3 {
        near.say(&Up::End { id: 1 });
        near.hear_until("a mismatch", |down| matches!(down, Down::Mismatch { id: 1, .. }).then_some(()));
    }
    near.say(&Up::End { id: 1 });
    assert_eq!(refusal(&mut near, 1), Refusal::HashDiffers);
    let mut wrong = pack(2, "", "wrong", b"packed");
    wrong.hash = ContentHash([3; 32]);
    near.say(&Up::Pack(Box::new(wrong)));
    assert_eq!(refusal(&mut near, 2), Refusal::HashDiffers);
    assert!(!harbour.world.dst.join("wrong").exists());
    drop(near);
    harbour.still_serves();
}

#[test]
fn deltas_that_cannot_be_carried_out_are_refused() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    let blocks = |len, target_len, delta: &[u8]| Op::Blocks {
        basis: 0,
        offset: 0,
        len,
        target_len,
        delta: delta.to_vec(),
    };
    let five = b"rs\x026\x05hello\0";
    let ops = [
        ("a delta that makes less than it says", blocks(100, 100, five)),
        ("a delta that makes more than it says", blocks(100, 3, five)),
        ("a delta that is none", blocks(100, 100, b"rubbish")),
        ("a delta that copies from beyond", blocks(100, 100, b"rs\x026\x45\xff\x64\0")),
        ("a delta that never ends", blocks(100, 100, b"rs\x026")),
    ];
    for ((what, op), id) in ops.into_iter().zip(1..) {
        let mut put = put(id, "wrong", b"", vec![a_basis()]);
        put.size = op.target_len();
        near.say(&Up::Put(Box::new(put)));
        near.say(&delta(id, 0, vec![op]));
        let why = refusal(&mut near, id);
        assert!(matches!(why, Refusal::BasisGone { .. } | Refusal::Limit), "{what}: {why:?}");
        near.say(&Up::Cancel { id, keep: false });
    }
    near.say(&Up::Put(Box::new(put(90, "wrong", b"x", vec![unknown_basis()]))));
    assert!(matches!(refusal(&mut near, 90), Refusal::BasisGone { .. }));
    let mut same = pack(91, "", "wrong", b"");
    same.files = List::new(
        same.files
            .iter()
            .cloned()
            .map(|file| PackFile { body: PackBody::Same { basis: unknown_basis() }, ..file })
            .collect(),
    );
    near.say(&Up::Pack(Box::new(same)));
    assert!(matches!(refusal(&mut near, 91), Refusal::BasisGone { .. }));
    near.say(&Up::Ping(1));
    near.hear_until("an answer", |down| (*down == Down::Pong(1)).then_some(()));
    assert!(!harbour.world.dst.join("wrong").exists());
    drop(near);
    for (what, op) in [
        ("a copy from beyond the basis", Op::Copy { basis: 0, offset: A_BYTES as u64 - 1, len: 100 }),
        ("the same for longer than there is", Op::Same { len: 1 << 40 }),
    ] {
        harbour.is_breach(what, |near| {
            let mut put = put(1, "wrong", b"", vec![a_basis()]);
            put.size = op.target_len();
            near.say(&Up::Put(Box::new(put)));
            near.say(&delta(1, 0, vec![op]));
        });
    }
    harbour.still_serves();
}

#[test]
fn deltas_against_the_rules_end_the_session() {
    let harbour = Harbour::new();
    let ten = || Op::Literal(vec![7; 10]);
    let blocks = |len, target_len, n| Op::Blocks { basis: 0, offset: 0, len, target_len, delta: vec![0; n] };
    let prefix = Op::Prefix { basis: 0, offset: 0, len: 1, target_len: 10, frame: vec![1] };
    let ops: [(&str, Vec<Up>); 14] = [
        (
            "a copy from the end of all",
            vec![delta(1, 0, vec![Op::Copy { basis: 0, offset: u64::MAX, len: 10 }])],
        ),
        ("without its transfer", vec![delta(5, 0, vec![ten()])]),
        ("out of order", vec![delta(1, 3, vec![ten()])]),
        ("longer than its file", vec![delta(1, 0, vec![ten(), ten()])]),
        ("zeros beyond all bounds", vec![delta(1, 0, vec![Op::Zeros { len: u64::MAX }])]),
        ("lengths whose sum overflows", vec![delta(1, 0, vec![Op::Zeros { len: 1 << 48 }; 4_000])]),
        ("a basis that was not named", vec![delta(1, 0, vec![Op::Copy { basis: 7, offset: 0, len: 10 }])]),
        ("a literal that is too long", vec![delta(1, 0, vec![Op::Literal(vec![0; 240 * 1024 + 1])])]),
        ("a delta that is too long", vec![delta(1, 0, vec![blocks(9, 9, 240 * 1024 + 1)])]),
        ("a range that is too long", vec![delta(1, 0, vec![blocks(u32::MAX, 9, 5)])]),
        ("a target that is too long", vec![delta(1, 0, vec![blocks(9, u32::MAX, 5)])]),
        ("an op that was not offered", vec![delta(1, 0, vec![prefix])]),
        ("an early end", vec![Up::End { id: 1 }]),
        ("an end of nothing", vec![Up::End { id: 99 }]),
    ];
    for (what, ups) in ops {
        harbour.is_breach(what, |near| {
            near.say(&Up::Put(Box::new(put(1, "wrong", &[7; 10], vec![a_basis()]))));
            ups.iter().for_each(|up| near.say(up));
        });
    }
    let mut over = pack(1, "", "wrong", b"x");
    over.files = List::new(
        over.files.iter().cloned().map(|file| PackFile { body: PackBody::Over(vec![1]), ..file }).collect(),
    );
    harbour.is_breach("a body that was not offered", |near| near.say(&Up::Pack(Box::new(over))));
    let mut lying = pack(1, "", "wrong", b"x");
    lying.dirs = List::new(vec![PackDir { path: path(""), meta: None, n_files: u32::MAX }; 256]);
    harbour.is_breach("a pack that does not add up", |near| near.say(&Up::Pack(Box::new(lying))));
    let mut huge = put(1, "wrong", b"x", vec![]);
    huge.size = (1 << 48) + 1;
    harbour.is_breach("a file that cannot be", |near| near.say(&Up::Put(Box::new(huge))));
    harbour.is_breach("a transfer too many", |near| {
        (1..=65).for_each(|id| near.say(&Up::Put(Box::new(put(id, "wrong", b"x", vec![])))));
    });
    assert!(!harbour.world.dst.join("wrong").exists());
    harbour.still_serves();
}

#[test]
fn content_beyond_its_credit_ends_the_session() {
    let harbour = Harbour::new();
    harbour.is_breach("9 MiB at once", |near| {
        // The disk is busy with these while the content comes, so that no credit is given back.
        for request in 1..40 {
            near.say(&ask(request, vec![(0, A_BYTES as u64)], 67, 16));
        }
        let literal = vec![5; 240 * 1024];
        let mut put = put(1, "wrong", b"", vec![]);
        put.size = 1 << 30;
        near.say(&Up::Put(Box::new(put)));
        for n in 0..40 {
            near.say(&delta(1, n * literal.len() as u64, vec![Op::Literal(literal.clone())]));
        }
    });
    harbour.still_serves();
}

fn ask(request: u32, ranges: Vec<(u64, u64)>, block_bytes: u32, strong_bytes: u8) -> Up {
    Up::AskSignature { request, basis: a_basis(), ranges: List::new(ranges), block_bytes, strong_bytes }
}

#[test]
fn questions_for_signatures_that_cannot_be_end_the_session() {
    let harbour = Harbour::new();
    let all = || vec![(0, A_BYTES as u64)];
    for block_bytes in [0, 1, 63, 64, 128, 4_096, 65_536, u32::MAX] {
        harbour
            .is_breach(&format!("blocks of {block_bytes}"), |near| near.say(&ask(1, all(), block_bytes, 8)));
    }
    for strong_bytes in [0, 3, 17, 255] {
        harbour.is_breach(&format!("{strong_bytes} strong bytes"), |near| {
            near.say(&ask(1, all(), 1_021, strong_bytes));
        });
    }
    for ranges in [vec![(0, u64::MAX)], vec![(0, u64::MAX / 4); 1_000], vec![(0, 1 << 30)]] {
        harbour.is_breach(&format!("{ranges:?}"), |near| near.say(&ask(1, ranges, 67, 8)));
    }
    for (level, n) in [(15, 1), (255, 1), (0, 8_193), (0, u32::MAX)] {
        harbour.is_breach(&format!("groups of level {level}"), |near| {
            near.say(&Up::AskGroups { request: 1, basis: a_basis(), level, first: 0, n });
        });
    }
    harbour.still_serves();
}

#[test]
fn questions_beside_a_content_are_answered_with_nothing() {
    let harbour = Harbour::new();
    harbour.is_breach("groups beyond every file", |near| {
        near.say(&Up::AskGroups { request: 1, basis: a_basis(), level: 0, first: u64::MAX, n: 1 });
    });
    for range in [(u64::MAX, 10), (u64::MAX - 5, 5)] {
        harbour.is_breach("a range beyond every file", |near| near.say(&ask(1, vec![range], 1_021, 8)));
    }
    let mut near = harbour.session();
    let ranges = [(A_BYTES as u64, 10), (A_BYTES as u64 + 7, 0), (5, 0)];
    for (range, request) in ranges.into_iter().zip(1..) {
        near.say(&ask(request, vec![range], 1_021, 8));
        near.hear_until("the end of an answer", |down| match down {
            Down::Signature { request: of, entries, more, .. } => {
                assert!(*of == request && entries.is_empty());
                (!more).then_some(())
            }
            _ => None,
        });
    }
    for (level, first, n) in [(14, 0, 8_192), (14, 1 << 31, 8_192), (0, 1 << 32, 1), (3, 1 << 20, 0)] {
        near.say(&Up::AskGroups { request: 50, basis: a_basis(), level, first, n });
        near.hear_until("groups", |down| match down {
            Down::Groups { tags, .. } => {
                assert!(tags.len() <= 1);
                Some(())
            }
            _ => None,
        });
    }
    near.say(&Up::AskHave { request: 60, tags: List::default() });
    near.hear_until("what it has", |down| matches!(down, Down::Have { request: 60, .. }).then_some(()));
    drop(near);
    harbour.still_serves();
}

#[test]
fn a_file_that_takes_for_ever_to_hash_keeps_nobody_out() {
    let harbour = Harbour::new();
    let mut near = harbour.session();
    let mut huge = put(1, "huge", b"", vec![]);
    huge.size = 1 << 42;
    near.say(&Up::Put(Box::new(huge)));
    near.say(&delta(1, 0, vec![Op::Zeros { len: 1 << 42 }]));
    near.say(&Up::End { id: 1 });
    near.say(&Up::Ping(1));
    near.hear_until("an answer", |down| (*down == Down::Pong(1)).then_some(()));
    drop(near);
    harbour.still_serves();
}
