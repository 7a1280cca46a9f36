//! A file beyond 16 GiB, of which the values of larger nodes are kept than of others: cut, gone on with, and edited.

use super::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

const HUGE: u64 = (17 << 30) + 4_321;
/// Where its noise lies, across the borders of nodes.
const AT: u64 = (17 << 29) + 12_345;

/// What stands in the destination's file at an offset.
fn held(yard: &Yard, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(yard.dest.join("f")).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

#[test]
fn a_huge_file_that_is_cut_goes_on_and_an_edit_of_it_costs_itself() {
    let mut cutter = Cutter::new(Rng::seeded("huge"));
    let bytes = cutter.rng.bytes(SIZE as usize);
    let file = File::create(cutter.yard.src.join("f")).unwrap();
    file.set_len(HUGE).unwrap();
    file.write_all_at(&bytes, AT).unwrap();
    cutter.relay.arm(SIZE / 2, Cut::Hold);
    let client = push(&cutter.yard, &cutter.relay);
    assert!(cutter.relay.was_cut(faults::deadline()), "{}", client.said());
    let before = cutter.relay.up_bytes();
    // The zeros in front of it are hashed first.
    let until = std::time::Instant::now() + faults::deadline();
    while staged_bytes(&cutter.yard) <= AT && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    stands_still(&cutter.server);
    cutter.server.kill();
    let had = staged_bytes(&cutter.yard) - AT;
    assert!(had > SIZE / 2 - IN_FLIGHT, "{had} bytes had arrived");
    let port = free_port();
    cutter.relay.lead_to(port);
    cutter.server = cutter.yard.serve(port);
    cutter.relay.release();
    client.ended().is_in_step("after the cut");
    let after = cutter.relay.up_bytes() - before;
    assert!(after <= SIZE - had + AGAIN + 2 * AROUND, "{after} bytes went up, {had} were there");
    assert!(held(&cutter.yard, AT - 9, bytes.len() + 18) == [&[0; 9], &bytes[..], &[0; 9]].concat());

    let edit = cutter.rng.bytes(4_096);
    let inside = AT + 3_000_000;
    file.write_all_at(&edit, inside).unwrap();
    let before = cutter.relay.up_bytes();
    push(&cutter.yard, &cutter.relay).ended().is_in_step("an edit");
    let after = cutter.relay.up_bytes() - before;
    // A block of such a file is 16 KiB.
    assert!(after < 100 << 10, "{after} bytes for an edit");
    let edited = [&bytes[2_999_000..3_000_000], &edit, &bytes[3_004_096..3_005_000]].concat();
    assert!(held(&cutter.yard, inside - 1_000, edited.len()) == edited);
    let meta = cutter.yard.dest.join("f").metadata().unwrap();
    assert_eq!(meta.len(), HUGE);
    assert!(meta.blocks() * 512 < 2 * SIZE, "its holes are holes");
}
