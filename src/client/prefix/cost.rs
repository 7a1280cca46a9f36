//! What the ops of a stretch cost on the wire, about: their bytes as the stream of the connection squeezes them.

use crate::delta::ops::Op;
use crate::model::limits::KIB;
use crate::net::squeeze::{Presser, Tables, squeeze_over};

/// What an op costs beside its bytes.
pub(super) const OP_COST: usize = 6;
/// Ops cheaper than this are not worth a frame.
const CHEAP_BYTES: usize = 64;
/// Neither are, where copies are all that is known, fewer bytes than this, or than this share of a stretch.
const FEW_BYTES: u64 = 2 * KIB as u64;
const FEW_SHARE: u64 = 40;
/// Level of the stream where the shadow makes much shorter frames anyway.
const STREAM_LEVEL: i32 = 3;
/// Bytes of ops before a stretch, over which the stream is taken to squeeze those of the stretch, and the part by which
/// its highest level does so better than a frame's.
const HISTORY_BYTES: usize = 128 * KIB;
const STREAM_GAIN: usize = 32;

/// Judges stretches in their order.
#[derive(Clone)]
pub(super) enum Cost {
    /// Coarsely, each alone: frames over what the shadow holds are much shorter, or not at all.
    Alone,
    /// After the latest bytes of ops: frames over copies win by little.
    After(Vec<u8>),
}

impl Cost {
    /// Whether there is little to win, whatever is found.
    pub(super) fn is_cheap(&self, n_ops: usize, n_bytes: usize, target_len: u64) -> bool {
        match self {
            Cost::Alone => n_bytes + n_ops * OP_COST < CHEAP_BYTES,
            Cost::After(_) => (n_bytes as u64) < FEW_BYTES.max(target_len / FEW_SHARE),
        }
    }

    /// What so many ops cost that carry these bytes. None: more than a frame holds.
    pub(super) fn of(&self, n_ops: usize, bytes: &[u8]) -> Option<usize> {
        let squeezed = match self {
            _ if bytes.is_empty() => 0,
            Cost::Alone => Presser::default().squeeze(bytes, STREAM_LEVEL).len(),
            Cost::After(history) => {
                let n_bytes = squeeze_over(history, bytes, Tables::Narrow)?.len();
                n_bytes - n_bytes / STREAM_GAIN
            }
        };
        Some(squeezed + n_ops * OP_COST)
    }

    /// Takes note of what the ops of a stretch carry, whatever became of them.
    pub(super) fn remember(&mut self, bytes: &[u8]) {
        if let Cost::After(history) = self {
            history.extend_from_slice(bytes);
            history.drain(..history.len().saturating_sub(HISTORY_BYTES));
        }
    }
}

/// The bytes that ops carry, one after the other.
pub(super) fn carried(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in ops {
        match op {
            Op::Literal(literal) => bytes.extend_from_slice(literal),
            Op::Blocks { delta, .. } => bytes.extend_from_slice(delta),
            _ => {}
        }
    }
    bytes
}
