//! The stretches of a target that are read: in windows, each compared with the offer before anybody sees it.
//!
//! Once there is more of them than a thread costs, and a core to spare, they are read and compared on that core, ahead
//! of the block sieve. The windows are the same either way.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use super::cores::{SpareCore, spare_core};
use super::groups::{GroupTree, group_value, node_bytes};
use super::outline::{Class, GROUP, Outline};
use super::sieve::{DeltaError, ReadAt};
use crate::model::ContentHash;
use crate::model::limits::{KIB, MIB, TREE_LEVEL, WINDOW_BYTES};

/// Bytes of a window at most, beside those around it that help to recognise blocks.
const READ_BYTES: u64 = 2 * MIB as u64;
const _: () =
    assert!(READ_BYTES as usize <= WINDOW_BYTES && READ_BYTES.is_multiple_of(node_bytes(TREE_LEVEL)));
/// Short windows are handed over together, until they are so many bytes.
const BATCH_BYTES: usize = MIB / 2;
/// A batch takes room in steps of so many bytes: many small files may be on their way at once.
const ROOM_STEP_BYTES: usize = 64 * KIB;
/// So much is read before it is worth a thread.
const ALONE_BYTES: u64 = MIB as u64;

/// Consecutive bytes of the target, which are what was offered.
pub(super) struct Window<'w> {
    /// Offset in the target.
    pub(super) at: u64,
    pub(super) bytes: &'w [u8],
    /// How many of them were compared with the offer for this window.
    pub(super) n_verified: u64,
    /// Whether its stretch ends with it.
    pub(super) is_last: bool,
}

/// The windows of all stretches that are read, in order.
pub(super) struct Reads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    reading: Reading<'env>,
    n_read: u64,
    batch: Batch,
    /// The window that was given last, in the batch.
    last: Range<usize>,
}

/// Who reads.
enum Reading<'env> {
    /// This core.
    Here(Box<Reader<'env>>),
    /// Another core: what it read, and batches for it to fill again.
    Beside(Receiver<Result<Batch, DeltaError>>, Sender<Batch>),
}

impl<'scope, 'env> Reads<'scope, 'env> {
    /// Of what an outline tells to read from a byte of the target on, with `margin` bytes around each stretch.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        outline: &'env Outline<'env>,
        from: u64,
        margin: u64,
    ) -> Self {
        let ranges =
            outline.stretches(from).filter(|(class, _)| *class == Class::Read).map(|(_, range)| range);
        let reader = Reader { outline, ranges: Box::new(ranges), margin, open: None };
        let reading = Reading::Here(Box::new(reader));
        Self { scope, reading, n_read: 0, batch: Batch::default(), last: 0..0 }
    }

    /// The next window, in front of it the last `n_rest` bytes of the one before.
    ///
    /// # Errors
    /// The target can not be read there, or is not what was offered.
    pub(super) fn next(&mut self, n_rest: usize) -> Result<Window<'_>, DeltaError> {
        if self.batch.spans.is_empty() {
            let rest = self.batch.buffer[self.last.end - n_rest..self.last.end].to_vec();
            self.next_batch()?;
            self.batch.put_first(&rest);
        }
        let Span { at, range, n_verified, is_last } =
            self.batch.spans.pop_front().expect("the sieve follows the same outline");
        self.last = range.clone();
        self.n_read += n_verified;
        let range = range.start - n_rest..range.end;
        Ok(Window { at: at - n_rest as u64, bytes: &self.batch.buffer[range], n_verified, is_last })
    }

    /// Goes on to the next windows.
    fn next_batch(&mut self) -> Result<(), DeltaError> {
        if self.n_read >= ALONE_BYTES
            && let Reading::Here(_) = self.reading
            && let Some(core) = spare_core()
        {
            self.go_beside(core);
        }
        match &mut self.reading {
            Reading::Here(reader) => reader.fill(&mut self.batch),
            Reading::Beside(filled, spare) => {
                let next = filled.recv().expect("the reader ends behind all windows")?;
                // Nobody takes it when all is read.
                let _ = spare.send(std::mem::replace(&mut self.batch, next));
                Ok(())
            }
        }
    }

    /// Lets another core read from here on.
    fn go_beside(&mut self, core: SpareCore) {
        let ((give, filled), (spare, spent)) = (sync_channel(1), channel());
        let Reading::Here(reader) = std::mem::replace(&mut self.reading, Reading::Beside(filled, spare))
        else {
            return;
        };
        self.scope.spawn(move || {
            read_all(*reader, &give, &spent);
            drop(core);
        });
    }
}

