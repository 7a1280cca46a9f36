//! What the cache must hold to: right or absent, whatever becomes of its file.

mod contents;
mod damage;
mod room;

use super::*;
use crate::model::entry::Leaf;
use crate::model::{ContentHash, Kind, Meta, Name, Node, RelPath, Time, Tree};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const PLENTY: u64 = 1 << 30;

/// A small generator of our own: its seed is printed by the tests that use it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn seeded(test: &str) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = since.map_or(1, |since| since.as_nanos() as u64) | 1;
        let seed = std::env::var("STRAIT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
        println!("{test}: STRAIT_SEED={seed}");
        Self(seed)
    }
}

fn hash(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn row(ino: u64) -> StatRow {
    let time = |secs| Time { secs, nanos: 7 };
    let stat = Stat { dev: 3, ino, size: ino * 10, mtime: time(-5), ctime: time(ino as i64) };
    StatRow { stat, hash: hash(ino) }
}

fn file(number: u64) -> Node {
    let meta = Meta { mode: 0o640, mtime: Time { secs: number as i64, nanos: 1 } };
    Node::Leaf(Leaf::file(meta, number, hash(number)))
}

fn sample_tree(n_files: u64) -> Tree {
    let mut tree = Tree::default();
    let dir = || Node::empty_dir(Meta { mode: 0o755, mtime: Time { secs: 9, nanos: 9 } });
    for name in ["a", "a/b", "c", "empty", "twin"] {
        tree.insert(&path(name), dir()).expect("its parent is there");
    }
    for number in 0..n_files {
        tree.insert(&path(&format!("a/b/f{number}")), file(number)).expect("a/b is there");
    }
    tree.insert(&path("c/one"), file(1)).expect("c is there");
    tree.insert(&path("twin/one"), file(1)).expect("twin is there");
    let link = Node::Leaf(Leaf::link(Time { secs: 1, nanos: 2 }, b"a/b"));
    tree.insert(&path("link"), link).expect("the root is there");
    tree
}

fn same(left: &Tree, right: &Tree) -> bool {
    let list = |tree: &Tree| {
        let mut rows = Vec::new();
        tree.for_each(&mut |path, node| rows.push((path.clone(), *node.meta(), node.kind(), node.hash())));
        rows
    };
    list(left) == list(right)
}

/// Fills a cache with a bit of everything, known to [`check_or_absent`].
fn fill(cache: &Cache) {
    cache.learn(&(0..200).map(row).collect::<Vec<_>>()).expect("rows fit");
    cache.store_groups(&hash(1), 77, &vec![5; 70_000], PLENTY).expect("groups fit");
    cache.store_signature(&hash(2), &signature(), PLENTY).expect("a signature fits");
    cache.note_holder(&hash(3), &holder(4)).expect("a holder fits");
    cache.store_tree(&sample_tree(1_500)).expect("a tree fits");
    cache.set_acknowledged(&[1; 16], &acknowledged()).expect("a state fits");
    cache.set_left(&[2; 16], &left_paths()).expect("names fit");
    cache.set_word("client", b"me").expect("a word fits");
    cache.sync().expect("the disk takes it");
}

fn signature() -> Signature {
    Signature { size: 99, block_bytes: 1_021, strong_bytes: 8, entries: vec![3; 40_000] }
}

fn holder(number: u64) -> Holder {
    Holder { dev: 1, ino: number, path: format!("p/{number}").into_bytes() }
}

fn acknowledged() -> Acknowledged {
    let root = sample_tree(1_500).root().hash().expect("a whole tree");
    Acknowledged { scope: [2; 16], root, n_entries: 1_508 }
}

fn left_paths() -> BTreeSet<RelPath> {
    BTreeSet::from([path("x/.y"), path("z")])
}

/// Asserts that each answer is the one [`fill`] put there or none; counts the right ones.
fn check_or_absent(cache: &Cache) -> usize {
    let mut n_right = 0;
    let mut check = |is_absent: bool, is_right: bool, what: &str| {
        assert!(is_absent || is_right, "a wrong answer for {what}");
        n_right += usize::from(is_right);
    };
    let reader = cache.stat_reader();
    for row in (0..200).map(row) {
        for known in [cache.known(&row.stat), reader.known(&row.stat)] {
            check(known.is_none(), known == Some(row.hash), "a stat");
        }
    }
    let groups = cache.groups(&hash(1));
    check(groups.is_none(), groups == Some((77, vec![5; 70_000])), "groups");
    let found = cache.signature(&hash(2));
    check(found.is_none(), found == Some(signature()), "a signature");
    let found = cache.holders(&hash(3));
    check(found.is_empty(), found == [holder(4)], "holders");
    let tree = cache.load_tree(&acknowledged().root, None);
    let is_right = tree.as_ref().is_some_and(|tree| same(tree, &sample_tree(1_500)));
    check(tree.is_none(), is_right, "a tree");
    let found = cache.acknowledged(&[1; 16]);
    check(found.is_none(), found == Some(acknowledged()), "an acknowledged state");
    let found = cache.left(&[2; 16]);
    check(found.is_empty(), found == left_paths(), "names set aside");
    let found = cache.word("client");
    check(found.is_none(), found.as_deref() == Some(b"me"), "a word");
    n_right
}

const ALL_RIGHT: usize = 407;

#[test]
fn everything_stored_is_found_again_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, opened) = Cache::open(folder.path()).expect("it opens");
    assert_eq!(opened, Opened::Fresh);
    fill(&cache);
    assert_eq!(check_or_absent(&cache), ALL_RIGHT);
    drop(cache);
    let (cache, opened) = Cache::open(folder.path()).expect("it opens again");
    assert_eq!(opened, Opened::Found);
    assert_eq!(check_or_absent(&cache), ALL_RIGHT);
    assert_eq!(cache.all_acknowledged(), [([1; 16], acknowledged())]);
    assert_eq!(cache.take_damage(), None);
}

