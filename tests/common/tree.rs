//! Trees: making them, changing them, comparing them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Everything about an entry that strait keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    kind: char,
    mode: u32,
    mtime_ns: i128,
    content: Vec<u8>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let hash = blake3::hash(&self.content).to_hex();
        let (kind, mode, len) = (self.kind, self.mode, self.content.len());
        write!(f, "{kind} {mode:04o} {} {len} B {}", self.mtime_ns, &hash[..8])
    }
}

/// What lies below a directory: not itself, and not strait's own folder.
pub fn listed(dir: &Path) -> BTreeMap<OsString, Entry> {
    let mut all = BTreeMap::new();
    list_below(dir, dir, &mut all);
    all
}

fn list_below(root: &Path, dir: &Path, all: &mut BTreeMap<OsString, Entry>) {
    let Some(names) = standing(dir, fs::read_dir(dir)) else { return };
    for found in names {
        let path = found.expect("it can be listed").path();
        let name = path.strip_prefix(root).expect("it lies below").as_os_str().to_owned();
        if name == ".strait" {
            continue;
        }
        let Some(entry) = entry_at(&path) else { continue };
        let is_dir = entry.kind == 'd';
        all.insert(name, entry);
        if is_dir {
            list_below(root, &path, all);
        }
    }
}

fn entry_at(path: &Path) -> Option<Entry> {
    let meta = standing(path, fs::symlink_metadata(path))?;
    let (kind, content) = match meta.file_type() {
        t if t.is_dir() => ('d', Vec::new()),
        t if t.is_symlink() => {
            ('l', standing(path, fs::read_link(path))?.into_os_string().as_bytes().to_vec())
        }
        t if t.is_file() => ('f', standing(path, fs::read(path))?),
        _ => ('?', Vec::new()),
    };
    let mode = if kind == 'l' { 0 } else { meta.mode() & 0o7777 };
    let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Entry { kind, mode, mtime_ns, content })
}

/// What was asked of a path; `None` when it went while somebody looked.
fn standing<T>(path: &Path, result: std::io::Result<T>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{path:?}: {error}"),
    }
}

/// What differs between two trees, in words.
pub fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (ones, others) = (listed(one), listed(other));
    let mut names: Vec<&OsString> = ones.keys().chain(others.keys()).collect();
    names.sort();
    names.dedup();
    let differs = names.into_iter().filter(|name| ones.get(*name) != others.get(*name));
    differs.map(|name| format!("{name:?}: {:?} against {:?}", ones.get(name), others.get(name))).collect()
}

/// Demands that two trees are the same in all that strait keeps.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    let differences = differences(one, other);
    assert!(differences.is_empty(), "{one:?} is not {other:?}:\n{}", differences.join("\n"));
}

/// Writes a file, and the directories above it.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("directories are made");
    fs::write(path, content).expect("it can be written");
    path.to_owned()
}

pub fn mkdir(path: impl AsRef<Path>) -> PathBuf {
    fs::create_dir_all(path.as_ref()).expect("it can be made");
    path.as_ref().to_owned()
}

pub fn link(target: impl AsRef<Path>, path: impl AsRef<Path>) {
    std::os::unix::fs::symlink(target, path).expect("a link can be made");
}

pub fn mv(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    fs::rename(from, to).expect("it can be renamed");
}

pub fn rm(path: impl AsRef<Path>) {
    let path = path.as_ref();
    let is_dir = fs::symlink_metadata(path).expect("it stands").is_dir();
    if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it can be removed");
}

pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Sets a time with nanoseconds that no clock would give by chance.
pub fn set_time(path: impl AsRef<Path>, secs: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(secs, 123_456_789);
    let file = fs::File::open(path).expect("it can be opened");
    file.set_modified(time).expect("its time can be set");
}

/// A path below `dir` of bytes that need not be text.
pub fn raw(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes on the disk.
pub fn disk_bytes(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).expect("it stands").blocks() * 512
}

/// The names in a directory itself, in order.
pub fn listed_names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("it can be listed");
    let mut names: Vec<String> = names
        .map(|found| found.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
