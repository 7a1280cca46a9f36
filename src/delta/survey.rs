//! How a target relates to a basis of which only a coarse signature and some samples are known: what share
//! of it stands in the target at all, and how often that share was edited. From this the block size of the
//! signature that must travel is chosen.

use std::io;
use std::ops::Range;

use super::blocks::RangeSignature;
use super::needs::Likeness;
use super::sieve::{KnownCopy, ReadAt};
use super::weak::WeakTable;
use crate::model::limits::MIB;

/// Bytes of the target that are looked at together.
const WINDOW: u64 = 2 * MIB as u64;
/// Samples of a basis, bytes of each, and its blocks.
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 8 * SAMPLE_BLOCK_BYTES as u64;
pub const SAMPLE_BLOCK_BYTES: u32 = 509;
pub const SAMPLE_STRONG_BYTES: u8 = 5;
/// So far from its place a sample is looked for.
const STRIP_BYTES: u64 = WINDOW;
/// Slices of the target whose bytes are counted, and bytes of each.
const SLICES: u64 = 16;
const SLICE_BYTES: u64 = 4_096;

/// The ranges of a basis to sample: spread over all of it, as blocks of [`SAMPLE_BLOCK_BYTES`].
pub fn sample_ranges(basis_size: u64) -> Vec<(u64, u64)> {
    let step = basis_size / SAMPLES;
    if step < 4 * SAMPLE_BYTES {
        return Vec::new();
    }
    (0..SAMPLES).map(|sample| (sample * step + step / 2, SAMPLE_BYTES)).collect()
}

/// Block size of the first signature of a whole basis in which nothing stands in its place: the larger,
/// the less it costs, the smaller, the less is left to be asked for in finer blocks. About
/// (3/4 n)^(2/3) for a handful of edits.
pub fn coarse_block_bytes(basis_size: u64) -> u32 {
    let best = (basis_size as f64 * 0.75).powf(2.0 / 3.0) as u64;
    (best.clamp(509, 65_521) as u32) | 1
}

/// What the answers tell of a basis.
#[derive(Debug)]
pub struct Survey {
    /// Where its coarse blocks stand in the target, by target offset, apart from each other.
    pub copies: Vec<KnownCopy>,
    /// Its ranges that do not, by offset.
    pub missing: Vec<(u64, u64)>,
    /// What to expect in them.
    pub likeness: Likeness,
}

/// Compares a target with the answers: a coarse signature of a whole basis, and samples in finer blocks.
/// `index`: that of the basis.
pub fn survey(
    target: &dyn ReadAt,
    target_size: u64,
    (index, basis_size): (u32, u64),
    coarse: &[RangeSignature],
    samples: &[RangeSignature],
) -> io::Result<Survey> {
    let mut copies: Vec<KnownCopy> = Vec::new();
    let mut missing: Vec<(u64, u64)> = Vec::new();
    let found = standing(target, 0..target_size, coarse, &mut |at, offset, len| match copies.last_mut() {
        Some(last) if last.at + last.len == at && last.offset + last.len == offset => last.len += len,
        _ => copies.push(KnownCopy { at, len, basis: index, offset }),
    })?;
    let mut stood = Stood { n_found: 0, n_blocks: 0, block_bytes: 1 };
    for (signature, found) in coarse.iter().zip(&found) {
        let block_bytes = u64::from(signature.block_bytes());
        stood.block_bytes = signature.block_bytes();
        for (block, stands) in (0..).zip(found) {
            stood.count(*stands);
            let start = signature.offset() + block * block_bytes;
            match missing.last_mut() {
                _ if *stands => {}
                Some((held, len)) if *held + *len == start => *len += block_bytes,
                _ => missing.push((start, block_bytes)),
            }
        }
        // A short last block is too short to be looked for.
        let rest = signature.offset() + found.len() as u64 * block_bytes;
        if rest < signature.end() {
            missing.push((rest, signature.end() - rest));
        }
    }
    let (mut fine, mut whole) = (Stood::of(SAMPLE_BLOCK_BYTES), Stood::of(SAMPLE_BYTES as u32));
    for sample in samples {
        let strip = strip_of(sample, target_size, basis_size);
        let found = standing(target, strip, std::slice::from_ref(sample), &mut |_, _, _| {})?;
        found[0].iter().for_each(|stands| fine.count(*stands));
        whole.count(found[0].iter().all(|stands| *stands));
    }
    let literal_cost = literal_cost(target, target_size)?;
    let mut likeness = if samples.is_empty() || stood.n_found * 10 > stood.n_blocks * 9 {
        Likeness { share: 1.0, edits_per_byte: stood.edits_per_byte(), literal_cost }
    } else if fine.n_found == 0 && stood.n_found == 0 {
        Likeness { share: 0.0, edits_per_byte: 0.0, literal_cost }
    } else {
        likeness(fine, whole, literal_cost)
    };
    // Each of the missing ranges was edited once at least.
    let missing_bytes: u64 = missing.iter().map(|(_, len)| len).sum();
    let least = missing.len() as f64 / missing_bytes.max(1) as f64;
    likeness.edits_per_byte = likeness.edits_per_byte.max(least);
    Ok(Survey { copies, missing, likeness })
}

