//! The bytes shown in `docs/protocol.md` are those that the code writes.
//!
//! When this fails, either the document is behind or version 1 was changed, which must not happen:
//! the failure prints the bytes of the code in the form of the document.

use std::collections::BTreeMap;

use strait::delta::ops::{Basis, Op};
use strait::model::entry::entry_hash;
use strait::model::{ContentHash, Kind, Leaf, List, Meta, Name, Node, RelPath, Tag, Time, Tree};
use strait::net::pipe::{Pipe, Sending};
use strait::net::segment::{SegmentWriter, Squeeze};
use strait::proto::frame::{Frames, HEAD_BYTES, Message, decode, encode};
use strait::proto::message::*;
use tokio::io::{AsyncReadExt, DuplexStream};

const DOCUMENT: &str = include_str!("../docs/protocol.md");
const SCOPE: [u8; 16] = [0x33; 16];
const CONTENT: &[u8] = b"hello\n";

#[tokio::test]
async fn the_session_in_the_document_is_what_the_code_writes() {
    let before = ContentHash(root_hash(&Tree::default()));
    let after = ContentHash(root_hash(&tree()));
    let (mut up, mut up_bytes) = stored_stream();
    let (mut down, mut down_bytes) = stored_stream();

    up.put_preface();
    up.write(&frames(&[hello()]), Squeeze::Stored).await.expect("memory takes it");
    up.flush().await.expect("memory takes it");
    check("flight 1", &drain(&mut up_bytes).await);

    down.put_preface();
    let complete = RootState::Complete { root: before, entries: 0, age_ms: 0, unreadable: 0 };
    let root = Down::Root { state: complete, why: RootReason::Greeting };
    down.write(&frames(&[welcome()]), Squeeze::Stored).await.expect("memory takes it");
    down.write(&frames(&[root]), Squeeze::Stored).await.expect("memory takes it");
    down.flush().await.expect("memory takes it");
    check("flight 2", &drain(&mut down_bytes).await);

    let begin = Up::Begin { root: Some(before) };
    up.write(&frames(&[begin, pack()]), Squeeze::Stored).await.expect("memory takes it");
    up.flush().await.expect("memory takes it");
    check("flight 3", &drain(&mut up_bytes).await);

    let done = Down::Done { ids: List::new(vec![(1, 1)]), root: Some(after) };
    down.write(&frames(&[done]), Squeeze::Stored).await.expect("memory takes it");
    down.flush().await.expect("memory takes it");
    check("flight 4", &drain(&mut down_bytes).await);
}

#[test]
fn the_hashes_of_the_tree_in_the_document_are_made_as_it_says() {
    let node = tree().get(&path("a.txt")).cloned().expect("the tree holds it");
    let size = node.as_leaf().map_or(0, |leaf| leaf.size);
    let hash = node.hash().expect("its content is known");
    let entry = entry_hash(&name("a.txt"), Kind::File, node.meta(), size, &hash.0);
    let dir = tree().root().hash().expect("all is known").0;
    let (shown_entry, shown_dir, shown_root) = (shown("entry"), shown("directory"), shown("root"));

    check("content hash", &hash.0);
    check("entry hash", &entry);
    check("directory hash", &dir);
    check("root hash", &root_hash(&tree()));
    check("empty root hash", &root_hash(&Tree::default()));
    assert_eq!(blake3::derive_key("strait 1 entry", &shown_entry), entry, "entry");
    assert_eq!(blake3::derive_key("strait 1 dir", &shown_dir), dir, "directory");
    assert_eq!(blake3::derive_key("strait 1 root", &shown_root), root_hash(&tree()), "root");
    let range = blake3::derive_key("strait 1 range", &entry);
    assert!(shown_dir.ends_with(&range), "the range hash is over the entry hashes: {}", hex(&range));
}

#[test]
fn every_message_in_the_document_has_the_number_and_bytes_of_the_code() {
    let mut lines = vec![];
    for message in every_up() {
        lines.push(line("up", &message));
    }
    for message in every_down() {
        lines.push(line("down", &message));
    }
    let expected = lines.join("\n");
    let received = blocks().remove("messages").unwrap_or_default();
    assert!(received.trim_end() == expected, "the document should say:\n\n{expected}\n");
}

#[test]
fn every_message_in_the_document_is_read_back_as_itself() {
    for message in every_up() {
        assert_eq!(read_back(&message), message);
    }
    for message in every_down() {
        assert_eq!(read_back(&message), message);
    }
}

fn read_back<M: Message>(message: &M) -> M {
    let mut bytes = Frames::default();
    encode(message, bytes.buffer());
    let frame = bytes.buffer().clone();
    decode(&frame[HEAD_BYTES..]).expect("it is a message").expect("it is not skipped")
}

