//! The destination's disk is full, of bytes or of inodes, at many points of an apply: old versions stay, the
//! error names the disk, what fits goes on, and a watch completes by itself when space returns.
//!
//! Small file systems are mounted in a mount namespace of the test's own: needs root. `STRAIT_POINTS=n`
//! makes it long (`docs/testing.md`).

mod faults;

use faults::mounts::{Place, make_image, mount_image, own_mounts, run, tmpfs};
use faults::stays::what_stays_is_there;
use faults::versions::is_old_or_new;
use faults::{Rng, Yard, free_port, number, tree};
use std::fs;
use std::path::{Path, PathBuf};

/// What a disk lacks: how much of it the emptiest point leaves, what then goes to and fro, and what must be said.
struct Want {
    unit: &'static str,
    most_free: usize,
    fill: fn(&Shore, u64),
    build: fn(&Path, usize),
    names_disk: &'static str,
}

const BYTES: Want = Want {
    unit: "KiB",
    most_free: 3_000,
    fill: Shore::fill,
    build,
    names_disk: "the destination's disk is full",
};

const INODES: Want = Want {
    unit: "inodes",
    most_free: 120,
    fill: Shore::use_up_inodes,
    build: build_many,
    names_disk: "the destination's disk has no room for more files",
};

/// A yard whose destination lies on a small file system, beside something that fills it.
struct Shore {
    yard: Yard,
    mount: PathBuf,
}

impl Shore {
    fn new(mount: impl FnOnce(&Path, &Path)) -> Self {
        let mut yard = Yard::new();
        let at = yard.path.join("disk");
        mount(&yard.path, &at);
        yard.dest = at.join("dest");
        fs::create_dir(&yard.dest).unwrap();
        Self { yard, mount: at }
    }

    /// Leaves so much free, about.
    fn fill(&self, free_kib: u64) {
        self.empty();
        let block = fs::File::create(self.mount.join("ballast")).unwrap();
        let space = rustix::fs::statvfs(&self.mount).unwrap();
        let size = (space.f_bavail * space.f_frsize).saturating_sub(free_kib << 10);
        rustix::fs::fallocate(&block, rustix::fs::FallocateFlags::empty(), 0, size.max(1)).unwrap();
    }

    /// Leaves so many inodes free.
    fn use_up_inodes(&self, n_free: u64) {
        self.empty();
        let dir = self.mount.join("many");
        fs::create_dir(&dir).unwrap();
        let space = rustix::fs::statvfs(&self.mount).unwrap();
        for n in n_free..space.f_favail {
            fs::File::create(dir.join(n.to_string())).unwrap();
        }
    }

    /// Of a disk in memory: it has so many from now on.
    fn has_inodes(&self, n: u64) {
        run("mount", &["-o", &format!("remount,nr_inodes={n}"), self.mount.to_str().unwrap()]);
    }

    fn empty(&self) {
        let _ = fs::remove_file(self.mount.join("ballast"));
        let _ = fs::remove_dir_all(self.mount.join("many"));
        run("sync", &["-f", self.mount.to_str().unwrap()]);
    }
}

/// Some small files, some large ones, all different in each version.
fn build(src: &Path, version: usize) {
    let mut rng = Rng(version as u64);
    for n in 0..12 {
        fs::create_dir_all(src.join(format!("dir-{}", n % 3))).unwrap();
        fs::write(src.join(format!("dir-{}/small-{n}", n % 3)), rng.bytes(n * 300)).unwrap();
    }
    for n in 0..4 {
        fs::write(src.join(format!("large-{n}")), rng.bytes(150_000 * (n + 1))).unwrap();
    }
}

/// Names that come in each version and go in each third one, beside some that stay: after that the trash has room
/// to give.
fn build_many(src: &Path, version: usize) {
    for n in 0..8 {
        fs::write(src.join(format!("stays-{n}")), format!("{n} of {version}")).unwrap();
    }
    if version.is_multiple_of(3) {
        (0..version).for_each(|old| drop(fs::remove_dir_all(src.join(format!("of-{old}")))));
    }
    for n in 0..60 {
        let dir = src.join(format!("of-{version}/{}", n % 4));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{n}")), format!("{n} of {version}")).unwrap();
    }
}

