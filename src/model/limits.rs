//! Every limit that a peer or a disk can run into, in one place, with its reason.
//!
//! Units stand last in each name. Related limits are asserted against each other at compile time
//! at the end of the file. What only this user's own command line and key files run into stands with
//! its owner (`plan/scope.rs`, `net/private_file.rs`).

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

/// An aligned leaf of the BLAKE3 tree whose chaining value is kept: 32 bytes for it are a 2,000th of the content,
/// and it is long enough to be hashed at full speed.
pub const GROUP_BYTES: usize = 64 * KIB;
/// Coarsest level of a group tree that can be asked for (64 KiB << 14 = 1 GiB): one answer then covers 8 TiB.
pub const GROUP_LEVEL: u8 = 14;
/// Values of one group tree that is kept, 8 MiB of them: of contents beyond 16 GiB those of larger nodes are.
pub const TREE_GROUPS: u64 = 1 << 18;
/// Coarsest level of a tree that is kept, for more than 256 GiB: 2 MiB, which is read and hashed at once.
pub const TREE_LEVEL: u8 = 5;

/// Shortest, usual and longest content-defined chunk. `fastcdc` wants them even. Of shorter ones the rows of the map
/// (12 bytes each) cost more than they find; a longer one loses more with each edit.
pub const CHUNK_BYTES_MIN: usize = 16 * KIB;
pub const CHUNK_BYTES: usize = 64 * KIB;
pub const CHUNK_BYTES_MAX: usize = 256 * KIB;

/// Chunks of all contents that are held in memory to find them by name, some 40 GB of content; of more, a sample.
pub const TABLE_CHUNKS: usize = 1 << 19;

/// Body of a frame: what is held of a message before it can be understood, and the most that its lists can take.
pub const FRAME_BYTES: usize = 256 * KIB;
/// Plain bytes of a segment: room for the largest frame, and all that a peer's squeezed bytes can expand to at once.
pub const SEGMENT_BYTES: usize = 256 * KIB;
/// Wire bytes of a squeezed segment: zstd adds a few bytes to what it cannot shrink.
pub const SQUEEZED_BYTES: usize = SEGMENT_BYTES + SEGMENT_BYTES / 256 + 64;
/// Literal bytes, delta bytes or prefix frame bytes in one op: fills a frame but for what stands beside it.
pub const OP_BYTES: usize = 240 * KIB;
/// Ops in one `Delta` frame: a frame full of the shortest would take many times its bytes in memory.
pub const OPS: usize = 4_096;
/// What the sender aims at for the literals of one `Delta` frame, so that a small change
/// waits for little.
pub const DELTA_AIM_BYTES: usize = 64 * KIB;
/// Basis range and target range of one `Blocks` op: bounds memory and the time of one diff.
pub const WINDOW_BYTES: usize = 4 * MIB;
/// Prefix, and target, of one `Prefix` op: what is read of the basis and made in memory at once, more than which finds
/// little more.
pub const PREFIX_BYTES: usize = 8 * MIB;
pub const PREFIX_TARGET_BYTES: usize = 2 * MIB;
/// Largest window of a stream, as a power of two: 8 MiB of history on each side. A peer that asks for a larger one is
/// refused before room is made.
pub const SQUEEZE_WINDOW_LOG: u32 = 23;
/// Window of a frame over a prefix: covers the largest prefix and target together.
pub const PREFIX_WINDOW_LOG: u32 = 24;
/// Memory of the compressor of one direction, window and buffers in it: what zstd's level 17 takes.
pub const SQUEEZER_BYTES: usize = 32 * MIB;
/// Memory of the compressor of one `Prefix` op: two tables and buffers; and how many work at a time.
pub const PREFIX_SQUEEZER_BYTES: usize = 18 * MIB;
pub const PREFIX_SQUEEZERS: usize = 2;

/// Smallest and largest block of a block signature. A signature in smaller ones would be an eighth of the content and
/// more; 65,521 is the largest prime below 2^16: powers of two weaken the rolling hash of `fast_rsync`.
pub const BLOCK_BYTES_MIN: u32 = 64;
pub const BLOCK_BYTES_MAX: u32 = 65_521;
/// Bytes of the strong hash (MD4) kept of each block: with fewer than four, chance alone costs repairs; MD4 has 16.
pub const STRONG_BYTES_MIN: u8 = 4;
pub const STRONG_BYTES_MAX: u8 = 16;

/// Names with one weak hash that are looked at, whatever weak hashes a peer made up.
pub const LOOKED_AT_ENTRIES: usize = 64;

