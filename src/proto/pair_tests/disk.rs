//! A destination's disk in memory: it does what the receiver's machine asks, as a server would.

use super::drive::Answer;
use super::items::{Body, Item, Items};
use super::partials::{Kept, Loss};
use super::tree_of;
use crate::delta::ops::{Op, PartialName};
use crate::delta::small;
use crate::model::{Content, ContentHash, Kind, Leaf, List, Meta, Node, RelPath, Tree};
use crate::proto::message::{AskedFile, BlockNames, ContentFound, Down, PackBody, Refusal};
use crate::proto::receiver::{Action, BasisRef, Offer, PackedFile, Question, RESUMED, Staged, Walked};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub struct Stage {
    pub bytes: Vec<u8>,
    bases: Vec<Vec<u8>>,
    pub offer: Offer,
    pub failed: bool,
    /// Ops came in no order: it is the beginning of nothing.
    pub is_repaired: bool,
}

#[derive(Default)]
pub struct Disk {
    pub items: Items,
    /// Content hashes that are known, by stamp: the server's cache.
    pub known: HashMap<u64, ContentHash>,
    pub left: BTreeMap<[u8; 16], BTreeSet<RelPath>>,
    pub last_source: Option<[u8; 16]>,
    pub scope: [u8; 16],
    pub(super) stages: BTreeMap<u64, Stage>,
    /// Partials of this connection, and those of earlier ones.
    pub(super) sent: BTreeMap<u64, Kept>,
    pub stored: BTreeMap<[u8; 16], Kept>,
    pub loss: Loss,
    /// What stood here before the group that is being made, when power may go.
    pub(super) before_group: Option<Items>,
    pub(super) packs: BTreeMap<u64, Vec<Vec<u8>>>,
    clock: u64,
    /// Killed before the so-manieth step from now of a commit.
    pub kill_at: Option<usize>,
    pub is_killed: bool,
    /// It does what it is told, and says nothing.
    pub stands: bool,
    pub n_steps: usize,
    /// Changes of these paths are refused, the next so many times.
    pub refuses: BTreeMap<RelPath, (Refusal, u32)>,
    /// What was made cannot be made durable: so many groups are told as refused.
    pub syncs_that_fail: u32,
    /// Rebuilds a wrong byte at the end of files this long, so many times.
    pub garbles: HashMap<u64, u32>,
    /// Claims this hash for a path, as if two contents had equal tags, until it is written.
    pub lie: Option<(RelPath, ContentHash)>,
    /// Edited by somebody else just before the next commit.
    pub edit_before_commit: Vec<(RelPath, Vec<u8>)>,
    pub groups: Vec<usize>,
    pub n_stages_left: usize,
    pub files_hashed: usize,
}

