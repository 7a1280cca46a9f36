//! The power fails: what was acknowledged is there, nothing is torn, and the next push brings all in step.
//!
//! The destination lies on an image of ext4, xfs or btrfs. A cut is a copy of the image by reflink at a random
//! moment: what was not synced is in no copy. The copy is then mounted in its place. Needs root, in a mount
//! namespace of the test's own. `STRAIT_CUTS=n` makes it long (`docs/testing.md`).

mod faults;

use faults::mounts::{Place, make_image, mount_image, own_mounts, run, unmount};
use faults::stays::{is_same, what_stays_is_there};
use faults::tree::{Seen, Seens};
use faults::versions::is_old_or_new;
use faults::{Rng, Running, Yard, free_port, number, tree};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest time that a push is let go on before the power fails.
const LATEST_MS: usize = 400;
const LARGE_BYTES: usize = 1 << 20;

/// A yard whose destination is on an image that can be copied in a moment.
struct Grid {
    yard: Yard,
    images: PathBuf,
    mount: PathBuf,
    is_btrfs: bool,
    port: u16,
}

impl Grid {
    fn new(n_mib: u64, make: &[&str]) -> Self {
        let mut yard = Yard::new();
        let (outer, images) = (yard.path.join("outer"), yard.path.join("images"));
        make_image(&outer, n_mib * 3 + 400, &["mkfs.xfs", "-q", "-m", "reflink=1"]);
        mount_image(&outer, &images);
        make_image(&images.join("image"), n_mib, make);
        let mount = yard.path.join("disk");
        mount_image(&images.join("image"), &mount);
        yard.dest = mount.join("dest");
        fs::create_dir(&yard.dest).unwrap();
        run("sync", &["-f", mount.to_str().unwrap()]);
        Self { yard, images, mount, is_btrfs: make[0] == "mkfs.btrfs", port: free_port() }
    }

    /// The power fails now.
    fn cut(&self) {
        let [image, copy] = ["image", "copy"].map(|name| self.images.join(name));
        run("cp", &["--reflink=always", image.to_str().unwrap(), copy.to_str().unwrap()]);
    }

    /// The machine starts again, with what was on its disk.
    fn restart(&self) {
        unmount(&self.mount);
        if self.is_btrfs {
            // It remembers the devices of a file system that it has seen.
            run("btrfs", &["device", "scan", "--forget"]);
        }
        fs::rename(self.images.join("copy"), self.images.join("image")).unwrap();
        mount_image(&self.images.join("image"), &self.mount);
    }

    fn push(&self) -> Running {
        self.push_with(&[])
    }

    fn push_with(&self, more: &[&str]) -> Running {
        let (src, port) = (self.yard.src.to_str().unwrap(), self.port.to_string());
        let words = [
            "push",
            src,
            "-a",
            "--allow-mass-delete",
            "--json",
            "-v",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
        ];
        self.yard.start("push", &[&words, more].concat())
    }
}

/// Paths whose change was acknowledged, as the client says.
fn acknowledged(said: &str) -> BTreeSet<PathBuf> {
    let events = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let applied = events.filter(|event| event["event"] == "applied" && event["change"] != "remove");
    applied.filter_map(|event| Some(PathBuf::from(event["path"].as_str()?))).collect()
}

/// Small files, a large one edited in place, names that come, go and move.
fn build(src: &Path, version: u64) {
    let mut rng = Rng(version);
    for n in 0..20 {
        let dir = src.join(format!("dir-{}", n % 4));
        fs::create_dir_all(&dir).unwrap();
        if n as u64 % 5 != version % 5 {
            fs::write(dir.join(format!("file-{n}")), rng.bytes(n * 211)).unwrap();
        } else {
            let _ = fs::remove_file(dir.join(format!("file-{n}")));
        }
    }
    let large =
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(src.join("large")).unwrap();
    large.set_len(LARGE_BYTES as u64).unwrap();
    large.write_all_at(&rng.bytes(60_000), rng.below(LARGE_BYTES - 60_000) as u64).unwrap();
    fs::write(src.join("new"), rng.bytes(300_000)).unwrap();
    fs::write(src.join("a"), "moves").unwrap();
    let _ = fs::remove_dir_all(src.join(format!("moved-{}", version.wrapping_sub(2) % 3)));
    let _ = fs::rename(
        src.join(format!("moved-{}", version.wrapping_sub(1) % 3)),
        src.join(format!("moved-{}", version % 3)),
    );
    fs::create_dir_all(src.join(format!("moved-{}", version % 3))).unwrap();
    fs::write(src.join(format!("moved-{}/inside", version % 3)), "moves along").unwrap();
}