fn line<M: Message + std::fmt::Debug>(direction: &str, message: &M) -> String {
    let mut frame = Vec::new();
    encode(message, &mut frame);
    let debug = format!("{message:?}");
    let word: String = debug.chars().take_while(char::is_ascii_alphanumeric).collect();
    format!("{direction:<4} {:>2} {word:<12} {}", frame[HEAD_BYTES], hex(&frame))
}

fn hello() -> Up {
    Up::Hello(Box::new(Hello {
        capabilities: 0,
        client: [0x11; 16],
        process: [0x22; 16],
        name: Text::new("near"),
        root_name: Text::default(),
        role: Role::Push,
        scope: SCOPE,
        keeps: None,
        fresh_ms: 0,
        ahead: None,
        ticket: None,
        extra: List::default(),
    }))
}

fn welcome() -> Down {
    Down::Welcome(Box::new(Welcome {
        capabilities: 0,
        root_id: [0x44; 16],
        lease: 1,
        keeps: Keeps::ALL,
        rights: 1,
        credit: 8 << 20,
        partials: List::default(),
        open_transfers: 64,
        unacknowledged: 65_536,
        extra: List::default(),
    }))
}

fn pack() -> Up {
    let file = PackFile {
        name: name("a.txt"),
        meta: meta(),
        size: CONTENT.len() as u32,
        body: PackBody::Whole(CONTENT.to_vec()),
    };
    let hash = ContentHash::of(&ContentHash::of(CONTENT).0);
    Up::Pack(Box::new(Pack {
        id: 1,
        dirs: List::new(vec![PackDir { path: RelPath::root(), meta: None, n_files: 1 }]),
        files: List::new(vec![file]),
        hash,
    }))
}

/// One of every message up, by number. Hashes are a byte repeated, numbers small and different.
fn every_up() -> Vec<Up> {
    let basis = || Basis::Path { path: path("d/f"), tag: Tag([0xaa; 8]) };
    let content = Basis::Content { hash: hash(0xcc) };
    let ops = vec![
        Op::Same { len: 65_536 },
        Op::Zeros { len: 300 },
        Op::Copy { basis: 0, offset: 7, len: 9 },
        Op::Blocks { basis: 0, offset: 1, len: 2, target_len: 3, delta: b"BB".to_vec() },
        Op::Literal(b"LLL".to_vec()),
        Op::Prefix { basis: 0, offset: 1, len: 2, target_len: 3, frame: b"PP".to_vec() },
        Op::Use { basis: content.clone() },
    ];
    let put = Put {
        id: 2,
        path: path("d/f"),
        meta: meta(),
        size: 70_000,
        hash: hash(0xdd),
        bases: List::new(vec![content]),
        resume: None,
        wait: false,
    };
    let other = Meta { mode: 0o600, mtime: Time { secs: 1_767_225_598, nanos: 7 } };
    let rows = [(name("f"), meta()), (name("g"), meta()), (name("h"), other)];
    vec![
        hello(),
        Up::Begin { root: None },
        Up::List {
            request: 1,
            dirs: List::new(vec![ListDir { dir: path("d"), ranges: List::default() }]),
            full: false,
        },
        Up::AskGroups { request: 2, basis: basis(), level: 0, first: 0, n: 8_192 },
        Up::AskSignature {
            request: 3,
            basis: basis(),
            ranges: List::new(vec![(65_536, 131_072)]),
            block_bytes: 1_021,
            strong_bytes: 8,
        },
        Up::AskHave { request: 4, tags: List::new(vec![Tag([0xbb; 8])]) },
        Up::Put(Box::new(put)),
        Up::Delta { id: 2, at: 0, ops: List::new(ops) },
        Up::End { id: 2 },
        Up::Cancel { id: 2, keep: true },
        pack(),
        Up::MakeDir { id: 3, path: path("d"), meta: Meta { mode: 0o755, ..meta() } },
        Up::Link {
            id: 4,
            path: path("d/l"),
            target: Target::parse(b"../x".to_vec()).expect("a target"),
            mtime: Time { secs: -1, nanos: 5 },
        },
        Up::SetMeta(Box::new(SetMeta::of(5, path("d"), &rows))),
        Up::Move { id: 6, from: path("d/f"), to: path("e"), kind: Kind::File, tag: Tag([0xaa; 8]) },
        Up::Swap { id: 7, a: path("a"), a_tag: Tag([0xaa; 8]), b: path("b"), b_tag: Tag([0xbb; 8]) },
        Up::Remove {
            id: 8,
            items: List::new(vec![Removal { path: path("d"), kind: Kind::Dir, n_below: 300 }]),
        },
        Up::Leave { id: 9, paths: List::new(vec![path(".git")]) },
        Up::Check { request: 5, deep: true },
        Up::Ping(251),
        Up::Pong(70_000),
        Up::Bye { code: ByeCode::Finished, text: Text::default() },
        Up::AskBlocks { request: 6, files: List::new(vec![asked_file()]) },
        Up::Rotate {
            id: 10,
            ring: List::new(["a", "b", "d/c"].map(|name| (path(name), Tag([0xaa; 8]))).to_vec()),
        },
    ]
}

