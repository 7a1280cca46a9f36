//! zstd, and the only file that knows it: one stream per direction for segments, and single frames
//! over a prefix that both sides hold.
//!
//! What comes from the peer is decoded into space whose size was fixed before: never more, and
//! too little is an error.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

use crate::model::limits::{
    MIB, OP_BYTES, PREFIX_BYTES, PREFIX_SQUEEZER_BYTES, PREFIX_TARGET_BYTES, PREFIX_WINDOW_LOG,
    SQUEEZE_WINDOW_LOG, SQUEEZER_BYTES,
};

/// Levels above this one want more memory than [`SQUEEZER_BYTES`].
const LEVEL_MAX: i32 = 17;
/// Level for frames over a prefix. Measured: the tables of level 3 do not cover the prefix.
const PREFIX_LEVEL: i32 = 9;

/// From this level on the window is the largest: the memory of the others is a few MiB.
const FAR_LEVEL: i32 = 9;
/// From this level on zstd searches with a tree and parses optimally; its own 13 to 15 cost as much as its 16 and find less.
const OPTIMAL_LEVEL: i32 = 16;
/// What stands for levels 13 to 17. Measured (docs/results/2026-11-26-wire.md): a small hash table loses nothing beside the
/// tree, the tree's size is what costs and finds, and from 14 on matches of three bytes pay.
const OPTIMAL: [(std::ops::RangeInclusive<i32>, Optimal); 3] = [
    (13..=13, Optimal { tree_log: 19, least_match: 4, enough: 48 }),
    (14..=15, Optimal { tree_log: 21, least_match: 3, enough: 96 }),
    (16..=17, Optimal { tree_log: 22, least_match: 3, enough: 256 }),
];
const OPTIMAL_HASH_LOG: u32 = 18;
const OPTIMAL_SEARCH_LOG: u32 = 5;
/// Prefix that is worth its time: larger ones are taken, and searched coarsely.
pub const PREFIX_AIM_BYTES: usize = 3 * MIB;
/// Entries of its tables, of 4 bytes: of wide ones, and of narrow ones, which stay in a core's cache.
const PREFIX_TABLE_LOG: u32 = 21;
const NARROW_TABLE_LOG: u32 = 19;
/// Slices of a piece that the probe tries.
const SAMPLE_BYTES: usize = 2 * 1024;

const _: () =
    assert!((1 << SQUEEZE_WINDOW_LOG) + (4 << 22) + 4 * MIB <= SQUEEZER_BYTES, "what level 17 takes");
const _: () = assert!((2 * 4) << PREFIX_TABLE_LOG <= PREFIX_SQUEEZER_BYTES - MIB, "two tables, and buffers");

/// Parameters of an optimal parse: the log of the tree's size, in entries of 4 bytes, the shortest match, and the length
/// from which on a match is taken without looking for a better one.
struct Optimal {
    tree_log: u32,
    least_match: u32,
    enough: u32,
}

/// The sending end of a stream. Its memory is only taken with the first bytes.
pub(super) struct Squeezer {
    encoder: Encoder<'static>,
    level: i32,
    /// The level of the next segment, which then begins a frame.
    next_level: i32,
    probe: CCtx<'static>,
}

impl Squeezer {
    /// A stream that begins at this level, 1 to 17.
    pub(super) fn new(level: i32) -> io::Result<Self> {
        Ok(Self { encoder: encoder(level)?, level, next_level: level, probe: CCtx::create() })
    }

    /// From the next segment on squeezes at another level.
    pub(super) fn set_level(&mut self, level: i32) {
        self.next_level = level;
    }

    /// Ends the frame and begins another at the next level. zstd cannot change its level within a frame.
    fn change_level(&mut self, output: &mut OutBuffer<[u8]>) -> io::Result<()> {
        let left = self.encoder.finish(output, true)?;
        assert!(left == 0, "the end of a frame that was flushed is a few bytes");
        self.encoder = encoder(self.next_level)?;
        self.level = self.next_level;
        Ok(())
    }

