//! The floors of the house, the owners of outside crates and the words of the trade hold in every file.
//!
//! A change that breaks one of these needs another shape, not an exception here: `docs/architecture.md`
//! says why each rule stands. The checker is itself tested with small bad samples at the end.

#[path = "layering/reading.rs"]
mod reading;

use std::fs;
use std::path::Path;

use reading::{made_names, paths, shipped_code, words};

/// Rooms by floor, from the ground up; rooms of one floor do not know each other.
const FLOORS: [&[&str]; 6] = [
    &["model"],
    &["delta", "plan"],
    &["proto"],
    &["disk", "store", "watch", "net"],
    &["client", "server"],
    &["cli", "main"],
];

/// Sideways imports that are meant: who, and what it may use there.
const SIDEWAYS: [(&str, &[&str]); 3] = [
    // For a destination on this machine the sender starts the receiver itself.
    ("client", &["server"]),
    // Both programs tell the same events.
    ("server", &["client", "event"]),
    ("main", &["cli"]),
];

/// Outside crates and the only places that may name them: folders end in a slash.
const OWNERS: [(&str, &[&str]); 19] = [
    ("aws_lc_rs", &["net/"]),
    ("bincode", &["proto/frame.rs"]),
    ("clap", TOP),
    ("criterion", &[]),
    ("fast_rsync", &["delta/blocks.rs"]),
    ("fastcdc", &["delta/chunks.rs"]),
    ("ignore", &["plan/scope.rs"]),
    ("indicatif", &["cli/progress.rs"]),
    ("notify", &["watch/"]),
    ("redb", &["store/"]),
    ("rustix", &["disk/", "net/"]),
    ("landlock", &["disk/sandbox.rs"]),
    ("rustls", &["net/"]),
    ("serde_json", &["cli/json.rs"]),
    ("socket2", &["net/unsent.rs"]),
    ("tokio", &["net/", "watch/", "client/", "server/", "cli/", "main.rs"]),
    ("tokio_rustls", &["net/"]),
    ("tracing_subscriber", TOP),
    ("zstd", &["net/"]),
];
const TOP: &[&str] = &["cli/", "main.rs"];

/// Outside crates that every room may name: values, errors, hashes and a word for whoever debugs.
const COMMON: [&str; 4] = ["blake3", "serde", "thiserror", "tracing"];

/// What the pure floors may not touch: files, sockets, processes, the environment, the clock.
const OUTSIDE: [&[&str]; 8] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "os", "unix", "net"],
    &["std", "thread", "sleep"],
    &["Instant", "now"],
    &["SystemTime", "now"],
];

/// Words that mean too much or too little; the trade's own are in the glossary.
const NOT_OURS: [&str; 9] =
    ["patch", "payload", "packet", "digest", "fingerprint", "manager", "handler", "helper", "util"];

/// A file longer than this tells something: it is named, not refused.
const LONG_LINES: usize = 400;

/// One file of `src/`: its path below it with slashes, its text as it stands.
struct Source {
    path: String,
    text: String,
}

#[test]
fn every_file_keeps_to_its_floor_its_owners_and_the_words_of_the_trade() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside =
        outside_crates(&fs::read_to_string(package.join("Cargo.toml")).expect("there is a Cargo.toml"));
    let mut sources = Vec::new();
    collect(&package.join("src"), "", &mut sources);
    assert!(sources.iter().any(|source| source.path == "model/path.rs"), "the sources were not found");

    let faults: Vec<String> = sources.iter().flat_map(|source| faults(source, &outside)).collect();
    for Source { path, text } in &sources {
        let n_lines = text.lines().count();
        if n_lines > LONG_LINES {
            println!("long: src/{path} has {n_lines} lines, more than {LONG_LINES}");
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_dependency_has_an_owner() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside =
        outside_crates(&fs::read_to_string(package.join("Cargo.toml")).expect("there is a Cargo.toml"));
    assert!(outside.iter().any(|name| name == "tokio"), "the dependencies were not found: {outside:?}");
    for name in outside {
        assert!(
            COMMON.contains(&name.as_str()) || OWNERS.iter().any(|(owned, _)| *owned == name),
            "{name} is a dependency without an owner: give it a room in OWNERS and a reason in docs/architecture.md"
        );
    }
}

#[test]
fn unsafe_code_is_forbidden_in_library_and_program() {
    for root in ["src/lib.rs", "src/main.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let text = fs::read_to_string(path).expect("both roots are there");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root}");
    }
}

fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("src is readable").map(|entry| entry.expect("src is readable")).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), sources);
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("src is readable");
            sources.push(Source { path, text });
        }
    }
}

