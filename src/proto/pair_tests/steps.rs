//! The steps of a commit on the disk in memory, which may be killed between any two.

use super::disk::Disk;
use super::drive::Answer;
use super::items::{Body, Item, Items};
use super::partials::Loss;
use crate::model::{Kind, Meta, RelPath, Tag, Time};
use crate::proto::message::Refusal;
use crate::proto::receiver::{Committed, Expect, Step};

impl Disk {
    pub(super) fn commit(&mut self, steps: Vec<Step>, dirs: Vec<(RelPath, Meta)>, answers: &mut Vec<Answer>) {
        for (path, bytes) in std::mem::take(&mut self.edit_before_commit) {
            let meta = Meta { mode: 0o600, mtime: Time { secs: 77, nanos: 7 } };
            self.put_foreign(&path, Body::File(bytes), meta);
        }
        self.groups.push(steps.len());
        if self.loss == Loss::Unsynced && !self.is_killed {
            self.before_group = Some(self.items.clone());
        }
        let mut results = Vec::new();
        for step in steps {
            if self.dies() {
                return;
            }
            results.push(self.step(step));
        }
        for (path, meta) in dirs {
            if self.dies() {
                return;
            }
            if let Some(item) = self.items.get_mut(&path) {
                item.meta = meta;
            }
        }
        if self.dies() {
            return;
        }
        self.before_group = None;
        let is_uncertain = self.syncs_that_fail > 0;
        if is_uncertain {
            self.syncs_that_fail -= 1;
            results.fill(Err(Refusal::Quota));
        }
        let refused = is_uncertain.then_some(Refusal::Quota);
        answers.push(Answer::Committed(Committed { results, refused, is_uncertain }));
    }

    fn dies(&mut self) -> bool {
        self.n_steps += 1;
        match &mut self.kill_at {
            Some(0) => self.is_killed = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.is_killed
    }

    fn step(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Install { staged, path, meta, expect } => {
                let bytes = self.staged(staged);
                self.check(&path, &expect)?;
                self.refuse(&path)?;
                self.install(path, meta, Body::File(bytes))
            }
            Step::Link { path, target, mtime, expect } => {
                self.check(&path, &expect)?;
                self.refuse(&path)?;
                let meta = Meta { mode: 0, mtime };
                self.install(path, meta, Body::Link(target.as_bytes().to_vec()))
            }
            Step::MakeDir { path, meta } => {
                self.refuse(&path)?;
                match self.items.get_mut(&path) {
                    Some(item) if item.kind() == Kind::Dir => item.meta = meta,
                    Some(_) => return Err(Refusal::WrongKind),
                    None => self.install(path, meta, Body::Dir)?,
                }
                Ok(())
            }
            Step::SetMeta { path, kind, meta } => match self.items.get(&path) {
                Some(item) if item.kind() == kind => {
                    let (body, hash) = (item.body.clone(), self.known.get(&item.stamp).copied());
                    self.refuse(&path)?;
                    let stamp = self.stamp();
                    self.known.extend(hash.map(|hash| (stamp, hash)));
                    self.items.insert(path, Item { meta, body, stamp });
                    Ok(())
                }
                _ => Err(Refusal::Drifted { tag: Tag::UNKNOWN }),
            },
            Step::Move { from, to, moved, replaced } => {
                self.check(&from, &moved)?;
                self.check(&to, &replaced)?;
                self.refuse(&to)?;
                self.rename(&from, &to)
            }
            Step::Rotate { ring } => {
                let taken: Vec<Items> = ring.iter().map(|path| self.take(path)).collect();
                for (items, path) in taken.into_iter().zip(ring.iter().cycle().skip(1)) {
                    self.give(path, items);
                }
                ring.iter().for_each(|path| self.touch(path));
                Ok(())
            }
            Step::Remove { path, expect } => {
                self.check(&path, &expect)?;
                self.refuse(&path)?;
                self.take(&path);
                self.touch(&path);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, path: &RelPath) -> Result<(), Refusal> {
        match self.refuses.get_mut(path) {
            Some((why, times)) if *times > 0 => {
                *times -= 1;
                Err(why.clone())
            }
            _ => Ok(()),
        }
    }

    fn check(&self, path: &RelPath, expect: &Expect) -> Result<(), Refusal> {
        let fits = match (self.items.get(path), expect) {
            (None, Expect::Nothing) => true,
            (Some(item), Expect::Dir) => item.kind() == Kind::Dir,
            (Some(item), Expect::Leaf(leaf)) if item.kind() != Kind::Dir => {
                let is = item.leaf();
                let hash = self.known.get(&item.stamp).copied().unwrap_or(item.leaf_hash());
                let whole = leaf.content.whole();
                is.meta == leaf.meta && is.size == leaf.size && whole.is_none_or(|whole| whole == hash)
            }
            _ => false,
        };
        let tag = || self.items.get(path).map_or(Tag::UNKNOWN, |item| item.leaf_hash().tag());
        if fits { Ok(()) } else { Err(Refusal::Drifted { tag: tag() }) }
    }

    fn install(&mut self, path: RelPath, meta: Meta, body: Body) -> Result<(), Refusal> {
        let parent = path.parent();
        if !parent.is_root() && self.items.get(&parent).is_none_or(|item| item.kind() != Kind::Dir) {
            return Err(Refusal::NoParent);
        }
        let stamp = self.stamp();
        let item = Item { meta, body, stamp };
        self.known.insert(stamp, item.leaf_hash());
        self.items.insert(path.clone(), item);
        self.touch(&path);
        Ok(())
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), Refusal> {
        let parent = to.parent();
        if !parent.is_root() && self.items.get(&parent).is_none_or(|item| item.kind() != Kind::Dir) {
            return Err(Refusal::NoParent);
        }
        let taken = self.take(from);
        self.take(to);
        self.give(to, taken);
        self.touch(from);
        self.touch(to);
        Ok(())
    }

    /// A rename in a directory changes its time.
    fn touch(&mut self, path: &RelPath) {
        let secs = 1_000_000 + self.stamp() as i64;
        if let Some(item) = self.items.get_mut(&path.parent()) {
            item.meta.mtime = Time { secs, nanos: 1 };
        }
    }

    fn take(&mut self, path: &RelPath) -> Items {
        let below: Vec<_> = self.items.keys().filter(|other| other.is_at_or_below(path)).cloned().collect();
        let strip = |full: &RelPath| {
            let rest = full.as_bytes()[path.as_bytes().len()..].strip_prefix(b"/").unwrap_or_default();
            RelPath::parse(rest).expect("a path below")
        };
        below.iter().filter_map(|full| Some((strip(full), self.items.remove(full)?))).collect()
    }

    fn give(&mut self, path: &RelPath, items: Items) {
        for (below, item) in items {
            let full = below.names().fold(path.clone(), |path, name| path.join(&name).expect("a path"));
            self.items.insert(full, item);
        }
    }
}
