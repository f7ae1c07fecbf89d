//! The metadata of an instance, and the service that exchanges its certificate for a token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use chrono::TimeDelta;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Name};

use super::fake::{Fake, REGION, TENANCY};
use super::verify::{TestKey, key, verify};

/// A running platform; ends with the process.
pub struct Platform {
    pub address: SocketAddr,
    exchanges: Arc<AtomicUsize>,
}

struct Shared {
    fake: Fake,
    leaf: TestKey,
    certificate: X509,
    exchanges: Arc<AtomicUsize>,
}

impl Platform {
    /// Starts one whose tokens a service accepts.
    pub fn start(fake: &Fake) -> Self {
        let leaf = TestKey::generate(1024);
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "instance").unwrap();
        name.append_entry_by_text("OU", &format!("opc-tenant:{TENANCY}")).unwrap();
        let mut certificate = X509::builder().unwrap();
        certificate.set_subject_name(&name.build()).unwrap();
        certificate.set_pubkey(&leaf.public).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.sign(&leaf.private, MessageDigest::sha256()).unwrap();
        let exchanges = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            fake: fake.clone(),
            leaf,
            certificate: certificate.build(),
            exchanges: Arc::clone(&exchanges),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { address, exchanges }
    }

    /// How many tokens were given.
    pub fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let refuse = |status: StatusCode, why: String| {
        Response::builder().status(status).body(Body::from(why)).unwrap()
    };
    let (parts, body) = request.into_parts();
    let pem = || String::from_utf8(shared.certificate.to_pem().unwrap()).unwrap();
    if parts.uri.path().starts_with("/opc/v2/") {
        if parts.headers.get("authorization").is_none_or(|value| value != "Bearer Oracle") {
            return refuse(StatusCode::UNAUTHORIZED, String::new());
        }
        let text = match parts.uri.path() {
            "/opc/v2/instance/region" => "fra".to_owned(),
            "/opc/v2/identity/cert.pem" | "/opc/v2/identity/intermediate.pem" => pem(),
            "/opc/v2/identity/key.pem" => shared.leaf.pem(),
            _ => return refuse(StatusCode::NOT_FOUND, String::new()),
        };
        return Response::new(Body::from(text));
    }
    let digest = shared.certificate.digest(MessageDigest::sha1()).unwrap();
    let digest: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    let key_id = format!("{TENANCY}/fed-x509/{}", digest.join(":"));
    let keys = [(key_id, shared.leaf.public.clone())].into();
    let now = shared.fake.lock().now;
    let required =
        ["date", "(request-target)", "content-length", "content-type", "x-content-sha256"];
    if let Err(why) = verify(&parts.method, &parts.uri, &parts.headers, &keys, now, &required) {
        return refuse(StatusCode::UNAUTHORIZED, why);
    }
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let hash = BASE64.encode(openssl::sha::sha256(&body));
    let exchange: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let der = |value: &serde_json::Value| BASE64.decode(value.as_str().unwrap()).unwrap();
    let certificate = shared.certificate.to_der().unwrap();
    if parts.headers["x-content-sha256"] != hash.as_str()
        || parts.uri.path() != "/v1/x509"
        || der(&exchange["certificate"]) != certificate
        || der(&exchange["intermediateCertificates"][0]) != certificate
    {
        return refuse(StatusCode::BAD_REQUEST, "the exchange is wrong".into());
    }
    let public = PKey::public_key_from_der(&der(&exchange["publicKey"])).unwrap();
    let number = shared.exchanges.fetch_add(1, Ordering::SeqCst);
    let exp = (now + TimeDelta::minutes(20)).timestamp();
    let claims = format!(r#"{{"exp":{exp},"jti":"{number}","region":"{REGION}"}}"#);
    let token = format!("e30.{}.{}", BASE64URL.encode(claims), key().fingerprint().len());
    shared.fake.lock().keys.insert(format!("ST${token}"), public);
    Response::new(Body::from(format!(r#"{{"token":"{token}"}}"#)))
}
