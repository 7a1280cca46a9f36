//! Whole pushes to a local destination in this process: scan, greeting, comparison, delta, commit to disk.
//!
//! `cargo bench --bench push`. What is made durable is so: the figures hold the syncs of the file system that
//! holds the temporary directory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group};
use strait::client::event::{Event, Outcome, Report};
use strait::client::options::{ClientOptions, Destination, Found, Once, ShadowSize};

/// Set in the run that has a home of its own.
const HAS_HOME: &str = "STRAIT_BENCH_HAS_HOME";
const SMALL_FILES: usize = 1_000;
const LARGE_BYTES: usize = 64 << 20;
const EDIT_BYTES: usize = 4_096;

struct Silent;

impl Report for Silent {
    fn event(&self, event: Event) {
        if let Event::Error { text } = event {
            eprintln!("{text}");
        }
    }
}

/// A source and a destination that go with it.
struct Pair {
    folder: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(folder.path().join("src")).expect("src is made");
        Self { folder }
    }

    fn with_small_files() -> Self {
        let pair = Self::new();
        for index in 0..SMALL_FILES {
            let content = noise(1_000 + index * 4, index as u64);
            fs::write(pair.src().join(format!("file-{index}.txt")), content).expect("a file is written");
        }
        pair
    }

    fn src(&self) -> PathBuf {
        self.folder.path().join("src")
    }

    fn push(&self) {
        push(&self.src(), &self.folder.path().join("dst"));
    }
}

fn push(source: &Path, dest: &Path) {
    let options = ClientOptions {
        source: source.to_owned(),
        destination: Destination::Local(dest.to_owned()),
        mode: Once::Push,
        hidden: false,
        excludes: Vec::new(),
        found: Found::Refuse,
        making: strait::server::options::Making::default(),
        bwlimit_bytes_per_s: None,
        ticket: None,
        server_key: None,
        identity: None,
        x25519_only: false,
        allow_mass_delete: false,
        no_delete: false,
        max_staleness: std::time::Duration::from_secs(10),
        shadow: ShadowSize::Bytes(0),
    };
    // A program confines the thread that runs it to its directories: each push has one of its own.
    let pushed = std::thread::spawn(|| strait::client::run(options, &Silent)).join();
    assert_eq!(pushed.expect("a push does not panic"), Outcome::InStep);
}

fn noise(n_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The time of the pushes alone, each after what `ready` makes.
fn timed(n: u64, ready: impl Fn() -> Pair) -> Duration {
    (0..n)
        .map(|_| {
            let pair = ready();
            let started = Instant::now();
            pair.push();
            started.elapsed()
        })
        .sum()
}

fn pushes(c: &mut Criterion) {
    let mut group = c.benchmark_group("push");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(10));
    group.bench_function("first of 1,000 small files", |b| {
        b.iter_custom(|n| timed(n, Pair::with_small_files));
    });
    let settled = Pair::with_small_files();
    settled.push();
    settled.push();
    group.bench_function("1,000 files in step", |b| b.iter(|| settled.push()));
    let large = Pair::new();
    fs::write(large.src().join("large"), noise(LARGE_BYTES, 1)).expect("a file is written");
    large.push();
    let edits = AtomicU64::new(2);
    group.bench_function("4 KiB edit of 64 MiB", |b| {
        b.iter(|| {
            let edit = edits.fetch_add(1, Ordering::Relaxed);
            let file = fs::File::options().write(true).open(large.src().join("large")).expect("it stands");
            let at = edit * 7_000_003 % (LARGE_BYTES - EDIT_BYTES) as u64;
            file.write_all_at(&noise(EDIT_BYTES, edit), at).expect("it can be edited");
            large.push();
        });
    });
    group.finish();
}

criterion_group!(benches, pushes);

/// Starts itself once more with a home of its own: a sender keeps its cache there.
fn main() -> ExitCode {
    if std::env::var_os(HAS_HOME).is_some() {
        benches();
        Criterion::default().configure_from_args().final_summary();
        return ExitCode::SUCCESS;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let status = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(std::env::args_os().skip(1))
        .env(HAS_HOME, "1")
        .env("HOME", home.path())
        .envs(["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"].map(|name| (name, home.path())))
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
