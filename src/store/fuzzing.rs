//! A door for the fuzzer, open only under `cfg(fuzzing)`: every decoder of rows, on any bytes.

use super::{contents, listings, notes, rows, stats};

/// Reads bytes as each kind of row, past the seal; what can be written again is the same again.
///
/// # Panics
/// When a row that was read is written otherwise: a fault of this room.
pub fn read_as_every_row(bytes: &[u8]) {
    rows::read_sealed(bytes);
    contents::read_head(bytes);
    listings::read_entries(bytes);
    notes::read_notes(bytes);
    stats::read_rows(bytes);
}
