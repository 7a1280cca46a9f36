//! What a destination can keep: tried at each start. On a disk that is too full to try, it is what it was
//! the last time, so that deletes, moves and metadata still go on.

use crate::disk::{DestinationError, Keeps, OwnFolder, file_system_id, probe};
use crate::store::Cache;

/// The word of the cache that holds it.
const KEEPS: &str = "keeps";

const FOLDS_CASE: u8 = 1;
const SYMLINKS: u8 = 2;
const CLONES: u8 = 4;

/// What the destination keeps, as it was tried now or, where nothing can be tried for want of space, before.
///
/// # Errors
/// What was in the way of trying, when nothing is known of this file system.
pub fn tried_or_known(own: &OwnFolder, cache: &Cache) -> Result<Keeps, DestinationError> {
    match probe(own) {
        Ok(keeps) => {
            remember(own, cache, &keeps);
            Ok(keeps)
        }
        Err(error) if error.is_of_space() => known(own, cache).ok_or(error),
        Err(error) => Err(error),
    }
}

fn remember(own: &OwnFolder, cache: &Cache, keeps: &Keeps) {
    let Some(id) = file_system_id(own) else { return };
    let word = encode(id, keeps);
    if cache.word(KEEPS).as_deref() != Some(&word)
        && let Err(error) = cache.set_word(KEEPS, &word)
    {
        tracing::warn!(%error, "what the destination keeps is not remembered");
    }
}

fn known(own: &OwnFolder, cache: &Cache) -> Option<Keeps> {
    let (id, keeps) = decode(&cache.word(KEEPS)?)?;
    (file_system_id(own) == Some(id)).then_some(keeps)
}

fn encode(id: u64, keeps: &Keeps) -> [u8; 17] {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags =
        flag(keeps.folds_case, FOLDS_CASE) | flag(keeps.symlinks, SYMLINKS) | flag(keeps.clones, CLONES);
    let mut word = [flags; 17];
    word[..8].copy_from_slice(&id.to_le_bytes());
    word[8..12].copy_from_slice(&keeps.time_step_ns.to_le_bytes());
    word[12..14].copy_from_slice(&keeps.mode_mask.to_le_bytes());
    word[14..16].copy_from_slice(&keeps.name_bytes.to_le_bytes());
    word
}

fn decode(word: &[u8]) -> Option<(u64, Keeps)> {
    let (id, rest) = word.split_first_chunk()?;
    let (time_step_ns, rest) = rest.split_first_chunk()?;
    let (mode_mask, rest) = rest.split_first_chunk()?;
    let (name_bytes, rest) = rest.split_first_chunk()?;
    let &[flags] = rest else { return None };
    let keeps = Keeps {
        time_step_ns: u32::from_le_bytes(*time_step_ns),
        mode_mask: u16::from_le_bytes(*mode_mask),
        folds_case: flags & FOLDS_CASE != 0,
        symlinks: flags & SYMLINKS != 0,
        clones: flags & CLONES != 0,
        name_bytes: u16::from_le_bytes(*name_bytes),
    };
    Some((u64::from_le_bytes(*id), keeps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_comes_back_and_nothing_that_is_cut_short() {
        let most = Keeps {
            time_step_ns: 2_000_000_000,
            mode_mask: 0o700,
            folds_case: true,
            symlinks: false,
            clones: true,
            name_bytes: 143,
        };
        let least = Keeps { time_step_ns: 1, folds_case: false, symlinks: true, clones: false, ..most };
        for keeps in [most, least] {
            let word = encode(7, &keeps);
            assert_eq!(decode(&word), Some((7, keeps)));
            assert_eq!(decode(&word[..16]), None);
            assert_eq!(decode(&[&word[..], &[0]].concat()), None);
        }
    }
}
