//! The place of a basis that a stretch of the target corresponds to, as the copies in it and around it say.

use crate::model::limits::MIB;
use crate::net::squeeze::PREFIX_AIM_BYTES;
use std::ops::Range;

/// Copies whose shifts lie farther apart than this do not say one place.
const APART_BYTES: u64 = 2 * MIB as u64;

/// Which place of the basis a place of the target corresponds to.
pub(super) struct Places {
    /// (target, basis), in order of the target.
    pub(super) anchors: Vec<(u64, u64)>,
    pub(super) target_size: u64,
    pub(super) basis_size: u64,
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.anchors.last().copied()
    }

    /// How far the basis lies from the target around a range: all but the outermost tenths of what the copies in
    /// it say. A copy may stand anywhere by chance, so one alone is not believed.
    fn shifts(&self, target: &Range<u64>) -> Option<(i64, i64)> {
        let shift = |(target, basis): &(u64, u64)| *basis as i64 - *target as i64;
        let inside = self.anchors.iter().filter(|(at, _)| (target.start..=target.end).contains(at));
        let mut shifts: Vec<i64> = inside.map(shift).collect();
        if shifts.is_empty() {
            shifts = self.anchors.iter().map(shift).collect();
        }
        shifts.sort_unstable();
        let last = shifts.len().checked_sub(1)?;
        let (low, high) = (shifts[last / 10], shifts[last - last / 10]);
        let middle = shifts[last / 2];
        let is_close = high - low <= APART_BYTES as i64;
        Some(if is_close { (low, high) } else { (middle, middle) })
    }

    /// The range of the basis around the one that corresponds to a range of the target.
    pub(super) fn range(&self, target: &Range<u64>, margin: u64) -> Range<u64> {
        let moved = |at: u64, shift: i64| at.saturating_add_signed(shift).min(self.basis_size);
        let (start, end) = match self.shifts(target) {
            Some((low, high)) => (moved(target.start, low), moved(target.end, high)),
            // Nothing was found: as far into the one as into the other.
            None => (self.share_of(target.start), self.share_of(target.end)),
        };
        let most = PREFIX_AIM_BYTES as u64;
        let margin = margin.min(most.saturating_sub(end.saturating_sub(start)) / 2);
        let start = start.min(end).saturating_sub(margin);
        start..(end + margin).min(self.basis_size).min(start + most)
    }

    fn share_of(&self, at: u64) -> u64 {
        let share = u128::from(at) * u128::from(self.basis_size) / u128::from(self.target_size.max(1));
        u64::try_from(share).map_or(self.basis_size, |place| place.min(self.basis_size))
    }
}
