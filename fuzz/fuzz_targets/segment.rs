//! Bytes of a peer as segments: never more plain bytes than a segment may say, whatever zstd makes of
//! them, and before a client is let in never more than a greeting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use strait::model::limits::{GREETING_BYTES, SEGMENT_BYTES};
use strait::net::Pipe;
use strait::net::pipe::Sending;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let is_stranger = first & 1 == 1;
    let pipe = Pipe::new(Cursor::new(bytes.to_vec()), tokio::io::sink(), "fuzz".into());
    let (mut reader, _writer) = pipe.into_segments(Sending::default());
    if is_stranger {
        reader.limit_to_greeting();
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut plain, mut total) = (Vec::new(), 0);
            while let Ok(true) = reader.read(&mut plain).await {
                assert!((1..=SEGMENT_BYTES).contains(&plain.len()), "{} plain bytes", plain.len());
                total += plain.len();
                assert!(!is_stranger || total <= GREETING_BYTES, "a stranger was let send {total} bytes");
                plain.clear();
            }
        });
    });
});
