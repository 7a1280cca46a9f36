//! What strait keeps beside the trees may be damaged, lost, old or foreign, and the destination may be somebody
//! else's work by now: it is made again, said at most once, and no wrong byte comes of it.

mod faults;

use faults::edits::Editor;
use faults::{Rng, Running, Yard, free_port, number, tree};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Where a store says its format.
const WORDS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("words");
const FORMAT_KEY: &[u8] = b"\0format";

/// What happens to a store while nobody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    FlipSome,
    FlipMany,
    FlipHead,
    Truncate,
    Empty,
    Delete,
    DeleteFolder,
    Rubbish,
    Zeros,
    Doubled,
    OtherVersion,
    Directory,
}

const HARMS: [Harm; 12] = [
    Harm::FlipSome,
    Harm::FlipMany,
    Harm::FlipHead,
    Harm::Truncate,
    Harm::Empty,
    Harm::Delete,
    Harm::DeleteFolder,
    Harm::Rubbish,
    Harm::Zeros,
    Harm::Doubled,
    Harm::OtherVersion,
    Harm::Directory,
];

impl Harm {
    /// Whether it must be said: the others may hit what holds nothing, or are like a first start.
    fn is_plain(self) -> bool {
        matches!(self, Harm::Rubbish | Harm::OtherVersion | Harm::Zeros | Harm::Directory)
    }

    fn does(self, store: &Path, rng: &mut Rng) {
        let len = fs::metadata(store).unwrap().len();
        let flip = |n: usize, below: u64, rng: &mut Rng| {
            let file = File::options().read(true).write(true).open(store).unwrap();
            for _ in 0..n {
                let (at, mut byte) = (rng.next() % below, [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << rng.below(8))], at).unwrap();
            }
        };
        match self {
            Harm::FlipSome => flip(3, len, rng),
            Harm::FlipMany => flip(2_000, len, rng),
            Harm::FlipHead => flip(2, 512, rng),
            Harm::Truncate => {
                File::options().write(true).open(store).unwrap().set_len(rng.next() % len).unwrap()
            }
            Harm::Empty => fs::write(store, b"").unwrap(),
            Harm::Delete => fs::remove_file(store).unwrap(),
            // A server did not start, a client remembered nothing any more.
            Harm::Directory => {
                fs::remove_file(store).unwrap();
                fs::create_dir_all(store.join("holds something")).unwrap();
            }
            Harm::DeleteFolder => fs::remove_dir_all(store.parent().unwrap()).unwrap(),
            Harm::Rubbish => fs::write(store, rng.bytes(100_000)).unwrap(),
            Harm::Zeros => fs::write(store, vec![0; len as usize]).unwrap(),
            Harm::Doubled => {
                let bytes = fs::read(store).unwrap();
                fs::write(store, [&bytes[..], &bytes[..]].concat()).unwrap();
            }
            Harm::OtherVersion => {
                let database = redb::Database::open(store).unwrap();
                let writing = database.begin_write().unwrap();
                writing.open_table(WORDS).unwrap().insert(FORMAT_KEY, &format_of_tomorrow()[..]).unwrap();
                writing.commit().unwrap();
            }
        }
    }
}

/// The row by which a store of a later version says its format, with the check that every row begins with.
fn format_of_tomorrow() -> Vec<u8> {
    let format = 2_u32.to_le_bytes();
    let length = (FORMAT_KEY.len() as u64).to_le_bytes();
    let checked = [b"words\0", &length[..], FORMAT_KEY, &format].concat();
    [&blake3::hash(&checked).as_bytes()[..8], &format].concat()
}

fn stores_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(stores_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "redb") {
            found.push(path);
        }
    }
    found
}

fn n_rebuilt(said: &str) -> usize {
    said.matches("\"cache_rebuilt\"").count()
}

/// A source that was edited and pushed some times, and its server.
struct Case {
    yard: Yard,
    editor: Editor,
    port: u16,
    server: Running,
}

