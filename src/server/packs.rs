//! Small files: their bytes from what a pack brought, and each into the stage.

use super::bases::{open_file, read_full};
use crate::delta::small;
use crate::disk::{Destination, DestinationError, File, StagedFile};
use crate::model::limits::PACK_FILE_BYTES;
use crate::net::squeeze::expand_over;
use crate::proto::message::{PackBody, Refusal};
use crate::proto::receiver::{BasisRef, PackedFile};

/// Opens a basis of a packed file, which is never a partial.
fn open_named(destination: &Destination, basis: &BasisRef) -> Option<File> {
    match basis {
        BasisRef::File { path, leaf } => open_file(destination, path, leaf),
        BasisRef::Partial { .. } => None,
    }
}

/// The content of a packed file, not yet compared with its hash.
pub fn packed_bytes(destination: &Destination, file: &PackedFile) -> Result<Vec<u8>, Refusal> {
    match (&file.body, &file.basis) {
        (PackBody::Whole(bytes), _) => Ok(bytes.clone()),
        (PackBody::Same { .. }, Some(basis)) => {
            let open = open_named(destination, basis).ok_or(Refusal::BasisGone { index: 0 })?;
            let mut bytes = vec![0; file.size as usize];
            let n = read_full(&open, &mut bytes, 0).map_err(|_| Refusal::BasisGone { index: 0 })?;
            if n == bytes.len() { Ok(bytes) } else { Err(Refusal::BasisGone { index: 0 }) }
        }
        (PackBody::Over(frame), Some(basis)) => {
            let prefix = read_small(destination, basis)?;
            expand_over(&prefix, frame, file.size as usize).ok_or(Refusal::BasisGone { index: 0 })
        }
        (PackBody::Runs(runs), Some(basis)) => {
            let held = read_small(destination, basis)?;
            small::rebuild(&held, runs, file.size as usize).ok_or(Refusal::HashDiffers)
        }
        _ => Err(Refusal::Limit),
    }
}

/// A small file that the destination holds, whole.
pub fn read_small(destination: &Destination, basis: &BasisRef) -> Result<Vec<u8>, Refusal> {
    let gone = || Refusal::BasisGone { index: 0 };
    let open = open_named(destination, basis).ok_or_else(gone)?;
    // The machine takes no basis that is longer than a packed file.
    let mut content = vec![0; basis.size().min(PACK_FILE_BYTES) as usize];
    let n = read_full(&open, &mut content, 0).map_err(|_| gone())?;
    content.truncate(n);
    Ok(content)
}

/// Puts a small file into the stage and closes it; its number there.
pub fn stage_small(destination: &Destination, bytes: &[u8]) -> Result<u64, DestinationError> {
    let number = destination.own().next_number();
    let mut file = StagedFile::create(destination.own(), number)?;
    file.write(bytes)?;
    file.keep()?;
    Ok(number)
}
