//! Staging: transfers and packs become files in the stage, hashed while they are written.

use super::contents::KnownContents;
use super::refusal::{refusal_of_rebuild, refusal_of_stage};
use super::shore::Shore;
use super::standing::Standing;
use crate::delta::index::{ContentIndex, Indexer};
use crate::delta::ops::Op;
use crate::delta::rebuild::{Bases, Sink, rebuild};
use crate::delta::small;
use crate::disk::{Destination, DestinationError, File, StagedFile};
use crate::model::limits::{GIB, MIB, MISMATCH_HASHES, PACK_FILE_BYTES};
use crate::model::{ContentHash, Meta};
use crate::net::squeeze::expand_over;
use crate::proto::message::{ChangeId, PackBody, Refusal};
use crate::proto::receiver::{BasisRef, PackedFile, Staged};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pieces from here on are hashed on one core while another writes them.
const BESIDE_BYTES: usize = MIB;
/// Zeros that are hashed before it is looked whether the session is over.
const ZEROS_BYTES: u64 = GIB / 16;

/// What came of sealing a transfer.
pub enum Sealed {
    Right,
    /// The content is another: its group tree at a level that fits a message.
    Mismatch {
        level: u8,
        values: Vec<[u8; 32]>,
    },
}

/// A file that is ready to be installed.
pub struct Ready {
    pub file: StagedFile,
    pub hash: ContentHash,
}

/// A transfer while it is filled.
struct Filling {
    file: StagedFile,
    bases: OpenBases,
    indexer: Option<Indexer>,
    standing: Option<Standing>,
    size: u64,
    at: u64,
}

#[derive(Default)]
struct OpenBases {
    files: Vec<File>,
    /// Holes of the first few bases, as they are asked for.
    holes: Vec<Vec<(u64, u64)>>,
}

/// Everything staged for one session.
pub struct Stage {
    /// Set when the session is over: the work on a huge file ends in the middle.
    stop: Arc<AtomicBool>,
    filling: BTreeMap<ChangeId, Filling>,
    whole: BTreeMap<ChangeId, Ready>,
    /// Small files, closed so that any number of them may wait: number in the stage and content.
    packed: BTreeMap<(ChangeId, u32), (u64, ContentHash)>,
}

