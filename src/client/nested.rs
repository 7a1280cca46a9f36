//! Whether source and destination lie inside each other, where they meet over a connection.
//!
//! Neither side sees the other's paths there; what tells is the destination's id. One above SRC is looked for in SRC and
//! its parents, before this side is confined; one below is met by the scans.

use super::source::Snapshot;
use crate::disk::{Root, id_of};
use crate::model::path::OWN_FOLDER;
use crate::proto::message::RootId;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// SRC and the directories above it, each with what stood there as the id of a destination when it was looked at:
/// nothing, an id, or what is none.
pub struct Above(Vec<(PathBuf, Option<Option<RootId>>)>);

impl Above {
    /// Looks at SRC and all above it.
    pub fn of(source: &Path) -> Self {
        let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        Self(source.ancestors().map(|dir| (dir.to_owned(), has_id(dir).then(|| id_at(dir)))).collect())
    }

    /// The one that is the destination of this id; also one that became a destination since, and that this side
    /// may not look into any more.
    fn destination(&self, id: &RootId) -> Option<&Path> {
        let is_it = |(dir, was): &&(PathBuf, Option<Option<RootId>>)| match id_at(dir) {
            Some(now) => now == *id,
            None => was.map_or_else(|| has_id(dir), |was| was == Some(*id)),
        };
        self.0.iter().find(is_it).map(|(dir, _)| dir.as_path())
    }

    /// Why nothing may be sent to the destination of this id: one sentence with the next step.
    pub fn refusal(&self, id: &RootId, snapshot: &Snapshot) -> Option<String> {
        let source = self.0.first().map_or(Path::new(""), |(source, _)| source);
        let own = Path::new(OsStr::from_bytes(OWN_FOLDER));
        let (held, how) = match self.destination(id) {
            Some(dir) if dir == source => (dir.to_owned(), "is"),
            Some(dir) => (dir.to_owned(), "lies inside"),
            None => {
                let (path, _) = snapshot.destinations.iter().find(|(_, its)| its == id)?;
                (source.join(OsStr::from_bytes(path.as_bytes())), "holds")
            }
        };
        Some(format!(
            "the source {} {how} the destination, as {} says; choose two that lie apart, or remove that folder \
             where it is but a copy",
            source.display(),
            held.join(own).display()
        ))
    }
}

fn id_at(dir: &Path) -> Option<RootId> {
    id_of(&Root::open(dir).ok()?).ok().flatten()
}

fn has_id(dir: &Path) -> bool {
    dir.join(OsStr::from_bytes(OWN_FOLDER)).join("id").symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn mark(dir: &Path, id: u8) {
        std::fs::create_dir_all(dir.join(".strait")).expect("a folder");
        std::fs::write(dir.join(".strait/id"), format!("strait 1\n{}\n", format!("{id:02x}").repeat(16)))
            .expect("an id");
    }

    #[test]
    fn a_destination_above_is_known_by_its_id_and_one_made_since_by_being_there() {
        let dir = tempdir().expect("a place");
        let top = dir.path().canonicalize().expect("it stands");
        let source = top.join("dest/between/source");
        std::fs::create_dir_all(&source).expect("directories");
        mark(&top.join("dest"), 7);
        let above = Above::of(&source);
        assert_eq!(above.destination(&[7; 16]), Some(top.join("dest").as_path()));
        assert_eq!(above.destination(&[8; 16]), None);
        mark(&source, 8);
        assert_eq!(above.destination(&[8; 16]), Some(source.as_path()));
        // It cannot be read, as where this side is confined by now.
        std::fs::write(source.join(".strait/id"), "").expect("an id");
        assert_eq!(above.destination(&[9; 16]), Some(source.as_path()));
        assert_eq!(
            Above::of(&source).destination(&[9; 16]),
            None,
            "one that was damaged before is no destination"
        );
    }
}
