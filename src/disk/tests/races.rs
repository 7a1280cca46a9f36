//! A directory of the destination is exchanged for a symlink and back, all the time, while an operation below it
//! is tried: whatever it meets, nothing outside of the root is read, made, changed or removed.
//!
//! One test for each operation; those of several steps are in `races/steps.rs`. `STRAIT_FLIPS=1000000` makes it long.

mod steps;

use super::*;
use crate::disk::Destination;
use crate::model::{Meta, Time};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const META: Meta = Meta { mode: 0o604, mtime: Time { secs: 1_500_000_000, nanos: 1 } };
const SECRET: &[u8] = b"outside";
/// Exchanges that a test waits for, at least.
const FLIPS: u64 = 500;
/// Tries after which a race that never went one of its ways is given up.
const TRIES: usize = 200_000;

/// A destination with a directory `flips` that is now a directory, now a symlink to one outside; the other of
/// the two stands at `other`.
struct Yard {
    _dir: tempfile::TempDir,
    destination: Destination,
    inner: PathBuf,
    outer: PathBuf,
    /// The directory inside that flips.
    home: fs::File,
    /// Tries, at least: one with a sync in it takes as long as many exchanges.
    tries_least: usize,
}

/// Everything that an operation could have changed outside.
type Outside = Vec<Entry>;
type Entry = (PathBuf, u32, i64, i64, u64, u64, Vec<u8>);

fn entry(path: &std::path::Path) -> Entry {
    let meta = fs::symlink_metadata(path).unwrap();
    let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    (path.to_owned(), meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ino(), links, bytes)
}

impl Yard {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap(), 20)
    }

    /// Where a sync takes no time, if there is such a place: many more tries.
    fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => Self::of(dir, 2_000),
            Err(_) => Self::new(),
        }
    }

    fn of(dir: tempfile::TempDir, tries_least: usize) -> Self {
        let (inner, outer) = (dir.path().join("dest"), dir.path().join("outer"));
        for top in [inner.join("flips"), outer.clone()] {
            fs::create_dir_all(top.join("sub")).unwrap();
            symlink("target", top.join("link")).unwrap();
        }
        for name in ["file", "sub/file"] {
            fs::write(inner.join("flips").join(name), "inside").unwrap();
            fs::write(outer.join(name), SECRET).unwrap();
        }
        symlink(&outer, inner.join("other")).unwrap();
        let home = fs::File::open(inner.join("flips")).unwrap();
        let destination = Destination::open(root(&inner), [7; 16]).unwrap();
        Self { _dir: dir, destination, inner, outer, home, tries_least }
    }

    fn outside(&self) -> Outside {
        let mut found = vec![entry(&self.outer)];
        for dir in [self.outer.clone(), self.outer.join("sub")] {
            found.extend(fs::read_dir(&dir).unwrap().map(|listed| entry(&listed.unwrap().path())));
        }
        found.sort();
        found
    }

    /// Tries an operation while the names flip; it says whether it went through.
    fn hammer(&self, what: &str, operation: impl FnMut(&Destination, usize) -> bool) {
        self.hammer_at(what, [self.inner.join("flips"), self.inner.join("other")], operation);
    }

    /// The same with other names.
    fn hammer_at(
        &self,
        what: &str,
        [one, other]: [PathBuf; 2],
        operation: impl FnMut(&Destination, usize) -> bool,
    ) {
        let flip = || {
            renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("both stand");
            true
        };
        self.hammer_with(what, flip, operation);
    }

    /// The same with another way to flip, which says whether it has.
    fn hammer_with(
        &self,
        what: &str,
        flip: impl Fn() -> bool + Sync,
        mut operation: impl FnMut(&Destination, usize) -> bool,
    ) {
        let before = self.outside();
        let wanted = std::env::var("STRAIT_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(FLIPS);
        let (n_flips, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let (mut n_done, mut n_refused) = (0, 0);
        std::thread::scope(|scope| {
            // Also when the operation panics: the thread would flip for ever.
            let _stopper = Stopper(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    n_flips.fetch_add(u64::from(flip()), Ordering::Relaxed);
                }
            });
            for n in 0.. {
                match operation(&self.destination, n) {
                    true => n_done += 1,
                    false => n_refused += 1,
                }
                let has_flipped = n_flips.load(Ordering::Relaxed) >= wanted && n >= self.tries_least;
                if has_flipped && (n_done > 0 && n_refused > 0 || n >= TRIES) {
                    break;
                }
            }
        });
        println!("{what}: {n_done} done, {n_refused} refused, {n_flips:?} flips");
        assert!(n_flips.into_inner() >= wanted, "{what}: too few exchanges");
        assert_eq!(self.outside(), before, "{what} reached outside");
        assert!(n_done > 0 && n_refused > 0, "{what}: {n_done} done, {n_refused} refused: no race");
    }
}

