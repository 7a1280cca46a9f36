//! Deltas: a thread for each transfer computes frames, one for each that is pulled.

use super::choose::Leaning;
use super::learn::Seen;
use super::prefix::{Copied, Known, Recoding, Settled};
use super::shadow::{Shadow, ShadowBasis};
use crate::delta::groups::GroupTree;
use crate::delta::index::Indexer;
use crate::delta::lanes::index_range;
use crate::delta::ops::{Basis, Op};
use crate::delta::sieve::{self, Against, DeltaError, DeltaStats, ReadAt, Target, sieve, split_frame};
use crate::disk::{File, Root};
use crate::model::ContentHash;
use crate::model::limits::PACK_FILE_BYTES;
use crate::net::Traffic;
use crate::proto::message::{ChangeId, Down};
use crate::proto::sender::{Ask, DeltaFrame, KnownBasis, Unready, Want};
use crate::server::contents::KnownContents;
use crate::server::holdings::Holdings;
use std::cell::Cell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// What a delta's thread tells.
pub enum DeltaNews {
    Frame(DeltaFrame),
    /// What the delta was made of; before `Finished`.
    Counted(DeltaStats),
    Finished,
    Unready(Unready),
    Ask(Ask),
    /// What of it frames over prefixes settled.
    Settled(Settled),
}

/// What a delta may lean on beside the basis that is named for it, and the link that it goes over.
pub struct Beside {
    pub holdings: Option<Arc<Holdings>>,
    /// For where bytes are dear; none where the receiver takes no frames over prefixes.
    pub shadow: Option<Arc<Shadow>>,
    pub traffic: Arc<Traffic>,
}

enum Order {
    Pull,
    Answer(Box<Down>),
}

/// A delta that is being computed, or was; what still works for it ends when this is dropped.
pub struct Delta {
    orders: Sender<Order>,
    of: Arc<Transfer>,
}

impl Delta {
    /// Starts.
    pub fn start(
        root: Arc<Root>,
        known: Arc<KnownContents>,
        beside: Beside,
        id: ChangeId,
        want: Want,
        (bases, start, hurry): (Vec<KnownBasis>, u64, bool),
        news: UnboundedSender<(ChangeId, DeltaNews)>,
    ) -> Self {
        let Beside { holdings, shadow, traffic } = beside;
        let is_finished = AtomicBool::new(false);
        let of = Arc::new(Transfer { root, known, id, want, shadow, traffic, news, hurry, is_finished });
        let orders = of.begin(move |thread| thread.run(&bases, start, holdings.as_deref()));
        Self { orders, of }
    }

    /// Lets one more frame go.
    pub fn pull(&self) {
        let _ = self.orders.send(Order::Pull);
    }

    /// Hands over an answer to a question.
    pub fn answer(&self, answer: Down) {
        let _ = self.orders.send(Order::Answer(Box::new(answer)));
    }

    /// Asks for what differs from these chaining values, as literals.
    pub fn repair(&mut self, level: u8, values: Vec<[u8; 32]>) {
        self.orders = self.of.begin(move |thread| thread.repair(level, &values));
    }
}

impl Drop for Delta {
    /// Sent to its end: a snapshot of it is not needed any more.
    fn drop(&mut self) {
        let Transfer { known, want, is_finished, .. } = &*self.of;
        if is_finished.load(Ordering::Relaxed)
            && let (Some(snapshots), Some(hash)) = (known.snapshots(), want.leaf.content.whole())
        {
            snapshots.release(&hash);
        }
    }
}

/// What all threads that work for one transfer share.
pub(super) struct Transfer {
    root: Arc<Root>,
    pub(super) known: Arc<KnownContents>,
    id: ChangeId,
    pub(super) want: Want,
    shadow: Option<Arc<Shadow>>,
    traffic: Arc<Traffic>,
    /// A snapshot is to be read, where one can be made.
    hurry: bool,
    news: UnboundedSender<(ChangeId, DeltaNews)>,
    /// All of it was told.
    is_finished: AtomicBool,
}

impl Transfer {
    /// Works in a thread that ends with the work: a receiver makes many files at once, and a thread that only
    /// waited for one of them to be right would keep memory.
    fn begin(
        self: &Arc<Self>,
        work: impl FnOnce(&DeltaThread) -> Result<(), Stop> + Send + 'static,
    ) -> Sender<Order> {
        let (orders, taken) = channel();
        let thread = DeltaThread { of: self.clone(), orders: taken, n_pulled: Cell::new(0) };
        std::thread::spawn(move || match work(&thread) {
            Ok(()) => {
                thread.of.is_finished.store(true, Ordering::Relaxed);
                thread.tell(DeltaNews::Finished);
            }
            Err(Stop::Closed) => {}
            Err(Stop::Unready(unready)) => thread.tell(DeltaNews::Unready(unready)),
        });
        orders
    }
}

