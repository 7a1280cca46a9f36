//! What is counted: of a pass, of a scan, and of what waits.

use serde::Serialize;

/// How far a pass is. All but the rates' base only grow within one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub files_done: u64,
    pub files_total: u64,
    /// Bytes of content that are in step, and of all that changed, as they lie in the files.
    pub content_done: u64,
    pub content_total: u64,
    /// Bytes on the wire of this pass, both directions.
    pub wire_sent: u64,
    pub wire_received: u64,
}

/// How far the destination is behind a source that is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Changes that are not there yet.
    pub changes: u64,
    /// Content of these that was not sent, as it lies in the files: the wire takes less.
    pub content_bytes: u64,
    /// How long the oldest of them has been waiting.
    pub oldest_ms: u64,
}

/// What a scan of the source found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scanned {
    pub files: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Names left out: beginning with a dot, matching a pattern, neither file, directory nor symlink.
    pub hidden: u64,
    pub excluded: u64,
    pub special: u64,
    /// Entries that could not be read; each was `Skipped`.
    pub unreadable: u64,
    /// Directories that no watch covers: they are looked at every few seconds.
    pub polled: u64,
}

/// One pass, when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What the source holds within the scope.
    pub files: u64,
    pub dirs: u64,
    pub links: u64,
    /// What this pass did at the destination: contents new or renewed, renames, removals, metadata alone.
    pub changed: u64,
    pub moved: u64,
    pub deleted: u64,
    pub metadata: u64,
    /// Bytes of the files that changed, as they lie there now.
    pub content_bytes: u64,
    pub wire_sent: u64,
    pub wire_received: u64,
    /// How the files that are not packed were made.
    #[serde(flatten)]
    pub found: Found,
    /// Bytes of content that did not have to travel: `content_bytes` less `wire_sent`, never below 0.
    pub saved: u64,
    /// Content of large files, and number of small ones, that travelled as differences to what the destination holds;
    /// the bytes of these differences; what the shadow takes on the disk.
    pub prefix_target: u64,
    pub prefix_files: u64,
    pub prefix_wire: u64,
    pub shadow_bytes: u64,
    pub hidden: u64,
    pub excluded: u64,
    pub special: u64,
    /// Directories that a watch looks at every few seconds, because the system's limit of watches is reached.
    pub polled: u64,
    /// Entries that are not in step and were named: above 0 means exit 3.
    pub partial: u64,
    /// Set by a dry run, which did nothing: how many changes it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<u64>,
    /// Why deletes wait: set means exit 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    pub elapsed_ms: u64,
    /// The root hash both sides agree on, in hex; empty while they do not.
    pub root: String,
}

/// Bytes of the new versions of large files, by what found them at the destination; what nothing found is
/// literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Groups of 64 KiB that stand in their place.
    pub by_groups: u64,
    /// Chunks, wherever and in whichever content they stand.
    pub by_chunks: u64,
    /// Blocks at any offset.
    pub by_blocks: u64,
    /// Long runs of zeros.
    pub zeros: u64,
    pub literal: u64,
}

/// What a receiver took in one stretch of work, until it was in step again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    pub client: String,
    pub changed: u64,
    pub moved: u64,
    pub deleted: u64,
    pub metadata: u64,
    pub wire_received: u64,
    pub wire_sent: u64,
    pub elapsed_ms: u64,
    pub root: String,
}
