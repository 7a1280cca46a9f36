//! Signature, delta and rebuild over 64 MiB, beside plain `fast_rsync` and plain BLAKE3.
//!
//! `cargo bench --bench delta`; the bytes of each delta are printed once.

mod scenarios;

use std::hint::black_box;
use std::io;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use scenarios::{Known, MIB, Sieves, copies_of, delta_of, indexed, noise, plain_signature, scenarios};
use strait::delta::groups::GroupTree;
use strait::delta::index::Indexer;
use strait::delta::ops::Op;
use strait::delta::rebuild::{Bases, Sink, rebuild};
use strait::delta::sieve::ReadAt;

const TARGET_BYTES: usize = 64 * MIB;

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

fn signature(c: &mut Criterion) {
    let basis = noise(TARGET_BYTES, 1);
    let mut group = c.benchmark_group("signature");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Bytes(TARGET_BYTES as u64));
    group.bench_function("blake3, one thread", |b| b.iter(|| blake3::hash(&basis)));
    group.bench_function("group tree, one thread", |b| b.iter(|| GroupTree::compute(&basis)));
    group.bench_function("hash and groups", |b| {
        b.iter(|| indexed(&basis, Indexer::hash_only(TARGET_BYTES as u64)))
    });
    group.bench_function("hash, groups and blocks", |b| {
        b.iter(|| indexed(&basis, Indexer::new(TARGET_BYTES as u64)))
    });
    group.bench_function("plain fast_rsync", |b| b.iter(|| plain_signature(&basis)));
    group.finish();
}

fn diff_and_apply(c: &mut Criterion) {
    let basis = noise(TARGET_BYTES, 1);
    let known = Known::of(&basis);
    let plain = plain_signature(&basis);
    for (name, target) in scenarios(&basis) {
        let index = indexed(&target, Indexer::new(target.len() as u64));
        let chunks = index.chunks.as_ref().expect("more than one group");
        let copies = copies_of(chunks, &known);
        let mut frames = Vec::new();
        let stats = delta_of(&target, &index, &known, &copies, Sieves::All, |at, ops| frames.push((at, ops)));
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
                b.iter(|| delta_of(&target, &index, &known, &copies, sieves, |_, ops| drop(black_box(ops))))
            });
        }
        group.bench_function("index and sieve", |b| {
            b.iter(|| {
                let index = indexed(&target, Indexer::hash_only(TARGET_BYTES as u64));
                delta_of(&target, &index, &known, &copies, Sieves::All, |_, ops| drop(black_box(ops)))
            })
        });
        group.bench_function("plain fast_rsync", |b| {
            b.iter(|| {
                let mut delta = Vec::new();
                fast_rsync::diff(&plain.index(), &target, &mut delta).expect("own signature");
                delta
            })
        });
        group.bench_function("a whole change: index with chunks and blocks, and sieve", |b| {
            b.iter(|| {
                let index = indexed(&target, Indexer::over(target.len() as u64, Some(known.earlier())));
                let copies = copies_of(index.chunks.as_ref().expect("more than one group"), &known);
                delta_of(&target, &index, &known, &copies, Sieves::All, |_, ops| drop(black_box(ops)))
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
                at += rebuild(op, at, &mut Held(basis), &mut sink, &mut Vec::new()).expect("own ops");
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
