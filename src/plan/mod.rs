//! Floor 1: what is to be done, decided from trees alone. Pure.

pub mod change;
pub mod changes;
pub mod moves;

#[cfg(test)]
mod changes_tests;
