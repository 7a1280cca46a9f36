//! The sender's engine: a target against a basis, coarse to fine, into frames of ops.
//!
//! Groups that are equal at the same offset are not even read. The rest is read in windows, every whole
//! group of it compared with the tree that was offered, and cut into pieces by the block sieve. It
//! never sends bytes of a target that differs from the offer without an error.

use std::io;
use std::ops::Range;

use super::align::{Aligner, Piece};
use super::blocks::RangeSignature;
use super::cores::both;
use super::dense;
use super::frames::{Found, Frames, Stopped};
use super::groups::{GroupTags, GroupTree, group_value, node_bytes};
use super::ops::{Basis, Op};
use super::place::Place;
use super::window::Window;
use super::zeros::{Stretch, stretches};
use crate::model::ContentHash;
use crate::model::limits::{GROUP_BYTES, MIB, TREE_LEVEL, WINDOW_BYTES};

pub use super::frames::{DeltaStats, Emit, split_frame};

const GROUP: u64 = GROUP_BYTES as u64;
/// Bytes of the target that are read at a time.
const READ_BYTES: u64 = 2 * MIB as u64;
const _: () =
    assert!(READ_BYTES as usize <= WINDOW_BYTES && READ_BYTES.is_multiple_of(node_bytes(TREE_LEVEL)));
/// From so many groups on they are verified beside the block sieve, on another core.
const BESIDE_GROUPS: usize = 8;

/// Reads at an offset. Short reads are allowed, 0 is the end.
pub trait ReadAt {
    /// Fills the start of `buf` with the bytes at `offset` and returns how many they are.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        let len = buf.len().min(self.len() - start);
        buf[..len].copy_from_slice(&self[start..start + len]);
        Ok(len)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self[..].read_at(buf, offset)
    }
}

/// The version to send, as it was offered.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub content: &'a dyn ReadAt,
    pub size: u64,
    pub hash: ContentHash,
    /// None up to one group.
    pub groups: Option<&'a GroupTree>,
    /// Ranges that hold no data (read as zeros), by offset, apart from each other; may be empty.
    pub holes: &'a [Range<u64>],
}

/// What a target may lean on: contents that the receiver holds.
#[derive(Clone, Copy, Default)]
pub struct Against<'a> {
    /// Bases that are known by groups or blocks, the likeliest first.
    pub bases: &'a [KnownBasis],
    /// Parts of the target that stand in a basis, by target offset, apart from each other: they are
    /// neither read nor looked for. Like all that is believed here, the content hash decides in the end.
    pub copies: &'a [KnownCopy],
    /// Shorter parts of the same kind, apart from each other, that stand in bases whose blocks are known: the block
    /// sieve takes their word for blocks wholly inside, and fits the seams.
    pub hints: &'a [KnownCopy],
    /// Bases that `Put` did not name, in the order of their indices behind those that it named; the first
    /// frame adds them.
    pub added: &'a [Basis],
}

/// A part of the target that stands in a basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCopy {
    /// Offset in the target, and length.
    pub at: u64,
    pub len: u64,
    /// Index of the basis, and offset in it.
    pub basis: u32,
    pub offset: u64,
}

/// What the sender knows of a content that the receiver holds.
#[derive(Clone, Debug)]
pub struct KnownBasis {
    /// Its place in the transfer's list of bases.
    pub index: u32,
    pub size: u64,
    /// Tags of its groups, or of larger nodes: of none that the target's tree does not know.
    pub groups: Option<GroupTags>,
    /// Of the whole or of ranges, in any order and of any block sizes.
    pub signatures: Vec<RangeSignature>,
}

/// Why a delta ended early.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The target is not what was offered: from `at` on its group, or its size, differs. The file is
    /// indexed and offered again.
    #[error("the file changed while it was sent, at byte {at}")]
    Changed { at: u64 },
    /// The target can not be read (class: file).
    #[error("the file can not be read at byte {at}")]
    Read { at: u64, source: io::Error },
    /// The taker of the frames asked to stop.
    #[error("the delta was stopped at byte {at}")]
    Stopped { at: u64 },
    /// The offer contradicts itself; a fault of the caller.
    #[error("the offer of {size} bytes does not fit its groups or start at {from}")]
    Offer { size: u64, from: u64 },
}

