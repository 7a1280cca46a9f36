//! The entries of a directory: sorted runs without slack, shared between versions.
//!
//! A large tree is mostly this. Each run is one piece of memory that fits what it holds; a change makes one run
//! anew, and copies of a directory share the others.

use crate::model::path::Name;
use crate::model::tree::Node;
use std::sync::Arc;

/// Entries of a run at most: what a change of one entry copies.
const RUN_ENTRIES: usize = 64;

type Entry = (Name, Node);

/// Entries by name, in byte order of names, each name once.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// None of them empty; each ends before the next begins.
    runs: Box<[Arc<[Entry]>]>,
    len: usize,
}

/// Where a name is or would be.
enum Place {
    At(usize, usize),
    /// In this run, in front of this entry of it.
    Before(usize, usize),
}

impl Entries {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, name: &Name) -> Option<&Node> {
        match self.find(name) {
            Place::At(run, index) => Some(&self.runs[run][index].1),
            Place::Before(..) => None,
        }
    }

    /// The node under a name, to be changed.
    pub fn get_mut(&mut self, name: &Name) -> Option<&mut Node> {
        match self.find(name) {
            Place::At(run, index) => Some(&mut Arc::make_mut(&mut self.runs[run])[index].1),
            Place::Before(..) => None,
        }
    }

    /// Puts a node under a name and returns what was there.
    pub fn insert(&mut self, name: Name, node: Node) -> Option<Node> {
        let (run, index) = match self.find(&name) {
            Place::At(run, index) => {
                return Some(std::mem::replace(&mut Arc::make_mut(&mut self.runs[run])[index].1, node));
            }
            Place::Before(run, index) => (run, index),
        };
        self.len += 1;
        let Some(old) = self.runs.get(run) else {
            self.runs = Box::new([Arc::new([(name, node)])]);
            return None;
        };
        let mut entries = Vec::with_capacity(old.len() + 1);
        entries.extend_from_slice(&old[..index]);
        entries.push((name, node));
        entries.extend_from_slice(&old[index..]);
        self.replace_run(run, entries);
        None
    }

    /// Takes the node under a name away.
    pub fn remove(&mut self, name: &Name) -> Option<Node> {
        let Place::At(run, index) = self.find(name) else { return None };
        self.len -= 1;
        let mut entries = self.runs[run].to_vec();
        let (_, node) = entries.remove(index);
        self.replace_run(run, entries);
        Some(node)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.runs.iter().flat_map(|run| run.iter()).map(|(name, node)| (name, node))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.iter().map(|(name, _)| name)
    }

    /// All nodes, in order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.iter().map(|(_, node)| node)
    }

    /// The entries from a name on, that included, up to another, that excluded; `None` for no such bound.
    pub fn range<'e>(
        &'e self,
        start: Option<&'e Name>,
        end: Option<&'e Name>,
    ) -> impl Iterator<Item = (&'e Name, &'e Node)> {
        let run = start.map_or(0, |start| self.run_of(start));
        let entries = self.runs[run.min(self.runs.len())..].iter().flat_map(|run| run.iter());
        entries
            .map(|(name, node)| (name, node))
            .skip_while(move |(name, _)| start.is_some_and(|start| *name < start))
            .take_while(move |(name, _)| end.is_none_or(|end| *name < end))
    }

    /// The run that holds a name, or would.
    fn run_of(&self, name: &Name) -> usize {
        self.runs.partition_point(|run| run[0].0 <= *name).saturating_sub(1)
    }

    fn find(&self, name: &Name) -> Place {
        let run = self.run_of(name);
        let Some(entries) = self.runs.get(run) else { return Place::Before(0, 0) };
        match entries.binary_search_by(|(other, _)| other.cmp(name)) {
            Ok(index) => Place::At(run, index),
            Err(index) => Place::Before(run, index),
        }
    }

    /// Puts entries in the place of a run: none, one run or two.
    fn replace_run(&mut self, run: usize, mut entries: Vec<Entry>) {
        if (1..=RUN_ENTRIES).contains(&entries.len()) {
            self.runs[run] = entries.into();
            return;
        }
        let mut runs = std::mem::take(&mut self.runs).into_vec();
        if entries.is_empty() {
            runs.remove(run);
        } else {
            // The end of a run is where the next of names that come in order will be put.
            let is_last = run + 1 == runs.len();
            let second = entries.split_off(if is_last { RUN_ENTRIES } else { RUN_ENTRIES / 2 });
            runs[run] = entries.into();
            runs.insert(run + 1, second.into());
        }
        self.runs = runs.into();
    }
}

