//! As whom requests are signed: keys and tokens in all the forms they come in, against signatures that
//! OpenSSL checks.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;

use audit_core::{ErrorKind, Secret, Source};
use audit_source_oci::{AuthMethod, OciConfig, OciSource, ResourcePrincipal};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chrono::TimeDelta;
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use tempfile::TempDir;

use common::{Fake, Fault, TestKey, key};

const TENANCY: &str = "ocid1.tenancy.oc1..t";

async fn check(fake: &Fake, config: &OciConfig) -> audit_core::Result<()> {
    OciSource::new(config.clone())?.with_clock(fake.clock()).check().await
}

/// A configuration that knows of credentials only what is in a directory.
fn from_file(fake: &Fake, home: &Path, profile: &str) -> OciConfig {
    let mut config = fake.config();
    (config.tenancy, config.user, config.fingerprint) = (None, None, None);
    (config.key, config.region) = (None, None);
    config.home = Some(home.to_owned());
    config.profile = profile.to_owned();
    config
}

fn home(key_pem: &str, more: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".oci")).unwrap();
    std::fs::write(home.path().join(".oci/key.pem"), key_pem).unwrap();
    let config = format!(
        "[DEFAULT]\nuser=ocid1.user.oc1..ann\nfingerprint={}\ntenancy={TENANCY}\nregion=fra\n\
         key_file=~/.oci/key.pem\n{more}",
        key().fingerprint()
    );
    std::fs::write(home.path().join(".oci/config"), config).unwrap();
    home
}

