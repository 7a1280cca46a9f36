//! Copies that another core reads and hashes.

use super::super::index::Indexer;
use super::super::rebuild::{RebuildError, Sink};
use super::*;
use blake3::hazmat::ChainingValue;

/// A basis that other cores may read, with a hole in it.
struct Open<'a> {
    content: &'a Vec<u8>,
    hole: std::ops::Range<u64>,
}

impl Bases for Open<'_> {
    fn len(&self, basis: u32) -> Option<u64> {
        (basis == 0).then_some(self.content.len() as u64)
    }

    fn read_at(&mut self, _: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.content.read_at(buf, offset)
    }

    fn hole_at(&mut self, _: u32, offset: u64) -> u64 {
        if self.hole.contains(&offset) { self.hole.end - offset } else { 0 }
    }

    fn content(&self, _: u32, offset: u64) -> Option<(&dyn ReadAt, u64)> {
        let end = if offset < self.hole.start { self.hole.start } else { self.content.len() as u64 };
        Some((self.content, end - offset))
    }
}

/// Hashes what it is given as a stage does, and counts what came with its values.
struct Hashing {
    indexer: Indexer,
    made: Vec<u8>,
    n_hashed: usize,
    n_zeros: u64,
}

impl Sink for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.indexer.update(bytes);
        self.made.extend_from_slice(bytes);
        Ok(())
    }

    fn group_bytes(&self) -> Option<u64> {
        Some(self.indexer.group_bytes())
    }

    fn write_hashed(&mut self, bytes: &[u8], values: &[ChainingValue]) -> io::Result<()> {
        self.indexer.update_hashed(bytes, values);
        self.made.extend_from_slice(bytes);
        self.n_hashed += bytes.len();
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.indexer.update_zeros(len);
        self.made.resize(self.made.len() + len as usize, 0);
        self.n_zeros += len;
        Ok(())
    }
}

fn hashing(size: usize) -> Hashing {
    let indexer = Indexer::signing(size as u64, None);
    Hashing { indexer, made: Vec::new(), n_hashed: 0, n_zeros: 0 }
}

#[test]
fn a_copy_is_the_same_whoever_reads_it() {
    let mut content = noise(40 * MIB, 3);
    // Zeros that are read, and a hole that is not.
    content[9 * MIB..10 * MIB].fill(0);
    content[20 * MIB..25 * MIB].fill(0);
    let mut bases = Open { content: &content, hole: 20 * MIB as u64..25 * MIB as u64 };
    for offset in [0, 12_345] {
        let len = content.len() as u64 - offset;
        let ops = [
            Op::Literal(b"new".repeat(30_000)),
            Op::Copy { basis: 0, offset, len },
            Op::Copy { basis: 0, offset: 5, len: 6 * MIB as u64 },
        ];
        let target =
            [&b"new".repeat(30_000)[..], &content[offset as usize..], &content[5..5 + 6 * MIB]].concat();
        let mut sink = hashing(target.len());
        let mut at = 0;
        for op in &ops {
            at += rebuild(op, at, &mut bases, &mut sink, &mut Vec::new()).unwrap();
        }
        assert!(sink.made == target, "from {offset}");
        assert!(sink.n_zeros > 5 * MIB as u64, "{} zeros", sink.n_zeros);
        let mut whole = Indexer::signing(target.len() as u64, None);
        whole.update(&target);
        assert_eq!(sink.indexer.finish(), whole.finish());
    }
}

#[test]
fn another_core_reads_long_copies() {
    let content = noise(24 * MIB, 4);
    let mut bases = Open { content: &content, hole: u64::MAX..u64::MAX };
    let mut sink = hashing(content.len());
    let op = Op::Same { len: content.len() as u64 };
    // Other tests may keep the cores at work for a while, also for a part of the copy.
    for _ in 0..200 {
        sink = hashing(content.len());
        rebuild(&op, 0, &mut bases, &mut sink, &mut Vec::new()).unwrap();
        if sink.n_hashed > 20 * MIB {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let has_more_cores = std::thread::available_parallelism().is_ok_and(|n_cores| n_cores.get() > 1);
    assert_eq!(sink.n_hashed > 20 * MIB, has_more_cores, "{}", sink.n_hashed);
    assert!(sink.made == content);
}

#[test]
fn a_basis_that_was_cut_while_another_core_reads_it_is_noticed() {
    /// Says that it is longer than it is.
    struct Cut<'a>(Open<'a>);
    impl Bases for Cut<'_> {
        fn len(&self, _: u32) -> Option<u64> {
            Some(2 * self.0.content.len() as u64)
        }
        fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.read_at(basis, buf, offset)
        }
        fn content(&self, _: u32, offset: u64) -> Option<(&dyn ReadAt, u64)> {
            Some((self.0.content, 2 * self.0.content.len() as u64 - offset))
        }
    }
    let content = noise(10 * MIB + 5, 5);
    let size = content.len() as u64;
    let mut bases = Cut(Open { content: &content, hole: u64::MAX..u64::MAX });
    let op = Op::Same { len: 2 * size };
    let refused = rebuild(&op, 0, &mut bases, &mut hashing(2 * content.len()), &mut Vec::new());
    assert!(matches!(refused, Err(RebuildError::BasisShort { basis: 0, at }) if at == size), "{refused:?}");
}