struct Stopper<'s>(&'s AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Renames inside, until the name is not there any more.
fn until_moved(yard: &Yard, from: &str, to: &str) {
    while fs::exists(yard.inner.join(from)).unwrap() {
        let _ = yard.destination.rename(&path(from), &path(to));
    }
}

/// Moves an entry back into the directory that flips, by its descriptor: its name may lead outside at any moment.
fn put_back(yard: &Yard, from: &str, to: &str) {
    let _ = renameat_with(CWD, yard.inner.join(from), &yard.home, to, RenameFlags::empty());
}

#[test]
fn opening_a_file_reads_nothing_outside() {
    Yard::new().hammer("open", |destination, _| {
        let Ok(file) = destination.root().open_file(&path("flips/sub/file")) else { return false };
        let mut bytes = [0; 16];
        let n = file.read_at(&mut bytes, 0).unwrap();
        assert_ne!(&bytes[..n], SECRET, "a file outside was read");
        true
    });
}

#[test]
fn a_stat_tells_nothing_of_outside() {
    let yard = Yard::new();
    let outer = fs::metadata(yard.outer.join("file")).unwrap().ino();
    yard.hammer("stat", |destination, _| match destination.root().stat(&path("flips/file")) {
        Ok(Some(stat)) => {
            assert_ne!(stat.ino, outer, "the stat of a file outside");
            true
        }
        Ok(None) | Err(_) => false,
    });
}

#[test]
fn a_link_is_read_inside_only() {
    let yard = Yard::new();
    fs::remove_file(yard.outer.join("link")).unwrap();
    symlink("secret", yard.outer.join("link")).unwrap();
    yard.hammer("readlink", |destination, _| match destination.root().read_link(&path("flips/link")) {
        Ok(target) => {
            assert_eq!(target, b"target", "a link outside was read");
            true
        }
        Err(_) => false,
    });
}

#[test]
fn a_scan_lists_nothing_outside() {
    let yard = Yard::new();
    fs::write(yard.outer.join("only-outside"), "x").unwrap();
    let memory = Memory::default();
    yard.hammer("scan", |destination, _| {
        let Ok(scan) = scan_all(destination.root(), &memory) else { return false };
        let tree = crate::model::Tree::new(scan.root);
        for top in ["flips", "other"] {
            assert!(tree.get(&path(&format!("{top}/only-outside"))).is_none(), "{top}: listed outside");
        }
        tree.get(&path("flips/sub/file")).is_some()
    });
}

#[test]
fn a_directory_is_made_inside_only() {
    Yard::new().hammer("mkdir", |destination, n| {
        destination.make_dir(&path(&format!("flips/made-{}", n % 50)), &META).is_ok()
    });
}

#[test]
fn a_link_is_made_inside_only() {
    Yard::new().hammer("symlink", |destination, n| {
        let at = path(&format!("flips/sub/made-{}", n % 50));
        destination.make_link(&at, b"anything", META.mtime).is_ok()
    });
}

#[test]
fn a_file_is_installed_inside_only() {
    Yard::new().hammer("install", |destination, _| {
        let mut staged = destination.stage().unwrap();
        staged.write(b"new").unwrap();
        destination.install(staged, &path("flips/file")).is_ok()
    });
}

#[test]
fn a_rename_takes_nothing_from_outside_and_puts_nothing_there() {
    let yard = Yard::new();
    yard.hammer("rename", |destination, _| {
        let _ = destination.rename(&path("flips/sub/file"), &path("moved"));
        // An error may come of the look at the new name, when all is done.
        let is_done = fs::exists(yard.inner.join("moved")).unwrap();
        if is_done {
            assert_eq!(fs::read(yard.inner.join("moved")).unwrap(), b"inside");
            until_moved(&yard, "moved", "flips/sub/file");
        }
        is_done
    });
}

#[test]
fn a_rename_over_replaces_nothing_outside() {
    let yard = Yard::new();
    yard.hammer("rename over", |destination, _| {
        fs::write(yard.inner.join("here"), "here").unwrap();
        destination.rename_over(&path("here"), &path("flips/file")).is_ok()
    });
}

