//! Batches that are hard to send in order: names that swap, rotate, change their kind.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, create_dir_all, rename};
use std::path::Path;

/// One shape: how it begins, and what happens to it in one batch.
pub struct Shape {
    pub name: &'static str,
    pub begin: fn(&Path, &str),
    pub change: fn(&Path, &str),
}

const fn shape(name: &'static str, begin: fn(&Path, &str), change: fn(&Path, &str)) -> Shape {
    Shape { name, begin, change }
}

pub const SHAPES: [Shape; 10] = [
    shape(
        "swap-of-files",
        |dir, v| ["a", "b"].iter().for_each(|name| file(dir, name, v)),
        |dir, _| {
            exchange(&dir.join("a"), &dir.join("b")).unwrap();
        },
    ),
    shape(
        "swap-of-dirs",
        |dir, v| ["a/x", "a/y", "b/x"].iter().for_each(|name| file(dir, name, v)),
        |dir, _| {
            exchange(&dir.join("a"), &dir.join("b")).unwrap();
        },
    ),
    shape("ring-of-files", |dir, v| ["a", "b", "c"].iter().for_each(|name| file(dir, name, v)), ring),
    shape(
        "ring-of-dirs",
        |dir, v| ["a/x", "b/x", "b/y", "c/z"].iter().for_each(|name| file(dir, name, v)),
        ring,
    ),
    shape(
        "log",
        |dir, v| (0..8).for_each(|number| file(dir, &format!("log.{number}"), v)),
        |dir, v| {
            for number in (0..7).rev() {
                rename(dir.join(format!("log.{number}")), dir.join(format!("log.{}", number + 1))).unwrap();
            }
            file(dir, "log.0", &format!("{v}, fresh"));
        },
    ),
    shape(
        "file-and-dir",
        |dir, v| ["a", "b/x", "b/y/z"].iter().for_each(|name| file(dir, name, v)),
        |dir, _| {
            exchange(&dir.join("a"), &dir.join("b")).unwrap();
        },
    ),
    shape(
        "kinds",
        |dir, v| ["a", "b/x", "c/y"].iter().for_each(|name| file(dir, name, v)),
        |dir, v| {
            fs::remove_file(dir.join("a")).unwrap();
            file(dir, "a/x", &format!("{v}, inside"));
            fs::remove_dir_all(dir.join("b")).unwrap();
            file(dir, "b", &format!("{v}, alone"));
            rename(dir.join("c/y"), dir.join("y")).unwrap();
            fs::remove_dir(dir.join("c")).unwrap();
            rename(dir.join("y"), dir.join("c")).unwrap();
        },
    ),
    shape(
        "move-out",
        |dir, v| {
            ["a/keep", "a/deep/keep2", "a/gone", "a/deep/gone2"].iter().for_each(|name| file(dir, name, v))
        },
        |dir, _| {
            rename(dir.join("a/keep"), dir.join("kept")).unwrap();
            rename(dir.join("a/deep/keep2"), dir.join("kept2")).unwrap();
            fs::remove_dir_all(dir.join("a")).unwrap();
        },
    ),
    shape(
        "again",
        |dir, v| ["a", "b", "c/x", "d/x"].iter().for_each(|name| file(dir, name, v)),
        |dir, v| {
            fs::remove_file(dir.join("a")).unwrap();
            file(dir, "a", v);
            fs::remove_file(dir.join("b")).unwrap();
            file(dir, "b", &format!("{v}, another"));
            for name in ["c", "d"] {
                fs::remove_dir_all(dir.join(name)).unwrap();
            }
            file(dir, "c/x", v);
            file(dir, "d/x", &format!("{v}, another"));
            file(dir, "d/y", v);
        },
    ),
    shape(
        "into-each-other",
        |dir, v| ["a/x", "a/b/y"].iter().for_each(|name| file(dir, name, v)),
        |dir, _| {
            // The child becomes the parent.
            rename(dir.join("a/b"), dir.join("free")).unwrap();
            rename(dir.join("a"), dir.join("free/a")).unwrap();
            rename(dir.join("free"), dir.join("b")).unwrap();
        },
    ),
];

/// Two names exchange what they hold, in one step.
pub fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

fn ring(dir: &Path, _: &str) {
    exchange(&dir.join("a"), &dir.join("b")).unwrap();
    exchange(&dir.join("b"), &dir.join("c")).unwrap();
}

/// A file whose content is its own: no two of them are alike, so that each can be told.
fn file(dir: &Path, name: &str, version: &str) {
    let path = dir.join(name);
    create_dir_all(path.parent().unwrap()).unwrap();
    let line = format!("{:?} {name} {version}\n", dir.file_name());
    // From one line to more than a frame.
    let n = 1 + blake3::hash(line.as_bytes()).as_bytes()[0] as usize * usize::from(name != "a") * 8;
    fs::write(path, line.repeat(n)).unwrap();
}
