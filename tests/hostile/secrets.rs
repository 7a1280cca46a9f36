//! A server that wants to see what the client keeps to itself.

use crate::common::World;
use crate::common::traced::{can_trace, lines};
use crate::common::tree::{link, noise, write};
use crate::far::*;
use crate::harbour::{meta, path};
use crate::wire::{Host, body_of};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strait::delta::ops::Basis;
use strait::model::{ContentHash, Kind, List, Name};
use strait::proto::message::*;

/// Names of a source that are no business of the server's, and of what lies behind its links.
const KEPT: [&str; 8] = [".hidden", "excluded", "folder", "inner", "out", "outdir", "outside", "secret"];
const SECRET_BYTES: usize = 3_000;

/// What each file that is kept back holds.
fn secret(n: usize) -> Vec<u8> {
    noise(100 + n as u64, SECRET_BYTES)
}

/// A source with a hidden file, excluded ones, and links that lead out of it.
fn world() -> World {
    let world = World::new();
    write(world.src.join("big"), noise(3, 400_000));
    write(world.src.join("d/small"), "small");
    for (n, at) in ["src/.hidden", "src/excluded", "src/folder/inner", "outside/secret"].iter().enumerate() {
        write(world.at(at), secret(n));
    }
    link("../outside/secret", world.src.join("out"));
    link("../outside", world.src.join("outdir"));
    world
}

/// The hash of what one of them holds: the server may know it, or guess.
fn known_hash(n: u64) -> ContentHash {
    ContentHash::of(&secret(n as usize % 4))
}

/// The destination holds each of these names, as the server says; two lead on to more.
fn listed(request: u32, dir: strait::model::RelPath) -> Down {
    let names: &[(&str, Kind)] = match dir.as_bytes() {
        b"" => &[
            (".hidden", Kind::File),
            ("big", Kind::File),
            ("excluded", Kind::File),
            ("folder", Kind::Dir),
            ("out", Kind::File),
            ("outdir", Kind::Dir),
        ],
        b"folder" => &[("inner", Kind::File)],
        b"outdir" => &[("secret", Kind::File)],
        _ => &[],
    };
    let entry = |(n, (name, kind)): (usize, &(&str, Kind))| EntryInfo {
        name: Name::parse(name.as_bytes()).expect("a name"),
        kind: *kind,
        meta: meta(0o644),
        size: if *kind == Kind::Dir { 0 } else { SECRET_BYTES as u64 },
        hash: EntryHash::Full(known_hash(n as u64)),
        n_below: u64::from(*kind == Kind::Dir),
    };
    let body = ListingBody::Entries(List::new(names.iter().enumerate().map(entry).collect()));
    let n_below = names.len() as u64;
    Down::Listing(Box::new(Listing { request, dir, hash: None, n_below, body, more: false }))
}

/// Every reason that names a path or a content, or makes a client look again.
fn reasons(n: u64) -> Refusal {
    let by = Name::parse(KEPT[n as usize % KEPT.len()].as_bytes()).expect("a name");
    match n % 6 {
        0 => Refusal::Drifted { tag: known_hash(n).tag() },
        1 => Refusal::BasisGone { index: 0 },
        2 => Refusal::BasisGone { index: n as u32 },
        3 => Refusal::HashDiffers,
        4 => Refusal::MoreThanSaid { n },
        _ => Refusal::NameTaken { by },
    }
}

/// Answers whatever the client says with the names and contents that it should not read.
fn pry(host: &mut Host, heard: &Mutex<Vec<Up>>) {
    welcome_with(host, |welcome| {
        let partial = |n: usize, at: &str| PartialInfo {
            name: [n as u8; 16],
            hash: known_hash(n as u64),
            size: SECRET_BYTES as u64,
            have: 1_000,
            path: path(at),
        };
        let paths = [".hidden", "excluded", "folder/inner", "out", "outdir/secret", "big"];
        welcome.partials = List::new(paths.iter().enumerate().map(|(n, at)| partial(n, at)).collect());
    });
    host.say(&complete(ContentHash([5; 32])));
    let mut round = 0;
    while let Some(Some(up)) = host.hear_within(Duration::from_secs(2)) {
        round += 1;
        pry_on(host, &up, round);
        let is_last = matches!(up, Up::Bye { .. }) || round > 200;
        heard.lock().expect("nobody panics").push(up);
        if is_last {
            break;
        }
    }
    dismiss(host);
}

