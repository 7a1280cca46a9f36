//! The destination's disk is full, of bytes or of inodes, at many points of an apply: old versions stay, the
//! error names the disk, what fits goes on, and a watch completes by itself when space returns.
//!
//! Small file systems are mounted in a mount namespace of the test's own: needs root. `STRAIT_POINTS=n`
//! makes it long (`docs/testing.md`).

mod faults;

use faults::mounts::{Place, make_image, mount_image, own_mounts, run, tmpfs};
use faults::versions::is_old_or_new;
use faults::{Rng, Yard, free_port, number, tree};
use std::fs;
use std::path::{Path, PathBuf};

/// What is left free at the fullest and at the emptiest point.
const MOST_FREE_KIB: usize = 3_000;

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

    fn empty(&self) {
        let _ = fs::remove_file(self.mount.join("ballast"));
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

fn goes_to_and_fro(shore: &Shore, rng: &mut Rng) {
    let yard = &shore.yard;
    build(&yard.src, 0);
    yard.push(None).is_in_step("before");
    let mut n_full = 0;
    let n_points = number("STRAIT_POINTS", 8);
    for point in 1..=n_points {
        let free_kib = (MOST_FREE_KIB * (n_points - point) / n_points) as u64 + rng.below(200) as u64;
        let what = format!("{free_kib} KiB free");
        let old = tree::read(&yard.dest);
        build(&yard.src, point);
        let new = tree::read(&yard.src);
        shore.fill(free_kib);
        let ended = yard.push(None);
        let between = tree::read(&yard.dest);
        is_old_or_new(&between, &old, &new).unwrap_or_else(|path| panic!("{what}: {path:?} is torn"));
        if ended.status.success() {
            assert!(between == new, "{what}: exit 0 and {}", tree::difference(&new, &between));
        } else {
            n_full += 1;
            assert_eq!(ended.status.code(), Some(1), "{what}: {}{}", ended.out, ended.err);
            let names_disk = ended.out.contains("disk is full") || ended.out.contains("No space left");
            assert!(names_disk || ended.out.contains("no space"), "{what}: {}", ended.out);
            assert!(!ended.out.contains("source"), "{what}: taken for a fault of the source: {}", ended.out);
        }
        shore.empty();
        yard.push(None).is_in_step(&what);
        yard.is_in_step(&what);
        assert_eq!(fs::read_dir(yard.dest.join(".strait/stage")).unwrap().count(), 0, "{what}: left-overs");
    }
    println!("{n_full} of {n_points} points were too full");
    assert!(n_full > 0, "it was never full");
}

#[test]
fn a_full_disk_in_memory_keeps_old_versions_and_is_named() {
    if own_mounts("a_full_disk_in_memory_keeps_old_versions_and_is_named", &[]) == Place::Inside {
        let shore = Shore::new(|_, at| tmpfs(at, "size=12m"));
        goes_to_and_fro(&shore, &mut Rng::seeded("full, tmpfs"));
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
        goes_to_and_fro(&shore, &mut Rng::seeded("full, ext4"));
    }
}

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
    for n in 0..150 {
        fs::write(yard.src.join(format!("file-{n}")), format!("{n}")).unwrap();
    }
    let ended = yard.push(None);
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("no room for more files"), "{}", ended.out);
    let between = fs::read_to_string(yard.dest.join("old")).unwrap();
    assert!(between == "old" || between == "new", "{between}");
    run("mount", &["-o", "remount,size=64m,nr_inodes=2000", shore.mount.to_str().unwrap()]);
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
