//! Golden frames of protocol version 1: the bytes of every message, as they are for ever.
//!
//! A failure here means that version 1 changed on the wire, which it never may; a new message or
//! value gets a new number and a new line. To print the lines anew, for what is added:
//! `cargo test --test golden print -- --ignored --nocapture`.

use strait::delta::ops::{Basis, Op, PartialName};
use strait::delta::small::Run;
use strait::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag, Time};
use strait::proto::frame::{HEAD_BYTES, Message, decode, encode};
use strait::proto::message::*;

const META: Meta = Meta { mode: 0o640, mtime: Time { secs: -2, nanos: 999_999_999 } };

fn hash(seed: u8) -> ContentHash {
    ContentHash([seed; 32])
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

fn hex<M: Message>(message: &M) -> String {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check<M: Message + Clone + PartialEq + std::fmt::Debug>(cases: &[M], golden: &[&str]) {
    assert_eq!(cases.len(), golden.len());
    for (message, golden) in cases.iter().zip(golden) {
        assert_eq!(hex(message), *golden, "{message:?}");
        let bytes: Vec<u8> = (0..golden.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&golden[at..at + 2], 16).expect("hex"))
            .collect();
        assert_eq!(decode::<M>(&bytes[HEAD_BYTES..]), Ok(Some(message.clone())));
    }
}

#[test]
fn messages_of_the_sender_keep_their_bytes() {
    check(&up_cases(), UP);
}

#[test]
fn messages_of_the_receiver_keep_their_bytes() {
    check(&down_cases(), DOWN);
}

#[test]
fn every_message_is_among_them() {
    let numbers = |golden: &[&str]| -> std::collections::BTreeSet<String> {
        golden.iter().map(|hex| hex[2 * HEAD_BYTES..2 * HEAD_BYTES + 2].to_owned()).collect()
    };
    assert_eq!(numbers(UP).len(), usize::from(Up::LAST) + 1);
    assert_eq!(numbers(DOWN).len(), usize::from(Down::LAST) + 1);
}

#[test]
#[ignore = "prints the lines"]
fn print() {
    println!("const UP: &[&str] = &[");
    up_cases().iter().for_each(|message| println!("    \"{}\",", hex(message)));
    println!("];\n\nconst DOWN: &[&str] = &[");
    down_cases().iter().for_each(|message| println!("    \"{}\",", hex(message)));
    println!("];");
}

#[allow(clippy::too_many_lines)] // A table.
fn up_cases() -> Vec<Up> {
    let basis = Basis::Content { hash: hash(1) };
    let by_path = Basis::Path { path: path("d/b"), tag: Tag([2; 8]) };
    let stored = Basis::Partial { of: PartialName::Stored([3; 16]), len: 70_000 };
    let sent = Basis::Partial { of: PartialName::Sent(9), len: 1 };
    let asked =
        AskedFile { path: path("d/f"), parts: List::new(vec![(1_024, 300), (0, 7)]), block_bytes: 128 };
    let runs = vec![
        Run { literal: b"ab".to_vec(), ahead: 300, len: 1_000 },
        Run { literal: Vec::new(), ahead: -1_200, len: 4 },
    ];
    let by_runs =
        PackFile { name: name("f"), meta: META, size: 1_006, body: PackBody::Runs(List::new(runs)) };
    let text = Text::new("bye");
    let extra = Extra { key: 0x8001, value: vec![1, 2] };
    let list_dir = ListDir { dir: path("d"), ranges: List::new(vec![name("m")]) };
    let ops = vec![
        Op::Same { len: 65_536 },
        Op::Zeros { len: 5 },
        Op::Copy { basis: 0, offset: 300, len: 70_000 },
        Op::Blocks { basis: 1, offset: 7, len: 8, target_len: 9, delta: vec![0x52] },
        Op::Literal(b"lit".to_vec()),
        Op::Prefix { basis: 2, offset: 1, len: 2, target_len: 3, frame: vec![4] },
        Op::Use { basis: basis.clone() },
    ];
    let body = |body| PackFile { name: name("f"), meta: META, size: 3, body };
    let files = vec![
        body(PackBody::Whole(b"abc".to_vec())),
        body(PackBody::Same { basis: by_path.clone() }),
        body(PackBody::Over(vec![9])),
    ];
    let dir = PackDir { path: path("d"), meta: Some(META), n_files: 3 };
    vec![
        Up::Hello(Box::new(Hello {
            capabilities: 1,
            client: [1; 16],
            process: [2; 16],
            name: Text::new("me"),
            root_name: Text::default(),
            role: Role::Push,
            scope: [3; 16],
            keeps: Some(Keeps::ALL),
            fresh_ms: 900_000,
            ahead: Some(([4; 16], hash(5))),
            ticket: Some([6; 16]),
            extra: List::new(vec![extra]),
        })),
        Up::Begin { root: Some(hash(1)) },
        Up::List { request: 1, dirs: List::new(vec![list_dir]), full: true },
        Up::AskGroups { request: 2, basis: by_path, level: 3, first: 4, n: 8_192 },
        Up::AskSignature {
            request: 3,
            basis: stored,
            ranges: List::new(vec![(0, 1 << 33)]),
            block_bytes: 2_039,
            strong_bytes: 8,
        },
        Up::AskHave { request: 4, tags: List::new(vec![Tag([7; 8])]) },
        Up::Put(Box::new(Put {
            id: 5,
            path: path("d/big"),
            meta: META,
            size: 1 << 30,
            hash: hash(2),
            bases: List::new(vec![basis, sent]),
            resume: Some(([8; 16], 65_536)),
            wait: true,
        })),
        Up::Delta { id: 5, at: 1 << 20, ops: List::new(ops) },
        Up::End { id: 5 },
        Up::Cancel { id: 5, keep: true },
        Up::Pack(Box::new(Pack {
            id: 6,
            dirs: List::new(vec![dir]),
            files: List::new(files),
            hash: hash(3),
        })),
        Up::MakeDir { id: 7, path: path("d"), meta: META },
        Up::Link {
            id: 8,
            path: path("l"),
            target: Target::parse(b"../t".to_vec()).expect("a target"),
            mtime: META.mtime,
        },
        Up::SetMeta(Box::new(SetMeta::of(9, path("d"), &[(name("a"), META), (name("b"), META)]))),
        Up::Move { id: 10, from: path("a"), to: path("b"), kind: Kind::Dir, tag: Tag([1; 8]) },
        Up::Swap { id: 11, a: path("a"), a_tag: Tag([1; 8]), b: path("b"), b_tag: Tag([2; 8]) },
        Up::Remove {
            id: 12,
            items: List::new(vec![Removal { path: path("a"), kind: Kind::Link, n_below: 300 }]),
        },
        Up::Leave { id: 13, paths: List::new(vec![path(".hidden")]) },
        Up::Check { request: 14, deep: true },
        Up::Ping(15),
        Up::Pong(1 << 40),
        Up::Bye { code: ByeCode::Stopping, text },
        Up::AskBlocks { request: 16, files: List::new(vec![asked]) },
        Up::Pack(Box::new(Pack {
            id: 17,
            dirs: List::new(vec![PackDir { path: path("d"), meta: None, n_files: 1 }]),
            files: List::new(vec![by_runs]),
            hash: hash(4),
        })),
        Up::Rotate {
            id: 16,
            ring: List::new(vec![
                (path("a"), Tag([1; 8])),
                (path("d/b"), Tag([2; 8])),
                (path("c"), Tag([3; 8])),
            ]),
        },
    ]
}

#[allow(clippy::too_many_lines)] // A table.
fn down_cases() -> Vec<Down> {
    let found = Some(ContentFound { hash: hash(1), size: 70_000 });
    let entry = |hash, kind| EntryInfo { name: name("e"), kind, meta: META, size: 7, hash, n_below: 2 };
    let entries =
        vec![entry(EntryHash::Tag(Tag([1; 8])), Kind::File), entry(EntryHash::Full(hash(2)), Kind::Dir)];
    let range = RangeInfo { first: name("m"), tag: Tag([3; 8]), n: 256 };
    let listing = |body| {
        let hash = Some(hash(4));
        Down::Listing(Box::new(Listing { request: 1, dir: path("d"), hash, n_below: 9, body, more: true }))
    };
    let partial = PartialInfo { name: [5; 16], hash: hash(6), size: 1 << 30, have: 65_536, path: path("p") };
    let mut cases = vec![
        Down::Refuse(Refuse { code: RefuseCode::Busy, lowest: 1, highest: 1, text: Text::new("busy") }),
        Down::Welcome(Box::new(Welcome {
            capabilities: 0,
            root_id: [1; 16],
            lease: 2,
            keeps: Keeps::ALL,
            rights: 1,
            credit: 8 << 20,
            partials: List::new(vec![partial]),
            open_transfers: 64,
            unacknowledged: 65_536,
            extra: List::default(),
        })),
        Down::Root {
            state: RootState::Complete { root: hash(1), entries: 9, age_ms: 1, unreadable: 0 },
            why: RootReason::Greeting,
        },
        listing(ListingBody::Ranges(List::new(vec![range]))),
        Down::Groups { request: 2, found, level: 1, first: 2, tags: List::new(vec![Tag([1; 8])]) },
        Down::Signature {
            request: 3,
            found,
            block_bytes: 509,
            strong_bytes: 8,
            range: (0, 70_000),
            entries: vec![1, 2, 3],
            more: false,
        },
        Down::Have {
            request: 4,
            found: List::new(vec![HaveChunk { index: 1, hash: hash(2), offset: 3, len: 65_536 }]),
        },
        Down::Answer { id: 5, answer: PutAnswer::Already },
        Down::Mismatch { id: 6, round: 1, level: 2, first: 3, values: List::new(vec![[4; 32]]) },
        Down::Done { ids: List::new(vec![(7, 300)]), root: Some(hash(1)) },
        Down::Refused { id: 8, item: Some(2), why: Refusal::NoSpace { need: 1 << 30, free: 9 } },
        Down::Credit { grants: List::new(vec![(9, 65_536)]) },
        Down::Notice(Notice::Low { bytes: 1, inodes: 2 }),
        Down::Ping(10),
        Down::Pong(11),
        Down::Bye { code: ByeCode::Fault, text: Text::new("gone") },
        Down::Root { state: RootState::Walking { done: 1 }, why: RootReason::Drift },
        Down::Root { state: RootState::Hashing { done: 1, total: 2 }, why: RootReason::Check(3) },
        listing(ListingBody::Entries(List::new(entries))),
        listing(ListingBody::Missing),
        Down::Notice(Notice::SpaceBack),
        Down::Notice(Notice::KeepsChanged(Keeps::ALL)),
        Down::Notice(Notice::PartialDropped([1; 16])),
        Down::Notice(Notice::Stays { path: path("a/b") }),
        Down::Blocks { request: 12, files: List::new(vec![None, Some(BlockNames(vec![1, 2, 3, 4, 5]))]) },
    ];
    let tag = Tag([9; 8]);
    cases.extend(
        [
            Refusal::BasisGone { index: 1 },
            Refusal::Drifted { tag },
            Refusal::MoreThanSaid { n: 300 },
            Refusal::NoParent,
            Refusal::WrongKind,
            Refusal::NotEmpty,
            Refusal::NameTaken { by: name("x") },
            Refusal::NameUnfit,
            Refusal::KindUnfit,
            Refusal::CannotKeep,
            Refusal::OtherDevice,
            Refusal::NoInodes,
            Refusal::Quota,
            Refusal::ReadOnly,
            Refusal::Io { errno: 5 },
            Refusal::HashDiffers,
            Refusal::Rights,
            Refusal::Limit,
            Refusal::Cancelled,
        ]
        .map(|why| Down::Refused { id: 1, item: None, why }),
    );
    cases
}

const UP: &[&str] = &[
    "8f000000010101010101010101010101010101010102020202020202020202020202020202026d650000030303030303030303030303030303030101fbff010100fbff00fca0bb0d0001040404040404040404040404040404040505050505050505050505050505050505050505050505050505050505050505010606060606060606060606060606060601fb0180020102",
    "22000001010101010101010101010101010101010101010101010101010101010101010101",
    "090000020101016401016d01",
    "14000003020103642f6202020202020202020304fb0020",
    "2800000403020003030303030303030303030303030303fc701101000100fd0000000002000000fbf70708",
    "0b00000504010707070707070707",
    "730000060505642f626967fba00103fcffc99a3bfc00000040020202020202020202020202020202020202020202020202020202020202020202000101010101010101010101010101010101010101010101010101010101010101020109010108080808080808080808080808080808fc0000010001",
    "4f00000705fc000010000700fc0000010001050200fb2c01fc701101000301070809015204036c69740502010203010406000101010101010101010101010101010101010101010101010101010101010101",
    "0200000805",
    "030000090501",
    "6b00000a0601016401fba00103fcffc99a3b03030166fba00103fcffc99a3b0300036162630166fba00103fcffc99a3b03010103642f6202020202020202020166fba00103fcffc99a3b030201090303030303030303030303030303030303030303030303030303030303030303",
    "0d00000b070164fba00103fcffc99a3b",
    "0f00000c08016c042e2e2f7403fcffc99a3b",
    "1c00000d09016402016101620102fba00102030002fcffc99a3bfcffc99a3b",
    "0f00000e0a01610162010101010101010101",
    "1600000f0b0161010101010101010101620202020202020202",
    "090000100c01016102fb2c01",
    "0b0000110d01072e68696464656e",
    "030000120e01",
    "020000130f",
    "0a000014fd0000000000010000",
    "060000150103627965",
    "11000016100103642f6602fb0004fb2c01000780",
    "4600000a110101640001010166fba00103fcffc99a3bfbee030302026162fb5802fbe80300fb5f09040404040404040404040404040404040404040404040404040404040404040404",
    "2300001710030161010101010101010103642f62020202020202020201630303030303030303",
];

const DOWN: &[&str] = &[
    "0d000000020001000100040062757379",
    "6600000100010101010101010101010101010101010201fbff010100fbff0001fc0000800001050505050505050505050505050505050606060606060606060606060606060606060606060606060606060606060606fc00000040fc00000100017040fc0000010000",
    "2600000202010101010101010101010101010101010101010101010101010101010101010109010000",
    "36000003010164010404040404040404040404040404040404040404040404040404040404040404090001016d0303030303030303fb000101",
    "3300000402010101010101010101010101010101010101010101010101010101010101010101fc701101000102010101010101010101",
    "3700000503010101010101010101010101010101010101010101010101010101010101010101fc70110100fbfd010800fc701101000301020300",
    "2a000006040101020202020202020202020202020202020202020202020202020202020202020203fc00000100",
    "030000070501",
    "2600000806010203010404040404040404040404040404040404040404040404040404040404040404",
    "270000090107fb2c01010101010101010101010101010101010101010101010101010101010101010101",
    "0b00000a0801020bfc0000004009",
    "0800000b0109fc00000100",
    "0400000c010102",
    "0200000d0a",
    "0200000e0b",
    "0700000f0404676f6e65",
    "04000002000101",
    "060000020101020203",
    "6f000003010164010404040404040404040404040404040404040404040404040404040404040404090102016500fba00103fcffc99a3b0700010101010101010102016501fba00103fcffc99a3b070102020202020202020202020202020202020202020202020202020202020202020201",
    "28000003010164010404040404040404040404040404040404040404040404040404040404040404090201",
    "0200000c00",
    "0b00000c0201fbff010100fbff00",
    "1200000c0301010101010101010101010101010101",
    "0600000c0403612f62",
    "0b0000100c020001050102030405",
    "0500000a01000001",
    "0c00000a0100010909090909090909",
    "0700000a010002fb2c01",
    "0400000a010003",
    "0400000a010004",
    "0400000a010005",
    "0600000a0100060178",
    "0400000a010007",
    "0400000a010008",
    "0400000a010009",
    "0400000a01000a",
    "0400000a01000c",
    "0400000a01000d",
    "0400000a01000e",
    "0500000a01000f0a",
    "0400000a010010",
    "0400000a010011",
    "0400000a010012",
    "0400000a010013",
];
