//! What the targets share: values of the protocol made of a fuzzer's bytes.
//!
//! Raw bytes seldom get past a decoder, so the targets of the machines draw whole messages, over few
//! names and contents: then changes meet each other at the same paths, which is where the mistakes are.

mod down;
mod draw;
mod up;

pub use down::Overheard;
pub use draw::Draw;
