//! A source's disk in memory, and a simple delta: equal blocks at their place, literals else.

use super::items::{Body, Item, Items};
use super::tree_of;
use crate::delta::ops::Op;
use crate::model::{Content, ContentHash, Kind, Meta, RelPath, Time};
use crate::plan::guard::RootChange;
use crate::proto::message::{Down, PackBody};
use crate::proto::sender::{Action, Ask, DeltaFrame, KnownBasis, Source, Unready, Want};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Target bytes of one frame.
const FRAME: usize = 24 << 10;
/// Target bytes that are compared as one.
const BLOCK: usize = 1 << 10;
const GROUP: usize = 64 << 10;

/// What the source says to the machine.
#[derive(Debug)]
pub enum Reply {
    Batch(u64, Vec<Result<PackBody, Unready>>),
    Frame(u64, DeltaFrame),
    Finished(u64),
    Unready(u64, Unready),
    Ask(u64, Ask),
    Scanned(Source),
}

struct Delta {
    want: Want,
    snapshot: Option<Vec<u8>>,
    at: usize,
    bases: Vec<KnownBasis>,
    /// Tags of the groups of each basis that is not in the history, once they were asked for.
    tags: BTreeMap<usize, Vec<crate::model::Tag>>,
    asked: Option<usize>,
    is_pulled: bool,
    /// Groups to send again.
    repair: Option<Vec<usize>>,
}

#[derive(Default)]
pub struct Files {
    pub items: Items,
    clock: u64,
    deltas: BTreeMap<u64, Delta>,
    /// Contents that were sent: the cache of signatures.
    pub history: HashMap<ContentHash, Vec<u8>>,
    pub untouched: BTreeSet<RelPath>,
    pub is_unlisted: bool,
    pub seen_gone: BTreeSet<RelPath>,
    pub root: RootChange,
    /// Entries that the source had lately.
    pub n_lately: u64,
    /// Written just before the so-manieth frame from now is read.
    pub edit_at: Option<(usize, RelPath, Vec<u8>)>,
    pub unreadable: BTreeSet<RelPath>,
    /// There is one more file, which has another name each time that something is read; so often it had.
    pub fleeting: Option<u32>,
    pub literal_bytes: u64,
    pub n_frames: usize,
    pub n_snapshots: usize,
}

impl Files {
    fn stamp(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Writes a file, as a user would; directories above it are made.
    pub fn write(&mut self, path: &RelPath, bytes: &[u8]) {
        self.put(path, Body::File(bytes.to_vec()));
    }

    pub fn put(&mut self, path: &RelPath, body: Body) {
        let parent = path.parent();
        if !parent.is_root() && !self.items.contains_key(&parent) {
            self.put(&parent, Body::Dir);
        }
        if self.items.get(path).is_some_and(|item| item.kind() == Kind::Dir) && body == Body::Dir {
            return;
        }
        self.remove(path);
        let stamp = self.stamp();
        let mode = if let Body::Link(_) = body { 0 } else { 0o640 };
        let meta = Meta { mode, mtime: Time { secs: stamp as i64, nanos: 5 } };
        self.items.insert(path.clone(), Item { meta, body, stamp });
    }

    pub fn remove(&mut self, path: &RelPath) {
        self.items.retain(|other, _| !other.is_at_or_below(path));
    }

    pub fn set_mtime(&mut self, path: &RelPath) {
        let secs = self.stamp() as i64;
        self.items.get_mut(path).expect("it is there").meta.mtime.secs = secs;
    }

    /// Renames; what stands at `to` goes.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let moved: Vec<_> = self.items.keys().filter(|path| path.is_at_or_below(from)).cloned().collect();
        let moved: Vec<_> = moved.into_iter().map(|path| (path.clone(), self.items.remove(&path))).collect();
        self.remove(to);
        for (path, item) in moved {
            let below = &path.as_bytes()[from.as_bytes().len()..];
            let path = RelPath::parse(&[to.as_bytes(), below].concat()).expect("a path");
            self.items.insert(path, item.expect("it is there"));
        }
    }

