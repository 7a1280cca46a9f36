//! Deltas: a thread for each transfer computes frames, one for each that is pulled.

use crate::delta::blocks::{RangeSignature, entry_bytes};
use crate::delta::groups::{GroupTags, GroupTree, n_nodes, node_bytes};
use crate::delta::index::Indexer;
use crate::delta::needs::{needed_ranges, request_block_bytes};
use crate::delta::ops::Op;
use crate::delta::sieve::{self, Against, DeltaError, ReadAt, Target, sieve};
use crate::disk::{File, Root};
use crate::model::limits::{
    ASK_ANSWER_BYTES, ASK_GROUPS, DELTA_AIM_BYTES, GROUP_BYTES, GROUP_LEVEL, MIB, PACK_FILE_BYTES,
};
use crate::model::{ContentHash, RelPath};
use crate::proto::message::{ChangeId, Down};
use crate::proto::sender::{Ask, DeltaFrame, KnownBasis, Unready, Want};
use crate::server::contents::KnownContents;
use std::cell::Cell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::mpsc::UnboundedSender;

/// Edits that are expected in a file of which no group stands where it stood.
const SHIFT_EDITS: u64 = 4;
/// Elsewhere one edit is expected in so many bytes of the ranges that differ.
const EDIT_BYTES: u64 = 4 * GROUP_BYTES as u64;

/// What a delta's thread tells.
pub enum DeltaNews {
    Frame(DeltaFrame),
    Finished,
    Unready(Unready),
    Ask(Ask),
}

enum Order {
    Pull,
    Answer(Box<Down>),
    Repair { level: u8, values: Vec<[u8; 32]> },
}

/// A delta that is being computed; ends when this is dropped.
pub struct Delta {
    orders: Sender<Order>,
}

impl Delta {
    /// Starts.
    pub fn start(
        root: Arc<Root>,
        known: Arc<KnownContents>,
        id: ChangeId,
        want: Want,
        basis: Option<KnownBasis>,
        news: UnboundedSender<(ChangeId, DeltaNews)>,
    ) -> Self {
        let (orders, taken) = channel();
        std::thread::spawn(move || {
            let thread = DeltaThread { root, known, id, want, orders: taken, n_pulled: Cell::new(0), news };
            if let Err(Stop::Unready(unready)) = thread.run(basis) {
                thread.tell(DeltaNews::Unready(unready));
            }
        });
        Self { orders }
    }

    /// Lets one more frame go.
    pub fn pull(&self) {
        let _ = self.orders.send(Order::Pull);
    }

    /// Hands over an answer to a question.
    pub fn answer(&self, answer: Down) {
        let _ = self.orders.send(Order::Answer(Box::new(answer)));
    }

    /// Asks for what differs from these chaining values, as literals.
    pub fn repair(&self, level: u8, values: Vec<[u8; 32]>) {
        let _ = self.orders.send(Order::Repair { level, values });
    }
}

/// Why a delta's thread ends.
enum Stop {
    /// Nobody wants it any more.
    Closed,
    Unready(Unready),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Unready(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Unready::Changed,
            _ => Unready::Unreadable(error.to_string()),
        })
    }
}

struct DeltaThread {
    root: Arc<Root>,
    known: Arc<KnownContents>,
    id: ChangeId,
    want: Want,
    orders: Receiver<Order>,
    /// Pulls that came while an answer was awaited.
    n_pulled: Cell<u32>,
    news: UnboundedSender<(ChangeId, DeltaNews)>,
}

/// A file of the source as the engine reads it.
struct Source(File);

impl ReadAt for Source {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

impl DeltaThread {
    fn tell(&self, news: DeltaNews) {
        let _ = self.news.send((self.id, news));
    }

    fn run(&self, basis: Option<KnownBasis>) -> Result<(), Stop> {
        let hash = self.want.leaf.content.whole().ok_or(Stop::Closed)?;
        let size = self.want.leaf.size;
        if basis.as_ref().is_some_and(|basis| basis.hash == Some(hash) && basis.size == size) {
            self.emit(0, vec![Op::Same { len: size }])?;
            self.tell(DeltaNews::Finished);
            return self.repairs(None);
        }
        let source = Source(self.root.open_file(&self.want.path)?);
        if source.0.opened().size != size {
            return Err(Stop::Unready(Unready::Changed));
        }
        let groups = self.groups(&source, hash)?;
        let basis = match basis {
            Some(basis) => self.learn_basis(&basis, groups.as_ref())?,
            None => None,
        };
        let holes: Vec<Range<u64>> = source
            .0
            .holes()
            .unwrap_or_default()
            .into_iter()
            .map(|(offset, len)| offset..offset + len)
            .collect();
        let target = Target { content: &source, size, hash, groups: groups.as_ref(), holes: &holes };
        let mut emit = |at, ops| match self.emit(at, ops) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let bases: Vec<sieve::KnownBasis> = basis.into_iter().collect();
        let against = Against { bases: &bases, ..Against::default() };
        match sieve(target, against, 0, &mut emit) {
            Ok(stats) => {
                tracing::debug!(path = %self.want.path, ?stats, "delta");
                self.tell(DeltaNews::Finished);
            }
            Err(DeltaError::Stopped { .. }) => return Err(Stop::Closed),
            Err(DeltaError::Read { source, .. }) => return Err(source.into()),
            Err(DeltaError::Changed { .. } | DeltaError::Offer { .. }) => {
                return Err(Stop::Unready(Unready::Changed));
            }
        }
        self.repairs(groups.as_ref())
    }