impl Disk {
    pub fn stamp(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Somebody else writes at the destination.
    pub fn put_foreign(&mut self, path: &RelPath, body: Body, meta: Meta) {
        let stamp = self.stamp();
        self.items.insert(path.clone(), Item { meta, body, stamp });
    }

    pub fn forget_hashes(&mut self) {
        self.known.clear();
    }

    /// The tree as it is in truth, without what is set aside.
    pub fn tree(&self) -> Tree {
        let empty = BTreeSet::new();
        let left = self.left.get(&self.scope).unwrap_or(&empty);
        let mut tree = tree_of(&self.items, |item| Content::Whole(item.leaf_hash()));
        for path in left {
            let _ = tree.remove(path);
        }
        tree
    }

    /// Does one thing; what it has to say goes to `answers`.
    pub fn act(&mut self, action: Action, answers: &mut Vec<Answer>) {
        match action {
            Action::Walk { deep, skip } => self.walk(deep, &skip, answers),
            Action::Open { id, offer, bases, resume } => self.open(id, offer, &bases, resume, answers),
            Action::Keep { id } => {
                if let Some(stage) = self.stages.remove(&id) {
                    self.sent.insert(id, Kept { offer: stage.offer, bytes: stage.bytes });
                }
            }
            Action::Forget { of: PartialName::Sent(id) } => drop(self.sent.remove(&id)),
            Action::Forget { of: PartialName::Stored(name) } => drop(self.stored.remove(&name)),
            Action::AddBasis { id, basis } => {
                let found = self.basis(&basis);
                if let (Some(stage), Some(bytes)) = (self.stages.get_mut(&id), found) {
                    stage.bases.push(bytes);
                }
            }
            Action::Write { id, at, ops, wire_bytes } => {
                if let Some(stage) = self.stages.get_mut(&id)
                    && !stage.failed
                {
                    stage.write(at, ops);
                }
                answers.push(Answer::Written(id, wire_bytes));
            }
            Action::Seal { id, hash } => self.seal(id, hash, answers),
            Action::StagePack { id, files, hash, wire_bytes } => {
                answers.push(Answer::Written(id, wire_bytes));
                self.stage_pack(id, files, hash, answers);
            }
            Action::Drop { id } => {
                self.stages.remove(&id);
                self.packs.remove(&id);
            }
            Action::Commit { steps, dirs } => self.commit(steps, dirs, answers),
            Action::Ask(question) => answers.push(Answer::Answered(self.answer(question))),
            Action::SaveLeft(left) => drop(self.left.insert(self.scope, left)),
            Action::HashFirst { .. } => {}
            Action::Send(_) | Action::Close => panic!("not for the disk"),
        }
        self.n_stages_left = self.stages.len() + self.packs.len();
    }

    fn open(
        &mut self,
        id: u64,
        offer: Offer,
        bases: &[BasisRef],
        resume: Option<(PartialName, u64)>,
        answers: &mut Vec<Answer>,
    ) {
        let found: Option<Vec<_>> = bases.iter().map(|basis| self.basis(basis)).collect();
        let bytes = match resume {
            None => Some(Vec::new()),
            Some((of, start)) => self.take_partial(of).map(|kept| {
                assert_eq!(kept.offer.hash, offer.hash, "a partial of this very content");
                kept.bytes[..start as usize].to_vec()
            }),
        };
        let index = if found.is_none() { 0 } else { RESUMED };
        let failed = found.is_none() || bytes.is_none();
        let (bytes, bases) = (bytes.unwrap_or_default(), found.unwrap_or_default());
        self.stages.insert(id, Stage { bytes, bases, offer, failed, is_repaired: false });
        if failed {
            answers.push(Answer::Staged(id, Err(Refusal::BasisGone { index })));
        }
    }

    fn walk(&mut self, deep: bool, skip: &BTreeSet<RelPath>, answers: &mut Vec<Answer>) {
        if deep {
            self.known.clear();
        }
        if let Some((path, hash)) = self.lie.take() {
            self.known.insert(self.items[&path].stamp, hash);
        }
        let tree = tree_of(&self.items, |item| match item.body {
            Body::File(_) => self.known.get(&item.stamp).copied().map_or(Content::Unknown, Content::Whole),
            _ => Content::Whole(item.leaf_hash()),
        });
        let mut unknown = Vec::new();
        let mut bytes_to_hash = 0;
        for (path, item) in &self.items {
            let is_known = item.kind() != Kind::File || self.known.contains_key(&item.stamp);
            if !is_known && !skip.iter().any(|left| path.is_at_or_below(left)) {
                let hash = item.leaf_hash();
                bytes_to_hash += item.bytes().len() as u64;
                unknown.push((path.clone(), item.meta, item.bytes().len() as u64, hash, item.stamp));
            }
        }
        answers.push(Answer::Walked(Walked { tree, n_unreadable: 0, bytes_to_hash }));
        let has_unknown = !unknown.is_empty();
        for (path, meta, size, hash, stamp) in unknown {
            self.known.insert(stamp, hash);
            self.files_hashed += 1;
            answers.push(Answer::Hashed(path, meta, size, hash));
        }
        if has_unknown {
            answers.push(Answer::HashedAll(Vec::new()));
        }
    }

    fn basis(&self, basis: &BasisRef) -> Option<Vec<u8>> {
        let (path, leaf) = match basis {
            BasisRef::File { path, leaf } => (path, leaf),
            BasisRef::Partial { of, len, .. } => {
                let kept = match of {
                    PartialName::Sent(id) => self.sent.get(id)?,
                    PartialName::Stored(name) => self.stored.get(name)?,
                };
                return kept.bytes.get(..*len as usize).map(<[u8]>::to_vec);
            }
        };
        let item = self.items.get(path)?;
        let whole = leaf.content.whole();
        let fits = item.kind() == Kind::File && whole.is_none_or(|hash| item.leaf_hash() == hash);
        fits.then(|| item.bytes().to_vec())
    }

    fn seal(&mut self, id: u64, hash: ContentHash, answers: &mut Vec<Answer>) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        if stage.failed {
            return;
        }
        let size = stage.offer.size;
        assert_eq!(stage.bytes.len() as u64, size, "a sealed stage is complete");
        if let Some(times) = self.garbles.get_mut(&size)
            && *times > 0
        {
            *times -= 1;
            *stage.bytes.last_mut().expect("a large file") ^= 1;
        }
        if ContentHash::of(&stage.bytes) == hash {
            answers.push(Answer::Staged(id, Ok(())));
        } else {
            stage.is_repaired = true;
            let values = stage.bytes.chunks(64 << 10).map(|group| ContentHash::of(group).0).collect();
            answers.push(Answer::Mismatched(id, 0, values));
        }
    }

