//! Dense stretches: many short copies close together, written as one `fast_rsync` delta.
//!
//! Its copies take half the room of ops of their own. It only sees stretches in which the sieve found
//! matches already: there it is fast, while unrelated or hostile data would take it very long.

use std::ops::Range;

use super::align::{Aligner, Piece};
use super::ops::Op;
use super::place::Place;
use crate::model::limits::{DELTA_AIM_BYTES, MIB, WINDOW_BYTES};

/// What it costs to write an op down, about: a literal's, a copy's, a blocks op's frame of numbers.
const LITERAL_COST: u64 = 4;
const SAME_COST: u64 = 5;
const COPY_COST: u64 = 11;
const BLOCKS_COST: u64 = 18;
/// Copies from which on a stretch may be shorter as one `fast_rsync` delta, longest copy in it, and
/// longest stretch on both sides.
const STRETCH_COPIES: usize = 4;
const STRETCH_COPY_BYTES: u64 = 16 * 1024;
const STRETCH_BYTES: u64 = MIB as u64;
/// A window with more disproved weak hashes is not shown to `fast_rsync`, whose time they would take.
const DISPROVED: usize = 64;

const _: () = assert!(STRETCH_BYTES as usize * 2 <= WINDOW_BYTES, "a stretch grows to whole blocks");

/// The pieces of a stretch, from a window that starts at `window_at`, as one delta, if that is shorter.
pub(super) fn recode(pieces: &[Piece], aligner: &Aligner, window: &[u8], window_at: u64) -> Option<Op> {
    if aligner.n_disproved() > DISPROVED {
        return None;
    }
    let copies = || pieces.iter().filter_map(|piece| Some((piece.from?, piece.len)));
    let first = copies().map(|(from, _)| from).min()?;
    let last = copies().map(|(from, len)| from.plus(len)).max()?;
    let from = first.offset();
    let signature = aligner.covering(first, last)?.sub_range(from..from + first.to(last));
    let (at, len) = (pieces[0].at, pieces.iter().map(|piece| piece.len).sum::<u64>());
    let start = (at - window_at) as usize;
    let limit = pieces.iter().map(cost).sum::<u64>().saturating_sub(BLOCKS_COST);
    let target = &window[start..start + len as usize];
    let delta = signature.diff(target, (limit as usize).min(DELTA_AIM_BYTES)).ok()?;
    Some(Op::Blocks {
        basis: first.basis(),
        offset: signature.offset(),
        len: u32::try_from(signature.len()).ok()?,
        target_len: u32::try_from(len).ok()?,
        delta,
    })
}

/// Bytes that a piece takes as an op of its own.
fn cost(piece: &Piece) -> u64 {
    match piece.from {
        None => LITERAL_COST + piece.len,
        Some(from) if from == Place::new(0, piece.at) => SAME_COST,
        Some(_) => COPY_COST,
    }
}

/// Number of pieces at the start that are many short copies, close together on both sides; else 0.
pub(super) fn stretch_len(pieces: &[Piece]) -> usize {
    let (mut n_copies, mut target_bytes) = (0, 0);
    let mut basis: Option<Range<Place>> = None;
    let mut len = 0;
    for (piece, count) in pieces.iter().zip(1..) {
        target_bytes += piece.len;
        if target_bytes > STRETCH_BYTES || piece.len > STRETCH_COPY_BYTES {
            break;
        }
        if let Some(from) = piece.from {
            let held = basis.unwrap_or(from..from);
            let held = held.start.min(from)..held.end.max(from.plus(piece.len));
            if held.start.to(held.end) > STRETCH_BYTES {
                break;
            }
            basis = Some(held);
            n_copies += 1;
            len = count;
        } else if count == 1 {
            // A stretch starts with a copy: what is before is a literal anyway.
            break;
        }
    }
    if n_copies < STRETCH_COPIES { 0 } else { len }
}
