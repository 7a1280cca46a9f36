//! Floor 0: values that cannot be wrong once they exist.
//!
//! Nothing here reads a file, a clock or a socket. What comes from a peer or a disk is checked
//! when one of these values is made, so that no floor above has to check it again.

pub mod entries;
pub mod entry;
pub mod hash;
pub mod limits;
pub mod list;
pub mod path;
pub mod ranges;
pub mod tree;

pub use entry::{Content, Kind, Leaf, Meta, Time};
pub use hash::{ContentHash, Tag};
pub use list::List;
pub use path::{Name, RelPath};
pub use ranges::Range;
pub use tree::{Dir, Node, Tree};
