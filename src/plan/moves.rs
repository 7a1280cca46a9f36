//! Finds what was moved, so that it travels as a name and not as content.
//!
//! Contents and whole directories are matched by hash between what goes and what comes. A move is
//! worked out on a tree of its own: each one is made there before it is planned, so that whatever
//! is found, the changes fit together; what is not found here is sent as a new entry.

use crate::model::limits::ROTATE_NAMES;
use crate::model::{ContentHash, Dir, Kind, Name, Node, RelPath, Tree};
use crate::plan::change::{Change, apply};
use crate::plan::changes::{holds_untouched, is_untouched};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

/// Bytes of the names of one ring, so that its message fits a frame.
const ROTATE_BYTES: usize = 120 << 10;
/// Looking again after each round finds moves inside of what was moved; deeper trees stop here.
const ROUNDS: usize = 32;
/// A directory whose files are known at another place at least by this share was moved.
const LIKE_SHARE: (u64, u64) = (1, 2);

/// What differs between two trees, topmost first.
#[derive(Default)]
struct Difference {
    /// Contents whose name goes or gets another content: path and hash.
    sources: Vec<(RelPath, Kind, ContentHash)>,
    /// Names that come or get another content.
    targets: Vec<(RelPath, Kind, ContentHash)>,
    /// Directories that come, topmost.
    new_dirs: Vec<RelPath>,
    has_gone: bool,
}

/// Plans the moves and swaps (and the directories they need) that bring `have` nearer to `want`,
/// and makes them in `have`.
pub fn find_moves(have: &mut Tree, want: &Tree, untouched: &BTreeSet<RelPath>) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..ROUNDS {
        let mut difference = Difference::default();
        difference.walk(have.root(), want.root(), &RelPath::root(), untouched);
        if difference.sources.is_empty() || difference.targets.is_empty() {
            break;
        }
        let before = changes.len();
        // Whole directories before single files: what was edited in one keeps its basis.
        let mut pairs = match_by_hash(&difference, Kind::Dir);
        pairs.extend(files_in_the_way(&difference, &pairs));
        carry_out(pairs, have, want, &mut changes);
        if changes.len() == before && difference.has_gone {
            let mut pairs = match_alike(&difference, want);
            pairs.extend(files_in_the_way(&difference, &pairs));
            carry_out(pairs, have, want, &mut changes);
        }
        if changes.len() == before {
            carry_out(match_by_hash(&difference, Kind::File), have, want, &mut changes);
        }
        if changes.len() == before {
            break;
        }
    }
    changes
}

/// Moves of files whose name a directory takes: together they are a chain or a ring.
fn files_in_the_way(difference: &Difference, dirs: &[(RelPath, RelPath)]) -> Vec<(RelPath, RelPath)> {
    let taken: HashSet<&RelPath> = dirs.iter().map(|(_, to)| to).collect();
    if taken.is_empty() {
        return Vec::new();
    }
    let mut files = match_by_hash(difference, Kind::File);
    files.retain(|(from, _)| taken.contains(from));
    files
}

impl Difference {
    fn walk(&mut self, have: &Dir, want: &Dir, path: &RelPath, untouched: &BTreeSet<RelPath>) {
        if have.has_same_entries(want) {
            return;
        }
        for (name, old) in have.entries().iter() {
            let Ok(path) = path.join(name) else { continue };
            if holds_untouched(&path, untouched) {
                continue;
            }
            match want.get(name) {
                None => self.goes(old, path, 0),
                Some(new) if new.kind() != old.kind() => self.goes(old, path, 0),
                Some(new) if new.hash() != old.hash() => self.add_source(old, &path),
                Some(_) => {}
            }
        }
        for (name, new) in want.entries().iter() {
            let Ok(path) = path.join(name) else { continue };
            if is_untouched(&path, untouched) {
                continue;
            }
            match have.get(name) {
                Some(old) if old.kind() == new.kind() => {
                    if let (Node::Dir(old), Node::Dir(new)) = (old, new) {
                        self.walk(old, new, &path, untouched);
                    }
                    if new.hash() != old.hash() {
                        self.add_target(new, &path);
                    }
                }
                _ => self.comes(new, path, 0),
            }
        }
    }

    fn goes(&mut self, old: &Node, path: RelPath, depth: usize) {
        self.has_gone |= depth == 0;
        self.add_source(old, &path);
        if let Node::Dir(dir) = old {
            for (name, below) in dir.entries().iter() {
                if let Ok(path) = path.join(name) {
                    self.goes(below, path, depth + 1);
                }
            }
        }
    }

    fn comes(&mut self, new: &Node, path: RelPath, depth: usize) {
        self.add_target(new, &path);
        if let Node::Dir(dir) = new {
            if depth == 0 {
                self.new_dirs.push(path.clone());
            }
            for (name, below) in dir.entries().iter() {
                if let Ok(path) = path.join(name) {
                    self.comes(below, path, depth + 1);
                }
            }
        }
    }

    fn add_source(&mut self, node: &Node, path: &RelPath) {
        self.sources.extend(movable(node).map(|(kind, hash)| (path.clone(), kind, hash)));
    }

