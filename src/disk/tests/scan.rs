//! Whole and partial scans.

use super::*;
use crate::disk::{Touched, What, rescan};
use crate::model::{Name, Tree};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

fn tree_of(scan: &Scan) -> Tree {
    Tree::new(scan.root.clone())
}

#[test]
fn a_second_scan_of_a_thousand_files_reads_none() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..1_000 {
        let parent = dir.path().join(format!("{}/{}", n % 7, n % 11));
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(n.to_string()), format!("content {n}")).unwrap();
    }
    let (root, memory) = (root(dir.path()), Memory::default());
    let first = scan_all(&root, &memory).unwrap();
    assert_eq!(memory.counts().files, 1_000);
    let second = scan_all(&root, &memory).unwrap();
    assert_eq!(memory.counts().files, 1_000);
    assert_eq!(first.root.n_below(), 1_000 + 7 + 77);
    assert_eq!(first.root.hash(), second.root.hash());
    assert!(first.root.hash().is_some());
    assert_eq!(first.dirs.len(), 1 + 7 + 77);
    assert!(second.findings.is_healthy());
}

#[test]
fn any_bytes_are_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let names = [b"new\nline".as_slice(), b"\xff\xfe", &[b'x'; 255], b" ", b"*", "é".as_bytes()];
    for name in names {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let scan = scan_all(&root(dir.path()), &Memory::default()).unwrap();
    for name in names {
        let node = scan.root.get(&Name::parse(name).unwrap()).expect("it is in the tree");
        assert_eq!(node.hash(), Some(ContentHash::of(name)));
    }
}

#[test]
fn links_are_read_and_never_entered() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/etc", dir.path().join("link")).unwrap();
    let scan = scan_all(&root(dir.path()), &Memory::default()).unwrap();
    let node = scan.root.get(&Name::parse(b"link").unwrap()).unwrap();
    assert_eq!((node.kind(), node.meta().mode), (Kind::Link, 0));
    assert_eq!(node.hash(), Some(ContentHash::of(b"/etc")));
}

#[test]
fn own_folder_special_files_and_what_the_scope_leaves_out_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".strait", "a", "a/.strait", "no", "no/below"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("a/.hidden"), "").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let filter = |path: &RelPath, _: Kind| match path.split() {
        Some((_, name)) if name.as_bytes() == b".hidden" => Verdict::Hidden,
        Some((_, name)) if name.as_bytes() == b"no" => Verdict::Excluded,
        _ => Verdict::Take,
    };
    let scan = with_options(Hashing::Now, |options| {
        let options = Options { filter: &filter, ..*options };
        crate::disk::scan(&root(dir.path()), &Memory::default(), &options).unwrap()
    });
    let findings = &scan.findings;
    assert_eq!((findings.n_hidden, findings.n_excluded, findings.n_special), (1, 1, 1));
    assert!(findings.has_own_folder);
    let tree = tree_of(&scan);
    assert_eq!(tree.n_entries(), 2);
    assert!(tree.get(&path("a/.strait")).is_some());
}

#[test]
fn files_left_for_later_are_pending() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "bytes").unwrap();
    let (root, memory) = (root(dir.path()), Memory::default());
    let scan = with_options(Hashing::Later, |options| crate::disk::scan(&root, &memory, options).unwrap());
    assert_eq!(scan.findings.pending, [path("f")]);
    assert_eq!(scan.root.hash(), None);
    let hashed = crate::disk::hash_pending(&root, &path("f"), &memory, &AtomicBool::new(false));
    let crate::disk::Hashed::Known(stat, hash) = hashed else { panic!("{hashed:?}") };
    assert_eq!((stat.size, hash), (5, ContentHash::of(b"bytes")));
    let again = with_options(Hashing::Later, |options| crate::disk::scan(&root, &memory, options).unwrap());
    assert!(again.findings.pending.is_empty() && again.root.hash().is_some());
}

