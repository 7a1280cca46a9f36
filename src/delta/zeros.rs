//! Zero bytes: a buffer of them, a cheap test for them, and the whole aligned groups of them in a piece.

use crate::model::limits::{HOLE_BYTES, MIB};

/// Zeros to hash and compare with.
pub(super) static ZEROS: [u8; 2 * MIB] = [0; 2 * MIB];

/// Whether all bytes are zero; looks at the first few before it compares all.
pub(super) fn are_zeros(bytes: &[u8]) -> bool {
    let head = bytes.len().min(16);
    bytes[..head] == ZEROS[..head] && bytes.chunks(MIB).all(|piece| *piece == ZEROS[..piece.len()])
}

/// A stretch of a piece of content, as a range of the piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch<'a> {
    Zeros(u64),
    Bytes(&'a [u8]),
}

/// Cuts a piece of content that starts at `at` into runs of whole zero groups (`HOLE_BYTES`, aligned) and
/// the bytes between them.
pub(super) fn stretches(at: u64, bytes: &[u8]) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::new();
    let to_border = (at.next_multiple_of(HOLE_BYTES as u64) - at).min(bytes.len() as u64) as usize;
    let (mut plain_from, mut here) = (0, to_border);
    while bytes.len() - here >= HOLE_BYTES {
        if !are_zeros(&bytes[here..here + HOLE_BYTES]) {
            here += HOLE_BYTES;
            continue;
        }
        if plain_from < here {
            stretches.push(Stretch::Bytes(&bytes[plain_from..here]));
        }
        match stretches.last_mut() {
            Some(Stretch::Zeros(len)) => *len += HOLE_BYTES as u64,
            _ => stretches.push(Stretch::Zeros(HOLE_BYTES as u64)),
        }
        here += HOLE_BYTES;
        plain_from = here;
    }
    if plain_from < bytes.len() {
        stretches.push(Stretch::Bytes(&bytes[plain_from..]));
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_aligned_groups_of_zeros_count() {
        let mut bytes = vec![0; 4 * HOLE_BYTES];
        bytes[3 * HOLE_BYTES + 5] = 1;
        let cut = stretches(10, &bytes[10..]);
        assert_eq!(
            cut,
            [
                Stretch::Bytes(&bytes[10..HOLE_BYTES]),
                Stretch::Zeros(2 * HOLE_BYTES as u64),
                Stretch::Bytes(&bytes[3 * HOLE_BYTES..])
            ]
        );
        assert_eq!(stretches(5, &[0; 9]), [Stretch::Bytes(&[0; 9])]);
        assert_eq!(stretches(0, &[]), []);
    }
}
