//! Floor 1: plans. Pure: trees, events and `now` come in, rulings and batches go out.

pub mod guard;
pub mod scope;
pub mod settle;