#[test]
fn each_directory_is_told_before_it_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let told = Mutex::new(BTreeMap::new());
    // What is made in the moment before the listing must be seen by it.
    let before_list = |told_path: &RelPath, id: DirId| {
        told.lock().unwrap().insert(told_path.clone(), id);
        fs::write(dir.path().join(told_path.as_path()).join("late"), "x").unwrap();
    };
    let scan = with_options(Hashing::Now, |options| {
        let options = Options { before_list: Some(&before_list), ..*options };
        crate::disk::scan(&root(dir.path()), &Memory::default(), &options).unwrap()
    });
    assert_eq!(*told.lock().unwrap(), scan.dirs);
    assert!(["late", "a/late", "a/b/late"].iter().all(|late| tree_of(&scan).get(&path(late)).is_some()));
}

#[test]
fn a_raised_stop_flag_ends_the_scan() {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(true);
    let result = with_options(Hashing::Now, |options| {
        let options = Options { stop: &stop, ..*options };
        crate::disk::scan(&root(dir.path()), &Memory::default(), &options).map(|_| ())
    });
    assert!(matches!(result, Err(ScanError::Stopped)));
}

#[test]
fn a_root_that_was_removed_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    assert!(scan_all(&root, &Memory::default()).is_ok());
    dir.close().unwrap();
    assert!(matches!(scan_all(&root, &Memory::default()), Err(ScanError::Root(_))));
}

#[test]
fn names_too_deep_make_the_listing_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let deep = vec!["d"; 128].join("/");
    fs::create_dir_all(dir.path().join(&deep).join("e")).unwrap();
    let scan = scan_all(&root(dir.path()), &Memory::default()).unwrap();
    assert_eq!(scan.findings.incomplete_dirs().collect::<Vec<_>>(), [&path(&deep)]);
    assert_eq!(scan.root.n_below(), 128);
}

#[test]
fn what_cannot_be_read_is_named_and_left_out() {
    if is_root("what_cannot_be_read_is_named_and_left_out") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("closed/below")).unwrap();
    fs::write(dir.path().join("secret"), "x").unwrap();
    for name in ["closed", "secret"] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o0)).unwrap();
    }
    let memory = Memory::default();
    let scan = scan_all(&root(dir.path()), &memory).unwrap();
    let whats: Vec<_> = scan.findings.unreadable.iter().map(|one| (one.path.clone(), one.what)).collect();
    assert_eq!(whats, [(path("closed"), What::Listing), (path("secret"), What::Entry)]);
    assert!(["closed/any", "closed", "secret"].iter().all(|hidden| scan.findings.hides(&path(hidden))));
    assert!(!scan.findings.hides(&path("secret-2")));
    assert!(tree_of(&scan).get(&path("secret")).is_none());
    assert!(tree_of(&scan).dir(&path("closed")).is_some_and(|dir| dir.entries().is_empty()));
    // At a destination the same is ours to open, and is closed again.
    let opened = scan_all(&Root::open_destination(dir.path()).unwrap(), &memory).unwrap();
    assert!(opened.findings.is_healthy(), "{:?}", opened.findings);
    assert_eq!(opened.root.n_below(), 3);
    assert_eq!(tree_of(&opened).get(&path("secret")).unwrap().meta().mode, 0);
    fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// A small generator: the same seed gives the same edits.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, n_sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n_sides
    }

    fn place(&mut self) -> String {
        let depth = 1 + self.throw(3);
        (0..depth).map(|_| ["a", "b", "a-b", "c"][self.throw(4) as usize]).collect::<Vec<_>>().join("/")
    }
}

