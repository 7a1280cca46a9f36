//! Places in any of the bases of a transfer, and shifts between them and the target.

use crate::model::limits::{FILE_BASES, FILE_BYTES};

const _: () = assert!((FILE_BASES as u64) < (1 << 62) / FILE_BYTES, "a place and a shift fit 63 bits");

/// A place in any of the bases as one number: the bases lie one behind the other, each in as much room as
/// the largest file takes. So the block sieve knows of one basis only, however many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    pub(super) fn new(basis: u32, offset: u64) -> Self {
        debug_assert!(offset <= FILE_BYTES);
        Self(u64::from(basis) * FILE_BYTES + offset)
    }

    /// Index of the basis.
    pub(super) fn basis(self) -> u32 {
        (self.0 / FILE_BYTES) as u32
    }

    /// Offset in it.
    pub(super) fn offset(self) -> u64 {
        self.0 % FILE_BYTES
    }

    pub(super) fn plus(self, len: u64) -> Self {
        Self(self.0 + len)
    }

    /// Bytes from here on to a later place of the same basis.
    pub(super) fn to(self, later: Self) -> u64 {
        later.0 - self.0
    }

    /// Target offset less this place.
    pub(super) fn shift(self, at: u64) -> i64 {
        at as i64 - self.0 as i64
    }

    /// The place that a shift gives to a target offset; the very first where that lies before it.
    pub(super) fn shifted(at: u64, shift: i64) -> Self {
        Self(u64::try_from(at as i64 - shift).unwrap_or(0))
    }

    /// The target offset that a shift gives to this place; negative before the target's start.
    pub(super) fn back(self, shift: i64) -> i64 {
        self.0 as i64 + shift
    }
}
