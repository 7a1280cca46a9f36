#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod delta;
pub mod disk;
pub mod model;
pub mod net;
pub mod plan;
pub mod proto;
pub mod server;
pub mod store;
pub mod watch;
