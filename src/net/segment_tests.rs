use super::*;
use crate::net::pace::Rate;
use crate::proto::message::{RefuseCode, Text};
use proptest::prelude::*;
use tokio::io::duplex;

fn noise(n_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(n_bytes: usize) -> Vec<u8> {
    (0..).flat_map(|n| format!("line {n} of a log that says little\n").into_bytes()).take(n_bytes).collect()
}

fn pair(level: Option<i32>, pace: Option<Pace>) -> (SegmentWriter, SegmentReader, Arc<Traffic>) {
    let (near, far) = duplex(1 << 20);
    let traffic = Arc::new(Traffic::default());
    let writer = SegmentWriter::new(Box::new(near), traffic.clone(), level, pace);
    (writer, SegmentReader::new(Box::new(far), traffic.clone()), traffic)
}

/// Writes all parts, closes, reads to the end.
async fn round_trip(parts: &[(Vec<u8>, Squeeze)], level: Option<i32>) -> (Vec<u8>, Arc<Traffic>) {
    let (mut writer, mut reader, traffic) = pair(level, None);
    let mut plain = Vec::new();
    let writing = async {
        for (part, squeeze) in parts {
            writer.write(part, *squeeze).await.unwrap();
        }
        writer.close().await.unwrap();
    };
    let reading = async { while reader.read(&mut plain).await.unwrap() {} };
    tokio::join!(writing, reading);
    (plain, traffic)
}

async fn read_bytes(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let source = std::io::Cursor::new(bytes.to_vec());
    let mut reader = SegmentReader::new(Box::new(source), Arc::default());
    let mut plain = Vec::new();
    while reader.read(&mut plain).await? {}
    Ok(plain)
}

fn error_of(result: io::Result<Vec<u8>>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.to_string()
}

#[tokio::test]
async fn text_shrinks_and_noise_is_stored() {
    let (plain, traffic) = round_trip(&[(text(256 << 10), Squeeze::Auto)], Some(3)).await;
    assert_eq!(plain, text(256 << 10));
    assert!(traffic.sent.counts().pipe < 40_000, "{:?}", traffic.sent.counts());

    let (plain, traffic) = round_trip(&[(noise(256 << 10, 1), Squeeze::Auto)], Some(3)).await;
    assert_eq!(plain, noise(256 << 10, 1));
    assert_eq!(traffic.sent.counts().pipe, (256 << 10) + 4);
}

#[tokio::test]
async fn both_ends_count_the_same() {
    let (_, traffic) =
        round_trip(&[(text(5_000), Squeeze::Auto), (noise(50, 2), Squeeze::Stored)], Some(3)).await;
    assert_eq!(traffic.sent.counts(), traffic.received.counts());
    assert_eq!(traffic.sent.counts().frames, 5_050);
}

#[tokio::test]
async fn noise_in_the_middle_of_text_is_stored_by_itself() {
    let mixed = [text(64 << 10), noise(64 << 10, 3), text(64 << 10)].concat();
    let (plain, traffic) = round_trip(&[(mixed.clone(), Squeeze::Auto)], Some(3)).await;
    assert_eq!(plain, mixed);
    assert!(traffic.sent.counts().pipe < (64 << 10) + 20_000);
}

#[tokio::test]
async fn a_repeated_message_costs_little_thanks_to_the_history() {
    let message = noise(500, 4);
    let parts: Vec<_> = (0..10).map(|_| (message.clone(), Squeeze::Auto)).collect();
    let (_, traffic) = round_trip(&parts, Some(3)).await;
    assert!(traffic.sent.counts().pipe < 500 + 10 * 40, "{:?}", traffic.sent.counts());
}

#[tokio::test]
async fn without_a_level_everything_is_stored() {
    let (plain, traffic) = round_trip(&[(text(5_000), Squeeze::Auto)], None).await;
    assert_eq!(plain, text(5_000));
    assert_eq!(traffic.sent.counts().pipe, 5_004);
}

#[tokio::test]
async fn what_is_no_whole_record_waits_for_the_flush() {
    let (mut writer, mut reader, traffic) = pair(None, None);
    writer.write(&noise(20_000, 5), Squeeze::Stored).await.unwrap();
    assert_eq!(traffic.sent.counts().pipe, 16 * 1024);
    writer.flush().await.unwrap();
    assert_eq!(traffic.sent.counts().pipe, 20_004);
    let mut plain = Vec::new();
    assert!(reader.read(&mut plain).await.unwrap());
    assert_eq!(plain, noise(20_000, 5));
}

#[tokio::test]
async fn preface_and_greeting_leave_together() {
    let (mut writer, mut reader, _) = pair(Some(3), None);
    writer.put_preface();
    writer.write(b"hello", Squeeze::Stored).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(reader.read_preface().await.unwrap(), VERSION);
    let mut plain = Vec::new();
    assert!(reader.read(&mut plain).await.unwrap());
    assert_eq!(plain, b"hello");
}

#[tokio::test]
async fn a_refusal_of_another_version_is_read_behind_the_preface() {
    let (mut writer, mut reader, _) = pair(Some(3), None);
    let refuse = Refuse { code: RefuseCode::Version, lowest: 1, highest: 3, text: Text::new("too old") };
    writer.put_preface();
    writer.put_refuse(&refuse);
    writer.close().await.unwrap();
    reader.read_preface().await.unwrap();
    assert_eq!(reader.read_refuse().await.unwrap(), refuse);
    assert!(!reader.read(&mut Vec::new()).await.unwrap());
}

#[tokio::test]
async fn a_stranger_may_send_four_kib_stored_and_no_more() {
    let greeting = async |parts: &[(&[u8], Squeeze)], admit: bool| {
        let (mut writer, mut reader, _) = pair(Some(3), None);
        for (part, squeeze) in parts {
            writer.write(part, *squeeze).await.unwrap();
        }
        writer.close().await.unwrap();
        reader.limit_to_greeting();
        let mut plain = Vec::new();
        reader.read(&mut plain).await?;
        if admit {
            reader.admit();
        }
        while reader.read(&mut plain).await? {}
        Ok(plain)
    };
    let (half, big) = (noise(2048, 6), text(8_000));
    assert_eq!(
        greeting(&[(&half, Squeeze::Stored), (&half, Squeeze::Stored)], false).await.unwrap().len(),
        4096
    );
    let three = [(&half[..], Squeeze::Stored); 3];
    assert!(error_of(greeting(&three, false).await).contains("let in"));
    assert!(error_of(greeting(&[(&big[..2000], Squeeze::Auto)], false).await).contains("let in"));
    assert_eq!(
        greeting(&[(&half, Squeeze::Stored), (&big, Squeeze::Auto)], true).await.unwrap().len(),
        10_048
    );
}

#[tokio::test]
async fn hostile_lengths_are_refused_before_room_is_made() {
    assert!(error_of(read_bytes(b"\0\0\0\0").await).contains("0 plain bytes"));
    assert!(error_of(read_bytes(b"\0\xff\xff\xff").await).contains("16777215 plain bytes"));
    assert!(error_of(read_bytes(b"\x01\x01\0\0\xff\xff\xff").await).contains("squeezed segment of"));
    assert!(error_of(read_bytes(b"\x02\x01\0\0x").await).contains("unknown kind 2"));
}

#[tokio::test]
async fn an_end_inside_a_segment_is_no_clean_end() {
    for cut in [&b"\0"[..], b"\0\x05\0\0", b"\0\x05\0\0abcd", b"\x01\x05\0\0\x09"] {
        assert_eq!(read_bytes(cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn a_squeezed_segment_must_hold_exactly_what_it_says() {
    let mut squeezer = Squeezer::new(3).unwrap();
    let mut wire = Vec::new();
    squeezer.squeeze(&text(1_000), &mut wire).unwrap();
    let segment = |said: usize, wire: &[u8]| [&[SQUEEZED][..], &u24(said), &u24(wire.len()), wire].concat();
    assert_eq!(read_bytes(&segment(1_000, &wire)).await.unwrap(), text(1_000));
    for said in [1, 999, 1_001, SEGMENT_BYTES] {
        assert!(error_of(read_bytes(&segment(said, &wire)).await).contains("does not hold"), "{said}");
    }
    assert!(error_of(read_bytes(&segment(1_000, &wire[..wire.len() - 1])).await).contains("does not hold"));
    assert!(error_of(read_bytes(&segment(1_000, b"rubbish")).await).contains("does not hold"));
}

#[tokio::test]
async fn a_window_above_eight_mib_is_refused() {
    // Magic number, then a frame header that asks for a window of 2^24 bytes.
    let wire = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (24 - 10) << 3, 1, 0, 0];
    let segment = [&[SQUEEZED][..], &u24(1), &u24(wire.len()), &wire].concat();
    assert!(error_of(read_bytes(&segment).await).contains("does not hold"));
}

#[tokio::test]
async fn a_paced_writer_takes_its_time() {
    let pace = Pace::new(Rate::new(200_000).unwrap());
    let (mut writer, mut reader, _) = pair(None, Some(pace));
    let before = Instant::now();
    writer.write(&noise(30_000, 7), Squeeze::Stored).await.unwrap();
    writer.flush().await.unwrap();
    assert!(before.elapsed().as_millis() >= 80, "{:?}", before.elapsed());
    assert!(reader.read(&mut Vec::new()).await.unwrap());
}

fn a_part() -> impl Strategy<Value = (Vec<u8>, Squeeze)> {
    let bytes = prop_oneof![
        (0usize..2_000, any::<u64>()).prop_map(|(n, seed)| noise(n, seed)),
        (0usize..2_000).prop_map(text),
        (0usize..SEGMENT_BYTES).prop_map(text),
        (0usize..=SEGMENT_BYTES, any::<u64>()).prop_map(|(n, seed)| noise(n, seed)),
        (1usize..100_000, any::<u64>()).prop_map(|(n, seed)| [text(n), noise(n / 2, seed)].concat()),
    ];
    (bytes, prop_oneof![Just(Squeeze::Auto), Just(Squeeze::Stored)])
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_mix_arrives_as_it_was_sent(parts in prop::collection::vec(a_part(), 0..8), level in -3i32..8) {
        let all: Vec<u8> = parts.iter().flat_map(|(part, _)| part.clone()).collect();
        let (plain, traffic) = block_on(round_trip(&parts, Some(level)));
        prop_assert!(plain == all);
        prop_assert_eq!(traffic.sent.counts(), traffic.received.counts());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, kind in 0u8..3) {
        let _ = block_on(read_bytes(&bytes));
        let _ = block_on(read_bytes(&[&[kind, 9, 0, 0, 8, 0, 0][..], &bytes].concat()));
    }

    #[test]
    fn damage_in_a_squeezed_stream_gives_an_error_or_other_bytes(at in 0usize..400, bit in 0u8..8) {
        let mut squeezer = Squeezer::new(3).unwrap();
        let mut bytes = Vec::new();
        put_squeezed(&mut bytes, &mut squeezer, &text(3_000)).unwrap();
        put_squeezed(&mut bytes, &mut squeezer, &text(3_000)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = block_on(read_bytes(&bytes));
    }
}