/// How many blocks of a size stood in the target.
#[derive(Clone, Copy)]
struct Stood {
    n_found: u64,
    n_blocks: u64,
    block_bytes: u32,
}

impl Stood {
    fn of(block_bytes: u32) -> Self {
        Self { n_found: 0, n_blocks: 0, block_bytes }
    }

    fn count(&mut self, stands: bool) {
        self.n_blocks += 1;
        self.n_found += u64::from(stands);
    }

    /// The share that stood; none counts as half a block.
    fn share(self) -> f64 {
        (self.n_found as f64).max(0.5) / self.n_blocks.max(1) as f64
    }

    /// Edits where all of it is there; one at least brought us here.
    fn edits_per_byte(self) -> f64 {
        let all_bytes = self.n_blocks.max(1) as f64 * f64::from(self.block_bytes);
        (-self.share().min(1.0).ln() / f64::from(self.block_bytes)).max(1.0 / all_bytes)
    }
}

/// Solves share x exp(-edits x block) for two block sizes.
fn likeness(fine: Stood, whole: Stood, literal_cost: f64) -> Likeness {
    let (stood_fine, stood) = (fine.share().max(whole.share()), whole.share());
    let apart = f64::from(whole.block_bytes) - f64::from(fine.block_bytes);
    // Of so few samples some are always missed: one is as good as half missed.
    let least = 0.5 / whole.n_blocks.max(1) as f64 / f64::from(whole.block_bytes);
    let edits_per_byte = ((stood_fine / stood).ln() / apart).max(least);
    let share = (stood_fine * (edits_per_byte * f64::from(fine.block_bytes)).exp()).min(1.0);
    Likeness { share, edits_per_byte, literal_cost }
}

/// Where in the target a sample is looked for.
fn strip_of(sample: &RangeSignature, target_size: u64, basis_size: u64) -> Range<u64> {
    // Where both ends stay what they are, the middle moves in proportion.
    let place = sample.offset() as u128 * u128::from(target_size) / u128::from(basis_size.max(1));
    let (low, high) = (sample.offset().min(place as u64), sample.end().max(place as u64));
    low.saturating_sub(STRIP_BYTES).min(target_size)..high.saturating_add(STRIP_BYTES).min(target_size)
}

/// Which whole blocks of signatures of one block size stand anywhere in a range of the target; tells of each
/// run of them where it stands there and in the basis, and how long it is.
fn standing(
    target: &dyn ReadAt,
    range: Range<u64>,
    signatures: &[RangeSignature],
    tell: &mut dyn FnMut(u64, u64, u64),
) -> io::Result<Vec<Vec<bool>>> {
    let mut found: Vec<Vec<bool>> =
        signatures.iter().map(|signature| vec![false; signature.n_blocks()]).collect();
    let Some(block_bytes) = signatures.first().map(|signature| signature.block_bytes() as usize) else {
        return Ok(found);
    };
    let numbers: Vec<(usize, usize)> = (0..)
        .zip(signatures)
        .flat_map(|(at, signature)| (0..signature.n_blocks()).map(move |block| (at, block)))
        .collect();
    let weak: Vec<u32> = signatures.iter().flat_map(RangeSignature::weaks).collect();
    let table = WeakTable::new(&weak);
    // More strong hashes than this that prove nothing: the weak ones lie.
    let mut budget = 4 * (range.end - range.start) / block_bytes as u64 + 1_024;
    let mut buffer = vec![0; (WINDOW as usize) + block_bytes];
    let mut at = range.start;
    while at < range.end {
        let held = read_full(target, &mut buffer, at, range.end)?;
        let window = &buffer[..held];
        let mut here = 0;
        while window.len() - here >= block_bytes {
            let proves = |place: usize, number: usize| {
                let (signature, block) = numbers[number];
                let bytes = &window[here + place..here + place + block_bytes];
                let holds = signatures[signature].compare(block, bytes) == [true];
                budget = budget.saturating_sub(u64::from(!holds));
                if budget == 0 { Err(()) } else { Ok(holds) }
            };
            let Ok(first) = table.find(&window[here..], block_bytes, proves) else { return Ok(found) };
            let Some((place, number)) = first else { break };
            let (signature, block) = numbers[number];
            here += place;
            // What follows is compared at its place, which is far faster than to look for it.
            let equal = signatures[signature].compare(block, &window[here..]);
            let n_whole = signatures[signature].n_blocks() - block;
            let run = equal.iter().take(n_whole).take_while(|equal| **equal).count().max(1);
            found[signature][block..block + run].fill(true);
            let offset = signatures[signature].offset() + (block * block_bytes) as u64;
            tell(at + here as u64, offset, (run * block_bytes) as u64);
            here += run * block_bytes;
        }
        if at + held as u64 >= range.end {
            break;
        }
        // The last block of a window may go on in the next.
        at += here.max(held + 1 - block_bytes) as u64;
    }
    Ok(found)
}

