//! When to act on events: after a short quiet, but never later than a bound.
//!
//! Pure: the caller says what happened and what time it is, in milliseconds of any clock that does
//! not go back. Directories that are named again and again are named once in the batch.

use crate::model::RelPath;
use std::collections::BTreeSet;

/// Directories in one batch; more are cheaper to find by a scan of everything.
pub const BATCH_DIRS: usize = 4_096;

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Each of these directories, parents before children.
    Dirs(BTreeSet<RelPath>),
    /// Everything.
    Rescan,
}

/// Gathers events until they settle.
#[derive(Debug)]
pub struct Settle {
    quiet_ms: u64,
    most_ms: u64,
    dirs: BTreeSet<RelPath>,
    is_rescan: bool,
    /// When the first and the last event of the batch came; `None` while there is no batch.
    span: Option<(u64, u64)>,
}

impl Default for Settle {
    fn default() -> Self {
        Self::new(60, 500)
    }
}

impl Settle {
    /// A batch is due `quiet_ms` after its last event, or `most_ms` after its first.
    pub fn new(quiet_ms: u64, most_ms: u64) -> Self {
        Self { quiet_ms, most_ms, dirs: BTreeSet::new(), is_rescan: false, span: None }
    }

    /// Takes note that something changed in a directory.
    pub fn note(&mut self, now_ms: u64, dir: RelPath) {
        self.extend_span(now_ms);
        if self.is_rescan {
            return;
        }
        self.dirs.insert(dir);
        if self.dirs.len() > BATCH_DIRS {
            self.give_up_dirs();
        }
    }

    /// Takes note that events were lost.
    pub fn note_rescan(&mut self, now_ms: u64) {
        self.extend_span(now_ms);
        self.give_up_dirs();
    }

    /// The batch, if it is due; it begins anew then.
    pub fn due(&mut self, now_ms: u64) -> Option<Batch> {
        if now_ms < self.next_deadline()? {
            return None;
        }
        self.span = None;
        let dirs = std::mem::take(&mut self.dirs);
        let is_rescan = std::mem::take(&mut self.is_rescan);
        Some(if is_rescan { Batch::Rescan } else { Batch::Dirs(dirs) })
    }

    /// When to ask [`Settle::due`] next, if no event comes before; `None` while there is nothing.
    pub fn next_deadline(&self) -> Option<u64> {
        let (first_ms, last_ms) = self.span?;
        Some(last_ms.saturating_add(self.quiet_ms).min(first_ms.saturating_add(self.most_ms)))
    }

    fn extend_span(&mut self, now_ms: u64) {
        let first_ms = self.span.map_or(now_ms, |(first_ms, _)| first_ms);
        self.span = Some((first_ms, now_ms));
    }

    fn give_up_dirs(&mut self) {
        self.dirs = BTreeSet::new();
        self.is_rescan = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    fn dirs(texts: &[&str]) -> Option<Batch> {
        Some(Batch::Dirs(texts.iter().map(|text| path(text)).collect()))
    }

    #[test]
    fn nothing_is_due_without_events() {
        let mut settle = Settle::new(60, 500);
        assert_eq!((settle.next_deadline(), settle.due(u64::MAX)), (None, None));
    }

    #[test]
    fn a_batch_is_due_after_the_quiet_and_only_once() {
        let mut settle = Settle::new(60, 500);
        settle.note(1_000, path("a"));
        settle.note(1_030, path("b"));
        settle.note(1_040, path("a"));
        assert_eq!(settle.next_deadline(), Some(1_100));
        assert_eq!(settle.due(1_099), None);
        assert_eq!(settle.due(1_100), dirs(&["a", "b"]));
        assert_eq!((settle.due(5_000), settle.next_deadline()), (None, None));
    }

    #[test]
    fn steady_events_are_cut_at_the_bound() {
        let mut settle = Settle::new(60, 500);
        let mut due_at = Vec::new();
        for now_ms in (0..2_000).step_by(10) {
            if settle.due(now_ms).is_some() {
                due_at.push(now_ms);
            }
            settle.note(now_ms, path("log"));
        }
        assert_eq!(due_at, [500, 1_000, 1_500]);
    }

    #[test]
    fn lost_events_make_the_batch_a_rescan_and_the_next_one_is_not() {
        let mut settle = Settle::new(60, 500);
        settle.note(0, path("a"));
        settle.note_rescan(10);
        settle.note(20, path("b"));
        assert_eq!(settle.due(80), Some(Batch::Rescan));
        settle.note(100, path("c"));
        assert_eq!(settle.due(160), dirs(&["c"]));
    }

    #[test]
    fn too_many_directories_become_a_rescan() {
        let mut settle = Settle::default();
        for number in 0..BATCH_DIRS {
            settle.note(0, path(&format!("d{number}")));
        }
        assert!(matches!(settle.due(60), Some(Batch::Dirs(dirs)) if dirs.len() == BATCH_DIRS));
        for number in 0..=BATCH_DIRS {
            settle.note(100, path(&format!("d{number}")));
        }
        assert_eq!(settle.due(160), Some(Batch::Rescan));
    }

    #[test]
    fn a_clock_at_its_end_does_not_overflow() {
        let mut settle = Settle::default();
        settle.note(u64::MAX, path("a"));
        assert_eq!(settle.due(u64::MAX), dirs(&["a"]));
    }
}
