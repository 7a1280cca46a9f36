//! Words for people, bounded.

use crate::model::limits::TEXT_BYTES;
use serde::{Deserialize, Serialize};

/// At most 512 bytes of UTF-8 for people; control characters are escaped when it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Takes a text, cut at 512 bytes.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].to_owned())
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        crate::model::path::write_escaped(self.0.as_bytes(), f)
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > TEXT_BYTES {
            return Err(serde::de::Error::custom("a text is too long"));
        }
        Ok(Self(text))
    }
}