fn goes_to_and_fro(shore: &Shore, want: &Want, rng: &mut Rng) {
    let yard = &shore.yard;
    (want.build)(&yard.src, 0);
    yard.push(None).is_in_step("before");
    let mut n_full = 0;
    let n_points = number("STRAIT_POINTS", 8);
    for point in 1..=n_points {
        let least = want.most_free * (n_points - point) / n_points;
        let free = (least + rng.below(want.most_free / 15)) as u64;
        let what = format!("{free} {} free", want.unit);
        let old = tree::read(&yard.dest);
        (want.build)(&yard.src, point);
        let new = tree::read(&yard.src);
        (want.fill)(shore, free);
        let ended = yard.push(None);
        let between = tree::read(&yard.dest);
        is_old_or_new(&between, &old, &new).unwrap_or_else(|path| panic!("{what}: {path:?} is torn"));
        what_stays_is_there(&between, &old, &new)
            .unwrap_or_else(|path| panic!("{what}: {path:?} is not there"));
        if ended.status.success() {
            assert!(between == new, "{what}: exit 0 and {}", tree::difference(&new, &between));
        } else {
            n_full += 1;
            assert_eq!(ended.status.code(), Some(1), "{what}: {}{}", ended.out, ended.err);
            assert!(ended.out.contains(want.names_disk), "{what}: {}", ended.out);
            assert!(!ended.out.contains("source"), "{what}: taken for a fault of the source: {}", ended.out);
        }
        shore.empty();
        yard.push(None).is_in_step(&what);
        yard.is_in_step(&what);
        assert_eq!(fs::read_dir(yard.dest.join(".strait/stage")).unwrap().count(), 0, "{what}: left-overs");
    }
    println!("{n_full} of {n_points} points had too few {}", want.unit);
    assert!(n_full > 0, "it was never full");
}

#[test]
fn a_full_disk_in_memory_keeps_old_versions_and_is_named() {
    if own_mounts("a_full_disk_in_memory_keeps_old_versions_and_is_named", &[]) == Place::Inside {
        let shore = Shore::new(|_, at| tmpfs(at, "size=12m"));
        goes_to_and_fro(&shore, &BYTES, &mut Rng::seeded("full, tmpfs"));
    }
}

#[test]
fn a_full_ext4_keeps_old_versions_and_is_named() {
    if own_mounts("a_full_ext4_keeps_old_versions_and_is_named", &["mkfs.ext4"]) == Place::Inside {
        let shore = Shore::new(|dir, at| {
            let image = dir.join("image");
            make_image(&image, 16, &["mkfs.ext4", "-q", "-m", "0"]);
            mount_image(&image, at);
        });
        goes_to_and_fro(&shore, &BYTES, &mut Rng::seeded("full, ext4"));
    }
}

#[test]
fn a_disk_in_memory_without_inodes_keeps_old_versions_and_is_named() {
    if own_mounts("a_disk_in_memory_without_inodes_keeps_old_versions_and_is_named", &[]) == Place::Inside {
        let shore = Shore::new(|_, at| tmpfs(at, "size=64m,nr_inodes=1000"));
        goes_to_and_fro(&shore, &INODES, &mut Rng::seeded("no inodes, tmpfs"));
    }
}

#[test]
fn an_ext4_without_inodes_keeps_old_versions_and_is_named() {
    if own_mounts("an_ext4_without_inodes_keeps_old_versions_and_is_named", &["mkfs.ext4"]) == Place::Inside {
        let shore = Shore::new(|dir, at| {
            let image = dir.join("image");
            make_image(&image, 16, &["mkfs.ext4", "-q", "-m", "0", "-N", "1000"]);
            mount_image(&image, at);
        });
        goes_to_and_fro(&shore, &INODES, &mut Rng::seeded("no inodes, ext4"));
    }
}

/// More files than there are inodes, some in directories.
fn make_more(src: &Path) {
    for n in 0..150 {
        let dir = if n < 100 { src.to_owned() } else { src.join(format!("dir-{}", n % 5)) };
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{n}")), format!("{n}")).unwrap();
    }
}

fn n_there(yard: &Yard) -> usize {
    tree::read(&yard.dest).len()
}

/// Where a pack of small files did not fit as a whole, nothing of it came.
#[test]
fn without_inodes_what_fits_arrives_and_the_rest_when_there_are_more() {
    let name = "without_inodes_what_fits_arrives_and_the_rest_when_there_are_more";
    if own_mounts(name, &[]) != Place::Inside {
        return;
    }
    let shore = Shore::new(|_, at| tmpfs(at, "size=64m,nr_inodes=60"));
    let yard = &shore.yard;
    fs::write(yard.src.join("old"), "old").unwrap();
    yard.push(None).is_in_step("before");
    fs::write(yard.src.join("old"), "new").unwrap();
    make_more(&yard.src);
    let ended = yard.push(None);
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("no room for more files"), "{}", ended.out);
    let between = fs::read_to_string(yard.dest.join("old")).unwrap();
    assert!(between == "old" || between == "new", "{between}");
    assert!(n_there(yard) >= 40, "{} files of those that fit", n_there(yard));
    shore.has_inodes(2_000);
    yard.push(None).is_in_step("with more");
    yard.is_in_step("with more");
}

