//! Floor 1: what is to be done, decided from trees, events and `now` alone. Pure.

pub mod change;
pub mod changes;
pub mod guard;
pub mod lately;
pub mod moves;
pub mod project;
pub mod scope;
pub mod settle;

#[cfg(test)]
mod changes_tests;
