//! What is written and read where a stage starts as a clone, and what is made anyway.

use super::*;
use crate::disk::DestinationError;
use std::os::unix::fs::FileExt;

const MIB: usize = 1 << 20;
const GROUP: u64 = 64 << 10;
/// Blocks that reach across the border of a group that is taken over are read for the signature, eight at a time.
const EDGE: u64 = 8 * 509;

/// Runs on each file system that clones and can be had here.
fn on_clones(test: &str, run: impl Fn(Dest)) {
    for kind in ["btrfs", "xfs"] {
        match Dest::mounted(kind) {
            Some(dest) => {
                assert!(dest.shore.clones, "{kind} clones");
                run(dest);
            }
            None => println!("skipped: needs root, mkfs.{kind} and loop mounts: {test}"),
        }
    }
}

fn same(len: usize) -> Op {
    Op::Same { len: len as u64 }
}

fn literal(bytes: &[u8]) -> Op {
    Op::Literal(bytes.to_vec())
}

/// 4 KiB in the middle of a file are others.
fn edited(old: &[u8]) -> (Vec<u8>, Vec<Op>) {
    let at = 3 * MIB + 8192;
    let mut new = old.to_vec();
    new[at..at + 4096].copy_from_slice(&noise(99, 4096));
    let ops = vec![same(at), literal(&new[at..at + 4096]), same(old.len() - at - 4096)];
    (new, ops)
}

#[test]
fn a_clone_writes_what_differs_and_reads_the_groups_around_it() {
    on_clones("a_clone_writes_what_differs_and_reads_the_groups_around_it", |mut dest| {
        let old = noise(1, 8 * MIB + 777);
        let hash = dest.put_new("f", &old);
        let basis = dest.basis("f", hash);
        let (new, ops) = edited(&old);
        let end = new.len() as u64 % EDGE;
        assert_eq!(dest.put("f", &[basis], &new, &ops), (4096, GROUP - 4096 + 2 * EDGE + end));
    });
}

#[test]
fn a_clone_is_cut_and_grows() {
    on_clones("a_clone_is_cut_and_grows", |mut dest| {
        let old = noise(2, 2 * MIB + 777);
        let hash = dest.put_new("f", &old);
        let shorter = &old[..MIB + 5];
        let counts = dest.put("short", &[dest.basis("f", hash)], shorter, &[same(MIB + 5)]);
        let end = shorter.len() as u64 % EDGE;
        assert_eq!(counts, (0, 5 + end));
        let tail = noise(3, 1000);
        let longer = [&old[..], &tail].concat();
        let ops = [same(old.len()), literal(&tail)];
        assert_eq!(
            dest.put("long", &[dest.basis("f", hash)], &longer, &ops),
            (1000, 777 + longer.len() as u64 % EDGE)
        );
    });
}

#[test]
fn moved_parts_and_zeros_of_a_clone_are_right() {
    on_clones("moved_parts_and_zeros_of_a_clone_are_right", |mut dest| {
        let old = noise(4, 4 * MIB);
        let hash = dest.put_new("f", &old);
        let new = [&old[2 * MIB..3 * MIB], &old[MIB..2 * MIB], &vec![0; 131_072], &old[2 * MIB..]].concat();
        let ops = [
            Op::Copy { basis: 0, offset: 2 * MIB as u64, len: MIB as u64 },
            Op::Copy { basis: 0, offset: MIB as u64, len: MIB as u64 },
            Op::Zeros { len: 131_072 },
            Op::Copy { basis: 0, offset: 2 * MIB as u64, len: 2 * MIB as u64 },
        ];
        let counts = dest.put("g", &[dest.basis("f", hash)], &new, &ops);
        assert_eq!(counts, (3 * MIB as u64, 2 * EDGE));
    });
}

