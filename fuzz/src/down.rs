//! Messages of a receiver, as an enemy might send them.

use crate::Draw;
use strait::model::{Content, ContentHash, Kind, List, Node, RelPath, Tag, Tree};
use strait::proto::message::*;

/// What an enemy knows of a sender: what it asked and sent last, and its trees.
pub struct Overheard<'t> {
    pub sent: &'t [Up],
    /// The tree that answers to questions tell of.
    pub tree: &'t Tree,
    /// Roots that would please it.
    pub roots: &'t [ContentHash],
}

impl Draw<'_> {
    pub fn welcome(&mut self) -> Welcome {
        let mut keeps = Keeps::ALL;
        if self.seldom(8) {
            keeps.time_step_ns = [0, 1_000_000_000, u32::MAX][self.below(3)];
            keeps.mode_mask = self.u32() as u16;
            keeps.symlinks = false;
        }
        let partials = self.some(2, |draw| {
            let (hash, size) = draw.content();
            PartialInfo { name: [draw.byte() % 4; 16], hash, size, have: draw.size(), path: draw.path() }
        });
        Welcome {
            capabilities: self.u64(),
            root_id: [1; 16],
            lease: 1,
            keeps,
            rights: self.byte(),
            credit: if self.seldom(4) { self.u64() } else { 8 << 20 },
            partials: List::new(partials),
            open_transfers: 64,
            unacknowledged: 65_536,
            extra: List::default(),
        }
    }

    /// A message down: an answer to something that was overheard, or anything.
    pub fn down(&mut self, heard: &Overheard) -> Down {
        let asked = heard.sent.get(self.below(heard.sent.len().max(1)));
        match (self.below(16), asked) {
            (0..=6, Some(up)) => self.answer(up, heard),
            (7 | 8, Some(up)) => {
                let first = up.change_id().unwrap_or_else(|| (self.byte() % 8).into());
                let n = if self.seldom(16) { self.u32() } else { 1 };
                Down::Done { ids: List::new(vec![(first, n)]), root: self.root_of(heard) }
            }
            (9 | 10, Some(up)) => Down::Refused {
                id: up.change_id().unwrap_or(1),
                item: self.maybe(|draw| (draw.byte() % 4).into()),
                why: self.refusal(),
            },
            (11, _) => Down::Root { state: self.root_state(heard), why: self.reason() },
            (12, _) => Down::Credit { grants: List::new(self.some(2, |draw| (draw.u64(), draw.size()))) },
            (13, _) => Down::Notice(self.a_notice()),
            (14, _) => self.mismatch(heard),
            (15, _) if self.seldom(16) => Down::Bye { code: ByeCode::Stopping, text: self.text() },
            _ => Down::Ping(self.u64()),
        }
    }

    pub fn root_state(&mut self, heard: &Overheard) -> RootState {
        match self.below(6) {
            0 => RootState::Walking { done: self.u64() },
            1 => RootState::Hashing { done: self.u64(), total: self.u64() },
            _ => RootState::Complete {
                root: self.root_of(heard).unwrap_or(ContentHash([9; 32])),
                entries: self.u64(),
                age_ms: 0,
                unreadable: self.byte().into(),
            },
        }
    }

    fn root_of(&mut self, heard: &Overheard) -> Option<ContentHash> {
        match self.below(6) {
            0 => None,
            1 => Some(ContentHash(self.array())),
            n => heard.roots.get(n % heard.roots.len().max(1)).copied(),
        }
    }

    fn reason(&mut self) -> RootReason {
        [RootReason::Greeting, RootReason::Drift, RootReason::Check(1)][self.below(3)]
    }

    fn a_notice(&mut self) -> Notice {
        match self.below(5) {
            0 => Notice::SpaceBack,
            1 => Notice::Low { bytes: self.u64(), inodes: self.u64() },
            2 => Notice::KeepsChanged(self.welcome().keeps),
            3 => Notice::PartialDropped([self.byte() % 4; 16]),
            _ => Notice::Stays { path: self.path() },
        }
    }

    fn mismatch(&mut self, heard: &Overheard) -> Down {
        let id =
            heard.sent.iter().rev().find_map(|up| if let Up::End { id } = up { Some(*id) } else { None });
        Down::Mismatch {
            id: id.unwrap_or(1),
            round: self.byte() % 5,
            level: self.byte() % 16,
            first: 0,
            values: List::new(self.some(3, |draw| draw.array())),
        }
    }

    fn answer(&mut self, up: &Up, heard: &Overheard) -> Down {
        match up {
            Up::List { request, dirs, .. } => {
                let dir =
                    dirs.get(self.below(dirs.len().max(1))).map_or(RelPath::root(), |dir| dir.dir.clone());
                self.listing(*request, dir, heard.tree)
            }
            Up::AskGroups { request, level, first, .. } => {
                let (hash, size) = self.content();
                let found = self.maybe(|_| ContentFound { hash, size });
                let tags = List::new(self.some(20, |draw| Tag(draw.array())));
                Down::Groups { request: *request, found, level: *level, first: *first, tags }
            }
            Up::AskSignature { request, block_bytes, strong_bytes, ranges, .. } => {
                let (hash, size) = self.content();
                Down::Signature {
                    request: *request,
                    found: self.maybe(|_| ContentFound { hash, size }),
                    block_bytes: *block_bytes,
                    strong_bytes: *strong_bytes,
                    range: ranges.first().copied().unwrap_or_default(),
                    entries: self.some_bytes(200),
                    more: self.byte() & 1 == 1,
                }
            }
            Up::AskHave { request, .. } => Down::Have { request: *request, found: List::default() },
            Up::Put(put) => Down::Answer { id: put.id, answer: PutAnswer::Already },
            Up::Check { request, .. } => {
                Down::Root { state: self.root_state(heard), why: RootReason::Check(*request) }
            }
            _ => Down::Pong(self.u64()),
        }
    }

    fn listing(&mut self, request: RequestId, dir: RelPath, tree: &Tree) -> Down {
        let found = tree.dir(&dir);
        let mut entries: Vec<EntryInfo> = found
            .map(|dir| dir.entries().iter().map(|(name, node)| info(name.clone(), node)).collect())
            .unwrap_or_default();
        if self.seldom(8) {
            let (hash, size) = self.content();
            let (name, kind, meta) = (self.name(), self.kind(), self.meta());
            entries.push(EntryInfo {
                name,
                kind,
                meta,
                size,
                hash: EntryHash::Full(hash),
                n_below: self.u64(),
            });
        }
        let body = match self.below(12) {
            0 => ListingBody::Missing,
            1 => ListingBody::Ranges(List::default()),
            _ => ListingBody::Entries(List::new(entries)),
        };
        let hash = found.and_then(|dir| dir.hash());
        Down::Listing(Box::new(Listing { request, dir, hash, n_below: 3, body, more: self.seldom(8) }))
    }
}

fn info(name: strait::model::Name, node: &Node) -> EntryInfo {
    let size = node.as_leaf().map_or(0, |leaf| leaf.size);
    let hash = match node.as_leaf().map(|leaf| leaf.content) {
        Some(Content::Whole(hash)) => EntryHash::Full(hash),
        _ => EntryHash::Tag(node.tag()),
    };
    let kind: Kind = node.kind();
    EntryInfo { name, kind, meta: *node.meta(), size, hash, n_below: node.n_below() }
}
