//! Which source this is: the name that a destination knows it by, and whether its root is still the
//! directory that was last brought in step.

use crate::disk::DirId;
use crate::plan::guard::RootChange;
use crate::server::contents::KnownContents;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The word of the cache that holds the root.
const ROOT: &str = "root";

/// Names the directory of this machine at a path; `None` on a machine without a name.
///
/// It tells nothing of the path to who does not guess it.
pub fn source_id(root: &Path) -> Option<[u8; 16]> {
    let machine = ["/etc/machine-id", "/proc/sys/kernel/hostname"]
        .iter()
        .find_map(|file| std::fs::read(file).ok().filter(|text| !text.trim_ascii().is_empty()))?;
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let bytes = [machine.trim_ascii(), b"\0", root.as_os_str().as_bytes()].concat();
    blake3::derive_key("strait 1 source", &bytes)[..16].try_into().ok()
}

/// Bytes of a kept root behind the boot: device, inode, and time of birth.
const DEVICE_BYTES: usize = 8;
const INODE_BYTES: usize = 8;
const BORN_BYTES: usize = 12;

/// What became of the root since [`keep_root`].
///
/// Numbers of devices and inodes mean something within one boot of the machine only. The time of birth
/// outlives it, where the file system tells one: after a boot it is all that tells an empty mount point
/// from the source that belongs there, and another one is taken for that of another file system.
pub fn root_change(known: &KnownContents, root: &DirId) -> RootChange {
    let Some(kept) = known.cache().word(ROOT) else { return RootChange::None };
    let now = word_of(root);
    let n_inode = now.len() - BORN_BYTES;
    let n_device = n_inode - INODE_BYTES;
    let n_boot = n_device - DEVICE_BYTES;
    if kept.len() != now.len() || kept == now {
        RootChange::None
    } else if kept[..n_boot] != now[..n_boot] {
        let (was_born, born) = (&kept[n_inode..], &now[n_inode..]);
        let is_told = was_born != [0; BORN_BYTES];
        if is_told && was_born != born { RootChange::OtherDevice } else { RootChange::None }
    } else if kept[..n_device] != now[..n_device] {
        RootChange::OtherDevice
    } else {
        RootChange::Replaced
    }
}

/// Remembers the root of a source that was brought in step.
pub fn keep_root(known: &KnownContents, root: &DirId) {
    let word = word_of(root);
    if known.cache().word(ROOT).as_ref() != Some(&word)
        && let Err(error) = known.cache().set_word(ROOT, &word)
    {
        tracing::warn!(%error, "the root of the source is not remembered");
    }
}

/// Boot, device, inode and time of birth.
fn word_of(root: &DirId) -> Vec<u8> {
    let mut word = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    word.extend(root.dev.to_le_bytes());
    word.extend(root.ino.to_le_bytes());
    word.extend(root.born.secs.to_le_bytes());
    word.extend(root.born.nanos.to_le_bytes());
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;
    use crate::store::Cache;
    use std::sync::Arc;

    #[test]
    fn a_root_is_the_same_replaced_or_on_another_device() {
        let known = KnownContents::new(Arc::new(Cache::in_memory().unwrap()));
        let root = DirId { dev: 5, ino: 7, born: Time { secs: 9, nanos: 1 } };
        assert_eq!(root_change(&known, &root), RootChange::None, "nothing is known yet");
        keep_root(&known, &root);
        for (now, change) in [
            (root, RootChange::None),
            (DirId { ino: 8, ..root }, RootChange::Replaced),
            (DirId { born: Time { secs: 9, nanos: 2 }, ..root }, RootChange::Replaced),
            (DirId { dev: 6, ..root }, RootChange::OtherDevice),
        ] {
            assert_eq!(root_change(&known, &now), change);
        }
        known.cache().set_word(ROOT, b"short").unwrap();
        assert_eq!(root_change(&known, &root), RootChange::None);
    }

    // After a boot nothing was known of the root: an empty mount point was an emptied source.
    #[test]
    fn after_another_boot_the_time_of_birth_tells_another_root() {
        let known = KnownContents::new(Arc::new(Cache::in_memory().unwrap()));
        let root = DirId { dev: 5, ino: 7, born: Time { secs: 9, nanos: 1 } };
        let keep = |root: &DirId| {
            let mut other_boot = word_of(root);
            other_boot[0] ^= 1;
            known.cache().set_word(ROOT, &other_boot).unwrap();
        };
        keep(&root);
        for (now, change) in [
            (root, RootChange::None),
            (DirId { dev: 6, ino: 9, ..root }, RootChange::None),
            (DirId { born: Time { secs: 9, nanos: 2 }, ..root }, RootChange::OtherDevice),
            (DirId { born: Time::default(), ..root }, RootChange::OtherDevice),
        ] {
            assert_eq!(root_change(&known, &now), change);
        }
        keep(&DirId { born: Time::default(), ..root });
        assert_eq!(root_change(&known, &root), RootChange::None, "the file system told no birth");
    }

    #[test]
    fn sources_have_names_of_their_own() {
        let (one, two) = (source_id(Path::new("/")), source_id(Path::new("/proc")));
        assert!(one.is_none() || one != two);
        assert_eq!(one, source_id(Path::new("/proc/..")));
    }
}
