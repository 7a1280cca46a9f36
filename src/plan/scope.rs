//! What of the source is looked at: hidden names and excluded patterns. The only owner of `ignore`.
//!
//! Only the sender asks. Patterns are those of a `.gitignore` at the root: a slash in front or in
//! the middle ties one to the root, one at the end to directories, `!` takes a name back in. What
//! lies in an excluded directory is excluded with it; whoever walks does not enter one.

use crate::model::RelPath;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Patterns of one run, and bytes of one; both are kept small so that building them cannot hurt. They come from this
/// user's own command line, so they are no limits on peers and stand here.
const PATTERNS: usize = 4_096;
const PATTERN_BYTES: usize = 4_096;

/// The options that decide what is looked at.
#[derive(Clone, Debug)]
pub struct Scope {
    takes_hidden: bool,
    excludes: Gitignore,
    id: [u8; 16],
}

/// What becomes of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// It begins with a dot and hidden names are not asked for.
    Hidden,
    /// A pattern excludes it.
    Excluded,
}

/// Why options do not make a scope. Fatal: the command line is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("`{pattern}` is not a pattern: {why}")]
    Pattern { pattern: String, why: String },
    #[error("{0} patterns to exclude, more than {PATTERNS}")]
    Many(usize),
    #[error("a pattern to exclude has {0} bytes, more than {PATTERN_BYTES}")]
    Long(usize),
    #[error("the patterns to exclude are too much together: {0}")]
    Together(String),
}

impl Scope {
    /// Hidden names are taken when `hidden` holds; `excludes` are gitignore patterns, in order.
    pub fn new(hidden: bool, excludes: &[String]) -> Result<Self, ScopeError> {
        if excludes.len() > PATTERNS {
            return Err(ScopeError::Many(excludes.len()));
        }
        let mut builder = GitignoreBuilder::new("");
        // A bracket left open would stand for itself; more likely it is a slip.
        builder.allow_unclosed_class(false);
        for pattern in excludes {
            check(pattern)?;
            let added = builder.add_line(None, pattern);
            added.map_err(|error| ScopeError::Pattern { pattern: pattern.clone(), why: reason(&error) })?;
        }
        let built = builder.build().map_err(|error| ScopeError::Together(error.to_string()))?;
        Ok(Self { takes_hidden: hidden, excludes: built, id: identify(hidden, excludes) })
    }

    /// What becomes of a path whose parents were all taken.
    pub fn verdict(&self, path: &RelPath, is_dir: bool) -> Verdict {
        let Some((_, name)) = path.split() else { return Verdict::Take };
        if !self.takes_hidden && name.is_hidden() {
            Verdict::Hidden
        } else if !self.excludes.is_empty() && self.excludes.matched(path.as_path(), is_dir).is_ignore() {
            Verdict::Excluded
        } else {
            Verdict::Take
        }
    }

    /// Whether a path is out of scope, by itself or by a directory above it.
    pub fn is_out(&self, path: &RelPath, is_dir: bool) -> bool {
        let mut at = path.clone();
        let mut is_dir = is_dir;
        while !at.is_root() {
            if self.verdict(&at, is_dir) != Verdict::Take {
                return true;
            }
            at = at.parent();
            is_dir = true;
        }
        false
    }

    /// The scope's name: equal options, equal name.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }
}

/// Refuses what `ignore` would silently take for no pattern at all.
fn check(pattern: &str) -> Result<(), ScopeError> {
    if pattern.len() > PATTERN_BYTES {
        return Err(ScopeError::Long(pattern.len()));
    }
    let why = match pattern.trim() {
        "" => "it is empty",
        "!" | "/" | "!/" => "it names nothing",
        text if text.starts_with('#') => "it is a comment; write `\\#` for a name that begins with #",
        text if text.contains(['\n', '\r', '\0']) => "it holds a line end or a NUL",
        _ => return Ok(()),
    };
    Err(ScopeError::Pattern { pattern: pattern.into(), why: why.into() })
}