/// Reads until all is read, a read fails, or nobody takes it any more.
fn read_all(mut reader: Reader, give: &SyncSender<Result<Batch, DeltaError>>, spent: &Receiver<Batch>) {
    loop {
        let mut batch = spent.try_recv().unwrap_or_default();
        let filled = reader.fill(&mut batch);
        let is_end = filled.is_err() || batch.spans.is_empty();
        if give.send(filled.map(|()| batch)).is_err() || is_end {
            return;
        }
    }
}

/// Some windows, one behind the other in one buffer.
#[derive(Default)]
struct Batch {
    /// Longer than what it holds: growing or shrinking it would write zeros each time.
    buffer: Vec<u8>,
    n_filled: usize,
    spans: VecDeque<Span>,
}

/// A window in its batch.
struct Span {
    at: u64,
    range: Range<usize>,
    n_verified: u64,
    is_last: bool,
}

impl Batch {
    /// Room for `len` bytes more.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.n_filled + len;
        if self.buffer.len() < end {
            self.buffer.resize(end.next_multiple_of(ROOM_STEP_BYTES), 0);
        }
        &mut self.buffer[self.n_filled..end]
    }

    /// Puts bytes in front of the first window.
    fn put_first(&mut self, bytes: &[u8]) {
        let start = self.spans.front().map_or(0, |span| span.range.start);
        debug_assert!(start >= bytes.len(), "{start} bytes of room for {}", bytes.len());
        self.buffer[start - bytes.len()..start].copy_from_slice(bytes);
    }
}

/// Reads stretches, window by window.
struct Reader<'a> {
    outline: &'a Outline<'a>,
    ranges: Box<dyn Iterator<Item = Range<u64>> + Send + 'a>,
    margin: u64,
    /// What is left of the stretch that is being read.
    open: Option<Open>,
}

/// Whole groups that are to be read and compared, also where only a part of one is sent.
struct Open {
    next: u64,
    end: u64,
    is_first: bool,
}

impl Reader<'_> {
    /// Fills a batch anew; without a window when all is read.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), DeltaError> {
        // The rest of a window is less than a group and a block.
        let room = self.margin as usize + GROUP as usize;
        batch.n_filled = 0;
        batch.room(room);
        batch.n_filled = room;
        batch.spans.clear();
        while batch.n_filled < room + BATCH_BYTES {
            let Some(open) = self.open.take().or_else(|| self.next_stretch()) else { break };
            self.read(open, batch)?;
        }
        Ok(())
    }

    fn next_stretch(&mut self) -> Option<Open> {
        let range = self.ranges.next()?;
        let node = self.outline.target.groups.map_or(GROUP, |tree| node_bytes(tree.finest()));
        let end = range.end.next_multiple_of(node).min(self.outline.target.size);
        Some(Open { next: range.start / node * node, end, is_first: true })
    }

    /// Reads and compares one window of a stretch.
    fn read(&mut self, open: Open, batch: &mut Batch) -> Result<(), DeltaError> {
        let target = &self.outline.target;
        let end = (open.next + READ_BYTES).min(open.end);
        let is_last = end == open.end;
        let lead = if open.is_first { self.margin.min(open.next) } else { 0 };
        let trail = if is_last { self.margin.min(target.size - end) } else { 0 };
        let (at, n_verified) = (open.next - lead, end - open.next);
        let len = (lead + n_verified + trail) as usize;
        let room = batch.room(len);
        read_exact(target.content, room, at)?;
        let groups = &room[lead as usize..][..n_verified as usize];
        verify_groups(target.groups, target.hash, groups, open.next)
            .map_err(|at| DeltaError::Changed { at })?;
        let range = batch.n_filled..batch.n_filled + len;
        batch.n_filled = range.end;
        batch.spans.push_back(Span { at, range, n_verified, is_last });
        if !is_last {
            self.open = Some(Open { next: end, is_first: false, ..open });
        }
        Ok(())
    }
}

