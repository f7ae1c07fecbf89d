use std::path::Path;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Proxy};

use crate::config::PortConfig;

/// The largest file of certificates that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Makes an HTTP client that trusts the system's authorities and those of the configured file.
///
/// Redirects are not followed: a token would go with them.
pub(crate) fn client(config: &PortConfig) -> Result<Client> {
    let timeout = config.request_timeout;
    let mut builder = Client::builder()
        .tls_backend_native()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .timeout(timeout)
        .user_agent(concat!("audit-source-port/", env!("CARGO_PKG_VERSION")));
    let proxy = config.proxy()?;
    if let Some(url) = proxy {
        // The cause may quote the address, and with it a password.
        let proxy = Proxy::all(url).map_err(|_| {
            Error::new(ErrorKind::Config, "the proxy cannot be used").with("option", "proxy")
        })?;
        builder = builder.proxy(proxy);
    }
    if let Some(path) = &config.ca_file {
        for certificate in certificates(path)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder
        .build()
        .map_err(|e| Error::new(ErrorKind::Config, "cannot prepare TLS").because(e.without_url()))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let bad = |why: &str| {
        Error::new(ErrorKind::Config, format!("ca_file {why}")).with("path", path.display())
    };
    if std::fs::metadata(path).is_ok_and(|data| data.len() > MAX_FILE_BYTES) {
        return Err(bad("is too large for a certificate"));
    }
    let pem = std::fs::read(path).map_err(|e| bad("cannot be read").because(e))?;
    Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| bad("holds no certificate in PEM form"))
}