fn pry_on(host: &mut Host, up: &Up, round: u64) {
    let found = Some(ContentFound { hash: known_hash(round), size: SECRET_BYTES as u64 });
    match up {
        Up::List { request, dirs, .. } => {
            dirs.iter().for_each(|asked| host.say(&listed(*request, asked.dir.clone())));
        }
        Up::AskGroups { request, level, .. } => {
            let tags = List::new(vec![known_hash(round).tag(); 2]);
            host.say(&Down::Groups { request: *request, found, level: *level, first: 0, tags });
        }
        Up::AskSignature { request, block_bytes, strong_bytes, .. } => {
            let (block_bytes, strong_bytes, request) = (*block_bytes, *strong_bytes, *request);
            let (range, entries) = ((0, 0), Vec::new());
            let more = false;
            host.say(&Down::Signature { request, found, block_bytes, strong_bytes, range, entries, more });
        }
        Up::AskHave { request, tags } => {
            let held = |index: usize| HaveChunk {
                index: index as u32,
                hash: known_hash(index as u64),
                offset: 0,
                len: SECRET_BYTES as u32,
            };
            let found = List::new((0..tags.len()).map(held).collect());
            host.say(&Down::Have { request: *request, found });
        }
        Up::AskBlocks { request, files } => {
            let files = List::new(vec![None; files.len()]);
            host.say(&Down::Blocks { request: *request, files });
        }
        // A repair of all of it first, then a reason to begin again.
        Up::End { id } if round.is_multiple_of(2) => {
            let values = List::new(vec![known_hash(round).0; 2]);
            host.say(&Down::Mismatch { id: *id, round: 1, level: 0, first: 0, values });
        }
        Up::End { id } => host.say(&Down::Refused { id: *id, item: None, why: reasons(round) }),
        up => {
            if let Some(id) = up.change_id().filter(|_| !matches!(up, Up::Put(_))) {
                for item in [Some(0), Some(1), None] {
                    host.say(&Down::Refused { id, item, why: reasons(round) });
                }
                host.say(&Down::Notice(Notice::Stays { path: path(KEPT[round as usize % KEPT.len()]) }));
            }
        }
    }
}

/// The names in the paths that a program opened.
fn opened(log: &[String]) -> BTreeSet<String> {
    let paths = log.iter().filter_map(|line| line.split('"').nth(1));
    paths.flat_map(|path| path.split('/').map(str::to_owned)).collect()
}

#[track_caller]
fn holds_no_secret(what: &str, bytes: &[u8]) {
    for n in 0..4 {
        for piece in secret(n).chunks(24) {
            assert!(!bytes.windows(piece.len()).any(|window| window == piece), "{what}: of secret {n}");
        }
    }
}

#[test]
fn a_server_cannot_make_a_client_read_what_its_plan_does_not_name() {
    if !can_trace("a server that wants to see more") {
        return;
    }
    let world = world();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let far = Far::start(&world, move |host| pry(host, &hears));
    let log = world.at("strace.log");
    let strace = ["-e", "trace=?open,openat,openat2"];
    let ran = far.traced_push(
        &world,
        &log,
        &strace,
        &["--json", "-v", "--exclude", "excluded", "--exclude", "folder"],
    );
    far.end();
    assert!(ran.code.is_some_and(|code| code != 0), "{}", ran.all());
    ran.says_nothing_of("panicked");
    let names = opened(&lines(&log));
    assert!(names.contains("big") && names.contains("small"), "what it sends is opened: {names:?}");
    let read: Vec<&&str> = KEPT.iter().filter(|kept| names.contains(**kept)).collect();
    assert!(read.is_empty(), "it opened {read:?}");
    let heard = heard.lock().expect("nobody panics");
    let n_puts = heard.iter().filter(|up| matches!(up, Up::Put(_))).count();
    let n_questions = heard.iter().filter(|up| matches!(up, Up::List { .. })).count();
    assert!(n_puts > 1 && n_questions > 1, "it tried again and again: {n_puts} {n_questions}");
    for up in heard.iter() {
        holds_no_secret("a message", &body_of(up));
        if let Up::Put(put) = up {
            let paths = ["big", "d/small"].map(path);
            assert!(paths.contains(&put.path), "{put:?}");
            assert!(
                !put.bases.iter().any(|basis| matches!(basis, Basis::Path { path, .. } if *path != put.path))
            );
        }
    }
}
