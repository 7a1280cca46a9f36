//! zstd, and the only file that knows it: one stream per direction for segments, and single frames
//! over a prefix that both sides hold.
//!
//! What comes from the peer is decoded into space whose size was fixed before: never more, and
//! too little is an error.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

use crate::model::limits::{OP_BYTES, PREFIX_BYTES, PREFIX_TARGET_BYTES};

/// Level of the stream unless the caller knows better: keeps up with 100 MB/s a core.
pub const LEVEL: i32 = 3;
/// Levels above this one want larger windows than the protocol allows.
pub const LEVEL_MAX: i32 = 19;
/// Level for frames over a prefix. Measured: the tables of level 3 do not cover the prefix.
pub const PREFIX_LEVEL: i32 = 9;

/// Largest window of a stream: 8 MiB of history on each side.
const WINDOW_LOG: u32 = 23;
/// Window of a frame over a prefix: covers the largest prefix and target together.
const PREFIX_WINDOW_LOG: u32 = 24;
/// Slices of a piece that the probe tries.
const SAMPLE_BYTES: usize = 2 * 1024;

const _: () = assert!(PREFIX_BYTES + PREFIX_TARGET_BYTES <= 1 << PREFIX_WINDOW_LOG);

/// The sending end of a stream. Its memory is only taken with the first bytes.
pub(super) struct Squeezer {
    encoder: Encoder<'static>,
    probe: CCtx<'static>,
}

impl Squeezer {
    /// A stream at this level (at most [`LEVEL_MAX`]).
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut encoder = Encoder::new(level.clamp(-7, LEVEL_MAX))?;
        // No checksum: TLS, and the content hash in the end, see to that.
        encoder.set_parameter(CParameter::ChecksumFlag(false))?;
        Ok(Self { encoder, probe: CCtx::create() })
    }

    /// Appends `plain` to `out` as the next part of the stream, flushed: the other end can
    /// expand it at once. Takes 1 to 2 ms for 256 KiB at level 3.
    pub(super) fn squeeze(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        // One header more than zstd's own bound, for the start of the stream and its flush.
        out.resize(start + compress_bound(plain.len()) + 64, 0);
        let mut input = InBuffer::around(plain);
        let mut output = OutBuffer::around(&mut out[start..]);
        while input.pos() < plain.len() {
            self.encoder.run(&mut input, &mut output)?;
        }
        let left = self.encoder.flush(&mut output)?;
        let written = output.pos();
        assert!(left == 0, "a flush fits zstd's own bound");
        out.truncate(start + written);
        Ok(())
    }

    /// True when a sample of `piece` shrinks: the rest is then worth the time, and the history.
    pub(super) fn is_worth(&mut self, piece: &[u8]) -> bool {
        let mut sample = Vec::with_capacity(3 * SAMPLE_BYTES);
        if piece.len() <= 3 * SAMPLE_BYTES {
            sample.extend_from_slice(piece);
        } else {
            let middle = piece.len() / 2;
            for at in [0, middle, piece.len() - SAMPLE_BYTES] {
                sample.extend_from_slice(&piece[at..at + SAMPLE_BYTES]);
            }
        }
        let mut out = vec![0; compress_bound(sample.len())];
        match self.probe.compress(&mut out[..], &sample, 1) {
            Ok(n_bytes) => n_bytes < sample.len() / 16 * 15,
            Err(_) => false,
        }
    }
}

/// The receiving end of a stream.
pub(super) struct Expander {
    decoder: Decoder<'static>,
}

impl Expander {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder })
    }

    /// Appends exactly `plain_bytes` to `out`, expanded from all of `wire`; false when `wire`
    /// does not hold exactly that, and after that the stream is of no more use.
    pub(super) fn expand(&mut self, wire: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.resize(start + plain_bytes, 0);
        let exact = self.run_exactly(wire, &mut out[start..]).unwrap_or(false);
        if !exact {
            out.truncate(start);
        }
        exact
    }

    fn run_exactly(&mut self, wire: &[u8], plain: &mut [u8]) -> io::Result<bool> {
        let plain_bytes = plain.len();
        let mut input = InBuffer::around(wire);
        let mut output = OutBuffer::around(plain);
        loop {
            let before = (input.pos(), output.pos());
            self.decoder.run(&mut input, &mut output)?;
            if (input.pos(), output.pos()) == before
                || (input.pos() == wire.len() && output.pos() == plain_bytes)
            {
                break;
            }
        }
        if input.pos() < wire.len() || output.pos() < plain_bytes {
            return Ok(false);
        }
        // The stream must have nothing left to say: bytes kept back would enter the next segment.
        let mut one = [0; 1];
        let mut more = OutBuffer::around(&mut one[..]);
        self.decoder.run(&mut InBuffer::around(&[]), &mut more)?;
        Ok(more.pos() == 0)
    }
}