/// One of every message down, by number.
fn every_down() -> Vec<Down> {
    let found = Some(ContentFound { hash: hash(0xcc), size: 70_000 });
    let entry = EntryInfo {
        name: name("f"),
        kind: Kind::File,
        meta: meta(),
        size: 6,
        hash: EntryHash::Tag(Tag([0xaa; 8])),
        n_below: 0,
    };
    let listing = Listing {
        request: 1,
        dir: path("d"),
        hash: Some(hash(0xdd)),
        n_below: 1,
        body: ListingBody::Entries(List::new(vec![entry])),
        more: false,
    };
    let refuse = Refuse { code: RefuseCode::Busy, lowest: 1, highest: 1, text: Text::new("busy") };
    vec![
        Down::Refuse(refuse),
        welcome(),
        Down::Root { state: RootState::Hashing { done: 1, total: 300 }, why: RootReason::Check(5) },
        Down::Listing(Box::new(listing)),
        Down::Groups { request: 2, found, level: 0, first: 0, tags: List::new(vec![Tag([0xaa; 8])]) },
        Down::Signature {
            request: 3,
            found,
            block_bytes: 1_021,
            strong_bytes: 8,
            range: (65_536, 1_021),
            entries: vec![0xee; 12],
            more: true,
        },
        Down::Have { request: 4, found: List::default() },
        Down::Answer { id: 2, answer: PutAnswer::Go },
        Down::Mismatch { id: 2, round: 1, level: 0, first: 0, values: List::new(vec![[0xee; 32]]) },
        Down::Done { ids: List::new(vec![(3, 2), (9, 1)]), root: None },
        Down::Refused { id: 8, item: Some(0), why: Refusal::MoreThanSaid { n: 301 } },
        Down::Credit { grants: List::new(vec![(2, 262_144)]) },
        Down::Notice(Notice::Low { bytes: 5, inodes: 6 }),
        Down::Ping(0),
        Down::Pong(251),
        Down::Bye { code: ByeCode::Breach, text: Text::new("no") },
        Down::Blocks { request: 6, files: List::new(vec![Some(BlockNames(vec![0xee; 15])), None]) },
    ]
}

fn asked_file() -> AskedFile {
    AskedFile { path: path("d/f"), parts: List::new(vec![(0, 3_000)]), block_bytes: 1_024 }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

fn hash(byte: u8) -> ContentHash {
    ContentHash([byte; 32])
}

/// 0644 and the first second of 2026 in UTC.
fn meta() -> Meta {
    Meta { mode: 0o644, mtime: Time { secs: 1_767_225_600, nanos: 0 } }
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    let leaf = Leaf::file(meta(), CONTENT.len() as u64, ContentHash::of(CONTENT));
    tree.insert(&path("a.txt"), Node::Leaf(leaf)).expect("the root is there");
    tree
}

fn root_hash(tree: &Tree) -> [u8; 32] {
    tree.root_hash(&SCOPE).expect("all is known").0
}

fn frames<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut bytes));
    bytes
}

/// The writer of a connection that stores everything, and the bytes that it writes.
fn stored_stream() -> (SegmentWriter, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let pipe = Pipe::new(tokio::io::empty(), near, "a test".into());
    let (_, writer) = pipe.into_segments(Sending { level: None, limit: None });
    (writer, far)
}

/// What was written so far: memory gives all of it at once.
async fn drain(bytes: &mut DuplexStream) -> Vec<u8> {
    let mut received = vec![0; 1 << 16];
    let n = bytes.read(&mut received).await.expect("memory gives it");
    received.truncate(n);
    received
}

fn check(block: &str, bytes: &[u8]) {
    assert!(shown(block) == bytes, "`{block}` should be in the document as:\n{}\n", hex(bytes));
}

/// The bytes of a block of hex of the document; what follows a semicolon is a comment.
fn shown(block: &str) -> Vec<u8> {
    let text = blocks().remove(block).unwrap_or_default();
    let digits: String = text.lines().map(|line| line.split(';').next().unwrap_or_default()).collect();
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex is ASCII");
        u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("`{block}` holds {pair:?}, which is not hex"))
    };
    digits.chunks(2).map(byte).collect()
}

/// The blocks that begin with three back quotes and `hex NAME`.
fn blocks() -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    for part in DOCUMENT.split("\n```hex ").skip(1) {
        let (name, rest) = part.split_once('\n').expect("a block has a name");
        let (text, _) = rest.split_once("\n```").expect("a block ends");
        assert!(blocks.insert(name.to_string(), text.to_string()).is_none(), "two blocks are named {name}");
    }
    blocks
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
