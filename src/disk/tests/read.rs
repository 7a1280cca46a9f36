//! Reading below a root.

use super::*;
use crate::disk::Hashed;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};

#[test]
fn no_symlink_below_a_root_is_followed() {
    for has_openat2 in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/file"), "bytes").unwrap();
        symlink("real", dir.path().join("alias")).unwrap();
        symlink("real/file", dir.path().join("link")).unwrap();
        symlink("/etc", dir.path().join("out")).unwrap();
        let mut root = root(dir.path());
        root.has_openat2 &= has_openat2;
        assert!(root.open_file(&path("real/file")).is_ok());
        for refused in ["alias/file", "link", "out/passwd"] {
            let error = root.open_file(&path(refused)).expect_err(refused);
            assert_eq!(error.raw_os_error(), Some(40), "{refused}: {error}");
        }
        assert_eq!(root.stat(&path("alias/file")).expect_err("a symlink").raw_os_error(), Some(40));
        assert_eq!(root.read_link(&path("link")).unwrap(), b"real/file");
        assert_eq!(root.stat(&path("real/none")).unwrap(), None);
        assert_eq!(root.stat(&path("real/file/below")).unwrap(), None);
    }
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    let root = root(dir.path());
    assert!(root.open_file(&path("fifo")).is_err());
    assert!(root.open_file(&path("dir")).is_err());
}

#[test]
fn a_root_that_was_replaced_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("source");
    fs::create_dir(&place).unwrap();
    let root = root(&place);
    assert!(root.is_still(&place));
    fs::rename(&place, dir.path().join("away")).unwrap();
    assert!(!root.is_still(&place));
    fs::create_dir(&place).unwrap();
    assert!(!root.is_still(&place));
}

#[test]
fn holes_are_told_and_fed_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("sparse")).unwrap();
    file.set_len(4 << 20).unwrap();
    file.write_all_at(&[7; 4096], 1 << 20).unwrap();
    let root = root(dir.path());
    let holes = root.open_file(&path("sparse")).unwrap().holes().unwrap();
    let data_bytes = (4 << 20) - holes.iter().map(|(_, len)| len).sum::<u64>();
    assert_eq!(data_bytes, 4096, "{holes:?}");
    let memory = Memory::default();
    let scan = scan_all(&root, &memory).unwrap();
    let mut bytes = vec![0; 4 << 20];
    bytes[1 << 20..][..4096].fill(7);
    assert_eq!(scan.root.entries().nodes().next().unwrap().hash(), Some(ContentHash::of(&bytes)));
    assert_eq!(memory.counts().bytes, 4096);
    assert_eq!(memory.counts().zeros, (4 << 20) - 4096);
}

/// Changes the file behind its reader's back, every time it is read.
struct Meddler<'a>(&'a Path);

impl Contents for Meddler<'_> {
    fn known(&self, _: &Stat) -> Option<ContentHash> {
        None
    }

    fn begin(&self, _: &RelPath, _: &Stat) -> Box<dyn Indexing + '_> {
        fs::write(self.0, "changed again").unwrap();
        Box::new(Never)
    }
}

struct Never;

impl ContentSink for Never {
    fn read(
        &mut self,
        content: &dyn ReadAt,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
        _: &dyn Fn(u64) -> bool,
    ) -> io::Result<u64> {
        read_range(content, range, buffer).map(|n_read| n_read as u64)
    }
    fn update_zeros(&mut self, _: u64) {}
}

impl Indexing for Never {
    fn finish(self: Box<Self>, _: &Stat) -> ContentHash {
        panic!("a content that changed while it was read is learned")
    }
}

#[test]
fn a_file_that_keeps_changing_is_never_learned() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("log");
    fs::write(&place, "first").unwrap();
    let root = root(dir.path());
    let meddler = Meddler(&place);
    let hashed = crate::disk::hash_pending(&root, &path("log"), &meddler, &AtomicBool::new(false));
    assert!(matches!(hashed, Hashed::Unstable), "{hashed:?}");
    let scan = scan_all(&root, &meddler).unwrap();
    assert_eq!(scan.findings.unstable, [path("log")]);
    assert!(scan.root.entries().is_empty());
}

/// It was taken for an empty file, and the push said that all was in step.
#[test]
fn a_file_that_holds_more_than_its_size_says_cannot_be_read() {
    let root = root(Path::new("/proc/sys/kernel"));
    let hash =
        |name| crate::disk::hash_pending(&root, &path(name), &Memory::default(), &AtomicBool::new(false));
    let hashed = hash("ostype");
    assert!(matches!(&hashed, Hashed::Unreadable(why) if why.to_string().contains("0 bytes")), "{hashed:?}");
}
