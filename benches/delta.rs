//! Signature, delta and rebuild over 64 MiB, beside plain `fast_rsync` and plain BLAKE3.
//!
//! `cargo bench --bench delta`; the bytes of each delta are printed once.

use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use fast_rsync::{Signature, SignatureOptions};
use strait::delta::chunks::ChunkMap;
use strait::delta::find::{Finder, Match};
use strait::delta::groups::GroupTree;
use strait::delta::index::{ContentIndex, Indexer};
use strait::delta::ops::Op;
use strait::delta::rebuild::{Bases, Sink, rebuild};
use strait::delta::sieve::{Against, DeltaStats, KnownBasis, KnownCopy, ReadAt, Target, sieve};
use strait::model::ContentHash;

const MIB: usize = 1 << 20;
const TARGET_BYTES: usize = 64 * MIB;
/// How a file is read for indexing.
const PIECE_BYTES: usize = 2 * MIB;
/// rsync's block size is about the square root of the file's.
const PLAIN_BLOCK_BYTES: u32 = 2_039;

fn noise(size: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..size / 8).flat_map(|_| next().to_le_bytes()).collect()
}

fn indexed(bytes: &[u8], mut indexer: Indexer) -> ContentIndex {
    bytes.chunks(PIECE_BYTES).for_each(|piece| indexer.update(piece));
    indexer.finish()
}

/// The targets, by name.
fn scenarios(basis: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let edit = |n_edits: usize, edit_bytes: usize| {
        let mut target = basis.to_vec();
        for (edit, new) in noise(n_edits * 8, 77).chunks_exact(8).enumerate() {
            let place =
                usize::from_le_bytes(new.try_into().expect("eight bytes")) % (TARGET_BYTES - edit_bytes);
            let place = place - place % edit_bytes;
            target[place..place + edit_bytes]
                .copy_from_slice(&noise(edit_bytes.max(8), edit as u64 + 1)[..edit_bytes]);
        }
        target
    };
    let inserts = |n: usize| {
        basis.chunks(TARGET_BYTES / n).flat_map(|piece| [piece, b"inserted"].concat()).collect::<Vec<u8>>()
    };
    let permuted = basis.rchunks(3 * MIB + 4_097).flat_map(|piece| piece.iter().copied()).collect();
    vec![
        ("identical", basis.to_vec()),
        ("0.1 % of pages", edit(TARGET_BYTES / 4096 / 1000, 4096)),
        ("1000 bytes", edit(1000, 1)),
        ("head insert", [&[7; 100], basis].concat()),
        ("shifted", basis[12_345..].to_vec()),
        ("permuted", permuted),
        ("100 inserts", inserts(100)),
        ("1000 inserts", inserts(1_000)),
        ("append", [basis, &noise(100_000, 5)].concat()),
        ("unrelated", noise(TARGET_BYTES, 99)),
        ("zeros", vec![0; TARGET_BYTES]),
    ]
}

/// Which sieves are let at a target.
#[derive(Clone, Copy, PartialEq)]
enum Sieves {
    All,
    Groups,
    Chunks,
    Blocks,
}

/// What is known of the basis, with its chunk map.
struct Known {
    basis: KnownBasis,
    hash: ContentHash,
    chunks: ChunkMap,
}

fn delta_of(
    target: &Vec<u8>,
    index: &ContentIndex,
    known: &Known,
    sieves: Sieves,
    mut take: impl FnMut(u64, Vec<Op>),
) -> DeltaStats {
    let basis = &known.basis;
    let bases = [KnownBasis {
        groups: basis.groups.clone().filter(|_| matches!(sieves, Sieves::All | Sieves::Groups)),
        signatures: match sieves {
            Sieves::All | Sieves::Blocks => basis.signatures.clone(),
            Sieves::Groups | Sieves::Chunks => Vec::new(),
        },
        ..*basis
    }];
    let copies = match (&index.chunks, sieves) {
        (Some(chunks), Sieves::All | Sieves::Chunks) => copies_of(chunks, known),
        _ => Vec::new(),
    };
    let target = Target {
        content: target,
        size: index.size,
        hash: index.hash,
        groups: index.groups.as_ref(),
        holes: &[],
    };
    let mut emit = |at, ops| {
        take(at, ops);
        ControlFlow::Continue(())
    };
    let against = Against { bases: &bases, copies: &copies, ..Against::default() };
    sieve(target, against, 0, &mut emit).expect("a target in memory does not change")
}

/// The parts of a target that stand in the basis, as its chunks tell.
fn copies_of(chunks: &ChunkMap, known: &Known) -> Vec<KnownCopy> {
    let mut finder = Finder::new(chunks, |_, _| true);
    finder.look_in(known.hash, &known.chunks);
    let copy = |found: Match| KnownCopy { at: found.at, len: found.len, basis: 0, offset: found.offset };
    finder.matches().into_iter().map(copy).collect()
}

struct Held<'a>(&'a Vec<u8>);

impl Bases for Held<'_> {
    fn len(&self, _: u32) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn read_at(&mut self, _: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.as_slice().read_at(buf, offset)
    }
}

