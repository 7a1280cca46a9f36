//! The groups of a content along one pass: hashed as they come, zeros without a byte of memory for them, or taken
//! by values that were computed earlier.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt};

use super::cores::{n_cores, on_cores};
use super::entries::{n_units, share};
use super::groups::{group_value, node_bytes};
use super::zeros::ZEROS;
use crate::model::ContentHash;
use crate::model::limits::{MIB, TREE_LEVEL};

const _: () = assert!(node_bytes(TREE_LEVEL) <= ZEROS.len() as u64);
/// So many bytes and more are hashed by all cores: fewer are hashed before a thread has begun, and each has its price.
const SPREAD_BYTES: usize = 4 * MIB;

/// Values of the groups so far, and the one that is not complete yet. Of a huge content each is the node of a coarser
/// level: one subtree of the hash as well.
#[derive(Default)]
pub(super) struct HashedGroups {
    level: u8,
    values: Vec<ChainingValue>,
    group: Hasher,
    group_bytes: usize,
}

impl HashedGroups {
    /// Goes on behind whole groups, nodes of a level, of which only the values are known.
    pub(super) fn resume(level: u8, values: Vec<ChainingValue>) -> Self {
        Self { level, values, ..Self::default() }
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// Bytes of a whole group.
    fn whole_bytes(&self) -> usize {
        node_bytes(self.level) as usize
    }

    /// Values of the groups that are closed.
    pub(super) fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// Value of the last group, if it is whole and still open.
    pub(super) fn open_value(&self) -> Option<ChainingValue> {
        (self.group_bytes == self.whole_bytes()).then(|| self.group.finalize_non_root())
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8], n_cores: usize) {
        let groups_at = self.fill_group(bytes);
        let groups = &bytes[groups_at..];
        let groups = &groups[..groups.len() - groups.len() % self.whole_bytes()];
        self.hash_groups(groups, n_cores);
        self.open_group(&bytes[groups_at + groups.len()..]);
    }

    /// Takes `len` zeros.
    pub(super) fn zeros(&mut self, len: u64) {
        let (mut left, whole) = (len, self.whole_bytes() as u64);
        while left > 0 && (self.group_bytes > 0 || self.values.is_empty()) {
            left -= self.fill_group(&ZEROS[..left.min(whole) as usize]) as u64;
        }
        self.zero_groups((left / whole) as usize);
        self.open_group(&ZEROS[..(left % whole) as usize]);
    }

    /// Takes groups by their values, from the border of a group on.
    pub(super) fn carry(&mut self, values: &[ChainingValue]) {
        self.close_open();
        self.values.extend_from_slice(values);
    }

    /// The content hash, where all that came is at most one group.
    pub(super) fn only_hash(&self) -> ContentHash {
        debug_assert!(self.values.is_empty());
        ContentHash(*self.group.finalize().as_bytes())
    }

    /// Whether all that came is at most one group.
    pub(super) fn is_one(&self) -> bool {
        self.values.is_empty()
    }

    /// Values of all groups.
    pub(super) fn into_values(self) -> Vec<ChainingValue> {
        self.values
    }

    /// Begins a group with the first bytes of it, if there are any.
    fn open_group(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.group.set_input_offset((self.values.len() * self.whole_bytes()) as u64).update(bytes);
            self.group_bytes = bytes.len();
        }
    }

    /// Closes the open group, if there is one: the last of a content of more, or in front of those that are taken by value.
    pub(super) fn close_open(&mut self) {
        if self.group_bytes > 0 {
            self.close_group();
        }
    }

    /// Fills the open group and returns how many bytes went into it. The first group is always filled
    /// here and closed only when more comes: while it is alone, its hash is the content's.
    fn fill_group(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || self.group_bytes == 0 && !self.values.is_empty() {
            return 0;
        }
        let n_taken = (self.whole_bytes() - self.group_bytes).min(bytes.len());
        self.group.update(&bytes[..n_taken]);
        self.group_bytes += n_taken;
        if n_taken < bytes.len() {
            self.close_group();
        }
        n_taken
    }

    /// Whole groups of zeros.
    fn zero_groups(&mut self, n_groups: usize) {
        let (first, whole) = (self.values.len(), self.whole_bytes());
        let n_parts = if n_groups < SPREAD_BYTES / whole { 1 } else { n_cores() };
        let border = |part: usize| first + n_groups * part / n_parts;
        let work = |part: usize| {
            let groups = border(part)..border(part + 1);
            groups.map(|group| group_value(&ZEROS[..whole], (group * whole) as u64)).collect::<Vec<_>>()
        };
        for values in on_cores(n_parts, &work) {
            self.values.extend(values);
        }
    }

    fn close_group(&mut self) {
        self.values.push(self.group.finalize_non_root());
        // Not `reset`: `set_input_offset` wants a hasher that never had another offset.
        self.group = Hasher::new();
        self.group_bytes = 0;
    }

    /// Hashes whole groups.
    fn hash_groups(&mut self, groups: &[u8], n_cores: usize) {
        let (first, whole) = (self.values.len(), self.whole_bytes());
        let n_parts = if groups.len() < SPREAD_BYTES { 1 } else { n_cores };
        let values = on_cores(n_parts, &|part| {
            let at = first + n_units(groups, whole) * part / n_parts;
            let own = share(groups, whole, part, n_parts).chunks_exact(whole).zip(at..);
            own.map(|(group, at)| group_value(group, (at * whole) as u64)).collect::<Vec<_>>()
        });
        values.into_iter().for_each(|values| self.values.extend(values));
    }
}