impl Case {
    fn new(rng: &mut Rng) -> Self {
        let yard = Yard::new();
        let port = free_port();
        let server = yard.serve(port);
        let editor = Editor { root: yard.src.clone(), largest_bytes: 200_000 };
        let mut case = Self { yard, editor, port, server };
        fs::write(case.yard.src.join("large"), rng.bytes(400_000)).unwrap();
        for _ in 0..2 {
            (0..40).for_each(|_| case.editor.edit(rng));
            case.is_pushed("at first");
        }
        case
    }

    /// One push, after which both trees are equal; what it said.
    fn is_pushed(&mut self, what: &str) -> String {
        let ended = self.yard.push(Some(self.port));
        ended.is_in_step(what);
        self.yard.is_in_step(what);
        ended.out
    }

    /// Does something while neither side runs.
    fn while_both_are_away(&mut self, what: impl FnOnce(&Yard)) {
        self.server.kill();
        what(&self.yard);
        self.server = self.yard.serve(self.port);
    }

    /// In step by one push with edits and one without, and after that nothing is left to do or say.
    fn comes_round(&mut self, rng: &mut Rng, what: &str) -> String {
        let mut said = self.is_pushed(what);
        (0..15).for_each(|_| self.editor.edit(rng));
        said += &self.is_pushed(&format!("{what}, edited"));
        let last = self.yard.push(Some(self.port));
        last.is_in_step(what);
        let summary = last.summary();
        assert_eq!((summary["changed"], summary["deleted"]), (0, 0), "{what}: {}", last.out);
        assert_eq!(n_rebuilt(&last.out), 0, "{what}: said again: {}", last.out);
        said
    }
}

