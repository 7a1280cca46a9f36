//! Faults of the destination as refusals on the wire.

use crate::delta::rebuild::RebuildError;
use crate::disk::DestinationError;
use crate::model::{Name, Tag};
use crate::proto::message::Refusal;

/// The system's error for a name that is not there.
const ENOENT: i32 = 2;

/// What the sender is told of a fault of the destination.
pub fn refusal_of(error: &DestinationError) -> Refusal {
    match error {
        DestinationError::NoSpace { free_bytes, .. } => Refusal::NoSpace { need: 0, free: *free_bytes },
        DestinationError::NoInodes { .. } => Refusal::NoInodes,
        DestinationError::Quota { .. } => Refusal::Quota,
        DestinationError::ReadOnly { .. } => Refusal::ReadOnly,
        DestinationError::NoParent { .. } => Refusal::NoParent,
        DestinationError::Missing { .. } => Refusal::Drifted { tag: Tag::UNKNOWN },
        DestinationError::WrongKind { .. } => Refusal::WrongKind,
        DestinationError::NotEmpty { .. } => Refusal::NotEmpty,
        DestinationError::NameTaken { path } => {
            let name = path.rsplit('/').next().unwrap_or_default();
            match Name::parse(name.as_bytes()) {
                Ok(by) => Refusal::NameTaken { by },
                Err(_) => Refusal::WrongKind,
            }
        }
        DestinationError::NameUnfit { .. } => Refusal::NameUnfit,
        DestinationError::KindUnfit { .. } => Refusal::KindUnfit,
        DestinationError::OtherDevice { .. } => Refusal::OtherDevice,
        DestinationError::Io { error, .. } => Refusal::Io { errno: error.raw_os_error().unwrap_or(5) },
    }
}

/// What the sender is told of a fault of the stage: what is missing there is nothing that another
/// look at the tree could find.
pub fn refusal_of_stage(error: &DestinationError) -> Refusal {
    match refusal_of(error) {
        Refusal::Drifted { .. } | Refusal::NoParent | Refusal::WrongKind | Refusal::NotEmpty => {
            Refusal::Io { errno: ENOENT }
        }
        why => why,
    }
}

/// What the sender is told when its delta could not be carried out.
pub fn refusal_of_rebuild(error: &RebuildError) -> Refusal {
    match error {
        RebuildError::Basis { .. } | RebuildError::BasisShort { .. } | RebuildError::Range { .. } => {
            Refusal::BasisGone { index: 0 }
        }
        RebuildError::Blocks(_) | RebuildError::Prefix { .. } => Refusal::BasisGone { index: 0 },
        RebuildError::Op(_) => Refusal::Limit,
        RebuildError::Sink(error) => Refusal::Io { errno: error.raw_os_error().unwrap_or(5) },
    }
}