    fn stage_pack(&mut self, id: u64, files: Vec<PackedFile>, hash: ContentHash, answers: &mut Vec<Answer>) {
        let mut bodies = Vec::new();
        let mut hashes = Vec::new();
        let mut hasher = blake3::Hasher::new();
        for file in files {
            let held = file.basis.as_ref().map(|basis| self.basis(basis));
            if held == Some(None) {
                answers.push(Answer::PackStaged(id, Err(Refusal::BasisGone { index: 0 })));
                return;
            }
            let held = held.flatten().unwrap_or_default();
            let bytes = match file.body {
                PackBody::Whole(bytes) => bytes,
                PackBody::Same { .. } => held,
                PackBody::Over(_) => panic!("not offered"),
                PackBody::Runs(runs) => small::rebuild(&held, &runs, file.size as usize).unwrap_or_default(),
            };
            let mut content_hash = ContentHash::of(&bytes);
            if let Some(times) = self.garbles.get_mut(&(bytes.len() as u64))
                && *times > 0
            {
                *times -= 1;
                content_hash.0[0] ^= 1;
            }
            hasher.update(&content_hash.0);
            hashes.push(content_hash);
            bodies.push(bytes);
        }
        if *hasher.finalize().as_bytes() == hash.0 {
            self.packs.insert(id, bodies);
            answers.push(Answer::PackStaged(id, Ok(hashes)));
        } else {
            answers.push(Answer::PackStaged(id, Err(Refusal::HashDiffers)));
        }
    }

    pub(super) fn staged(&mut self, staged: Staged) -> Vec<u8> {
        if let Some(files) = self.packs.get_mut(&staged.id) {
            let bytes = std::mem::take(&mut files[staged.index as usize]);
            if staged.index as usize + 1 == files.len() {
                self.packs.remove(&staged.id);
            }
            return bytes;
        }
        self.stages.remove(&staged.id).expect("what is installed was staged").bytes
    }

    fn answer(&self, question: Question) -> Down {
        match question {
            Question::Groups { request, basis, level, first, n } => {
                let bytes = self.basis(&basis);
                let found = bytes
                    .as_ref()
                    .map(|bytes| ContentFound { hash: ContentHash::of(bytes), size: bytes.len() as u64 });
                let groups = bytes.unwrap_or_default();
                let groups = groups.chunks(64 << 10).skip(first as usize).take(n as usize);
                let tags = List::new(groups.map(|group| ContentHash::of(group).tag()).collect());
                Down::Groups { request, found, level, first, tags }
            }
            Question::Signature { request, block_bytes, strong_bytes, .. } => {
                Down::no_signature(request, block_bytes, strong_bytes)
            }
            Question::Blocks { request, files } => {
                let names = |(basis, asked): &(Option<BasisRef>, AskedFile)| {
                    let held = self.basis(basis.as_ref()?)?;
                    let range =
                        |&(offset, len): &(u32, u32)| held.get(offset as usize..)?.get(..len as usize);
                    let ranges: Option<Vec<&[u8]>> = asked.parts.iter().map(range).collect();
                    let n = asked.block_bytes as usize;
                    Some(BlockNames(ranges?.iter().flat_map(|range| small::names(range, n)).collect()))
                };
                Down::Blocks { request, files: List::new(files.iter().map(names).collect()) }
            }
            Question::Have { request, .. } => Down::Have { request, found: List::default() },
        }
    }

    /// Paths whose content is neither among these.
    pub fn torn(&self, allowed: &HashSet<ContentHash>) -> Vec<RelPath> {
        let is_torn = |item: &Item| item.kind() == Kind::File && !allowed.contains(&item.leaf_hash());
        self.items.iter().filter(|(_, item)| is_torn(item)).map(|(path, _)| path.clone()).collect()
    }
}

impl Stage {
    fn write(&mut self, at: u64, ops: Vec<Op>) {
        let mut at = at as usize;
        for op in ops {
            let bytes = match op {
                Op::Same { len } => self.bases[0][at..at + len as usize].to_vec(),
                Op::Zeros { len } => vec![0; len as usize],
                Op::Copy { basis, offset, len } => {
                    self.bases[basis as usize][offset as usize..(offset + len) as usize].to_vec()
                }
                Op::Literal(bytes) => bytes,
                other => panic!("{other:?} is not made by this source"),
            };
            if self.bytes.len() < at + bytes.len() {
                self.bytes.resize(at + bytes.len(), 0);
            }
            self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
            at += bytes.len();
        }
    }
}

/// A node of this item, with as much of its content as is known.
pub fn node_of(item: &Item, content: Content) -> Node {
    match item.body {
        Body::Dir => Node::empty_dir(item.meta),
        _ => Node::Leaf(Leaf { content, ..item.leaf() }),
    }
}
