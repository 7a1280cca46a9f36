//! `docs/architecture.md` names every source file, and none that is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../docs/architecture.md");

#[test]
fn every_source_file_has_a_line_in_the_architecture() {
    let rows = rows();
    let missing: Vec<String> = sources().into_iter().filter(|path| !rows.contains(path.as_str())).collect();
    assert!(missing.is_empty(), "docs/architecture.md has no line for {missing:#?}");
}

#[test]
fn every_line_of_the_architecture_has_its_source_file() {
    let sources = sources();
    let stale: Vec<&str> = rows().into_iter().filter(|row| !sources.iter().any(|path| path == row)).collect();
    assert!(stale.is_empty(), "docs/architecture.md has lines for files that are not there: {stale:#?}");
}

/// The first columns of the tables of files, as paths below `src/`.
fn rows() -> BTreeSet<&'static str> {
    let (_, section) = DOCUMENT.split_once("\n## Every file\n").expect("there is a section of files");
    let (section, _) = section.split_once("\n## ").expect("it is not the last one");
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(path, _)| path)
        .collect()
}

/// All source files but those in folders of tests, as paths below `src/`.
fn sources() -> Vec<String> {
    let mut paths = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut paths);
    assert!(paths.contains(&"model/path.rs".to_owned()), "the sources were not found");
    paths
}

fn collect(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let entry = entry.expect("src is readable");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() && !path.ends_with("tests") {
            collect(&entry.path(), &format!("{path}/"), paths);
        } else if path.ends_with(".rs") {
            paths.push(path);
        }
    }
}
