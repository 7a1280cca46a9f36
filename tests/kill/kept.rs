//! Files that no load ever takes away: some are never touched, some only ever replaced. Their names must lead to
//! something at every moment.

use crate::faults::versions::Versions;
use crate::faults::{Rng, edits};
use std::fs;
use std::path::{Path, PathBuf};

const UNTOUCHED: usize = 10;
const REPLACED: usize = 5;

pub struct Kept {
    src: PathBuf,
    /// On the same file system as the source: new versions are made here and renamed in.
    aside: PathBuf,
    untouched: Vec<(PathBuf, Vec<u8>)>,
    replaced: Vec<PathBuf>,
}

impl Kept {
    /// Makes them, half of them at the top and half in directories of their own.
    pub fn new(src: &Path, aside: PathBuf, rng: &mut Rng, versions: &mut Versions) -> Self {
        let place = |word: &str, n: usize| {
            PathBuf::from(if n.is_multiple_of(2) {
                format!("{word}-{n}")
            } else {
                format!("{word}/deep/{n}")
            })
        };
        let untouched: Vec<_> =
            (0..UNTOUCHED).map(|n| (place("untouched", n), rng.bytes(n * 12_000))).collect();
        for (path, bytes) in &untouched {
            fs::create_dir_all(src.join(path).parent().unwrap()).unwrap();
            fs::write(src.join(path), bytes).unwrap();
        }
        fs::create_dir_all(src.join("replaced/deep")).unwrap();
        let replaced = (0..REPLACED).map(|n| place("replaced", n)).collect();
        let kept = Self { src: src.to_owned(), aside, untouched, replaced };
        (0..REPLACED).for_each(|n| kept.replace_one(n, rng, versions));
        versions.note_tree(src);
        kept
    }

    /// Another version of one of them, in one step.
    pub fn replace(&self, rng: &mut Rng, versions: &mut Versions) {
        self.replace_one(rng.below(REPLACED), rng, versions);
    }

    fn replace_one(&self, n: usize, rng: &mut Rng, versions: &mut Versions) {
        let size = rng.below(if n == 0 { 1 << 20 } else { 30_000 });
        let bytes = edits::content(rng, size);
        versions.note_content(&bytes);
        fs::write(&self.aside, bytes).unwrap();
        fs::rename(&self.aside, self.src.join(&self.replaced[n])).unwrap();
    }

    /// Asserts that all of them are there, whole. Each is opened by its name: a listing that is read while
    /// names are renamed may miss one.
    pub fn are_in(&self, dest: &Path, versions: &Versions, what: &str) {
        let read = |path: &Path| {
            fs::read(dest.join(path)).unwrap_or_else(|error| panic!("{what}: {path:?} is not there: {error}"))
        };
        for (path, bytes) in &self.untouched {
            assert!(read(path) == *bytes, "{what}: {path:?} was never touched, and is another one");
        }
        for path in &self.replaced {
            assert!(versions.has_content(&read(path)), "{what}: {path:?} is no version of the source's");
        }
    }
}