/// Counts; where the bytes would go is the disk's bench.
struct Counted(u64);

impl Sink for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += black_box(bytes).len() as u64;
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.0 += len;
        Ok(())
    }
}

fn plain_signature(basis: &[u8]) -> Signature {
    let options = SignatureOptions { block_size: PLAIN_BLOCK_BYTES, crypto_hash_size: 8 };
    Signature::calculate(basis, options)
}

fn signature(c: &mut Criterion) {
    let basis = noise(TARGET_BYTES, 1);
    let mut group = c.benchmark_group("signature");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Bytes(TARGET_BYTES as u64));
    group.bench_function("blake3, one thread", |b| b.iter(|| blake3::hash(&basis)));
    group.bench_function("group tree, one thread", |b| b.iter(|| GroupTree::compute(&basis)));
    group.bench_function("hash and groups", |b| b.iter(|| indexed(&basis, Indexer::hash_only())));
    group.bench_function("hash, groups and blocks", |b| {
        b.iter(|| indexed(&basis, Indexer::new(TARGET_BYTES as u64)))
    });
    group.bench_function("plain fast_rsync", |b| b.iter(|| plain_signature(&basis)));
    group.finish();
}

fn diff_and_apply(c: &mut Criterion) {
    let basis = noise(TARGET_BYTES, 1);
    let basis_index = indexed(&basis, Indexer::new(TARGET_BYTES as u64));
    let known = Known {
        basis: KnownBasis {
            index: 0,
            size: basis_index.size,
            groups: basis_index.groups.as_ref().map(|groups| groups.tags(0)),
            signatures: basis_index.signature.into_iter().collect(),
        },
        hash: basis_index.hash,
        chunks: basis_index.chunks.unwrap_or_default(),
    };
    let plain = plain_signature(&basis);
    for (name, target) in scenarios(&basis) {
        let index = indexed(&target, Indexer::new(target.len() as u64));
        let mut frames = Vec::new();
        let stats = delta_of(&target, &index, &known, Sieves::All, |at, ops| frames.push((at, ops)));
        let mut plain_delta = Vec::new();
        fast_rsync::diff(&plain.index(), &target, &mut plain_delta).expect("own signature");
        println!(
            "{name}: {} wire bytes in {} ops; plain fast_rsync {}; found by groups {}, chunks {}, blocks {}, zeros {}",
            stats.wire_bytes(),
            stats.n_ops,
            plain_delta.len(),
            stats.by_groups,
            stats.by_chunks,
            stats.by_blocks,
            stats.zeros
        );

        let mut group = c.benchmark_group(format!("diff, {name}"));
        group
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat)
            .throughput(Throughput::Bytes(target.len() as u64));
        for (sieves, label) in [
            (Sieves::All, "sieve"),
            (Sieves::Groups, "groups alone"),
            (Sieves::Chunks, "chunks alone"),
            (Sieves::Blocks, "blocks alone"),
        ] {
            group.bench_function(label, |b| {
                b.iter(|| delta_of(&target, &index, &known, sieves, |_, ops| drop(black_box(ops))))
            });
        }
        group.bench_function("index and sieve", |b| {
            b.iter(|| {
                let index = indexed(&target, Indexer::hash_only());
                delta_of(&target, &index, &known, Sieves::All, |_, ops| drop(black_box(ops)))
            })
        });
        group.bench_function("plain fast_rsync", |b| {
            b.iter(|| {
                let mut delta = Vec::new();
                fast_rsync::diff(&plain.index(), &target, &mut delta).expect("own signature");
                delta
            })
        });
        group.bench_function("index with chunks and blocks, and sieve", |b| {
            b.iter(|| {
                let index = indexed(&target, Indexer::new(target.len() as u64));
                delta_of(&target, &index, &known, Sieves::All, |_, ops| drop(black_box(ops)))
            })
        });
        group.bench_function("blake3, one thread", |b| b.iter(|| blake3::hash(&target)));
        group.finish();

        apply(c, name, (&basis, &target), &frames, &plain_delta);
    }
}

/// Rebuilds a target of the ops of its delta.
fn apply(
    c: &mut Criterion,
    name: &str,
    (basis, target): (&Vec<u8>, &[u8]),
    frames: &[(u64, Vec<Op>)],
    plain_delta: &[u8],
) {
    let mut group = c.benchmark_group(format!("apply, {name}"));
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Bytes(target.len() as u64));
    group.bench_function("rebuild", |b| {
        b.iter(|| {
            let (mut at, mut sink) = (0, Counted(0));
            for op in frames.iter().flat_map(|(_, ops)| ops) {
                at += rebuild(op, at, &mut Held(basis), &mut sink).expect("own ops");
            }
            assert_eq!(sink.0, target.len() as u64);
        })
    });
    group.bench_function("plain fast_rsync", |b| {
        b.iter(|| {
            let mut made = Vec::with_capacity(target.len());
            fast_rsync::apply_limited(basis, plain_delta, &mut made, target.len()).expect("own delta");
            made
        })
    });
    group.finish();
}

criterion_group! {
    name = delta;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = signature, diff_and_apply
}
criterion_main!(delta);