/// Files up to here travel in packs, and no block signature of them is kept: each is one group, with no tree.
pub const PACK_FILE_BYTES: u64 = 64 * KIB as u64;
/// Blocks that a changed packed file is compared in: coarse ones first, fine ones of what is left.
/// Measured over two versions of the Linux source: names and literals together are least near here.
pub const SMALL_BLOCK_BYTES: usize = KIB;
pub const SMALL_FINE_BYTES: usize = 128;
/// Ranges of one file in one `AskBlocks`: every coarse block of the largest small file apart.
pub const NAMED_RANGES: usize = 64;
/// Runs of one `Runs` body: of the largest small file each has 64 bytes then, and shorter ones are not worth their heads.
pub const RUNS: usize = 1_024;
/// Files, and directories, in one pack: it is staged, and refused, as one, and takes an inode of the disk for each.
pub const PACK_FILES: usize = 1_024;
pub const PACK_DIRS: usize = 256;
/// Directories in one `List`: each is an answer of its own, of a frame or several, which the receiver has to make.
pub const LIST_DIRS: usize = 1_024;
/// Ranges named in one `List`: the longest names of all of them fit a frame.
pub const LIST_RANGES: usize = 256;
/// Basis contents of one `Put`, and of one file with `Use`: the receiver holds a descriptor for each that is in use,
/// and looks all of them through for each copy.
pub const PUT_BASES: usize = 16;
pub const FILE_BASES: usize = 1_024;
/// Group hashes in one `AskGroups` answer: tags of 8 bytes, which fit a frame and a moment of a thin link.
pub const ASK_GROUPS: usize = 8_192;
/// Ranges of one `AskSignature`, and bytes of its answer: what one question makes the receiver keep for the sender.
pub const ASK_RANGES: usize = 1_024;
pub const ASK_ANSWER_BYTES: usize = 4 * MIB;
/// Chunk tags of one `AskHave`: 8 bytes each, as in `AskGroups`.
pub const ASK_HAVE: usize = 8_192;
/// Bytes of files without a chunk map that a receiver cuts in a session, when chunks are asked for: some seconds of
/// reading for a question of a few bytes.
pub const CUT_BYTES: u64 = 2 * GIB;
/// Hashes of one `Mismatch`: 256 MiB in groups, told at a coarser level above it; they fit a frame.
pub const MISMATCH_HASHES: usize = 4_096;
/// A directory with more entries than this is listed by its ranges first: fewer fit a frame and cost little more.
pub const LISTED_WHOLE: usize = 1_024;
/// Names that rotate in one change: each is held in a record on the disk until the last is in place.
pub const ROTATE_NAMES: usize = 64;
/// Any other list of a message: what fills a frame with short paths.
pub const LIST_ITEMS: usize = 4_096;
/// Text of `Bye` and `Refuse`: a sentence or two on the other side's terminal.
pub const TEXT_BYTES: usize = 512;
/// Name of a client, as long as Linux lets a host's name be, and of a root, as one name of a path.
pub const CLIENT_NAME_BYTES: usize = 64;
pub const ROOT_NAME_BYTES: usize = NAME_BYTES;
/// Extra fields of a greeting, for later versions; the greeting as a whole is bounded too.
pub const EXTRAS: usize = 32;
pub const EXTRA_BYTES: usize = KIB;

/// Transfers, and asks, open at once on a connection: a descriptor or two each on either side, of the 1,024 that a
/// process usually has; enough to fill a link with a delay.
pub const OPEN_TRANSFERS: usize = 64;
pub const OPEN_ASKS: usize = 64;
/// Questions that may wait for the disk: more than a sender of this build ever has, transfers that it gave up
/// counted.
pub const UNANSWERED: usize = 16 * OPEN_ASKS;
/// What may wait for a sender that reads more slowly than it asks: every answer to all its open asks, and more.
pub const UNREAD_BYTES: usize = GIB as usize;
/// Messages read and not yet taken by the session, each of a frame at most: 16 MiB, and then the peer waits.
pub const INBOX_MESSAGES: usize = 64;
/// Memory for what a walk of the destination lists, and what is added for each entry that the sender has itself
/// or knows of: some four million entries of which it knows nothing, and any number of those that it has.
pub const WALK_BYTES: usize = 512 * MIB;
pub const WALK_ENTRY_BYTES: usize = 512;
/// Changes sent and not yet acknowledged: both sides hold each of them in memory.
pub const UNACKNOWLEDGED: usize = 65_536;
/// Content bytes that may be sent before `Welcome`, and the least credit ever: a small push need not wait for it.
pub const FIRST_CREDIT_BYTES: u64 = 256 * KIB as u64;
/// Changes that go ahead of `Welcome`, and their content bytes: more would gain little by a round trip, and be sent
/// for nothing where the destination is another than it was.
pub const AHEAD_CHANGES: usize = 256;
pub const AHEAD_BYTES: u64 = 32 * KIB as u64;
/// Content bytes in flight towards a receiver's stage: 100 ms at 80 MB/s, and the most that a slow disk lets pile up.
pub const CREDIT_BYTES: u64 = 8 * MIB as u64;

