//! `--inplace` at the commit: what is staged goes over the file that it is a version of, or, where that is not
//! the same file any more, is made whole first.

use super::refusal::refusal_of_stage;
use super::sink::{Stop, index_staged};
use super::stage::Ready;
use super::standing::{Standing, Stopped};
use crate::delta::index::Indexer;
use crate::disk::{Destination, OverwriteError, Stat};
use crate::model::{Meta, RelPath, Tag};
use crate::proto::message::Refusal;
use std::io;

/// Writes a staged target over the file at `path` and returns its stat; `None` where the file must be
/// installed instead, for which it is whole then.
pub fn overwrite(
    destination: &Destination,
    ready: &mut Ready,
    mut standing: Standing,
    (path, meta): (&RelPath, &Meta),
    stop: &Stop,
) -> Result<Option<Stat>, Refusal> {
    if let Some((overlay, before)) = standing.overlay(path, meta) {
        match destination.overwrite(&mut ready.file, &overlay, &before) {
            Ok(stat) => return Ok(Some(stat)),
            Err(OverwriteError::Failed(error)) => return Err(refusal_of_stage(&error)),
            Err(OverwriteError::Unfit) => {}
        }
    }
    make_whole(ready, &mut standing, stop)?;
    ready.file.set_meta(meta).map_err(|error| refusal_of_stage(&error))?;
    Ok(None)
}

/// Copies what was left where it stood, and hashes all of it: nobody has seen these copies.
fn make_whole(ready: &mut Ready, standing: &mut Standing, stop: &Stop) -> Result<(), Refusal> {
    standing.make_whole(&mut ready.file, &|| stop.go_on()).map_err(refusal_of)?;
    let indexer = Indexer::hash_only(standing.target_len());
    let index = index_staged(&mut ready.file, indexer, stop)?;
    // Somebody changed the basis after it was compared.
    if index.hash == ready.hash { Ok(()) } else { Err(Refusal::Drifted { tag: Tag::UNKNOWN }) }
}

pub fn refusal_of(stopped: Stopped) -> Refusal {
    match stopped {
        Stopped::Disk(error) => refusal_of_stage(&error),
        Stopped::Io(error) if error.kind() == io::ErrorKind::Interrupted => Refusal::Cancelled,
        Stopped::Io(_) => Refusal::BasisGone { index: 0 },
    }
}
