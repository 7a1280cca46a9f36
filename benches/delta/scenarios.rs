//! Made pairs of basis and target, what is known of a basis, and a delta of one against the other: for both programs
//! that measure the engine.

use std::ops::ControlFlow;

use fast_rsync::{Signature, SignatureOptions};
use strait::delta::chunks::ChunkMap;
use strait::delta::find::{Finder, Match};
use strait::delta::groups::GroupTree;
use strait::delta::index::{ContentIndex, Earlier, Indexer};
use strait::delta::ops::Op;
use strait::delta::sieve::{Against, DeltaStats, KnownBasis, KnownCopy, Target, sieve};
use strait::model::ContentHash;

pub const MIB: usize = 1 << 20;
/// What is indexed at once, on all cores: as long as the stages of `delta::lanes`.
const PIECE_BYTES: usize = 64 * MIB;

pub fn noise(size: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..size / 8).flat_map(|_| next().to_le_bytes()).collect()
}

pub fn indexed(bytes: &[u8], mut indexer: Indexer) -> ContentIndex {
    bytes.chunks(PIECE_BYTES).for_each(|piece| indexer.update(piece));
    indexer.finish()
}

/// Plain `fast_rsync` in the block size that rsync would take, about the square root of the file's.
pub fn plain_signature(basis: &[u8]) -> Signature {
    Signature::calculate(basis, SignatureOptions { block_size: 2_039, crypto_hash_size: 8 })
}

/// The targets, by name.
pub fn scenarios(basis: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let edit = |n_edits: usize, edit_bytes: usize| {
        let mut target = basis.to_vec();
        for (edit, new) in noise(n_edits * 8, 77).chunks_exact(8).enumerate() {
            let place =
                usize::from_le_bytes(new.try_into().expect("eight bytes")) % (basis.len() - edit_bytes);
            let place = place - place % edit_bytes;
            target[place..place + edit_bytes]
                .copy_from_slice(&noise(edit_bytes.max(8), edit as u64 + 1)[..edit_bytes]);
        }
        target
    };
    let inserts = |n: usize| {
        basis.chunks(basis.len() / n).flat_map(|piece| [piece, b"inserted"].concat()).collect::<Vec<u8>>()
    };
    let permuted = basis.rchunks(3 * MIB + 4_097).flat_map(|piece| piece.iter().copied()).collect();
    vec![
        ("identical", basis.to_vec()),
        ("0.1 % of pages", edit(basis.len() / 4096 / 1000, 4096)),
        ("1000 bytes", edit(1000, 1)),
        ("head insert", [&[7; 100], basis].concat()),
        ("shifted", basis[12_345..].to_vec()),
        ("permuted", permuted),
        ("100 inserts", inserts(100)),
        ("1000 inserts", inserts(1_000)),
        ("append", [basis, &noise(100_000, 5)].concat()),
        ("unrelated", noise(basis.len(), 99)),
        ("zeros", vec![0; basis.len()]),
    ]
}

/// Which sieves are let at a target.
#[derive(Clone, Copy, PartialEq)]
pub enum Sieves {
    All,
    Groups,
    Chunks,
    Blocks,
}

/// What is known of the basis, with its chunk map.
pub struct Known {
    pub basis: KnownBasis,
    pub hash: ContentHash,
    pub chunks: ChunkMap,
    groups: GroupTree,
}

impl Known {
    /// All that is kept of a basis of more than one group.
    pub fn of(basis: &[u8]) -> Self {
        let index = indexed(basis, Indexer::new(basis.len() as u64));
        let groups = index.groups.expect("more than one group");
        let basis = KnownBasis {
            index: 0,
            size: index.size,
            groups: Some(groups.tags(0)),
            signatures: index.signature.into_iter().collect(),
        };
        Self { basis, hash: index.hash, chunks: index.chunks.expect("more than one group"), groups }
    }

    /// The same as the earlier version of a file that is indexed again.
    pub fn earlier(&self) -> Earlier {
        Earlier::new(self.groups.clone(), self.basis.signatures.first().cloned(), Some(self.chunks.clone()))
    }
}

/// Parts of a target that stand in the basis, as its chunks tell.
#[derive(Default)]
pub struct Copies {
    /// Those that a client names as copies.
    long: Vec<KnownCopy>,
    /// Shorter ones, which the blocks lean on.
    short: Vec<KnownCopy>,
}

/// Sends a target, whose chunks stand at `copies`, against the basis.
pub fn delta_of(
    target: &Vec<u8>,
    index: &ContentIndex,
    known: &Known,
    copies: &Copies,
    sieves: Sieves,
    mut take: impl FnMut(u64, Vec<Op>),
) -> DeltaStats {
    let basis = &known.basis;
    let parts = || KnownBasis {
        groups: basis.groups.clone().filter(|_| sieves == Sieves::Groups),
        signatures: if sieves == Sieves::Blocks { basis.signatures.clone() } else { Vec::new() },
        ..*basis
    };
    let alone = (sieves != Sieves::All).then(parts);
    let bases = std::slice::from_ref(alone.as_ref().unwrap_or(basis));
    let (copies, hints): (&[_], &[_]) = match sieves {
        Sieves::All => (&copies.long, &copies.short),
        Sieves::Chunks => (&copies.long, &[]),
        Sieves::Groups | Sieves::Blocks => (&[], &[]),
    };
    let target = Target {
        content: target,
        size: index.size,
        hash: index.hash,
        groups: index.groups.as_ref(),
        holes: &[],
    };
    let mut emit = |at, ops| {
        take(at, ops);
        ControlFlow::Continue(())
    };
    let against = Against { bases, copies, hints, ..Against::default() };
    sieve(target, against, 0, &mut emit).expect("a target in memory does not change")
}

/// The parts of a target that stand in the basis, divided as a client does.
pub fn copies_of(chunks: &ChunkMap, known: &Known) -> Copies {
    let mut finder = Finder::new(chunks, |_, _| true);
    finder.look_in(known.hash, &known.chunks);
    let copy = |found: Match| KnownCopy { at: found.at, len: found.len, basis: 0, offset: found.offset };
    let (long, short) = finder.matches().into_iter().map(copy).partition(|copy| copy.len as usize >= MIB / 2);
    Copies { long, short }
}
