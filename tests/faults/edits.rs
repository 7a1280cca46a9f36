//! Random edits of a tree: everything that a user may do to a directory between two moments.

use super::Rng;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A tree that is edited, and how large its files may become.
pub struct Editor {
    pub root: PathBuf,
    pub largest_bytes: usize,
}

impl Editor {
    /// One random edit; one that makes no sense here and now does nothing.
    pub fn edit(&self, rng: &mut Rng) {
        let result = match rng.below(20) {
            0..=3 => self.create(rng),
            4..=6 => self.overwrite(rng),
            7 => self.append(rng),
            8 => self.insert(rng),
            9 => self.truncate(rng),
            10 => self.delete(rng),
            11 => self.make_dir(rng),
            12 => self.remove_dir(rng),
            13..=15 => self.rename(rng),
            16 => self.chmod(rng),
            17 => self.touch(rng),
            18 => self.link(rng),
            _ => self.change_type(rng),
        };
        if let Err(error) = result {
            // What `O_NOFOLLOW` says of a symlink.
            let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
            let is_usual = is_link
                || matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::AlreadyExists
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidFilename
                );
            assert!(is_usual, "an edit failed: {error:?}");
        }
    }

    fn paths(&self, want: impl Fn(&fs::Metadata) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.root.clone()];
        while let Some(dir) = dirs.pop() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).collect();
            // The order of a directory is not the same from run to run.
            below.sort();
            for path in below {
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    dirs.push(path.clone());
                }
                if want(&meta) {
                    found.push(path);
                }
            }
        }
        found
    }

    fn any(&self, rng: &mut Rng, want: impl Fn(&fs::Metadata) -> bool) -> io::Result<PathBuf> {
        let paths = self.paths(want);
        if paths.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(rng.pick(&paths).clone()) }
    }

    fn file(&self, rng: &mut Rng) -> io::Result<PathBuf> {
        self.any(rng, |meta| meta.is_file())
    }

    fn dir(&self, rng: &mut Rng) -> PathBuf {
        match self.any(rng, |meta| meta.is_dir()) {
            Ok(dir) if !rng.chance(4) && dir.components().count() < 24 => dir,
            _ => self.root.clone(),
        }
    }

    fn fresh(&self, rng: &mut Rng) -> PathBuf {
        self.dir(rng).join(name(rng))
    }

    fn size(&self, rng: &mut Rng) -> usize {
        match rng.below(10) {
            0 => 0,
            1..=5 => rng.below(3_000),
            6 => 65_530 + rng.below(12),
            7 | 8 => rng.below(200_000.min(self.largest_bytes)),
            _ => rng.below(self.largest_bytes),
        }
    }

    fn create(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.fresh(rng);
        let size = self.size(rng);
        write_here(&path, &content(rng, size))
    }

    fn overwrite(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.file(rng)?;
        let size = fs::metadata(&path)?.len() as usize;
        if size == 0 || rng.chance(4) {
            let size = self.size(rng);
            return write_here(&path, &content(rng, size));
        }
        let file = open_here(&path)?;
        for _ in 0..=rng.below(20) {
            let n = rng.below(200) + 1;
            let bytes = rng.bytes(n);
            file.write_all_at(&bytes, rng.below(size) as u64)?;
        }
        Ok(())
    }

    fn append(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.file(rng)?;
        let n = rng.below(100_000);
        let at = fs::metadata(&path)?.len();
        open_here(&path)?.write_all_at(&content(rng, n), at)
    }

    fn insert(&self, rng: &mut Rng) -> io::Result<()> {
        let files = self.paths(|meta| meta.is_file());
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
        let path = files.iter().max_by_key(|path| size(path)).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = fs::read(path)?;
        let (at, n) = (rng.below(bytes.len() + 1), rng.below(300));
        bytes.splice(at..at, rng.bytes(n));
        write_here(path, &bytes)
    }

    fn truncate(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.file(rng)?;
        let size = fs::metadata(&path)?.len() as usize;
        // Longer as well as shorter: then with a hole.
        let len = if rng.chance(3) { size + rng.below(300_000) } else { rng.below(size + 1) };
        open_here(&path)?.set_len(len as u64)
    }

    fn delete(&self, rng: &mut Rng) -> io::Result<()> {
        fs::remove_file(self.any(rng, |meta| !meta.is_dir())?)
    }

    fn make_dir(&self, rng: &mut Rng) -> io::Result<()> {
        let mut path = self.fresh(rng);
        for _ in 0..rng.below(3) {
            path = path.join(name(rng));
        }
        fs::create_dir_all(path)
    }

    fn remove_dir(&self, rng: &mut Rng) -> io::Result<()> {
        if rng.chance(2) {
            return Ok(());
        }
        fs::remove_dir_all(self.any(rng, |meta| meta.is_dir())?)
    }

    fn rename(&self, rng: &mut Rng) -> io::Result<()> {
        let from = self.any(rng, |_| true)?;
        match rng.below(4) {
            0 => fs::rename(&from, self.any(rng, |_| true)?),
            // Two names exchange what they hold.
            1 => {
                let other = self.any(rng, |_| true)?;
                if other.starts_with(&from) || from.starts_with(&other) {
                    return Ok(());
                }
                let between = self.root.join("between-two-names");
                fs::rename(&from, &between)?;
                fs::rename(&other, &from)?;
                fs::rename(&between, &other)
            }
            _ => fs::rename(&from, self.fresh(rng)),
        }
    }

    fn chmod(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.any(rng, |meta| !meta.is_symlink())?;
        // Always readable and writable by us, so that the next edit and the scan may go on.
        let least = if fs::metadata(&path)?.is_dir() { 0o700 } else { 0o600 };
        let mode = least | rng.below(0o1000) as u32;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn touch(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.any(rng, |meta| !meta.is_symlink())?;
        let nanos = Duration::new(rng.next() % 4_000_000_000, rng.below(1_000_000_000) as u32);
        let time =
            if rng.chance(5) { UNIX_EPOCH.checked_sub(nanos / 4) } else { UNIX_EPOCH.checked_add(nanos) };
        fs::File::open(path)?.set_modified(time.unwrap())
    }

    fn link(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.fresh(rng);
        let target = match rng.below(4) {
            // Absolute, and climbing: names that nobody has.
            0 => PathBuf::from("/nonexistent-of-strait-tests/absolute"),
            1 => PathBuf::from("../../nonexistent-of-strait-tests/climbing"),
            2 => PathBuf::from(OsStr::from_bytes(b"not\xffutf8\n")),
            _ => PathBuf::from(name(rng)),
        };
        symlink(target, path)
    }

    fn change_type(&self, rng: &mut Rng) -> io::Result<()> {
        let path = self.any(rng, |_| true)?;
        remove(&path)?;
        match rng.below(3) {
            0 => {
                let size = self.size(rng);
                write_here(&path, &content(rng, size))
            }
            1 => symlink(name(rng), &path),
            _ => {
                fs::create_dir(&path)?;
                write_here(&path.join(name(rng)), &content(rng, 500))
            }
        }
    }
}

