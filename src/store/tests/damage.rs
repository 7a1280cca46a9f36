//! Damaged, foreign and unsynced files: every answer is right or absent, and the cache goes on.

use super::*;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_file_of_another_format_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, _) = Cache::open(folder.path()).expect("it opens");
    cache
        .store
        .write(|transaction| {
            rows::Writing::open(transaction, rows::WORDS, "words")?.store(b"\0format", &9_u32.to_le_bytes())
        })
        .expect("it is written");
    drop(cache);
    let (_, opened) = Cache::open(folder.path()).expect("it opens");
    let Opened::Rebuilt { set_aside, .. } = opened else { panic!("{opened:?}") };
    assert_eq!(set_aside, folder.path().join("cache.damaged-1"));
}

#[test]
fn useless_files_are_set_aside_and_one_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cache.redb");
    for (number, bytes) in [&b""[..], b"no database at all", &[0; 70_000], &[255; 5_000]].iter().enumerate() {
        fs::write(&file, bytes).expect("a file");
        let (cache, opened) = Cache::open(folder.path()).expect("it opens");
        let Opened::Rebuilt { set_aside, .. } = opened else { panic!("{opened:?}") };
        assert_eq!(set_aside, folder.path().join(format!("cache.damaged-{}", number + 1)));
        fill(&cache);
        assert_eq!(check_or_absent(&cache), ALL_RIGHT);
    }
    let n_files = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(n_files, 2, "the cache and the last one set aside");
}

#[test]
fn what_was_not_synced_may_be_lost_but_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, _) = Cache::open(folder.path()).expect("it opens");
    fill(&cache);
    cache.set_word("late", b"unsynced").expect("a word fits");
    // What a kill would leave: the file as it is now.
    let copy = tempfile::tempdir().expect("a folder");
    fs::copy(folder.path().join("cache.redb"), copy.path().join("cache.redb")).expect("a copy");
    let (killed, opened) = Cache::open(copy.path()).expect("it opens");
    assert_eq!(opened, Opened::Found);
    assert_eq!(check_or_absent(&killed), ALL_RIGHT);
    assert_eq!(killed.word("late"), None);
}

/// A disk that is full while `is_full` says so.
#[derive(Debug)]
struct FullDisk {
    memory: redb::backends::InMemoryBackend,
    is_full: Arc<AtomicBool>,
}

impl redb::StorageBackend for FullDisk {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.memory.write(offset, data)
    }
}

#[test]
fn after_a_full_disk_the_file_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, _) = Cache::open(folder.path()).expect("it opens");
    fill(&cache);
    drop(cache);
    let is_full = Arc::new(AtomicBool::new(false));
    let disk = FullDisk { memory: Default::default(), is_full: is_full.clone() };
    let database = redb::Database::builder().create_with_backend(disk).expect("it is made");
    let store = Store::with(Some(folder.path().to_path_buf()), database);
    let cache = Cache { store: Arc::new(store) };
    is_full.store(true, Ordering::Relaxed);
    cache.set_word("client", b"not me").and_then(|()| cache.sync()).expect_err("the disk is full");
    cache.sync().expect("the file takes over");
    assert_eq!(check_or_absent(&cache), ALL_RIGHT);
    assert_eq!(cache.take_damage(), None);
}

/// A folder in memory where the system has one: these tests wait for no disk.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// Damages the bytes of a filled cache in many ways; `change` gets them and a random source.
fn fuzz(test: &str, rounds: usize, change: impl Fn(&mut Vec<u8>, &mut Random)) {
    let mut random = Random::seeded(test);
    let folder = quick_folder();
    let (cache, _) = Cache::open(folder.path()).expect("it opens");
    fill(&cache);
    drop(cache);
    let whole = fs::read(folder.path().join("cache.redb")).expect("the file");
    for _ in 0..rounds {
        let folder = quick_folder();
        let mut bytes = whole.clone();
        change(&mut bytes, &mut random);
        fs::write(folder.path().join("cache.redb"), &bytes).expect("a file");
        let (cache, _) = Cache::open(folder.path()).expect("it opens whatever is in it");
        check_or_absent(&cache);
        // Writing may meet the damage as well; after at most one more try all is right.
        cache.learn(&(0..200).map(row).collect::<Vec<_>>()).ok();
        cache.store_tree(&sample_tree(1_500)).ok();
        cache.sync().ok();
        check_or_absent(&cache);
        if cache.take_damage().is_some() {
            fill(&cache);
            assert_eq!(check_or_absent(&cache), ALL_RIGHT);
        }
    }
}

#[test]
fn flipped_bits_never_give_a_wrong_answer() {
    fuzz("flipped bits", 120, |bytes, random| {
        for _ in 0..1 + random.below(8) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
    });
}

#[test]
fn overwritten_ranges_never_give_a_wrong_answer() {
    fuzz("overwritten ranges", 40, |bytes, random| {
        let len = 1 + random.below(20_000) as usize;
        let at = random.below((bytes.len() - len) as u64) as usize;
        let fill = random.next() as u8;
        bytes[at..at + len].iter_mut().enumerate().for_each(|(index, byte)| *byte = fill ^ index as u8);
    });
}

#[test]
fn truncated_files_never_give_a_wrong_answer() {
    fuzz("truncated files", 40, |bytes, random| bytes.truncate(random.below(bytes.len() as u64) as usize));
}