/// Why a delta's thread ends.
pub(super) enum Stop {
    /// Nobody wants it any more.
    Closed,
    Unready(Unready),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Unready(unready(error))
    }
}

/// Why a file that cannot be read now is not sent.
pub(super) fn unready(error: io::Error) -> Unready {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Unready::Changed,
        _ => Unready::Unreadable(error.to_string()),
    }
}

/// A thread that works for one transfer.
pub(super) struct DeltaThread {
    pub(super) of: Arc<Transfer>,
    orders: Receiver<Order>,
    /// Pulls that came while an answer was awaited.
    n_pulled: Cell<u32>,
}

/// A file of the source as the engine reads it.
pub(super) struct Source(Arc<File>);

impl ReadAt for Source {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

impl DeltaThread {
    pub(super) fn tell(&self, news: DeltaNews) {
        let _ = self.of.news.send((self.of.id, news));
    }

    fn run(&self, bases: &[KnownBasis], start: u64, holdings: Option<&Holdings>) -> Result<(), Stop> {
        let hash = self.of.want.leaf.content.whole().ok_or(Stop::Closed)?;
        let size = self.of.want.leaf.size;
        let is_whole = |basis: &KnownBasis| basis.hash == Some(hash) && basis.size == size;
        if bases.first().is_some_and(is_whole) {
            return self.emit(start, vec![Op::Same { len: size - start }]);
        }
        let source = self.open_source(hash)?;
        // One that has grown is compared with the offer as far as that goes.
        if source.0.opened().size < size {
            return Err(Stop::Unready(Unready::Changed));
        }
        let groups = self.groups(&source, hash)?;
        let seen = Seen { content: &source, size, groups: groups.as_ref() };
        let held = self.held(bases);
        let leaning = self.lean_on_all(bases, holdings, &seen)?;
        let holes: Vec<Range<u64>> = source
            .0
            .holes()
            .unwrap_or_default()
            .into_iter()
            .map(|(offset, len)| offset..offset + len)
            .collect();
        let target = Target { content: &source, size, hash, groups: groups.as_ref(), holes: &holes };
        let Leaning { bases, copies, hints, added } = &leaning;
        let against = Against { bases, copies, hints, added };
        match self.frames(target, against, start, held) {
            Ok(stats) => {
                tracing::debug!(path = %self.of.want.path, ?stats, "delta");
                self.tell(DeltaNews::Counted(stats));
                Ok(())
            }
            Err(DeltaError::Stopped { .. }) => Err(Stop::Closed),
            Err(DeltaError::Read { source, .. }) => Err(source.into()),
            Err(DeltaError::Changed { .. } | DeltaError::Offer { .. }) => {
                Err(Stop::Unready(Unready::Changed))
            }
        }
    }

    /// All that the target may lean on: the bases that were announced, and what stands elsewhere.
    fn lean_on_all(
        &self,
        bases: &[KnownBasis],
        holdings: Option<&Holdings>,
        seen: &Seen,
    ) -> Result<Leaning, Stop> {
        let named = match bases.first() {
            Some(basis) => {
                // Beyond what came of a content, nothing of it may be named.
                let is_partial = matches!(basis.basis, Basis::Partial { .. });
                let hash = basis.hash.filter(|_| !is_partial);
                Some((hash, self.learn_basis(basis, None, seen)?))
            }
            None => None,
        };
        let mut leaning = self.lean(named, bases.len() as u32, holdings, seen)?;
        for (basis, index) in bases.iter().zip(0..).skip(1) {
            let learned = self.learn_basis(basis, Some(&basis.basis), seen)?;
            leaning.bases.push(sieve::KnownBasis { index, ..learned.basis });
        }
        Ok(leaning)
    }

    /// The first basis that the shadow holds too, and its number.
    fn held(&self, bases: &[KnownBasis]) -> Option<(u32, ShadowBasis)> {
        let shadow = self.of.shadow.as_ref()?;
        bases.iter().zip(0..).find_map(|(basis, index)| {
            // Of what came of a content the rest may not be named.
            let hash = basis.hash.filter(|_| !matches!(basis.basis, Basis::Partial { .. }))?;
            Some((index, shadow.basis(&hash, basis.size)?))
        })
    }

