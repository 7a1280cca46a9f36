#![forbid(unsafe_code)]

pub mod delta;
pub mod disk;
pub mod model;
pub mod plan;
pub mod proto;
pub mod store;
pub mod watch;
