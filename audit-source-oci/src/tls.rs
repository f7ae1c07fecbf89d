use std::sync::OnceLock;

use audit_core::{Error, ErrorKind, Result};
use native_tls::{Certificate, TlsConnector};

use crate::config::{AuthMethod, OciConfig};
use crate::profile::{expand, read_text};

/// Returns how servers are made sure of: by the system's authorities, and those of `ca_file`.
///
/// OpenSSL reads the system's authorities for each connector, which takes longer than many an answer:
/// a connector that trusts no others is made once a process.
///
/// # Errors
/// [`ErrorKind::Config`] when the file of authorities cannot be used.
pub(crate) fn connector(config: &OciConfig) -> Result<TlsConnector> {
    static SYSTEM: OnceLock<TlsConnector> = OnceLock::new();
    static NOBODY: OnceLock<TlsConnector> = OnceLock::new();
    let more = of_file(config)?;
    // They take memory as well, for which plain HTTP has no use.
    let nobody = is_plain(config) && more.is_empty();
    let shared = match (more.is_empty(), nobody) {
        (false, _) => None,
        (true, false) => Some(&SYSTEM),
        (true, true) => Some(&NOBODY),
    };
    if let Some(connector) = shared.and_then(OnceLock::get) {
        return Ok(connector.clone());
    }
    let mut builder = TlsConnector::builder();
    builder.disable_built_in_roots(nobody);
    for certificate in more {
        builder.add_root_certificate(certificate);
    }
    let connector = builder
        .build()
        .map_err(|e| Error::new(ErrorKind::Config, "cannot prepare TLS").because(e))?;
    Ok(shared.map_or(connector.clone(), |shared| shared.get_or_init(|| connector).clone()))
}

/// Returns whether no address is asked by way of TLS.
fn is_plain(config: &OciConfig) -> bool {
    let is_plain = |url: &Option<String>| url.as_deref().is_some_and(|u| u.starts_with("http://"));
    let exchange = config.auth == AuthMethod::InstancePrincipal;
    is_plain(&config.endpoint)
        && is_plain(&config.identity_endpoint)
        && (is_plain(&config.auth_endpoint) || !exchange)
        && config.proxy.is_none()
}

fn of_file(config: &OciConfig) -> Result<Vec<Certificate>> {
    let Some(path) = &config.ca_file else { return Ok(Vec::new()) };
    let path = expand(path, config.home.as_deref())?;
    let pem = read_text(&path, "the file of certificates")?;
    let stack = openssl::x509::X509::stack_from_pem(pem.as_bytes()).unwrap_or_default();
    let certificates = stack.iter().filter_map(|c| Certificate::from_der(&c.to_der().ok()?).ok());
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err(Error::new(ErrorKind::Config, "ca_file holds no certificate in PEM form")
            .with("path", path.display()));
    }
    Ok(certificates)
}