/// What stands in both versions stands, in one of them, and what was acknowledged is the new version.
fn holds(found: &Seens, old: &Seens, new: &Seens, acknowledged: &BTreeSet<PathBuf>, what: &str) {
    is_old_or_new(found, old, new).unwrap_or_else(|path| panic!("{what}: {path:?} is torn"));
    what_stays_is_there(found, old, new).unwrap_or_else(|path| panic!("{what}: {path:?} is not there"));
    for (path, seen) in new.iter().filter(|(path, _)| acknowledged.contains(*path)) {
        let now = found.get(path);
        // Of a file mode and time too.
        let is_there = match seen {
            Seen::File { .. } => now == Some(seen),
            _ => now.is_some_and(|now| is_same(now, seen)),
        };
        assert!(is_there, "{what}: {path:?} was acknowledged and is {now:?}, not {seen:?}");
    }
}

fn survives(name: &str, n_mib: u64, make: &[&str]) {
    let mut rng = Rng::seeded(name);
    let grid = Grid::new(n_mib, make);
    let yard = &grid.yard;
    let (mut n_between, mut n_acknowledged) = (0, 0);
    build(&yard.src, 0);
    let mut server = yard.serve(grid.port);
    grid.push().ended().is_in_step("before");
    let n_cuts = number("STRAIT_CUTS", 3);
    for cut in 1..=n_cuts {
        let what = format!("{name}, cut {cut}");
        let old = tree::read(&yard.src);
        build(&yard.src, cut as u64);
        let new = tree::read(&yard.src);
        let mut push = grid.push();
        push.wait_for("\"connected\"");
        std::thread::sleep(Duration::from_micros(rng.below(LATEST_MS * 1_000) as u64));
        let is_after_kill = rng.chance(2);
        let mut known = acknowledged(&push.said());
        if is_after_kill {
            // Seen by the next server as it stands, and so acknowledged: it must last all the same.
            server.kill();
            server = yard.serve(grid.port);
            push.kill();
            grid.push().ended().is_in_step(&what);
            known = new.keys().cloned().collect();
        }
        grid.cut();
        push.kill();
        server.kill();
        grid.restart();
        let found = tree::read(&yard.dest);
        holds(&found, &old, &new, &known, &what);
        if is_after_kill {
            assert!(found == new, "{what}: {}", tree::difference(&new, &found));
        }
        n_between += usize::from(found != old && found != new);
        n_acknowledged += known.len();
        server = yard.serve(grid.port);
        grid.push().ended().is_in_step(&what);
        yard.is_in_step(&what);
    }
    println!(
        "{name}: {n_cuts} cuts, {n_between} between two versions, {n_acknowledged} acknowledged paths held"
    );
}

