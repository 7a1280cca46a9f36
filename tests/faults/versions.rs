//! Every version that a source ever had, by content: a destination may hold these and nothing else.

use super::stays::is_same;
use super::tree::{Seen, Seens, read};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Contents, targets and names that stood in a source at some time.
#[derive(Default)]
pub struct Versions {
    contents: BTreeSet<[u8; 32]>,
    targets: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

impl Versions {
    /// Takes note of a whole tree as it is now.
    pub fn note_tree(&mut self, root: &Path) {
        for (path, seen) in read(root) {
            self.note_path(&path);
            match seen {
                Seen::File { hash, .. } => drop(self.contents.insert(hash)),
                Seen::Link { target } => drop(self.targets.insert(target)),
                Seen::Dir { .. } => {}
            }
        }
    }

    /// Takes note of a content that is about to stand somewhere.
    pub fn note_content(&mut self, bytes: &[u8]) {
        self.contents.insert(*blake3::hash(bytes).as_bytes());
    }

    /// Whether a content ever stood in the source.
    pub fn has_content(&self, bytes: &[u8]) -> bool {
        self.contents.contains(blake3::hash(bytes).as_bytes())
    }

    /// Takes note of the names of a path below the root.
    pub fn note_path(&mut self, path: &Path) {
        self.names.extend(path.iter().map(OsString::from));
    }

    /// Asserts that a destination holds whole versions under known names only.
    pub fn hold_all_of(&self, dest: &Path, what: &str) {
        for (path, seen) in read(dest) {
            let name = path.file_name().unwrap();
            assert!(self.names.contains(name), "{what}: a name that the source never had: {path:?}");
            match seen {
                Seen::File { hash, size, .. } => assert!(
                    self.contents.contains(&hash),
                    "{what}: {path:?} ({size} B) is no version of the source's"
                ),
                Seen::Link { target } => {
                    assert!(self.targets.contains(&target), "{what}: {path:?} leads to {target:?}");
                }
                Seen::Dir { .. } => {}
            }
        }
    }
}

/// Whether each path of a tree between two versions is absent, or has the content of one of them.
pub fn is_old_or_new(seens: &Seens, old: &Seens, new: &Seens) -> Result<(), PathBuf> {
    for (path, seen) in seens {
        let stood_in = |version: &Seens| version.get(path).is_some_and(|other| is_same(seen, other));
        if !stood_in(old) && !stood_in(new) {
            return Err(path.clone());
        }
    }
    Ok(())
}
