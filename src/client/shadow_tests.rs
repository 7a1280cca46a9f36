//! The shadow gives back what it was given, or nothing.

use super::*;
use crate::model::RelPath;
use crate::model::{Leaf, Meta, Node, Time};
use std::fs;
use std::sync::Condvar;
use std::sync::atomic::AtomicUsize;
use tempfile::TempDir;

struct World {
    folder: TempDir,
    root: Root,
    tree: Tree,
}

fn noise(n_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("src")).expect("a source");
        let root = Root::open(&folder.path().join("src")).expect("a root");
        Self { folder, root, tree: Tree::default() }
    }

    /// A file of the source, acknowledged; later ones changed later.
    fn put(&mut self, name: &str, bytes: &[u8], secs: i64) -> ContentHash {
        fs::write(self.folder.path().join("src").join(name), bytes).expect("a file");
        let hash = ContentHash::of(bytes);
        let meta = Meta { mode: 0o644, mtime: Time { secs, nanos: 0 } };
        let leaf = Leaf::file(meta, bytes.len() as u64, hash);
        let path = RelPath::parse(name.as_bytes()).expect("a path");
        self.tree.insert(&path, Node::Leaf(leaf)).expect("a place");
        hash
    }

    fn shadow(&self, bytes: u64) -> Arc<Shadow> {
        Arc::new(Shadow::new(self.folder.path().join("shadow"), ShadowSize::Bytes(bytes)))
    }

    fn keep(&self, shadow: &Shadow) {
        shadow.keep(&self.root, &self.tree, &|| false);
    }
}

/// The whole of a content.
fn whole(shadow: &Arc<Shadow>, hash: &ContentHash, size: usize) -> Option<Vec<u8>> {
    match shadow.small(hash, size as u64) {
        Some(bytes) => Some(bytes),
        None => shadow.basis(hash, size as u64)?.read(0..size as u64),
    }
}

#[test]
fn what_is_kept_comes_back_in_any_ranges() {
    let mut world = World::new();
    let (large, middle, small) = (noise(1_000_000, 1), noise(60_000, 2), b"a few words".to_vec());
    let hashes =
        [world.put("large", &large, 1), world.put("middle", &middle, 2), world.put("small", &small, 3)];
    let shadow = world.shadow(GIB);
    world.keep(&shadow);
    drop(shadow);
    let shadow = world.shadow(GIB);
    let mut basis = shadow.basis(&hashes[0], 1_000_000).expect("it is held");
    for range in [0..10, 5..900_000, 32_511..32_513, 999_999..1_000_000, 0..1_000_000, 100..200] {
        let expected = &large[range.start as usize..range.end as usize];
        assert!(basis.read(range.clone()).as_deref() == Some(expected), "{range:?}");
    }
    assert_eq!(basis.read(0..1_000_001), None);
    assert_eq!(basis.read(7..7), None);
    assert_eq!(shadow.small(&hashes[1], 60_000), Some(middle));
    assert_eq!(shadow.small(&hashes[2], 11), Some(small));
    assert_eq!(shadow.small(&hashes[2], 12), None);
    assert!(shadow.basis(&hashes[0], 999_999).is_none());
}

#[test]
fn a_new_version_adds_only_its_new_pieces_and_the_old_one_goes() {
    let mut world = World::new();
    let mut bytes = noise(3_000_000, 3);
    let old = world.put("file", &bytes, 1);
    let shadow = world.shadow(GIB);
    world.keep(&shadow);
    let before = shadow.bytes();
    bytes[1_500_000] ^= 1;
    let new = world.put("file", &bytes, 2);
    world.keep(&shadow);
    assert!(shadow.basis(&old, 3_000_000).is_none());
    assert!(whole(&shadow, &new, bytes.len()) == Some(bytes));
    assert!(shadow.bytes() <= before + 100, "{before} and then {}", shadow.bytes());
}

