//! What the machine tells, carried on: to people, to the shadow and to the cache.

use super::super::ahead::remember;
use super::super::origin::keep_root;
use super::super::pass::{Before, told};
use super::{Ashore, Session};
use crate::client::event::Event;
use crate::model::{Meta, Tree};
use crate::plan::change::Change;
use crate::proto::message::{Keeps, RootId, RootState, ScopeId};
use crate::proto::sender::{Ending, News};
use crate::server::contents::KnownContents;
use crate::store::Acknowledged;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The acknowledged tree is written to the cache at most this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// A destination that hashes for longer than this is waited for aloud.
const TELL_HASHING_AFTER: Duration = Duration::from_secs(2);

/// What a destination was last known to hold under a scope; what it has in common with `like` is not loaded again.
pub fn acknowledged(
    known: &KnownContents,
    scope: &ScopeId,
    root_id: &RootId,
    like: Option<&Tree>,
) -> Option<Tree> {
    let cache = known.cache();
    let kept = cache.acknowledged(root_id).filter(|kept| kept.scope == *scope)?;
    cache.load_tree(&kept.root, like)
}

impl Session {
    /// Passes on what the machine tells.
    pub(super) fn tell(&mut self, ashore: &Ashore, news: News) {
        match news {
            News::Welcomed(met) => {
                self.tell_keeps(ashore, &met.keeps);
                self.met = Some(met);
                self.refuses(ashore);
            }
            News::Destination(RootState::Hashing { done, total }) if total > 0 => {
                // Said only when it takes a while.
                let since = *self.hashing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= TELL_HASHING_AFTER {
                    ashore.events.event(Event::Waiting {
                        for_what: "the destination to know what it holds".into(),
                        why: format!("{} of {} MiB hashed there", done >> 20, total.div_ceil(1 << 20)),
                    });
                }
            }
            News::Destination(_) => {}
            News::Planned { changes, n_changes, n_files, content_bytes } => {
                self.holdings = None;
                self.plan(ashore, &changes, (n_changes, n_files, content_bytes));
            }
            News::Streamed { path, target_bytes } => {
                self.keep_ahead(ashore);
                self.pass.streamed(path, target_bytes);
            }
            News::Done { change, existed } => {
                self.keep_ahead(ashore);
                self.reached.is_worth = true;
                self.pass.done(&change, existed);
            }
            News::Refused { path, why } => self.pass.skipped(&path, why.why(&path)),
            News::Unreadable { path, why } => self.pass.skipped(&path, why),
            News::Stays { path } => {
                let text = format!("{path} stays at the destination: it holds names that are left out");
                ashore.events.event(Event::Note { text });
            }
            News::Held(reason) => {
                self.held = Some(reason.clone());
                ashore.events.event(Event::Held { reason });
            }
            News::AllowanceUsed => self.reached.used_allowance = true,
            News::InStep { root, ending } => {
                self.reached.is_worth = true;
                self.pass.keeps(ashore.shadow.bytes());
                if let Some(snapshot) = &self.snapshot {
                    let held = if ending == Ending::Held { self.held.take() } else { None };
                    if matches!(ending, Ending::Identical | Ending::Partial) && !self.sender.is_dry_run() {
                        keep_root(&ashore.known, &snapshot.root.id());
                    }
                    self.pass.end(root, ending, &snapshot.source.tree, &snapshot.scanned, held);
                }
                if !ashore.once
                    && self.is_worth_a_shadow(ashore)
                    && let Some(tree) = self.sender.destination_tree().cloned()
                {
                    ashore.shadow.keep_soon(&self.root(), tree, &ashore.stop);
                }
                self.save(ashore, true);
                if let Some(met) = self.met.as_ref().filter(|_| !self.sender.is_dry_run()) {
                    remember(&ashore.known, met);
                }
                self.ending = Some(ending);
            }
            News::Ended { text, refused } => self.ended = Some((text, refused)),
        }
    }

    /// Notes what a pass is to do; a dry run tells it, and that is all.
    fn plan(
        &mut self,
        ashore: &Ashore,
        changes: &[Change],
        (n_changes, n_files, content_bytes): (u64, u64, u64),
    ) {
        let have = self.sender.destination_tree();
        if !self.sender.is_dry_run() {
            self.pass.note_removals(changes, have);
            self.pass.planned(n_changes, n_files, content_bytes);
            if n_files > 0 {
                self.keep_ahead(ashore);
            }
            return;
        }
        for change in changes {
            let before = have.and_then(|tree| tree.get(change.path()));
            for told in told(change, before.map(Before::of)) {
                ashore.events.event(Event::Planned(told));
            }
        }
        self.pass.only_planned(n_changes);
    }

    /// A push ends when the shadow is filled: what is there already need not wait for the rest, once the link is
    /// seen to be slow.
    fn keep_ahead(&self, ashore: &Ashore) {
        if ashore.once
            && ashore.shadow.is_worth(self.traffic.is_slow())
            && let (Some(snapshot), Some(tree)) = (&self.snapshot, self.sender.destination_tree())
        {
            ashore.shadow.keep_ahead(&snapshot.root, tree, &snapshot.source.tree, &ashore.stop);
        }
    }

    /// Says once what of metadata the destination does not keep.
    fn tell_keeps(&self, ashore: &Ashore, keeps: &Keeps) {
        let mut less = Vec::new();
        if keeps.time_step_ns > 1 {
            less.push(format!("times in steps of {} ns", keeps.time_step_ns));
        }
        if keeps.mode_mask & Meta::MODE_MASK != Meta::MODE_MASK {
            less.push(format!("of modes the bits {:03o}", keeps.mode_mask & Meta::MODE_MASK));
        }
        if !less.is_empty() && !ashore.has_told_keeps.swap(true, Ordering::Relaxed) {
            let text = format!("the destination keeps {}; the rest is not carried over", less.join(", and "));
            ashore.events.event(Event::Note { text });
        }
    }

    /// Without anything sent there is nothing new for a shadow, and no measure of the link: a busy machine makes
    /// any look slow.
    pub(super) fn is_worth_a_shadow(&self, ashore: &Ashore) -> bool {
        ashore.shadow.is_worth(self.has_read && self.traffic.is_slow())
    }

    /// What was acknowledged, as it was kept.
    pub(super) fn load(&self, ashore: &Ashore, root_id: &RootId) -> Option<Tree> {
        let like = self.snapshot.as_ref().map(|snapshot| &snapshot.source.tree);
        acknowledged(&ashore.known, &ashore.scope, root_id, like)
    }

    /// Writes the acknowledged tree to the cache; what fails costs a walk the next time.
    pub(super) fn save(&mut self, ashore: &Ashore, now: bool) {
        if !now && self.saved_at.elapsed() < SAVE_EVERY {
            return;
        }
        let Some((root_id, tree)) = self.unsaved.take() else { return };
        self.saved_at = Instant::now();
        let Some(root) = tree.root().hash() else { return };
        let cache = ashore.known.cache();
        let kept = Acknowledged { scope: ashore.scope, root, n_entries: tree.n_entries() };
        if let Err(error) = cache.store_tree(&tree).and_then(|()| cache.set_acknowledged(&root_id, &kept)) {
            tracing::warn!(%error, "what the destination holds is not remembered");
        }
        // Not before: of what is to be sent yet the earlier version is wanted.
        let is_in_step =
            self.snapshot.as_ref().is_some_and(|snapshot| snapshot.source.tree.root().hash() == Some(root));
        if is_in_step {
            let known = ashore.known.clone();
            tokio::task::spawn_blocking(move || known.trim(&tree));
        }
    }
}