impl Stage {
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { stop, filling: BTreeMap::new(), whole: BTreeMap::new(), packed: BTreeMap::new() }
    }

    /// Opens the stage and the bases of a transfer.
    pub fn open(
        &mut self,
        shore: &Shore,
        id: ChangeId,
        size: u64,
        bases: &[BasisRef],
    ) -> Result<(), Refusal> {
        let mut open = Vec::with_capacity(bases.len());
        for (index, basis) in bases.iter().enumerate() {
            let gone = Refusal::BasisGone { index: index as u32 };
            open.push(open_basis(&shore.destination, basis).ok_or(gone)?);
        }
        let of_stage = |error: DestinationError| refusal_of_stage(&error);
        let mut file = shore.destination.stage().map_err(of_stage)?;
        let standing = match (open.first(), bases.first()) {
            (Some(open), Some(basis)) => {
                Standing::clone_of(shore, &mut file, open, basis.leaf.content.whole(), size)
                    .map_err(of_stage)?
            }
            _ => None,
        };
        let indexer = Some(Indexer::hash_only());
        let bases = OpenBases { files: open, holes: Vec::new() };
        self.filling.insert(id, Filling { file, bases, indexer, standing, size, at: 0 });
        Ok(())
    }

    /// Opens one more basis of a transfer.
    pub fn add_basis(
        &mut self,
        destination: &Destination,
        id: ChangeId,
        basis: &BasisRef,
    ) -> Result<(), Refusal> {
        let Some(filling) = self.filling.get_mut(&id) else { return Ok(()) };
        let index = filling.bases.files.len() as u32;
        filling.bases.files.push(open_basis(destination, basis).ok_or(Refusal::BasisGone { index })?);
        Ok(())
    }

    /// Writes ops from a target offset on; anywhere in a repair, else where the last ones ended.
    pub fn write(&mut self, id: ChangeId, at: u64, ops: &[Op]) -> Result<(), Refusal> {
        let Some(filling) = self.filling.get_mut(&id) else { return Ok(()) };
        if at != filling.at {
            // A repair: what was hashed on the way does not hold any more.
            filling.indexer = None;
        }
        let mut at = at;
        for op in ops {
            let mut sink = StageSink {
                file: &mut filling.file,
                indexer: filling.indexer.as_mut(),
                standing: filling.standing.as_mut(),
                at,
                failed: None,
                stop: &self.stop,
            };
            let result = rebuild(op, at, &mut filling.bases, &mut sink);
            at += match (result, sink.failed) {
                (_, Some(error)) => return Err(refusal_of_stage(&error)),
                (Err(error), None) => return Err(refusal_of_rebuild(&error)),
                (Ok(n), None) => n,
            };
        }
        filling.at = at;
        Ok(())
    }

    /// Compares what was staged with the offer.
    pub fn seal(
        &mut self,
        known: &KnownContents,
        id: ChangeId,
        hash: ContentHash,
    ) -> Result<Sealed, Refusal> {
        let Some(mut filling) = self.filling.remove(&id) else { return Err(Refusal::Cancelled) };
        let of_stage = |error: DestinationError| refusal_of_stage(&error);
        // A clone may have been longer.
        filling.file.cut_to(filling.size).map_err(of_stage)?;
        let index = match filling.indexer.take() {
            Some(indexer) => indexer.finish(),
            None => index_staged(&mut filling.file, &self.stop)?,
        };
        if index.hash == hash && index.size == filling.size {
            known.keep(&index);
            let (n_written, n_read) = (filling.file.n_written(), filling.file.n_read());
            tracing::debug!(
                size = filling.size,
                n_written,
                n_read,
                is_clone = filling.standing.is_some(),
                "staged"
            );
            self.whole.insert(id, Ready { file: filling.file, hash });
            return Ok(Sealed::Right);
        }
        let mut level = 0;
        let values = match &index.groups {
            Some(groups) => {
                while groups.level(level).len() > MISMATCH_HASHES {
                    level += 1;
                }
                groups.level(level)
            }
            None => vec![index.hash.0],
        };
        // No offset is in order any more: all that comes now is repair.
        filling.at = u64::MAX;
        self.filling.insert(id, filling);
        Ok(Sealed::Mismatch { level, values })
    }

    /// Stages small files; their content hashes, when their one hash is right.
    pub fn pack(
        &mut self,
        destination: &Destination,
        id: ChangeId,
        files: Vec<PackedFile>,
        hash: ContentHash,
    ) -> Result<Vec<ContentHash>, Refusal> {
        let mut hashes = Vec::with_capacity(files.len());
        let mut hasher = blake3::Hasher::new();
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            let bytes = packed_bytes(destination, &file)?;
            let content_hash = ContentHash::of(&bytes);
            hasher.update(&content_hash.0);
            hashes.push(content_hash);
            contents.push(bytes);
        }
        if *hasher.finalize().as_bytes() != hash.0 {
            return Err(Refusal::HashDiffers);
        }
        for (index, (bytes, content_hash)) in contents.iter().zip(&hashes).enumerate() {
            match stage_small(destination, bytes) {
                Ok(number) => drop(self.packed.insert((id, index as u32), (number, *content_hash))),
                Err(error) => {
                    self.drop_change(destination, id);
                    return Err(refusal_of_stage(&error));
                }
            }
        }
        Ok(hashes)
    }

    /// Takes a staged file out, to be installed.
    pub fn take(
        &mut self,
        destination: &Destination,
        staged: Staged,
        meta: &Meta,
    ) -> Result<Ready, DestinationError> {
        let mut ready = match self.packed.remove(&(staged.id, staged.index)) {
            Some((number, hash)) => Ready { file: StagedFile::reopen(destination.own(), number)?, hash },
            None => self.whole.remove(&staged.id).ok_or_else(|| DestinationError::Missing {
                path: format!("the staged file of change {}", staged.id),
            })?,
        };
        ready.file.set_meta(meta)?;
        Ok(ready)
    }

    /// Throws away what was staged for a change.
    pub fn drop_change(&mut self, destination: &Destination, id: ChangeId) {
        self.filling.remove(&id);
        self.whole.remove(&id);
        let packed: Vec<_> = self.packed.range((id, 0)..=(id, u32::MAX)).map(|(key, _)| *key).collect();
        for key in packed {
            if let Some((number, _)) = self.packed.remove(&key) {
                // Dropped, it is removed.
                drop(StagedFile::reopen(destination.own(), number));
            }
        }
    }

    /// Throws everything away.
    pub fn clear(&mut self, destination: &Destination) {
        let ids: Vec<ChangeId> = self.packed.keys().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.drop_change(destination, id));
        self.filling.clear();
        self.whole.clear();
    }
}

/// Opens a basis if it is still the file that the tree says.
pub fn open_basis(destination: &Destination, basis: &BasisRef) -> Option<File> {
    let file = destination.root().open_file(&basis.path).ok()?;
    let stat = file.opened();
    let is_same = stat.size == basis.leaf.size && stat.mtime == basis.leaf.meta.mtime;
    is_same.then_some(file)
}