/// Compresses `target` with `prefix` as history into one frame of its own.
///
/// `None` when the frame would not fit into an op (240 KiB): halve the target, or send it as a
/// literal. Takes tens of milliseconds for the largest sizes: call it off the reactor.
///
/// # Panics
/// When prefix or target are larger than an op allows (8 MiB, 2 MiB).
pub fn squeeze_over(prefix: &[u8], target: &[u8], level: i32) -> Option<Vec<u8>> {
    assert!(
        prefix.len() <= PREFIX_BYTES && target.len() <= PREFIX_TARGET_BYTES,
        "the caller cuts to these sizes"
    );
    let mut context = CCtx::create();
    let window_log = (prefix.len() + target.len()).max(1 << 10).next_power_of_two().ilog2();
    context.set_parameter(CParameter::CompressionLevel(level.clamp(1, LEVEL_MAX))).ok()?;
    context.set_parameter(CParameter::WindowLog(window_log)).ok()?;
    context.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
    // The usual tables forget the far end of a large prefix; the sparse ones of long distance
    // matching, 1 MiB in all, remember it.
    context.set_parameter(CParameter::EnableLongDistanceMatching(true)).ok()?;
    context.ref_prefix(prefix).ok()?;
    let mut frame = vec![0; OP_BYTES.min(compress_bound(target.len()))];
    let n_bytes = context.compress2(&mut frame[..], target).ok()?;
    frame.truncate(n_bytes);
    Some(frame)
}

/// Expands a frame of [`squeeze_over`]; `None` when it is not exactly one frame of `target_bytes`
/// over this prefix, or sizes are larger than an op allows.
pub fn expand_over(prefix: &[u8], frame: &[u8], target_bytes: usize) -> Option<Vec<u8>> {
    if prefix.len() > PREFIX_BYTES || target_bytes > PREFIX_TARGET_BYTES || frame.len() > OP_BYTES {
        return None;
    }
    let mut context = DCtx::create();
    context.ref_prefix(prefix).ok()?;
    let mut target = vec![0; target_bytes];
    let n_bytes = context.decompress(&mut target[..], frame).ok()?;
    (n_bytes == target_bytes).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(n_bytes: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_frame_over_a_prefix_costs_what_differs() {
        let prefix = noise(6 << 20, 1);
        let mut target = prefix[100_000..2_100_000].to_vec();
        target[1_000_000] ^= 1;
        let frame = squeeze_over(&prefix, &target, PREFIX_LEVEL).unwrap();
        assert!(frame.len() < 1_000, "{} bytes", frame.len());
        assert_eq!(expand_over(&prefix, &frame, target.len()), Some(target));
    }

    #[test]
    fn the_far_end_of_the_largest_prefix_is_in_reach() {
        let prefix = noise(PREFIX_BYTES, 2);
        let target = [noise(100_000, 3), prefix[..1 << 20].to_vec()].concat();
        let frame = squeeze_over(&prefix, &target, PREFIX_LEVEL).unwrap();
        assert!(frame.len() < 120_000, "{} bytes", frame.len());
        assert_eq!(expand_over(&prefix, &frame, target.len()), Some(target));
    }

    #[test]
    fn a_frame_too_large_for_an_op_is_not_made() {
        assert!(squeeze_over(&[], &noise(OP_BYTES + 1, 4), PREFIX_LEVEL).is_none());
    }

    #[test]
    fn another_prefix_or_length_never_gives_the_target() {
        let (prefix, target) = (noise(5_000, 5), noise(5_000, 5));
        let frame = squeeze_over(&prefix, &target, PREFIX_LEVEL).unwrap();
        assert_ne!(expand_over(&noise(5_000, 6), &frame, 5_000), Some(target.clone()));
        assert_eq!(expand_over(&prefix, &frame, 4_999), None);
        assert_eq!(expand_over(&prefix, &frame, 5_001), None);
        assert_eq!(expand_over(&prefix, &frame[..frame.len() - 1], 5_000), None);
    }

    #[test]
    fn an_empty_target_over_an_empty_prefix_is_possible() {
        let frame = squeeze_over(&[], &[], PREFIX_LEVEL).unwrap();
        assert_eq!(expand_over(&[], &frame, 0), Some(vec![]));
    }

    #[test]
    fn the_probe_tells_text_from_noise() {
        let mut squeezer = Squeezer::new(LEVEL).unwrap();
        assert!(squeezer.is_worth(&b"a line of some log, number 1\n".repeat(1_000)));
        assert!(!squeezer.is_worth(&noise(32 << 10, 7)));
    }

    proptest! {
        #[test]
        fn no_frame_panics(frame: Vec<u8>, prefix: Vec<u8>, target_bytes in 0usize..5_000) {
            let _ = expand_over(&prefix, &frame, target_bytes);
            let _ = Expander::new().unwrap().expand(&frame, target_bytes, &mut Vec::new());
        }
    }
}
