//! The watch against a real kernel. Nothing here sleeps: each test waits for the signals it needs.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// A caller that keeps the contract: add, list, go on with what was not watched.
struct Caller {
    folder: tempfile::TempDir,
    watch: Watch,
    signals: Signals,
    /// Files that a listing has shown.
    seen: BTreeSet<PathBuf>,
    n_listed: usize,
}

impl Caller {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (watch, signals) = Watch::new(folder.path().to_path_buf()).expect("it watches");
        let mut caller = Self { folder, watch, signals, seen: BTreeSet::new(), n_listed: 0 };
        caller.look_at(&RelPath::root());
        caller
    }

    fn at(&self, text: &str) -> PathBuf {
        self.folder.path().join(text)
    }

    fn add(&self, dir: &RelPath) -> Option<Added> {
        let stat = fs::symlink_metadata(self.folder.path().join(dir.as_path())).ok()?;
        stat.is_dir().then(|| self.watch.add(dir, (stat.dev(), stat.ino())))
    }

    fn look_at(&mut self, dir: &RelPath) {
        if self.add(dir).is_some_and(|added| added != Added::Gone) {
            self.list(dir);
        }
    }

    fn list(&mut self, dir: &RelPath) {
        self.n_listed += 1;
        let Ok(entries) = fs::read_dir(self.folder.path().join(dir.as_path())) else { return };
        for entry in entries.flatten() {
            let below = entry.path();
            let below = below.strip_prefix(self.folder.path()).expect("it lies below");
            let Ok(path) = RelPath::parse(below.as_os_str().as_encoded_bytes()) else { continue };
            match entry.file_type() {
                Ok(sort) if sort.is_dir() => {
                    if matches!(self.add(&path), Some(added) if added != Added::Already && added != Added::Gone)
                    {
                        self.list(&path);
                    }
                }
                Ok(_) => {
                    self.seen.insert(below.to_path_buf());
                }
                Err(_) => {}
            }
        }
    }

    /// Acts on signals until `is_done`; panics when there are no more.
    async fn follow(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            let waited = tokio::time::timeout(Duration::from_secs(20), self.signals.recv()).await;
            let signal = waited.expect("another signal comes").expect("the watch runs");
            match signal {
                Signal::Changed { dir } => self.look_at(&dir),
                Signal::Rescan => self.look_at(&RelPath::root()),
            }
        }
    }

    async fn follow_to(&mut self, text: &str) {
        self.follow(|caller| caller.seen.contains(Path::new(text))).await;
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

#[tokio::test]
async fn a_burst_of_files_in_fresh_directories_is_found_whole() {
    let mut caller = Caller::new();
    let root = caller.folder.path().to_path_buf();
    let names: BTreeSet<PathBuf> =
        (0..2_000).map(|n| PathBuf::from(format!("{}/{}/{}/f{n}", n % 7, n % 31, n % 97))).collect();
    let to_write = names.clone();
    let writer = std::thread::spawn(move || {
        for name in &to_write {
            let file = root.join(name);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
            fs::write(file, b"x").expect("a file");
        }
    });
    caller.follow(|caller| caller.seen.len() == 2_000).await;
    writer.join().expect("the writer ends");
    assert_eq!(caller.seen, names);
}

#[tokio::test]
async fn a_directory_deleted_and_made_again_is_watched_again() {
    let mut caller = Caller::new();
    for round in 0..20 {
        fs::create_dir(caller.at("a")).expect("a folder");
        fs::write(caller.at(&format!("a/first{round}")), b"x").expect("a file");
        caller.follow_to(&format!("a/first{round}")).await;
        fs::write(caller.at(&format!("a/second{round}")), b"x").expect("a file");
        caller.follow_to(&format!("a/second{round}")).await;
        fs::remove_dir_all(caller.at("a")).expect("it goes");
    }
}

#[tokio::test]
async fn a_change_in_a_renamed_directory_is_seen() {
    let mut caller = Caller::new();
    fs::create_dir_all(caller.at("a/x")).expect("a folder");
    fs::write(caller.at("a/x/one"), b"x").expect("a file");
    caller.follow_to("a/x/one").await;
    fs::rename(caller.at("a"), caller.at("b")).expect("it moves");
    caller.follow_to("b/x/one").await;
    fs::write(caller.at("b/x/two"), b"x").expect("a file");
    caller.follow_to("b/x/two").await;
    // The old name again, with another directory behind it.
    fs::create_dir_all(caller.at("a/x")).expect("a folder");
    fs::write(caller.at("a/x/three"), b"x").expect("a file");
    caller.follow_to("a/x/three").await;
    fs::write(caller.at("a/x/four"), b"x").expect("a file");
    fs::write(caller.at("b/x/five"), b"x").expect("a file");
    caller.follow_to("a/x/four").await;
    caller.follow_to("b/x/five").await;
}

#[tokio::test]
async fn a_directory_moved_away_and_back_is_still_watched() {
    let mut caller = Caller::new();
    fs::create_dir_all(caller.at("a/x")).expect("a folder");
    caller.follow(|caller| caller.watch.n_watched() == 3).await;
    for round in 0..20 {
        fs::rename(caller.at("a"), caller.at("t")).expect("it moves");
        fs::rename(caller.at("t"), caller.at("a")).expect("it moves back");
        let name = format!("a/x/f{round}");
        // Only once the events so far were acted on can this one show that x is watched.
        caller.look_at(&RelPath::root());
        fs::write(caller.at(&name), b"x").expect("a file");
        caller.follow_to(&name).await;
    }
}

#[tokio::test]
async fn swapped_directories_are_both_watched() {
    let mut caller = Caller::new();
    for name in ["a", "b"] {
        fs::create_dir_all(caller.at(name).join("x")).expect("a folder");
    }
    caller.follow(|caller| caller.watch.n_watched() == 5).await;
    for round in 0..20 {
        for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
            fs::rename(caller.at(from), caller.at(to)).expect("it moves");
        }
        for name in ["a", "b"] {
            let name = format!("{name}/x/f{round}");
            fs::write(caller.at(&name), b"x").expect("a file");
            caller.follow_to(&name).await;
        }
    }
}

