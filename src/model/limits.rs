//! Every limit that a peer or a disk can run into, in one place, with its reason.
//!
//! Units stand last in each name. Related limits are asserted against each other at compile time
//! at the end of the file.

/// One KiB, MiB and GiB in bytes.
pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Longest relative path; Linux refuses longer ones in one system call.
pub const PATH_BYTES: usize = 4_096;
/// Deepest path; bounds every recursion over a tree.
pub const PATH_DEPTH: usize = 128;
/// Longest name of one entry on every Linux file system.
pub const NAME_BYTES: usize = 255;
/// Longest target of a symlink (PATH_MAX less its NUL).
pub const LINK_TARGET_BYTES: usize = 4_095;
/// Largest file: 256 TiB, more than any file system of today holds in one file.
pub const FILE_BYTES: u64 = 1 << 48;

/// An aligned leaf of the BLAKE3 tree whose chaining value is kept.
pub const GROUP_BYTES: usize = 64 * KIB;
/// Coarsest level of a group tree that can be asked for (64 KiB << 14 = 1 GiB).
pub const GROUP_LEVEL: u8 = 14;

/// Shortest, usual and longest content-defined chunk. `fastcdc` wants them even.
pub const CHUNK_BYTES_MIN: usize = 16 * KIB;
pub const CHUNK_BYTES: usize = 64 * KIB;
pub const CHUNK_BYTES_MAX: usize = 256 * KIB;

/// Chunks of all contents that are held in memory to find them by name; of more, a sample.
pub const TABLE_CHUNKS: usize = 1 << 19;

/// Body of a frame.
pub const FRAME_BYTES: usize = 256 * KIB;
/// Plain bytes of a segment.
pub const SEGMENT_BYTES: usize = 256 * KIB;
/// Literal bytes, delta bytes or prefix frame bytes in one op.
pub const OP_BYTES: usize = 240 * KIB;
/// Ops in one `Delta` frame.
pub const OPS: usize = 4_096;
/// What the sender aims at for the literals of one `Delta` frame, so that a small change
/// waits for little.
pub const DELTA_AIM_BYTES: usize = 64 * KIB;
/// Basis range and target range of one `Blocks` op: bounds memory and the time of one diff.
pub const WINDOW_BYTES: usize = 4 * MIB;
/// Prefix, and target, of one `Prefix` op.
pub const PREFIX_BYTES: usize = 8 * MIB;
pub const PREFIX_TARGET_BYTES: usize = 2 * MIB;
/// Memory of the compressor of one direction, window and buffers in it.
pub const SQUEEZER_BYTES: usize = 64 * MIB;
/// Memory of the compressor of one `Prefix` op; one works at a time.
pub const PREFIX_SQUEEZER_BYTES: usize = 34 * MIB;

/// Smallest and largest block of a block signature. 65,521 is the largest prime below 2^16:
/// powers of two weaken the rolling hash of `fast_rsync`.
pub const BLOCK_BYTES_MIN: u32 = 64;
pub const BLOCK_BYTES_MAX: u32 = 65_521;
/// Bytes of the strong hash (MD4) kept of each block.
pub const STRONG_BYTES_MIN: u8 = 4;
pub const STRONG_BYTES_MAX: u8 = 16;

/// Files up to here travel in packs, and no block signature of them is kept.
pub const PACK_FILE_BYTES: u64 = 64 * KIB as u64;
/// Blocks that a changed packed file is compared in: coarse ones first, fine ones of what is left.
/// Measured over two versions of the Linux source: names and literals together are least near here.
pub const SMALL_BLOCK_BYTES: usize = KIB;
pub const SMALL_FINE_BYTES: usize = 128;
/// Ranges of one file in one `AskBlocks`.
pub const NAMED_RANGES: usize = 64;
/// Runs of one `Runs` body.
pub const RUNS: usize = 1_024;
/// Files, and directories, in one pack.
pub const PACK_FILES: usize = 1_024;
pub const PACK_DIRS: usize = 256;
/// Directories in one `List`.
pub const LIST_DIRS: usize = 1_024;
/// Ranges named in one `List`.
pub const LIST_RANGES: usize = 256;
/// Basis contents of one `Put`, and of one file with `Use`.
pub const PUT_BASES: usize = 16;
pub const FILE_BASES: usize = 1_024;
/// Group hashes in one `AskGroups` answer.
pub const ASK_GROUPS: usize = 8_192;
/// Ranges of one `AskSignature`, and bytes of its answer.
pub const ASK_RANGES: usize = 1_024;
pub const ASK_ANSWER_BYTES: usize = 4 * MIB;
/// Chunk tags of one `AskHave`.
pub const ASK_HAVE: usize = 8_192;
/// Hashes of one `Mismatch`.
pub const MISMATCH_HASHES: usize = 4_096;
/// Names that rotate in one change.
pub const ROTATE_NAMES: usize = 64;
/// Any other list of a message.
pub const LIST_ITEMS: usize = 4_096;
/// Text of `Bye` and `Refuse`.
pub const TEXT_BYTES: usize = 512;
/// Name of a client, and of a root.
pub const CLIENT_NAME_BYTES: usize = 64;
pub const ROOT_NAME_BYTES: usize = 255;
/// Extra fields of a greeting.
pub const EXTRAS: usize = 32;
pub const EXTRA_BYTES: usize = KIB;

