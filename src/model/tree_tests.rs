//! Trees: what is shared, what is hashed.

use super::*;
use crate::model::entry::Time;
use crate::model::ranges::begins_range;
use crate::model::ranges::counted::N_HASHED;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn file(text: &str) -> Node {
    let meta = Meta { mode: 0o644, mtime: Time { secs: 5, nanos: 6 } };
    Node::Leaf(Leaf::file(meta, text.len() as u64, ContentHash::of(text.as_bytes())))
}

fn sample() -> Tree {
    let mut tree = Tree::default();
    tree.insert(&path("a"), Node::empty_dir(Meta::default())).expect("the root is there");
    tree.insert(&path("a/x"), file("one")).expect("a is there");
    tree.insert(&path("b"), file("two")).expect("the root is there");
    tree
}

#[test]
fn a_moved_directory_keeps_its_hash() {
    let mut tree = sample();
    let before = tree.dir(&path("a")).and_then(|dir| dir.hash());
    let node = tree.remove(&path("a")).expect("a is there");
    tree.insert(&path("c"), node).expect("the root is there");
    assert_eq!(tree.dir(&path("c")).and_then(|dir| dir.hash()), before);
    assert!(before.is_some());
}

#[test]
fn every_kept_field_changes_the_root_hash() {
    let scope = [0; 16];
    let whole = sample().root_hash(&scope);
    for change in [
        |tree: &mut Tree| tree.insert(&path("b"), file("twO")).map(|_| ()),
        |tree: &mut Tree| tree.set_meta(&path("a"), Meta { mode: 0o700, ..Meta::default() }),
        |tree: &mut Tree| tree.remove(&path("a/x")).map(|_| ()),
        |tree: &mut Tree| tree.insert(&path("a/y"), file("")).map(|_| ()),
    ] {
        let mut tree = sample();
        change(&mut tree).expect("the change fits");
        assert_ne!(tree.root_hash(&scope), whole);
    }
    assert_ne!(sample().root_hash(&[1; 16]), whole);
}

#[test]
fn a_version_that_was_copied_does_not_change() {
    let old = sample();
    let mut new = old.clone();
    new.insert(&path("a/x"), file("other")).expect("a is there");
    assert!(old.get(&path("a/x")).is_some_and(|node| node.is_same(&file("one"))));
    assert_ne!(old.root_hash(&[0; 16]), new.root_hash(&[0; 16]));
}

#[test]
fn a_tree_with_an_unknown_content_has_no_hash() {
    let mut tree = sample();
    let leaf = Leaf { kind: Kind::File, meta: Meta::default(), size: 3, content: Content::Unknown };
    tree.insert(&path("a/z"), Node::Leaf(leaf)).expect("a is there");
    assert!(!tree.is_whole());
    assert!(learn_content(&mut tree, &path("a/z"), 3, Content::Whole(ContentHash::of(b"zzz"))));
    assert!(tree.is_whole());
}

#[test]
fn what_is_equal_is_shared_and_what_differs_is_kept() {
    let source = sample();
    let mut other = sample();
    other.insert(&path("b"), file("twO")).expect("the root is there");
    let shared = other.sharing(&source);
    assert_eq!(shared.root_hash(&[0; 16]), other.root_hash(&[0; 16]));
    let dir = |tree: &Tree| tree.dir(&path("a")).cloned().expect("a is there");
    assert!(Arc::ptr_eq(&dir(&shared), &dir(&source)));
    assert!(Arc::ptr_eq(sample().sharing(&source).root(), source.root()));
    other.set_meta(&path("a"), Meta { mode: 0o700, ..Meta::default() }).expect("a is there");
    assert_eq!(dir(&other.sharing(&source)).meta.mode, 0o700);
}

/// A directory of many files, some of whose names begin ranges.
fn wide(n_files: usize) -> Tree {
    let mut tree = Tree::default();
    (0..n_files).for_each(|i| drop(tree.insert(&path(&format!("f{i}")), file("x"))));
    tree
}

/// The same entries, of which nothing is hashed yet.
fn afresh(tree: &Tree) -> Tree {
    let mut fresh = Tree::default();
    tree.for_each(&mut |path, node| {
        let node = node.as_dir().map_or_else(|| node.clone(), |dir| Node::empty_dir(dir.meta));
        fresh.insert(path, node).expect("its directory is there");
    });
    fresh
}

#[test]
fn a_change_in_a_wide_directory_hashes_the_entries_of_its_range_only() {
    let mut tree = wide(20_000);
    tree.root_hash(&[0; 16]);
    let before = N_HASHED.get();
    tree.insert(&path("f777"), file("other")).expect("the root is there");
    tree.root_hash(&[0; 16]);
    let n_hashed = N_HASHED.get() - before;
    assert!((1..3_000).contains(&n_hashed), "{n_hashed} of 20,000");
}

/// What is done to a tree, in a word.
type Step<'a> = (&'a str, &'a dyn Fn(&mut Tree));

#[test]
fn whatever_becomes_of_a_wide_directory_its_hash_is_that_of_its_entries() {
    let mut tree = wide(3_000);
    let names = (0..4_000).map(|i| format!("f{i}")).chain(["a".into(), "z".into()]);
    let begin = |text: &String| begins_range(&Name::parse(text.as_bytes()).expect("a name"));
    let (border, plain): (Vec<String>, Vec<String>) = names.partition(begin);
    assert!(border.len() > 5);
    let check = |tree: &Tree, what: &str| {
        let fresh = afresh(tree);
        assert_eq!(tree.root_hash(&[0; 16]), fresh.root_hash(&[0; 16]), "{what}");
        assert_eq!(tree.root().bytes_below(), fresh.root().bytes_below(), "{what}");
    };
    check(&tree, "at first");
    for name in border.iter().chain(plain.iter().step_by(97)).chain(["a".into(), "z".into()].iter()) {
        let at = path(name);
        let steps: [Step; 5] = [
            ("changed", &|tree| drop(tree.insert(&at, file("other")))),
            ("removed", &|tree| drop(tree.remove(&at))),
            ("made a directory", &|tree| drop(tree.insert(&at, Node::empty_dir(Meta::default())))),
            ("filled", &|tree| drop(tree.insert(&path(&format!("{name}/below")), file("below")))),
            ("removed with what is below", &|tree| drop(tree.remove(&at))),
        ];
        for (what, step) in steps {
            step(&mut tree);
            check(&tree, &format!("{name} {what}"));
        }
    }
    // Also where nothing was hashed between two changes, and where all ranges go.
    border.iter().for_each(|name| drop(tree.insert(&path(name), file("again"))));
    check(&tree, "all borders are back");
    border.iter().for_each(|name| drop(tree.remove(&path(name))));
    check(&tree, "no border is left");
}

#[test]
fn kinds_are_counted_at_any_depth() {
    let mut tree = sample();
    tree.insert(&path("a/l"), Node::Leaf(Leaf::link(Time::default(), b"x"))).expect("a is there");
    assert_eq!(tree.n_kinds(), [2, 1, 1]);
}