#[tokio::test]
async fn reading_and_listing_raise_no_signal() {
    let mut caller = Caller::new();
    fs::create_dir(caller.at("a")).expect("a folder");
    fs::write(caller.at("a/f"), b"x").expect("a file");
    caller.follow_to("a/f").await;
    fs::create_dir(caller.at("mark1")).expect("a folder");
    caller.follow(|caller| caller.watch.n_watched() == 3).await;
    for _ in 0..100 {
        fs::read(caller.at("a/f")).expect("it is there");
        fs::read_dir(caller.at("a")).expect("it is there").count();
    }
    fs::create_dir(caller.at("mark2")).expect("a folder");
    let mut n_signals = 0;
    while caller.watch.n_watched() < 4 {
        let dir = match caller.signals.recv().await.expect("the watch runs") {
            Signal::Changed { dir } => dir,
            Signal::Rescan => RelPath::root(),
        };
        n_signals += usize::from(dir == path("a") && caller.seen.contains(Path::new("a/f")));
        caller.look_at(&dir);
    }
    assert!(n_signals <= 3, "{n_signals} signals for `a`: at most those of writing `a/f` itself");
}

#[tokio::test]
async fn changes_in_the_own_folder_raise_no_signal() {
    let mut caller = Caller::new();
    fs::create_dir(caller.at(".strait")).expect("a folder");
    fs::write(caller.at("f"), b"x").expect("a file");
    caller.follow_to("f").await;
    fs::write(caller.at(".strait/x"), b"x").expect("a file");
    fs::remove_dir_all(caller.at(".strait")).expect("it goes");
    fs::write(caller.at("g"), b"x").expect("a file");
    caller.follow_to("g").await;
    assert_eq!(caller.watch.n_watched(), 1);
    let parsed = |below: &[u8]| {
        let (state, mut signals) = State::new();
        let root = Path::new("/r");
        let path = root.join(std::ffi::OsStr::from_bytes(below));
        let event = notify::Event::new(notify::EventKind::Any).add_path(path);
        translate(root, &state, 0, Ok(event));
        signals.try_recv()
    };
    use std::os::unix::ffi::OsStrExt;
    assert_eq!(parsed(b".strait"), None);
    assert_eq!(parsed(b".strait/stage/x"), None);
    assert_eq!(parsed(b"a/.strait"), Some(Signal::Changed { dir: path("a") }));
}

