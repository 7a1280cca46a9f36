#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod delta;
pub mod model;
pub mod server;
