//! How the source's thread scans: everything, or what events named; and what it does when the source
//! is gone or another directory stands in its place.

use super::super::teller::{Teller, tell_notes};
use super::links::Links;
use super::{Failure, Keeper};
use crate::client::event::Event;
use crate::disk::{
    BeforeList, DirId, Hashing, Options, Progress, Root, ScanError, Special, Touched, Verdict, rescan, scan,
};
use crate::model::{Kind, RelPath, Tree};
use crate::plan::scope::Verdict as ScopeVerdict;
use crate::watch::Added;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A source that is gone is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many looks lie between two words about it: a quarter of an hour.
const TELL_LOOKS: u64 = 450;
/// Names that were seen to go and are kept in mind.
const SEEN_GONE: usize = 65_536;
/// Rescans in a row for directories whose watch was lost.
const WATCH_ROUNDS: usize = 8;

impl Keeper {
    /// Scans everything; `false` when the source cannot be scanned and nobody waits for it.
    ///
    /// Another directory under the name of the source becomes the source: whether what is missing
    /// in it may be deleted is for the guard to say.
    pub(super) fn scan_whole(&mut self) -> bool {
        let mut n_looks: u64 = 0;
        loop {
            if self.watches && !self.root.is_still(self.root.path()) {
                if self.is_confined && self.root.path().is_dir() {
                    self.fail.send_replace(Some(Failure::Replaced));
                    return false;
                }
                self.take_root();
            }
            if self.root.is_still(self.root.path()) {
                match self.try_whole() {
                    Ok(()) => return true,
                    Err(ScanError::Stopped) => return false,
                    Err(error) if !self.watches => {
                        self.fail.send_replace(Some(Failure::Unreadable(error.to_string())));
                        return false;
                    }
                    Err(error) => tracing::debug!(%error, "the source cannot be scanned"),
                }
            } else if !self.watches {
                let text = "it was removed or replaced while it was read".to_owned();
                self.fail.send_replace(Some(Failure::Unreadable(text)));
                return false;
            }
            if n_looks.is_multiple_of(TELL_LOOKS) {
                let reason = "the source is not there or cannot be read: removed, renamed or unmounted; nothing is \
                              deleted or changed until it is back";
                self.events.event(Event::Held { reason: reason.into() });
            }
            n_looks += 1;
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Takes the directory that has the name of the source now, if there is one.
    fn take_root(&mut self) {
        let Ok(root) = Root::open(self.root.path()) else { return };
        self.root = Arc::new(root);
        self.told_dirs.clear();
        self.seen_gone = Arc::default();
        self.begin_watch();
    }

    fn try_whole(&mut self) -> Result<(), ScanError> {
        let progress = Arc::new(Progress::default());
        let teller = Teller::start(progress.clone(), self.events);
        let scanned = {
            let contents = self.known.for_scan(false);
            self.with_options(&progress, |root, options| scan(root, &contents, options))
        };
        drop(teller);
        let scanned = scanned?;
        let before = std::mem::replace(&mut self.tree, Tree::new(scanned.root));
        self.note_gone(&before);
        self.dirs = scanned.dirs;
        self.findings = scanned.findings;
        self.links = Links::of(&std::mem::take(&mut self.findings.linked));
        if self.number == 0 {
            let n_attributes = progress.with_attributes.load(Ordering::Relaxed);
            tell_notes(&self.findings, n_attributes, self.events);
        }
        self.publish();
        Ok(())
    }

    pub(super) fn scan_dirs(&mut self, dirs: BTreeSet<RelPath>) {
        if !self.root.is_still(self.root.path()) {
            self.scan_whole();
            return;
        }
        let mut touched = Touched { dirs, whole: BTreeSet::new() };
        for _ in 0..WATCH_ROUNDS {
            let progress = Progress::default();
            let renewed = {
                let contents = self.known.for_scan(false);
                let (tree, dirs) = (&self.tree, &self.dirs);
                self.with_options(&progress, |root, options| {
                    rescan(root, tree, dirs, &touched, &contents, options)
                })
            };
            let renewed = match renewed {
                Ok(renewed) => renewed,
                Err(ScanError::Stopped) => return,
                Err(ScanError::Root(_)) => {
                    self.scan_whole();
                    return;
                }
            };
            let before = std::mem::replace(&mut self.tree, renewed.tree.clone());
            self.note_gone(&before);
            renewed.renew(&mut self.dirs);
            self.take_findings(&renewed.listed, &renewed.findings);
            let dirs =
                if self.watches { self.links.renew(&renewed, &before, &self.tree) } else { BTreeSet::new() };
            touched = Touched { dirs, whole: self.unwatched(&renewed) };
            if touched.whole.is_empty() && touched.dirs.is_empty() {
                break;
            }
        }
        self.publish();
    }

    /// Keeps in mind what went from directories that events named. Everything else that is missing
    /// was not seen to go.
    fn note_gone(&mut self, before: &Tree) {
        let seen_gone = Arc::make_mut(&mut self.seen_gone);
        seen_gone.retain(|path| self.tree.get(path).is_none());
        for told in std::mem::take(&mut self.told_dirs) {
            let Some(dir) = before.dir(&told) else { continue };
            let paths = dir.entries().names().filter_map(|name| told.join(name).ok());
            seen_gone.extend(paths.filter(|path| self.tree.get(path).is_none()));
        }
        if seen_gone.len() > SEEN_GONE {
            seen_gone.clear();
        }
    }

    /// Forgets watches of what is gone; finds directories whose watch was lost, to be scanned whole.
    fn unwatched(&self, renewed: &crate::disk::Rescan) -> BTreeSet<RelPath> {
        let mut lost = BTreeSet::new();
        let Some(watch) = &self.watch else { return lost };
        for path in renewed.removed.iter().filter(|path| !renewed.added.contains_key(*path)) {
            watch.remove_below(path);
        }
        for listed in &renewed.listed {
            let Some(dir) = self.tree.dir(listed) else { continue };
            for (name, node) in dir.entries().iter() {
                let Ok(path) = listed.join(name) else { continue };
                let Some(id) = self.dirs.get(&path).filter(|_| node.kind() == Kind::Dir) else { continue };
                if renewed.added.contains_key(&path) || renewed.listed.contains(&path) {
                    continue;
                }
                if watch.add(&path, (id.dev, id.ino)) == Added::Watching {
                    lost.insert(path);
                }
            }
        }
        lost
    }

    fn with_options<T>(&self, progress: &Progress, work: impl FnOnce(&Root, &Options) -> T) -> T {
        let filter = |path: &RelPath, kind: Kind| match self.scope.verdict(path, kind == Kind::Dir) {
            ScopeVerdict::Take => Verdict::Take,
            ScopeVerdict::Hidden => Verdict::Hidden,
            ScopeVerdict::Excluded => Verdict::Excluded,
        };
        let watch = self.watch.as_ref();
        let before_list = watch.map(|watch| {
            move |path: &RelPath, id: DirId| {
                watch.add(path, (id.dev, id.ino));
            }
        });
        let options = Options {
            filter: &filter,
            before_list: before_list.as_ref().map(|before_list| before_list as BeforeList),
            hashing: Hashing::Now,
            special: Special::LeaveOut,
            n_threads: 0,
            progress,
            stop: &self.stop,
        };
        work(&self.root, &options)
    }
}
