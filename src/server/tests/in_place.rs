//! What `--inplace` writes over, and what it leaves to be installed.

use super::*;
use std::os::unix::fs::{FileExt, MetadataExt};

const MIB: usize = 1 << 20;
const GROUP: u64 = 64 << 10;

/// `None` where the temporary directory clones: then nothing is written over.
fn dest(test: &str) -> Option<Dest> {
    let making = Making { in_place: Some(4 * MIB as u64), ..Making::default() };
    let dest = Dest::making(making);
    if dest.shore.clones {
        println!("skipped: needs a temporary directory that does not clone: {test}");
    }
    (!dest.shore.clones).then_some(dest)
}

/// 4 KiB others, a hole where there was none, and a tail.
fn edited(old: &[u8]) -> (Vec<u8>, Vec<Op>) {
    let mut new = old.to_vec();
    new[MIB..MIB + 4096].copy_from_slice(&noise(98, 4096));
    new[2 * MIB..2 * MIB + 131_072].fill(0);
    new.extend(noise(99, 777));
    let same = |from: usize, to: usize| Op::Same { len: (to - from) as u64 };
    let ops = vec![
        same(0, MIB),
        Op::Literal(new[MIB..MIB + 4096].to_vec()),
        same(MIB + 4096, 2 * MIB),
        Op::Zeros { len: 131_072 },
        same(2 * MIB + 131_072, old.len()),
        Op::Literal(new[old.len()..].to_vec()),
    ];
    (new, ops)
}

/// Its inode.
fn ino(dest: &Dest, name: &str) -> u64 {
    std::fs::metadata(dest.at(name)).unwrap().ino()
}

#[test]
fn only_what_differs_is_written_over_a_large_file() {
    let Some(mut dest) = dest("only_what_differs_is_written_over_a_large_file") else { return };
    let old = noise(1, 8 * MIB);
    let hash = dest.put_new("f", &old);
    let before = ino(&dest, "f");
    let (new, ops) = edited(&old);
    let basis = dest.basis("f", hash);
    assert!(matches!(dest.stage_at("f", &[basis], &new, &ops), Ok(Sealed::Right)));
    assert_eq!(dest.n_staged_bytes(), 4096 + 777);
    dest.commit("f").unwrap();
    assert!(std::fs::read(dest.at("f")).unwrap() == new);
    assert_eq!(ino(&dest, "f"), before, "the same file");
    let stat = dest.shore.destination.root().stat(&path("f")).unwrap().unwrap();
    assert_eq!(dest.shore.known.known(&stat), Some(ContentHash::of(&new)), "and known");
    assert!(stat.blocks * 512 <= new.len() as u64 - GROUP, "with its hole: {} blocks", stat.blocks);
    // And again, over what was written over.
    let (newer, ops) = edited(&new);
    let basis = dest.basis("f", ContentHash::of(&new));
    assert!(matches!(dest.stage_at("f", &[basis], &newer, &ops), Ok(Sealed::Right)));
    dest.commit("f").unwrap();
    assert!(std::fs::read(dest.at("f")).unwrap() == newer);
}

#[test]
fn what_is_small_or_has_another_name_or_goes_elsewhere_is_made_anew() {
    let test = "what_is_small_or_has_another_name_or_goes_elsewhere_is_made_anew";
    let Some(mut dest) = dest(test) else { return };
    let small = noise(2, 3 * MIB);
    let large = noise(3, 5 * MIB);
    for (name, old) in [("small", &small), ("snapshot", &large), ("source", &large)] {
        let hash = dest.put_new(name, old);
        let before = ino(&dest, name);
        let kept = dest.at(&format!("{name} kept"));
        if name == "snapshot" {
            std::fs::hard_link(dest.at(name), &kept).unwrap();
        }
        let basis = dest.basis(name, hash);
        let (new, ops) = edited(old);
        let to = if name == "source" { "copy" } else { name };
        assert!(matches!(dest.stage_at(to, &[basis], &new, &ops), Ok(Sealed::Right)), "{name}");
        dest.commit(to).unwrap();
        assert!(std::fs::read(dest.at(to)).unwrap() == new, "{name}");
        assert_ne!(ino(&dest, to), before, "{name} is another file");
        let left = if name == "snapshot" { kept } else { dest.at("source") };
        if name != "small" {
            assert!(std::fs::read(left).unwrap() == large, "{name}: the old version stays");
        }
    }
}

#[test]
fn a_file_that_changed_before_it_is_written_over_is_refused_and_left() {
    let test = "a_file_that_changed_before_it_is_written_over_is_refused_and_left";
    let Some(mut dest) = dest(test) else { return };
    let old = noise(4, 5 * MIB);
    let hash = dest.put_new("f", &old);
    let basis = dest.basis("f", hash);
    let (new, ops) = edited(&old);
    assert!(matches!(dest.stage_at("f", &[basis], &new, &ops), Ok(Sealed::Right)));
    let file = std::fs::File::options().write(true).open(dest.at("f")).unwrap();
    file.write_all_at(b"others", 3 * MIB as u64).unwrap();
    assert!(matches!(dest.commit("f"), Err(Refusal::Drifted { .. })));
    let mut theirs = old.clone();
    theirs[3 * MIB..3 * MIB + 6].copy_from_slice(b"others");
    assert!(std::fs::read(dest.at("f")).unwrap() == theirs);
}

#[test]
fn a_repair_makes_the_file_anew() {
    let Some(mut dest) = dest("a_repair_makes_the_file_anew") else { return };
    let old = noise(5, 5 * MIB);
    let hash = dest.put_new("f", &old);
    let basis = dest.basis("f", hash);
    let before = ino(&dest, "f");
    let (new, mut ops) = edited(&old);
    ops[1] = Op::Literal(noise(7, 4096));
    assert!(matches!(dest.stage_at("f", &[basis], &new, &ops), Ok(Sealed::Mismatch { .. })));
    let id = dest.n_changes;
    dest.stage.write(id, MIB as u64, &[Op::Literal(new[MIB..MIB + GROUP as usize].to_vec())]).unwrap();
    let sealed = dest.stage.seal(&dest.shore, id, ContentHash::of(&new));
    assert!(matches!(sealed, Ok(Sealed::Right)));
    dest.commit("f").unwrap();
    assert!(std::fs::read(dest.at("f")).unwrap() == new);
    assert_ne!(ino(&dest, "f"), before);
}
