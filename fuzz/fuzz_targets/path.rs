//! Bytes as names and paths: what is taken cannot climb, is not absolute and not strait's own folder;
//! and what is shown of it cannot steer a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::model::limits::{NAME_BYTES, PATH_BYTES, PATH_DEPTH};
use strait::model::{Name, RelPath};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = Name::parse(bytes) {
        assert!((1..=NAME_BYTES).contains(&name.as_bytes().len()));
        assert!(!bytes.contains(&b'/') && !bytes.contains(&0) && bytes != b"." && bytes != b"..");
    }
    let Ok(path) = RelPath::parse(bytes) else { return };
    assert_eq!(path.as_bytes(), bytes);
    assert!(bytes.len() <= PATH_BYTES && path.depth() <= PATH_DEPTH);
    assert!(!path.to_string().chars().any(char::is_control), "control characters are shown");
    if path.is_root() {
        return;
    }
    assert!(!path.as_path().is_absolute());
    let is_plain = |part: std::path::Component| matches!(part, std::path::Component::Normal(_));
    assert!(path.as_path().components().all(is_plain), "a part of a path is not a name");
    assert_ne!(path.names().next().expect("it has names").as_bytes(), b".strait");
    let (parent, name) = path.split().expect("it has a name");
    assert_eq!(parent.join(&name).as_ref(), Ok(&path));
    assert!(path.is_at_or_below(&parent) && path.is_at_or_below(&path) && !parent.is_at_or_below(&path));
    assert_eq!(path.names().count(), path.depth());
});
