//! MySQL from version 8, MariaDB from version 10.4.

mod link;
mod table;

use std::str::FromStr;
use std::sync::Arc;

use audit_core::Result;
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use self::link::MySqlLink;
use crate::config::{SqlConfig, SqlTls};
use crate::server::ServerClient;
use crate::server::url::{Parts, bad};

const MODE: [&str; 2] = ["ssl-mode", "sslmode"];
const ROOT: [&str; 2] = ["ssl-ca", "sslca"];
const OTHERS: [&str; 10] = [
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "socket",
    "statement-cache-capacity",
    // Of no effect: text always comes as UTF-8, and times in UTC.
    "charset",
    "collation",
    "timezone",
    "time-zone",
];

pub(crate) fn client(config: Arc<SqlConfig>) -> Result<ServerClient<MySqlLink>> {
    let options = options(&config)?;
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_default();
    let place = format!("{host}:{}/{database}", options.get_port());
    Ok(ServerClient::new(config, place))
}

/// Reads the URL, and what stands in place of parts of it. A certificate authority that is named is
/// one to verify with.
pub(crate) fn options(config: &SqlConfig) -> Result<MySqlConnectOptions> {
    let known = [&MODE[..], &ROOT, &OTHERS].concat();
    let parts = Parts::read(config.url.expose(), &known)?;
    let wrong = || {
        bad().with_hint(
            "write `mysql://user:password@host:3306/database?ssl-mode=VERIFY_IDENTITY`; ssl-mode is \
             DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
        )
    };
    let options = MySqlConnectOptions::from_str(&format!("mysql:{}", parts.rest));
    let mut options = options.map_err(|_| wrong())?;
    options = options.charset("utf8mb4").timezone("+00:00".to_owned());
    if parts.has(&["collation"]) {
        options = options.collation("utf8mb4_unicode_ci");
    }
    if let Some(password) = &config.password {
        options = options.password(password.expose());
    }
    let SqlTls { ca, cert, key } = &config.tls;
    if let Some(ca) = ca {
        options = options.ssl_ca(ca);
    }
    if let Some(cert) = cert {
        options = options.ssl_client_cert(cert);
    }
    if let Some(key) = key {
        options = options.ssl_client_key(key);
    }
    if ca.is_some() || parts.has(&ROOT) {
        match (parts.has(&MODE), options.get_ssl_mode()) {
            (false, _) => options = options.ssl_mode(MySqlSslMode::VerifyIdentity),
            (true, MySqlSslMode::Required) => options = options.ssl_mode(MySqlSslMode::VerifyCa),
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
            ("", "Preferred"),
            ("?ssl-mode=REQUIRED&charset=latin1", "Required"),
            ("?ssl-mode=REQUIRED&ssl-ca=/ca", "VerifyCa"),
            ("?ssl-ca=/ca", "VerifyIdentity"),
        ] {
            let url = format!("mariadb://u:p@h:1/d{parameters}");
            let options = options(&SqlConfig::new(&url)).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), expected, "{url}");
            assert_eq!(options.get_charset(), "utf8mb4");
        }
    }

    #[test]
    fn options_of_their_own_stand_in_place_of_the_url() {
        let mut config = SqlConfig::new("mysql://u:p@h:1/d?ssl-mode=REQUIRED&ssl-ca=/a");
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
        for url in ["mysql://u:canary@h:port/d", "mysql://u:canary@h/d?ssl-mode=canary"] {
            let error = options(&SqlConfig::new(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