/// The next try came after a minute, whatever had become of the disk.
#[test]
fn a_watch_sends_what_fits_and_completes_by_itself_when_space_returns() {
    let name = "a_watch_sends_what_fits_and_completes_by_itself_when_space_returns";
    if own_mounts(name, &[]) != Place::Inside {
        return;
    }
    let shore = Shore::new(|_, at| tmpfs(at, "size=12m"));
    let yard = &shore.yard;
    fs::write(yard.src.join("large"), "old").unwrap();
    let port = free_port();
    let _server = yard.serve(port);
    let watch = yard.watch(port);
    yard.converges("before");
    shore.fill(1_000);
    fs::write(yard.src.join("large"), Rng(1).bytes(4 << 20)).unwrap();
    watch.wait_for("disk is full");
    fs::write(yard.src.join("small"), "fits").unwrap();
    let until = std::time::Instant::now() + faults::deadline();
    while fs::read_to_string(yard.dest.join("small")).unwrap_or_default() != "fits" {
        assert!(std::time::Instant::now() < until, "what fits does not go on:\n{}", watch.said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(yard.dest.join("large")).unwrap(), "old");
    let emptied = std::time::Instant::now();
    shore.empty();
    yard.converges("space returned");
    assert!(emptied.elapsed().as_secs() < 30, "it waited for the next try: {:?}", emptied.elapsed());
}

#[test]
fn a_watch_without_inodes_completes_by_itself_when_there_are_more() {
    let name = "a_watch_without_inodes_completes_by_itself_when_there_are_more";
    if own_mounts(name, &[]) != Place::Inside {
        return;
    }
    let shore = Shore::new(|_, at| tmpfs(at, "size=64m,nr_inodes=60"));
    let yard = &shore.yard;
    fs::write(yard.src.join("old"), "old").unwrap();
    let port = free_port();
    let _server = yard.serve(port);
    let watch = yard.watch(port);
    yard.converges("before");
    make_more(&yard.src);
    watch.wait_for(INODES.names_disk);
    assert_eq!(fs::read_to_string(yard.dest.join("old")).unwrap(), "old");
    let until = std::time::Instant::now() + faults::deadline();
    while n_there(yard) < 40 {
        assert!(std::time::Instant::now() < until, "what fits does not go on:\n{}", watch.said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let returned = std::time::Instant::now();
    shore.has_inodes(2_000);
    yard.converges("there are more");
    assert!(returned.elapsed().as_secs() < 30, "it waited for the next try: {:?}", returned.elapsed());
}

/// Nothing could be tried there any more, and the push ended before it looked at anything.
#[test]
fn where_not_one_inode_is_left_what_needs_none_still_goes_on() {
    let name = "where_not_one_inode_is_left_what_needs_none_still_goes_on";
    if own_mounts(name, &[]) != Place::Inside {
        return;
    }
    let shore = Shore::new(|_, at| tmpfs(at, "size=64m,nr_inodes=100"));
    let yard = &shore.yard;
    for name in ["goes", "moves", "stays"] {
        fs::write(yard.src.join(name), name).unwrap();
    }
    yard.push(None).is_in_step("before");
    fs::remove_file(yard.src.join("stays")).unwrap();
    yard.push(None).is_in_step("with something in the trash");
    shore.use_up_inodes(0);
    fs::create_dir(yard.src.join("dir")).unwrap();
    yard.push(None).is_in_step("a directory with the inode that the trash gives");
    fs::remove_file(yard.src.join("goes")).unwrap();
    fs::rename(yard.src.join("moves"), yard.src.join("moved")).unwrap();
    yard.push(None).is_in_step("without an inode");
    yard.is_in_step("without an inode");
    fs::write(yard.src.join("new"), "new").unwrap();
    yard.push(None).is_in_step("with the inode of what was removed, which the trash gives");
    fs::write(yard.src.join("newer"), "newer").unwrap();
    let ended = yard.push(None);
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains(INODES.names_disk), "{}", ended.out);
    // What is known of the disk is lost with the state, and said.
    fs::remove_dir_all(yard.path.join("home")).unwrap();
    let ended = yard.push(None);
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains(INODES.names_disk), "{}", ended.out);
    shore.empty();
    yard.push(None).is_in_step("with more");
    yard.is_in_step("with more");
}
