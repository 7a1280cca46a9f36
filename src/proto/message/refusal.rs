//! Why a change was not made, and what follows from it.

use crate::model::{Name, RelPath, Tag};
use serde::{Deserialize, Serialize};

/// Why a change was not made, or an item of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    BasisGone { index: u32 },
    Drifted { tag: Tag },
    MoreThanSaid { n: u64 },
    NoParent,
    WrongKind,
    NotEmpty,
    NameTaken { by: Name },
    NameUnfit,
    KindUnfit,
    CannotKeep,
    OtherDevice,
    NoSpace { need: u64, free: u64 },
    NoInodes,
    Quota,
    ReadOnly,
    Io { errno: i32 },
    HashDiffers,
    Rights,
    Limit,
    Cancelled,
}

/// What a sender does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The trees are not what the sender believes: look again, plan again.
    Compare,
    /// Send it again without a basis.
    WithoutBasis,
    /// Said once, exit 3; offered again when it changes.
    Exception,
    /// The destination is full: wait for space.
    WaitForSpace,
    /// The destination has a fault: again after a while.
    Again,
    /// Nothing: the sender itself gave it up.
    Nothing,
}

impl Refusal {
    /// What follows from it.
    pub fn next_step(&self) -> NextStep {
        match self {
            Refusal::Drifted { .. }
            | Refusal::MoreThanSaid { .. }
            | Refusal::NoParent
            | Refusal::WrongKind
            | Refusal::NotEmpty => NextStep::Compare,
            Refusal::BasisGone { .. } => NextStep::WithoutBasis,
            Refusal::NameTaken { .. }
            | Refusal::NameUnfit
            | Refusal::KindUnfit
            | Refusal::CannotKeep
            | Refusal::OtherDevice
            | Refusal::HashDiffers
            | Refusal::Rights
            | Refusal::Limit => NextStep::Exception,
            Refusal::NoSpace { .. } | Refusal::NoInodes | Refusal::Quota => NextStep::WaitForSpace,
            Refusal::ReadOnly | Refusal::Io { .. } => NextStep::Again,
            Refusal::Cancelled => NextStep::Nothing,
        }
    }
}

impl Refusal {
    /// Why the entry at a path was refused, for people.
    pub fn why(&self, path: &RelPath) -> String {
        match self {
            // A name that is taken by itself: nothing folds there.
            Refusal::NameTaken { by } if path.split().is_some_and(|(_, name)| name == *by) => {
                Refusal::WrongKind.to_string()
            }
            why => why.to_string(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Refusal::BasisGone { .. } => write!(f, "the version it was based on is gone there"),
            Refusal::Drifted { .. } => write!(f, "it was changed at the destination meanwhile"),
            Refusal::MoreThanSaid { n } => write!(f, "there are {n} entries below it, more than expected"),
            Refusal::NoParent => write!(f, "its directory is missing at the destination"),
            Refusal::WrongKind => write!(f, "something of another kind has its name at the destination"),
            Refusal::NotEmpty => write!(f, "the directory is not empty at the destination"),
            Refusal::NameTaken { by } => write!(f, "the destination does not tell its name from `{by}`"),
            Refusal::NameUnfit => write!(f, "the destination cannot store its name"),
            Refusal::KindUnfit => write!(f, "the destination cannot store entries of its kind"),
            Refusal::CannotKeep => write!(f, "the destination did not keep its mode or time"),
            Refusal::OtherDevice => write!(f, "another file system is mounted there at the destination"),
            Refusal::NoSpace { need: 0, .. } => write!(f, "the destination's disk is full"),
            Refusal::NoSpace { need, free } => {
                write!(f, "the destination's disk is full ({need} bytes needed, {free} free)")
            }
            Refusal::NoInodes => write!(f, "the destination's disk has no room for more files"),
            Refusal::Quota => write!(f, "the quota at the destination is used up"),
            Refusal::ReadOnly => write!(f, "the destination is read-only"),
            Refusal::Io { errno } => {
                write!(f, "the destination's disk failed: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Refusal::HashDiffers => write!(f, "what arrived did not match its hash after every repair"),
            Refusal::Rights => write!(f, "this client has no right to change it"),
            Refusal::Limit => write!(f, "it is beyond a limit of the destination"),
            Refusal::Cancelled => write!(f, "it was given up"),
        }
    }
}