/// Makes one random edit and names the directories that a watch would name.
fn edit(dir: &Path, dice: &mut Dice, touched: &mut Touched) {
    let (from, to) = (dice.place(), dice.place());
    let (full_from, full_to) = (dir.join(&from), dir.join(&to));
    let what = dice.throw(6);
    let done = match what {
        0 => fs::create_dir(&full_from).is_ok(),
        1 => fs::write(&full_from, dice.throw(1_000).to_string()).is_ok(),
        2 => fs::remove_file(&full_from).is_ok(),
        3 => fs::remove_dir_all(&full_from).is_ok(),
        4 => fs::rename(&full_from, &full_to).is_ok(),
        _ => symlink(format!("/nowhere/{to}"), &full_from).is_ok(),
    };
    if done {
        touched.dirs.extend([path(&from).parent(), path(&to).parent()]);
        touched.whole.extend((what == 4).then(|| path(&to)));
    }
}

/// Every entry with all that is kept of it, for people.
fn told(tree: &Tree) -> Vec<String> {
    let mut told = Vec::new();
    tree.for_each(&mut |path, node| {
        let size = node.as_leaf().map_or(0, |leaf| leaf.size);
        told.push(format!("{path} {:?} {:?} {size} {}", node.kind(), node.meta(), node.tag()));
    });
    told
}

#[test]
fn a_rescan_of_what_was_touched_equals_a_full_scan() {
    for seed in 1..=40_u64 {
        println!("seed {seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let dir = tempfile::tempdir().unwrap();
        let (root, memory) = (root(dir.path()), Memory::default());
        let scan = scan_all(&root, &memory).unwrap();
        let (mut tree, mut dirs) = (tree_of(&scan), scan.dirs);
        for _ in 0..8 {
            let mut touched = Touched::default();
            for _ in 0..10 {
                edit(dir.path(), &mut dice, &mut touched);
            }
            let rescan = with_options(Hashing::Now, |options| {
                rescan(&root, &tree, &dirs, &touched, &memory, options).unwrap()
            });
            rescan.renew(&mut dirs);
            tree = rescan.tree;
            let full = scan_all(&root, &memory).unwrap();
            assert_eq!(dirs, full.dirs);
            assert_eq!(told(&tree), told(&tree_of(&full)), "{touched:?}");
            assert!(tree.is_whole() && tree.root_hash(&[0; 16]) == tree_of(&full).root_hash(&[0; 16]));
        }
    }
}

#[test]
fn a_rescan_shares_what_it_did_not_list() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::create_dir_all(dir.path().join("c")).unwrap();
    let (root, memory) = (root(dir.path()), Memory::default());
    let scan = scan_all(&root, &memory).unwrap();
    fs::write(dir.path().join("c/f"), "x").unwrap();
    let touched = Touched { dirs: [path("c")].into(), ..Touched::default() };
    let rescan = with_options(Hashing::Now, |options| {
        rescan(&root, &tree_of(&scan), &scan.dirs, &touched, &memory, options).unwrap()
    });
    assert_eq!(rescan.listed, [path("c")].into());
    assert!(rescan.added.is_empty() && rescan.removed.is_empty());
    let (old, new) = (tree_of(&scan), rescan.tree);
    assert!(std::sync::Arc::ptr_eq(old.dir(&path("a")).unwrap(), new.dir(&path("a")).unwrap()));
    assert!(new.get(&path("c/f")).is_some());
}

#[test]
fn a_directory_changed_before_its_watch_began_is_told_as_it_is_then() {
    // Its time was taken before the watch was set: a file made in between left it stale for ever.
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("d");
    fs::create_dir(&below).unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
    let before_list = |listed: &RelPath, _: DirId| {
        if *listed == path("d") {
            fs::File::open(&below).and_then(|below| below.set_modified(then)).unwrap();
        }
    };
    let scan = with_options(Hashing::Now, |options| {
        let options = Options { before_list: Some(&before_list), ..*options };
        super::super::scan(&root(dir.path()), &Memory::default(), &options).unwrap()
    });
    assert_eq!(tree_of(&scan).get(&path("d")).unwrap().meta().mtime.secs, 7);
}
