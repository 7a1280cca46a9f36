//! Sources that move under us: a file that is written all the time is sent all the same, each time as it was
//! at one moment, and never torn.

mod faults;

use faults::mounts::{Place, make_image, mount_image, own_mounts};
use faults::{DEADLINE, Running, Yard, free_port};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PAGE: usize = 4_096;
const PAGES: u64 = 40;

/// Writes until it is dropped; counts rounds.
struct Writer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(mut write: impl FnMut(u64) + Send + 'static) -> Self {
        Self::without_rest(move |round| {
            write(round);
            // Shorter than any file is left alone before it is believed.
            std::thread::sleep(Duration::from_millis(4));
        })
    }

    fn without_rest(mut write: impl FnMut(u64) + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                write(count.fetch_add(1, Ordering::Relaxed) + 1);
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A line of a log that tells its own number.
fn line(number: u64) -> Vec<u8> {
    format!("{number:010} {}\n", blake3::hash(&number.to_le_bytes()).to_hex()).into_bytes()
}

/// The log as it is after so many lines begins with these bytes.
fn is_log(bytes: &[u8]) -> bool {
    let whole: Vec<u8> = (1..).flat_map(line).take(bytes.len()).collect();
    whole == bytes
}

/// All pages of a version carry its number, and a version is written page by page: at any moment the first
/// pages are one ahead of the rest.
fn write_version(file: &File, version: u64) {
    for page in 0..PAGES {
        let bytes = version.to_le_bytes().repeat(PAGE / 8);
        file.write_all_at(&bytes, page * PAGE as u64).unwrap();
    }
}

fn is_version(bytes: &[u8]) -> bool {
    bytes.len() == PAGES as usize * PAGE && is_of_one_moment(bytes)
}

fn is_of_one_moment(bytes: &[u8]) -> bool {
    let numbers: Vec<u64> =
        bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
    let pages: Vec<u64> = numbers.chunks(PAGE / 8).map(|page| page[0]).collect();
    numbers.chunks(PAGE / 8).all(|page| page.iter().all(|number| *number == page[0]))
        && pages.is_sorted_by(|before, after| before >= after)
        && pages[0] - pages[pages.len() - 1] <= 1
}

fn watch(yard: &Yard, port: u16) -> Running {
    let (src, port) = (yard.src.to_str().unwrap(), port.to_string());
    let words = ["watch", src, "--max-staleness", "300ms", "--host", "127.0.0.1", "--port", &port, "--json"];
    yard.start("watch", &words)
}

/// Waits until so many versions were seen at a path; each must be right.
fn see_versions(path: &Path, n: usize, is_right: impl Fn(&[u8]) -> bool, of: &Running) {
    let until = Instant::now() + DEADLINE;
    let (mut seen, mut last) = (0, Vec::new());
    while seen < n {
        assert!(Instant::now() < until, "{seen} of {n} versions:\n{}{}", of.said(), of.erred());
        match std::fs::read(path) {
            Ok(bytes) if bytes != last => {
                assert!(is_right(&bytes), "a version of {} bytes that never was", bytes.len());
                (seen, last) = (seen + 1, bytes);
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn a_log_that_grows_all_the_time_is_followed() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let path = yard.src.join("log");
    let mut log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    (1..=3_000).for_each(|number| log.write_all(&line(number)).unwrap());
    let writer = Writer::start(move |round| log.write_all(&line(3_000 + round)).unwrap());
    let watch = watch(&yard, port);
    see_versions(&yard.dest.join("log"), 4, is_log, &watch);
    assert!(writer.rounds.load(Ordering::Relaxed) > 10, "it was written all the time");
    drop(writer);
    yard.converges("when the log rests");
}

#[test]
fn a_file_that_is_rewritten_all_the_time_is_sent_as_it_was_at_one_moment() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let file = File::create(yard.src.join("db")).unwrap();
    write_version(&file, 1);
    let writer = Writer::start(move |round| write_version(&file, 1 + round));
    let watch = watch(&yard, port);
    see_versions(&yard.dest.join("db"), 4, is_version, &watch);
    drop(writer);
    yard.converges("when the file rests");
}

#[test]
fn a_push_takes_a_file_that_never_rests_as_it_is_at_one_moment() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let file = File::create(yard.src.join("db")).unwrap();
    write_version(&file, 1);
    let mut log = OpenOptions::new().create(true).append(true).open(yard.src.join("log")).unwrap();
    let _writer = Writer::start(move |round| {
        write_version(&file, 1 + round);
        log.write_all(&line(round)).unwrap();
    });
    // Where nothing clones, two readings must agree between two writes: a push that never saw that says so with 3.
    let is_partial = |ended: &faults::Ended| ended.status.code() == Some(3);
    let ended = (0..10).map(|_| yard.push(Some(port))).find(|ended| !is_partial(ended));
    ended.expect("one push of ten finds a quiet moment").is_in_step("a push");
    assert!(is_version(&std::fs::read(yard.dest.join("db")).unwrap()));
    assert!(is_log(&std::fs::read(yard.dest.join("log")).unwrap()));
}

// It was counted as not in step, and not named.
#[test]
fn a_push_names_a_file_that_was_never_the_same_twice() {
    let yard = Yard::new();
    let file = File::create(yard.src.join("db")).unwrap();
    file.set_len(64 << 20).unwrap();
    let round = Arc::new(AtomicU64::new(0));
    let _writers: Vec<_> = (0..2)
        .map(|_| (file.try_clone().unwrap(), round.clone()))
        .map(|(file, round)| {
            Writer::without_rest(move |_| {
                let round = round.fetch_add(1, Ordering::Relaxed);
                file.write_all_at(&round.to_le_bytes(), round % 16_384 * 4_096).unwrap();
            })
        })
        .collect();
    let ended = yard.push(None);
    // Where files are cloned, one moment is always had.
    if ended.status.code() != Some(0) {
        assert_eq!(ended.status.code(), Some(3), "{}", ended.err);
        let names_it = |line: &str| line.contains(r#""event":"skipped""#) && line.contains(r#""path":"db""#);
        assert!(ended.out.lines().any(names_it), "{}", ended.out);
    }
}

/// Pages of each half of a file whose halves are written at the same time.
const HALF_PAGES: u64 = 4_096;

/// Where the file system clones, one moment is had of a file of which no two readings ever agree.
fn is_cloned(n_mib: u64, make: &[&str]) {
    let mut yard = Yard::new();
    // The clone is made beside the client's state: both are on it.
    let home = yard.path.join("home");
    make_image(&yard.path.join("image"), n_mib, make);
    mount_image(&yard.path.join("image"), &home);
    yard.src = home.join("src");
    std::fs::create_dir(&yard.src).unwrap();
    let file = File::create(yard.src.join("db")).unwrap();
    (0..2 * HALF_PAGES).for_each(|page| file.write_all_at(&[0; PAGE], page * PAGE as u64).unwrap());
    let writers = [0, HALF_PAGES].map(|first| {
        let file = file.try_clone().unwrap();
        Writer::without_rest(move |round| {
            let (version, page) = (1 + (round - 1) / HALF_PAGES, first + (round - 1) % HALF_PAGES);
            file.write_all_at(&version.to_le_bytes().repeat(PAGE / 8), page * PAGE as u64).unwrap();
        })
    });
    let mut before = Vec::new();
    for round in 1..=3 {
        yard.push(None).is_in_step(&format!("push {round}"));
        let bytes = std::fs::read(yard.dest.join("db")).unwrap();
        assert!(bytes != before, "push {round} sent nothing");
        assert!(bytes.chunks(bytes.len() / 2).all(is_of_one_moment), "push {round} sent what never was");
        before = bytes;
    }
    let n_rounds = writers.iter().map(|writer| writer.rounds.load(Ordering::Relaxed));
    assert!(n_rounds.min() > Some(HALF_PAGES), "both halves were written all the time");
}

#[test]
fn a_file_that_never_rests_is_cloned_on_btrfs() {
    if own_mounts("a_file_that_never_rests_is_cloned_on_btrfs", &["mkfs.btrfs"]) == Place::Inside {
        is_cloned(800, &["mkfs.btrfs", "-q"]);
    }
}

#[test]
fn a_file_that_never_rests_is_cloned_on_xfs() {
    if own_mounts("a_file_that_never_rests_is_cloned_on_xfs", &["mkfs.xfs"]) == Place::Inside {
        is_cloned(800, &["mkfs.xfs", "-q", "-m", "reflink=1"]);
    }
}

#[test]
fn a_file_that_is_cut_short_or_replaced_while_it_is_sent_is_never_torn() {
    let yard = Yard::new();
    let port = free_port();
    let _server = yard.serve(port);
    let (path, aside) = (yard.src.join("f"), yard.path.join("aside"));
    let content = |version: u64| (version.to_le_bytes()).repeat(30_000 + (version as usize * 7_919) % 50_000);
    std::fs::write(&path, content(1)).unwrap();
    let writer = Writer::start(move |round| {
        // In turn: replaced by a rename, and cut to nothing and written again.
        if round % 2 == 0 {
            std::fs::write(&aside, content(1 + round)).unwrap();
            std::fs::rename(&aside, &path).unwrap();
        } else {
            std::fs::write(&path, content(1 + round)).unwrap();
        }
    });
    let watch = watch(&yard, port);
    let is_right = |bytes: &[u8]| {
        // Whole, or what `write` had come to: the beginning of one version.
        let numbers = bytes.as_chunks::<8>().0;
        numbers.iter().all(|number| number == &numbers[0])
    };
    see_versions(&yard.dest.join("f"), 4, is_right, &watch);
    drop(writer);
    yard.converges("when the file rests");
}

/// Size 0 to whoever asks, and something to whoever reads: they were sent as empty files, and the push ended with 0.
#[test]
fn files_that_hold_more_than_their_size_says_are_named() {
    let yard = Yard::new();
    let ended = yard.push_from(Path::new("/proc/sys/kernel/random"), None);
    assert_eq!(ended.status.code(), Some(3), "{}{}", ended.out, ended.err);
    assert!(
        ended.out.contains("boot_id") && ended.out.contains("0 bytes that its size says"),
        "{}",
        ended.out
    );
    assert!(!yard.dest.join("boot_id").exists());
}

/// The threads of the push itself are in what it sends: each look at it finds new ones, and it never ended.
#[test]
fn a_source_that_has_new_names_all_the_time_ends_a_push_all_the_same() {
    let yard = Yard::new();
    let ended = yard.push_from(Path::new("/proc/self/task"), None);
    assert_eq!(ended.status.code(), Some(3), "{}{}", ended.out, ended.err);
}
