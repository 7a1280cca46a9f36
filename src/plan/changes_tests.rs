//! Tests of planning: every plan, carried out, makes one tree into the other.

use crate::model::{ContentHash, Kind, Leaf, Meta, Node, RelPath, Time, Tree};
use crate::plan::change::{Change, apply};
use crate::plan::changes::plan;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn meta(secs: i64) -> Meta {
    Meta { mode: 0o644, mtime: Time { secs, nanos: 0 } }
}

/// A tree from lines: `d/` a directory, `f=text` a file; directories above are made.
fn tree(lines: &[&str]) -> Tree {
    let mut tree = Tree::default();
    for line in lines {
        let (name, text) =
            line.split_once('=').map_or((line.trim_end_matches('/'), None), |(n, t)| (n, Some(t)));
        let whole = path(name);
        let mut above = Vec::new();
        let mut parent = whole.parent();
        while !parent.is_root() {
            above.push(parent.clone());
            parent = parent.parent();
        }
        for dir in above.into_iter().rev() {
            if tree.dir(&dir).is_none() {
                tree.insert(&dir, Node::empty_dir(meta(1))).expect("parents first");
            }
        }
        let node = match text {
            Some(text) => {
                Node::Leaf(Leaf::file(meta(2), text.len() as u64, ContentHash::of(text.as_bytes())))
            }
            None => Node::empty_dir(meta(1)),
        };
        tree.insert(&whole, node).expect("parents first");
    }
    tree
}

/// Plans, carries out, compares; returns the changes.
fn planned(have: &Tree, want: &Tree) -> Vec<Change> {
    let changes = plan(have, want, &BTreeSet::new()).changes;
    let mut result = have.clone();
    for change in &changes {
        apply(&mut result, change).unwrap_or_else(|misfit| panic!("{change:?}: {misfit} in {changes:?}"));
    }
    assert_eq!(result.root_hash(&[0; 16]), want.root_hash(&[0; 16]), "after {changes:?}");
    changes
}

fn count(changes: &[Change], of: fn(&Change) -> bool) -> usize {
    changes.iter().filter(|change| of(change)).count()
}

fn is_move(change: &Change) -> bool {
    matches!(change, Change::Move { .. })
}

fn is_file(change: &Change) -> bool {
    matches!(change, Change::File { .. })
}

fn is_swap(change: &Change) -> bool {
    matches!(change, Change::Swap { .. })
}

#[test]
fn a_moved_directory_is_one_move() {
    let changes = planned(&tree(&["a/x=1", "a/b/y=2", "c/"]), &tree(&["c/a/x=1", "c/a/b/y=2"]));
    assert_eq!(changes, [Change::Move { from: path("a"), to: path("c/a") }]);
}

#[test]
fn a_moved_and_edited_directory_sends_only_the_edit() {
    let changes =
        planned(&tree(&["a/x=1", "a/y=2", "a/z=3"]), &tree(&["b/x=1", "b/y=2", "b/z=other", "b/n=new"]));
    assert_eq!(count(&changes, is_file), 2);
    // Its files were moved one by one, and the edited one lost its basis.
    assert_eq!(changes[0], Change::Move { from: path("a"), to: path("b") });
    assert_eq!(changes.len(), 3);
}

#[test]
fn two_names_swapped_are_one_swap_of_files_and_of_directories() {
    let changes = planned(&tree(&["a=1", "b=2"]), &tree(&["a=2", "b=1"]));
    assert_eq!(changes, [Change::Swap { a: path("a"), b: path("b") }]);
    let changes = planned(&tree(&["a/x=1", "b/x=2"]), &tree(&["a/x=2", "b/x=1"]));
    assert_eq!(changes, [Change::Swap { a: path("a"), b: path("b") }]);
}

#[test]
fn a_file_and_a_directory_that_trade_names_are_one_swap() {
    let changes = planned(&tree(&["a=1", "b/x=2"]), &tree(&["b=1", "a/x=2"]));
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(count(&changes, is_swap), 1);
}

#[test]
fn a_file_and_an_edited_directory_that_trade_names_are_one_swap_and_the_edit() {
    let have = tree(&["f=1", "d/a=2", "d/b=3", "d/c=4"]);
    let want = tree(&["d=1", "f/a=2", "f/b=3", "f/c=5"]);
    let changes = planned(&have, &want);
    assert_eq!(count(&changes, is_swap), 1);
    assert_eq!(count(&changes, is_file), 1);
    assert_eq!(count(&changes, Change::is_removal), 0);
}

#[test]
fn an_edited_directory_takes_the_name_of_a_file_that_goes() {
    let have = tree(&["f=1", "d/a=2", "d/b=3", "d/c=4"]);
    let changes = planned(&have, &tree(&["d=9", "f/a=2", "f/b=3", "f/c=5"]));
    assert_eq!(count(&changes, is_move), 1);
    assert_eq!(count(&changes, is_file), 2);
}

