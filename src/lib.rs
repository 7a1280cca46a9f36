#![forbid(unsafe_code)]

pub mod delta;
pub mod disk;
pub mod model;
