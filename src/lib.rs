//! strait keeps a directory on a server identical to a directory on a client, over a link that is
//! slow, lossy and comes and goes.
//!
//! # One push, in the order in which the data walks
//!
//! 1. [`cli`] turns words into options and starts one of the two programs.
//! 2. [`client`] opens the source and lets a thread scan it ([`disk::scan`](disk)): names, metadata
//!    and the BLAKE3 of each file, taken from the [`store`] where a stat says that nothing changed.
//!    Beside the hash of a large file the same pass makes its group tree and its block signature
//!    ([`delta::index`]). The result is a [`model::Tree`], hashed from the leaves to the root.
//! 3. Meanwhile [`net`] connects: TCP with TLS, ssh, or a pipe in memory. The two machines of
//!    [`proto`] greet each other over it; the receiver walks its own tree.
//! 4. The [sender](proto::sender) compares the two roots. Where they differ it walks down the
//!    directories that differ, until it knows what the destination holds.
//! 5. [`plan`] makes the changes from the two trees: moves first, contents, removals last.
//! 6. Small files travel together. Of a large file the [sieve](delta::sieve) sends only what the
//!    basis does not have: groups at their place, blocks at any place, literals.
//! 7. [`server`] stages what arrives, [rebuilds](delta::rebuild) it, compares its BLAKE3 with the
//!    offer, and only then installs it by a rename; what was made durable together is acknowledged
//!    together, with the new root of the destination.
//! 8. The sender moves its acknowledged tree along. When its root is the root of the source and the
//!    root that the receiver told, the push is over, and proven.
//!
//! A watch is the same, with [`watch`] saying where to look again.
//!
//! # The floors
//!
//! Imports go downwards only, sideways only within a room; `tests/layering.rs` holds this.
//!
//! | floor | rooms | rule |
//! |---|---|---|
//! | 5 | [`cli`] | words, people, exit codes |
//! | 4 | [`client`], [`server`] | the two programs: tasks and threads |
//! | 3 | [`disk`], [`store`], [`watch`], [`net`] | one room for each thing outside |
//! | 2 | [`proto`] | machines without a socket, a file or a clock |
//! | 1 | [`delta`], [`plan`] | pure |
//! | 0 | [`model`] | values that cannot be wrong |

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod server;

pub mod disk;
pub mod net;
pub mod store;
pub mod watch;

pub mod proto;

pub mod delta;
pub mod plan;

pub mod model;