#[test]
fn memory_serves_like_a_file() {
    let cache = Cache::in_memory().expect("memory is there");
    fill(&cache);
    assert_eq!(check_or_absent(&cache), ALL_RIGHT);
}

#[test]
fn a_second_open_is_busy_until_the_first_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, _) = Cache::open(folder.path()).expect("it opens");
    assert!(matches!(Cache::open(folder.path()), Err(CacheError::Busy)));
    drop(cache);
    assert!(Cache::open(folder.path()).is_ok());
}

#[test]
fn a_stat_that_differs_in_any_field_is_unknown() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.learn(&[row(5)]).expect("a row fits");
    let stat = row(5).stat;
    assert_eq!(cache.known(&stat), Some(hash(5)));
    let other = Time { secs: 1, nanos: 1 };
    for changed in [
        Stat { dev: 4, ..stat },
        Stat { ino: 6, ..stat },
        Stat { size: 51, ..stat },
        Stat { mtime: other, ..stat },
        Stat { ctime: other, ..stat },
    ] {
        assert_eq!(cache.known(&changed), None);
    }
}

#[test]
fn a_reader_answers_from_several_threads() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.learn(&(0..1_000).map(row).collect::<Vec<_>>()).expect("rows fit");
    let reader = Arc::new(cache.stat_reader());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let reader = reader.clone();
            scope.spawn(move || {
                assert!((0..1_000).map(row).all(|row| reader.known(&row.stat) == Some(row.hash)));
            });
        }
    });
}

#[test]
fn a_sweep_drops_what_the_scan_did_not_see() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.learn(&(0..10).map(row).collect::<Vec<_>>()).expect("rows fit");
    cache.note_holder(&hash(1), &Holder { dev: 3, ..holder(1) }).expect("a holder fits");
    cache.note_holder(&hash(9), &Holder { dev: 3, ..holder(9) }).expect("a holder fits");
    let seen: HashSet<(u64, u64)> = (0..5).map(|ino| (3, ino)).collect();
    assert_eq!(cache.sweep(&seen).expect("it sweeps"), 5);
    assert_eq!(cache.known(&row(4).stat), Some(hash(4)));
    assert_eq!(cache.known(&row(5).stat), None);
    assert_eq!(cache.holders(&hash(1)).len(), 1);
    assert_eq!(cache.holders(&hash(9)).len(), 0);
}

#[test]
fn the_newest_few_holders_stay_each_file_once() {
    let cache = Cache::in_memory().expect("memory is there");
    for number in [1, 2, 3, 4, 5, 3] {
        cache.note_holder(&hash(0), &holder(number)).expect("a holder fits");
    }
    let found: Vec<u64> = cache.holders(&hash(0)).iter().map(|holder| holder.ino).collect();
    assert_eq!(found, [3, 5, 4, 2]);
}

#[test]
fn equal_directories_of_the_scanned_tree_are_shared_when_a_tree_is_loaded() {
    let cache = Cache::in_memory().expect("memory is there");
    let old = sample_tree(10);
    cache.store_tree(&old).expect("a tree fits");
    let mut scanned = old.clone();
    scanned.insert(&path("c/two"), file(2)).expect("c is there");
    scanned.set_meta(&path("twin"), Meta { mode: 0o700, ..Meta::default() }).expect("twin is there");
    let root = old.root().hash().expect("a whole tree");
    let loaded = cache.load_tree(&root, Some(&scanned)).expect("it is stored");
    assert!(same(&loaded, &old));
    let dir = |tree: &Tree, at| tree.dir(&path(at)).expect("it is there").clone();
    assert!(Arc::ptr_eq(&dir(&loaded, "a"), &dir(&scanned, "a")));
    assert!(!Arc::ptr_eq(&dir(&loaded, "c"), &dir(&scanned, "c")));
    assert!(!Arc::ptr_eq(&dir(&loaded, "twin"), &dir(&scanned, "twin")), "its mode differs");
}