    /// Appends `plain` to `out` as the next part of the stream, flushed: the other end can
    /// expand it at once. Takes 1 to 2 ms for 256 KiB at level 3, at level 16 a hundred.
    pub(super) fn squeeze(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        // One header more than zstd's own bound, for the start of the stream and its flush.
        out.resize(start + compress_bound(plain.len()) + 64, 0);
        let mut input = InBuffer::around(plain);
        let mut output = OutBuffer::around(&mut out[start..]);
        if self.next_level != self.level {
            self.change_level(&mut output)?;
        }
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

fn encoder(level: i32) -> io::Result<Encoder<'static>> {
    let level = level.clamp(1, LEVEL_MAX);
    let optimal = OPTIMAL.iter().find(|(levels, _)| levels.contains(&level));
    let mut encoder = Encoder::new(if optimal.is_some() { OPTIMAL_LEVEL } else { level })?;
    // No checksum: TLS, and the content hash in the end, see to that.
    encoder.set_parameter(CParameter::ChecksumFlag(false))?;
    if level >= FAR_LEVEL {
        encoder.set_parameter(CParameter::WindowLog(SQUEEZE_WINDOW_LOG))?;
    }
    if let Some((_, optimal)) = optimal {
        encoder.set_parameter(CParameter::HashLog(OPTIMAL_HASH_LOG))?;
        encoder.set_parameter(CParameter::ChainLog(optimal.tree_log))?;
        encoder.set_parameter(CParameter::SearchLog(OPTIMAL_SEARCH_LOG))?;
        encoder.set_parameter(CParameter::MinMatch(optimal.least_match))?;
        encoder.set_parameter(CParameter::TargetLength(optimal.enough))?;
    }
    Ok(encoder)
}

/// The receiving end of a stream.
pub(super) struct Expander {
    decoder: Decoder<'static>,
}

impl Expander {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(SQUEEZE_WINDOW_LOG))?;
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

/// How much of a prefix the compressor keeps in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Some 3 MiB with the target.
    Wide,
    /// About 1 MiB, in a third of the time.
    Narrow,
}

