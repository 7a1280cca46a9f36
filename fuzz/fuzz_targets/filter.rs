//! Patterns of a user against paths of a tree: refused or usable, never a panic; what is in an excluded
//! directory is out; and equal options have equal names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::model::RelPath;
use strait::plan::scope::{Scope, Verdict};

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let mut parts = rest.split(|&byte| byte == b'\n');
    let n_patterns = usize::from(first >> 1) % 5;
    let patterns: Vec<String> =
        parts.by_ref().take(n_patterns).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let Ok(scope) = Scope::new(first & 1 == 1, &patterns) else { return };
    let again = Scope::new(first & 1 == 1, &patterns).expect("it was taken before");
    assert_eq!(scope.id(), again.id());
    for path in parts.take(8).filter_map(|part| RelPath::parse(part).ok()) {
        let verdict = scope.verdict(&path, first & 128 != 0);
        assert_eq!(verdict, again.verdict(&path, first & 128 != 0));
        if verdict != Verdict::Take {
            assert!(scope.is_out(&path, first & 128 != 0), "excluded and yet in scope");
        }
        let parent = path.parent();
        if !path.is_root() && scope.is_out(&parent, true) {
            assert!(scope.is_out(&path, false), "what is in a directory that is out is in scope");
        }
        if patterns.is_empty() {
            assert_ne!(verdict, Verdict::Excluded);
        }
    }
});
