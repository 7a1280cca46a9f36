//! The cases: a directory before a change, and the change.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A directory and what happens to it; `size` is about its bytes.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub make: fn(&Path, usize) -> io::Result<()>,
    pub change: fn(&Path, usize) -> io::Result<()>,
}

pub const CASES: [Case; 6] = [
    Case {
        name: "pages",
        about: "a file of random letters, 1 in 1,000 of its 8 KiB pages rewritten",
        make: |dir, size| fs::write(dir.join("data"), letters(1, size)),
        change: |dir, size| {
            let mut bytes = letters(1, size);
            for page in (0..size / 8_192).step_by(1_000.min(size / 16_384).max(1)) {
                bytes[page * 8_192..][..8_192].copy_from_slice(&letters(100 + page as u64, 8_192));
            }
            fs::write(dir.join("data"), bytes)
        },
    },
    Case {
        name: "insert",
        about: "a file of random letters, 100 bytes put at its head",
        make: |dir, size| fs::write(dir.join("data"), letters(2, size)),
        change: |dir, size| fs::write(dir.join("data"), [letters(3, 100), letters(2, size)].concat()),
    },
    Case {
        name: "moved",
        about: "four files of random letters get new names in another folder",
        make: |dir, size| {
            fs::create_dir(dir.join("old"))?;
            (0..4).try_for_each(|i| fs::write(dir.join(format!("old/{i}")), letters(10 + i, size / 4)))
        },
        change: |dir, _| {
            fs::create_dir(dir.join("new"))?;
            (0..4).try_for_each(|i| fs::rename(dir.join(format!("old/{i}")), dir.join(format!("new/{i}.x"))))
        },
    },
    Case {
        name: "tree",
        about: "a tree of text files of some 12 KiB, one line changed in every tenth",
        make: |dir, size| make_tree(dir, size, false),
        change: |dir, size| make_tree(dir, size, true),
    },
    Case {
        name: "new",
        about: "a new file of random bytes, a quarter of the size",
        make: |dir, _| fs::write(dir.join("other"), b"was here"),
        change: |dir, size| fs::write(dir.join("new"), random(7, size / 4)),
    },
    Case {
        name: "nothing",
        about: "the tree of text files, unchanged",
        make: |dir, size| make_tree(dir, size, false),
        change: |_, _| Ok(()),
    },
];

/// Files of a tree at most, whatever the size.
const TREE_FILES: usize = 20_000;
const FILE_BYTES: usize = 12 * 1024;

fn make_tree(dir: &Path, size: usize, is_changed: bool) -> io::Result<()> {
    for index in 0..(size / FILE_BYTES).clamp(20, TREE_FILES) {
        let folder = dir.join(format!("part{:03}", index / 40));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("file{index:05}.txt"));
        if !is_changed {
            fs::write(&path, text(index as u64, FILE_BYTES, None))?;
        } else if index % 10 == 0 {
            fs::write(&path, text(index as u64, FILE_BYTES, Some(150)))?;
        }
    }
    Ok(())
}

/// The next number of a simple generator; the same everywhere.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Bytes that do not shrink and do not repeat.
fn random(seed: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    blake3::Hasher::new_derive_key("strait versus")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Random letters: six bits of eight, and no repetition to find.
fn letters(seed: u64, n: usize) -> Vec<u8> {
    const SIX_BITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    random(seed, n).into_iter().map(|byte| SIX_BITS[usize::from(byte % 64)]).collect()
}

/// Lines of words; line `edited` is another.
fn text(seed: u64, n: usize, edited: Option<usize>) -> String {
    const WORDS: [&str; 16] = [
        "basis", "target", "block", "weak", "strong", "group", "chunk", "delta", "copy", "literal", "entry",
        "change", "stage", "commit", "frame", "root",
    ];
    let mut state = seed.wrapping_mul(977) + 13;
    let mut text = String::with_capacity(n + 80);
    let mut line = 0;
    while text.len() < n {
        if edited == Some(line) {
            text.push_str("this line was edited\n");
        }
        for _ in 0..6 {
            let number = next(&mut state);
            text.push_str(WORDS[number as usize % 16]);
            text.push_str(&format!("{} ", number >> 20));
        }
        text.push('\n');
        line += 1;
    }
    text
}

/// Sets every file's time back, so that a change that keeps the size is seen by its time.
pub fn age(dir: &Path) -> io::Result<()> {
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            age(&path)?;
        } else {
            fs::File::options().append(true).open(&path)?.set_modified(long_ago)?;
        }
    }
    Ok(())
}

/// Copies a directory with the times of its files.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
            fs::File::options().append(true).open(&target)?.set_modified(fs::metadata(&path)?.modified()?)?;
        }
    }
    Ok(())
}

/// The first path at which two directories differ in names or contents; strait's own folder is passed over.
pub fn difference(left: &Path, right: &Path) -> io::Result<Option<String>> {
    let names = |dir: &Path| -> io::Result<Vec<_>> {
        let mut names: Vec<_> =
            fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>()?;
        names.retain(|name| name != ".strait");
        names.sort();
        Ok(names)
    };
    let held = names(left)?;
    if held != names(right)? {
        return Ok(Some(format!("the names in {}", left.display())));
    }
    for name in held {
        let (left, right) = (left.join(&name), right.join(&name));
        if left.is_dir() {
            if let Some(found) = difference(&left, &right)? {
                return Ok(Some(found));
            }
        } else if fs::read(&left)? != fs::read(&right)? {
            return Ok(Some(left.display().to_string()));
        }
    }
    Ok(None)
}
