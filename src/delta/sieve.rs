//! The sender's engine: a target against a basis, coarse to fine, into frames of ops.
//!
//! Groups that are equal at the same offset are not even read. The rest is read in windows, every whole
//! group of it compared with the tree that was offered, and cut into pieces by the block sieve. It
//! never sends bytes of a target that differs from the offer without an error.

use std::io;
use std::ops::Range;
use std::thread;

use super::align::{Aligner, Piece};
use super::blocks::RangeSignature;
use super::dense;
use super::frames::{Found, Frames, Stopped};
use super::groups::{GroupTags, GroupTree};
use super::ops::{Basis, Op};
use super::outline::{Class, GROUP, Outline};
use super::place::Place;
use super::reads::Reads;
use super::zeros::{Stretch, stretches};
use crate::model::ContentHash;

pub use super::frames::{DeltaStats, Emit, split_frame};

/// Reads at an offset, for several threads. Short reads are allowed, 0 is the end.
pub trait ReadAt: Sync {
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
/// Takes at most a few MiB of memory beside the signatures, 12 MiB where another core reads ahead, and, when blocks are
/// searched for, at most 18 bytes for each block, up to a million of them.
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
    let outline = Outline::new(target, &against);
    let mut sieve =
        Sieve { aligner: Aligner::new(against.bases, against.hints), frames: Frames::new(from, emit) };
    let added = against.added.iter().try_for_each(|basis| sieve.frames.add(Op::Use { basis: basis.clone() }));
    match added.map_err(Ended::from).and_then(|()| sieve.run(&outline, from)) {
        Ok(()) => Ok(sieve.frames.stats),
        Err(Ended::Stopped) => Err(DeltaError::Stopped { at: sieve.frames.at() }),
        Err(Ended::Error(error)) => Err(error),
    }
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
    aligner: Aligner<'a>,
    frames: Frames<'a>,
}

impl Sieve<'_> {
    fn run(&mut self, outline: &Outline, from: u64) -> Result<(), Ended> {
        thread::scope(|scope| {
            let mut reads = Reads::new(scope, outline, from, self.aligner.margin());
            for (class, range) in outline.stretches(from) {
                let Range { start: at, end } = range;
                match class {
                    Class::Same(basis) => self.frames.copy(Place::new(basis, at), end - at, Found::Groups)?,
                    Class::Copy(shift) => {
                        let from = Place::shifted(at, shift);
                        self.frames.copy(from, end - at, Found::Chunks)?;
                        self.aligner.expect(at, from);
                    }
                    Class::Hole => self.frames.zeros(end - at)?,
                    Class::Read => self.send_range(range, &mut reads)?,
                }
            }
            Ok(self.frames.flush()?)
        })
    }

    /// Cuts what is read of a range into pieces, and sends it.
    fn send_range(&mut self, range: Range<u64>, reads: &mut Reads) -> Result<(), Ended> {
        let (mut n_rest, mut is_last) = (0, false);
        while !is_last {
            let window = reads.next(n_rest)?;
            self.frames.stats.read += window.n_verified;
            let pieces = self.aligner.pieces(window.bytes, window.at, window.is_last);
            n_rest = window.bytes.len() - pieces.iter().map(|piece| piece.len as usize).sum::<usize>();
            is_last = window.is_last;
            self.send_pieces(&clipped(pieces, &range), window.bytes, window.at)?;
        }
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
