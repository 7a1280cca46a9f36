//! A random load whose every step is one step for whoever looks on: a scan between two of them sees
//! a version that is known, never half of one.

use crate::faults::Rng;
use crate::faults::edits::{content, remove};
use crate::faults::shapes::exchange;
use crate::faults::versions::Versions;
use rustix::fs::OFlags;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

const NAMES: usize = 12;
const DIRS: usize = 4;
const PAGE_BYTES: usize = 4_096;
/// Entries from which on steps take away: of so many a source may lose all, where deletes of more are held.
const MOST_ENTRIES: usize = 90;

pub struct Load {
    src: PathBuf,
    /// On the same file system as the source: new versions are made here and renamed in.
    aside: PathBuf,
    pub versions: Versions,
    n_made: usize,
}

impl Load {
    pub fn new(src: &Path, aside: PathBuf) -> Self {
        fs::create_dir(&aside).unwrap();
        let mut versions = Versions::default();
        (0..DIRS * DIRS).for_each(|number| versions.note_path(Path::new(&format!("d{number}"))));
        (0..NAMES).for_each(|number| versions.note_path(Path::new(&format!("f{number}"))));
        ["big", "link"].iter().for_each(|name| versions.note_path(Path::new(name)));
        let mut load = Self { src: src.to_owned(), aside, versions, n_made: 0 };
        load.versions.note_tree(src);
        load
    }

    /// One random step; one that makes no sense now does nothing.
    pub fn step(&mut self, rng: &mut Rng) {
        let path = self.path(rng);
        if n_entries(&self.src) > MOST_ENTRIES {
            let _ = remove(&if rng.chance(2) { path } else { self.dir(rng) });
            return;
        }
        let _ = match rng.below(16) {
            0..=4 => self.put(&path, rng, 60_000),
            5 => self.put(&self.src.join("big"), rng, 4 << 20),
            6 | 7 => self.write_page(&path, rng),
            8 | 9 => self.write_page(&self.src.join("big"), rng),
            10 => fs::rename(&path, self.path(rng)),
            11 => exchange(&path, &self.path(rng)),
            12 => fs::create_dir(self.dir(rng)),
            13 => {
                self.versions.note_tree(&self.src);
                fs::rename(self.dir(rng), self.dir(rng)).or_else(|_| exchange(&path, &self.dir(rng)))
            }
            14 => remove(&path),
            _ => {
                self.versions.note_tree(&self.src);
                let _ = remove(&self.src.join("link"));
                symlink("f1", self.src.join("link")).map(|()| self.versions.note_tree(&self.src))
            }
        };
    }

    /// Another version of the largest file.
    pub fn put_big(&mut self, rng: &mut Rng) {
        self.put(&self.src.join("big"), rng, 4 << 20).unwrap();
    }

    fn dir(&self, rng: &mut Rng) -> PathBuf {
        let dir = self.src.join(format!("d{}", rng.below(DIRS)));
        if rng.chance(2) { dir } else { dir.join(format!("d{}", rng.below(DIRS * DIRS))) }
    }

    fn path(&self, rng: &mut Rng) -> PathBuf {
        let dir = if rng.chance(3) { self.src.clone() } else { self.dir(rng) };
        dir.join(format!("f{}", rng.below(NAMES)))
    }

    fn put(&mut self, path: &Path, rng: &mut Rng, most_bytes: usize) -> std::io::Result<()> {
        let size = rng.below(most_bytes);
        let bytes = content(rng, size);
        self.versions.note_content(&bytes);
        self.n_made += 1;
        let made = self.aside.join(self.n_made.to_string());
        fs::write(&made, bytes)?;
        fs::rename(&made, path).or_else(|_| fs::remove_file(&made))
    }

    /// Writes within one page, in place.
    fn write_page(&mut self, path: &Path, rng: &mut Rng) -> std::io::Result<()> {
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let mut bytes = vec![0; file.metadata()?.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let at = rng.below(bytes.len());
        let n = (rng.below(100) + 1).min(PAGE_BYTES - at % PAGE_BYTES).min(bytes.len() - at);
        let written = rng.bytes(n);
        bytes[at..at + n].copy_from_slice(&written);
        self.versions.note_content(&bytes);
        file.write_all_at(&written, at as u64)
    }
}

/// How many entries stand at a path and below it.
fn n_entries(path: &Path) -> usize {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return 1;
    }
    1 + fs::read_dir(path).unwrap().map(|entry| n_entries(&entry.unwrap().path())).sum::<usize>()
}