/// The reason alone: the pattern is named by our own error.
fn reason(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err.clone(),
        other => other.to_string(),
    }
}

fn identify(hidden: bool, excludes: &[String]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("strait 1 scope");
    hasher.update(&[u8::from(hidden)]);
    for pattern in excludes {
        hasher.update(&(pattern.len() as u64).to_le_bytes()).update(pattern.as_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(hidden: bool, excludes: &[&str]) -> Scope {
        let excludes: Vec<String> = excludes.iter().map(|text| text.to_string()).collect();
        Scope::new(hidden, &excludes).expect("good patterns")
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn names_are_judged_as_gitignore_would() {
        let target = &["target/"][..];
        let keep = &["*.log", "!keep.log"][..];
        let cases = [
            (&[][..], "a/b", false, Verdict::Take),
            (&["*.o"], "a/b.o", false, Verdict::Excluded),
            (&["/x"], "x", false, Verdict::Excluded),
            (&["/x"], "a/x", false, Verdict::Take),
            (&["a/x"], "b/a/x", false, Verdict::Take),
            (&["a/**/x"], "a/b/c/x", false, Verdict::Excluded),
            (target, "a/target", true, Verdict::Excluded),
            (target, "a/target", false, Verdict::Take),
            (keep, "a/x.log", false, Verdict::Excluded),
            (keep, "a/keep.log", false, Verdict::Take),
            (&["\\#x"], "#x", false, Verdict::Excluded),
            (&["*"], "", true, Verdict::Take),
        ];
        for (excludes, text, is_dir, verdict) in cases {
            assert_eq!(scope(false, excludes).verdict(&path(text), is_dir), verdict, "{excludes:?} {text}");
        }
    }

    #[test]
    fn hidden_names_are_out_unless_asked_for() {
        let some = scope(false, &[".git"]);
        assert_eq!(some.verdict(&path("a/.x"), false), Verdict::Hidden);
        assert_eq!(some.verdict(&path(".a/x"), false), Verdict::Take, "only the last name counts");
        let all = scope(true, &[".git"]);
        assert_eq!(all.verdict(&path("a/.x"), false), Verdict::Take);
        assert_eq!(all.verdict(&path("a/.git"), true), Verdict::Excluded);
    }

    #[test]
    fn what_lies_in_an_excluded_directory_is_out() {
        let scope = scope(false, &["target/", "!target/keep"]);
        assert!(scope.is_out(&path("a/target/b/c"), false));
        assert!(scope.is_out(&path("a/target/keep"), false));
        assert!(scope.is_out(&path("a/.b/c"), false));
        assert!(!scope.is_out(&path("a/b/target"), false), "a file is not a directory");
        assert!(!scope.is_out(&RelPath::root(), true));
    }

    #[test]
    fn names_that_are_not_utf8_are_judged_too() {
        let path = RelPath::parse(b"a/\xff\xfe.o").expect("a path");
        assert_eq!(scope(false, &["*.o"]).verdict(&path, false), Verdict::Excluded);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for bad in ["a[", "{a", "", "# note", "!", "a\nb", "[z-a]"] {
            let error = Scope::new(false, &["ok".into(), bad.into()]).expect_err(bad);
            assert!(matches!(&error, ScopeError::Pattern { pattern, .. } if pattern == bad), "{error}");
        }
        assert_eq!(Scope::new(false, &["x".repeat(5_000)]).expect_err("long"), ScopeError::Long(5_000));
        assert!(matches!(Scope::new(false, &vec!["x".into(); 5_000]), Err(ScopeError::Many(5_000))));
    }

    #[test]
    fn equal_options_have_an_equal_id() {
        assert_eq!(scope(true, &["a", "b"]).id(), scope(true, &["a", "b"]).id());
        let ids = [
            scope(true, &["a", "b"]).id(),
            scope(false, &["a", "b"]).id(),
            scope(true, &["ab"]).id(),
            scope(true, &["b", "a"]).id(),
            scope(true, &[]).id(),
        ];
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }
}
