//! Floor 2: the protocol, without a socket, a file or a clock.
//!
//! [`sender::Sender`] and [`receiver::Receiver`] are machines: messages, answers of the floor
//! above and `now` go in, actions come out. `docs/protocol.md` is the normative description.

pub mod frame;
pub mod message;
mod partial;
pub mod receiver;
pub mod sender;

#[cfg(test)]
mod pair_tests;
