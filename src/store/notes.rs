//! Small things kept between runs: acknowledged states, names set aside, single words.

use crate::model::{ContentHash, RelPath};
use crate::store::rows::{ACKNOWLEDGED, Cursor, Fault, LEFT, Reading, WORDS, Writing};
use crate::store::{Cache, CacheError};
use std::collections::BTreeSet;

/// What a receiver acknowledged last: a guess at what it holds, to be confirmed by its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub scope: [u8; 16],
    /// Hash of the root directory; its listing is stored by [`Cache::store_tree`].
    pub root: ContentHash,
    pub n_entries: u64,
}

impl Cache {
    /// The state acknowledged last by the receiver of this root id.
    pub fn acknowledged(&self, root_id: &[u8; 16]) -> Option<Acknowledged> {
        self.store.read(|database| {
            let Some(bytes) = Reading::begin(database, ACKNOWLEDGED, "acknowledged")?.load(root_id)? else {
                return Ok(None);
            };
            let damaged = || Fault::damaged("an acknowledged state is cut short");
            decode_acknowledged(&bytes).map(Some).ok_or_else(damaged)
        })
    }

    /// All acknowledged states by root id: the roots that [`Cache::sweep_listings`] must keep.
    pub fn all_acknowledged(&self) -> Vec<([u8; 16], Acknowledged)> {
        let found = self.store.read(|database| {
            let rows = Reading::begin(database, ACKNOWLEDGED, "acknowledged")?.load_all()?;
            let damaged = || Fault::damaged("an acknowledged state is cut short");
            rows.iter()
                .map(|(key, bytes)| {
                    let root_id = key.as_slice().try_into().map_err(|_| damaged())?;
                    Ok((root_id, decode_acknowledged(bytes).ok_or_else(damaged)?))
                })
                .collect::<Result<Vec<_>, Fault>>()
                .map(Some)
        });
        found.unwrap_or_default()
    }

    pub fn set_acknowledged(&self, root_id: &[u8; 16], state: &Acknowledged) -> Result<(), CacheError> {
        let bytes = [&state.scope, state.root.0.as_slice(), &state.n_entries.to_le_bytes()].concat();
        self.store.write(|transaction| {
            Writing::open(transaction, ACKNOWLEDGED, "acknowledged")?.store(root_id, &bytes)
        })
    }

    pub fn remove_acknowledged(&self, root_id: &[u8; 16]) -> Result<(), CacheError> {
        self.store.write(|transaction| {
            Writing::open(transaction, ACKNOWLEDGED, "acknowledged")?.remove(root_id).map(|_| ())
        })
    }

    /// Names that were set aside under a scope.
    pub fn left(&self, scope: &[u8; 16]) -> BTreeSet<RelPath> {
        let found = self.store.read(|database| {
            let Some(bytes) = Reading::begin(database, LEFT, "left")?.load(scope)? else { return Ok(None) };
            decode_paths(&bytes).map(Some).ok_or_else(|| Fault::damaged("a list of names is cut short"))
        });
        found.unwrap_or_default()
    }

    /// Sets names aside under a scope, in place of those before, and forgets every other scope.
    pub fn set_left(&self, scope: &[u8; 16], paths: &BTreeSet<RelPath>) -> Result<(), CacheError> {
        let bytes = encode_paths(paths);
        self.store.write(|transaction| {
            let mut table = Writing::open(transaction, LEFT, "left")?;
            table.retain(|key, _| key == scope)?;
            table.store(scope, &bytes)
        })
    }

    /// The bytes kept under a word.
    pub fn word(&self, key: &str) -> Option<Vec<u8>> {
        self.store.read(|database| Reading::begin(database, WORDS, "words")?.load(key.as_bytes()))
    }

    /// Keeps bytes under a word that strait itself chose.
    pub fn set_word(&self, key: &str, bytes: &[u8]) -> Result<(), CacheError> {
        assert!(!key.starts_with('\0'), "words that begin with NUL belong to the file itself");
        self.store
            .write(|transaction| Writing::open(transaction, WORDS, "words")?.store(key.as_bytes(), bytes))
    }
}

fn decode_acknowledged(bytes: &[u8]) -> Option<Acknowledged> {
    let mut cursor = Cursor(bytes);
    let scope = cursor.array()?;
    let root = ContentHash(cursor.array()?);
    let n_entries = cursor.u64()?;
    cursor.is_empty().then_some(Acknowledged { scope, root, n_entries })
}

fn encode_paths(paths: &BTreeSet<RelPath>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend((path.as_bytes().len() as u16).to_le_bytes());
        bytes.extend(path.as_bytes());
    }
    bytes
}

fn decode_paths(bytes: &[u8]) -> Option<BTreeSet<RelPath>> {
    let mut cursor = Cursor(bytes);
    let mut paths = BTreeSet::new();
    while !cursor.is_empty() {
        let n_bytes = cursor.u16()?;
        paths.insert(RelPath::parse(cursor.take(n_bytes as usize)?).ok()?);
    }
    Some(paths)
}

#[cfg(fuzzing)]
pub(super) fn read_notes(bytes: &[u8]) {
    if let Some(state) = decode_acknowledged(bytes) {
        assert_eq!([&state.scope, state.root.0.as_slice(), &state.n_entries.to_le_bytes()].concat(), bytes);
    }
    if let Some(paths) = decode_paths(bytes) {
        assert_eq!(decode_paths(&encode_paths(&paths)), Some(paths));
    }
}
