//! Trees as plain `std::fs` shows them, for comparison.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One entry as a reader of the tree sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Dir { mode: u32, mtime: (i64, i64) },
    File { mode: u32, mtime: (i64, i64), size: u64, hash: [u8; 32] },
    Link { target: PathBuf },
}

pub type Seens = BTreeMap<PathBuf, Seen>;

/// Everything below a directory but `.strait` at its top; what vanishes meanwhile is left out.
pub fn read(root: &Path) -> Seens {
    let mut seens = BTreeMap::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            if path.as_os_str() == OsStr::new(".strait") {
                continue;
            }
            if let Some(seen) = see(&root.join(&path)) {
                if matches!(seen, Seen::Dir { .. }) {
                    dirs.push(path.clone());
                }
                seens.insert(path, seen);
            }
        }
    }
    seens
}

fn see(path: &Path) -> Option<Seen> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let (mode, mtime) = (meta.mode() & 0o777, (meta.mtime(), meta.mtime_nsec()));
    if meta.is_dir() {
        return Some(Seen::Dir { mode, mtime });
    }
    if meta.is_symlink() {
        return Some(Seen::Link { target: std::fs::read_link(path).ok()? });
    }
    let bytes = std::fs::read(path).ok()?;
    Some(Seen::File { mode, mtime, size: bytes.len() as u64, hash: *blake3::hash(&bytes).as_bytes() })
}

/// The first differences of two trees, for people.
pub fn difference(src: &Seens, dest: &Seens) -> String {
    let paths: std::collections::BTreeSet<&PathBuf> = src.keys().chain(dest.keys()).collect();
    let differ: Vec<_> = paths.into_iter().filter(|path| src.get(*path) != dest.get(*path)).collect();
    let mut text = format!("{} of {} paths differ", differ.len(), src.len());
    for path in differ.iter().take(8) {
        let show = |seen: Option<&Seen>| match seen {
            None => "nothing".to_owned(),
            Some(Seen::File { mode, mtime, size, hash }) => {
                format!("file {mode:o} {mtime:?} {size} B {:02x}{:02x}", hash[0], hash[1])
            }
            Some(other) => format!("{other:?}"),
        };
        let mut name = format!("{path:?}");
        name.truncate(120);
        text +=
            &format!("\n  {name}: source {}, destination {}", show(src.get(*path)), show(dest.get(*path)));
    }
    text
}
