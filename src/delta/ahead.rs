//! Pieces of a content, read on another core ahead of who wants them, and hashed there while they are in its cache.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Scope;

use blake3::hazmat::ChainingValue;

use super::cores::SpareCore;
use super::groups::group_value;
use super::sieve::ReadAt;

/// Consecutive bytes: fewer than wanted at the end of the content alone.
pub(super) struct Piece {
    buffer: Vec<u8>,
    n_read: usize,
    /// Of their groups.
    pub(super) values: Vec<ChainingValue>,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.n_read]
    }
}

/// A core that reads ahead.
pub(super) struct Ahead {
    pieces: Receiver<io::Result<Piece>>,
    /// Buffers for it to fill again.
    spent: Sender<Vec<u8>>,
}

impl Ahead {
    /// Begins to read ranges that start at borders of groups; at most one piece waits beside the one that is being read.
    ///
    /// `groups`: their bytes, and what is added, wrapping, to an offset of the content for that of the group.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        content: &'scope dyn ReadAt,
        ranges: impl Iterator<Item = Range<u64>> + Send + 'scope,
        groups: (u64, u64),
        core: SpareCore,
    ) -> Self {
        let ((give, pieces), (spent, spare)) = (sync_channel(1), channel());
        scope.spawn(move || {
            for range in ranges {
                let buffer = spare.try_recv().unwrap_or_default();
                // Nobody takes it when no more is wanted.
                if give.send(read(content, range, groups, buffer)).is_err() {
                    break;
                }
            }
            drop(core);
        });
        Self { pieces, spent }
    }

    /// The next piece.
    ///
    /// # Errors
    /// The content can not be read.
    ///
    /// # Panics
    /// Behind the last one.
    pub(super) fn next(&self) -> io::Result<Piece> {
        self.pieces.recv().expect("pieces are asked for as they were told")
    }

    /// Takes a piece that is done with.
    pub(super) fn give_back(&self, piece: Piece) {
        // Nobody takes it when that was the last one.
        let _ = self.spent.send(piece.buffer);
    }
}

/// Reads a range and hashes its groups.
fn read(
    content: &dyn ReadAt,
    range: Range<u64>,
    (group_bytes, shift): (u64, u64),
    mut buffer: Vec<u8>,
) -> io::Result<Piece> {
    let n_read = fill(content, &mut buffer, range.start, (range.end - range.start) as usize)?;
    let groups = buffer[..n_read].chunks(group_bytes as usize).zip(range.step_by(group_bytes as usize));
    let values = groups.map(|(bytes, at)| group_value(bytes, at.wrapping_add(shift))).collect();
    Ok(Piece { buffer, n_read, values })
}

/// Reads so many bytes at an offset; returns how many there are.
pub(super) fn fill(
    content: &dyn ReadAt,
    buffer: &mut Vec<u8>,
    offset: u64,
    wanted: usize,
) -> io::Result<usize> {
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let mut n_read = 0;
    while n_read < wanted {
        match content.read_at(&mut buffer[n_read..wanted], offset + n_read as u64) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n_read)
}
