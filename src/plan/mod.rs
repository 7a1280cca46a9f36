//! Floor 1: what is to be done, decided from trees alone. Pure.

pub mod change;
pub mod changes;
pub mod moves;
pub mod project;

#[cfg(test)]
mod changes_tests;