fn packed_bytes(destination: &Destination, file: &PackedFile) -> Result<Vec<u8>, Refusal> {
    match (&file.body, &file.basis) {
        (PackBody::Whole(bytes), _) => Ok(bytes.clone()),
        (PackBody::Same { .. }, Some(basis)) => {
            let open = open_basis(destination, basis).ok_or(Refusal::BasisGone { index: 0 })?;
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
    let open = open_basis(destination, basis).ok_or_else(gone)?;
    // The machine takes no basis that is longer than a packed file.
    let mut content = vec![0; basis.leaf.size.min(PACK_FILE_BYTES) as usize];
    let n = read_full(&open, &mut content, 0).map_err(|_| gone())?;
    content.truncate(n);
    Ok(content)
}

fn stage_small(destination: &Destination, bytes: &[u8]) -> Result<u64, DestinationError> {
    let number = destination.own().next_number();
    let mut file = StagedFile::create(destination.own(), number)?;
    file.write(bytes)?;
    file.keep()?;
    Ok(number)
}

/// Reads until the buffer is full or the file ends.
pub fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read_at(&mut buffer[n..], offset + n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

fn index_staged(file: &mut StagedFile, stop: &AtomicBool) -> Result<ContentIndex, Refusal> {
    let mut indexer = Indexer::hash_only();
    let mut buffer = vec![0; MIB];
    let mut at = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Refusal::Cancelled);
        }
        let n = file.read_at(&mut buffer, at).map_err(|error| refusal_of_stage(&error))?;
        if n == 0 {
            return Ok(indexer.finish());
        }
        indexer.update(&buffer[..n]);
        at += n as u64;
    }
}

impl Bases for OpenBases {
    fn len(&self, basis: u32) -> Option<u64> {
        self.files.get(basis as usize).map(|file| file.opened().size)
    }

    fn hole_at(&mut self, basis: u32, offset: u64) -> u64 {
        while self.holes.len() <= basis as usize && self.holes.len() < self.files.len() {
            let file = &self.files[self.holes.len()];
            let holes = if file.opened().has_holes() { file.holes().unwrap_or_default() } else { Vec::new() };
            self.holes.push(holes);
        }
        let Some(holes) = self.holes.get(basis as usize) else { return 0 };
        let next = holes.partition_point(|(at, len)| at + len <= offset);
        let hole = holes.get(next).filter(|(at, _)| *at <= offset);
        hole.map_or(0, |(at, len)| at + len - offset)
    }

    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.files.get(basis as usize) {
            Some(file) => file.read_at(buf, offset),
            None => Ok(0),
        }
    }

    fn expand(&self, prefix: &[u8], frame: &[u8], target_bytes: usize) -> Option<Vec<u8>> {
        expand_over(prefix, frame, target_bytes)
    }
}

/// Writes to the stage, and to the index while everything comes in order.
struct StageSink<'s> {
    file: &'s mut StagedFile,
    indexer: Option<&'s mut Indexer>,
    standing: Option<&'s mut Standing>,
    at: u64,
    failed: Option<DestinationError>,
    stop: &'s AtomicBool,
}

impl StageSink<'_> {
    fn check_stop(&self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn done(&mut self, result: Result<(), DestinationError>, len: u64) -> io::Result<()> {
        self.at += len;
        result.map_err(|error| {
            self.failed = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

impl Sink for StageSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_stop()?;
        let result = match &mut self.indexer {
            Some(indexer) => index_and_write(indexer, self.file, bytes),
            None => self.file.write_at(bytes, self.at),
        };
        self.done(result, bytes.len() as u64)
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        let result = match &mut self.indexer {
            Some(indexer) => {
                let mut left = len;
                while left > 0 {
                    // Hashing zeros takes its time too.
                    if self.stop.load(Ordering::Relaxed) {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    indexer.update_zeros(left.min(ZEROS_BYTES));
                    left -= left.min(ZEROS_BYTES);
                }
                self.file.zeros(len)
            }
            None => write_zeros_at(self.file, self.at, len, self.stop),
        };
        self.done(result, len)
    }

    fn keep(&mut self, len: u64) -> io::Result<bool> {
        let (Some(standing), Some(indexer)) = (&mut self.standing, &mut self.indexer) else {
            return Ok(false);
        };
        let stop = self.stop;
        let check_stop =
            || if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) };
        match standing.keep(self.file, indexer, (self.at, len), &check_stop)? {
            Ok(false) => Ok(false),
            Ok(true) => self.done(Ok(()), len).map(|()| true),
            Err(error) => self.done(Err(error), 0).map(|()| true),
        }
    }
}

/// Hashes and writes, long pieces on two cores.
fn index_and_write(
    indexer: &mut Indexer,
    file: &mut StagedFile,
    bytes: &[u8],
) -> Result<(), DestinationError> {
    if bytes.len() < BESIDE_BYTES {
        indexer.update(bytes);
        return file.write(bytes);
    }
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| indexer.update_alone(bytes));
        let written = file.write(bytes);
        hashing.join().expect("hashing does not panic");
        written
    })
}

fn write_zeros_at(
    file: &mut StagedFile,
    at: u64,
    len: u64,
    stop: &AtomicBool,
) -> Result<(), DestinationError> {
    let zeros = vec![0; MIB.min(len as usize)];
    let mut done = 0;
    while done < len && !stop.load(Ordering::Relaxed) {
        let n = (len - done).min(zeros.len() as u64);
        file.write_at(&zeros[..n as usize], at + done)?;
        done += n;
    }
    Ok(())
}
