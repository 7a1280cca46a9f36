//! Bytes of a peer as frames: a message or an error, never a panic; what is a message is written down
//! as the same message again; and a stream is cut into the same messages wherever it is torn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::proto::frame::{Frames, HEAD_BYTES, Message, decode, encode};
use strait::proto::message::{Down, Up};

fuzz_target!(|bytes: &[u8]| {
    survives::<Up>(bytes);
    survives::<Down>(bytes);
    assert_eq!(cut_at::<Up>(bytes, bytes.len()), cut_at::<Up>(bytes, 1), "a torn stream reads otherwise");
});

fn survives<M: Message + PartialEq + std::fmt::Debug>(body: &[u8]) {
    if let Ok(Some(message)) = decode::<M>(body) {
        let mut out = Vec::new();
        encode(&message, &mut out);
        assert_eq!(decode::<M>(&out[HEAD_BYTES..]).as_ref(), Ok(&Some(message)));
    }
}

fn cut_at<M: Message>(stream: &[u8], piece_bytes: usize) -> (Vec<M>, bool) {
    let mut frames = Frames::default();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece_bytes.max(1)) {
        frames.buffer().extend_from_slice(piece);
        loop {
            match frames.next_message::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}
