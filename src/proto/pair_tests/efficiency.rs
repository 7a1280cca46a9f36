//! Large trees: what one more file costs does not depend on how many there are.

use super::*;
use std::time::{Duration, Instant};

/// Time and messages of a first upload and of a second, empty one.
fn upload(n_dirs: usize, n_files: usize) -> (Duration, usize) {
    let mut pair = Pair::new();
    pair.credit_bytes = 8 << 20;
    for index in 0..n_files {
        let name = match n_dirs {
            0 => format!("file-{index}"),
            _ => format!("dir-{}/file-{index}", index % n_dirs),
        };
        pair.files.write(&path(&name), &(index as u32).to_le_bytes());
    }
    let start = Instant::now();
    assert_eq!(pair.push(), Ending::Identical);
    let took = start.elapsed();
    (took, pair.ups.len() + pair.downs.len())
}

#[test]
fn messages_of_a_first_upload_grow_with_packs_not_with_files() {
    let (_, flat) = upload(0, 5_000);
    let (_, deep) = upload(250, 5_000);
    assert!(flat < 50, "{flat} messages for 5,000 files in one directory");
    assert!(deep < 250 + 250 + 100, "{deep} messages for 5,000 files in 250 directories");
}

/// Run by hand: `cargo test --release --lib large_uploads -- --ignored --nocapture`.
#[test]
#[ignore = "takes long without optimisation"]
fn large_uploads_stay_linear() {
    for n_dirs in [0, 5_000] {
        for n_files in [25_000, 50_000, 100_000] {
            let (took, n_messages) = upload(n_dirs, n_files);
            println!("{n_files} files in {n_dirs} directories: {took:?}, {n_messages} messages");
        }
    }
}