/// Sends the target from byte `from` on as frames of ops, against what the receiver holds.
///
/// Takes at most a few MiB of memory beside the signatures and, when blocks are searched for, at most
/// 18 bytes for each block, up to a million of them.
///
/// # Errors
/// See [`DeltaError`]; frames that were emitted before stand.
pub fn sieve<'a>(
    target: Target<'a>,
    against: Against<'a>,
    from: u64,
    emit: &'a mut Emit<'a>,
) -> Result<DeltaStats, DeltaError> {
    let groups_fit = match target.groups {
        Some(groups) => groups.size() == target.size,
        None => target.size <= GROUP,
    };
    if !groups_fit || from > target.size {
        return Err(DeltaError::Offer { size: target.size, from });
    }
    let mut sieve = Sieve {
        target,
        bases: against.bases.iter().filter_map(|basis| SameGroups::of(target, basis)).collect(),
        copies: against.copies,
        aligner: Aligner::new(against.bases, against.hints),
        frames: Frames::new(from, emit),
        window: Window::default(),
    };
    let added = against.added.iter().try_for_each(|basis| sieve.frames.add(Op::Use { basis: basis.clone() }));
    match added.map_err(Ended::from).and_then(|()| sieve.run(from)) {
        Ok(()) => Ok(sieve.frames.stats),
        Err(Ended::Stopped) => Err(DeltaError::Stopped { at: sieve.frames.at() }),
        Err(Ended::Error(error)) => Err(error),
    }
}

/// A basis whose group tags are known, beside the target's own of the same level.
struct SameGroups<'a> {
    index: u32,
    size: u64,
    known: &'a GroupTags,
    own: GroupTags,
}

impl<'a> SameGroups<'a> {
    fn of(target: Target, basis: &'a KnownBasis) -> Option<Self> {
        let known = basis.groups.as_ref()?;
        let own = Some(target.groups?.tags(known.level)).filter(|own| own.level == known.level)?;
        Some(Self { index: basis.index, size: basis.size, known, own })
    }

    /// Whether a group of the target, or the node around it, is equal at the same offset.
    fn holds(&self, group: u64, end: u64) -> bool {
        let node = (group * GROUP / node_bytes(self.known.level)) as usize;
        let own = self.own.tags.get(node);
        own.is_some() && own == self.known.tags.get(node) && end <= self.size
    }
}

/// What is done with a stretch of the target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands in the basis of this index at the same offset.
    Same(u32),
    /// Stands in a basis, as chunks tell; the target offset less that place.
    Copy(i64),
    /// Holds no data.
    Hole,
    /// Is read.
    Read,
}

enum Ended {
    Stopped,
    Error(DeltaError),
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Ended::Stopped
    }
}

impl From<DeltaError> for Ended {
    fn from(error: DeltaError) -> Self {
        Ended::Error(error)
    }
}

/// The engine over one target.
struct Sieve<'a> {
    target: Target<'a>,
    bases: Vec<SameGroups<'a>>,
    copies: &'a [KnownCopy],
    aligner: Aligner<'a>,
    frames: Frames<'a>,
    window: Window,
}