    pub fn scan(&self) -> Source {
        let tree = tree_of(&self.items, |item| Content::Whole(item.leaf_hash()));
        Source {
            tree,
            untouched: self.untouched.clone(),
            is_listed: !self.is_unlisted,
            seen_gone: self.seen_gone.clone().into(),
            root: self.root,
            n_lately: self.n_lately,
        }
    }

    pub fn restart(&mut self) {
        self.deltas.clear();
    }

    pub fn is_open(&self, id: u64) -> bool {
        self.deltas.contains_key(&id)
    }

    pub fn n_open(&self) -> usize {
        self.deltas.len()
    }

    pub fn act(&mut self, action: Action, replies: &mut Vec<Reply>) {
        match action {
            Action::ReadBatch { batch, wants, .. } => {
                self.flee();
                let read = wants.iter().map(|want| self.read(want).map(PackBody::Whole)).collect();
                replies.push(Reply::Batch(batch, read));
            }
            Action::OpenDelta { id, want, bases, start, hurry, .. } => {
                let snapshot = self.items.get(&want.path).filter(|item| item.leaf() == want.leaf);
                let snapshot = snapshot.filter(|_| hurry).map(|item| item.bytes().to_vec());
                self.n_snapshots += usize::from(snapshot.is_some());
                let delta = Delta {
                    want,
                    snapshot,
                    at: start as usize,
                    bases,
                    tags: BTreeMap::new(),
                    asked: None,
                    is_pulled: false,
                    repair: None,
                };
                self.deltas.insert(id, delta);
            }
            Action::Pull { id } => {
                assert!(self.deltas.contains_key(&id), "a pull of what is not open");
                self.pull(id, replies);
            }
            Action::Answer { id, answer } => {
                if let (Some(delta), Down::Groups { tags, .. }) = (self.deltas.get_mut(&id), answer) {
                    delta.tags.extend(delta.asked.take().map(|index| (index, tags.into_vec())));
                    if std::mem::take(&mut delta.is_pulled) {
                        self.pull(id, replies);
                    }
                }
            }
            Action::Repair { id, values, .. } => {
                let delta = self.deltas.get_mut(&id).expect("a repair of what is open");
                let bytes = self.items.get(&delta.want.path).map(|item| item.bytes().to_vec());
                let bytes = bytes.unwrap_or_default();
                let differs = |(index, group): (usize, &[u8])| {
                    (values.get(index) != Some(&ContentHash::of(group).0)).then_some(index)
                };
                delta.repair = Some(bytes.chunks(GROUP).enumerate().filter_map(differs).collect());
            }
            Action::CloseDelta { id } => {
                assert!(self.deltas.remove(&id).is_some(), "closed twice");
            }
            Action::Rescan { .. } => replies.push(Reply::Scanned(self.scan())),
            other => panic!("{other:?} is not for the source"),
        }
    }

    fn flee(&mut self) {
        let Some(n) = &mut self.fleeting else { return };
        *n += 1;
        assert!(*n < 3_000, "it is read for ever");
        let name = |n: u32| RelPath::parse(format!("fleeting-{n}").as_bytes()).expect("a path");
        let (old, new) = (name(*n - 1), name(*n));
        self.remove(&old);
        self.write(&new, b"here for a moment");
    }

    fn read(&mut self, want: &Want) -> Result<Vec<u8>, Unready> {
        if self.unreadable.contains(&want.path) {
            return Err(Unready::Unreadable("no".into()));
        }
        match self.items.get(&want.path) {
            Some(item) if item.kind() == want.leaf.kind && item.leaf() == want.leaf => {
                let bytes = item.bytes().to_vec();
                self.history.insert(ContentHash::of(&bytes), bytes.clone());
                self.literal_bytes += bytes.len() as u64;
                Ok(bytes)
            }
            _ => Err(Unready::Changed),
        }
    }