#[test]
fn lost_events_begin_the_watch_anew() {
    let mut caller = Caller::new();
    fs::create_dir(caller.at("a")).expect("a folder");
    caller.look_at(&RelPath::root());
    assert_eq!(caller.add(&path("a")), Some(Added::Already));
    let overflow = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    translate(&caller.watch.root, &caller.watch.state, 0, Ok(overflow));
    assert_eq!(caller.add(&path("a")), Some(Added::Watching));
    assert_eq!(caller.add(&RelPath::root()), Some(Added::Watching));
    assert_eq!(caller.watch.n_watched(), 2);
    while let Some(signal) = caller.signals.try_recv() {
        if signal == Signal::Rescan {
            return;
        }
    }
    panic!("no rescan was signalled");
}

#[test]
fn a_full_queue_becomes_one_rescan() {
    let (state, mut signals) = State::new();
    let event = || Ok(notify::Event::new(notify::EventKind::Any).add_path("/r/a/b".into()));
    for _ in 0..20_000 {
        translate(Path::new("/r"), &state, 0, event());
    }
    assert_eq!(signals.try_recv(), Some(Signal::Rescan));
    assert_eq!(signals.try_recv(), None);
    translate(Path::new("/r"), &state, 0, event());
    assert_eq!(signals.try_recv(), Some(Signal::Changed { dir: path("a") }));
}

#[test]
fn the_limit_leaves_directories_uncovered_and_is_named() {
    let mut caller = Caller::new();
    caller.watch.most_watches = 3;
    for name in ["a", "b", "c", "d"] {
        fs::create_dir(caller.at(name)).expect("a folder");
    }
    caller.look_at(&RelPath::root());
    assert_eq!((caller.watch.n_watched(), caller.watch.uncovered()), (3, 2));
    let text = caller.watch.uncovered_text().expect("there are uncovered directories");
    assert!(text.starts_with("2 directories") && text.contains("fs.inotify.max_user_watches"), "{text}");
    caller.watch.most_watches = usize::MAX;
    caller.look_at(&RelPath::root());
    assert_eq!((caller.watch.n_watched(), caller.watch.uncovered()), (5, 0));
    assert_eq!(caller.watch.uncovered_text(), None);
}

#[test]
fn what_is_not_the_directory_that_was_meant_is_gone() {
    let caller = Caller::new();
    fs::create_dir(caller.at("a")).expect("a folder");
    fs::write(caller.at("f"), b"x").expect("a file");
    std::os::unix::fs::symlink("/", caller.at("s")).expect("a link");
    assert_eq!(caller.watch.add(&path("a"), (1, 1)), Added::Gone);
    assert_eq!(caller.watch.add(&path("f"), (1, 1)), Added::Gone);
    assert_eq!(caller.watch.add(&path("s"), (1, 1)), Added::Gone);
    assert_eq!(caller.watch.add(&path("s/tmp"), (1, 1)), Added::Gone);
    assert_eq!(caller.watch.add(&path("missing"), (1, 1)), Added::Gone);
    assert_eq!(caller.watch.n_watched(), 1);
}

#[test]
fn removing_ends_all_below_and_nothing_beside() {
    let mut caller = Caller::new();
    for name in ["a/x", "a!", "ab"] {
        fs::create_dir_all(caller.at(name)).expect("a folder");
    }
    caller.look_at(&RelPath::root());
    assert_eq!(caller.watch.n_watched(), 5);
    caller.watch.remove_below(&path("a"));
    assert_eq!(caller.watch.n_watched(), 3);
    assert_eq!(caller.add(&path("ab")), Some(Added::Already));
    assert_eq!(caller.add(&path("a/x")), Some(Added::Watching));
}

#[test]
fn directories_are_added_from_several_threads() {
    let mut caller = Caller::new();
    for number in 0..200 {
        fs::create_dir(caller.at(&format!("d{number}"))).expect("a folder");
    }
    std::thread::scope(|scope| {
        for from in 0..4 {
            let caller = &caller;
            scope.spawn(move || {
                for number in (from..200).step_by(4) {
                    assert_eq!(caller.add(&path(&format!("d{number}"))), Some(Added::Watching));
                }
            });
        }
    });
    caller.look_at(&RelPath::root());
    assert_eq!((caller.watch.n_watched(), caller.n_listed), (201, 2));
}

#[test]
fn a_missing_root_is_an_error() {
    assert!(matches!(Watch::new("/nowhere/at/all".into()), Err(WatchError::Root { .. })));
}