/// Fills a buffer from an offset of the target on.
///
/// # Errors
/// The target can not be read, or ends before, and so has changed.
fn read_exact(content: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> Result<(), DeltaError> {
    let mut n_held = 0;
    while n_held < buffer.len() {
        let at = offset + n_held as u64;
        match content.read_at(&mut buffer[n_held..], at) {
            Ok(0) => return Err(DeltaError::Changed { at }),
            Ok(n_read) => n_held += n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(DeltaError::Read { at, source }),
        }
    }
    Ok(())
}

/// Compares whole groups with the offer.
///
/// # Errors
/// The offset of the first that differs.
fn verify_groups(tree: Option<&GroupTree>, hash: ContentHash, bytes: &[u8], at: u64) -> Result<(), u64> {
    let Some(tree) = tree else {
        return if ContentHash::of(bytes) == hash { Ok(()) } else { Err(at) };
    };
    let node = node_bytes(tree.finest());
    for (group, start) in bytes.chunks(node as usize).zip((at..).step_by(node as usize)) {
        if group_value(group, start) != tree.values()[(start / node) as usize] {
            return Err(start);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sieve::{Against, Target};

    const SIZE: u64 = 9 * MIB as u64 + 777;

    fn content() -> Vec<u8> {
        (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 17) as u8).collect()
    }

    /// Offset and length of a window, how much of it was compared, and whether it is the last.
    type Seen = (u64, usize, u64, bool);

    /// Reads all windows of a content that was offered as `offered`, each with a rest of the one before; and says whether
    /// another core read.
    fn windows(content: &Vec<u8>, offered: &[u8]) -> (Result<Vec<Seen>, DeltaError>, bool) {
        let groups = GroupTree::compute(offered);
        let hash = ContentHash::of(offered);
        let target = Target { content, size: SIZE, hash, groups: groups.as_ref(), holes: &[] };
        let outline = Outline::new(target, &Against::default());
        std::thread::scope(|scope| {
            let mut reads = Reads::new(scope, &outline, 5, 500);
            let (mut seen, mut n_rest) = (Vec::new(), 0);
            let result = loop {
                let window = match reads.next(n_rest) {
                    Ok(window) => window,
                    Err(error) => break Err(error),
                };
                let at = window.at as usize;
                assert!(window.bytes == &content[at..at + window.bytes.len()]);
                seen.push((window.at, window.bytes.len(), window.n_verified, window.is_last));
                n_rest = 1_234;
                if window.is_last {
                    break Ok(seen);
                }
            };
            (result, matches!(reads.reading, Reading::Beside(..)))
        })
    }

    #[test]
    fn windows_are_the_same_whoever_reads() {
        let content = content();
        // Other tests may hold some of them; what is left is held here.
        let held: Vec<SpareCore> = std::iter::from_fn(spare_core).collect();
        let (alone, is_beside) = windows(&content, &content);
        assert!(!is_beside);
        drop(held);
        let alone = alone.expect("nothing changed");
        assert_eq!(alone.iter().map(|(_, _, n_verified, _)| n_verified).sum::<u64>(), SIZE);
        // Other tests may keep the cores at work for a while.
        let mut is_beside = false;
        for _ in 0..200 {
            let seen = windows(&content, &content);
            assert_eq!(seen.0.expect("nothing changed"), alone);
            is_beside = seen.1;
            if is_beside {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let has_more_cores = std::thread::available_parallelism().is_ok_and(|n_cores| n_cores.get() > 1);
        assert_eq!(is_beside, has_more_cores);
    }

    #[test]
    fn a_target_that_changed_is_noticed_whoever_reads() {
        let content = content();
        let mut offered = content.clone();
        offered[7 * MIB] ^= 1;
        for holds in [true, false] {
            let held: Vec<SpareCore> = std::iter::from_fn(spare_core).take_while(|_| holds).collect();
            let (result, _) = windows(&content, &offered);
            assert!(matches!(result, Err(DeltaError::Changed { at }) if at == 7 * MIB as u64), "{result:?}");
            drop(held);
        }
    }
}