    /// Lets the sieve's frames go, or what is shorter of them over prefixes.
    fn frames(
        &self,
        target: Target,
        against: Against,
        start: u64,
        held: Option<(u32, ShadowBasis)>,
    ) -> Result<DeltaStats, DeltaError> {
        let mut send = |at, ops| match self.emit(at, ops) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let may_lean = self.of.shadow.is_some();
        let copied = against.bases.first().filter(|_| may_lean).map(|basis| (basis.index, basis.size));
        let read_basis;
        let (basis, known) = match (held, copied) {
            (Some((index, held)), _) => {
                let basis = (index, held.size());
                let held = Mutex::new(held);
                read_basis = move |range| held.lock().unwrap_or_else(PoisonError::into_inner).read(range);
                (basis, Known::Held(&read_basis))
            }
            (None, Some(basis)) => (basis, Known::Copied(Copied::new(basis.0))),
            (None, None) => return sieve(target, against, start, &mut send),
        };
        let is_slow = || self.of.traffic.is_slow();
        let (content, size) = (target.content, target.size);
        let recoding = Recoding { known, basis, target: content, target_size: size, is_worth: &is_slow };
        recoding.run(|recoder| {
            let stats = sieve(target, against, start, &mut |at, ops| recoder.take(at, ops, &mut send))?;
            if recoder.finish(&mut send).is_break() {
                return Err(DeltaError::Stopped { at: size });
            }
            self.tell(DeltaNews::Settled(recoder.settled()));
            Ok(stats)
        })
    }

    /// The file, or a snapshot of it: the one that the scan read, or one made now if a newer version must not
    /// stop this one.
    pub(super) fn open_source(&self, hash: ContentHash) -> Result<Source, Stop> {
        let snapshots = self.of.known.snapshots();
        if let Some(held) = snapshots.and_then(|snapshots| snapshots.find(&hash)) {
            return Ok(Source(held));
        }
        let file = self.of.root.open_file(&self.of.want.path)?;
        let snapshot = snapshots.filter(|_| self.of.hurry).and_then(|snapshots| snapshots.take(&file));
        Ok(Source(Arc::new(snapshot.unwrap_or(file))))
    }

    /// Lets a frame go when it is wanted, literals in as many frames as fit the link.
    pub(super) fn emit(&self, at: u64, ops: Vec<Op>) -> Result<(), Stop> {
        let frame_bytes = self.of.traffic.frame_bytes();
        split_frame(at, ops, frame_bytes, &mut |at, ops| self.emit_one(at, ops))
    }

    /// Waits until a frame is wanted, and lets it go.
    fn emit_one(&self, at: u64, ops: Vec<Op>) -> Result<(), Stop> {
        while self.n_pulled.get() == 0 {
            match self.orders.recv() {
                Ok(Order::Pull) => self.n_pulled.set(1),
                Ok(Order::Answer(_)) => {}
                Err(_) => return Err(Stop::Closed),
            }
        }
        self.n_pulled.set(self.n_pulled.get() - 1);
        self.tell(DeltaNews::Frame(DeltaFrame { at, ops }));
        Ok(())
    }

    /// Group tree of the target, from the scan or read again; `None` up to one group.
    pub(super) fn groups(&self, source: &Source, hash: ContentHash) -> Result<Option<GroupTree>, Stop> {
        let size = self.of.want.leaf.size;
        if size <= PACK_FILE_BYTES {
            return Ok(None);
        }
        let kept = self.of.known.groups(&hash);
        if kept.is_some() {
            return Ok(kept);
        }
        let mut indexer = Indexer::new(size);
        index_range(&mut indexer, source, 0..size, &mut Vec::new(), &|_| false)?;
        let index = indexer.finish();
        if index.hash != hash {
            return Err(Stop::Unready(Unready::Changed));
        }
        self.of.known.keep(&index);
        Ok(index.groups)
    }

    /// The next answer; pulls that come meanwhile are remembered.
    pub(super) fn next_answer(&self) -> Result<Down, Stop> {
        loop {
            match self.orders.recv() {
                Ok(Order::Answer(down)) => return Ok(*down),
                Ok(Order::Pull) => self.n_pulled.set(self.n_pulled.get() + 1),
                Err(_) => return Err(Stop::Closed),
            }
        }
    }
}
