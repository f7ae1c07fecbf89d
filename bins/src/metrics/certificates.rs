use std::fs;
use std::path::Path;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::x509::X509;

/// No certificate file is larger; others are not looked at.
const MAX_BYTES: u64 = 1 << 20;

/// Returns how long the first of the certificates of a file still lives, zero when it does not. None:
/// the file is not there, or holds no certificate.
pub(super) fn first_expiry(file: &Path) -> Option<Duration> {
    let known = fs::metadata(file).ok()?;
    if !known.is_file() || known.len() > MAX_BYTES {
        return None;
    }
    let pem = fs::read(file).ok()?;
    let now = Asn1Time::days_from_now(0).ok()?;
    let certificates = X509::stack_from_pem(&pem).ok()?;
    let left = certificates.iter().filter_map(|certificate| {
        let left = now.diff(certificate.not_after()).ok()?;
        Some(i64::from(left.days) * 24 * 60 * 60 + i64::from(left.secs))
    });
    left.min().map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;

    use super::*;

    fn certificate(days: u32) -> Vec<u8> {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build().to_pem().unwrap()
    }

    #[test]
    fn the_first_to_expire_counts_and_other_files_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        fs::write(&file, [certificate(30), certificate(3)].concat()).unwrap();
        let left = first_expiry(&file).unwrap().as_secs_f64() / 86_400.0;
        assert!((2.9..=3.0).contains(&left), "{left}");
        for other in ["", "a password\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            fs::write(&file, other).unwrap();
            assert_eq!(first_expiry(&file), None, "{other}");
        }
        assert_eq!(first_expiry(dir.path()), None);
        assert_eq!(first_expiry(&dir.path().join("none")), None);
    }
}