/// Transfers, and asks, open at once on a connection.
pub const OPEN_TRANSFERS: usize = 64;
pub const OPEN_ASKS: usize = 64;
/// Questions that may wait for the disk: more than a sender of this build ever has, transfers that it gave up
/// counted.
pub const UNANSWERED: usize = 16 * OPEN_ASKS;
/// What may wait for a sender that reads more slowly than it asks: every answer to all its open asks, and more.
pub const UNREAD_BYTES: usize = GIB as usize;
/// Messages read and not yet taken by the session; each fits a frame.
pub const INBOX_MESSAGES: usize = 64;
/// Memory for what a walk of the destination lists, and what is added for each entry that the sender has itself
/// or knows of: some four million entries of which it knows nothing, and any number of those that it has.
pub const WALK_BYTES: usize = 512 * MIB;
pub const WALK_ENTRY_BYTES: usize = 512;
/// Changes sent and not yet acknowledged.
pub const UNACKNOWLEDGED: usize = 65_536;
/// Content bytes that may be sent before `Welcome`, and the least credit ever.
pub const FIRST_CREDIT_BYTES: u64 = 256 * KIB as u64;
/// Content bytes in flight towards a receiver's stage.
pub const CREDIT_BYTES: u64 = 8 * MIB as u64;

/// What a peer may send before it is authorised, and how long it may take.
pub const GREETING_BYTES: usize = 4 * KIB;
pub const GREETING_MS: u64 = 10_000;
/// Connections that are not authorised yet, all together, and from one address: past either the oldest gives
/// way, so that a client that greets at once is let in whoever else waits.
pub const GREETINGS: usize = 256;
pub const GREETINGS_OF_ONE: usize = 64;

/// A `Ping` after this much own silence; the peer is given up after the second.
pub const PING_MS: u64 = 15_000;
pub const SILENCE_MS: u64 = 45_000;
/// How long a holder of a root may stay silent before another client takes over.
pub const TAKEOVER_MS: u64 = 15_000;

/// A commit group ends at the first of these.
pub const GROUP_CHANGES: usize = 256;
pub const GROUP_MS: u64 = 200;

/// A destination with less than this free gives back what its trash holds: room for what is in
/// flight, and for the state.
pub const LOW_SPACE_BYTES: u64 = 32 * MIB as u64;
/// Two packs and what they need beside.
pub const LOW_SPACE_INODES: u64 = 4_096;

/// How often a receiver looks whether space has returned after its disk was full; each time it told so
/// makes the next look later, up to the second: a disk at its brim must not be tried all the time.
pub const SPACE_LOOK_MS: u64 = 1_000;
pub const SPACE_LOOK_MS_MAX: u64 = 32_000;
/// So much more than at the first look is space that has returned.
pub const SPACE_BACK_BYTES: u64 = MIB as u64;
pub const SPACE_BACK_INODES: u64 = 16;

/// Transfers from here on leave a record of what came, so that they can be resumed after a kill.
pub const PARTIAL_BYTES: u64 = MIB as u64;
/// Partials in a greeting, and kept of one connection.
pub const PARTIALS: usize = 64;
/// A record of a partial is written after so much more has come, or so much later.
pub const PARTIAL_NOTE_BYTES: u64 = 256 * KIB as u64;
pub const PARTIAL_NOTE_MS: u64 = 1_000;
/// The same for making all of it durable, in the background.
pub const PARTIAL_SYNC_BYTES: u64 = 64 * MIB as u64;
pub const PARTIAL_SYNC_MS: u64 = 10_000;
/// Partials that nobody came back for go after a week.
pub const PARTIAL_SECS: i64 = 7 * 24 * 3_600;

/// Largest file of which a snapshot is made by copying it.
pub const SNAPSHOT_BYTES: u64 = GIB / 2;