/// Writes a file at exactly this name. Never through a symlink: the tests may run as root, and what a
/// link points at is none of theirs.
fn write_here(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(io::ErrorKind::AlreadyExists.into()),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    file.write_all(bytes)
}

/// Opens an existing file for writing, and no symlink.
fn open_here(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path)
}

/// Removes whatever is at a path.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Bytes of several natures: random, text-like, mostly zeros.
pub fn content(rng: &mut Rng, size: usize) -> Vec<u8> {
    match rng.below(3) {
        0 => rng.bytes(size),
        1 => {
            let line = format!("line {} of a text that repeats itself\n", rng.next());
            line.into_bytes().into_iter().cycle().take(size).collect()
        }
        _ => {
            let mut bytes = vec![0; size];
            let n = rng.below(size.min(4_096) + 1);
            let at = rng.below(size - n + 1);
            bytes[at..at + n].copy_from_slice(&rng.bytes(n));
            bytes
        }
    }
}

/// A name out of few, so that names come again; some are odd.
fn name(rng: &mut Rng) -> OsString {
    let odd: [&[u8]; 10] = [
        b"with blank",
        b"new\nline",
        b"not\xff\xfeutf8",
        b"-rf",
        b".hidden",
        b"~",
        b"\xc3\xa9t\xc3\xa9",
        b"e\xcc\x81te\xcc\x81",
        b"\x01\x7f\t",
        b".strait",
    ];
    if rng.chance(30) {
        return OsString::from_vec(vec![b'n'; 255 - rng.below(2)]);
    }
    if rng.chance(4) {
        // At the top, that name is strait's own and never in the tree.
        return OsString::from_vec(odd[rng.below(odd.len() - 1)].to_vec());
    }
    format!("{}{}", ["a", "b", "c", "D", "e.txt"][rng.below(5)], rng.below(6)).into()
}

/// The first version of these edits wrote through a symlink that an earlier edit had made, and so, as
/// root, over the file of the system that it pointed at.
#[test]
fn edits_touch_nothing_outside_their_tree() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let outside = outer.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    for name in ["a0", "a1", "b0", "b1", "link"] {
        symlink(&outside, root.join(name)).unwrap();
        let path = root.join(name);
        assert!(write_here(&path, b"through").is_err());
        assert!(open_here(&path).is_err());
    }
    let editor = Editor { root, largest_bytes: 1_000 };
    let mut rng = Rng(7);
    (0..300).for_each(|_| editor.edit(&mut rng));
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
}
