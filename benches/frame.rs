//! Frames of the three messages that carry the bulk of a session, written and read.
//!
//! `cargo bench --bench frame`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strait::delta::ops::Op;
use strait::model::{ContentHash, Kind, List, Meta, Name, RelPath, Tag, Time};
use strait::proto::frame::{HEAD_BYTES, Message, decode, encode};
use strait::proto::message::{
    Down, EntryHash, EntryInfo, Listing, ListingBody, Pack, PackBody, PackDir, PackFile, Up,
};

fn meta(index: usize) -> Meta {
    Meta { mode: 0o644, mtime: Time { secs: 1_767_225_600 + index as i64, nanos: 123_456_789 } }
}

fn name(index: usize) -> Name {
    Name::parse(format!("a-file-of-the-usual-length-{index}.txt").as_bytes()).expect("a name")
}

/// 200 files of 1,000 bytes in one directory.
fn pack() -> Up {
    let file = |index| PackFile {
        name: name(index),
        meta: meta(index),
        size: 1_000,
        body: PackBody::Whole(vec![index as u8; 1_000]),
    };
    let path = RelPath::parse(b"some/directory").expect("a path");
    Up::Pack(Box::new(Pack {
        id: 1,
        dirs: List::new(vec![PackDir { path, meta: None, n_files: 200 }]),
        files: List::new((0..200).map(file).collect()),
        hash: ContentHash([1; 32]),
    }))
}

/// 64 KiB of literals between unchanged stretches.
fn delta() -> Up {
    let ops = (0..64).flat_map(|index| [Op::Same { len: 65_536 }, Op::Literal(vec![index; 1_024])]);
    Up::Delta { id: 2, at: 0, ops: List::new(ops.collect()) }
}

/// 2,000 entries with tags.
fn listing() -> Down {
    let entry = |index| EntryInfo {
        name: name(index),
        kind: Kind::File,
        meta: meta(index),
        size: 70_000 + index as u64,
        hash: EntryHash::Tag(Tag([index as u8; 8])),
        n_below: 0,
    };
    Down::Listing(Box::new(Listing {
        request: 1,
        dir: RelPath::parse(b"some/directory").expect("a path"),
        hash: Some(ContentHash([2; 32])),
        n_below: 2_000,
        body: ListingBody::Entries(List::new((0..2_000).map(entry).collect())),
        more: false,
    }))
}

fn both_ways<M: Message>(c: &mut Criterion, name: &str, message: &M) {
    let mut frame = Vec::new();
    encode(message, &mut frame);
    let mut group = c.benchmark_group(name);
    group.sample_size(20).throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            frame.clear();
            encode(black_box(message), &mut frame);
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| decode::<M>(black_box(&frame[HEAD_BYTES..])).expect("it was just written"));
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    both_ways(c, "pack", &pack());
    both_ways(c, "delta frame", &delta());
    both_ways(c, "listing", &listing());
}

criterion_group!(benches, frames);
criterion_main!(benches);
