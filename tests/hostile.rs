//! Peers that mean harm, against the built program: a sender with a valid key at a real server, and a server
//! with a trusted key before a real client. Whatever they say, nobody panics, nothing is written outside the
//! destination, the session ends with a word, and others are served afterwards.

mod common;

#[path = "hostile/bytes.rs"]
mod bytes;
#[path = "hostile/changes.rs"]
mod changes;
#[path = "hostile/contents.rs"]
mod contents;
#[path = "hostile/crowd.rs"]
mod crowd;
#[path = "hostile/door.rs"]
mod door;
#[path = "hostile/far.rs"]
mod far;
#[path = "hostile/harbour.rs"]
mod harbour;
#[path = "hostile/matching.rs"]
mod matching;
#[path = "hostile/secrets.rs"]
mod secrets;
#[path = "hostile/servers.rs"]
mod servers;
#[path = "hostile/wire.rs"]
mod wire;