    fn pull(&mut self, id: u64, replies: &mut Vec<Reply>) {
        self.n_frames += 1;
        if let Some((left, path, bytes)) = self.edit_at.take() {
            match left {
                0 => self.write(&path, &bytes),
                _ => self.edit_at = Some((left - 1, path, bytes)),
            }
        }
        let delta = self.deltas.get_mut(&id).expect("it is open");
        let want = delta.want.clone();
        let target = match self.items.get(&want.path) {
            _ if delta.snapshot.is_some() => delta.snapshot.clone().unwrap_or_default(),
            Some(item) if item.kind() == Kind::File && item.leaf() == want.leaf => item.bytes().to_vec(),
            _ => return replies.push(Reply::Unready(id, Unready::Changed)),
        };
        self.history.insert(ContentHash::of(&target), target.clone());
        if let Some(groups) = &mut delta.repair {
            return replies.push(match groups.pop() {
                Some(index) => {
                    let at = index * GROUP;
                    let bytes = target[at..target.len().min(at + GROUP)].to_vec();
                    Reply::Frame(id, DeltaFrame { at: at as u64, ops: vec![Op::Literal(bytes)] })
                }
                None => Reply::Finished(id),
            });
        }
        let history = &self.history;
        let known = |basis: &KnownBasis| history.get(&basis.hash?);
        let unknown = (0..delta.bases.len())
            .find(|index| known(&delta.bases[*index]).is_none() && !delta.tags.contains_key(index));
        if let Some(index) = unknown {
            delta.is_pulled = true;
            if delta.asked.replace(index).is_none() {
                let of = Some(delta.bases[index].basis.clone());
                replies.push(Reply::Ask(id, Ask::Groups { of, level: 0, first: 0, n: 8_192 }));
            }
            return;
        }
        if delta.at == target.len() {
            return replies.push(Reply::Finished(id));
        }
        let start = delta.at;
        let end = target.len().min(start / FRAME * FRAME + FRAME);
        let mut ops = Vec::new();
        let mut at = start;
        while at < end {
            let block_end = end.min(at / BLOCK * BLOCK + BLOCK);
            let block = &target[at..block_end];
            let same = delta.bases.iter().enumerate().position(|(index, basis)| {
                let size = basis.size as usize;
                match known(basis) {
                    Some(bytes) => block_end <= size && bytes.get(at..block_end) == Some(block),
                    None => {
                        let group = at / GROUP * GROUP;
                        let group_bytes = &target[group..target.len().min(group + GROUP)];
                        let tag = delta.tags.get(&index).and_then(|tags| tags.get(at / GROUP));
                        group + group_bytes.len() <= size && tag == Some(&ContentHash::of(group_bytes).tag())
                    }
                }
            });
            push_op(&mut ops, block, at as u64, same.map(|index| index as u32));
            at = block_end;
        }
        for op in &ops {
            self.literal_bytes += op.wire_bytes() as u64;
        }
        delta.at = end;
        replies.push(Reply::Frame(id, DeltaFrame { at: start as u64, ops }));
    }
}

fn push_op(ops: &mut Vec<Op>, block: &[u8], at: u64, same: Option<u32>) {
    let n = block.len() as u64;
    match (ops.last_mut(), same) {
        (Some(Op::Same { len }), Some(0)) => *len += n,
        (Some(Op::Copy { basis, len, .. }), Some(same)) if *basis == same => *len += n,
        (Some(Op::Literal(bytes)), None) => bytes.extend(block),
        (_, Some(0)) => ops.push(Op::Same { len: n }),
        (_, Some(basis)) => ops.push(Op::Copy { basis, offset: at, len: n }),
        (_, None) => ops.push(Op::Literal(block.to_vec())),
    }
}
