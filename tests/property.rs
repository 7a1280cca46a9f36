//! Random edits of a tree, then a push: the trees are equal, and a second push sends nothing.
//!
//! `STRAIT_ROUNDS=n` makes it long, `STRAIT_SEED=n` repeats a run (`docs/testing.md`).

mod faults;

use faults::edits::Editor;
use faults::{Rng, Yard, free_port, number};

/// Edits and pushes, each push checked; one tree goes through all rounds.
fn rounds(yard: &Yard, rng: &mut Rng, port: Option<u16>, n_rounds: usize, largest_bytes: usize) {
    let editor = Editor { root: yard.src.clone(), largest_bytes };
    for round in 0..n_rounds {
        let before = rng.0;
        let n_edits = 1 + rng.below(40);
        (0..n_edits).for_each(|_| editor.edit(rng));
        let what = format!("round {round} ({n_edits} edits, state {before})");
        yard.push(port).is_in_step(&what);
        yard.is_in_step(&what);
        if rng.chance(3) {
            second_push_is_empty(yard, port, &what);
        }
        if rng.chance(6) {
            drift_is_repaired(yard, rng, port, &what);
        }
    }
    second_push_is_empty(yard, port, "the last round");
}

fn second_push_is_empty(yard: &Yard, port: Option<u16>, what: &str) {
    let ended = yard.push(port);
    let summary = ended.is_in_step(what).summary();
    for count in ["changed", "moved", "deleted", "metadata", "content_bytes"] {
        assert_eq!(summary[count], 0, "{what}: a second push says {count}\n{}", ended.out);
    }
    assert!(summary["wire_sent"] < 8_192, "{what}: a second push sends {}", summary["wire_sent"]);
    yard.is_in_step(what);
}

/// Edits of the destination behind strait's back are found and repaired.
fn drift_is_repaired(yard: &Yard, rng: &mut Rng, port: Option<u16>, what: &str) {
    let editor = Editor { root: yard.path.join("dest"), largest_bytes: 100_000 };
    let own = yard.dest.join(".strait");
    let aside = yard.path.join("aside");
    let is_local = port.is_none();
    // Random edits must not reach what is strait's own.
    if is_local {
        std::fs::rename(&own, &aside).unwrap();
        (0..1 + rng.below(10)).for_each(|_| editor.edit(rng));
        std::fs::rename(&aside, &own).unwrap();
        let what = format!("{what}, drift");
        yard.push(port).is_in_step(&what);
        yard.is_in_step(&what);
    }
}

#[test]
fn after_any_edits_a_push_to_a_local_destination_makes_the_trees_equal() {
    let mut rng = Rng::seeded("local");
    let yard = Yard::new();
    rounds(&yard, &mut rng, None, number("STRAIT_ROUNDS", 20), 400_000);
}

#[test]
fn after_any_edits_a_push_over_tls_makes_the_trees_equal() {
    let mut rng = Rng::seeded("tls");
    let yard = Yard::new();
    let port = free_port();
    let mut server = yard.serve(port);
    rounds(&yard, &mut rng, Some(port), number("STRAIT_ROUNDS", 8), 400_000);
    assert!(server.is_alive());
    server.did_not_panic();
}

#[test]
fn after_any_edits_of_large_files_a_push_makes_the_trees_equal() {
    let mut rng = Rng::seeded("large");
    let yard = Yard::new();
    std::fs::write(yard.src.join("large"), rng.bytes(9 << 20)).unwrap();
    rounds(&yard, &mut rng, None, number("STRAIT_ROUNDS", 4), 12 << 20);
}
