//! How far the destination is behind: what it does not have yet, and since when, connected or not.

use super::event::{Behind, Event, Report};
use crate::model::{RelPath, Tree};
use crate::plan::changes::plan;
use crate::plan::project::{Kept, project};
use crate::proto::sender::{Sender, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// It is counted and told at most this often, and at most a twentieth of the time goes into it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SHARE: u32 = 20;
/// Changes of which each is remembered since when it waits; of the others together.
const REMEMBERED: usize = 10_000;

/// What is not there yet; lives longer than a session.
#[derive(Debug, Default)]
pub struct Backlog {
    since: BTreeMap<RelPath, Instant>,
    others_since: Option<Instant>,
    /// When there was something to do first, and when to count again.
    begun_at: Option<Instant>,
    look_at: Option<Instant>,
    has_told: bool,
    away: Option<Away>,
}

/// What the last session knew of the destination.
#[derive(Debug)]
struct Away {
    have: Tree,
    kept: Kept,
    /// Paths that differed when it had nothing left to do.
    stuck: BTreeSet<RelPath>,
    /// What waits, counted for the source whose root this was.
    left: Option<(Tree, Vec<(RelPath, u64)>)>,
}

impl Backlog {
    /// Tells how far the destination is behind, when it is time for it. Returns when to come again; `None`:
    /// when something happened.
    pub fn look(&mut self, sender: &Sender, source: Option<&Source>, events: &dyn Report) -> Option<Instant> {
        if sender.is_settled() {
            self.settle(events);
            return None;
        }
        self.count(events, |backlog, each| {
            if !sender.for_each_left(each)
                && let Some(source) = source
            {
                backlog.for_each_away(source, each);
            }
        })
    }

    /// The same while there is no session.
    pub fn look_away(&mut self, source: Option<&Source>, events: &dyn Report) {
        if let Some(source) = source {
            self.count(events, |backlog, each| backlog.for_each_away(source, each));
        }
    }

    /// Keeps what a session knew when it ended.
    pub fn leave(&mut self, sender: &Sender, source: Option<&Source>) {
        let Some(have) = sender.destination_tree().cloned() else { return };
        let mut away = Away { have, kept: sender.kept(), stuck: BTreeSet::new(), left: None };
        if let Some(source) = source.filter(|_| sender.is_settled()) {
            away.stuck = away.changes(source).map(|(path, _)| path).collect();
        }
        self.away = Some(away);
    }

    fn for_each_away(&mut self, source: &Source, each: &mut dyn FnMut(&RelPath, u64)) {
        let Some(away) = &mut self.away else { return };
        let is_same = |tree: &Tree| tree.root().has_same_entries(source.tree.root());
        if away.left.as_ref().is_none_or(|(tree, _)| !is_same(tree)) {
            away.left = Some((source.tree.clone(), away.changes(source).collect()));
        }
        let left = away.left.iter().flat_map(|(_, left)| left);
        left.filter(|(path, _)| !away.stuck.contains(path)).for_each(|(path, bytes)| each(path, *bytes));
    }

    /// Nothing is left to do.
    fn settle(&mut self, events: &dyn Report) {
        if std::mem::take(&mut self.has_told) {
            events.event(Event::Behind(Behind::default()));
        }
        self.since.clear();
        (self.others_since, self.begun_at, self.look_at) = (None, None, None);
    }

    fn count(
        &mut self,
        events: &dyn Report,
        for_each_left: impl FnOnce(&mut Self, &mut dyn FnMut(&RelPath, u64)),
    ) -> Option<Instant> {
        let now = Instant::now();
        let look_at = *self.look_at.get_or_insert(now + LOOK_EVERY);
        let begun_at = *self.begun_at.get_or_insert(now);
        if now < look_at {
            return Some(look_at);
        }
        let before = std::mem::take(&mut self.since);
        let others_before = self.others_since.take();
        // What is new now began to wait when this stretch did, or since the last look: the difference is small.
        let new_since = if self.has_told { now } else { begun_at };
        let unlisted_since = others_before.filter(|_| before.len() == REMEMBERED).unwrap_or(new_since);
        let (mut behind, mut oldest) = (Behind::default(), now);
        let (mut kept, mut others) = (BTreeMap::new(), None::<Instant>);
        for_each_left(self, &mut |path, bytes| {
            behind.changes += 1;
            behind.content_bytes += bytes;
            let since = before.get(path).copied().unwrap_or(unlisted_since);
            oldest = oldest.min(since);
            if kept.len() < REMEMBERED {
                kept.insert(path.clone(), since);
            } else {
                others = Some(others.map_or(since, |others| others.min(since)));
            }
        });
        (self.since, self.others_since) = (kept, others);
        behind.oldest_ms = (now - oldest).as_millis() as u64;
        if behind.changes > 0 || self.has_told {
            self.has_told = behind.changes > 0;
            events.event(Event::Behind(behind));
        }
        let look_at = now + LOOK_EVERY.max(now.elapsed() * LOOK_SHARE);
        self.look_at = Some(look_at);
        Some(look_at)
    }
}

impl Away {
    fn changes(&self, source: &Source) -> impl Iterator<Item = (RelPath, u64)> + use<> {
        let want = project(&source.tree, &self.kept);
        let changes = plan(&self.have, &want, &source.untouched).changes;
        changes.into_iter().map(|change| (change.path().clone(), change.content_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<Behind>>);

    impl Report for Told {
        fn event(&self, event: Event) {
            if let Event::Behind(behind) = event {
                self.0.lock().expect("no test panics in it").push(behind);
            }
        }
    }

    fn path(name: &str) -> RelPath {
        RelPath::parse(name.as_bytes()).expect("a path")
    }

    /// Counts these now, whenever it was counted last.
    fn count(backlog: &mut Backlog, told: &Told, left: &[&str]) -> Behind {
        backlog.look_at = Some(Instant::now());
        backlog.count(told, |_, each| left.iter().for_each(|name| each(&path(name), 10)));
        *told.0.lock().expect("no test panics in it").last().expect("it was told")
    }

    fn ago(backlog: &mut Backlog, by: Duration) {
        backlog.since.values_mut().for_each(|since| *since -= by);
        backlog.begun_at = backlog.begun_at.map(|at| at - by);
    }

    #[test]
    fn the_oldest_counts_as_long_as_it_waits() {
        let (mut backlog, told) = (Backlog::default(), Told::default());
        count(&mut backlog, &told, &["a"]);
        ago(&mut backlog, Duration::from_secs(60));
        let both = count(&mut backlog, &told, &["a", "b"]);
        assert_eq!((both.changes, both.content_bytes, both.oldest_ms / 1000), (2, 20, 60));
        ago(&mut backlog, Duration::from_secs(60));
        let one = count(&mut backlog, &told, &["b"]);
        assert_eq!((one.changes, one.oldest_ms / 1000), (1, 60));
    }

    #[test]
    fn the_first_second_is_silent_and_counts() {
        let (mut backlog, told) = (Backlog::default(), Told::default());
        backlog.count(&told, |_, each| each(&path("a"), 1));
        assert!(told.0.lock().expect("no test panics in it").is_empty());
        backlog.begun_at = backlog.begun_at.map(|at| at - Duration::from_secs(1));
        assert!(count(&mut backlog, &told, &["a"]).oldest_ms >= 1000);
    }

    #[test]
    fn it_is_told_once_that_nothing_is_left() {
        let (mut backlog, told) = (Backlog::default(), Told::default());
        count(&mut backlog, &told, &["a"]);
        backlog.settle(&told);
        backlog.settle(&told);
        let told = told.0.lock().expect("no test panics in it");
        assert_eq!(told.iter().map(|behind| behind.changes).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn more_than_are_remembered_keep_their_age() {
        let (mut backlog, told) = (Backlog::default(), Told::default());
        let names: Vec<String> = (0..REMEMBERED + 5).map(|n| format!("{n:06}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        count(&mut backlog, &told, &names);
        ago(&mut backlog, Duration::from_secs(60));
        backlog.others_since = backlog.others_since.map(|since| since - Duration::from_secs(50));
        let last = count(&mut backlog, &told, &names[REMEMBERED..]);
        assert_eq!((last.changes, last.oldest_ms / 1000), (5, 50));
    }
}
