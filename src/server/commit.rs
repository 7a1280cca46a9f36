//! Commits: a group of steps on the destination, made durable together.
//!
//! The order is always the same: staged data is synced, names change in order, directories get
//! their metadata back, directories are synced, and only then is anything acknowledged.

use super::over::overwrite;
use super::refusal::{refusal_of, refusal_of_stage};
use super::shore::Shore;
use super::stage::{Ready, Stage};
use crate::disk::{Destination, DestinationError, FileType, Stat};
use crate::model::{Kind, Leaf, Meta, RelPath, Tag};
use crate::proto::message::Refusal;
use crate::proto::receiver::{Committed, Expect, Step};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Up to here files and directories of a group are synced one by one; above, the file system is.
const SYNCED_SINGLY: usize = 4;

/// Makes the steps in order, then all of them durable.
pub fn commit(
    shore: &Arc<Shore>,
    stage: &mut Stage,
    steps: Vec<Step>,
    dirs: &[(RelPath, Meta)],
) -> Committed {
    if let Err(error) = shore.destination.begin_group() {
        return all_refused(&steps, &error);
    }
    let mut group =
        Group { shore, stage, is_large: false, has_removed: false, has_record: false, is_uncertain: false };
    let n_installs = steps.iter().filter(|step| matches!(step, Step::Install { .. })).count();
    group.is_large = n_installs > SYNCED_SINGLY;
    if group.is_large
        && let Err(error) = shore.destination.sync_fs()
    {
        return all_refused(&steps, &error);
    }
    let has_metas = steps.iter().any(|step| matches!(step, Step::SetMeta { .. }));
    let mut synced: BTreeSet<RelPath> = steps.iter().flat_map(parents).collect();
    let mut not_made: BTreeSet<RelPath> = BTreeSet::new();
    let mut results: Vec<Result<(), Refusal>> = Vec::with_capacity(steps.len());
    for step in steps {
        let made_dir = if let Step::MakeDir { path, .. } = &step { Some(path.clone()) } else { None };
        let result = group.make(step);
        not_made.extend(made_dir.filter(|_| result.is_err()));
        results.push(result);
    }
    let mut is_uncertain = group.is_uncertain;
    let mut refused = None;
    for (path, meta) in dirs.iter().filter(|(path, _)| !is_in_any(path, &not_made)) {
        if let Err(error) = shore.destination.set_meta(path, meta) {
            // Nothing is told as done: it has a time that the sender would not expect.
            refused = Some(refusal_of(&error));
            is_uncertain = true;
        }
        synced.insert(path.clone());
    }
    // The files of a large group got mode and time after they were synced: a directory that is synced takes
    // those along on ext4 and xfs, on btrfs its names only.
    let (has_removed, needs_all) = (group.has_removed, has_metas || group.has_record || group.is_large);
    match sync(&shore.destination, &synced, needs_all) {
        Ok(()) => shore.destination.end_group(),
        Err(error) => {
            refused = Some(refusal_of(&error));
            is_uncertain = true;
        }
    }
    if has_removed {
        shore.trash.wake();
    }
    if let Some(why) = &refused {
        results.fill(Err(why.clone()));
    }
    Committed { results, refused, is_uncertain }
}

/// Whether a path is one of these or lies below one.
fn is_in_any(path: &RelPath, dirs: &BTreeSet<RelPath>) -> bool {
    let above = std::iter::successors(Some(path.clone()), |path| path.split().map(|(parent, _)| parent));
    !dirs.is_empty() && above.into_iter().any(|path| dirs.contains(&path))
}

/// Before any of them was made.
fn all_refused(steps: &[Step], error: &DestinationError) -> Committed {
    let why = refusal_of(error);
    let results = steps.iter().map(|_| Err(why.clone())).collect();
    Committed { results, refused: Some(why), is_uncertain: false }
}

/// Directories whose names a step changes.
fn parents(step: &Step) -> Vec<RelPath> {
    match step {
        Step::Install { path, .. }
        | Step::MakeDir { path, .. }
        | Step::Link { path, .. }
        | Step::Remove { path, .. } => vec![path.parent()],
        Step::SetMeta { .. } => Vec::new(),
        Step::Move { from, to, .. } => vec![from.parent(), to.parent()],
        Step::Rotate { ring } => ring.iter().map(RelPath::parent).collect(),
    }
}

