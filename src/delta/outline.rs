//! What is done with each part of a target, as far as groups, holes and chunks tell before a byte of it is read.

use std::ops::Range;

use super::groups::{GroupTags, node_bytes};
use super::place::Place;
use super::sieve::{Against, KnownBasis, KnownCopy, Target};
use crate::model::limits::GROUP_BYTES;

pub(super) const GROUP: u64 = GROUP_BYTES as u64;

/// What is done with a stretch of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Stands in the basis of this index at the same offset.
    Same(u32),
    /// Stands in a basis, as chunks tell; the target offset less that place.
    Copy(i64),
    /// Holds no data.
    Hole,
    /// Is read.
    Read,
}

/// A target and what is known of it beforehand. Threads may follow it side by side.
pub(super) struct Outline<'a> {
    pub(super) target: Target<'a>,
    bases: Vec<SameGroups<'a>>,
    copies: &'a [KnownCopy],
}

impl<'a> Outline<'a> {
    pub(super) fn new(target: Target<'a>, against: &Against<'a>) -> Self {
        let bases = against.bases.iter().filter_map(|basis| SameGroups::of(target, basis)).collect();
        Self { target, bases, copies: against.copies }
    }

    /// The stretches from a byte on, in order, without gap; neighbours differ in class.
    pub(super) fn stretches(&self, from: u64) -> impl Iterator<Item = (Class, Range<u64>)> + '_ {
        let mut next =
            Some(from).filter(|from| *from < self.target.size).map(|from| (from, self.class(from)));
        std::iter::from_fn(move || {
            let (start, (class, mut end)) = next.take()?;
            while end < self.target.size {
                let (other, other_end) = self.class(end);
                if other != class {
                    next = Some((end, (other, other_end)));
                    break;
                }
                end = other_end;
            }
            Some((class, start..end))
        })
    }

    /// What is done with the target from a byte on, and how far that is known to hold.
    fn class(&self, at: u64) -> (Class, u64) {
        let group = at / GROUP;
        let end = ((group + 1) * GROUP).min(self.target.size);
        if let Some(basis) = self.bases.iter().find(|basis| basis.holds(group, end)) {
            return (Class::Same(basis.index), end);
        }
        let hole = self.target.holes.partition_point(|hole| hole.end < end);
        match self.target.holes.get(hole) {
            Some(hole) if hole.start <= group * GROUP && end <= hole.end => return (Class::Hole, end),
            _ => {}
        }
        let next = self.copies.partition_point(|copy| copy.at + copy.len <= at);
        match self.copies.get(next) {
            Some(copy) if copy.at <= at => {
                let shift = Place::new(copy.basis, copy.offset).shift(copy.at);
                (Class::Copy(shift), end.min(copy.at + copy.len))
            }
            Some(copy) => (Class::Read, end.min(copy.at)),
            None => (Class::Read, end),
        }
    }
}

/// A basis whose group tags are known, beside the target's own of the same level.
struct SameGroups<'a> {
    index: u32,
    size: u64,
    known: &'a GroupTags,
    own: GroupTags,
}

impl<'a> SameGroups<'a> {
    fn of(target: Target, basis: &'a KnownBasis) -> Option<Self> {
        let known = basis.groups.as_ref()?;
        let own = Some(target.groups?.tags(known.level)).filter(|own| own.level == known.level)?;
        Some(Self { index: basis.index, size: basis.size, known, own })
    }

    /// Whether a group of the target, or the node around it, is equal at the same offset.
    fn holds(&self, group: u64, end: u64) -> bool {
        let node = (group * GROUP / node_bytes(self.known.level)) as usize;
        let own = self.own.tags.get(node);
        own.is_some() && own == self.known.tags.get(node) && end <= self.size
    }
}