/// Names of the crates in `[dependencies]`, as code writes them.
fn outside_crates(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]"));
    let lines = section.unwrap_or_default().lines();
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .filter(|name| !name.starts_with('#'))
        .collect()
}

/// Everything that is wrong with one file.
fn faults(source: &Source, outside: &[String]) -> Vec<String> {
    let Source { path, text } = source;
    if is_test_file(path) {
        return Vec::new();
    }
    let code = shipped_code(text);
    let words = words(&code);
    let paths = paths(&words);
    let mut faults = Vec::new();
    for written in &paths {
        faults.extend(floor_fault(path, &resolved(path, written)));
        faults.extend(owner_fault(path, written, outside));
        faults.extend(purity_fault(path, written));
        if written.ends_with(&["process".into(), "exit".into()]) {
            faults.push("ends the process: only `main` does, by returning".to_string());
        }
    }
    faults.extend(made_names(&words).into_iter().filter_map(word_fault));
    if words.windows(4).any(|four| four == [".", "unwrap", "(", ")"]) {
        faults.push("unwraps: return an error, or `expect` the invariant".into());
    }
    if words.contains(&"unsafe") {
        faults.push("holds unsafe code".into());
    }
    faults.sort();
    faults.dedup();
    faults.into_iter().map(|fault| format!("src/{path}: {fault}")).collect()
}

/// Files of tests that stand beside what they test: `tests.rs`, `x_tests.rs`, `tests/x.rs`.
fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests")
}

/// The room a file belongs to: its topmost folder, or its own name.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// A path as seen from the crate's root; empty when it does not lead into this crate.
fn resolved(file: &str, written: &[String]) -> Vec<String> {
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_string).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    match written.first().map(String::as_str) {
        Some("crate" | "strait") => written[1..].to_vec(),
        Some("super") => {
            let n_supers = written.iter().take_while(|part| *part == "super").count();
            module.truncate(module.len().saturating_sub(n_supers));
            [&module, &written[n_supers..]].concat()
        }
        Some("self") => [&module, &written[1..]].concat(),
        _ => Vec::new(),
    }
}

fn floor_fault(file: &str, target: &[String]) -> Option<String> {
    let from = room(file);
    let to = target.first()?;
    if from == "lib" || from == to {
        return None;
    }
    let is_meant =
        SIDEWAYS.iter().any(|(who, what)| *who == from && target.iter().take(what.len()).eq(what.iter()));
    if is_meant {
        return None;
    }
    match (floor(from), floor(to)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(own), Some(other)) => {
            Some(format!("floor {own} imports {} of floor {other}", target.join("::")))
        }
        (None, _) => Some(format!("the room {from} has no floor")),
        (_, None) => Some(format!("imports {}, which is in no room", target.join("::"))),
    }
}

fn owner_fault(file: &str, written: &[String], outside: &[String]) -> Option<String> {
    let name = written.first().filter(|name| outside.contains(name))?;
    let owners = OWNERS.iter().find(|(owned, _)| owned == name).map(|(_, owners)| *owners)?;
    let owns = |owner: &&str| *owner == file || owner.ends_with('/') && file.starts_with(*owner);
    (!owners.iter().any(owns)).then(|| format!("names {name}, which belongs to {}", owners.join(", ")))
}

fn purity_fault(file: &str, written: &[String]) -> Option<String> {
    // Folders of tests may time themselves and take a seed from the environment.
    if floor(room(file)).is_none_or(|floor| floor > 2) || file.contains("_tests/") {
        return None;
    }
    let touches = |banned: &&[&str]| written.windows(banned.len()).any(|part| part.iter().eq(banned.iter()));
    OUTSIDE.iter().any(touches).then(|| format!("a pure floor touches {}", written.join("::")))
}

fn word_fault(name: &str) -> Option<String> {
    let lower = snake(name);
    let is_bad =
        |part: &str| NOT_OURS.iter().any(|word| part == *word || part.strip_suffix('s') == Some(word));
    lower.split('_').any(is_bad).then(|| format!("makes the name {name}: the glossary has a better word"))
}

/// `SomeName` as `some_name`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

mod samples {
    use super::*;

    /// Faults of a small file at a place.
    fn faults_of(path: &str, text: &str) -> Vec<String> {
        let outside: Vec<String> = OWNERS.iter().map(|(name, _)| name.to_string()).collect();
        faults(&Source { path: path.into(), text: text.into() }, &outside)
    }

