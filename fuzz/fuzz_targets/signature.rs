//! A signature of a peer or of the store: refused or safe to use. A diff against it ends and keeps to its
//! limit, a sieve with it sends the target or an error, and an honest one makes the window again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use strait::delta::blocks::{RangeSignature, apply};
use strait::delta::sieve::{Against, KnownBasis, Target, sieve};
use strait::model::ContentHash;
use strait_fuzz::Draw;

/// Twice the usual block and some more; a larger window only costs.
const WINDOW_BYTES: usize = 1_300;
const BLOCKS: [u32; 8] = [509, 65, 67, 127, 1_021, 64, 0, 65_521];

fuzz_target!(|bytes: &[u8]| {
    let mut draw = Draw::new(bytes);
    let block_bytes = if draw.seldom(8) { draw.u32() } else { BLOCKS[draw.below(BLOCKS.len())] };
    let strong_bytes = if draw.seldom(8) { draw.byte() } else { [8, 4, 16][draw.below(3)] };
    let offset = if draw.seldom(8) { draw.u64() } else { u64::from(draw.byte()) * 100 };
    let n_entries = draw.below(12);
    let last_bytes = if draw.seldom(4) { 0 } else { draw.below(64) as u64 };
    let entry_bytes = 4 + usize::from(strong_bytes);
    let mut entries = draw.some_bytes(entry_bytes * n_entries);
    if !draw.seldom(8) {
        entries.resize(entry_bytes * n_entries, 0);
    }
    let len = if draw.seldom(8) {
        draw.u64()
    } else {
        u64::from(block_bytes) * (n_entries as u64).saturating_sub(u64::from(last_bytes > 0)) + last_bytes
    };
    let is_honest = draw.byte() & 1 == 1;
    let window = repeated(draw.rest());
    if is_honest {
        return honest(&window, block_bytes, strong_bytes);
    }
    let Ok(signature) = RangeSignature::parse(offset, len, block_bytes, strong_bytes, entries) else {
        return;
    };
    assert_eq!(RangeSignature::from_bytes(&signature.to_bytes()).as_ref(), Ok(&signature));
    let limit = [100_000, 10, 0][usize::from(bytes.first().map_or(0, |byte| byte >> 4)) % 3];
    if let Ok(delta) = signature.diff(&window, limit) {
        assert!(delta.len() <= limit);
    }
    let sub = signature.sub_range(offset.saturating_add(1)..offset.saturating_add(len / 2));
    assert!(sub.len() <= signature.len());
    send(&window, signature);
});

/// Few bytes make a window in which blocks repeat.
fn repeated(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().cycle().take(if bytes.is_empty() { 0 } else { WINDOW_BYTES }).collect()
}

fn honest(window: &[u8], block_bytes: u32, strong_bytes: u8) {
    let half = window.len() / 2;
    if RangeSignature::parse(0, 0, block_bytes, strong_bytes, Vec::new()).is_err() {
        return;
    }
    let basis = &window[half / 3..];
    let signature = RangeSignature::compute(0, basis, block_bytes, strong_bytes);
    let delta = signature.diff(window, 1 << 20).expect("a window's own bytes fit");
    // A strong hash of four bytes can be met by chance, one of 16 cannot.
    let made = apply(basis, &delta, window.len()).expect("our own delta applies");
    assert!(made == window || strong_bytes < 8, "an honest signature made another window");
}

/// The sieve with a signature that lies: it ends, and its ops keep their bounds.
fn send(window: &[u8], signature: RangeSignature) {
    let size = signature.end();
    let basis = KnownBasis { index: 0, size, groups: None, signatures: vec![signature] };
    let content = window.to_vec();
    let target = Target {
        content: &content,
        size: content.len() as u64,
        hash: ContentHash::of(&content),
        groups: None,
        holes: &[],
    };
    let mut next = 0;
    let mut emit = |at: u64, ops: Vec<strait::delta::ops::Op>| {
        assert_eq!(at, next, "frames follow each other");
        for op in ops {
            op.check().expect("the sieve keeps the bounds of ops");
            next += op.target_len();
        }
        ControlFlow::Continue(())
    };
    let against = Against { bases: &[basis], ..Against::default() };
    sieve(target, against, 0, &mut emit).expect("the target can be read and stands still");
    assert_eq!(next, content.len() as u64, "the ops cover the target");
}
