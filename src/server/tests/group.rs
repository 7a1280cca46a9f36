//! What of a group is made when a part of it cannot be.

use super::super::commit::commit;
use super::*;

// All of the group was refused, and looked at again, for the metadata of what is not there.
#[test]
fn a_directory_that_cannot_be_made_is_refused_alone() {
    let mut dest = Dest::plain();
    let paths = ["not-there/dir", "not-there/dir/below", "made"].map(path);
    let steps = paths.iter().map(|path| Step::MakeDir { path: path.clone(), meta: meta(1) }).collect();
    let dirs = paths.clone().map(|path| (path, meta(1)));
    let committed = commit(&dest.shore, &mut dest.stage, steps, &dirs);
    let is_made: Vec<bool> = committed.results.iter().map(Result::is_ok).collect();
    assert_eq!(is_made, [false, false, true]);
    assert!(!committed.is_uncertain);
    assert_eq!(dest.shore.destination.root().stat(&path("made")).unwrap().unwrap().meta(), meta(1));
}

/// A group of a directory's metadata alone has no step that could tell of a failure.
#[test]
fn a_group_without_steps_tells_that_its_directory_was_refused() {
    let mut dest = Dest::plain();
    let committed = commit(&dest.shore, &mut dest.stage, Vec::new(), &[(path("not-there"), meta(1))]);
    assert!(committed.results.is_empty() && committed.refused.is_some() && committed.is_uncertain);
    let committed = commit(&dest.shore, &mut dest.stage, Vec::new(), &[]);
    assert!(committed.refused.is_none());
}