fn sync(
    destination: &Destination,
    dirs: &BTreeSet<RelPath>,
    needs_all: bool,
) -> Result<(), DestinationError> {
    if dirs.len() > SYNCED_SINGLY || needs_all {
        return destination.sync_fs();
    }
    for dir in dirs {
        match destination.sync_dir(dir) {
            // It was removed later in the same group.
            Err(DestinationError::Missing { .. } | DestinationError::WrongKind { .. }) => {}
            result => result?,
        }
    }
    Ok(())
}

struct Group<'g> {
    shore: &'g Shore,
    stage: &'g mut Stage,
    is_large: bool,
    has_removed: bool,
    /// Something lies in the trash that only a sync of the whole file system makes durable there.
    has_record: bool,
    /// A step failed when a part of it was made.
    is_uncertain: bool,
}

impl Group<'_> {
    fn make(&mut self, step: Step) -> Result<(), Refusal> {
        let destination = &self.shore.destination;
        match step {
            Step::Install { staged, path, meta, .. } => self.install(staged, &path, &meta),
            Step::MakeDir { path, meta } => {
                let made = self.with_room(|| destination.make_dir(&path, &meta));
                made.map(drop).map_err(|error| refusal_of(&error))
            }
            Step::Link { path, target, mtime, .. } => {
                self.keep_replaced(&path)?;
                let made = self.with_room(|| destination.make_link(&path, target.as_bytes(), mtime));
                made.map(drop).map_err(|error| refusal_of(&error))
            }
            Step::SetMeta { path, kind, meta } => self.set_meta(&path, kind, &meta),
            Step::Move { from, to, moved, replaced } => self.move_entry(&from, &to, &moved, &replaced),
            Step::Rotate { ring } => self.rotate(&ring),
            Step::Remove { path, .. } => match self.remove(&path, self.shore.trash.options().is_on()) {
                // Gone already: it is done.
                Err(DestinationError::Missing { .. } | DestinationError::NoParent { .. }) => Ok(()),
                result => result.map_err(|error| refusal_of(&error)),
            },
        }
    }

    /// Makes what nobody made room for before; once more when there was none and the trash may give it.
    fn with_room<T>(&self, make: impl Fn() -> Result<T, DestinationError>) -> Result<T, DestinationError> {
        match make() {
            Err(error) if error.is_of_space() => {
                self.shore.make_room(0);
                make()
            }
            made => made,
        }
    }

    /// Takes an entry away, into the trash or for good; on a full disk for good.
    fn remove(&mut self, path: &RelPath, keeps: bool) -> Result<(), DestinationError> {
        let destination = &self.shore.destination;
        let removed =
            if keeps { destination.remove(path) } else { destination.discard(path).map(|()| false) };
        self.has_record |= match removed {
            Err(error) if error.is_of_space() => destination.discard(path).map(|()| false),
            removed => removed,
        }?;
        self.has_removed = true;
        Ok(())
    }

    /// Before something is put in place of a file or symlink: the trash may want it.
    fn keep_replaced(&mut self, path: &RelPath) -> Result<(), Refusal> {
        let options = self.shore.trash.options();
        if !(options.keep_replaced && options.is_on()) {
            return Ok(());
        }
        match self.shore.destination.keep_in_trash(path) {
            Ok(has_record) => self.has_record |= has_record,
            Err(error) if error.is_of_space() => {}
            Err(error) => return Err(refusal_of(&error)),
        }
        self.has_removed = true;
        Ok(())
    }

    fn install(
        &mut self,
        staged: crate::proto::receiver::Staged,
        path: &RelPath,
        meta: &Meta,
    ) -> Result<(), Refusal> {
        let destination = &self.shore.destination;
        let of_stage = |error: DestinationError| refusal_of_stage(&error);
        let mut ready = self.stage.take(destination, staged, meta).map_err(of_stage)?;
        let (hash, stop) = (ready.hash, self.stage.stop());
        let over = match ready.standing.take() {
            Some(standing) => overwrite(destination, &mut ready, standing, (path, meta), &stop)?,
            None => None,
        };
        let stat = match over {
            Some(stat) => stat,
            None => self.install_staged(ready, path)?,
        };
        if stat.meta() != *meta {
            return Err(Refusal::CannotKeep);
        }
        self.shore.known.learn(&stat, hash);
        Ok(())
    }

    fn install_staged(&mut self, mut ready: Ready, path: &RelPath) -> Result<Stat, Refusal> {
        if !self.is_large || self.shore.destination.is_in_doubt() {
            ready.file.sync().map_err(|error| refusal_of_stage(&error))?;
        }
        self.keep_replaced(path)?;
        let installed = self.shore.destination.install(ready.file, path);
        self.is_uncertain |= installed.is_err();
        installed.map_err(|not| refusal_of(&not.error))
    }

    fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<(), Refusal> {
        let destination = &self.shore.destination;
        let before = destination.root().stat(path).ok().flatten();
        let stat = destination.set_meta(path, meta).map_err(|error| refusal_of(&error))?;
        if kind == Kind::File {
            self.carry_over(before, &stat, true);
        }
        Ok(())
    }

    /// What was known of a file before an operation of ours is known after it.
    ///
    /// RACE: what somebody else writes between the two looks, with the same size, is seen by its time where the
    /// operation sets none, and where it does only by reading the file.
    fn carry_over(&self, before: Option<Stat>, after: &Stat, sets_time: bool) {
        if let Some(before) = before.filter(|before| is_still(before, after, sets_time))
            && let Some(hash) = self.shore.known.known(&before)
        {
            self.shore.known.learn(after, hash);
        }
    }

    fn move_entry(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        moved: &Expect,
        replaced: &Expect,
    ) -> Result<(), Refusal> {
        let destination = &self.shore.destination;
        let before = destination.root().stat(from).ok().flatten();
        if !is_as_expected(before.as_ref(), moved) {
            return Err(Refusal::Drifted { tag: Tag::UNKNOWN });
        }
        let after = if *replaced == Expect::Nothing {
            destination.rename(from, to)
        } else {
            self.keep_replaced(to)?;
            let after = destination.rename_over(from, to);
            self.is_uncertain |= after.is_err();
            after
        };
        let after = after.map_err(|error| refusal_of(&error))?;
        if after.is_file() {
            self.carry_over(before, &after, false);
        }
        Ok(())
    }

    fn rotate(&mut self, ring: &[RelPath]) -> Result<(), Refusal> {
        let destination = &self.shore.destination;
        let stat = |path| destination.root().stat(path).ok().flatten();
        let before: Vec<Option<Stat>> = ring.iter().map(stat).collect();
        let rotated = destination.rotate(ring);
        self.is_uncertain |= rotated.is_err();
        rotated.map_err(|error| refusal_of(&error))?;
        for (before, path) in before.into_iter().zip(ring.iter().cycle().skip(1)) {
            if let Some(after) = stat(path).filter(Stat::is_file) {
                self.carry_over(before, &after, false);
            }
        }
        Ok(())
    }
}

