//! Facts of this room, shown on real file systems.

mod clones;
mod confine;
mod group;
mod in_place;
mod moves;
mod signed;

use super::options::{Found, Making};
use super::shore::Shore;
use super::stage::{Ready, Sealed, Stage};
use crate::delta::blocks::{KEPT_STRONG_BYTES, RangeSignature, block_bytes_for};
use crate::delta::ops::Op;
use crate::model::limits::PACK_FILE_BYTES;
use crate::model::{Content, ContentHash, Kind, Leaf, Meta, RelPath, Time};
use crate::proto::message::Refusal;
use crate::proto::receiver::{BasisRef, Expect, Offer, Staged, Step};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A destination, on a file system of its own if asked for.
struct Dest {
    shore: Arc<Shore>,
    stage: Stage,
    n_changes: u64,
    /// What is unmounted, then removed.
    _mount: Option<Mount>,
    _dir: TempDir,
}

/// A file system in a file, mounted as long as this lives.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this user or this machine cannot.
    fn new(dir: &Path, kind: &str) -> Option<Self> {
        let (image, at) = (dir.join("image"), dir.join("at"));
        std::fs::create_dir(&at).ok()?;
        std::fs::File::create(&image).ok()?.set_len(400 << 20).ok()?;
        let run = |program: &str, words: &[&std::ffi::OsStr]| {
            Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
        };
        run(&format!("mkfs.{kind}"), &["-q".as_ref(), image.as_os_str()]).then_some(())?;
        let words = ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()];
        run("mount", &words).then(|| Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn meta(n_changes: u64) -> Meta {
    Meta { mode: 0o640, mtime: Time { secs: 1_700_000_000 + n_changes as i64, nanos: 7 } }
}

/// Bytes that do not repeat, another stream for each seed.
fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Dest {
    /// In a plain directory of this machine.
    fn plain() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("dest");
        Self::open(dir, None, &at, Making::default())
    }

    /// The same, made in another way.
    fn making(making: Making) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("dest");
        Self::open(dir, None, &at, making)
    }

    fn mounted(kind: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Mount::new(dir.path(), kind)?;
        let at = dir.path().join("at/dest");
        Some(Self::open(dir, Some(mount), &at, Making::default()))
    }

    fn open(dir: TempDir, mount: Option<Mount>, at: &Path, making: Making) -> Self {
        let shore = Shore::open(at, Found::Adopt, making, None, None).unwrap();
        Self { shore, stage: Stage::new(Arc::default()), n_changes: 0, _mount: mount, _dir: dir }
    }

    /// The whole name of a file there.
    fn at(&self, name: &str) -> PathBuf {
        self.shore.path.join(name)
    }

    /// What the tree says of a file there.
    fn basis(&self, name: &str, hash: ContentHash) -> BasisRef {
        let stat = self.shore.destination.root().stat(&path(name)).unwrap().unwrap();
        let content = Content::Whole(hash);
        BasisRef::File {
            path: path(name),
            leaf: Leaf { kind: Kind::File, meta: stat.meta(), size: stat.size, content },
        }
    }

    /// Stages a target of these ops.
    fn stage(&mut self, bases: &[BasisRef], target: &[u8], ops: &[Op]) -> Result<Sealed, Refusal> {
        self.stage_at("target", bases, target, ops)
    }

    /// The same, offered for a path.
    fn stage_at(
        &mut self,
        name: &str,
        bases: &[BasisRef],
        target: &[u8],
        ops: &[Op],
    ) -> Result<Sealed, Refusal> {
        self.n_changes += 1;
        let id = self.n_changes;
        let (size, hash) = (target.len() as u64, ContentHash::of(target));
        let offer = Offer { path: path(name), size, hash };
        self.stage.open(&self.shore, id, &offer, bases, None)?;
        self.stage.write(id, 0, ops)?;
        self.stage.seal(&self.shore, id, hash)
    }

    /// Takes out what was staged last.
    fn take(&mut self) -> Ready {
        let staged = Staged { id: self.n_changes, index: 0 };
        self.stage.take(&self.shore.destination, staged, &meta(self.n_changes)).unwrap()
    }

    /// Stages and installs, and returns how many bytes were written and read back.
    fn put(&mut self, name: &str, bases: &[BasisRef], target: &[u8], ops: &[Op]) -> (u64, u64) {
        assert!(matches!(self.stage(bases, target, ops), Ok(Sealed::Right)), "{name}");
        let ready = self.take();
        let counts = (ready.file.n_written(), ready.file.n_read());
        let hash = ready.hash;
        let stat = self.shore.destination.install(ready.file, &path(name)).unwrap();
        self.shore.known.learn(&stat, hash);
        assert!(std::fs::read(self.at(name)).unwrap() == target, "{name}");
        self.assert_signed(target);
        counts
    }

    /// The block signature of a content is kept, and right; of a small one there is none.
    fn assert_signed(&self, content: &[u8]) {
        let (kept, size) = (self.shore.known.signature(&ContentHash::of(content)), content.len() as u64);
        let right = RangeSignature::compute(0, content, block_bytes_for(size), KEPT_STRONG_BYTES);
        assert!(kept == Some(right).filter(|_| size > PACK_FILE_BYTES), "the signature of {size} bytes");
    }

    /// Bytes in the stage, holes not counted.
    fn n_staged_bytes(&self) -> u64 {
        self.stage.n_written(self.n_changes).unwrap()
    }

    /// Commits what was staged last.
    fn commit(&mut self, name: &str) -> Result<(), Refusal> {
        let staged = Staged { id: self.n_changes, index: 0 };
        let (path, meta) = (path(name), meta(self.n_changes));
        let step = Step::Install { staged, path, meta, expect: Expect::Nothing };
        super::commit::commit(&self.shore, &mut self.stage, vec![step], &[]).results.remove(0)
    }

    /// Puts a file of literals.
    fn put_new(&mut self, name: &str, target: &[u8]) -> ContentHash {
        let ops: Vec<Op> = target.chunks(200_000).map(|bytes| Op::Literal(bytes.to_vec())).collect();
        self.put(name, &[], target, &ops);
        ContentHash::of(target)
    }
}
