//! Messages of a sender, as an enemy might send them.

use crate::Draw;
use strait::model::{ContentHash, List, RelPath, Tag, Tree};
use strait::proto::message::*;

impl Draw<'_> {
    pub fn hello(&mut self, root: Option<ContentHash>) -> Hello {
        let ahead = if self.seldom(4) { root.map(|root| ([1; 16], root)) } else { None };
        Hello {
            capabilities: self.u64(),
            client: [2; 16],
            process: [3; 16],
            name: Text::new("fuzz"),
            root_name: Text::default(),
            role: if self.seldom(8) { Role::Plan } else { Role::Push },
            scope: [4; 16],
            keeps: None,
            fresh_ms: 0,
            ahead,
            ticket: None,
            extra: List::default(),
        }
    }

    /// A message up. `tree` is what the receiver holds, `last_id` the last number that was used.
    pub fn up(&mut self, tree: &Tree, last_id: &mut u64) -> Up {
        let old = last_id.saturating_sub((self.byte() % 4).into());
        match self.below(22) {
            0 => Up::Begin { root: self.maybe(|draw| draw.content().0) },
            1 => self.list(),
            2 => self.ask(tree),
            3 | 4 => self.put(tree, last_id),
            5 | 6 => {
                Up::Delta { id: old, at: self.size(), ops: List::new(self.some(6, |draw| draw.op(tree))) }
            }
            7 => Up::End { id: old },
            8 => Up::Cancel { id: old, keep: self.byte() & 1 == 1 },
            9 | 10 => self.pack(tree, last_id),
            11 => Up::MakeDir { id: self.id(last_id), path: self.path(), meta: self.meta() },
            12 => Up::Link {
                id: self.id(last_id),
                path: self.path(),
                target: Target::parse(b"target".to_vec()).expect("a target"),
                mtime: self.time(),
            },
            13 => self.set_meta(last_id),
            14 | 15 => self.move_or_swap(tree, last_id),
            16 | 17 => {
                let items = self.some(4, |draw| draw.removal(tree));
                Up::Remove { id: self.id(last_id), items: List::new(items) }
            }
            18 => Up::Leave { id: self.id(last_id), paths: List::new(self.some(3, Draw::path)) },
            19 => Up::Check { request: self.u32(), deep: self.byte() & 1 == 1 },
            20 => Up::Ping(self.u64()),
            _ if self.seldom(16) => Up::Bye { code: ByeCode::Finished, text: self.text() },
            _ => Up::Pong(self.u64()),
        }
    }

    fn id(&mut self, last_id: &mut u64) -> u64 {
        let step = if self.seldom(32) { self.u64() % 3 } else { 1 };
        *last_id = last_id.saturating_add(step);
        *last_id
    }

    fn list(&mut self) -> Up {
        let dirs =
            self.some(4, |draw| ListDir { dir: draw.path(), ranges: List::new(draw.some(2, Draw::name)) });
        Up::List { request: self.u32(), dirs: List::new(dirs), full: self.byte() & 1 == 1 }
    }

    fn ask(&mut self, tree: &Tree) -> Up {
        let (request, basis) = (self.u32(), self.basis(tree));
        match self.below(3) {
            0 => Up::AskGroups {
                request,
                basis,
                level: self.byte() % 17,
                first: self.size(),
                n: self.u32() % 9_000,
            },
            1 => Up::AskSignature {
                request,
                basis,
                ranges: List::new(self.some(3, |draw| (draw.size(), draw.size()))),
                block_bytes: [509, 0, 64, 1_021, u32::MAX][self.below(5)],
                strong_bytes: [8, 0, 4, 16, 255][self.below(5)],
            },
            _ => Up::AskHave { request, tags: List::new(self.some(3, |draw| Tag(draw.array()))) },
        }
    }

    fn put(&mut self, tree: &Tree, last_id: &mut u64) -> Up {
        let (hash, size) = self.content();
        Up::Put(Box::new(Put {
            id: self.id(last_id),
            path: self.path(),
            meta: self.meta(),
            size,
            hash,
            bases: List::new(self.some(3, |draw| draw.basis(tree))),
            resume: if self.seldom(8) { Some(([self.byte() % 4; 16], self.size())) } else { None },
            wait: self.byte() & 1 == 1,
        }))
    }

    fn pack(&mut self, tree: &Tree, last_id: &mut u64) -> Up {
        let mut files = Vec::new();
        let dirs = self.some(3, |draw| {
            let n_files = draw.below(4) as u32;
            (0..n_files).for_each(|_| files.push(draw.pack_file(tree)));
            let n_files = if draw.seldom(16) { draw.u32() } else { n_files };
            PackDir { path: draw.path(), meta: draw.maybe(Draw::meta), n_files }
        });
        let hash = ContentHash(self.array());
        Up::Pack(Box::new(Pack {
            id: self.id(last_id),
            dirs: List::new(dirs),
            files: List::new(files),
            hash,
        }))
    }

    fn pack_file(&mut self, tree: &Tree) -> PackFile {
        let body = match self.below(4) {
            0 => PackBody::Same { basis: self.basis(tree) },
            1 => PackBody::Over(self.some_bytes(40)),
            _ => PackBody::Whole(self.some_bytes(40)),
        };
        let size = match &body {
            PackBody::Whole(bytes) if !self.seldom(8) => bytes.len() as u32,
            _ => self.size() as u32,
        };
        PackFile { name: self.name(), meta: self.meta(), size, body }
    }

    fn set_meta(&mut self, last_id: &mut u64) -> Up {
        let rows = self.some(4, |draw| (draw.name(), draw.meta()));
        let mut set = SetMeta::of(self.id(last_id), self.path(), &rows);
        if self.seldom(4) {
            set.modes = List::new(self.some(3, |draw| (draw.u32(), draw.u32() as u16)));
        }
        Up::SetMeta(Box::new(set))
    }

    fn move_or_swap(&mut self, tree: &Tree, last_id: &mut u64) -> Up {
        let (one, other) = (self.path(), self.path());
        let (tag, other_tag) = (self.tag_at(tree, &one), self.tag_at(tree, &other));
        let id = self.id(last_id);
        match self.below(2) {
            0 => {
                let kind = tree.get(&one).map_or(strait::model::Kind::File, |node| node.kind());
                Up::Move { id, from: one, to: other, kind, tag }
            }
            _ => Up::Swap { id, a: one, a_tag: tag, b: other, b_tag: other_tag },
        }
    }

    fn removal(&mut self, tree: &Tree) -> Removal {
        let path: RelPath = self.path();
        let node = tree.get(&path);
        let kind = node.map_or_else(|| self.kind(), |node| node.kind());
        let n_below = node.map_or(0, |node| node.n_below());
        let n_below = if self.seldom(8) { self.u64() } else { n_below };
        Removal { path, kind, n_below }
    }
}
