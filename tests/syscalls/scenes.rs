//! What is pushed while calls fail: two versions of a small tree each, with all that can differ.

use crate::faults::Rng;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// Two versions of a source.
pub struct Scene {
    pub name: &'static str,
    pub build: fn(&Path, usize),
    /// Each push is the first one to an empty destination.
    pub is_first: bool,
    /// A push before each was killed in the middle.
    pub is_broken_off: bool,
}

const fn scene(name: &'static str, build: fn(&Path, usize)) -> Scene {
    Scene { name, build, is_first: false, is_broken_off: false }
}

pub const SCENES: [Scene; 7] = [
    Scene { is_first: true, ..scene("first upload", first_upload) },
    scene("large edit", large_edit),
    scene("moves", moves),
    scene("deletes", deletes),
    scene("many small files", many_small_files),
    Scene { is_broken_off: true, ..scene("broken off", broken_off) },
    scene("kinds and metadata", kinds_and_metadata),
];

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn noise(seed: u64, n: usize) -> Vec<u8> {
    Rng(seed).bytes(n)
}

/// What stands beside the destination and is no part of it.
pub fn add_outside(outside: &Path) {
    write(outside, "file", "outside");
    write(outside, "deep/file", "outside and deep");
    symlink("file", outside.join("link")).unwrap();
}

/// What each scene has in both versions; and a way out of the destination, which comes and goes.
pub fn add_what_stays(dir: &Path, version: usize, outside: &Path) {
    (0..3).for_each(|n| write(dir, &format!("untouched/file-{n}"), noise(40 + n, 100 * n as usize)));
    write(dir, "untouched/deep/file", "untouched");
    symlink(outside, dir.join("untouched/way-out")).unwrap();
    if version == 0 {
        symlink(outside, dir.join("way-out")).unwrap();
    }
}

fn first_upload(dir: &Path, version: usize) {
    write(dir, "a/small", format!("version {version}"));
    write(dir, "a/b/empty", "");
    write(dir, "large", noise(version as u64, 300_000));
    symlink("a/small", dir.join("link")).unwrap();
    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
}

fn large_edit(dir: &Path, version: usize) {
    let mut bytes = noise(7, 2 << 20);
    if version == 1 {
        bytes[100] ^= 1;
        bytes[1_000_000..1_000_100].fill(9);
        bytes.splice(0..0, *b"some bytes at the head");
        bytes.extend(noise(8, 5_000));
    }
    write(dir, "large", bytes);
    write(dir, "beside", format!("version {version}"));
}

fn moves(dir: &Path, version: usize) {
    let names = [["from/tree", "one", "two", "out/deep"], ["into/tree", "two", "one", "up"]][version];
    for n in 0..3 {
        write(dir, &format!("{}/file-{n}", names[0]), format!("content {n}"));
    }
    write(dir, names[1], noise(1, 200_000));
    write(dir, names[2], noise(2, 150_000));
    write(dir, &format!("{}/child", names[3]), "child");
    write(dir, "stays", "stays");
    // In the second version the first one has taken the name of the second.
    if version == 0 {
        write(dir, "over/first", noise(4, 5_000));
    }
    write(dir, "over/second", noise(5 - version as u64, 5_000));
}

fn deletes(dir: &Path, version: usize) {
    write(dir, "stays/file", "stays");
    if version == 0 {
        (0..5).for_each(|n| write(dir, &format!("gone/deep/file-{n}"), format!("{n}")));
        write(dir, "stays/gone", "gone");
        write(dir, "large-gone", noise(3, 100_000));
        symlink("stays", dir.join("gone-link")).unwrap();
    }
}

fn many_small_files(dir: &Path, version: usize) {
    for n in 0..60 {
        write(dir, &format!("dir-{}/file-{n}", n % 6), noise((n * 2 + version) as u64, n * 40));
    }
}

fn broken_off(dir: &Path, version: usize) {
    write(dir, "large", noise(20 + version as u64, 3 << 20));
    write(dir, "small", format!("version {version}"));
}

fn kinds_and_metadata(dir: &Path, version: usize) {
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write(dir, "closed/file", format!("version {version}"));
    write(dir, "modes/file", "same");
    if version == 0 {
        write(dir, "changes", "a file");
        write(dir, "becomes/dir", "a directory");
        symlink("here", dir.join("link")).unwrap();
        mode("modes/file", 0o600);
    } else {
        write(dir, "changes/dir", "a directory");
        write(dir, "becomes", "a file");
        symlink("there", dir.join("link")).unwrap();
        mode("modes/file", 0o755);
        mode("modes", 0o711);
    }
    mode("closed", 0o555);
}
