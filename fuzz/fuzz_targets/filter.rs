//! Patterns of a user against paths of a tree: refused or usable, never a panic; what is in an excluded
//! directory is out; and equal options have equal names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::collections::HashMap;
use strait::model::RelPath;
use strait::plan::scope::{Scope, Verdict};

/// Scopes that were made before. To make one takes milliseconds, to ask it none: most inputs differ from others in
/// their paths alone.
const MADE: usize = 2_000;

thread_local! {
    static SCOPES: RefCell<HashMap<(bool, Vec<String>), Option<Scope>>> = RefCell::default();
}

/// The scope of these patterns; none when they are refused. Twice the same options are twice the same scope.
fn scope_of(takes_hidden: bool, patterns: Vec<String>) -> Option<Scope> {
    SCOPES.with_borrow_mut(|scopes| {
        if scopes.len() >= MADE {
            scopes.clear();
        }
        let make = |(takes_hidden, patterns): &(bool, Vec<String>)| {
            let scope = Scope::new(*takes_hidden, patterns).ok()?;
            let again = Scope::new(*takes_hidden, patterns).expect("it was taken before");
            assert_eq!(scope.id(), again.id());
            Some(scope)
        };
        let key = (takes_hidden, patterns);
        scopes.entry(key).or_insert_with_key(make).clone()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let mut parts = rest.split(|&byte| byte == b'\n');
    let n_patterns = usize::from(first >> 1) % 5;
    let patterns: Vec<String> =
        parts.by_ref().take(n_patterns).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let has_patterns = !patterns.is_empty();
    let Some(scope) = scope_of(first & 1 == 1, patterns) else { return };
    for path in parts.take(8).filter_map(|part| RelPath::parse(part).ok()) {
        let verdict = scope.verdict(&path, first & 128 != 0);
        assert_eq!(verdict, scope.verdict(&path, first & 128 != 0));
        if verdict != Verdict::Take {
            assert!(scope.is_out(&path, first & 128 != 0), "excluded and yet in scope");
        }
        let parent = path.parent();
        if !path.is_root() && scope.is_out(&parent, true) {
            assert!(scope.is_out(&path, false), "what is in a directory that is out is in scope");
        }
        if !has_patterns {
            assert_ne!(verdict, Verdict::Excluded);
        }
    }
});
