use super::*;
use crate::net::places::Places;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

struct Side {
    _dir: tempfile::TempDir,
    places: Places,
    identity: Identity,
}

fn side() -> Side {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    let identity = Identity::load(None, &places).unwrap();
    Side { _dir: dir, places, identity }
}

fn trust(side: &Side, keys: &[PublicKey], key_exchange: KeyExchange) -> ClientTrust {
    ClientTrust::gather(&side.places, &side.identity, "there:5000", keys, None, key_exchange).unwrap()
}

type Outcome = (
    Result<(client::TlsStream<DuplexStream>, PublicKey), TlsError>,
    Result<(server::TlsStream<DuplexStream>, PublicKey), TlsError>,
);

async fn shake_hands(trust: &ClientTrust, server_tls: &ServerTls) -> Outcome {
    let (near, far) = duplex(1 << 16);
    tokio::join!(connect(near, trust), accept(far, server_tls, "the client"))
}

#[tokio::test]
async fn each_side_learns_the_others_key_and_bytes_pass() {
    let (client_side, server_side) = (side(), side());
    for key_exchange in [KeyExchange::Hybrid, KeyExchange::X25519] {
        let trust = trust(&client_side, &[server_side.identity.public_key()], key_exchange);
        let (near, far) = shake_hands(&trust, &ServerTls::new(&server_side.identity)).await;
        let ((mut near, server_key), (mut far, client_key)) = (near.unwrap(), far.unwrap());
        assert_eq!(server_key, server_side.identity.public_key());
        assert_eq!(client_key, client_side.identity.public_key());
        near.write_all(b"hello").await.unwrap();
        near.flush().await.unwrap();
        let mut bytes = [0; 5];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn a_server_with_another_key_is_refused_and_both_remedies_are_named() {
    let (client_side, server_side) = (side(), side());
    let trust = trust(&client_side, &[PublicKey([1; 32])], KeyExchange::X25519);
    let (near, far) = shake_hands(&trust, &ServerTls::new(&server_side.identity)).await;
    let error = near.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, TlsError::UnknownServer { key, .. } if *key == server_side.identity.public_key())
    );
    assert!(error.is_lasting());
    let text = error.to_string();
    assert!(
        text.contains("there:5000") && text.contains("ticket") && text.contains("--server-key"),
        "{text}"
    );
    assert!(matches!(far.map(|_| ()), Err(TlsError::Client { .. })));
}

#[tokio::test]
async fn a_known_server_whose_key_changed_is_told_apart_from_an_unknown_one() {
    let (client_side, server_side) = (side(), side());
    crate::net::trust::KnownServers::of(&client_side.places).learn("there:5000", PublicKey([1; 32])).unwrap();
    let trust = trust(&client_side, &[], KeyExchange::X25519);
    let (near, _) = shake_hands(&trust, &ServerTls::new(&server_side.identity)).await;
    assert!(matches!(near.map(|_| ()), Err(TlsError::ChangedServer { .. })));
}

#[tokio::test]
async fn a_client_without_a_key_gets_no_connection() {
    let server_side = side();
    let (provider, signatures) = provider(vec![aws_lc_rs::kx_group::X25519]);
    let client_side = side();
    let trust = trust(&client_side, &[server_side.identity.public_key()], KeyExchange::X25519);
    let verifier = TrustedServer { signatures, trust, refused: Mutex::new(None) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let (near, far) = duplex(1 << 16);
    let name = ServerName::try_from("strait").unwrap();
    let server_tls = ServerTls::new(&server_side.identity);
    let connector = TlsConnector::from(Arc::new(config));
    let (_, far) = tokio::join!(connector.connect(name, near), accept(far, &server_tls, "the client"));
    assert!(matches!(far.map(|_| ()), Err(TlsError::Client { .. })));
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_said_so() {
    let client_side = side();
    let trust = trust(&client_side, &[], KeyExchange::X25519);
    let (near, mut far) = duplex(1 << 16);
    let other = async {
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        far
    };
    let (near, _far) = tokio::join!(connect(near, &trust), other);
    let error = near.map(|_| ()).unwrap_err();
    assert!(matches!(error, TlsError::NotStrait { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let server_side = side();
    let (_near, far) = duplex(1 << 16);
    let after = Duration::from_millis(5);
    let result = accept_within(far, &ServerTls::new(&server_side.identity), "the client", after).await;
    assert!(matches!(result.map(|_| ()), Err(TlsError::Silent { .. })));
}
