//! TLS 1.3 with raw Ed25519 public keys both ways (RFC 8446, RFC 7250): the only file that knows
//! rustls beside [`super::identity`].
//!
//! No certificates, no names, no resumption, no early data. The client decides on the server's key
//! within the handshake; the server only checks that the client holds the private half of the key
//! it shows, and leaves the decision to [`super::trust::Door`]. The server sends nothing of its
//! own before that check.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::identity::{Identity, PublicKey};
use super::trust::ClientTrust;
use crate::model::limits::{GREETING_MS, HANDSHAKE_MS};

/// The protocol's name within TLS.
const ALPN: &[u8] = b"strait/1";
const HANDSHAKE_TIME: Duration = Duration::from_millis(HANDSHAKE_MS);

/// How the two sides agree on keys (`--kx`, the client's choice; a server takes both).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519MLKEM768: holds against recordings that a quantum computer reads later.
    #[default]
    Hybrid,
    /// X25519 alone: 2.3 KB less for each connection.
    X25519,
}

/// A connection could not be made secure. Class: session, but [`UnknownServer`](Self::UnknownServer)
/// and [`ChangedServer`](Self::ChangedServer) stay until the user acts.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(
        "the server at {address} shows the key {key}, and nothing here vouches for it. Run `strait serve` over there and \
             then here the line with the ticket that it prints; or compare the key with what `strait key` prints \
             over there and pass --server-key {key}"
    )]
    UnknownServer { address: String, key: PublicKey },
    #[error(
        "the server at {address} shows another key than it had: {key}. If the server was set up anew, run \
             the line with the ticket that `strait serve` prints there; if not, somebody may be in between: \
             nothing was sent"
    )]
    ChangedServer { address: String, key: PublicKey },
    #[error(
        "{address} does not speak strait's TLS ({reason}): is that the port of a strait server, of this version?"
    )]
    NotStrait { address: String, reason: String },
    /// Seen by a server.
    #[error(
        "no handshake ({reason}); a client that does not trust this server's key ends so, and anything that is \
         no client"
    )]
    Client { peer: String, reason: String },
    #[error("the link to {address} broke in the handshake: {source}")]
    Link { address: String, source: io::Error },
    #[error("no handshake with {address} within {seconds} s", seconds = .after.as_secs())]
    Silent { address: String, after: Duration },
}

impl TlsError {
    /// True when trying again is of no use before the user has done something.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::UnknownServer { .. } | Self::ChangedServer { .. })
    }
}

/// What a server needs for every handshake; made once.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Prepares the handshakes of a server with this identity.
    pub fn new(identity: &Identity) -> Self {
        let groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        let (provider, signatures) = provider(groups);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3 suites")
            .with_client_cert_verifier(Arc::new(AnyClient { signatures }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity.certified())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Self { config: Arc::new(config) }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

/// Makes a connection secure from the client's side; gives the key that the server proved.
///
/// # Errors
/// [`TlsError`]; with an untrusted server nothing but the handshake was sent.
///
/// # Cancel safety
/// Not cancel safe: drop the stream with the future.
pub async fn connect<S>(stream: S, trust: &ClientTrust) -> Result<(client::TlsStream<S>, PublicKey), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let group = match trust.key_exchange {
        KeyExchange::Hybrid => aws_lc_rs::kx_group::X25519MLKEM768,
        KeyExchange::X25519 => aws_lc_rs::kx_group::X25519,
    };
    let (provider, signatures) = provider(vec![group]);
    let verifier = Arc::new(TrustedServer { signatures, trust: trust.clone(), refused: Mutex::new(None) });
    let resolver = AlwaysResolvesClientRawPublicKeys::new(trust.identity.certified());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let name = ServerName::try_from("strait").expect("a plain word is a name");
    let address = trust.address();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
        Err(_) => return Err(TlsError::Silent { address: address.into(), after: HANDSHAKE_TIME }),
        Ok(Err(error)) => return Err(client_error(trust, &verifier, error)),
        Ok(Ok(stream)) => stream,
    };
    let key = peer_key(stream.get_ref().1.peer_certificates(), stream.get_ref().1.alpn_protocol(), address)?;
    Ok((stream, key))
}

