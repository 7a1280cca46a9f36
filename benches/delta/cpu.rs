//! What the engine takes of the processor: GB of target for each second of processor time, and of the clock.
//!
//! `cargo bench --bench delta_cpu [-- [--mib SIZE] [--rounds N] [--only NAME] [OLD NEW]...]`: made targets of SIZE
//! (128) MiB, then pairs of files. All measures of a row take turns, and the least of N (5) rounds counts: on a
//! machine that others use too the ratios hold. Prints a table in Markdown.

#[allow(dead_code, reason = "shared with the other bench")]
mod scenarios;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use scenarios::{Known, MIB, Sieves, copies_of, delta_of, indexed, noise, plain_signature, scenarios};
use strait::delta::chunks::ChunkMap;
use strait::delta::index::Indexer;

/// What something took.
#[derive(Clone, Copy)]
struct Took {
    cpu: Duration,
    clock: Duration,
}

fn cpu_now() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn took(work: impl FnOnce()) -> Took {
    let (cpu, clock) = (cpu_now(), Instant::now());
    work();
    Took { cpu: cpu_now() - cpu, clock: clock.elapsed() }
}

/// The least of several rounds, in which all take turns.
fn measure<const N: usize>(n_rounds: usize, work: [&dyn Fn(); N]) -> [Took; N] {
    let mut least = [Took { cpu: Duration::MAX, clock: Duration::MAX }; N];
    for _ in 0..n_rounds {
        for (work, least) in work.iter().zip(&mut least) {
            let Took { cpu, clock } = took(work);
            *least = Took { cpu: cpu.min(least.cpu), clock: clock.min(least.clock) };
        }
    }
    least
}

/// As many parts as there are cores, each hashed on its own: as fast as BLAKE3 can be here.
fn blake3_on_all_cores(bytes: &[u8]) {
    let n_cores = std::thread::available_parallelism().map_or(1, |n_cores| n_cores.get());
    std::thread::scope(|scope| {
        for part in bytes.chunks(bytes.len().div_ceil(n_cores)) {
            scope.spawn(|| black_box(blake3::hash(part)));
        }
    });
}

fn row(name: &str, basis: &[u8], target: &Vec<u8>, n_rounds: usize) {
    let known = Known::of(basis);
    let plain_signature = plain_signature(basis);
    let plain_index = plain_signature.index();
    let size = target.len() as u64;
    let chunks = ChunkMap::compute(target);
    let copies = copies_of(&chunks, &known);
    let engine = || {
        let index = indexed(target, Indexer::hash_only(target.len() as u64));
        delta_of(target, &index, &known, &copies, Sieves::All, |_, ops| drop(black_box(ops)))
    };
    let change = || {
        let index = indexed(target, Indexer::over(size, Some(known.earlier())));
        let copies = copies_of(index.chunks.as_ref().expect("more than one group"), &known);
        delta_of(target, &index, &known, &copies, Sieves::All, |_, ops| drop(black_box(ops)))
    };
    let plain = || {
        let mut delta = Vec::new();
        fast_rsync::diff(&plain_index, target, &mut delta).expect("own signature");
        delta
    };
    let stats = change();
    let plain_bytes = plain().len();
    let index = indexed(target, Indexer::hash_only(target.len() as u64));
    let took = measure(
        n_rounds,
        [
            &|| {
                black_box(blake3::hash(target));
            },
            &|| blake3_on_all_cores(target),
            &|| drop(black_box(indexed(target, Indexer::hash_only(target.len() as u64)))),
            &|| {
                black_box(delta_of(target, &index, &known, &copies, Sieves::All, |_, ops| {
                    drop(black_box(ops))
                }));
            },
            &|| {
                black_box(engine());
            },
            &|| drop(black_box(indexed(target, Indexer::new(size)))),
            &|| {
                black_box(change());
            },
            &|| drop(black_box(plain())),
        ],
    );
    let speed = |took: Duration| target.len() as f64 / took.as_secs_f64() / 1e9;
    let cells = took.map(|took| format!("{:.2} ({:.2})", speed(took.cpu), speed(took.clock)));
    let [blake3, spread_blake3, _, _, engine, .., plain] = took;
    println!(
        "| {name} | {} | {:.2} | {:.2} | {:.1} | {} \\| {} |",
        cells.join(" | "),
        speed(engine.cpu) / speed(blake3.cpu),
        speed(engine.clock) / speed(spread_blake3.clock),
        speed(engine.clock) / speed(plain.clock),
        stats.wire_bytes(),
        plain_bytes,
    );
}

fn main() {
    let (mut mib, mut n_rounds, mut only, mut pairs) = (128, 5, None, Vec::new());
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value follows");
        match &word[..] {
            // To see that it runs.
            "--test" => (mib, n_rounds) = (1, 1),
            "--mib" => mib = value().parse().expect("a number"),
            "--rounds" => n_rounds = value().parse().expect("a number"),
            "--only" => only = Some(value()),
            _ => pairs.push([word, value()]),
        }
    }
    println!(
        "GB of target for each second of the processor, in brackets of the clock; all cores but the first BLAKE3 and plain"
    );
    println!(
        "| target | BLAKE3 | BLAKE3, all cores | hash and groups | sieve | engine: both | index of a new file | a whole change | plain | engine / BLAKE3, processor | the same, clock, all cores | engine / plain, clock | delta, plain delta, bytes |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let basis = noise(mib * MIB, 1);
    for (name, target) in scenarios(&basis).into_iter().filter(|(name, _)| wanted(name)) {
        row(name, &basis, &target, n_rounds);
    }
    for [old, new] in pairs {
        let read = |path: &str| std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        row(new.rsplit('/').next().unwrap_or(&new), &read(&old), &read(&new), n_rounds);
    }
}