    /// Waits until a frame is wanted, and lets it go.
    fn emit(&self, at: u64, ops: Vec<Op>) -> Result<(), Stop> {
        while self.n_pulled.get() == 0 {
            match self.orders.recv() {
                Ok(Order::Pull) => self.n_pulled.set(1),
                Ok(Order::Answer(_) | Order::Repair { .. }) => {}
                Err(_) => return Err(Stop::Closed),
            }
        }
        self.n_pulled.set(self.n_pulled.get() - 1);
        self.tell(DeltaNews::Frame(DeltaFrame { at, ops }));
        Ok(())
    }

    /// Group tree of the target, from the scan or read again; `None` up to one group.
    fn groups(&self, source: &Source, hash: ContentHash) -> Result<Option<GroupTree>, Stop> {
        let size = self.want.leaf.size;
        if size <= PACK_FILE_BYTES {
            return Ok(None);
        }
        let kept =
            self.known.cache().groups(&hash).and_then(|(size, bytes)| GroupTree::parse(size, &bytes).ok());
        if kept.is_some() {
            return Ok(kept);
        }
        let mut indexer = Indexer::new(size);
        let mut buffer = vec![0; MIB];
        let mut at = 0;
        while at < size {
            let n = source.0.read_at(&mut buffer, at)?;
            if n == 0 {
                break;
            }
            indexer.update(&buffer[..n]);
            at += n as u64;
        }
        let index = indexer.finish();
        if index.hash != hash {
            return Err(Stop::Unready(Unready::Changed));
        }
        self.known.keep(&index);
        Ok(index.groups)
    }

    /// What the cache knows of the basis; what it does not know is asked of the receiver.
    fn learn_basis(
        &self,
        basis: &KnownBasis,
        target: Option<&GroupTree>,
    ) -> Result<Option<sieve::KnownBasis>, Stop> {
        if let Some(kept) = basis.hash.and_then(|hash| self.kept_basis(hash, basis.size)) {
            return Ok(Some(kept));
        }
        let level = (0..GROUP_LEVEL).find(|level| n_nodes(basis.size, *level) <= ASK_GROUPS as u64);
        let level = level.unwrap_or(GROUP_LEVEL);
        let tags = if basis.size > PACK_FILE_BYTES && target.is_some() {
            let n = n_nodes(basis.size, level).min(ASK_GROUPS as u64) as u32;
            self.tell(DeltaNews::Ask(Ask::Groups { level, first: 0, n }));
            match self.next_answer()? {
                Down::Groups { found: Some(_), tags, .. } => Some(GroupTags { level, tags: tags.into_vec() }),
                _ => return Ok(None),
            }
        } else {
            None
        };
        let ranges = match (&tags, target) {
            (Some(tags), Some(target)) => needed_ranges(&target.tags(level), tags, basis.size),
            _ => vec![(0, basis.size)],
        };
        let signatures = self.ask_signatures(ranges, basis.size)?;
        Ok(Some(sieve::KnownBasis { index: 0, size: basis.size, groups: tags, signatures }))
    }

    fn kept_basis(&self, hash: ContentHash, size: u64) -> Option<sieve::KnownBasis> {
        let cache = self.known.cache();
        let row = cache.signature(&hash).filter(|row| row.size == size)?;
        let signature =
            RangeSignature::parse(0, size, row.block_bytes, row.strong_bytes, row.entries).ok()?;
        let groups = cache.groups(&hash).and_then(|(size, bytes)| GroupTree::parse(size, &bytes).ok())?;
        Some(sieve::KnownBasis { index: 0, size, groups: Some(groups.tags(0)), signatures: vec![signature] })
    }

