//! Who this side is: an Ed25519 key pair in a file that only its owner can read.
//!
//! Made at first use, never sent, never shown. The public half is how the other side knows us.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::base64::{self, Alphabet};
use super::places::Places;
use super::private_file::{self, PrivateFileError};

/// What stands before the base64url of a public key in its text form.
const PREFIX: &str = "strait-ed25519:";

/// DER of the SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key. Text form: `strait-ed25519:` and 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A text is not the text form of a public key. Class: fatal (the command line is wrong).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicKeyError {
    #[error(
        "{0:?} is not a strait key: a key begins with `strait-ed25519:`; `strait key` prints this side's"
    )]
    Prefix(String),
    #[error(
        "the key {0:?} is incomplete or mistyped: after `strait-ed25519:` come exactly 43 characters; \
             copy the whole line that `strait key` prints"
    )]
    Length(String),
}

/// This side's key pair.
#[derive(Clone)]
pub struct Identity {
    public_key: PublicKey,
    certified: Arc<CertifiedKey>,
    path: PathBuf,
    made: bool,
}

/// The identity cannot be used. Class: fatal.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("{path} holds no Ed25519 private key (PKCS#8, PEM or DER); move it away and a new key is made, \
             or name the right file with --identity FILE (or STRAIT_IDENTITY)", path = .0.display())]
    NoKey(PathBuf),
    #[error("the system gives no random numbers, so no key can be made")]
    NoRandom,
}

impl Identity {
    /// Loads the key from `path`, else from its usual place; makes it when there is none yet.
    ///
    /// Of several processes that come first at once, one makes the key and all use it.
    ///
    /// # Errors
    /// When the file or its directory is another user's, open to others, or holds no key.
    pub fn load(path: Option<&Path>, places: &Places) -> Result<Self, IdentityError> {
        let path = path.map_or_else(|| places.identity(), Path::to_path_buf);
        match private_file::read(&path) {
            Ok(bytes) => Self::parse(&bytes, path),
            Err(error) if error.is_absent() => Self::make(path, places),
            Err(error) => Err(error.into()),
        }
    }

    fn make(path: PathBuf, places: &Places) -> Result<Self, IdentityError> {
        // A named file's directory is the user's affair: a mistyped path is said, not made.
        if path.starts_with(&places.config) {
            private_file::own_directory(path.parent().unwrap_or(&places.config))?;
        }
        let key_pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::NoRandom)?;
        let der = key_pair.to_pkcs8v1().map_err(|_| IdentityError::NoRandom)?;
        let body = base64::encode(der.as_ref(), Alphabet::Standard);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let made = private_file::create(&path, pem.as_bytes())?;
        let bytes = private_file::read(&path)?;
        Ok(Self { made, ..Self::parse(&bytes, path)? })
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, IdentityError> {
        let der = match PrivatePkcs8KeyDer::from_pem_slice(bytes) {
            Ok(der) => der,
            Err(_) => PrivatePkcs8KeyDer::from(bytes.to_vec()),
        };
        let parsed =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok().and_then(|pair| {
                let key: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
                let signing_key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&der).ok()?;
                Some((PublicKey(key), signing_key))
            });
        let Some((public_key, signing_key)) = parsed else { return Err(IdentityError::NoKey(path)) };
        let certificate = CertificateDer::from(public_key.to_spki());
        let certified = Arc::new(CertifiedKey::new(vec![certificate], signing_key));
        Ok(Self { public_key, certified, path, made: false })
    }

    /// The half that others may know.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// The file that the key is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when this call made the key: worth a line to the user.
    pub fn is_new(&self) -> bool {
        self.made
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public_key", &self.public_key)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// DER of the SubjectPublicKeyInfo, 44 bytes: the raw public key of RFC 7250.
    pub(super) fn to_spki(self) -> Vec<u8> {
        [&SPKI_HEAD[..], &self.0].concat()
    }

    /// Reads the one DER form that an Ed25519 key has; `None` for anything else.
    pub(super) fn parse_spki(der: &[u8]) -> Option<Self> {
        let key = der.strip_prefix(&SPKI_HEAD)?;
        Some(Self(key.try_into().ok()?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{PREFIX}{}", base64::encode(&self.0, Alphabet::Url))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).ok_or_else(|| PublicKeyError::Prefix(text.into()))?;
        base64::decode(body, Alphabet::Url)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| PublicKeyError::Length(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_use_makes_a_key_and_the_second_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let first = Identity::load(None, &places).unwrap();
        let second = Identity::load(None, &places).unwrap();
        assert!(first.is_new() && !second.is_new());
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(fs::metadata(places.identity()).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(&places.config).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn of_many_first_uses_at_once_one_makes_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let load = || Identity::load(None, &places).unwrap();
        let all: Vec<Identity> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|identity| identity.public_key() == all[0].public_key()));
        assert_eq!(all.iter().filter(|identity| identity.is_new()).count(), 1);
    }

    #[test]
    fn an_identity_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        Identity::load(None, &places).unwrap();
        fs::set_permissions(places.identity(), fs::Permissions::from_mode(0o644)).unwrap();
        let text = Identity::load(None, &places).unwrap_err().to_string();
        assert!(text.contains("chmod 0600"), "{text}");
    }

    #[test]
    fn a_named_file_wins_and_its_directory_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        let named = dir.path().join("key");
        assert_eq!(Identity::load(Some(&named), &places).unwrap().path(), named);
        assert!(Identity::load(Some(&dir.path().join("no/key")), &places).is_err());
        assert!(!dir.path().join("no").exists());
    }

    #[test]
    fn a_file_without_a_key_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("key");
        private_file::create(&named, b"rubbish").unwrap();
        let error = Identity::load(Some(&named), &Places::below(dir.path())).unwrap_err();
        assert!(matches!(error, IdentityError::NoKey(_)), "{error}");
        assert_eq!(fs::read(&named).unwrap(), b"rubbish");
    }

    #[test]
    fn der_of_both_versions_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Ed25519KeyPair::generate().unwrap();
        for (name, der) in [("v1", pair.to_pkcs8v1().unwrap()), ("v2", pair.to_pkcs8().unwrap())] {
            let named = dir.path().join(name);
            private_file::create(&named, der.as_ref()).unwrap();
            let identity = Identity::load(Some(&named), &Places::below(dir.path())).unwrap();
            assert_eq!(identity.public_key().0, pair.public_key().as_ref());
        }
    }

    #[test]
    fn the_debug_text_does_not_hold_the_private_key() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load(None, &Places::below(dir.path())).unwrap();
        let pem = fs::read_to_string(identity.path()).unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{identity:?}").contains(&secret[24..]));
    }

    #[test]
    fn a_public_key_survives_its_text_form() {
        let key = PublicKey([7; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), PREFIX.len() + 43);
        assert_eq!(text.parse(), Ok(key));
    }

    #[test]
    fn a_text_that_is_no_key_says_what_a_key_looks_like() {
        assert!(matches!("ssh-ed25519 AAAA".parse::<PublicKey>(), Err(PublicKeyError::Prefix(_))));
        let cut = &PublicKey([7; 32]).to_string()[..40];
        assert!(matches!(cut.parse::<PublicKey>(), Err(PublicKeyError::Length(_))));
    }
}
