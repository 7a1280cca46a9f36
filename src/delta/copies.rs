//! Which parts of its bases an op copies as they are: there the target's bytes tell what the basis holds.

use super::ops::Op;
use super::sieve::KnownCopy;

/// Bytes of the magic number that a `fast_rsync` delta starts with.
const MAGIC_BYTES: usize = 4;

/// The parts of bases that an op copies where the target stands at byte `at`, in order of the target.
pub fn copies(op: &Op, at: u64) -> Vec<KnownCopy> {
    match op {
        Op::Same { len } => vec![KnownCopy { at, len: *len, basis: 0, offset: at }],
        Op::Copy { basis, offset, len } => {
            vec![KnownCopy { at, len: *len, basis: *basis, offset: *offset }]
        }
        Op::Blocks { basis, offset, delta, .. } => {
            let of_range = of_delta(delta);
            let moved = |(from, within, len)| KnownCopy {
                at: at.saturating_add(within),
                len,
                basis: *basis,
                offset: offset.saturating_add(from),
            };
            of_range.into_iter().map(moved).collect()
        }
        Op::Literal(_) | Op::Zeros { .. } | Op::Prefix { .. } | Op::Use { .. } => Vec::new(),
    }
}

/// The copies of a `fast_rsync` delta: offset in its range, in what it makes, and length. Of one that is
/// malformed what stands before the fault.
///
/// The form is librsync's (`command.h` and `prototab.c` there): an op is a byte, then numbers of 1, 2, 4 or 8 bytes,
/// most significant first.
fn of_delta(delta: &[u8]) -> Vec<(u64, u64, u64)> {
    let mut rest = delta.get(MAGIC_BYTES..).unwrap_or_default();
    let mut found = Vec::new();
    let mut made: u64 = 0;
    while let Some((from, len)) = next_op(&mut rest) {
        if let Some(from) = from {
            found.push((from, made, len));
        }
        made = made.saturating_add(len);
    }
    found
}

/// Takes an op: where it copies from, none for a literal, and its length. None at the end.
fn next_op(rest: &mut &[u8]) -> Option<(Option<u64>, u64)> {
    let literal_len = match take(rest, 1)? as u8 {
        0 => return None,
        len @ 0x01..=0x40 => u64::from(len),
        op @ 0x41..=0x44 => take(rest, 1 << (op - 0x41))?,
        op @ 0x45..=0x54 => {
            let from = take(rest, 1 << ((op - 0x45) / 4))?;
            return Some((Some(from), take(rest, 1 << ((op - 0x45) % 4))?));
        }
        _ => return None,
    };
    *rest = rest.get(usize::try_from(literal_len).ok()?..)?;
    Some((None, literal_len))
}

/// Takes a number of so many bytes.
fn take(rest: &mut &[u8], n_bytes: usize) -> Option<u64> {
    let (number, after) = rest.split_at_checked(n_bytes)?;
    *rest = after;
    Some(number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::blocks::RangeSignature;
    use crate::model::limits::DELTA_AIM_BYTES;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_delta_copies_stands_in_both(
            basis in prop::collection::vec(any::<u8>(), 500..9_000),
            edits in prop::collection::vec((0usize..9_000, 0usize..300, prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        ) {
            let mut target = basis.clone();
            for (at, cut, put) in edits {
                let at = at % (target.len() + 1);
                target.splice(at..(at + cut).min(target.len()), put);
            }
            let signature = RangeSignature::compute(0, &basis, 67, 8);
            let delta = signature.sub_range(0..basis.len() as u64).diff(&target, DELTA_AIM_BYTES);
            let delta = delta.expect("a delta");
            let n_literal: usize = delta.len();
            let (offset, len, target_len) = (1_000, basis.len() as u32, target.len() as u32);
            let copied = copies(&Op::Blocks { basis: 3, offset, len, target_len, delta }, 50);
            for KnownCopy { at, len, basis: of, offset } in &copied {
                let (at, from, len) = (*at as usize - 50, *offset as usize - 1_000, *len as usize);
                prop_assert_eq!(*of, 3);
                prop_assert!(basis[from..from + len] == target[at..at + len]);
            }
            let n_copied: u64 = copied.iter().map(|copy| copy.len).sum();
            prop_assert!(n_copied as usize + n_literal >= target.len());
        }

        #[test]
        fn no_delta_is_too_strange(delta: Vec<u8>) {
            of_delta(&delta);
        }
    }

    #[test]
    fn copies_are_told_with_their_basis_and_place() {
        let told = |op: &Op| copies(op, 10);
        assert_eq!(told(&Op::Same { len: 5 }), [KnownCopy { at: 10, len: 5, basis: 0, offset: 10 }]);
        let copy = Op::Copy { basis: 2, offset: 7, len: 5 };
        assert_eq!(told(&copy), [KnownCopy { at: 10, len: 5, basis: 2, offset: 7 }]);
        assert!(told(&Op::Literal(vec![1])).is_empty() && told(&Op::Zeros { len: 1 }).is_empty());
    }
}