    /// Asks for the signatures of ranges of the basis. What does not fit one answer is left out, and
    /// sent as it is if it differs.
    fn ask_signatures(
        &self,
        mut ranges: Vec<(u64, u64)>,
        basis_size: u64,
    ) -> Result<Vec<RangeSignature>, Stop> {
        let range_bytes: u64 = ranges.iter().map(|(_, len)| len).sum();
        if range_bytes == 0 {
            return Ok(Vec::new());
        }
        let is_whole = matches!(ranges[..], [(0, len)] if len == basis_size);
        // Where everything differs at its place, something was inserted: few edits, and a shift.
        let n_edits =
            if is_whole { SHIFT_EDITS } else { ranges.iter().map(|(_, len)| len.div_ceil(EDIT_BYTES)).sum() };
        let (block_bytes, strong_bytes) = request_block_bytes(range_bytes, n_edits);
        let mut room_blocks = (ASK_ANSWER_BYTES / entry_bytes(strong_bytes)) as u64;
        for (_, len) in &mut ranges {
            *len = (*len).min(room_blocks * u64::from(block_bytes));
            room_blocks -= len.div_ceil(u64::from(block_bytes));
        }
        ranges.retain(|(_, len)| *len > 0);
        self.tell(DeltaNews::Ask(Ask::Signature { ranges, block_bytes, strong_bytes }));
        let mut signatures = Vec::new();
        loop {
            let Down::Signature { found: Some(_), range, entries, more, .. } = self.next_answer()? else {
                return Ok(Vec::new());
            };
            if range.1 > 0 {
                match RangeSignature::parse(range.0, range.1, block_bytes, strong_bytes, entries) {
                    Ok(signature) => signatures.push(signature),
                    Err(error) => {
                        tracing::warn!(%error, "a signature of the other side is left out");
                    }
                }
            }
            if !more {
                return Ok(signatures);
            }
        }
    }

    /// The next answer; pulls that come meanwhile are remembered.
    fn next_answer(&self) -> Result<Down, Stop> {
        loop {
            match self.orders.recv() {
                Ok(Order::Answer(down)) => return Ok(*down),
                Ok(Order::Pull) => self.n_pulled.set(self.n_pulled.get() + 1),
                Ok(Order::Repair { .. }) => {}
                Err(_) => return Err(Stop::Closed),
            }
        }
    }

    /// Sends again what the receiver rebuilt wrongly, as often as it asks.
    fn repairs(&self, groups: Option<&GroupTree>) -> Result<(), Stop> {
        // A pull that crossed the end asks for nothing any more.
        self.n_pulled.set(0);
        loop {
            match self.orders.recv() {
                Ok(Order::Repair { level, values }) => {
                    self.repair(groups, level, &values)?;
                    self.tell(DeltaNews::Finished);
                    self.n_pulled.set(0);
                }
                Ok(Order::Pull | Order::Answer(_)) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn repair(&self, groups: Option<&GroupTree>, level: u8, values: &[[u8; 32]]) -> Result<(), Stop> {
        let source = Source(self.root.open_file(&self.want.path)?);
        let size = self.want.leaf.size;
        let ours = groups.map(|groups| groups.level(level.min(GROUP_LEVEL)));
        let n = n_nodes(size, level.min(GROUP_LEVEL)).max(1);
        for node in 0..n {
            let is_right = match &ours {
                Some(ours) => values.get(node as usize) == ours.get(node as usize),
                None => false,
            };
            if !is_right {
                let start = node * node_bytes(level.min(GROUP_LEVEL));
                self.send_literals(&source, start..(start + node_bytes(level.min(GROUP_LEVEL))).min(size))?;
            }
        }
        Ok(())
    }

    fn send_literals(&self, source: &Source, range: Range<u64>) -> Result<(), Stop> {
        let mut at = range.start;
        while at < range.end {
            let mut bytes = vec![0; (range.end - at).min(DELTA_AIM_BYTES as u64) as usize];
            let n = source.0.read_at(&mut bytes, at)?;
            if n < bytes.len() {
                return Err(Stop::Unready(Unready::Changed));
            }
            self.emit(at, vec![Op::Literal(bytes)])?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Reads small files and symlinks whole, each compared with its hash.
pub fn read_batch(root: &Root, wants: &[Want]) -> Vec<Result<Vec<u8>, Unready>> {
    wants.iter().map(|want| read_small(root, want)).collect()
}

fn read_small(root: &Root, want: &Want) -> Result<Vec<u8>, Unready> {
    let failed = |error: io::Error| match Stop::from(error) {
        Stop::Unready(unready) => unready,
        Stop::Closed => Unready::Changed,
    };
    let bytes = if want.leaf.kind == crate::model::Kind::Link {
        root.read_link(&want.path).map_err(failed)?
    } else {
        read_whole(root, &want.path, want.leaf.size).map_err(failed)?
    };
    if want.leaf.content.whole() == Some(ContentHash::of(&bytes)) { Ok(bytes) } else { Err(Unready::Changed) }
}

fn read_whole(root: &Root, path: &RelPath, size: u64) -> io::Result<Vec<u8>> {
    let file = root.open_file(path)?;
    let mut bytes = vec![0; size as usize + 1];
    let n = file.read_at(&mut bytes, 0)?;
    bytes.truncate(n);
    Ok(bytes)
}
