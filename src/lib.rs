#![forbid(unsafe_code)]

pub mod delta;
pub mod model;
pub mod net;