#[test]
fn a_store_that_is_harmed_on_either_side_is_made_again_and_said_once() {
    let mut rng = Rng::seeded("state, stores");
    let mut case = Case::new(&mut rng);
    // A few bytes may lie where nobody looks before a later case: then it is said there.
    let mut is_unsaid = [false; 2];
    for round in 0..number("STRAIT_ROUNDS", 2) {
        for (n, harm) in HARMS.into_iter().enumerate() {
            let of = (n + round) % 2;
            let side = ["client", "server"][of];
            let what = format!("round {round}, {harm:?}, {side}");
            let dir = match side {
                "client" => case.yard.path.join("home"),
                _ => case.yard.dest.join(".strait/state"),
            };
            case.while_both_are_away(|_| {
                let stores = stores_below(&dir);
                assert!(!stores.is_empty(), "{what}: there is a store below {}", dir.display());
                stores.iter().filter(|store| store.exists()).for_each(|store| harm.does(store, &mut rng));
            });
            let (said_by_client, said_by_server) = (case.comes_round(&mut rng, &what), case.server.said());
            let (by_client, by_server) = (n_rebuilt(&said_by_client), n_rebuilt(&said_by_server));
            let (harmed, other) =
                if side == "client" { (by_client, by_server) } else { (by_server, by_client) };
            let most_of_other = usize::from(is_unsaid[1 - of]);
            assert!(harmed <= 1 && other <= most_of_other, "{what}: said {harmed} and {other} times");
            assert!(harmed == 1 || !harm.is_plain(), "{what}: not said");
            if harm == Harm::OtherVersion {
                let said = [said_by_client, said_by_server][of].clone();
                assert!(said.contains("it is not of format 1"), "{what}: {said}");
            }
            is_unsaid[1 - of] &= other == 0;
            is_unsaid[of] = harmed == 0;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp -a");
}

fn put_back(backup: &Path, at: &Path) {
    let _ = fs::remove_dir_all(at);
    copy(backup, at);
}

/// A backup of the whole destination, of its files without its state, of the state alone, and of the client's.
#[test]
fn what_is_restored_from_an_older_backup_is_brought_up_to_date() {
    let mut rng = Rng::seeded("state, backups");
    let mut case = Case::new(&mut rng);
    let backups = case.yard.path.join("backups");
    for (n, which) in ["all", "files", "state", "client"].into_iter().enumerate() {
        let backup = backups.join(n.to_string());
        fs::create_dir_all(&backup).unwrap();
        case.while_both_are_away(|yard| {
            copy(&yard.dest, &backup.join("dest"));
            copy(&yard.path.join("home"), &backup.join("home"));
        });
        for _ in 0..2 {
            (0..30).for_each(|_| case.editor.edit(&mut rng));
            case.is_pushed(which);
        }
        case.while_both_are_away(|yard| {
            let state = Path::new(".strait/state");
            match which {
                "all" => put_back(&backup.join("dest"), &yard.dest),
                "files" => {
                    let newer = backup.join("newer state");
                    copy(&yard.dest.join(state), &newer);
                    put_back(&backup.join("dest"), &yard.dest);
                    put_back(&newer, &yard.dest.join(state));
                }
                "state" => put_back(&backup.join("dest").join(state), &yard.dest.join(state)),
                _ => put_back(&backup.join("home"), &yard.path.join("home")),
            }
        });
        case.comes_round(&mut rng, &format!("restored: {which}"));
    }
}

/// Written in place with the same size and, afterwards, the same time as before; at the destination too.
#[test]
fn equal_sizes_and_times_hide_no_change() {
    let mut rng = Rng::seeded("state, times");
    let mut case = Case::new(&mut rng);
    let name = "same size";
    let path = case.yard.src.join(name);
    fs::write(&path, rng.bytes(5_000)).unwrap();
    case.is_pushed("first");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let times = [
        time,
        SystemTime::UNIX_EPOCH,
        time - Duration::from_secs(400 * 24 * 3_600),
        time + Duration::from_secs(400 * 24 * 3_600),
    ];
    for round in 0..number("STRAIT_ROUNDS", 6) {
        // On the heels of a push, or with the clock of a file set back or forth.
        for at in [&path, &case.yard.dest.join(name)] {
            let file = File::options().write(true).open(at).unwrap();
            file.write_all_at(&rng.bytes(5_000), 0).unwrap();
            file.set_times(FileTimes::new().set_modified(times[round % times.len()])).unwrap();
        }
        case.is_pushed(&format!("round {round}"));
    }
    // No time at all between: the same size, the same moment as far as the file system can tell.
    for round in 0..number("STRAIT_ROUNDS", 6) {
        fs::write(&path, rng.bytes(5_000)).unwrap();
        case.is_pushed(&format!("at once, round {round}"));
    }
}

/// The destination was edited while neither side ran, in ways that a stat shows or hides.
#[test]
fn a_destination_that_somebody_edited_is_brought_back() {
    let mut rng = Rng::seeded("state, edits");
    let mut case = Case::new(&mut rng);
    for round in 0..number("STRAIT_ROUNDS", 3) {
        let before = tree::read(&case.yard.src);
        case.while_both_are_away(|yard| {
            for entry in fs::read_dir(&yard.dest).unwrap().flatten() {
                if entry.file_name() != ".strait" && rng.chance(4) {
                    let there = entry.path();
                    let _ = fs::rename(&there, yard.dest.join(format!("moved by hand {}", rng.below(9))));
                }
            }
            fs::write(yard.dest.join("made by hand"), rng.bytes(100)).unwrap();
        });
        assert!(before == tree::read(&case.yard.src), "the source is not touched");
        case.comes_round(&mut rng, &format!("edited there, round {round}"));
    }
}

/// What is known of a file's versions stays within what one version of it takes, on either side, however many came.
#[test]
fn what_is_kept_of_versions_that_are_gone_stays_small() {
    const N_VERSIONS: usize = 24;
    const MOST_BYTES: u64 = 3_500_000;
    let mut rng = Rng::seeded("state, versions");
    let yard = Yard::new();
    for version in 0..N_VERSIONS {
        fs::write(yard.src.join("file"), rng.bytes(8 << 20)).unwrap();
        yard.push(None).is_in_step(&format!("version {version}"));
    }
    let stores: Vec<_> =
        [&yard.path.join("home"), &yard.dest].into_iter().flat_map(|dir| stores_below(dir)).collect();
    assert!(stores.len() >= 2, "{stores:?}");
    for store in stores {
        let on_disk = store.metadata().unwrap().blocks() * 512;
        assert!(on_disk <= MOST_BYTES, "{store:?} takes {on_disk} bytes");
    }
}
