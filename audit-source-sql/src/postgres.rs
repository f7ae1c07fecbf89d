//! PostgreSQL, from version 12.

mod link;
pub(crate) mod listen;
mod table;

use std::str::FromStr;
use std::sync::Arc;

use audit_core::Result;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use self::link::PgLink;
use crate::config::{SqlConfig, SqlTls};
use crate::server::ServerClient;
use crate::server::url::{Parts, bad};

const MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const ROOT: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const OTHERS: [&str; 13] = [
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

pub(crate) fn client(config: Arc<SqlConfig>) -> Result<ServerClient<PgLink>> {
    let options = options(&config)?;
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    let place = format!("{host}:{}/{database}", options.get_port());
    Ok(ServerClient::new(config, place))
}

/// Reads the URL, and what stands in place of parts of it. A certificate authority that is named is
/// one to verify with.
pub(crate) fn options(config: &SqlConfig) -> Result<PgConnectOptions> {
    let known = [&MODE[..], &ROOT, &OTHERS].concat();
    let parts = Parts::read(config.url.expose(), &known)?;
    let options = PgConnectOptions::from_str(&format!("postgres:{}", parts.rest));
    let mut options = options.map_err(|_| {
        bad().with_hint(
            "write `postgres://user:password@host:5432/database?sslmode=verify-full`; sslmode is \
             disable, allow, prefer, require, verify-ca or verify-full",
        )
    })?;
    if let Some(password) = &config.password {
        options = options.password(password.expose());
    }
    let SqlTls { ca, cert, key } = &config.tls;
    if let Some(ca) = ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some(cert) = cert {
        options = options.ssl_client_cert(cert);
    }
    if let Some(key) = key {
        options = options.ssl_client_key(key);
    }
    if ca.is_some() || parts.has(&ROOT) {
        match (parts.has(&MODE), options.get_ssl_mode()) {
            (false, _) => options = options.ssl_mode(PgSslMode::VerifyFull),
            (true, PgSslMode::Require) => options = options.ssl_mode(PgSslMode::VerifyCa),
            _ => {}
        }
    }
    Ok(options.disable_statement_logging())
}

#[cfg(test)]
mod tests {
    use audit_core::{ErrorKind, Secret};

    use super::*;

    #[test]
    fn a_certificate_authority_is_there_to_verify_with() {
        for (parameters, expected) in [
            ("", "Prefer"),
            ("?sslmode=require", "Require"),
            ("?sslmode=disable&sslrootcert=/ca", "Disable"),
            ("?sslmode=require&sslrootcert=/ca", "VerifyCa"),
            ("?sslrootcert=/ca", "VerifyFull"),
        ] {
            let url = format!("postgresql://u:p@h:1/d{parameters}");
            let mode = options(&SqlConfig::new(&url)).unwrap().get_ssl_mode();
            assert_eq!(format!("{mode:?}"), expected, "{url}");
        }
    }

    #[test]
    fn options_of_their_own_stand_in_place_of_the_url() {
        let mut config = SqlConfig::new("postgres://u:p@h:1/d?sslmode=require&sslrootcert=/a");
        config.password = Some(Secret::new("canary"));
        config.tls =
            SqlTls { ca: Some("/ca".into()), cert: Some("/cert".into()), key: Some("/key".into()) };
        let found = format!("{:?}", options(&config).unwrap());
        for part in ["VerifyCa", "\"/ca\"", "\"/cert\"", "\"/key\"", "Some(\"canary\")"] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_url_is_said_without_it() {
        for url in ["postgres://u:canary@h:port/d", "postgres://u:canary@h/d?sslmode=canary"] {
            let error = options(&SqlConfig::new(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
