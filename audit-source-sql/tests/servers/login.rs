//! Logins, TLS, and what is said when something is missing.

use audit_core::{Error, ErrorKind, Source};
use audit_source_sql::{SqlConfig, SqlSource};

use crate::db::{Db, Kind, PASSWORD, limit, pass, servers};

async fn refused(db: &Db, change: impl FnOnce(&mut SqlConfig)) -> (Error, String) {
    let mut config = db.config();
    change(&mut config);
    let mut source = SqlSource::new(config).unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), source.open(None).await.unwrap_err().kind());
    let text = format!("{error}; {error:?}; {}", error.hint().unwrap_or_default());
    assert!(!text.contains(PASSWORD) && !text.contains(&password(&db.url)), "{text}");
    (error, text)
}

fn password(url: &str) -> String {
    let (_, rest) = url.split_once("//audit:").unwrap();
    rest.split_once('@').unwrap().0.to_owned()
}

fn with_url(url: String) -> impl FnOnce(&mut SqlConfig) {
    move |config| config.url = audit_core::Secret::new(url)
}

#[tokio::test]
async fn a_wrong_login_is_told_from_a_wrong_name() {
    for kind in servers() {
        let db = Db::classic(kind).await;
        let wrong = db.url.replace(&password(&db.url), PASSWORD);
        let (error, text) = refused(&db, with_url(wrong)).await;
        assert_eq!(error.kind(), ErrorKind::Auth, "{text}");
        let (start, _) = db.url.rsplit_once('/').unwrap();
        let (error, text) = refused(&db, with_url(format!("{start}/nowhere"))).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        let (error, text) = refused(&db, |c| c.table = Some(format!("{}x", c.table()))).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        assert!(text.contains("no such table") && text.contains(&db.table), "{text}");
        let (error, text) = refused(&db, |c| c.sent_column = "sent".to_owned()).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        assert!(text.contains("sent_column") && text.contains("`is_sent`"), "{text}");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (scheme, _) = db.url.split_once("//").unwrap();
        let away = format!("{scheme}//audit:{PASSWORD}@{port}/audit");
        let (error, text) = refused(&db, with_url(away)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
        db.done().await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_mark_is_refused_at_once() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        let (user, url) = db.user("SELECT").await;
        let (error, text) = refused(&db, with_url(url)).await;
        assert_eq!(error.kind(), ErrorKind::Auth, "{text}");
        db.drop_user(&user).await;
        db.done().await;
    }
}

#[tokio::test]
async fn tls_is_verified_when_asked_for() {
    for kind in servers() {
        let Ok(tls) = std::env::var("AUDIT_TEST_TLS_DIR") else { return };
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=3).await;
        let (mode, root, cert, key, full) = match kind {
            Kind::Postgres => ("sslmode", "sslrootcert", "sslcert", "sslkey", "verify-full"),
            Kind::MariaDb => ("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "VERIFY_IDENTITY"),
        };
        // The user without a password.
        let client = db
            .url
            .replace(&format!("audit:{}", password(&db.url)), "audit_cert")
            .replace("127.0.0.1", "localhost");
        if kind == Kind::Postgres {
            db.run("GRANT ALL ON {t} TO audit_cert").await;
        }
        let url = format!(
            "{client}?{mode}={full}&{root}={tls}/ca.crt&{cert}={tls}/client.crt&{key}={tls}/client.key"
        );
        let mut config = db.config();
        with_url(url)(&mut config);
        let mut source = SqlSource::new(config).unwrap();
        source.check().await.unwrap();
        source.open(None).await.unwrap();
        assert_eq!(pass(&mut source, limit(2), true).await.events.len(), 3);
        assert_eq!(db.unsent().await, 0);
        // Nobody vouches for the server: the test's authority is not one of the system's.
        let (error, text) = refused(&db, with_url(format!("{}?{mode}={full}", db.url))).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        assert!(text.contains("TLS"), "{text}");
        db.done().await;
    }
}