fn read_full(target: &dyn ReadAt, buffer: &mut [u8], at: u64, end: u64) -> io::Result<usize> {
    let wanted = buffer.len().min((end - at) as usize);
    let mut n = 0;
    while n < wanted {
        match target.read_at(&mut buffer[n..wanted], at + n as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => n += more,
        }
    }
    Ok(n)
}

/// Wire bytes that a literal byte costs, about, from the entropy of single bytes in some slices: its square
/// fits what a compressor makes of text, programs and noise.
pub fn literal_cost(target: &dyn ReadAt, target_size: u64) -> io::Result<f64> {
    let mut counts = [0u32; 256];
    let step = (target_size / SLICES).max(SLICE_BYTES);
    let mut buffer = vec![0; SLICE_BYTES as usize];
    for at in (0..target_size).step_by(step as usize) {
        let n = read_full(target, &mut buffer, at, target_size)?;
        buffer[..n].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    let total: u32 = counts.iter().sum();
    let part = |n: u32| f64::from(n) / f64::from(total.max(1));
    let bits: f64 = counts.iter().filter(|n| **n > 0).map(|n| -part(*n) * part(*n).log2()).sum();
    Ok((bits / 8.0).powi(2).clamp(0.05, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
    }

    fn surveyed(basis: &[u8], target: Vec<u8>) -> (Vec<(u64, u64)>, Likeness) {
        let size = basis.len() as u64;
        let coarse = RangeSignature::compute(0, basis, coarse_block_bytes(size), 8);
        let sign = |(offset, len): (u64, u64)| {
            let bytes = &basis[offset as usize..(offset + len) as usize];
            RangeSignature::compute(offset, bytes, SAMPLE_BLOCK_BYTES, SAMPLE_STRONG_BYTES)
        };
        let samples: Vec<_> = sample_ranges(size).into_iter().map(sign).collect();
        let Survey { copies, missing, likeness } =
            survey(&target, target.len() as u64, (0, size), &[coarse], &samples).unwrap();
        for copy in copies {
            let (at, offset, len) = (copy.at as usize, copy.offset as usize, copy.len as usize);
            assert!(target[at..at + len] == basis[offset..offset + len]);
        }
        (missing, likeness)
    }

    #[test]
    fn an_insert_at_the_head_leaves_only_the_last_block_open() {
        let basis = noise(2 * MIB, 1);
        let (missing, likeness) = surveyed(&basis, [&[7; 100], &basis[..]].concat());
        let block_bytes = u64::from(coarse_block_bytes(basis.len() as u64));
        assert!(missing.iter().map(|(_, len)| len).sum::<u64>() < block_bytes, "{missing:?}");
        assert_eq!(likeness.share, 1.0);
    }

    #[test]
    fn dense_inserts_are_counted_about_right() {
        let basis = noise(2 * MIB, 2);
        let target: Vec<u8> = basis.chunks(20_000).flat_map(|piece| [piece, b"new"].concat()).collect();
        let (_, likeness) = surveyed(&basis, target);
        let edits = likeness.edits_per_byte * basis.len() as f64;
        assert!((50.0..500.0).contains(&edits), "104 edits, not {edits}");
        assert!(likeness.share > 0.8, "{likeness:?}");
    }

    #[test]
    fn unrelated_contents_share_nothing() {
        let (missing, likeness) = surveyed(&noise(MIB, 3), noise(MIB, 4));
        assert_eq!((likeness.share, missing.len()), (0.0, 2));
        assert!(likeness.literal_cost > 0.98);
    }

    #[test]
    fn every_block_is_found_also_across_windows() {
        let basis = noise(3 * MIB, 5);
        let target = [b"shift", &basis[..]].concat();
        let signatures = [RangeSignature::compute(0, &basis, 10_007, 8)];
        let found = standing(&target, 0..target.len() as u64, &signatures, &mut |_, _, _| {}).unwrap();
        assert!(found[0].iter().all(|stands| *stands));
        assert_eq!(found[0].len(), basis.len() / 10_007);
    }
}