impl FromIterator<Entry> for Entries {
    /// In any order; of equal names the last counts.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries: Vec<Entry> = entries.into_iter().collect();
        if !entries.is_sorted_by(|(left, _), (right, _)| left < right) {
            entries.reverse();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            entries.dedup_by(|(later, _), (first, _)| later == first);
        }
        let len = entries.len();
        if len <= RUN_ENTRIES {
            return Self { runs: (len > 0).then(|| entries.into()).into_iter().collect(), len };
        }
        let mut entries = entries.into_iter();
        let runs = (0..len.div_ceil(RUN_ENTRIES)).map(|_| entries.by_ref().take(RUN_ENTRIES).collect());
        Self { runs: runs.collect(), len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Meta;
    use std::collections::BTreeMap;

    fn name(number: u64) -> Name {
        Name::parse(format!("{number:05}").as_bytes()).expect("digits are a name")
    }

    fn node(mode: u16) -> Node {
        Node::empty_dir(Meta { mode, ..Meta::default() })
    }

    fn told<'e>(entries: impl Iterator<Item = (&'e Name, &'e Node)>) -> Vec<(Name, u16)> {
        entries.map(|(name, node)| (name.clone(), node.meta().mode)).collect()
    }

    #[test]
    fn whatever_is_put_and_taken_they_are_what_a_map_would_hold() {
        let (mut entries, mut map) = (Entries::default(), BTreeMap::new());
        let mut state: u64 = 1;
        for round in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // First it grows, then it goes.
            let name = name((state >> 33) % 700);
            let mode = (state >> 50) as u16 & 0o777;
            if (state >> 20) % 20_000 > round {
                let before = map.insert(name.clone(), mode);
                assert_eq!(entries.insert(name.clone(), node(mode)).map(|node| node.meta().mode), before);
            } else {
                assert_eq!(entries.remove(&name).map(|node| node.meta().mode), map.remove(&name));
            }
            assert_eq!(entries.get(&name).map(|node| node.meta().mode), map.get(&name).copied());
            assert_eq!(entries.len(), map.len());
            if round.is_multiple_of(97) {
                assert_eq!(told(entries.iter()), map.clone().into_iter().collect::<Vec<_>>());
                let (start, end) = (name.clone(), self::name((state >> 12) % 700));
                let ranged = map.iter().filter(|(name, _)| **name >= start && **name < end);
                let ranged: Vec<_> = ranged.map(|(name, mode)| (name.clone(), *mode)).collect();
                assert_eq!(told(entries.range(Some(&start), Some(&end))), ranged);
            }
        }
    }

    #[test]
    fn a_copy_is_not_changed_and_shares_what_the_change_did_not_touch() {
        let entries: Entries = (0..1_000).map(|number| (name(number), node(1))).collect();
        let mut copy = entries.clone();
        copy.insert(name(500), node(2));
        *copy.get_mut(&name(501)).expect("it is there") = node(3);
        assert!(entries.nodes().all(|node| node.meta().mode == 1));
        let n_shared =
            copy.runs.iter().zip(&entries.runs).filter(|(left, right)| Arc::ptr_eq(left, right)).count();
        assert_eq!(n_shared, entries.runs.len() - 1);
    }

    #[test]
    fn names_in_any_order_are_sorted_and_the_last_of_equal_ones_counts() {
        let entries: Entries =
            [(name(2), node(1)), (name(1), node(2)), (name(2), node(3))].into_iter().collect();
        assert_eq!(told(entries.iter()), [(name(1), 2), (name(2), 3)]);
    }

    #[test]
    fn names_that_come_in_order_leave_full_runs() {
        let mut entries = Entries::default();
        (0..1_000).for_each(|number| drop(entries.insert(name(number), node(1))));
        assert_eq!(entries.runs.len(), 1_000_usize.div_ceil(RUN_ENTRIES));
    }
}