/// A small change that a push makes in one group.
type Shape = (&'static str, fn(&Path));

/// Each begins with what the one before left.
const SHAPES: [Shape; 6] = [
    ("six files in one directory", |src| {
        fs::create_dir(src.join("dir")).unwrap();
        (0..6).for_each(|n| fs::write(src.join(format!("dir/{n}")), format!("{n}")).unwrap());
    }),
    ("six files are other ones", |src| {
        (0..6).for_each(|n| fs::write(src.join(format!("dir/{n}")), format!("other {n}")).unwrap());
    }),
    ("one file", |src| fs::write(src.join("dir/0"), "one").unwrap()),
    ("a symlink and an empty directory", |src| {
        symlink("0", src.join("dir/link")).unwrap();
        fs::create_dir(src.join("empty")).unwrap();
    }),
    ("modes", |src| {
        fs::set_permissions(src.join("dir/1"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(src.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
    }),
    ("a file and a directory move", |src| {
        fs::rename(src.join("dir/2"), src.join("empty/2")).unwrap();
        fs::rename(src.join("empty"), src.join("moved")).unwrap();
    }),
];

/// A group of more than four files was synced before its files got their mode and time: after a cut on
/// btrfs they had the stage's.
fn lasts_to_the_last_bit(name: &str, n_mib: u64, make: &[&str]) {
    let grid = Grid::new(n_mib, make);
    let yard = &grid.yard;
    // The server makes it, and that lasts too.
    fs::remove_dir(&yard.dest).unwrap();
    run("sync", &["-f", grid.mount.to_str().unwrap()]);
    for (shape, change) in SHAPES {
        let what = format!("{name}, {shape}");
        change(&yard.src);
        let mut server = yard.serve(grid.port);
        grid.push().ended().is_in_step(&what);
        grid.cut();
        server.kill();
        grid.restart();
        yard.is_in_step(&what);
    }
}

/// More than is made durable behind a transfer before the power fails.
const SLOW_BYTES: usize = 24 << 20;

/// Of a transfer that was under way, what was synced is gone on from; what was only written is not believed.
fn goes_on_from_what_was_synced(name: &str, n_mib: u64, make: &[&str]) {
    let grid = Grid::new(n_mib, make);
    let yard = &grid.yard;
    fs::write(yard.src.join("slow"), Rng(7).bytes(SLOW_BYTES)).unwrap();
    let mut server = yard.serve(grid.port);
    let mut push = grid.push_with(&["--bwlimit", "1M"]);
    push.wait_for("\"connected\"");
    // It is synced after ten seconds for the first time, and then there is more.
    std::thread::sleep(Duration::from_secs(13));
    grid.cut();
    push.kill();
    server.kill();
    grid.restart();
    let _server = yard.serve(grid.port);
    let ended = grid.push().ended();
    yard.is_in_step(name);
    let n_sent = ended.is_in_step(name).summary()["wire_sent"];
    println!("{name}: {n_sent} of {SLOW_BYTES} bytes were sent again");
    assert!(n_sent < (SLOW_BYTES as u64) * 3 / 4, "{name}: {n_sent} of {SLOW_BYTES} were sent again");
}

const TOOLS: &[&str] = &["mkfs.xfs", "mkfs.ext4", "mkfs.btrfs"];

#[test]
fn what_was_acknowledged_survives_a_power_cut_on_ext4() {
    if own_mounts("what_was_acknowledged_survives_a_power_cut_on_ext4", TOOLS) == Place::Inside {
        survives("ext4", 64, &["mkfs.ext4", "-q"]);
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_on_xfs() {
    if own_mounts("what_was_acknowledged_survives_a_power_cut_on_xfs", TOOLS) == Place::Inside {
        survives("xfs", 320, &["mkfs.xfs", "-q"]);
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_on_btrfs() {
    if own_mounts("what_was_acknowledged_survives_a_power_cut_on_btrfs", TOOLS) == Place::Inside {
        survives("btrfs", 160, &["mkfs.btrfs", "-q"]);
    }
}

#[test]
fn what_a_push_acknowledged_is_whole_after_a_power_cut_on_ext4() {
    if own_mounts("what_a_push_acknowledged_is_whole_after_a_power_cut_on_ext4", TOOLS) == Place::Inside {
        lasts_to_the_last_bit("ext4", 64, &["mkfs.ext4", "-q"]);
    }
}

#[test]
fn what_a_push_acknowledged_is_whole_after_a_power_cut_on_xfs() {
    if own_mounts("what_a_push_acknowledged_is_whole_after_a_power_cut_on_xfs", TOOLS) == Place::Inside {
        lasts_to_the_last_bit("xfs", 320, &["mkfs.xfs", "-q"]);
    }
}

#[test]
fn what_a_push_acknowledged_is_whole_after_a_power_cut_on_btrfs() {
    if own_mounts("what_a_push_acknowledged_is_whole_after_a_power_cut_on_btrfs", TOOLS) == Place::Inside {
        lasts_to_the_last_bit("btrfs", 160, &["mkfs.btrfs", "-q"]);
    }
}

#[test]
fn a_transfer_goes_on_from_what_was_synced_on_ext4() {
    if own_mounts("a_transfer_goes_on_from_what_was_synced_on_ext4", TOOLS) == Place::Inside {
        goes_on_from_what_was_synced("ext4", 128, &["mkfs.ext4", "-q"]);
    }
}

#[test]
fn a_transfer_goes_on_from_what_was_synced_on_xfs() {
    if own_mounts("a_transfer_goes_on_from_what_was_synced_on_xfs", TOOLS) == Place::Inside {
        goes_on_from_what_was_synced("xfs", 320, &["mkfs.xfs", "-q"]);
    }
}

#[test]
fn a_transfer_goes_on_from_what_was_synced_on_btrfs() {
    if own_mounts("a_transfer_goes_on_from_what_was_synced_on_btrfs", TOOLS) == Place::Inside {
        goes_on_from_what_was_synced("btrfs", 160, &["mkfs.btrfs", "-q"]);
    }
}
