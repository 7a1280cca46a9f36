//! Floor 1: deltas between contents. Pure: bytes and readers come in, ops go out.

pub mod ops;