#[test]
fn the_budget_holds_and_the_latest_changed_stay() {
    let mut world = World::new();
    let hashes: Vec<ContentHash> = (0..40)
        .map(|number| world.put(&format!("{number}"), &noise(200_000, number as u64), number))
        .collect();
    let budget = 3_000_000;
    let shadow = world.shadow(budget);
    world.keep(&shadow);
    assert!(shadow.bytes() <= budget, "{}", shadow.bytes());
    let held: Vec<bool> = hashes.iter().map(|hash| shadow.basis(hash, 200_000).is_some()).collect();
    let n_held = held.iter().filter(|held| **held).count();
    assert!(n_held >= 7, "{n_held}");
    assert!(held[40 - n_held..].iter().all(|held| *held), "the latest: {held:?}");
}

#[test]
fn a_smaller_budget_drops_what_is_too_much() {
    let mut world = World::new();
    for number in 0..20 {
        world.put(&format!("{number}"), &noise(100_000, number as u64), number);
    }
    let shadow = world.shadow(GIB);
    world.keep(&shadow);
    assert!(shadow.bytes() > 2_000_000);
    drop(shadow);
    let shadow = world.shadow(500_000);
    world.put("one more", b"x", 50);
    world.keep(&shadow);
    assert!(shadow.bytes() <= 500_000, "{}", shadow.bytes());
}

#[test]
fn a_file_that_changed_meanwhile_is_not_kept_under_its_old_name() {
    let mut world = World::new();
    let hash = world.put("file", &noise(300_000, 4), 1);
    fs::write(world.folder.path().join("src/file"), noise(300_000, 5)).expect("another content");
    let shadow = world.shadow(GIB);
    world.keep(&shadow);
    assert!(shadow.basis(&hash, 300_000).is_none());
    // Its pieces go with the next round.
    world.put("file", &noise(10, 6), 2);
    world.keep(&shadow);
    assert!(shadow.bytes() < 2_000, "{}", shadow.bytes());
}

#[test]
fn a_shadow_of_nothing_makes_no_folder() {
    let mut world = World::new();
    let hash = world.put("file", b"words", 1);
    let shadow = world.shadow(0);
    assert!(!shadow.is_worth(true));
    world.keep(&shadow);
    assert_eq!(shadow.small(&hash, 5), None);
    assert!(!world.folder.path().join("shadow").exists());
}

#[test]
fn without_a_size_only_a_slow_link_is_worth_it() {
    let shadow = Shadow::new(PathBuf::new(), ShadowSize::Usual);
    assert!(shadow.is_worth(true) && !shadow.is_worth(false));
    assert!(Shadow::new(PathBuf::new(), ShadowSize::Bytes(1)).is_worth(false));
}

#[test]
fn without_a_size_a_push_fills_it_for_as_long_as_it_lasted() {
    let usual = Shadow::new(PathBuf::new(), ShadowSize::Usual);
    assert_eq!(usual.patience(Duration::from_secs(60)), Some(Duration::from_secs(60)));
    assert_eq!(usual.patience(Duration::from_millis(60)), Some(Duration::from_secs(2)));
    let sized = Shadow::new(PathBuf::new(), ShadowSize::Bytes(1));
    assert_eq!(sized.patience(Duration::from_secs(60)), None);
}

#[test]
fn filling_that_was_ended_goes_on_where_it_was_the_latest_changed_first() {
    let mut world = World::new();
    let hashes: Vec<ContentHash> =
        (0..30).map(|n| world.put(&format!("f{n}"), &noise(40_000, n), n as i64)).collect();
    let shadow = world.shadow(GIB);
    let n_asked = AtomicUsize::new(0);
    shadow.keep(&world.root, &world.tree, &|| n_asked.fetch_add(1, Ordering::Relaxed) > 20);
    let is_held = |hash: &ContentHash| shadow.small(hash, 40_000).is_some();
    let n_held = hashes.iter().filter(|hash| is_held(hash)).count();
    assert!((1..30).contains(&n_held), "{n_held}");
    assert!(is_held(&hashes[29]) && !is_held(&hashes[0]));
    world.keep(&shadow);
    assert!(hashes.iter().all(is_held));
}

