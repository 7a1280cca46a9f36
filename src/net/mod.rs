//! Floor 3: everything between this process and its peer, up to plain frame bytes.
//!
//! From the outside inwards: [`ssh`] or TCP with [`tls`] makes a [`pipe`] (two byte streams);
//! [`preface`] opens it; [`segment`] carries frame bytes over it, compressed by [`squeeze`],
//! held back by [`pace`], counted by [`traffic`]. [`identity`], [`ticket`], [`endpoint`] and
//! [`trust`] say who may talk; [`places`] says where their files are.
//!
//! This room knows no message and no file of either tree. No private key and no secret of a
//! ticket ever reaches a log, an error or a `Debug` text.

mod base64;
pub mod destination;
mod dial;
pub mod endpoint;
pub mod identity;
pub mod link;
pub mod pace;
pub mod pipe;
pub mod places;
pub mod preface;
pub mod pressure;
mod private_file;
pub mod segment;
pub mod squeeze;
pub mod ssh;
pub mod ticket;
pub mod tls;
pub mod traffic;
pub mod trust;
mod unsent;

pub use destination::Destination;
pub use endpoint::Endpoint;
pub use identity::{Identity, PublicKey};
pub use pipe::Pipe;
pub use places::Places;
pub use segment::{SegmentReader, SegmentWriter, Squeeze};
pub use ticket::{Secret, Ticket};
pub use tls::KeyExchange;
pub use traffic::Traffic;
pub use trust::{AuthorisedClients, ClientTrust, Door};
