//! Floor 1: deltas between contents. Pure: bytes and readers come in, ops go out.
//!
//! A content is indexed once ([`index`]): content hash, group tree ([`groups`]) and block signature
//! ([`blocks`]) from the same bytes, long ones on several cores ([`lanes`]). The sender's engine ([`sieve`]) compares coarse to fine: groups at
//! the same offset first (`outline`), then, of what is read (`reads`), blocks at any offset (`align`, with the rolling hash
//! in `weak`), and puts the result into frames of ops (`frames`, `dense`). [`needs`] and [`survey`] say which signatures a sender
//! without any should ask for. Small files, of which nothing is kept, are compared by names of blocks ([`small`]).
//! The receiver's engine ([`rebuild`]) makes the target of the ops.

mod ahead;
mod align;
pub mod blocks;
pub mod chunks;
pub mod copies;
mod cores;
mod dense;
mod earlier;
mod entries;
pub mod find;
mod frames;
pub mod groups;
mod hashed;
pub mod index;
pub mod lanes;
mod layer;
pub mod needs;
pub mod ops;
mod outline;
mod place;
mod reads;
pub mod rebuild;
pub mod sieve;
pub mod small;
pub mod survey;
mod weak;
mod zeros;

#[cfg(test)]
mod tests;