#[tokio::test]
async fn n06_keys_of_every_form_sign() {
    let fake = Fake::start();
    let rsa = key().private.rsa().unwrap();
    let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
    let pkcs1 = text(rsa.private_key_to_pem().unwrap());
    let pkcs8 = key().pem();
    let legacy = |cipher| text(rsa.private_key_to_pem_passphrase(cipher, b"pass word").unwrap());
    let modern = text(
        key()
            .private
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"pass word")
            .unwrap(),
    );
    let phrase = "pass_phrase = pass word\n";
    for (name, pem, more) in [
        ("PKCS#1", pkcs1.clone(), ""),
        ("PKCS#8", pkcs8.clone(), ""),
        ("with the console's last line", format!("{pkcs8}OCI_API_KEY\n"), ""),
        ("CRLF", pkcs8.replace('\n', "\r\n"), ""),
        ("a pass phrase that is not needed", pkcs8, phrase),
        ("PKCS#8, encrypted", modern.clone(), phrase),
        ("PKCS#1, AES", legacy(Cipher::aes_128_cbc()), phrase),
        ("PKCS#1, 3DES", legacy(Cipher::des_ede3_cbc()), phrase),
    ] {
        let home = home(&pem, more);
        check(&fake, &from_file(&fake, home.path(), "DEFAULT")).await.expect(name);
    }
    let public = text(key().public.public_key_to_pem().unwrap());
    let elliptic =
        openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let elliptic = PKey::from_ec_key(openssl::ec::EcKey::generate(&elliptic).unwrap()).unwrap();
    let elliptic = text(elliptic.private_key_to_pem_pkcs8().unwrap());
    for (pem, more, expected) in [
        (modern.clone(), "", "is encrypted"),
        (modern, "pass_phrase=canary\n", "cannot be decrypted"),
        (public, "", "is a public key"),
        (elliptic, "", "is not an RSA key"),
        ("canary".to_owned(), "", "not a private key"),
    ] {
        let home = home(&pem, more);
        let error = check(&fake, &from_file(&fake, home.path(), "DEFAULT")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    assert!(fake.lock().refusals.is_empty(), "{:?}", fake.lock().refusals);
}

#[tokio::test]
async fn n06_keys_of_every_usual_length_sign() {
    let fake = Fake::start();
    for bits in [2048, 4096] {
        let long = TestKey::generate(bits);
        let key_id = format!("{TENANCY}/ocid1.user.oc1..ann/{}", long.fingerprint());
        fake.lock().keys.insert(key_id, long.public.clone());
        let mut config = fake.config();
        config.fingerprint = Some(long.fingerprint());
        config.key = Some(Secret::new(long.pem()));
        check(&fake, &config).await.unwrap();
    }
}

#[tokio::test]
async fn a_fingerprint_of_another_key_is_named() {
    let fake = Fake::start();
    let mut config = fake.config();
    config.fingerprint = Some("20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34".to_owned());
    let error = check(&fake, &config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.hint().unwrap().contains(&key().fingerprint()), "{:?}", error.hint());
}

/// A token of the form of a session's; nobody but the service checks its signature.
fn token(fake: &Fake, minutes: i64, id: &str) -> String {
    let exp = (fake.lock().now + TimeDelta::minutes(minutes)).timestamp();
    let claims = format!(r#"{{"exp":{exp},"res_tenant":"{TENANCY}","jti":"{id}"}}"#);
    format!("e30.{}.canary", BASE64URL.encode(claims))
}

#[tokio::test]
async fn n02_a_session_token_is_read_anew_when_it_ends() {
    let fake = Fake::start();
    let home = home(&key().pem(), "[SESSION]\nsecurity_token_file=~/.oci/token\n");
    let file = home.path().join(".oci/token");
    let put = |token: &str| std::fs::write(&file, format!("{token}\n")).unwrap();
    let accept = |token: &str| {
        let mut service = fake.lock();
        service.keys.clear();
        service.keys.insert(format!("ST${token}"), key().public.clone());
    };
    let config = from_file(&fake, home.path(), "SESSION");
    let mut source = OciSource::new(config).unwrap().with_clock(fake.clock());

    let first = token(&fake, 60, "1");
    put(&first);
    accept(&first);
    source.check().await.unwrap();
    // Taken back before its time: the new one is found.
    let second = token(&fake, 60, "2");
    accept(&second);
    put(&second);
    source.check().await.unwrap();
    // Ended: the file is looked at before anybody is asked.
    fake.lock().now += TimeDelta::minutes(60);
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.hint().unwrap().contains("oci session refresh"));
    assert!(!format!("{error:?}").contains("canary"));
    let third = token(&fake, 60, "3");
    accept(&third);
    put(&third);
    source.check().await.unwrap();
    assert_eq!(fake.lock().refusals.len(), 1, "the one taken back");
    for minutes in [i64::MIN / 60, -138_910_020_480, i64::MAX / 60] {
        // A time that nobody can have meant.
        let odd = format!(r#"{{"exp":{}}}"#, minutes * 60);
        put(&format!("e30.{}.canary", BASE64URL.encode(odd)));
        fake.lock().now += TimeDelta::minutes(60);
        drop(source.check().await.unwrap_err());
    }
    put("canary");
    fake.lock().now += TimeDelta::minutes(60);
    let error = source.check().await.unwrap_err();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_resource_principal_is_given_by_value_or_by_path() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let token = token(&fake, 60, "1");
    fake.lock().keys.insert(format!("ST${token}"), key().public.clone());
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (token_file, key_file) = (path("rpst", &token), path("key", &key().pem()));
    for (token, pem) in [(token, key().pem()), (token_file, key_file)] {
        let mut config = from_file(&fake, dir.path(), "DEFAULT");
        config.auth = AuthMethod::ResourcePrincipal;
        let given = ResourcePrincipal::new(Secret::new(token), Secret::new(pem), "fra");
        config.resource_principal = Some(given);
        check(&fake, &config).await.unwrap();
    }
    assert_eq!(fake.lock().seen.last().unwrap().compartment, TENANCY, "from the token");
}

/// The metadata and the federation service could only be tried as stand-ins.
#[tokio::test]
async fn an_instance_exchanges_its_certificate_for_a_token() {
    let fake = Fake::start();
    let platform = common::Platform::start(&fake);
    let mut config = fake.config();
    (config.tenancy, config.key, config.region) = (None, None, None);
    config.auth = AuthMethod::InstancePrincipal;
    config.metadata_url = Some(format!("http://{}/opc/v2/", platform.address));
    config.auth_endpoint = Some(format!("http://{}", platform.address));
    let mut source = OciSource::new(config).unwrap().with_clock(fake.clock());
    source.check().await.unwrap();
    source.check().await.unwrap();
    assert_eq!(platform.exchanges(), 1);
    fake.lock().now += TimeDelta::minutes(20);
    source.check().await.unwrap();
    assert_eq!(platform.exchanges(), 2, "renewed before it ended");
    // A compartment that is gone, or may not be read, is no matter of credentials.
    let gone = Fault::Status(404, "NotAuthorizedOrNotFound", Vec::new());
    fake.lock().faults.push_back(gone);
    assert_eq!(source.check().await.unwrap_err().kind(), ErrorKind::Auth);
    assert_eq!(platform.exchanges(), 2);
    assert!(fake.lock().refusals.is_empty(), "{:?}", fake.lock().refusals);
}
