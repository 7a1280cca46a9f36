//! Small files and symlinks: read in batches, by threads that stay.
//!
//! A few threads of their own, not those of the runtime: each thread that takes and gives back memory keeps some
//! of it for itself, so that a dozen of them held more than what they worked on.

use super::deltas::unready;
use super::shadow::Shadow;
use crate::disk::Root;
use crate::model::{ContentHash, Kind};
use crate::net::squeeze::{Tables, squeeze_over};
use crate::proto::message::PackBody;
use crate::proto::sender::{Unready, Want};
use crate::server::contents::KnownContents;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Threads that read: one waits for the disk while another squeezes.
const READERS: usize = 2;

/// What is to be read together.
pub struct Batch {
    pub number: u64,
    pub root: Arc<Root>,
    pub wants: Vec<Want>,
    /// What the path of each holds at the destination, where a frame over that may be sent.
    pub held: Vec<Option<(ContentHash, u64)>>,
    /// Where bytes are dear.
    pub shadow: Option<Arc<Shadow>>,
}

/// A batch's number, and what came of each entry in it.
pub type BatchRead = (u64, Vec<Result<PackBody, Unready>>);

/// The threads that read batches; they end when this is dropped.
pub struct Readers {
    batches: Sender<Batch>,
}

impl Readers {
    /// Starts; what is read is told in any order.
    pub fn start(known: &Arc<KnownContents>, told: &UnboundedSender<BatchRead>) -> Self {
        let (batches, taken) = channel();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..READERS {
            let (known, taken, told) = (known.clone(), taken.clone(), told.clone());
            std::thread::spawn(move || read_all(&known, &taken, &told));
        }
        Self { batches }
    }

    /// Reads a batch when its turn comes.
    pub fn read(&self, batch: Batch) {
        // They end only when this is dropped.
        let _ = self.batches.send(batch);
    }
}

fn read_all(known: &KnownContents, taken: &Mutex<Receiver<Batch>>, told: &UnboundedSender<BatchRead>) {
    loop {
        let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Batch { number, root, wants, held, shadow }) = next else { return };
        let read = read_batch(&root, known, &wants, &held, shadow.as_ref());
        if told.send((number, read)).is_err() {
            return;
        }
    }
}

/// Reads small files and symlinks whole, each compared with its hash; those whose path holds what the shadow
/// holds too, as frames over it where that is shorter.
pub fn read_batch(
    root: &Root,
    known: &KnownContents,
    wants: &[Want],
    held: &[Option<(ContentHash, u64)>],
    shadow: Option<&Arc<Shadow>>,
) -> Vec<Result<PackBody, Unready>> {
    let over = |bytes: &[u8], held: &Option<(ContentHash, u64)>| {
        let (hash, size) = (*held)?;
        let frame = squeeze_over(&shadow?.small(&hash, size)?, bytes, Tables::Wide)?;
        (frame.len() < bytes.len()).then_some(PackBody::Over(frame))
    };
    let body = |(want, held): (&Want, _)| {
        let bytes = read_small(root, known, want)?;
        Ok(over(&bytes, held).unwrap_or(PackBody::Whole(bytes)))
    };
    wants.iter().zip(held).map(body).collect()
}

fn read_small(root: &Root, known: &KnownContents, want: &Want) -> Result<Vec<u8>, Unready> {
    let hash = want.leaf.content.whole().ok_or(Unready::Changed)?;
    let bytes = if want.leaf.kind == Kind::Link {
        root.read_link(&want.path).map_err(unready)?
    } else {
        read_whole(root, known, want, hash).map_err(unready)?
    };
    if hash == ContentHash::of(&bytes) { Ok(bytes) } else { Err(Unready::Changed) }
}

/// What the scan saw of a file: the whole of it, or as much as there was of one that has grown since.
fn read_whole(root: &Root, known: &KnownContents, want: &Want, hash: ContentHash) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; want.leaf.size as usize];
    let held = known.snapshots().and_then(|snapshots| snapshots.find(&hash));
    let n = match held {
        Some(held) => held.read_at(&mut bytes, 0)?,
        None => root.open_file(&want.path)?.read_at(&mut bytes, 0)?,
    };
    bytes.truncate(n);
    Ok(bytes)
}