/// Runs of zeros from here on become holes at the destination.
pub const HOLE_BYTES: usize = 64 * KIB;

/// Rounds of repair before a file is sent whole.
pub const REPAIR_ROUNDS: u8 = 3;
/// How often a file that changes while it is read is tried in one pass.
pub const SOURCE_TRIES: u32 = 5;
/// Refusals in a row that say the destination is not as listed, before a change counts as refused.
pub const MISFIT_TRIES: u32 = 5;
/// Walks in a minute without agreement before the sender backs off.
pub const WALKS_A_MINUTE: usize = 3;

const _: () = {
    assert!(OP_BYTES < FRAME_BYTES);
    assert!(DELTA_AIM_BYTES <= OP_BYTES);
    assert!(FRAME_BYTES <= SEGMENT_BYTES);
    assert!(SEGMENT_BYTES < 1 << 24, "segment lengths are 24 bits");
    assert!(FRAME_BYTES < 1 << 24, "frame lengths are 24 bits");
    assert!(PATH_BYTES >= NAME_BYTES);
    assert!(PACK_FILE_BYTES as usize <= OP_BYTES);
    assert!(PACK_FILE_BYTES as usize == GROUP_BYTES, "a packed file is one group");
    assert!(SMALL_FINE_BYTES >= BLOCK_BYTES_MIN as usize);
    assert!(SMALL_BLOCK_BYTES.is_multiple_of(SMALL_FINE_BYTES));
    assert!(WINDOW_BYTES.is_multiple_of(GROUP_BYTES));
    assert!(HOLE_BYTES == GROUP_BYTES, "holes are found group by group");
    assert!(PARTIAL_NOTE_BYTES < PARTIAL_BYTES, "a kill costs less than the least partial");
    assert!(ASK_GROUPS * 8 <= OP_BYTES);
    assert!(MISMATCH_HASHES * 32 <= OP_BYTES);
    assert!(
        ROTATE_NAMES * (PATH_BYTES + 16) > FRAME_BYTES,
        "bounded by the frame too: long paths are counted"
    );
    assert!((BLOCK_BYTES_MAX as usize) < WINDOW_BYTES);
    assert!(FIRST_CREDIT_BYTES <= CREDIT_BYTES);
    assert!(UNREAD_BYTES >= OPEN_ASKS * ASK_ANSWER_BYTES, "who asks as much as it may is not put out for it");
    assert!(UNANSWERED >= OPEN_ASKS);
    assert!(INBOX_MESSAGES * FRAME_BYTES <= 16 * MIB, "beside the credit, of which half may be in it");
    assert!(
        CREDIT_BYTES as usize >= OPEN_TRANSFERS / 4 * OP_BYTES,
        "transfers that take turns are not starved"
    );
    assert!(REPAIR_ROUNDS > 0, "a content that is wrong in one group is not sent whole");
    assert!(BLOCK_BYTES_MIN > 0 && STRONG_BYTES_MIN > 0 && STRONG_BYTES_MIN <= STRONG_BYTES_MAX);
    assert!(PUT_BASES < FILE_BASES);
    assert!(PATH_DEPTH * 2 <= PATH_BYTES, "the deepest path of the shortest names is one");
    assert!(GREETING_MS < TAKEOVER_MS && TAKEOVER_MS < SILENCE_MS);
    assert!(PARTIAL_SYNC_BYTES > PARTIAL_NOTE_BYTES && PARTIAL_SYNC_MS > PARTIAL_NOTE_MS);
    assert!(PREFIX_TARGET_BYTES <= PREFIX_BYTES && PACK_FILE_BYTES as usize <= PREFIX_TARGET_BYTES);
    assert!(CHUNK_BYTES_MIN < CHUNK_BYTES && CHUNK_BYTES < CHUNK_BYTES_MAX);
    assert!(LOW_SPACE_BYTES >= 2 * CREDIT_BYTES);
    assert!(LOW_SPACE_INODES as usize >= 2 * (PACK_FILES + PACK_DIRS));
    assert!(PING_MS * 2 < SILENCE_MS);
    assert!(SPACE_LOOK_MS < SPACE_LOOK_MS_MAX);
    assert!(GREETINGS_OF_ONE < GREETINGS);
    assert!(GREETING_BYTES < FRAME_BYTES);
    // A sender's compressors, the prefix and target of one frame, and what the peer's stream is expanded from.
    assert!(
        SQUEEZER_BYTES + PREFIX_SQUEEZER_BYTES + PREFIX_BYTES + PREFIX_TARGET_BYTES + 8 * MIB <= 116 * MIB
    );
};
