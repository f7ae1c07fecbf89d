//! Request signatures, checked without any code of the crate under test.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderMap, Method, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;

/// A key pair.
#[derive(Clone)]
pub struct TestKey {
    pub private: PKey<Private>,
    pub public: PKey<Public>,
}

impl TestKey {
    pub fn of(private: PKey<Private>) -> Self {
        let public = PKey::public_key_from_der(&private.public_key_to_der().unwrap()).unwrap();
        Self { private, public }
    }

    pub fn generate(bits: u32) -> Self {
        Self::of(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        String::from_utf8(self.private.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    pub fn fingerprint(&self) -> String {
        let digest = hash(MessageDigest::md5(), &self.public.public_key_to_der().unwrap()).unwrap();
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    }
}

/// The length of the key that all tests of a process share: short, since they make many signatures.
pub static KEY_BITS: AtomicU32 = AtomicU32::new(1024);

/// The key that all tests of a process share.
pub fn key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(|| TestKey::generate(KEY_BITS.load(Ordering::SeqCst)))
}

/// The names every signature has to cover, for requests without a body.
const REQUIRED: [&str; 3] = ["date", "(request-target)", "host"];

/// Says why a request is not signed as it has to be.
pub fn verify(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    keys: &HashMap<String, PKey<Public>>,
    now: DateTime<Utc>,
    required: &[&str],
) -> Result<(), String> {
    let header = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.to_str().map_err(|e| e.to_string())?.to_owned()),
            (None, _) => Err(format!("no header {name}")),
            _ => Err(format!("header {name} comes twice")),
        }
    };
    let authorization = header("authorization")?;
    let fields = authorization.strip_prefix("Signature ").ok_or("not a signature")?;
    let fields: HashMap<&str, &str> = fields
        .split("\",")
        .map(|field| field.split_once("=\"").map(|(n, v)| (n, v.trim_end_matches('"'))))
        .collect::<Option<_>>()
        .ok_or("the signature's fields cannot be read")?;
    let field = |name: &str| fields.get(name).copied().ok_or(format!("no field {name}"));
    if field("version")? != "1" || field("algorithm")? != "rsa-sha256" || fields.len() != 5 {
        return Err("wrong version, algorithm or number of fields".into());
    }
    let names: Vec<&str> = field("headers")?.split(' ').collect();
    if names != required {
        return Err(format!("signed is {names:?}"));
    }
    let lines: Vec<String> = names
        .iter()
        .map(|name| match *name {
            "(request-target)" => {
                let method = method.as_str().to_lowercase();
                Ok(format!("(request-target): {method} {}", uri.path_and_query().unwrap()))
            }
            name => Ok(format!("{name}: {}", header(name)?)),
        })
        .collect::<Result<_, String>>()?;
    let key = keys.get(field("keyId")?).ok_or("unknown key id")?;
    let signature = BASE64.decode(field("signature")?).map_err(|e| e.to_string())?;
    let mut verifier = Verifier::new(MessageDigest::sha256(), key).unwrap();
    if !verifier.verify_oneshot(&signature, lines.join("\n").as_bytes()).unwrap_or(false) {
        return Err("the signature is wrong".into());
    }
    let date = DateTime::parse_from_rfc2822(&header("date")?).map_err(|e| e.to_string())?;
    if (date.to_utc() - now).num_seconds().abs() > 300 {
        return Err(format!("the date is {date}, it is {now}"));
    }
    Ok(())
}

pub fn verify_get(
    uri: &Uri,
    headers: &HeaderMap,
    keys: &HashMap<String, PKey<Public>>,
    now: DateTime<Utc>,
) -> Result<(), String> {
    verify(&Method::GET, uri, headers, keys, now, &REQUIRED)
}
