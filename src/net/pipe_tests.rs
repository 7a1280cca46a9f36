use super::*;
use crate::net::endpoint::Endpoint;
use crate::net::identity::Identity;
use crate::net::places::Places;
use crate::net::segment::Squeeze;
use crate::net::tls::KeyExchange;
use crate::net::trust::Door;
use tokio::net::TcpListener;

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Bytes that nobody confirms are waited for as long as is promised: not less, or a link that fails for some seconds
/// would be given up, and not more.
#[tokio::test]
async fn what_is_not_confirmed_is_waited_for_45_seconds_and_nothing_is_held_back() {
    use rustix::net::sockopt::{tcp_nodelay, tcp_user_timeout};
    let (listener, address) = listen().await;
    let near = TcpStream::connect(address).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    for stream in [&near, &far] {
        set_options(stream);
        assert_eq!(tcp_user_timeout(stream).unwrap(), 45_000);
        assert!(tcp_nodelay(stream).unwrap());
    }
}

#[tokio::test]
async fn the_same_user_gets_through_a_relay_with_nothing_copied() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let server = Identity::load(Some(&dir.path().join("server-key")), &places).unwrap();
    let client = Identity::load(None, &places).unwrap();
    let (listener, address) = listen().await;
    let (relay, relay_address) = listen().await;
    let _file = Endpoint::announce(&places, server.public_key(), listener.local_addr().unwrap()).unwrap();
    let relaying = tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(address).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });

    let trust =
        ClientTrust::gather(&places, &client, &relay_address, &[], None, KeyExchange::Hybrid).unwrap();
    let server_tls = ServerTls::new(&server);
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        Pipe::accept(stream, &server_tls).await.unwrap()
    };
    let (near, (far, client_key)) = tokio::join!(Pipe::connect(&trust), accepting);
    let (near, server_key) = near.unwrap();
    let secret = trust.secret_for(&server_key).unwrap();
    let mut door = Door::new(places, server.public_key(), &[0; 16]);
    door.admit(&client_key, Some(&secret), std::time::Instant::now()).unwrap();
    drop((near, far));
    relaying.await.unwrap();
}

// A machine that was busy reading the source was told late that the server's system had answered: a server on the same
// machine passed for a distant one, for which the whole source was read and squeezed once more.
#[tokio::test]
async fn a_server_on_this_machine_is_near_also_where_all_threads_are_busy() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let identity = Identity::load(None, &places).unwrap();
    let (listener, address) = listen().await;
    let pins = [identity.public_key()];
    let trust = ClientTrust::gather(&places, &identity, &address, &pins, None, KeyExchange::X25519).unwrap();
    let server_tls = ServerTls::new(&identity);
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        Pipe::accept(stream, &server_tls).await.unwrap().0
    };
    // The only thread of this test, and of the client.
    let busy = async {
        loop {
            std::thread::sleep(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
    };
    let meeting = async { tokio::join!(Pipe::connect(&trust), accepting) };
    let (near, _far) = tokio::select! {
        biased;
        met = meeting => met,
        () = busy => unreachable!("it never ends"),
    };
    assert!(near.unwrap().0.traffic.is_near());
}

#[tokio::test]
async fn segments_over_tls_end_cleanly_and_count_what_the_wire_carries() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let identity = Identity::load(None, &places).unwrap();
    let (listener, address) = listen().await;
    let pins = [identity.public_key()];
    let trust = ClientTrust::gather(&places, &identity, &address, &pins, None, KeyExchange::X25519).unwrap();
    let server_tls = ServerTls::new(&identity);
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        Pipe::accept(stream, &server_tls).await.unwrap().0
    };
    let (near, far) = tokio::join!(Pipe::connect(&trust), accepting);
    let near = near.unwrap().0;
    let (sent, received) = (near.traffic.clone(), far.traffic.clone());
    let handshake_bytes = sent.sent.counts().wire;
    assert!((100..1_000).contains(&handshake_bytes), "{handshake_bytes}");

    let (_reader, mut writer) = near.into_segments(Sending::default());
    let (mut reader, _writer) = far.into_segments(Sending::default());
    let writing = async {
        writer.write(&[7; 200_000], Squeeze::Stored).await.unwrap();
        writer.close().await.unwrap();
    };
    let mut plain = Vec::new();
    let reading = async { while reader.read(&mut plain).await.unwrap() {} };
    tokio::join!(writing, reading);
    assert_eq!(plain, [7; 200_000]);
    // 12 full records and one short one, the closing alert, 22 bytes for each.
    let counts = sent.sent.counts();
    assert_eq!(counts.pipe, 200_004);
    assert_eq!(counts.wire - handshake_bytes, 200_004 + 13 * 22 + 24);
    assert_eq!(received.received.counts().wire, counts.wire);
}

