//! Small values: names, hashes, metadata, trees, refusals.

use libfuzzer_sys::arbitrary::Unstructured;
use strait::delta::ops::{Basis, Op, PartialName};
use strait::model::{Content, ContentHash, Kind, Leaf, Meta, Name, Node, RelPath, Tag, Time, Tree};
use strait::proto::message::{Refusal, Text};

const NAMES: [&[u8]; 6] = [b"a", b"b", b"c", b"d.x", b".h", b"\xff\n"];
/// Contents that stand at many paths: empty, small, of a transfer, of many groups.
const SIZES: [u64; 6] = [0, 1, 100, 65_536, 65_537, 1 << 20];

/// Draws values from bytes; zeros when there are none left.
pub struct Draw<'b> {
    bytes: Unstructured<'b>,
}

impl<'b> Draw<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes: Unstructured::new(bytes) }
    }

    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes.arbitrary().unwrap_or(0)
    }

    /// True once in `n` times or so, and never when the bytes are used up.
    pub fn seldom(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn u64(&mut self) -> u64 {
        self.bytes.arbitrary().unwrap_or(0)
    }

    pub fn u32(&mut self) -> u32 {
        self.bytes.arbitrary().unwrap_or(0)
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes.arbitrary().unwrap_or([0; N])
    }

    pub fn some_bytes(&mut self, most: usize) -> Vec<u8> {
        let n = self.below(256).min(most).min(self.bytes.len());
        self.bytes.bytes(n).unwrap_or_default().to_vec()
    }

    /// What is left.
    pub fn rest(&mut self) -> &'b [u8] {
        let n = self.bytes.len();
        self.bytes.bytes(n).unwrap_or_default()
    }

    /// Up to `most` values.
    pub fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }

    pub fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 == 1).then(|| one(self))
    }

    pub fn name(&mut self) -> Name {
        let name = NAMES[self.below(NAMES.len())];
        Name::parse(name).expect("these are names")
    }

    /// A path of up to three names; the root seldom.
    pub fn path(&mut self) -> RelPath {
        let depth = [1, 1, 2, 2, 3, 0][self.below(6)];
        let mut path = RelPath::root();
        for _ in 0..depth {
            let name = self.name();
            path = path.join(&name).expect("three names fit");
        }
        path
    }

    pub fn size(&mut self) -> u64 {
        if self.seldom(16) { self.u64() } else { SIZES[self.below(SIZES.len())] }
    }

    /// One of a few contents, with its own size: what is equal is often meant to be equal.
    pub fn content(&mut self) -> (ContentHash, u64) {
        let which = self.below(8);
        match SIZES.get(which) {
            Some(size) => (ContentHash::of(&size.to_le_bytes()), *size),
            None => (ContentHash(self.array()), self.size()),
        }
    }

    pub fn time(&mut self) -> Time {
        match self.below(4) {
            0 => Time { secs: i64::from_le_bytes(self.array()), nanos: self.u32() },
            n => Time { secs: n as i64, nanos: 5 },
        }
    }

    pub fn meta(&mut self) -> Meta {
        let mode = if self.seldom(8) { self.u32() as u16 } else { [0o644, 0o755][self.below(2)] };
        Meta { mode, mtime: self.time() }
    }

    pub fn good_meta(&mut self) -> Meta {
        let mode = [0o644, 0o755][self.below(2)];
        Meta { mode, mtime: Time { secs: self.below(3) as i64, nanos: 0 } }
    }

    pub fn kind(&mut self) -> Kind {
        [Kind::File, Kind::Dir, Kind::Link][self.below(3)]
    }

    /// The tag of what stands at a path, or another.
    pub fn tag_at(&mut self, tree: &Tree, path: &RelPath) -> Tag {
        match tree.get(path) {
            Some(node) if !self.seldom(8) => node.tag(),
            _ => Tag(self.array()),
        }
    }

    pub fn basis(&mut self, tree: &Tree) -> Basis {
        match self.below(5) {
            0 | 1 => Basis::Content { hash: self.content().0 },
            2 | 3 => {
                let path = self.path();
                let tag = self.tag_at(tree, &path);
                Basis::Path { path, tag }
            }
            _ => {
                let of = match self.below(2) {
                    0 => PartialName::Stored([self.byte() % 4; 16]),
                    _ => PartialName::Sent(u64::from(self.byte())),
                };
                Basis::Partial { of, len: self.size() }
            }
        }
    }

    pub fn op(&mut self, tree: &Tree) -> Op {
        let basis = (self.byte() % 3).into();
        match self.below(9) {
            0 => Op::Same { len: self.size() },
            1 => Op::Zeros { len: self.size() },
            2 => Op::Copy { basis, offset: self.size(), len: self.size() },
            3 => Op::Blocks {
                basis,
                offset: self.size(),
                len: self.size() as u32,
                target_len: self.size() as u32,
                delta: self.some_bytes(40),
            },
            4 => Op::Prefix {
                basis,
                offset: self.size(),
                len: self.size() as u32,
                target_len: self.size() as u32,
                frame: self.some_bytes(40),
            },
            5 => Op::Use { basis: self.basis(tree) },
            6 => Op::Literal(vec![7; self.size().min(1 << 18) as usize]),
            _ => Op::Literal(self.some_bytes(200)),
        }
    }

    /// A small tree whose contents are known; seldom not all of them.
    pub fn tree(&mut self, is_whole: bool) -> Tree {
        let mut tree = Tree::default();
        for _ in 0..self.below(12) {
            let path = self.path();
            if path.is_root() {
                continue;
            }
            let meta = self.good_meta();
            let (hash, size) = self.content();
            let node = match self.kind() {
                Kind::Dir => Node::empty_dir(meta),
                Kind::Link => Node::Leaf(Leaf::link(meta.mtime, b"target")),
                Kind::File if !is_whole && self.seldom(4) => {
                    Node::Leaf(Leaf { content: Content::Unknown, ..Leaf::file(meta, size & 0xff_ffff, hash) })
                }
                Kind::File => Node::Leaf(Leaf::file(meta, size & 0xff_ffff, hash)),
            };
            let _ = tree.insert(&path, node);
        }
        tree
    }

    pub fn text(&mut self) -> Text {
        Text::new(["", "why", "\u{1b}[31m"][self.below(3)])
    }

    pub fn refusal(&mut self) -> Refusal {
        match self.below(20) {
            0 => Refusal::BasisGone { index: self.u32() },
            1 => Refusal::Drifted { tag: Tag(self.array()) },
            2 => Refusal::MoreThanSaid { n: self.u64() },
            3 => Refusal::NoParent,
            4 => Refusal::WrongKind,
            5 => Refusal::NotEmpty,
            6 => Refusal::NameTaken { by: self.name() },
            7 => Refusal::NameUnfit,
            8 => Refusal::KindUnfit,
            9 => Refusal::CannotKeep,
            10 => Refusal::OtherDevice,
            11 => Refusal::NoSpace { need: self.u64(), free: self.u64() },
            12 => Refusal::NoInodes,
            13 => Refusal::Quota,
            14 => Refusal::ReadOnly,
            15 => Refusal::Io { errno: self.u32() as i32 },
            16 => Refusal::HashDiffers,
            17 => Refusal::Rights,
            18 => Refusal::Limit,
            _ => Refusal::Cancelled,
        }
    }
}
