//! A scan of 10,000 files in 100 directories: nothing known, and all known.
//!
//! `cargo bench --bench scan`. The files are in the page cache either way: what is measured is the scan,
//! not the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use strait::disk::{Hashing, Options, Progress, Root, Special, Verdict, scan};
use strait::server::contents::KnownContents;
use strait::store::Cache;

const DIRS: usize = 100;
const FILES_A_DIR: usize = 100;
const FILE_BYTES: usize = 2_000;

fn make_files(root: &Path) {
    // Old enough for a stat to be believed.
    let time = SystemTime::now() - Duration::from_secs(3_600);
    for dir in 0..DIRS {
        let dir = root.join(format!("directory-{dir}"));
        fs::create_dir(&dir).expect("a directory is made");
        for file in 0..FILES_A_DIR {
            let path = dir.join(format!("file-{file}.txt"));
            fs::write(&path, vec![file as u8; FILE_BYTES]).expect("a file is written");
            let opened = fs::File::open(&path).expect("it was just written");
            opened.set_modified(time).expect("its time is set");
        }
    }
}

fn new_cache() -> KnownContents {
    KnownContents::new(Arc::new(Cache::in_memory().expect("memory can be had")))
}

fn scan_all(root: &Root, known: &KnownContents) -> u64 {
    let contents = known.for_scan(false);
    let progress = Progress::default();
    let options = Options {
        filter: &|_, _| Verdict::Take,
        before_list: None,
        hashing: Hashing::Now,
        special: Special::LeaveOut,
        n_threads: 0,
        progress: &progress,
        stop: &AtomicBool::new(false),
    };
    let scanned = scan(root, &contents, &options).expect("nobody touches it");
    scanned.root.n_below()
}

fn scans(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    make_files(folder.path());
    let root = Root::open(folder.path()).expect("it was just made");
    let n_files = (DIRS * FILES_A_DIR) as u64;
    let mut group = c.benchmark_group("scan of 10,000 files");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(n_files));
    group.bench_function("nothing known", |b| {
        b.iter_with_setup(new_cache, |known| {
            assert_eq!(scan_all(&root, &known), n_files + DIRS as u64);
            known
        });
    });
    let known = new_cache();
    // A stat is believed only when it is older than the clock's step.
    std::thread::sleep(Duration::from_millis(strait::disk::RACY_MS as u64 + 100));
    scan_all(&root, &known);
    known.sync();
    group.bench_function("all known", |b| b.iter(|| scan_all(&root, &known)));
    group.finish();
}

criterion_group!(benches, scans);
criterion_main!(benches);