/// Makes a connection secure from the server's side; gives the key that the client proved, which
/// says who it is and not yet that it may come in. `peer` names the client in messages.
///
/// # Errors
/// [`TlsError`]; also after ten seconds without a complete handshake.
///
/// # Cancel safety
/// Not cancel safe: drop the stream with the future.
pub async fn accept<S>(
    stream: S,
    server_tls: &ServerTls,
    peer: &str,
) -> Result<(server::TlsStream<S>, PublicKey), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    accept_within(stream, server_tls, peer, Duration::from_millis(GREETING_MS)).await
}

async fn accept_within<S>(
    stream: S,
    server_tls: &ServerTls,
    peer: &str,
    after: Duration,
) -> Result<(server::TlsStream<S>, PublicKey), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(server_tls.config.clone()).accept(stream);
    let stream = match tokio::time::timeout(after, handshake).await {
        Err(_) => return Err(TlsError::Silent { address: peer.into(), after }),
        Ok(result) => result.map_err(|error| match link_error(peer, error) {
            TlsError::NotStrait { address: peer, reason } => TlsError::Client { peer, reason },
            other => other,
        })?,
    };
    let key = peer_key(stream.get_ref().1.peer_certificates(), stream.get_ref().1.alpn_protocol(), peer)?;
    Ok((stream, key))
}

fn client_error(trust: &ClientTrust, verifier: &TrustedServer, error: io::Error) -> TlsError {
    let address = trust.address().to_string();
    match *verifier.refused.lock().expect("nothing panics with this lock") {
        Some(key) if trust.known_differs(&key) => TlsError::ChangedServer { address, key },
        Some(key) => TlsError::UnknownServer { address, key },
        None => link_error(&address, error),
    }
}

fn link_error(address: &str, error: io::Error) -> TlsError {
    let address = address.to_string();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(reason) => TlsError::NotStrait { address, reason: reason.to_string() },
        None => TlsError::Link { address, source: error },
    }
}

fn peer_key(
    certificates: Option<&[CertificateDer<'static>]>,
    alpn: Option<&[u8]>,
    address: &str,
) -> Result<PublicKey, TlsError> {
    let not_strait = |reason: &str| TlsError::NotStrait { address: address.into(), reason: reason.into() };
    if alpn != Some(ALPN) {
        return Err(not_strait("it did not agree on `strait/1`"));
    }
    let der = certificates.and_then(|all| all.first()).ok_or_else(|| not_strait("it showed no key"))?;
    PublicKey::parse_spki(der).ok_or_else(|| not_strait("its key is not an Ed25519 key"))
}

fn provider(
    groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
) -> (Arc<CryptoProvider>, WebPkiSupportedAlgorithms) {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups;
    provider.cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    let signatures = provider.signature_verification_algorithms;
    (Arc::new(provider), signatures)
}

/// The rule for both sides: one raw Ed25519 key and nothing after it.
fn parse_key(
    end_entity: &CertificateDer,
    intermediates: &[CertificateDer],
) -> Result<PublicKey, rustls::Error> {
    match PublicKey::parse_spki(end_entity) {
        Some(key) if intermediates.is_empty() => Ok(key),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer,
    signed: &DigitallySignedStruct,
    signatures: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(key.as_ref()),
        signed,
        signatures,
    )
}

fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::PeerIncompatible::Tls12NotOffered.into())
}

/// The client's judge: accepts the keys of its [`ClientTrust`] and remembers one it refused.
struct TrustedServer {
    signatures: WebPkiSupportedAlgorithms,
    trust: ClientTrust,
    refused: Mutex<Option<PublicKey>>,
}

impl fmt::Debug for TrustedServer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("TrustedServer(..)")
    }
}

impl ServerCertVerifier for TrustedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = parse_key(end_entity, intermediates)?;
        if self.trust.accepts(&key) {
            return Ok(ServerCertVerified::assertion());
        }
        *self.refused.lock().expect("nothing panics with this lock") = Some(key);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signed, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The server's judge: any Ed25519 key whose private half signed this handshake.
#[derive(Debug)]
struct AnyClient {
    signatures: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        parse_key(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signed, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
