//! `docs/architecture.md` names every source file, and none that is not there; `docs/security.md` names
//! tests that are there; every fuzz target has a corpus to begin from.

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

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let security = include_str!("../docs/security.md");
    let mut names = Vec::new();
    for heading in ["What is promised", "rsync's lessons", "Bombs"] {
        let section = section_of(security, heading);
        let tests = section.lines().filter_map(|line| line.strip_prefix("| ")?.rsplit("| ").next());
        let found: Vec<&str> = tests.flat_map(|column| column.split('`').skip(1).step_by(2)).collect();
        assert!(found.len() > 10, "the table of {heading} was not found: {found:?}");
        names.extend(found);
    }
    let prose = section_of(security, "What holds").split('`').skip(1).step_by(2);
    let found: Vec<&str> = prose.filter(|words| is_name_of_test(words)).collect();
    assert!(found.len() > 20, "the tests of each paragraph were not found: {found:?}");
    names.extend(found);
    let mut texts = String::new();
    for folder in ["src", "tests"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut texts);
    }
    let missing: Vec<&&str> = names.iter().filter(|name| !texts.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty(), "docs/security.md names tests that are not there: {missing:?}");
}

/// A target without one spends its minute on the first bytes of a form.
#[test]
fn every_fuzz_target_has_a_corpus_of_small_files() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/ is a package");
    let (_, bins) = manifest.split_once("[[bin]]").expect("it has targets");
    let targets: BTreeSet<String> = bins
        .lines()
        .filter_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').into()))
        .collect();
    assert!(targets.len() >= 8, "the targets were not found: {targets:?}");
    let corpora = fs::read_dir(fuzz.join("corpus")).expect("there are corpora");
    let corpora =
        corpora.map(|entry| entry.expect("it is readable").file_name().into_string().expect("UTF-8"));
    assert_eq!(corpora.collect::<BTreeSet<_>>(), targets);
    for target in targets {
        let inputs = fs::read_dir(fuzz.join("corpus").join(&target)).expect("it is readable");
        let sizes: Vec<u64> = inputs
            .map(|input| input.expect("it is readable").metadata().expect("it is there").len())
            .collect();
        assert!(sizes.len() > 40, "{target} has {} inputs", sizes.len());
        assert!(
            sizes.iter().all(|bytes| *bytes <= 4_096),
            "{target} has an input of {:?} bytes",
            sizes.iter().max()
        );
    }
}

fn section_of<'t>(page: &'t str, heading: &str) -> &'t str {
    let section = page.split_once(&format!("\n## {heading}\n")).expect("there is such a section").1;
    section.split_once("\n## ").expect("it is not the last one").0
}

/// Whether words are those of a sentence, joined as in the name of a function.
fn is_name_of_test(words: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    words.matches('_').count() > 2 && words.chars().all(is_fit)
}

fn read_all(folder: &Path, texts: &mut String) {
    for entry in fs::read_dir(folder).expect("it is readable") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            read_all(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push_str(&fs::read_to_string(path).expect("sources are UTF-8"));
        }
    }
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
