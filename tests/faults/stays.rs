//! What must be there at every moment while one version of a tree becomes another.

use super::tree::{Seen, Seens};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Asserts nothing of what comes and goes: each path that is of one kind in both versions is there, as the old
/// or the new one. Absent may be only what a move takes away before another takes its name.
pub fn what_stays_is_there(found: &Seens, old: &Seens, new: &Seens) -> Result<(), PathBuf> {
    let moves = Moves::between(old, new);
    for (path, was) in old {
        let Some(becomes) = new.get(path).filter(|becomes| is_same_kind(was, becomes)) else { continue };
        let is_there = found.get(path).is_some_and(|now| is_same(now, was) || is_same(now, becomes));
        if !is_there && !path.ancestors().any(|above| moves.leave_a_gap_at(above)) {
            return Err(path.clone());
        }
    }
    Ok(())
}

/// Whether two entries have one kind and one content, whatever their modes and times.
pub fn is_same(one: &Seen, other: &Seen) -> bool {
    match (one, other) {
        (Seen::File { hash, .. }, Seen::File { hash: other, .. }) => hash == other,
        (Seen::Link { target }, Seen::Link { target: other }) => target == other,
        (Seen::Dir { .. }, Seen::Dir { .. }) => true,
        _ => false,
    }
}

fn is_same_kind(one: &Seen, other: &Seen) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Where contents that stood at a path stand next: files that hold something, and directories that do, each by
/// a hash of what it holds.
struct Moves(BTreeMap<PathBuf, Vec<PathBuf>>);

impl Moves {
    fn between(old: &Seens, new: &Seens) -> Self {
        let (old, new) = (held(old), held(new));
        let mut places: BTreeMap<[u8; 32], Vec<&PathBuf>> = BTreeMap::new();
        for (path, hash) in new.iter().filter(|(path, hash)| old.get(*path) != Some(hash)) {
            places.entry(*hash).or_default().push(path);
        }
        let goes = old.iter().filter(|(path, hash)| new.get(*path) != Some(hash));
        let to = goes.filter_map(|(path, hash)| Some((path.clone(), places.get(hash)?)));
        Self(to.map(|(path, places)| (path, places.iter().copied().cloned().collect())).collect())
    }

    /// Whether what stands at a path may leave before something else comes. Two that trade places do it in one
    /// step; three do not.
    fn leave_a_gap_at(&self, path: &Path) -> bool {
        let Some(places) = self.0.get(path) else { return false };
        let comes_back = |place: &PathBuf| self.0.get(place).is_some_and(|back| back == &[path]);
        !matches!(&places[..], [place] if comes_back(place))
    }
}

/// Each path that holds something, with a hash of it.
fn held(seens: &Seens) -> BTreeMap<PathBuf, [u8; 32]> {
    let mut hashers: BTreeMap<&Path, blake3::Hasher> = BTreeMap::new();
    let mut held = BTreeMap::new();
    for (path, seen) in seens {
        let text = match seen {
            Seen::Dir { .. } => "directory".to_owned(),
            Seen::Link { target } => format!("{target:?}"),
            Seen::File { hash, size, .. } => {
                if *size > 0 {
                    held.insert(path.clone(), *hash);
                }
                format!("{hash:?}")
            }
        };
        for above in path.ancestors().skip(1).filter(|above| above.parent().is_some()) {
            let inside = path.strip_prefix(above).unwrap();
            hashers.entry(above).or_default().update(format!("{inside:?} {text}\n").as_bytes());
        }
    }
    held.extend(hashers.into_iter().map(|(path, hasher)| (path.to_owned(), *hasher.finalize().as_bytes())));
    held
}

#[test]
fn only_what_a_move_takes_away_may_be_absent() {
    let tree = |files: &[(&str, &str)]| -> Seens {
        let of = |text: &str| Seen::File {
            mode: 0o644,
            mtime: (0, 0),
            size: text.len() as u64,
            hash: *blake3::hash(text.as_bytes()).as_bytes(),
        };
        let dirs = files.iter().filter_map(|(path, _)| Path::new(path).parent());
        let dirs = dirs.filter(|dir| dir.parent().is_some());
        let dirs = dirs.map(|dir| (dir.to_owned(), Seen::Dir { mode: 0o755, mtime: (0, 0) }));
        dirs.chain(files.iter().map(|(path, text)| (PathBuf::from(path), of(text)))).collect()
    };
    let old = [("same", "s"), ("other", "1"), ("d/x", "x"), ("a", "A"), ("b", "B"), ("p", "P"), ("q", "Q")];
    let old = tree(&[&old[..], &[("gone", "g"), ("e/y", "y")]].concat());
    let new = [("same", "s"), ("other", "2"), ("d/x", "x"), ("a", "B"), ("b", "A"), ("p", "R"), ("q", "P")];
    let new = tree(&[&new[..], &[("r", "Q"), ("e/y", "w"), ("f/y", "y")]].concat());
    assert_eq!(what_stays_is_there(&old, &old, &new), Ok(()));
    assert_eq!(what_stays_is_there(&new, &old, &new), Ok(()));
    let without = |path: &str| {
        let mut found = old.clone();
        found.retain(|other, _| !other.starts_with(path));
        what_stays_is_there(&found, &old, &new)
    };
    // The same in both, another in both, a directory, and two that trade places.
    for path in ["same", "other", "d", "d/x", "a", "b"] {
        assert_eq!(without(path), Err(path.into()), "{path}");
    }
    // Removed, and moved on before another comes: alone, in a row, and with their directory.
    for path in ["gone", "p", "q", "e", "e/y"] {
        assert_eq!(without(path), Ok(()), "{path}");
    }
    let mut torn = old.clone();
    torn.insert("same".into(), old[Path::new("other")].clone());
    assert_eq!(what_stays_is_there(&torn, &old, &new), Err("same".into()));
}