/// Compresses `target` with `prefix` as history into one frame of its own.
///
/// `None` when the frame would not fit into an op (240 KiB): halve the target, or send it as a
/// literal. Takes up to 0.2 s and [`PREFIX_SQUEEZER_BYTES`] for the largest sizes: call it off the reactor,
/// few at a time.
///
/// # Panics
/// When prefix or target are larger than an op allows (8 MiB, 2 MiB).
pub fn squeeze_over(prefix: &[u8], target: &[u8], tables: Tables) -> Option<Vec<u8>> {
    assert!(
        prefix.len() <= PREFIX_BYTES && target.len() <= PREFIX_TARGET_BYTES,
        "the caller cuts to these sizes"
    );
    let mut context = CCtx::create();
    let window_log = (prefix.len() + target.len()).next_power_of_two().ilog2().clamp(10, PREFIX_WINDOW_LOG);
    context.set_parameter(CParameter::CompressionLevel(PREFIX_LEVEL)).ok()?;
    context.set_parameter(CParameter::WindowLog(window_log)).ok()?;
    context.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
    // Larger tables than usual, which forget the far end of a large prefix. Beyond them reaches long distance
    // matching, 1 MiB; where it is not needed it only takes matches away (3 % on a binary, 13 % on a tar).
    let table_log = window_log.min(match tables {
        Tables::Wide => PREFIX_TABLE_LOG,
        Tables::Narrow => NARROW_TABLE_LOG,
    });
    context.set_parameter(CParameter::HashLog(table_log)).ok()?;
    context.set_parameter(CParameter::ChainLog(table_log)).ok()?;
    context.set_parameter(CParameter::EnableLongDistanceMatching(prefix.len() > PREFIX_AIM_BYTES)).ok()?;
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

/// Squeezes pieces that are kept on this side, each a frame of its own.
pub struct Presser {
    squeezer: CCtx<'static>,
    expander: DCtx<'static>,
}

impl Default for Presser {
    fn default() -> Self {
        Self { squeezer: CCtx::create(), expander: DCtx::create() }
    }
}

impl Presser {
    /// A piece, squeezed at this level.
    pub fn squeeze(&mut self, piece: &[u8], level: i32) -> Vec<u8> {
        let mut frame = vec![0; compress_bound(piece.len())];
        let n_bytes = self.squeezer.compress(&mut frame[..], piece, level.clamp(1, LEVEL_MAX));
        frame.truncate(n_bytes.expect("a frame fits zstd's own bound"));
        frame
    }

    /// The piece of so many bytes that a frame holds; `None` when it holds another number.
    pub fn expand(&mut self, frame: &[u8], piece_bytes: usize) -> Option<Vec<u8>> {
        let mut piece = vec![0; piece_bytes];
        let n_bytes = self.expander.decompress(&mut piece[..], frame).ok()?;
        (n_bytes == piece_bytes).then_some(piece)
    }
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
        let frame = squeeze_over(&prefix, &target, Tables::Wide).unwrap();
        assert!(frame.len() < 1_000, "{} bytes", frame.len());
        assert_eq!(expand_over(&prefix, &frame, target.len()), Some(target));
    }

    #[test]
    fn the_far_end_of_the_largest_prefix_is_in_reach() {
        let prefix = noise(PREFIX_BYTES, 2);
        let target = [noise(100_000, 3), prefix[..1 << 20].to_vec()].concat();
        let frame = squeeze_over(&prefix, &target, Tables::Wide).unwrap();
        assert!(frame.len() < 120_000, "{} bytes", frame.len());
        assert_eq!(expand_over(&prefix, &frame, target.len()), Some(target));
    }

    #[test]
    fn narrow_tables_forget_the_far_end_and_never_err() {
        let prefix = noise(2 << 20, 10);
        let target = [&prefix[..1 << 16], &prefix[(2 << 20) - (1 << 16)..]].concat();
        let frame = squeeze_over(&prefix, &target, Tables::Narrow).unwrap();
        assert!((1 << 15..1 << 17).contains(&frame.len()), "{} bytes", frame.len());
        let of_all = squeeze_over(&prefix, &target, Tables::Wide).unwrap();
        assert!(of_all.len() < 1_000, "{} bytes", of_all.len());
        assert_eq!(expand_over(&prefix, &frame, target.len()), Some(target));
    }

    #[test]
    fn a_frame_too_large_for_an_op_is_not_made() {
        assert!(squeeze_over(&[], &noise(OP_BYTES + 1, 4), Tables::Wide).is_none());
    }

    #[test]
    fn another_prefix_or_length_never_gives_the_target() {
        let (prefix, target) = (noise(5_000, 5), noise(5_000, 5));
        let frame = squeeze_over(&prefix, &target, Tables::Wide).unwrap();
        assert_ne!(expand_over(&noise(5_000, 6), &frame, 5_000), Some(target.clone()));
        assert_eq!(expand_over(&prefix, &frame, 4_999), None);
        assert_eq!(expand_over(&prefix, &frame, 5_001), None);
        assert_eq!(expand_over(&prefix, &frame[..frame.len() - 1], 5_000), None);
    }

    #[test]
    fn an_empty_target_over_an_empty_prefix_is_possible() {
        let frame = squeeze_over(&[], &[], Tables::Wide).unwrap();
        assert_eq!(expand_over(&[], &frame, 0), Some(vec![]));
    }

    #[test]
    fn the_probe_tells_text_from_noise() {
        let mut squeezer = Squeezer::new(3).unwrap();
        assert!(squeezer.is_worth(&b"a line of some log, number 1\n".repeat(1_000)));
        assert!(!squeezer.is_worth(&noise(32 << 10, 7)));
    }

    #[test]
    fn a_reader_in_lock_step_follows_every_change_of_level() {
        let mut squeezer = Squeezer::new(3).unwrap();
        let mut expander = Expander::new().unwrap();
        let text = b"some words that come again and again, each time with another number: ".repeat(40);
        for number in 0..40 {
            let segment = [&text[..], format!("{number}").as_bytes(), &noise(50, number)].concat();
            squeezer.set_level([3, 16, 1, 1, 13, 9, 14][number as usize % 7]);
            let (mut wire, mut plain) = (Vec::new(), Vec::new());
            squeezer.squeeze(&segment, &mut wire).unwrap();
            assert!(expander.expand(&wire, segment.len(), &mut plain), "segment {number}");
            assert!(plain == segment, "segment {number}");
        }
    }

    #[test]
    fn a_level_that_stays_keeps_its_history() {
        let mut squeezer = Squeezer::new(16).unwrap();
        let segment = noise(100_000, 8);
        let mut sizes = Vec::new();
        for level in [16, 16, 9] {
            let mut wire = Vec::new();
            squeezer.set_level(level);
            squeezer.squeeze(&segment, &mut wire).unwrap();
            sizes.push(wire.len());
        }
        assert!(sizes[1] < 1_000, "the same again is a reference: {sizes:?}");
        assert!(sizes[2] > 90_000, "a new frame knows nothing: {sizes:?}");
    }

    #[test]
    fn a_piece_is_expanded_to_its_own_length_only() {
        let mut presser = Presser::default();
        let piece = [noise(1_000, 9), vec![7; 30_000]].concat();
        let frame = presser.squeeze(&piece, 3);
        assert!(frame.len() < 1_200);
        assert_eq!(presser.expand(&frame, piece.len()), Some(piece.clone()));
        assert_eq!(presser.expand(&frame, piece.len() - 1), None);
        assert_eq!(presser.expand(&frame, piece.len() + 1), None);
        assert_eq!(presser.expand(&frame[1..], piece.len()), None);
        // A frame that holds 64 MiB costs no more than was asked for.
        let bomb = presser.squeeze(&vec![0; 64 << 20], 1);
        assert_eq!(presser.expand(&bomb, 1_000), None);
        assert_eq!(expand_over(&piece, &bomb, 1_000), None);
    }

    proptest! {
        #[test]
        fn no_frame_panics(frame: Vec<u8>, prefix: Vec<u8>, target_bytes in 0usize..5_000) {
            let _ = expand_over(&prefix, &frame, target_bytes);
            let _ = Expander::new().unwrap().expand(&frame, target_bytes, &mut Vec::new());
        }
    }
}