#[test]
fn an_exchange_touches_nothing_outside() {
    let yard = Yard::new();
    fs::write(yard.inner.join("here"), "here").unwrap();
    yard.hammer("exchange", |destination, _| {
        destination.exchange(&path("here"), &path("flips/file")).is_ok()
    });
}

#[test]
fn a_removal_takes_nothing_outside() {
    let yard = Yard::new();
    yard.hammer("remove", |destination, n| {
        let is_done = destination.remove(&path("flips/sub")).is_ok();
        if is_done {
            fs::create_dir_all(yard.inner.join(format!("sub-{n}"))).unwrap();
            fs::write(yard.inner.join(format!("sub-{n}/file")), "inside").unwrap();
            until_moved(&yard, &format!("sub-{n}"), "flips/sub");
        }
        is_done
    });
}

#[test]
fn what_is_discarded_lies_inside() {
    let yard = Yard::new();
    yard.hammer("discard", |destination, _| {
        let is_done = destination.discard(&path("flips/file")).is_ok();
        if is_done {
            fs::write(yard.inner.join("again"), "inside").unwrap();
            while !is_put_back(&yard) {}
        }
        is_done
    });
}

fn is_put_back(yard: &Yard) -> bool {
    put_back(yard, "again", "file");
    !fs::exists(yard.inner.join("again")).unwrap()
}

#[test]
fn a_version_is_kept_in_the_trash_from_inside_only() {
    Yard::new().hammer("keep in trash", |destination, _| {
        // What is not there counts as kept: the stat before tells which it was.
        let is_inside = matches!(destination.root().stat(&path("flips/file")), Ok(Some(_)));
        destination.keep_in_trash(&path("flips/file")).is_ok() && is_inside
    });
}

#[test]
fn mode_and_time_are_set_inside_only() {
    Yard::new().hammer("chmod and utimes", |destination, n| {
        let at = ["flips/file", "flips/sub", "flips/sub/file", "flips/link"][n % 4];
        destination.set_meta(&path(at), &META).is_ok()
    });
}

#[test]
fn a_directory_is_opened_up_and_synced_inside_only() {
    Yard::new().hammer("open up, sync", |destination, n| match n % 2 {
        0 => destination.open_up(&path("flips/sub")).is_ok(),
        _ => destination.sync_dir(&path("flips/sub")).is_ok(),
    });
}

#[test]
fn a_pin_holds_nothing_from_outside() {
    Yard::new().hammer("pin", |destination, _| {
        let Ok(pin) = destination.pin(&path("flips/file")) else { return false };
        let mut bytes = [0; 16];
        let n = destination.open_pin(pin).unwrap().read_at(&mut bytes, 0).unwrap();
        assert_ne!(&bytes[..n], SECRET, "a file outside was pinned");
        destination.unpin(pin).unwrap();
        true
    });
}

/// What is staged, and what a removal moves, lies in strait's own folder: it is held open, whatever its name
/// leads to later.
#[test]
fn the_own_folder_is_held_and_never_looked_up_again() {
    let yard = Yard::new();
    let own = yard.inner.join(".strait");
    fs::rename(&own, yard.inner.join("moved-own")).unwrap();
    symlink(&yard.outer, &own).unwrap();
    let before = yard.outside();
    let mut staged = yard.destination.stage().unwrap();
    staged.write(b"new").unwrap();
    yard.destination.install(staged, &path("flips/file")).unwrap();
    yard.destination.remove(&path("flips/sub")).unwrap();
    assert_eq!(yard.outside(), before);
    assert_eq!(fs::read(yard.inner.join("flips/file")).unwrap(), b"new");
}

/// A mode travels with nine bits; what was set here before of the others is not carried to a new file.
#[test]
fn no_file_gets_a_bit_beyond_the_nine() {
    let yard = Yard::new();
    let meta = Meta { mode: 0o7777 & Meta::MODE_MASK, mtime: META.mtime };
    fs::write(yard.inner.join("file"), "old").unwrap();
    let setuid = std::os::unix::fs::PermissionsExt::from_mode(0o6755);
    fs::set_permissions(yard.inner.join("file"), setuid).unwrap();
    let mut staged = yard.destination.stage().unwrap();
    staged.write(b"new").unwrap();
    staged.set_meta(&meta).unwrap();
    yard.destination.install(staged, &path("file")).unwrap();
    assert_eq!(fs::metadata(yard.inner.join("file")).unwrap().mode() & 0o7777, 0o777);
    assert!(!Meta { mode: 0o4755, mtime: META.mtime }.is_valid(), "a peer cannot even say it");
}
