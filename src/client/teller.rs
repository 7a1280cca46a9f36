//! What is said of a scan: how far it is, and once what of the source is not carried over.

use super::event::{Event, Report, Shown};
use crate::disk::{Findings, Notes, Progress, Unreadable, What};
use crate::model::RelPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often scanning is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Says what is not carried over.
pub fn tell_notes(findings: &Findings, n_attributes: u64, events: &dyn Report) {
    let Notes { n_hardlinked, n_other_owner, n_masked_modes } = findings.notes;
    let note = |n: u64, one: &str, many: &str| match n {
        0 => {}
        1 => events.event(Event::Note { text: format!("1 {one}") }),
        n => events.event(Event::Note { text: format!("{n} {many}") }),
    };
    note(
        n_hardlinked,
        "file has more than one name; each name is sent as a file of its own",
        "files have more than one name; each name is sent as a file of its own",
    );
    note(
        n_other_owner,
        "entry belongs to another owner than the source directory; owners are not kept",
        "entries belong to another owner than the source directory; owners are not kept",
    );
    note(
        n_masked_modes,
        "entry has setuid, setgid or sticky bits; these are not kept",
        "entries have setuid, setgid or sticky bits; these are not kept",
    );
    note(
        n_attributes,
        "entry has extended attributes or an ACL; these are not kept",
        "entries have extended attributes or ACLs; these are not kept",
    );
    if findings.has_own_folder {
        events.event(Event::Note { text: "the folder .strait of the source is left out".into() });
    }
}

/// Says that an entry stays out of step, and why.
pub fn tell_skipped(unreadable: &Unreadable, events: &dyn Report) {
    let why = match unreadable.what {
        What::Entry => format!("cannot be read: {}", unreadable.error),
        What::Listing | What::Unfit => format!("cannot be listed: {}", unreadable.error),
    };
    events.event(Event::Skipped { path: Shown::from(&unreadable.path), why });
}

/// Names a file that cannot be sent as it was at any one moment.
pub fn tell_unstable(path: &RelPath, events: &dyn Report) {
    let why = "it was written to each time it was read: push again when it rests".to_owned();
    events.event(Event::Skipped { path: Shown::from(path), why });
}

/// Tells how far a scan is, while it runs.
pub struct Teller {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Teller {
    pub fn start(progress: Arc<Progress>, events: &'static dyn Report) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            loop {
                std::thread::park_timeout(TELL_EVERY);
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                events.event(Event::Scanning {
                    entries: load(&progress.entries),
                    bytes_hashed: load(&progress.bytes_hashed),
                    bytes_to_hash: load(&progress.bytes_to_hash),
                });
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