impl Sieve<'_> {
    fn run(&mut self, from: u64) -> Result<(), Ended> {
        let mut at = from;
        while at < self.target.size {
            let (class, mut end) = self.class(at);
            while end < self.target.size {
                let (next, next_end) = self.class(end);
                if next != class {
                    break;
                }
                end = next_end;
            }
            match class {
                Class::Same(basis) => self.frames.copy(Place::new(basis, at), end - at, Found::Groups)?,
                Class::Copy(shift) => {
                    let from = Place::shifted(at, shift);
                    self.frames.copy(from, end - at, Found::Chunks)?;
                    self.aligner.expect(at, from);
                }
                Class::Hole => self.frames.zeros(end - at)?,
                Class::Read => self.send_range(at..end)?,
            }
            at = end;
        }
        Ok(self.frames.flush()?)
    }

    /// What is done with the target from a byte on, and how far that is known to hold.
    fn class(&self, at: u64) -> (Class, u64) {
        let group = at / GROUP;
        let end = ((group + 1) * GROUP).min(self.target.size);
        if let Some(basis) = self.bases.iter().find(|basis| basis.holds(group, end)) {
            return (Class::Same(basis.index), end);
        }
        let hole = self.target.holes.partition_point(|hole| hole.end < end);
        match self.target.holes.get(hole) {
            Some(hole) if hole.start <= group * GROUP && end <= hole.end => return (Class::Hole, end),
            _ => {}
        }
        let next = self.copies.partition_point(|copy| copy.at + copy.len <= at);
        match self.copies.get(next) {
            Some(copy) if copy.at <= at => {
                let shift = Place::new(copy.basis, copy.offset).shift(copy.at);
                (Class::Copy(shift), end.min(copy.at + copy.len))
            }
            Some(copy) => (Class::Read, end.min(copy.at)),
            None => (Class::Read, end),
        }
    }

    /// Reads, verifies and sends a range.
    fn send_range(&mut self, range: Range<u64>) -> Result<(), Ended> {
        let (content, margin) = (self.target.content, self.aligner.margin());
        // Whole groups are verified, also where only a part of one is sent.
        let node = self.target.groups.map_or(GROUP, |tree| node_bytes(tree.finest()));
        let verify_end = range.end.next_multiple_of(node).min(self.target.size);
        let mut next = range.start / node * node;
        let mut window = std::mem::take(&mut self.window);
        window.restart(next.saturating_sub(margin));
        window.read_to(content, next)?;
        while next < verify_end {
            let end = (next + READ_BYTES).min(verify_end);
            let verify_from = window.n_held();
            window.read_to(content, end)?;
            let verify_to = window.n_held();
            self.frames.stats.read += end - next;
            let is_last = end == verify_end;
            if is_last {
                window.read_to(content, (end + margin).min(self.target.size))?;
            }
            let (groups, aligner) = (&window.bytes()[verify_from..verify_to], &mut self.aligner);
            let (tree, hash) = (self.target.groups, self.target.hash);
            let verify = || verify_groups(tree, hash, groups, next);
            let cut = || aligner.pieces(window.bytes(), window.at(), is_last);
            let (verified, pieces) = both(groups.len() >= BESIDE_GROUPS * GROUP_BYTES, verify, cut);
            verified.map_err(|at| DeltaError::Changed { at })?;
            let resolved = pieces.iter().map(|piece| piece.len).sum::<u64>();
            self.send_pieces(&clipped(pieces, &range), window.bytes(), window.at())?;
            window.advance(resolved as usize);
            next = end;
        }
        self.window = window;
        Ok(())
    }

    fn send_pieces(&mut self, mut pieces: &[Piece], window: &[u8], window_at: u64) -> Result<(), Ended> {
        while let Some(piece) = pieces.first() {
            let stretch = dense::stretch_len(pieces);
            if stretch > 0 {
                let (short, rest) = pieces.split_at(stretch);
                match dense::recode(short, &self.aligner, window, window_at) {
                    Some(op) => self.frames.blocks(op)?,
                    None => short.iter().try_for_each(|piece| self.send_piece(piece, window, window_at))?,
                }
                pieces = rest;
            } else {
                self.send_piece(piece, window, window_at)?;
                pieces = &pieces[1..];
            }
        }
        Ok(())
    }

    fn send_piece(&mut self, piece: &Piece, window: &[u8], window_at: u64) -> Result<(), Stopped> {
        if let Some(from) = piece.from {
            return self.frames.copy(from, piece.len, Found::Blocks);
        }
        let start = (piece.at - window_at) as usize;
        let bytes = &window[start..start + piece.len as usize];
        stretches(piece.at, bytes).into_iter().try_for_each(|stretch| match stretch {
            Stretch::Zeros(len) => self.frames.zeros(len),
            Stretch::Bytes(bytes) => self.frames.literal(bytes),
        })
    }
}

/// The parts of the pieces inside a range.
fn clipped(pieces: Vec<Piece>, range: &Range<u64>) -> Vec<Piece> {
    let clip = |piece: Piece| {
        let start = piece.at.max(range.start);
        let end = (piece.at + piece.len).min(range.end);
        let from = piece.from.map(|from| from.plus(start.saturating_sub(piece.at)));
        (start < end).then(|| Piece { at: start, len: end - start, from })
    };
    pieces.into_iter().filter_map(clip).collect()
}

/// Compares whole groups with the offer.
///
/// # Errors
/// The offset of the first that differs.
fn verify_groups(tree: Option<&GroupTree>, hash: ContentHash, bytes: &[u8], at: u64) -> Result<(), u64> {
    let Some(tree) = tree else {
        return if ContentHash::of(bytes) == hash { Ok(()) } else { Err(at) };
    };
    let node = node_bytes(tree.finest());
    for (group, start) in bytes.chunks(node as usize).zip((at..).step_by(node as usize)) {
        if group_value(group, start) != tree.values()[(start / node) as usize] {
            return Err(start);
        }
    }
    Ok(())
}
