//! Scenarios with a thousand entries, cut at every message; killed at a sample of the steps, because there are as many
//! of them as entries, and each run builds the tree anew.

use super::*;

const N: usize = 1_000;

fn crowd() -> Pair {
    let mut pair = Pair::with(&[("a", b"one"), ("large", &noise(1, 150_000))]);
    for index in 0..N {
        pair.files.write(&path(&format!("m/{index}")), b"x");
    }
    pair
}

/// A thousand of them in a directory that may not be written to.
fn closed_crowd() -> Pair {
    let mut pair = crowd();
    pair.files.items.get_mut(&path("m")).expect("a directory").meta.mode = 0o555;
    pair.files.write(&path("large"), b"small here");
    pair
}

/// Scenario 21.
#[test]
fn a_thousand_changes_in_a_closed_directory() {
    with_every_cut(|settle| {
        let mut pair = closed_crowd();
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Identical);
        assert_eq!(pair.disk.items[&path("m")].meta, pair.files.items[&path("m")].meta);
        pair.assert_in_step();
    });
}

/// Scenario 21, a crash between: the directory has the time of the last rename until it is repaired as drift.
#[test]
fn a_crash_among_a_thousand_changes_in_a_closed_directory() {
    let mut whole = closed_crowd();
    whole.push();
    let n_steps = whole.disk.n_steps;
    assert!(n_steps > N);
    let sample = (0..n_steps).filter(|at| at % 101 == 0 || *at < 4 || at + 5 > n_steps);
    let mut n_drifted = 0;
    for at in sample {
        let mut pair = closed_crowd();
        pair.join();
        pair.disk.kill_at = Some(at);
        pair.run();
        assert!(pair.sender.is_none(), "killed at step {at}");
        let is = pair.disk.items.get(&path("m")).map(|item| item.meta);
        n_drifted += usize::from(is.is_some_and(|meta| meta != pair.files.items[&path("m")].meta));
        pair.join();
        assert_eq!(pair.settle(), Ending::Identical, "killed at step {at}");
        pair.assert_in_step();
    }
    assert!(n_drifted > 5, "{n_drifted} directories drifted");
}

/// Scenario 25.
#[test]
fn a_thousand_that_are_gone() {
    with_every_cut(|settle| {
        let mut pair = crowd();
        pair.push();
        pair.files.remove(&path("m"));
        pair.files.write(&path("a"), b"changed");
        pair.files.write(&path("large"), &noise(5, 150_000));
        pair.join();
        assert_eq!(settle(&mut pair), Ending::Held);
        assert!((0..N).all(|index| pair.disk.items.contains_key(&path(&format!("m/{index}")))));
        assert_eq!(pair.disk.items[&path("a")].bytes(), b"changed");
        assert_eq!(pair.disk.items[&path("large")].bytes(), noise(5, 150_000));
    });
}