#[tokio::test]
async fn a_cut_connection_is_no_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let identity = Identity::load(None, &places).unwrap();
    let (listener, address) = listen().await;
    let pins = [identity.public_key()];
    let trust = ClientTrust::gather(&places, &identity, &address, &pins, None, KeyExchange::X25519).unwrap();
    let server_tls = ServerTls::new(&identity);
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        Pipe::accept(stream, &server_tls).await.unwrap().0
    };
    let (near, far) = tokio::join!(Pipe::connect(&trust), accepting);
    drop(near);
    let (mut reader, _writer) = far.into_segments(Sending::default());
    assert!(reader.read(&mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let identity = Identity::load(None, &places).unwrap();
    let (listener, address) = listen().await;
    drop(listener);
    let trust = ClientTrust::gather(&places, &identity, &address, &[], None, KeyExchange::X25519).unwrap();
    let error = Pipe::connect(&trust).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&address) && !error.is_lasting(), "{error}");
}

#[tokio::test]
async fn a_pipe_in_memory_stores_everything() {
    let (near, far) = Pipe::memory();
    let traffic = near.traffic.clone();
    let (_reader, mut writer) = near.into_segments(Sending::default());
    let (mut reader, _writer) = far.into_segments(Sending::default());
    writer.write(&[0; 100_000], Squeeze::Auto).await.unwrap();
    writer.flush().await.unwrap();
    let mut plain = Vec::new();
    assert!(reader.read(&mut plain).await.unwrap());
    assert_eq!(plain.len(), 100_000);
    assert_eq!(traffic.sent.counts().pipe, 100_004);
}

/// The far end of the next test, run as a process of its own.
#[tokio::test]
#[ignore = "only run as the child of the next test"]
async fn echo_one_segment_over_standard_input_and_output() {
    let (mut reader, mut writer) = Pipe::stdio().unwrap().into_segments(Sending::default());
    writer.put_preface();
    let mut plain = Vec::new();
    assert!(reader.read(&mut plain).await.unwrap());
    writer.write(&plain, Squeeze::Auto).await.unwrap();
    writer.flush().await.unwrap();
}

/// The command that runs the test above; what the test runner prints goes before the preface.
fn echo_child() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let name = "net::pipe::tests::echo_one_segment_over_standard_input_and_output";
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

fn talk_to_child(mut input: impl io::Write, mut output: impl io::Read) {
    input.write_all(b"\0\x05\0\0hello").unwrap();
    let mut text = Vec::new();
    let answer = b"strait\x01\0\0\x05\0\0hello";
    while !text.windows(answer.len()).any(|window| window == answer) {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    io::copy(&mut output, &mut io::sink()).unwrap();
}

#[test]
fn standard_input_and_output_may_be_pipes() {
    use std::process::Stdio;
    let mut child = echo_child().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    talk_to_child(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    child.wait().unwrap();
}

#[test]
fn standard_input_and_output_may_be_one_socket() {
    use std::os::fd::OwnedFd;
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = echo_child();
    command.stdin(OwnedFd::from(far.try_clone().unwrap())).stdout(OwnedFd::from(far));
    let mut child = command.spawn().unwrap();
    drop(command);
    talk_to_child(&near, &near);
    child.wait().unwrap();
}
