//! What the file has of room and does not need goes back to the disk.

use super::*;

fn file_bytes(folder: &std::path::Path) -> u64 {
    folder.join("cache.redb").metadata().unwrap().len()
}

fn fill(cache: &Cache, names: std::ops::Range<u64>) {
    for name in names {
        cache.store_groups(&hash(name), 1 << 26, &[name as u8; 32 << 10], PLENTY).unwrap();
    }
}

#[test]
fn a_file_of_which_most_is_free_shrinks_and_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = Cache::open(folder.path()).unwrap();
    fill(&cache, 0..1_500);
    cache.sync().unwrap();
    let full = file_bytes(folder.path());
    assert!(full > 48 << 20, "{full}");
    cache.trim_contents(100 * (32 << 10), |_| true).unwrap();
    // Somebody who reads is not waited for.
    let reader = cache.stat_reader();
    let trimmed = file_bytes(folder.path());
    cache.shrink().unwrap();
    assert_eq!(file_bytes(folder.path()), trimmed);
    drop(reader);
    fill(&cache, 2_000..2_010);
    cache.shrink().unwrap();
    let shrunk = file_bytes(folder.path());
    assert!(shrunk < 12 << 20, "{full} became {shrunk}");
    let is_there = |name| cache.groups(&hash(name)) == Some((1 << 26, vec![name as u8; 32 << 10]));
    assert!((1_400..1_500).chain(2_000..2_010).all(is_there));
    assert!(cache.groups(&hash(3)).is_none());
    drop(cache);
    let (cache, opened) = Cache::open(folder.path()).unwrap();
    assert!(matches!(opened, Opened::Found));
    assert_eq!(cache.groups(&hash(2_009)).unwrap().1.len(), 32 << 10);
}

#[test]
fn a_file_that_is_needed_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, _) = Cache::open(folder.path()).unwrap();
    for names in [0..600, 600..900] {
        fill(&cache, names);
        cache.sync().unwrap();
    }
    let before = file_bytes(folder.path());
    cache.shrink().unwrap();
    assert_eq!(file_bytes(folder.path()), before);
    assert!((0..900).all(|name| cache.groups(&hash(name)).is_some()));
}
