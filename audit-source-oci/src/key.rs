use std::fmt;

use audit_core::{Error, ErrorKind, Result, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::pkcs8::der::zeroize::Zeroizing;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use sha2::Sha256;

/// The size of keys made for one session.
const SESSION_KEY_BITS: u32 = 2048;

/// An RSA key that signs requests.
///
/// OpenSSL reads the file, since it knows every way in which one may be encrypted; `rsa` signs, with
/// blinding.
pub(crate) struct PrivateKey {
    key: SigningKey<Sha256>,
    /// The public half, DER (SubjectPublicKeyInfo).
    public: Vec<u8>,
}

impl PrivateKey {
    /// Reads a key in PEM: PKCS#1 or PKCS#8, encrypted or not; text around it does not matter, and
    /// neither does a pass phrase that is not needed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for anything else; no part of the text is in the message.
    pub(crate) fn from_pem(pem: &Secret, pass_phrase: Option<&Secret>) -> Result<Self> {
        let text = pem.expose();
        let mut asked = false;
        let read = PKey::private_key_from_pem_callback(text.as_bytes(), |buffer| {
            asked = true;
            let phrase = pass_phrase.map(|phrase| phrase.expose().as_bytes()).unwrap_or_default();
            let length = phrase.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..length), phrase.get(..length)) {
                to.copy_from_slice(from);
            }
            Ok(length)
        });
        // OpenSSL's own message is left out: it helps nobody, and may quote.
        let key = read.map_err(|_| match (asked, pass_phrase) {
            (true, None) => wrong("is encrypted").with_hint("give its pass phrase"),
            (true, Some(_)) => wrong("cannot be decrypted with this pass phrase"),
            _ if text.contains("PUBLIC KEY") => {
                wrong("is a public key").with_hint("give the private key that belongs to it")
            }
            _ => wrong("is not a private key in PEM form"),
        })?;
        Self::of(&key)
    }

    /// Makes a new key.
    pub(crate) fn generate() -> Result<Self> {
        let failed = |e: openssl::error::ErrorStack| {
            Error::new(ErrorKind::Unexpected, "cannot make a key").because(e)
        };
        let key = Rsa::generate(SESSION_KEY_BITS).and_then(PKey::from_rsa).map_err(failed)?;
        Self::of(&key)
    }

    fn of(key: &PKey<Private>) -> Result<Self> {
        let not_rsa = || wrong("is not an RSA key");
        let public = key.public_key_to_der().map_err(|_| not_rsa())?;
        let der = Zeroizing::new(key.private_key_to_pkcs8().map_err(|_| not_rsa())?);
        let key = RsaPrivateKey::from_pkcs8_der(&der).map_err(|_| not_rsa())?;
        let key = SigningKey::new(key);
        Ok(Self { key, public })
    }

    /// Signs with PKCS#1 v1.5 and SHA-256; base64.
    pub(crate) fn sign(&self, text: &str) -> Result<String> {
        let signature = self.key.try_sign_with_rng(&mut OsRng, text.as_bytes());
        let signature = signature.map_err(|_| {
            Error::new(ErrorKind::Config, "the private key cannot sign")
                .with_hint("it may be too short: keys of 2048 bits are usual")
        })?;
        Ok(BASE64.encode(signature.to_bytes()))
    }

    /// Returns the fingerprint as the console shows it: MD5 of the public half.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = hash(MessageDigest::md5(), &self.public);
        digest.map(|digest| hex(&digest, false)).unwrap_or_default()
    }

    /// Returns the public half, DER in base64.
    pub(crate) fn public_base64(&self) -> String {
        BASE64.encode(&self.public)
    }
}

/// Writes bytes as `20:3b:97`.
pub(crate) fn hex(bytes: &[u8], upper: bool) -> String {
    let pairs = bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") });
    pairs.collect::<Vec<_>>().join(":")
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the private key {message}"))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint())
    }
}