/// What a peer may send before it is authorised, many times a greeting, and how long it may take: enough for a
/// handshake over a link of 32 kbit/s and a second's delay.
pub const GREETING_BYTES: usize = 4 * KIB;
pub const GREETING_MS: u64 = 10_000;
/// Connections that are not authorised yet, all together, and from one address: past either the oldest gives
/// way, so that a client that greets at once is let in whoever else waits.
pub const GREETINGS: usize = 256;
pub const GREETINGS_OF_ONE: usize = 64;
/// How long a server may take to answer at all, as TCP itself would try for two minutes; and for the handshake, which a
/// client waits for patiently: the link may be thin and the server's key exchange waits behind others.
pub const CONNECT_MS: u64 = 30_000;
pub const HANDSHAKE_MS: u64 = 45_000;

/// How long a ticket is good for: time to walk to the other machine.
pub const TICKET_LIFE_MS: u64 = 15 * 60_000;
/// Wrong tickets that are looked at within the period; more are refused unseen. Of 128 random bits nobody guesses one at
/// ten a minute, and who mistyped one waits no longer than that.
pub const WRONG_TICKETS: u32 = 10;
pub const WRONG_PERIOD_MS: u64 = 60_000;
/// Tickets open at once, each of which is compared with what a stranger sends; the oldest gives way.
pub const OPEN_TICKETS: usize = 64;
/// How often the list of clients is asked whether one that is connected is still in it: so long a client that was
/// removed stays, and a file of a few lines is read so often.
pub const STAY_MS: u64 = 3_000;

/// A `Ping` after this much own silence; the peer is given up after the second, when two of them went unanswered.
pub const PING_MS: u64 = 15_000;
pub const SILENCE_MS: u64 = 45_000;
/// How long a holder of a root may stay silent, asked, before another client takes over: less than it takes to give
/// it up, as somebody waits.
pub const TAKEOVER_MS: u64 = 15_000;

/// A commit group ends at the first of these: a sync for each change costs more than it holds up, and an
/// acknowledgement that is later than a fifth of a second is felt.
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
/// Partials in a greeting, and kept of one connection: those of all transfers that can be open.
pub const PARTIALS: usize = 64;
/// A record of a partial is written after so much more has come, or so much later: that is lost by a kill.
pub const PARTIAL_NOTE_BYTES: u64 = 256 * KIB as u64;
pub const PARTIAL_NOTE_MS: u64 = 1_000;
/// The same for making all of it durable, in the background: that is lost by a power cut.
pub const PARTIAL_SYNC_BYTES: u64 = 64 * MIB as u64;
pub const PARTIAL_SYNC_MS: u64 = 10_000;
/// Partials that nobody came back for go after a week: longer than a machine is usually away, and the disk is not theirs.
pub const PARTIAL_SECS: i64 = 7 * 24 * 3_600;

/// What is kept of contents in a cache (group trees, chunk maps, block signatures), the oldest out first: senders choose
/// how many contents there are.
pub const INDEX_BYTES: u64 = 2 * GIB;
/// Of that, what stays once both sides are in step: a fortieth of the content, where one version takes 2.03 % at most.
/// So much is free.
pub const INDEX_SHARE: u64 = 40;
pub const INDEX_FREE_BYTES: u64 = 2 * MIB as u64;

/// Largest file of which a snapshot is made by copying it: it takes that much of the disk, and is read twice.
pub const SNAPSHOT_BYTES: u64 = GIB / 2;

/// Runs of zeros from here on become holes at the destination: a group, as they are found group by group.
pub const HOLE_BYTES: usize = 64 * KIB;

/// Rounds of repair before a file is sent whole: each reads it again on both sides, and one should do.
pub const REPAIR_ROUNDS: u8 = 3;
/// How often a file that changes while it is read is tried in one pass, which others wait for.
pub const SOURCE_TRIES: u32 = 5;
/// How often files that were not there when a pass began may change before they are read: one that has new
/// names all the time, as /proc has, would keep it for ever.
pub const SOURCE_LATE_TRIES: u32 = 1_000;
/// Refusals in a row that say the destination is not as listed, before a change counts as refused.
pub const MISFIT_TRIES: u32 = 5;
/// Walks in a minute without agreement before the sender backs off: either side changes by itself, or lies.
pub const WALKS_A_MINUTE: usize = 3;