    fn add_target(&mut self, node: &Node, path: &RelPath) {
        self.targets.extend(movable(node).map(|(kind, hash)| (path.clone(), kind, hash)));
    }
}

/// Kind and hash of what is worth a move: not symlinks, empty files or empty directories.
fn movable(node: &Node) -> Option<(Kind, ContentHash)> {
    let worth = match node {
        Node::Leaf(leaf) => leaf.kind == Kind::File && leaf.size > 0,
        Node::Dir(dir) => dir.n_below() > 0,
    };
    node.hash().filter(|_| worth).map(|hash| (node.kind(), hash))
}

/// Pairs (from, to) of equal hash. Each path is used once; of several sources one of the same name
/// is taken, else the first that is left. Linear also when all contents are the same.
fn match_by_hash(difference: &Difference, kind: Kind) -> Vec<(RelPath, RelPath)> {
    let of_kind = |(_, of_kind, _): &&(RelPath, Kind, ContentHash)| *of_kind == kind;
    let name = |path: &RelPath| path.split().map(|(_, name)| name);
    let targets: Vec<_> = difference.targets.iter().filter(of_kind).collect();
    let wanted: HashSet<ContentHash> = targets.iter().map(|(_, _, hash)| *hash).collect();
    let mut named: HashMap<(ContentHash, Option<Name>), VecDeque<&RelPath>> = HashMap::new();
    let mut in_order: HashMap<ContentHash, VecDeque<&RelPath>> = HashMap::new();
    for (path, _, hash) in
        difference.sources.iter().filter(of_kind).filter(|(_, _, hash)| wanted.contains(hash))
    {
        named.entry((*hash, name(path))).or_default().push_back(path);
        in_order.entry(*hash).or_default().push_back(path);
    }
    let mut used: HashSet<&RelPath> = HashSet::new();
    let mut froms: Vec<Option<&RelPath>> = Vec::with_capacity(targets.len());
    for (target, _, hash) in &targets {
        let from = named.get_mut(&(*hash, name(target))).and_then(VecDeque::pop_front);
        used.extend(from);
        froms.push(from);
    }
    for ((_, _, hash), from) in targets.iter().zip(&mut froms).filter(|(_, from)| from.is_none()) {
        let candidates = in_order.get_mut(hash);
        *from = candidates
            .and_then(|left| std::iter::from_fn(|| left.pop_front()).find(|path| used.insert(path)));
    }
    let pairs = froms.into_iter().zip(targets);
    pairs.filter_map(|(from, (target, _, _))| Some((from?.clone(), target.clone()))).collect()
}

/// Pairs of directories that hold mostly the same files at the same places below them: moved, and
/// then edited.
fn match_alike(difference: &Difference, want: &Tree) -> Vec<(RelPath, RelPath)> {
    let mut places: HashMap<ContentHash, Vec<&RelPath>> = HashMap::new();
    for (path, kind, hash) in &difference.sources {
        if *kind == Kind::File {
            places.entry(*hash).or_default().push(path);
        }
    }
    let mut pairs = Vec::new();
    for target in &difference.new_dirs {
        let Some(dir) = want.dir(target) else { continue };
        let mut votes: BTreeMap<RelPath, u64> = BTreeMap::new();
        let mut n_files = 0;
        count_votes(dir, &RelPath::root(), &places, &mut votes, &mut n_files);
        let best = votes.into_iter().max_by_key(|(_, n)| *n);
        if let Some((from, n)) = best.filter(|(_, n)| n * LIKE_SHARE.1 >= n_files * LIKE_SHARE.0)
            && n > 0
            && !from.is_root()
            && want.dir(&from).is_none()
        {
            pairs.push((from, target.clone()));
        }
    }
    pairs
}

/// For each file below a new directory: one vote for each place where it would have come from.
fn count_votes(
    dir: &Dir,
    inside: &RelPath,
    places: &HashMap<ContentHash, Vec<&RelPath>>,
    votes: &mut BTreeMap<RelPath, u64>,
    n_files: &mut u64,
) {
    for (name, node) in dir.entries().iter() {
        let Ok(inside) = inside.join(name) else { continue };
        match node {
            Node::Dir(below) => count_votes(below, &inside, places, votes, n_files),
            Node::Leaf(leaf) if leaf.kind == Kind::File && leaf.size > 0 => {
                *n_files += 1;
                let Some(candidates) = leaf.content.whole().and_then(|hash| places.get(&hash)) else {
                    continue;
                };
                for place in candidates.iter().take(8) {
                    if let Some(base) = strip_end(place, &inside) {
                        *votes.entry(base).or_default() += 1;
                    }
                }
            }
            Node::Leaf(_) => {}
        }
    }
}

/// The directory below which `place` lies at `inside`.
fn strip_end(place: &RelPath, inside: &RelPath) -> Option<RelPath> {
    let base = place.as_bytes().strip_suffix(inside.as_bytes())?.strip_suffix(b"/")?;
    RelPath::parse(base).ok()
}

