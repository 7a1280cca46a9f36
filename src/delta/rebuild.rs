//! The receiver's engine: makes the target of ops, in bounded memory, every range checked first.
//!
//! It never trusts an op: what it makes is hashed by the caller before anybody sees it.

use std::io;
use std::thread;

use blake3::hazmat::ChainingValue;

use super::ahead::Ahead;
use super::blocks::{ApplyError, apply};
use super::cores::spare_core;
use super::ops::{Op, OpError};
use super::sieve::ReadAt;
use super::zeros::{Stretch, stretches};
use crate::model::limits::{FILE_BYTES, HOLE_BYTES, KIB, MIB};

/// Bytes of a copy that are held at a time: few enough that they are still in a core's cache when they are hashed and
/// written.
const BUFFER_BYTES: u64 = 512 * KIB as u64;
/// From so many bytes on a copy is read and hashed by another core.
const LONG_BYTES: u64 = 4 * MIB as u64;

/// The contents that ops refer to by index.
pub trait Bases {
    /// Size of a basis; none if there is no such basis.
    fn len(&self, basis: u32) -> Option<u64>;

    /// Whether there is no basis at all.
    fn is_empty(&self) -> bool {
        self.len(0).is_none()
    }

    /// Fills the start of `buf` with the bytes at `offset` and returns how many they are; 0 is the end.
    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Bytes from `offset` on that are known to be zeros without reading them: a hole.
    fn hole_at(&mut self, _basis: u32, _offset: u64) -> u64 {
        0
    }

    /// A basis for another core to read, and how many bytes from `offset` on are data for sure; `None` where no other core
    /// may, or nothing is known of its holes.
    fn content(&self, _basis: u32, _offset: u64) -> Option<(&dyn ReadAt, u64)> {
        None
    }

    /// Expands a frame over a prefix to exactly so many bytes; `None` when it is not that.
    fn expand(&self, _prefix: &[u8], _frame: &[u8], _target_bytes: usize) -> Option<Vec<u8>> {
        None
    }
}

/// Where the target is written, from one byte to the next.
pub trait Sink {
    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Bytes of the groups that it takes with their values; none where it hashes nothing.
    fn group_bytes(&self) -> Option<u64> {
        None
    }

    /// Writes whole groups from a border of groups on, not the first, which have these values.
    fn write_hashed(&mut self, bytes: &[u8], _values: &[ChainingValue]) -> io::Result<()> {
        self.write(bytes)
    }

    /// Leaves a hole, or writes zeros where there are no holes.
    fn zeros(&mut self, len: u64) -> io::Result<()>;