const _: () = {
    assert!(OP_BYTES < FRAME_BYTES);
    assert!(DELTA_AIM_BYTES <= OP_BYTES);
    assert!(FRAME_BYTES <= SEGMENT_BYTES);
    assert!(SEGMENT_BYTES < SQUEEZED_BYTES && SQUEEZED_BYTES < 1 << 24, "segment lengths are 24 bits");
    assert!(SEGMENT_BYTES < 1 << SQUEEZE_WINDOW_LOG && 1 << SQUEEZE_WINDOW_LOG < SQUEEZER_BYTES);
    assert!(
        PREFIX_BYTES + PREFIX_TARGET_BYTES <= 1 << PREFIX_WINDOW_LOG,
        "a match reaches all of the prefix"
    );
    assert!(FRAME_BYTES < 1 << 24, "frame lengths are 24 bits");
    assert!(PATH_BYTES >= NAME_BYTES);
    assert!(PACK_FILE_BYTES as usize <= OP_BYTES);
    assert!(PACK_FILE_BYTES as usize == GROUP_BYTES, "a packed file is one group");
    assert!(SMALL_FINE_BYTES >= BLOCK_BYTES_MIN as usize);
    assert!(SMALL_BLOCK_BYTES.is_multiple_of(SMALL_FINE_BYTES));
    assert!(WINDOW_BYTES.is_multiple_of(GROUP_BYTES));
    assert!(
        TREE_LEVEL < GROUP_LEVEL && ASK_GROUPS as u64 * 2 <= TREE_GROUPS,
        "questions are coarser than trees"
    );
    assert!(MISMATCH_HASHES as u64 * 2 <= TREE_GROUPS, "repairs are coarser than trees");
    assert!(HOLE_BYTES == GROUP_BYTES, "holes are found group by group");
    assert!(PARTIAL_NOTE_BYTES < PARTIAL_BYTES, "a kill costs less than the least partial");
    assert!(ASK_GROUPS * 8 <= OP_BYTES && ASK_HAVE * 8 <= OP_BYTES);
    assert!(ASK_GROUPS as u64 * ((GROUP_BYTES as u64) << GROUP_LEVEL) == 8 << 40, "8 TiB in one answer");
    assert!(NAMED_RANGES * SMALL_BLOCK_BYTES == PACK_FILE_BYTES as usize);
    assert!(LIST_RANGES * (NAME_BYTES + 3) <= FRAME_BYTES);
    assert!(OPEN_TRANSFERS * PUT_BASES <= 1_024, "descriptors that are pinned before anything came");
    assert!(CLIENT_NAME_BYTES + ROOT_NAME_BYTES + EXTRA_BYTES < GREETING_BYTES);
    assert!(MISMATCH_HASHES * 32 <= OP_BYTES);
    assert!(
        ROTATE_NAMES * (PATH_BYTES + 16) > FRAME_BYTES,
        "bounded by the frame too: long paths are counted"
    );
    assert!((BLOCK_BYTES_MAX as usize) < WINDOW_BYTES);
    assert!(FIRST_CREDIT_BYTES <= CREDIT_BYTES);
    assert!(AHEAD_BYTES + PACK_FILE_BYTES <= FIRST_CREDIT_BYTES && AHEAD_CHANGES < UNACKNOWLEDGED);
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
    assert!(GREETING_MS < CONNECT_MS && CONNECT_MS < HANDSHAKE_MS, "who listens has the shortest patience");
    assert!(STAY_MS < GREETING_MS, "a client that was removed is gone before it could be let in again");
    assert!(WRONG_PERIOD_MS < TICKET_LIFE_MS, "a true ticket outlives a closed door");
    assert!(PARTIALS >= OPEN_TRANSFERS, "a broken link loses none");
    assert!(PARTIAL_SYNC_BYTES > PARTIAL_NOTE_BYTES && PARTIAL_SYNC_MS > PARTIAL_NOTE_MS);
    assert!(PREFIX_TARGET_BYTES <= PREFIX_BYTES && PACK_FILE_BYTES as usize <= PREFIX_TARGET_BYTES);
    assert!(CHUNK_BYTES_MIN < CHUNK_BYTES && CHUNK_BYTES < CHUNK_BYTES_MAX);
    assert!(LOW_SPACE_BYTES >= 2 * CREDIT_BYTES);
    assert!(LOW_SPACE_INODES as usize >= 2 * (PACK_FILES + PACK_DIRS));
    assert!(PING_MS * 2 < SILENCE_MS);
    assert!(SPACE_LOOK_MS < SPACE_LOOK_MS_MAX);
    assert!(GREETINGS_OF_ONE < GREETINGS);
    assert!(GREETING_BYTES < FRAME_BYTES);
    // A sender's compressors, with the prefix and target of each frame, and what the peer's stream is expanded from.
    const PREFIX_WORK: usize = PREFIX_SQUEEZER_BYTES + PREFIX_BYTES + PREFIX_TARGET_BYTES;
    assert!(SQUEEZER_BYTES + PREFIX_SQUEEZERS * PREFIX_WORK + 8 * MIB <= 116 * MIB);
};