#[test]
fn a_change_writes_only_the_listings_above_it() {
    let cache = Cache::in_memory().expect("memory is there");
    let mut tree = sample_tree(3_000);
    cache.store_tree(&tree).expect("a tree fits");
    let before = n_listings(&cache);
    tree.insert(&path("a/b/f77"), file(78)).expect("a/b is there");
    cache.store_tree(&tree).expect("a tree fits");
    // The root, a, a/b and one part of a/b.
    assert_eq!(n_listings(&cache), before + 4);
    let node = tree.remove(&path("a")).expect("a is there");
    tree.insert(&path("c/a"), node).expect("c is there");
    cache.store_tree(&tree).expect("a tree fits");
    assert_eq!(n_listings(&cache), before + 6, "a move writes the root and the new parent");
}

fn n_listings(cache: &Cache) -> u64 {
    let count = |database: &redb::Database| {
        use redb::{ReadableDatabase, ReadableTableMetadata};
        Ok(Some(database.begin_read()?.open_table(rows::LISTINGS)?.len()?))
    };
    cache.store.read(count).expect("the table is there")
}

#[test]
fn a_tree_that_is_not_stored_is_absent_and_one_not_whole_refused() {
    let cache = Cache::in_memory().expect("memory is there");
    assert!(cache.load_tree(&hash(0), None).is_none());
    assert_eq!(cache.take_damage(), None);
    let mut tree = sample_tree(1);
    let leaf = Leaf { content: crate::model::Content::Unknown, ..*file(1).as_leaf().expect("a leaf") };
    tree.insert(&path("open"), Node::Leaf(leaf)).expect("the root is there");
    assert!(matches!(cache.store_tree(&tree), Err(CacheError::NotWhole)));
}

#[test]
fn an_empty_tree_is_stored_and_loaded() {
    let cache = Cache::in_memory().expect("memory is there");
    let tree = Tree::default();
    cache.store_tree(&tree).expect("a tree fits");
    let root = tree.root().hash().expect("a whole tree");
    assert!(cache.load_tree(&root, None).is_some_and(|loaded| same(&loaded, &tree)));
}

#[test]
fn random_trees_come_back_equal() {
    let mut random = Random::seeded("random trees");
    let cache = Cache::in_memory().expect("memory is there");
    for _ in 0..30 {
        let mut tree = Tree::default();
        let mut folders = vec![RelPath::root()];
        for number in 0..random.below(300) {
            let folder = &folders[random.below(folders.len() as u64) as usize];
            let name = Name::parse(format!("\u{e9}{number}").as_bytes()).expect("a name");
            let at = folder.join(&name).expect("it is short");
            let is_dir = random.below(4) == 0 && at.depth() < 20;
            let node = if is_dir { Node::empty_dir(Meta::default()) } else { file(random.below(50)) };
            tree.insert(&at, node).expect("its parent is there");
            if is_dir {
                folders.push(at);
            }
        }
        cache.store_tree(&tree).expect("a tree fits");
        let root = tree.root().hash().expect("a whole tree");
        assert!(cache.load_tree(&root, None).is_some_and(|loaded| same(&loaded, &tree)));
    }
}

#[test]
fn a_sweep_of_listings_takes_only_what_no_root_reaches() {
    let cache = Cache::in_memory().expect("memory is there");
    let kept = sample_tree(2_000);
    cache.store_tree(&kept).expect("a tree fits");
    let root = kept.root().hash().expect("a whole tree");
    assert_eq!(cache.sweep_listings(&[root]).expect("it sweeps"), 0);
    let live = n_listings(&cache);
    let mut other = kept.clone();
    for number in 0..20 {
        other.insert(&path("c/one"), file(100 + number)).expect("c is there");
        cache.store_tree(&other).expect("a tree fits");
    }
    let n_swept = cache.sweep_listings(&[root]).expect("it sweeps");
    assert_eq!((n_swept, n_listings(&cache)), (40, live));
    assert!(cache.load_tree(&root, None).is_some_and(|loaded| same(&loaded, &kept)));
    cache.sweep_listings(&[]).expect("it sweeps");
    assert_eq!(n_listings(&cache), 0);
}

#[test]
fn another_scope_forgets_the_names_of_the_first() {
    let cache = Cache::in_memory().expect("memory is there");
    cache.set_left(&[1; 16], &left_paths()).expect("names fit");
    cache.set_left(&[2; 16], &BTreeSet::new()).expect("names fit");
    assert!(cache.left(&[1; 16]).is_empty() && cache.left(&[2; 16]).is_empty());
}

#[test]
fn the_content_at_a_path_is_found_in_its_listings_and_nothing_where_none_is() {
    let cache = Cache::in_memory().expect("memory");
    let tree = sample_tree(300);
    cache.store_tree(&tree).expect("a tree fits");
    let root = tree.root().hash().expect("a whole tree");
    let mut n_files = 0;
    tree.for_each(&mut |path, node| {
        let content =
            node.as_leaf().filter(|leaf| leaf.kind == Kind::File).and_then(|leaf| leaf.content.whole());
        assert_eq!(cache.content_at(&root, path), content, "{path}");
        n_files += u64::from(content.is_some());
    });
    assert!(n_files >= 300);
    let absent = RelPath::parse(b"not/there").expect("a path");
    assert_eq!(cache.content_at(&root, &absent), None);
    assert_eq!(cache.content_at(&ContentHash::of(b"another"), &absent), None);
}