#[test]
fn a_ring_of_three_is_one_change() {
    let changes = planned(&tree(&["a=1", "b=2", "c=3"]), &tree(&["a=3", "b=1", "c=2"]));
    assert_eq!(changes, [Change::Rotate { ring: vec![path("a"), path("b"), path("c")] }]);
}

#[test]
fn a_ring_too_long_for_a_message_is_sent_by_content() {
    let ring = |shift: usize| -> Tree {
        let lines: Vec<String> = (0..70).map(|index| format!("f{index}={}", (index + shift) % 70)).collect();
        tree(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(count(&planned(&ring(0), &ring(1)), is_file), 70);
}

#[test]
fn a_rotation_of_logs_sends_only_the_newest() {
    let old = ["log=8", "log.1=7", "log.2=6", "log.3=5", "log.4=4"];
    let new = ["log=9", "log.1=8", "log.2=7", "log.3=6", "log.4=5"];
    let changes = planned(&tree(&old), &tree(&new));
    assert_eq!(count(&changes, is_file), 1);
    assert_eq!(changes.len(), 5, "{changes:?}");
}

#[test]
fn a_file_that_leaves_a_directory_that_goes_is_moved_before_it_goes() {
    let changes = planned(&tree(&["a/keep=1", "a/drop=2"]), &tree(&["keep=1"]));
    assert_eq!(
        changes,
        [Change::Move { from: path("a/keep"), to: path("keep") }, Change::Remove { path: path("a") }]
    );
}

#[test]
fn a_file_and_a_directory_that_trade_names_fit() {
    planned(&tree(&["a=1", "b/x=2"]), &tree(&["b=1", "a/x=2"]));
    planned(&tree(&["a=1"]), &tree(&["a/a=1"]));
    planned(&tree(&["a/a=1"]), &tree(&["a=1"]));
}

#[test]
fn what_could_not_be_read_is_neither_changed_nor_removed() {
    let have = tree(&["d/x=1", "e=2"]);
    let untouched = BTreeSet::from([path("d")]);
    let changes = plan(&have, &tree(&["e=3"]), &untouched).changes;
    assert_eq!(changes.len(), 1);
    assert!(is_file(&changes[0]));
}

/// What a move replaced was not counted, and so never held.
#[test]
fn entries_that_a_move_replaces_are_counted_as_deleted() {
    let have = tree(&["a=1", "m/x=2", "m/y=3", "m/z=4"]);
    let drawn = plan(&have, &tree(&["m=1"]), &BTreeSet::new());
    assert_eq!(drawn.n_deleted, 4, "{:?}", drawn.changes);
}

fn numbered(n: usize, name: impl Fn(usize) -> String, content: impl Fn(usize) -> usize) -> Tree {
    let mut tree = Tree::default();
    for number in 0..n {
        let text = content(number).to_string();
        let leaf = Leaf::file(meta(3), text.len() as u64, ContentHash::of(text.as_bytes()));
        tree.insert(&path(&name(number)), Node::Leaf(leaf)).unwrap();
    }
    tree
}

/// Each move copied its directory, and each search for an equal content went through all of them:
/// 8,000 renames took 20 s, and 50,000 would have taken a quarter of an hour.
#[test]
fn many_renames_in_one_directory_are_as_many_moves_without_work_for_each_pair() {
    let n = 10_000;
    for content in [|number| number, |_| 0] {
        let have = numbered(n, |number| format!("a{number}"), content);
        let changes = planned(&have, &numbered(n, |number| format!("b{number}"), content));
        assert_eq!((count(&changes, is_move), changes.len()), (n, n));
    }
    // All numbers one up: a chain that is undone from its end.
    let have = numbered(n, |number| format!("a{number}"), |number| number);
    let changes = planned(&have, &numbered(n, |number| format!("a{}", number + 1), |number| number));
    assert_eq!((count(&changes, is_move), changes.len()), (n, n));
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let line = (prop::collection::vec(name, 1..4), prop::option::of(0..5u8));
    prop::collection::vec(line, 0..14).prop_map(|lines| {
        let mut tree = Tree::default();
        for (names, content) in lines {
            let mut whole = RelPath::root();
            for (index, name) in names.iter().enumerate() {
                whole = whole.join(&crate::model::Name::parse(name.as_bytes()).unwrap()).unwrap();
                let last = index + 1 == names.len();
                let node = match content {
                    Some(number) if last => {
                        let text = "x".repeat(usize::from(number));
                        Node::Leaf(Leaf::file(meta(3), u64::from(number), ContentHash::of(text.as_bytes())))
                    }
                    _ => Node::empty_dir(meta(1)),
                };
                match tree.get(&whole).map(Node::kind) {
                    None => drop(tree.insert(&whole, node).unwrap()),
                    Some(Kind::Dir) => {}
                    Some(_) => break,
                }
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_plan_makes_one_tree_into_the_other(have in any_tree(), want in any_tree()) {
        planned(&have, &want);
    }
}