/// Damage at many places of the file: what still comes back is right, and it can be filled again.
#[test]
fn damage_loses_contents_and_never_changes_them() {
    let mut world = World::new();
    let contents: Vec<Vec<u8>> = (0..6).map(|number| noise(150_000, 10 + number)).collect();
    let hashes: Vec<ContentHash> = contents
        .iter()
        .enumerate()
        .map(|(at, bytes)| world.put(&format!("{at}"), bytes, at as i64))
        .collect();
    let shadow = world.shadow(GIB);
    world.keep(&shadow);
    drop(shadow);
    let file = world.folder.path().join("shadow/cache.redb");
    let sound = fs::read(&file).expect("the file");
    for step in 0..24 {
        let mut bytes = sound.clone();
        let at = 4_096 + step * (bytes.len() - 8_192) / 24;
        bytes[at..at + 64].fill(0xa5);
        fs::write(&file, &bytes).expect("a damaged file");
        let shadow = world.shadow(GIB);
        for (hash, bytes) in hashes.iter().zip(&contents) {
            if let Some(found) = whole(&shadow, hash, bytes.len()) {
                assert!(found == *bytes, "damage at {at}");
            }
        }
        world.put("more", &noise(1_000, 100 + step as u64), 99);
        world.keep(&shadow);
        drop(shadow);
    }
    let shadow = world.shadow(GIB);
    world.put("last", &noise(1_000, 7), 100);
    world.keep(&shadow);
    let n_whole =
        hashes.iter().zip(&contents).filter(|(hash, bytes)| whole(&shadow, hash, bytes.len()).is_some());
    assert!(n_whole.count() > 0, "it was filled again");
}

/// One thread filled it, and a first push waited for that with a core at rest.
#[test]
fn two_threads_fill_it() {
    let mut world = World::new();
    let hashes: Vec<ContentHash> =
        (0..8).map(|n| world.put(&format!("f{n}"), &noise(40_000, n), n as i64)).collect();
    let shadow = world.shadow(GIB);
    let (threads, came) = (Mutex::new(HashSet::new()), Condvar::new());
    shadow.keep(&world.root, &world.tree, &|| {
        let mut seen = threads.lock().expect("nobody panics");
        seen.insert(std::thread::current().id());
        came.notify_all();
        let alone = came.wait_timeout_while(seen, Duration::from_secs(20), |seen| seen.len() < 2);
        drop(alone);
        false
    });
    assert_eq!(threads.into_inner().expect("nobody panics").len(), 2);
    assert!(hashes.iter().all(|hash| shadow.small(hash, 40_000).is_some()));
}

/// All of a first fill came after the pass, and a push waited for it.
#[test]
fn what_stays_is_kept_ahead_and_what_changes_is_not() {
    let mut world = World::new();
    let stays = world.put("stays", &noise(40_000, 1), 1);
    let changes = world.put("changes", &noise(40_000, 2), 1);
    let acknowledged = world.tree.clone();
    let new = world.put("changes", &noise(40_000, 3), 2);
    let root = Arc::new(Root::open(&world.folder.path().join("src")).expect("a root"));
    let (_tell, stop) = watch::channel(false);
    for (budget, is_held) in [(30_000, false), (GIB, true)] {
        let shadow = world.shadow(budget);
        let held = |hash| shadow.small(hash, 40_000).is_some();
        shadow.keep_ahead(&root, &acknowledged, &world.tree, &stop);
        let is_done = || shadow.ahead.lock().expect("sound").as_ref().is_some_and(|a| a.thread.is_finished());
        while !is_done() {
            std::thread::sleep(Duration::from_millis(1));
        }
        shadow.rest();
        assert_eq!((held(&stays), held(&changes), held(&new)), (is_held, false, false));
    }
}
