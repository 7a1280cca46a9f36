//! A list that never holds more than its type says: the bound of a message's field.

use serde::{Deserialize, Deserializer, Serialize};
use std::ops::Deref;

/// At most `MAX` values of `T`. Longer lists are refused while decoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// The bound.
    pub const MAX: usize = MAX;

    /// Takes a list that our own code made.
    ///
    /// # Panics
    /// When it is longer than `MAX`: the caller cut it wrongly.
    pub fn new(items: Vec<T>) -> Self {
        assert!(items.len() <= MAX, "{} items in a list of at most {MAX}", items.len());
        Self(items)
    }

    /// The items, without the bound.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::<T>::deserialize(deserializer)?;
        if items.len() > MAX {
            return Err(serde::de::Error::custom(format_args!(
                "{} items where at most {MAX} are allowed",
                items.len()
            )));
        }
        Ok(Self(items))
    }
}