#[test]
fn a_basis_that_changed_unseen_is_read_whole_and_found() {
    on_clones("a_basis_that_changed_unseen_is_read_whole_and_found", |mut dest| {
        let old = noise(5, 8 * MIB);
        let hash = dest.put_new("f", &old);
        let basis = dest.basis("f", hash);
        // Other bytes, and the time that the tree knows put back: only ctime tells.
        let file = std::fs::File::options().write(true).open(dest.at("f")).unwrap();
        let mtime = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"others", 5 * MIB as u64).unwrap();
        file.set_modified(mtime).unwrap();
        let (new, ops) = edited(&old);
        let sealed = dest.stage(&[basis], &new, &ops);
        let Ok(Sealed::Mismatch { level: 0, values }) = sealed else { panic!("the change is not found") };
        let right = crate::delta::groups::GroupTree::compute(&new).unwrap();
        let wrong: Vec<usize> =
            (0..values.len()).filter(|&group| values[group] != right.values()[group]).collect();
        assert_eq!(wrong, [5 * MIB / GROUP as usize]);
        // The repair is read from the disk, and right.
        let id = dest.n_changes;
        let group = &new[5 * MIB..5 * MIB + GROUP as usize];
        dest.stage.write(id, 5 * MIB as u64, &[literal(group)]).unwrap();
        let sealed = dest.stage.seal(&dest.shore, id, ContentHash::of(&new));
        assert!(matches!(sealed, Ok(Sealed::Right)));
        let ready = dest.take();
        assert!(ready.file.n_read() > 8 * MIB as u64, "read whole, and again after the repair");
        dest.shore.destination.install(ready.file, &path("f")).unwrap();
        assert!(std::fs::read(dest.at("f")).unwrap() == new);
    });
}

#[test]
fn rot_in_a_group_that_was_taken_over_is_found_by_reading_it() {
    on_clones("rot_in_a_group_that_was_taken_over_is_found_by_reading_it", |mut dest| {
        let old = noise(6, 8 * MIB);
        // The tree is known under the stat of a file whose bytes are others, as after rot.
        let mut rotten = old.clone();
        rotten[6 * MIB] ^= 1;
        let hash = dest.put_new("f", &old);
        std::fs::write(dest.at("f"), &rotten).unwrap();
        let stat = dest.shore.destination.root().stat(&path("f")).unwrap().unwrap();
        dest.shore.known.learn(&stat, hash);
        let (new, ops) = edited(&old);
        let basis = dest.basis("f", hash);
        assert!(matches!(dest.stage(&[basis], &new, &ops), Ok(Sealed::Right)), "nothing was read");
        let ready = dest.take();
        assert_eq!(ready.file.n_read(), GROUP - 4096 + 2 * EDGE + new.len() as u64 % EDGE);
        let stat = dest.shore.destination.install(ready.file, &path("f")).unwrap();
        dest.shore.known.learn(&stat, ready.hash);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let found = |deep| {
            let contents = dest.shore.known.for_scan(deep);
            crate::disk::hash_pending(dest.shore.destination.root(), &path("f"), &contents, &stop)
        };
        let crate::disk::Hashed::Known(_, seen) = found(false) else { panic!("not read") };
        assert_eq!(seen, ContentHash::of(&new), "by its stat it is right");
        let crate::disk::Hashed::Known(_, seen) = found(true) else { panic!("not read") };
        assert_ne!(seen, ContentHash::of(&new), "a deep audit finds it");
    });
}

#[test]
fn without_clones_everything_is_written_and_read() {
    let mut dest = Dest::plain();
    if dest.shore.clones {
        println!("skipped: needs a temporary directory that does not clone");
        return;
    }
    let old = noise(7, 8 * MIB + 777);
    let hash = dest.put_new("f", &old);
    let (new, ops) = edited(&old);
    let basis = dest.basis("f", hash);
    assert_eq!(dest.put("f", &[basis], &new, &ops), (new.len() as u64, 0));
}

#[test]
fn holes_of_a_basis_are_neither_read_nor_written() -> Result<(), DestinationError> {
    let mut dest = Dest::plain();
    let mut old = vec![0; 16 * MIB];
    old[5 * MIB..6 * MIB].copy_from_slice(&noise(8, MIB));
    let ops = [
        Op::Zeros { len: 5 * MIB as u64 },
        Op::Copy { basis: 0, offset: 0, len: MIB as u64 },
        Op::Zeros { len: 10 * MIB as u64 },
    ];
    let part = dest.put_new("part", &old[5 * MIB..6 * MIB]);
    let basis = dest.basis("part", part);
    assert_eq!(dest.put("f", &[basis], &old, &ops).0, MIB as u64);
    let basis = dest.basis("f", ContentHash::of(&old));
    let ops = [same(15 * MIB), literal(b"end"), Op::Zeros { len: MIB as u64 - 3 }];
    old[15 * MIB..15 * MIB + 3].copy_from_slice(b"end");
    let (written, _) = dest.put("g", &[basis], &old, &ops);
    assert!(written <= MIB as u64 + 3 + 4096, "{written}");
    Ok(())
}