/// Whether a file is the same after an operation that changes its ctime, and its mtime if that is set.
fn is_still(before: &Stat, after: &Stat, sets_time: bool) -> bool {
    let is_as_old = sets_time || before.mtime == after.mtime;
    before.ino == after.ino && before.size == after.size && is_as_old
}

/// Whether what is at a path is what the machine believes.
///
/// RACE: between this look and the rename somebody may change the entry; the next walk finds it,
/// and the content that was moved is compared by its hash there.
fn is_as_expected(stat: Option<&Stat>, expect: &Expect) -> bool {
    match (stat, expect) {
        (None, expect) => *expect == Expect::Nothing,
        (Some(stat), Expect::Dir) => stat.is_dir(),
        (Some(stat), Expect::Leaf(leaf)) => is_leaf(stat, leaf),
        (Some(_), Expect::Nothing) => false,
    }
}

fn is_leaf(stat: &Stat, leaf: &Leaf) -> bool {
    match leaf.kind {
        Kind::File => stat.is_file() && stat.size == leaf.size && stat.mtime == leaf.meta.mtime,
        Kind::Link => stat.file_type == FileType::Link,
        Kind::Dir => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    // What somebody wrote while a file was moved, with the same size, was taken for its old content for good.
    #[test]
    fn nothing_is_carried_over_to_a_file_that_was_written_while_it_moved() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "bytes").unwrap();
        let root = crate::disk::Root::open_destination(dir.path()).unwrap();
        let before = root.stat(&RelPath::parse(b"f").unwrap()).unwrap().unwrap();
        let time = Time { secs: before.mtime.secs + 1, ..before.mtime };
        let (moved, written) = (Stat { ctime: time, ..before }, Stat { ctime: time, mtime: time, ..before });
        assert!(is_still(&before, &moved, false) && is_still(&before, &written, true));
        assert!(!is_still(&before, &written, false));
        assert!(!is_still(&before, &Stat { size: before.size + 1, ..written }, true));
    }
}
