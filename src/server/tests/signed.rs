//! The block signature that a server keeps of each content, and where it saves reading.

use super::*;
use crate::delta::blocks::entry_bytes;
use crate::disk::{Hashing, Options, Progress, Special, Verdict, scan};
use crate::model::{Leaf, Meta, Node, Tree};
use crate::proto::message::Down;
use crate::proto::receiver::Question;
use crate::server::asks;
use crate::store::{Acknowledged, Signature};

const MIB: usize = 1 << 20;
const BLOCK: u64 = 509;

impl Dest {
    /// Reads what is not known.
    fn scan(&self) {
        let contents = self.shore.known.for_scan(false);
        let options = Options {
            filter: &|_, _| Verdict::Take,
            before_list: None,
            hashing: Hashing::Now,
            special: Special::Show,
            n_threads: 1,
            progress: &Progress::default(),
            stop: &Default::default(),
        };
        scan(self.shore.destination.root(), &contents, &options).unwrap();
    }
}

/// Entries of the parts of an answer, in order.
fn asked(dest: &mut Dest, basis: BasisRef, range: (u64, u64), block_bytes: u64, strong_bytes: u8) -> Vec<u8> {
    let block_bytes = block_bytes as u32;
    let question = Question::Signature { request: 1, basis, ranges: vec![range], block_bytes, strong_bytes };
    let mut all = Vec::new();
    asks::answer(&dest.shore, &mut dest.stage, &mut None, question, &mut |down| {
        let Down::Signature { found, entries, .. } = down else { panic!("another answer") };
        assert!(found.is_some());
        all.extend(entries);
    });
    all
}

#[test]
fn every_content_that_is_staged_is_signed_also_over_an_earlier_one_and_after_a_repair() {
    let mut dest = Dest::plain();
    let old = noise(1, 2 * MIB + 777);
    let hash = dest.put_new("f", &old);
    let mut new = old.clone();
    new[MIB..MIB + 100].fill(1);
    let ops = [
        Op::Same { len: MIB as u64 },
        Op::Literal(vec![1; 100]),
        Op::Same { len: (old.len() - MIB - 100) as u64 },
    ];
    let basis = dest.basis("f", hash);
    dest.put("f", &[basis], &new, &ops);
    dest.put("zeros", &[], &vec![0; MIB], &[Op::Zeros { len: MIB as u64 }]);
    dest.put("small", &[], &old[..65_536], &[Op::Literal(old[..65_536].to_vec())]);
    // A repair: what comes out of order is indexed again from the stage.
    let repaired = noise(2, 200_000);
    let mut wrong = repaired.clone();
    wrong[150_000] ^= 1;
    assert!(matches!(dest.stage(&[], &repaired, &[Op::Literal(wrong)]), Ok(Sealed::Mismatch { .. })));
    let id = dest.n_changes;
    dest.stage.write(id, 131_072, &[Op::Literal(repaired[131_072..].to_vec())]).unwrap();
    assert!(matches!(dest.stage.seal(&dest.shore, id, ContentHash::of(&repaired)), Ok(Sealed::Right)));
    dest.assert_signed(&repaired);
}

#[test]
fn what_is_adopted_is_signed_from_the_bytes_that_are_hashed() {
    let dest = Dest::plain();
    let content = noise(3, MIB + 5);
    std::fs::write(dest.at("f"), &content).unwrap();
    dest.scan();
    dest.assert_signed(&content);
}

#[test]
fn questions_in_the_blocks_that_are_kept_are_answered_from_them_and_all_others_from_the_file() {
    let mut dest = Dest::plain();
    let content = noise(4, MIB + 777);
    let hash = dest.put_new("f", &content);
    // Marked, to be known again.
    let n_blocks = content.len().div_ceil(BLOCK as usize);
    let marked: Vec<u8> =
        (0..n_blocks as u64).flat_map(|block| block.to_be_bytes().into_iter().chain([7; 2])).collect();
    let row = Signature {
        size: content.len() as u64,
        block_bytes: BLOCK as u32,
        strong_bytes: 6,
        entries: marked.clone(),
    };
    dest.shore.known.cache().store_signature(&hash, &row, u64::MAX).unwrap();
    let basis = dest.basis("f", hash);
    let size = content.len() as u64;
    let kept = asked(&mut dest, basis.clone(), (BLOCK * 10, BLOCK * 5), BLOCK, 6);
    assert_eq!(kept, marked[100..150]);
    let to_the_end = asked(&mut dest, basis.clone(), (BLOCK * 2000, size - BLOCK * 2000), BLOCK, 6);
    assert_eq!(to_the_end, marked[20_000..]);
    let shorter = asked(&mut dest, basis.clone(), (BLOCK * 10, BLOCK), BLOCK, 4);
    assert_eq!(shorter, marked[100..108]);
    for (range, block_bytes, strong_bytes) in [
        ((BLOCK * 10 + 1, BLOCK * 5), BLOCK, 6),
        ((BLOCK * 10, 700), BLOCK, 6),
        ((BLOCK * 10, BLOCK * 5), 601, 6),
    ]
    .into_iter()
    .chain([((BLOCK * 10, BLOCK * 5), BLOCK, 8)])
    {
        let bytes = &content[range.0 as usize..][..range.1 as usize];
        let right = RangeSignature::compute(range.0, bytes, block_bytes as u32, strong_bytes);
        let entries = asked(&mut dest, basis.clone(), range, block_bytes, strong_bytes);
        assert_eq!(entries, right.entries(), "{range:?} in blocks of {block_bytes}, {strong_bytes}");
        assert_eq!(entries.len() % entry_bytes(strong_bytes), 0);
    }
}

#[test]
fn a_file_that_was_written_anew_and_renamed_is_indexed_over_what_stood_under_its_name() {
    let mut dest = Dest::plain();
    let mut content = noise(5, 2 * MIB);
    let hash = dest.put_new("f", &content);
    let n_blocks = content.len().div_ceil(BLOCK as usize);
    let (block_bytes, strong_bytes, size) = (BLOCK as u32, 6, content.len() as u64);
    // Marked, to be known again.
    let marked = Signature { size, block_bytes, strong_bytes, entries: vec![7; n_blocks * 10] };
    let cache = dest.shore.known.cache();
    cache.store_signature(&hash, &marked, u64::MAX).unwrap();
    let mut tree = Tree::default();
    tree.insert(&path("f"), Node::Leaf(Leaf::file(Meta::default(), size, hash))).unwrap();
    cache.store_tree(&tree).unwrap();
    let root = tree.root().hash().unwrap();
    cache.set_acknowledged(&[1; 16], &Acknowledged { scope: [2; 16], root, n_entries: 1 }).unwrap();
    content[MIB] ^= 1;
    std::fs::write(dest.at("new"), &content).unwrap();
    std::fs::rename(dest.at("new"), dest.at("f")).unwrap();
    dest.scan();
    let entries = cache.signature(&ContentHash::of(&content)).unwrap().entries;
    let n_carried = entries.chunks(10).filter(|entry| *entry == [7; 10]).count();
    let n_new = 65_536 / BLOCK as usize;
    assert!((n_blocks - n_new - 20..n_blocks - n_new).contains(&n_carried), "{n_carried} of {n_blocks}");
}