    /// Goes over bytes that stand here from the start, as basis 0 has them at this place; `false`, and nothing
    /// done, where they must be copied.
    fn keep(&mut self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
}

/// Why an op was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The peer broke a bound (class: session).
    #[error(transparent)]
    Op(#[from] OpError),
    /// The peer names a range outside of a basis, or a basis that is not there (class: session).
    #[error("an op names bytes {offset}+{len} of basis {basis}")]
    Range { basis: u32, offset: u64, len: u64 },
    /// The peer's `fast_rsync` delta is bad (class: session).
    #[error(transparent)]
    Blocks(#[from] ApplyError),
    /// The peer's frame over a prefix does not make what it says (class: session).
    #[error("a frame over a prefix does not make {target_bytes} bytes")]
    Prefix { target_bytes: u32 },
    /// The basis can not be read (class: file).
    #[error("basis {basis} can not be read at byte {at}")]
    Basis { basis: u32, at: u64, source: io::Error },
    /// The basis ends before its size: it is being changed (class: file).
    #[error("basis {basis} ends at byte {at}")]
    BasisShort { basis: u32, at: u64 },
    /// The destination can not be written.
    #[error("the target can not be written")]
    Sink(#[source] io::Error),
}

/// Carries out an op where the target stands at byte `at`, and returns how many bytes it made.
/// `Use` makes none: the caller adds the basis. `buffer` is room for copies, to be handed in again with the next op.
///
/// # Errors
/// See [`RebuildError`]. Part of the op may have been written before.
pub fn rebuild(
    op: &Op,
    at: u64,
    bases: &mut dyn Bases,
    sink: &mut dyn Sink,
    buffer: &mut Vec<u8>,
) -> Result<u64, RebuildError> {
    op.check()?;
    if at.checked_add(op.target_len()).is_none_or(|end| end > FILE_BYTES) {
        return Err(OpError("end of the target").into());
    }
    match op {
        Op::Same { len } => copy((0, at, *len), at, bases, sink, buffer)?,
        Op::Copy { basis, offset, len } => copy((*basis, *offset, *len), at, bases, sink, buffer)?,
        Op::Zeros { len } => sink.zeros(*len).map_err(RebuildError::Sink)?,
        Op::Literal(bytes) => write_sparse(bytes, at, sink)?,
        Op::Blocks { basis, offset, len, target_len, delta } => {
            let len = u64::from(*len);
            check_range(*basis, *offset, len, bases)?;
            let mut range = vec![0; len as usize];
            read_exact(&mut range, *basis, *offset, bases)?;
            write_sparse(&apply(&range, delta, *target_len as usize)?, at, sink)?;
        }
        Op::Prefix { basis, offset, len, target_len, frame } => {
            check_range(*basis, *offset, u64::from(*len), bases)?;
            let mut prefix = vec![0; *len as usize];
            read_exact(&mut prefix, *basis, *offset, bases)?;
            let made = bases.expand(&prefix, frame, *target_len as usize);
            let made = made.filter(|made| made.len() == *target_len as usize);
            write_sparse(&made.ok_or(RebuildError::Prefix { target_bytes: *target_len })?, at, sink)?;
        }
        Op::Use { .. } => {}
    }
    Ok(op.target_len())
}

/// Copies (basis, offset, length) to the target at `at`.
fn copy(
    (basis, offset, len): (u32, u64, u64),
    at: u64,
    bases: &mut dyn Bases,
    sink: &mut dyn Sink,
    buffer: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    check_range(basis, offset, len, bases)?;
    if basis == 0 && offset == at && sink.keep(len).map_err(RebuildError::Sink)? {
        return Ok(());
    }
    if (buffer.len() as u64) < len.min(BUFFER_BYTES) {
        buffer.resize(len.min(BUFFER_BYTES) as usize, 0);
    }
    let mut done = 0;
    while done < len {
        let hole = bases.hole_at(basis, offset + done).min(len - done);
        if hole >= HOLE_BYTES as u64 {
            sink.zeros(hole).map_err(RebuildError::Sink)?;
            done += hole;
            continue;
        }
        let n_beside = copy_beside((basis, offset + done, len - done), at + done, bases, sink)?;
        if n_beside > 0 {
            done += n_beside;
            continue;
        }
        // All but the last end at a border of groups, so that no whole group of zeros is cut.
        let to_border = BUFFER_BYTES - (at + done) % HOLE_BYTES as u64;
        let piece = &mut buffer[..(len - done).min(to_border) as usize];
        read_exact(piece, basis, offset + done, bases)?;
        write_sparse(piece, at + done, sink)?;
        done += piece.len() as u64;
    }
    Ok(())
}

/// Copies as much of a range as another core can read and hash meanwhile, from a border of groups on; returns how much.
fn copy_beside(
    (basis, offset, len): (u32, u64, u64),
    at: u64,
    bases: &dyn Bases,
    sink: &mut dyn Sink,
) -> Result<u64, RebuildError> {
    let Some(group) = sink.group_bytes().filter(|group| at > 0 && at.is_multiple_of(*group)) else {
        return Ok(0);
    };
    let Some((content, n_data)) = bases.content(basis, offset) else { return Ok(0) };
    let whole = len.min(n_data) / group * group;
    if whole < LONG_BYTES {
        return Ok(0);
    }
    let Some(core) = spare_core() else { return Ok(0) };
    let end = offset + whole;
    let step = BUFFER_BYTES.max(group);
    let ranges = (offset..end).step_by(step as usize).map(|start| start..end.min(start + step));
    thread::scope(|scope| {
        let ahead = Ahead::start(scope, content, ranges.clone(), (group, at.wrapping_sub(offset)), core);
        for range in ranges {
            let piece =
                ahead.next().map_err(|source| RebuildError::Basis { basis, at: range.start, source })?;
            let bytes = piece.bytes();
            if (bytes.len() as u64) < range.end - range.start {
                return Err(RebuildError::BasisShort { basis, at: range.start + bytes.len() as u64 });
            }
            let at = at + (range.start - offset);
            match stretches(at, bytes)[..] {
                [Stretch::Bytes(bytes)] => {
                    sink.write_hashed(bytes, &piece.values).map_err(RebuildError::Sink)?
                }
                _ => write_sparse(bytes, at, sink)?,
            }
            ahead.give_back(piece);
        }
        Ok(whole)
    })
}

fn check_range(basis: u32, offset: u64, len: u64, bases: &dyn Bases) -> Result<(), RebuildError> {
    let end = offset.checked_add(len);
    match (bases.len(basis), end) {
        (Some(size), Some(end)) if end <= size => Ok(()),
        _ => Err(RebuildError::Range { basis, offset, len }),
    }
}

fn read_exact(
    mut buffer: &mut [u8],
    basis: u32,
    mut at: u64,
    bases: &mut dyn Bases,
) -> Result<(), RebuildError> {
    while !buffer.is_empty() {
        match bases.read_at(basis, buffer, at) {
            Ok(0) => return Err(RebuildError::BasisShort { basis, at }),
            Ok(n_read) => {
                buffer = &mut buffer[n_read..];
                at += n_read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(RebuildError::Basis { basis, at, source }),
        }
    }
    Ok(())
}

fn write_sparse(bytes: &[u8], at: u64, sink: &mut dyn Sink) -> Result<(), RebuildError> {
    let written = stretches(at, bytes).into_iter().try_for_each(|stretch| match stretch {
        Stretch::Zeros(len) => sink.zeros(len),
        Stretch::Bytes(bytes) => sink.write(bytes),
    });
    written.map_err(RebuildError::Sink)
}
