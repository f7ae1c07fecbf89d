use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use audit_core::{Error, ErrorKind, Result};
use native_tls::TlsConnector;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity};

/// The largest file of certificates that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The files that the trust of a connection rests on.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// What tells whether the files have changed.
pub(crate) type Stamp = Vec<Option<(SystemTime, u64)>>;

impl TlsFiles {
    pub(crate) fn new(
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Self> {
        let client = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => {
                return Err(Error::new(ErrorKind::Config, "a certificate needs its key")
                    .with_hint("give both client_cert_file and client_key_file"));
            }
        };
        Ok(Self { ca, client })
    }

    /// Returns when and how large the files are; nothing to compare if there are none.
    pub(crate) fn stamp(&self) -> Stamp {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        let stamp = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        self.ca.iter().chain(client).map(stamp).collect()
    }

    /// Makes an HTTP client that trusts and shows what is in the files.
    ///
    /// One that is `plain` speaks no TLS.
    pub(crate) fn client(
        &self,
        timeout: Duration,
        connections: usize,
        plain: bool,
    ) -> Result<Client> {
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout((timeout / 2).min(Duration::from_secs(10)))
            .timeout(timeout)
            .pool_max_idle_per_host(connections)
            .user_agent(concat!("audit-sink-elastic/", env!("CARGO_PKG_VERSION")));
        builder = match plain {
            true => builder.tls_backend_preconfigured(nobody()?),
            false => builder.tls_backend_native(),
        };
        if let Some(path) = &self.ca {
            let pem = read(path, "ca_file")?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| bad(path, "ca_file", "holds no certificate in PEM form"))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some((cert, key)) = &self.client {
            let pem = read(cert, "client_cert_file")?;
            let secret = read(key, "client_key_file")?;
            let begin = memchr::memmem::find(&secret, b"-----BEGIN PRIVATE KEY-----");
            let secret = begin.and_then(|begin| secret.get(begin..)).ok_or_else(|| {
                bad(key, "client_key_file", "holds no PKCS#8 key (BEGIN PRIVATE KEY)")
                    .with_hint("convert it with `openssl pkcs8 -topk8 -nocrypt`")
            })?;
            // The cause may quote the file: it is left out.
            let identity = Identity::from_pkcs8_pem(&pem, secret)
                .map_err(|_| bad(cert, "client_cert_file", "does not go with the key"))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|e| unprepared().because(e.without_url()))
    }
}

/// Returns a connector that trusts nobody. OpenSSL reads the system's authorities for each, even so,
/// which takes longer than everything else at the start: one serves all.
fn nobody() -> Result<TlsConnector> {
    static NOBODY: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(connector) = NOBODY.get() {
        return Ok(connector.clone());
    }
    let connector = TlsConnector::builder().disable_built_in_roots(true).build();
    let connector = connector.map_err(|e| unprepared().because(e))?;
    Ok(NOBODY.get_or_init(|| connector).clone())
}

fn unprepared() -> Error {
    Error::new(ErrorKind::Config, "cannot prepare TLS")
}

fn read(path: &Path, option: &'static str) -> Result<Vec<u8>> {
    let large = std::fs::metadata(path).is_ok_and(|data| data.len() > MAX_FILE_BYTES);
    if large {
        return Err(bad(path, option, "is too large for a certificate"));
    }
    std::fs::read(path).map_err(|e| bad(path, option, "cannot be read").because(e))
}

fn bad(path: &Path, option: &'static str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{option} {why}")).with("path", path.display())
}