    #[test]
    fn each_bad_file_is_caught() {
        for (path, text, words) in [
            ("delta/x.rs", "use crate::disk::Root;", "floor 1 imports disk::Root of floor 3"),
            ("disk/x.rs", "use crate::{model::Name, store::Cache};", "floor 3 imports store::Cache"),
            ("disk/mod.rs", "fn f() { super::net::pipe::open() }", "floor 3 imports net::pipe::open"),
            ("disk/deep/x.rs", "use super::super::super::watch;", "floor 3 imports watch"),
            ("proto/x.rs", "use crate::client::event::Event;", "floor 2 imports client"),
            ("server/x.rs", "use crate::client::watch;", "floor 4 imports client::watch"),
            ("client/x.rs", "fn f() -> strait::cli::args::Say { g() }", "floor 4 imports cli"),
            ("plan/x.rs", "pub(crate) use crate::delta::ops as o;", "floor 1 imports delta"),
            ("attic/x.rs", "use crate::model::Name;", "the room attic has no floor"),
            ("disk/x.rs", "use crate::cellar::Jar;", "in no room"),
            ("proto/message.rs", "use bincode::Encode;", "bincode, which belongs to proto/frame.rs"),
            ("delta/sieve.rs", "fn f() { fast_rsync::diff(); }", "fast_rsync"),
            ("server/x.rs", "use {std::fs, redb::Database};", "redb"),
            ("disk/x.rs", "#[tokio::main] fn f() {}", "tokio"),
            ("store/x.rs", "use ::tokio::sync::mpsc;", "tokio"),
            ("client/x.rs", "use rustix::fs::openat;", "rustix"),
            ("model/x.rs", "use std::fs::File;", "a pure floor touches std::fs::File"),
            ("plan/x.rs", "fn f() { std::time::Instant::now(); }", "a pure floor touches"),
            ("net/x.rs", "fn f() { g().unwrap(); }", "unwraps"),
            ("net/x.rs", "fn f() { g()\n    .unwrap ( ) }", "unwraps"),
            ("server/x.rs", "fn f() { std::process::exit(1) }", "ends the process"),
            ("net/x.rs", "fn f() { unsafe { g() } }", "unsafe"),
            ("net/x.rs", "struct FrameHandler;", "FrameHandler"),
            ("net/x.rs", "struct A { payload_bytes: u64 }", "payload_bytes"),
            ("net/x.rs", "mod utils;", "utils"),
            ("net/x.rs", "fn f() { let mut digest = 1; }", "digest"),
        ] {
            let faults = faults_of(path, text);
            assert!(faults.iter().any(|fault| fault.contains(words)), "{path}: {text}: {faults:?}");
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for (path, text) in [
            ("cli/mod.rs", "use crate::client::event::Event; use clap::Parser;"),
            ("client/x.rs", "use crate::server::run; use super::event::Event; use tokio::select;"),
            ("server/x.rs", "use crate::client::event::{Event, Report};"),
            (
                "disk/x.rs",
                "use super::root::Root; use crate::model::Name; use self::Root as R; use rustix::fs;",
            ),
            ("main.rs", "fn main() { strait::cli::run() }"),
            ("lib.rs", "pub mod disk; pub use crate::disk::Root;"),
            ("proto/frame.rs", "use bincode::serde::encode_to_vec;"),
            ("plan/x.rs", "fn f(now: std::time::Instant) -> impl Iterator<Item = u8> + use<'_> { g(now) }"),
            ("net/x.rs", "fn f() { g().unwrap_or_default(); rustls::patch(); }"),
            ("delta/x.rs", "fn dispatch(utility: u8) {}"),
        ] {
            assert_eq!(faults_of(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn comments_strings_and_tests_are_not_code() {
        let text = r##"
            //! crate::disk::Root and x.unwrap()
            /* use crate::net; /* unsafe */ .unwrap() */
            const A: &str = "use crate::disk; \" .unwrap()";
            const B: &[u8] = br#"unsafe " crate::disk::x"#;
            fn f<'a>(x: &'a str) -> char { if x.is_empty() { '"' } else { '\'' } }
            #[cfg(test)]
            mod tests { use crate::disk::Root; fn f() { if true { g().unwrap() } } }
            #[cfg(test)]
            #[path = "far.rs"]
            mod far;
        "##;
        assert_eq!(faults_of("model/x.rs", text), Vec::<String>::new());
        let after = format!("{text}\nfn g() {{ h().unwrap() }}");
        assert_eq!(faults_of("model/x.rs", &after).len(), 1, "code behind all that is still read");
    }

    #[test]
    fn files_of_tests_may_unwrap() {
        assert!(faults_of("cli/args_tests.rs", "fn f() { g().unwrap() }").is_empty());
    }
}