/// Plans the pairs in an order in which every name is free when it is taken: chains from their
/// end, rings in one change. Pairs inside of others wait for the next round.
fn carry_out(pairs: Vec<(RelPath, RelPath)>, have: &mut Tree, want: &Tree, changes: &mut Vec<Change>) {
    let mut pending: BTreeMap<RelPath, RelPath> = BTreeMap::new();
    let mut taken: BTreeSet<RelPath> = BTreeSet::new();
    for (from, to) in pairs {
        let nested = [&from, &to].iter().any(|path| is_nested(path, &taken));
        if from != to && !nested && !from.is_at_or_below(&to) && !to.is_at_or_below(&from) {
            taken.extend([from.clone(), to.clone()]);
            pending.insert(from, to);
        }
    }
    // Who waits for a name: each is wanted by one at most.
    let mut waiting: HashMap<RelPath, RelPath> =
        pending.iter().map(|(from, to)| (to.clone(), from.clone())).collect();
    let is_free = |to: &RelPath| !pending.contains_key(to);
    let mut free: VecDeque<RelPath> =
        pending.iter().filter(|(_, to)| is_free(to)).map(|(from, _)| from.clone()).collect();
    while !pending.is_empty() {
        match free.pop_front() {
            Some(from) => {
                let Some(to) = pending.remove(&from) else { continue };
                free.extend(waiting.remove(&from));
                move_one(from, to, have, want, changes);
            }
            None => turn_ring(&mut pending, have, changes),
        }
    }
}

/// Whether a path lies strictly above or below one that is taken.
fn is_nested(path: &RelPath, taken: &BTreeSet<RelPath>) -> bool {
    let above = std::iter::successors(path.split(), |(parent, _)| parent.split());
    let mut below = taken.range(path..).skip_while(|other| *other == path);
    above.into_iter().any(|(parent, _)| taken.contains(&parent))
        || below.next().is_some_and(|other| other.is_at_or_below(path))
}

fn move_one(from: RelPath, to: RelPath, have: &mut Tree, want: &Tree, changes: &mut Vec<Change>) {
    // The usual case needs no second tree, which would share its directories and so copy them.
    let kind = |path: &RelPath| have.get(path).map(Node::kind);
    let is_free = kind(&to).is_none_or(|there| there == Kind::File && kind(&from) == Some(Kind::File));
    if is_free && have.dir(&to.parent()).is_some() {
        let change = Change::Move { from, to };
        if apply(have, &change).is_ok() {
            changes.push(change);
        }
        return;
    }
    let mut tried = have.clone();
    let mut steps = Vec::new();
    if !make_parents(&to, &mut tried, want, &mut steps) {
        return;
    }
    let replaces = tried.get(&to).map(Node::kind);
    if replaces.is_some() && (replaces != Some(Kind::File) || tried.get(&from).map(Node::kind) != replaces) {
        // What stands there is not wanted there: only a file may be replaced by a file.
        let wanted = want.get(&to).map(Node::kind) == replaces && replaces == Some(Kind::Dir);
        if wanted && tried.get(&to).is_some_and(|node| node.n_below() > 0) {
            return;
        }
        let change = Change::Remove { path: to.clone() };
        if from.is_at_or_below(&to) || apply(&mut tried, &change).is_err() {
            return;
        }
        steps.push(change);
    }
    let change = Change::Move { from, to };
    if apply(&mut tried, &change).is_ok() {
        steps.push(change);
        changes.extend(steps);
        *have = tried;
    }
}

/// Makes the directories above a path as they are wanted; `false` when one of them cannot be.
fn make_parents(path: &RelPath, have: &mut Tree, want: &Tree, steps: &mut Vec<Change>) -> bool {
    let parent = path.parent();
    if have.dir(&parent).is_some() {
        return true;
    }
    let Some(meta) = want.dir(&parent).map(|dir| dir.meta) else { return false };
    if !make_parents(&parent, have, want, steps) {
        return false;
    }
    let change = Change::MakeDir { path: parent, meta };
    let made = apply(have, &change).is_ok();
    steps.push(change);
    made
}

/// Turns a ring: two names swap, more rotate. One that is too long for a message is left alone: its contents
/// are sent as new entries.
fn turn_ring(pending: &mut BTreeMap<RelPath, RelPath>, have: &mut Tree, changes: &mut Vec<Change>) {
    let Some((first, mut next)) = pending.pop_first() else { return };
    let mut ring = vec![first];
    while let Some(after) = pending.remove(&next) {
        ring.push(std::mem::replace(&mut next, after));
    }
    let ring_bytes: usize = ring.iter().map(|path| path.as_bytes().len()).sum();
    let change = match <[RelPath; 2]>::try_from(ring) {
        Ok([a, b]) => Change::Swap { a, b },
        Err(ring) if ring.len() <= ROTATE_NAMES && ring_bytes <= ROTATE_BYTES => Change::Rotate { ring },
        Err(_) => return,
    };
    if apply(have, &change).is_ok() {
        changes.push(change);
    }
}
