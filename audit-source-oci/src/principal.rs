use audit_core::{Clock, Error, ErrorKind, Result, Secret};
use openssl::hash::MessageDigest;
use openssl::x509::X509;
use reqwest::header::{AUTHORIZATION, DATE};
use serde::{Deserialize, Serialize};

use crate::config::OciConfig;
use crate::credentials::{Claims, Signer};
use crate::error::of_transport;
use crate::key::{PrivateKey, hex};
use crate::region;
use crate::sign::{Request, http_date};

/// The host of an instance's metadata: reached from the instance only.
pub(crate) const METADATA_HOST: &str = "169.254.169.254";

/// The largest answer of metadata or federation service that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What the federation service is asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    certificate: String,
    public_key: String,
    intermediate_certificates: Vec<String>,
}

/// What it answers.
#[derive(Deserialize)]
struct Answer {
    token: Secret,
}

/// Asks the metadata of the instance this runs on for its certificate, and exchanges that for a
/// token for a key of our own.
pub(crate) async fn instance(
    config: &OciConfig,
    http: &reqwest::Client,
    clock: &Clock,
) -> Result<Signer> {
    let base = match &config.metadata_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{METADATA_HOST}/opc/v2"),
    };
    let get = async |path: &str| {
        let request = http.get(format!("{base}/{path}")).header(AUTHORIZATION, "Bearer Oracle");
        answer(request, "the instance's metadata").await
    };
    let region = match &config.region {
        Some(region) => region.clone(),
        None => get("instance/region").await?,
    };
    let region = region::full_name(&region);
    let certificate = get("identity/cert.pem").await?;
    let key = PrivateKey::from_pem(&Secret::new(get("identity/key.pem").await?), None)?;
    let intermediate = get("identity/intermediate.pem").await?;
    let (tenancy, fingerprint) = of_certificate(&certificate)?;

    let session = tokio::task::spawn_blocking(PrivateKey::generate).await;
    let session = session
        .map_err(|e| Error::new(ErrorKind::Unexpected, "cannot make a key").because(e))??;
    let exchange = Exchange {
        certificate: body_of_pem(&certificate),
        public_key: session.public_base64(),
        intermediate_certificates: vec![body_of_pem(&intermediate)],
    };
    let body = serde_json::to_string(&exchange)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "cannot write a request").because(e))?;
    let domain = config.domain.as_deref().unwrap_or_else(|| region::domain(&region));
    let base = config.auth_endpoint.clone();
    let base = base.unwrap_or_else(|| format!("https://auth.{region}.{domain}"));
    let url =
        reqwest::Url::parse(&format!("{}/v1/x509", base.trim_end_matches('/'))).map_err(|e| {
            Error::new(ErrorKind::Config, "not an address").with("auth_endpoint", &base).because(e)
        })?;
    let date = http_date(clock.now());
    let request =
        Request { method: "post", target: url.path(), host: None, date: &date, body: Some(&body) };
    let key_id = format!("{tenancy}/fed-x509/{fingerprint}");
    let authorization = request.authorization(&key_id, &key)?;
    let mut post = http.post(url.clone()).header(DATE, &date).header(AUTHORIZATION, authorization);
    for (name, value) in request.body_headers().into_iter().filter(|(n, _)| *n != "content-length")
    {
        post = post.header(name, value);
    }
    let text = answer(post.body(body), "the federation service").await?;
    // The text is a secret: the cause, which may quote it, is left out.
    let Answer { token } = serde_json::from_str(&text).map_err(|_| {
        Error::new(ErrorKind::InvalidData, "the federation service's answer has no token")
    })?;
    Ok(Claims::of(&token)?.signer(&token, session, Some(tenancy), region))
}

async fn answer(request: reqwest::RequestBuilder, whose: &'static str) -> Result<String> {
    let failed = |e| of_transport(e, whose).error;
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        let kind = if response.status().is_server_error() || response.status() == 429 {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Auth
        };
        return Err(Error::new(kind, format!("{whose} refused the request"))
            .with("status", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("{whose} answers at too great length"),
            ));
        }
        body.extend_from_slice(&piece);
    }
    String::from_utf8(body).map_err(|_| {
        Error::new(ErrorKind::InvalidData, format!("{whose} does not answer with text"))
    })
}

/// Returns the tenancy a certificate names, and its fingerprint.
fn of_certificate(pem: &str) -> Result<(String, String)> {
    let wrong = |message: &str| Error::new(ErrorKind::InvalidData, message.to_owned());
    let certificate = X509::from_pem(pem.as_bytes())
        .map_err(|_| wrong("the instance's metadata hold no certificate"))?;
    let names = certificate.subject_name().entries();
    let tenancy = names
        .filter_map(|entry| entry.data().to_string().ok())
        .find_map(|name| {
            ["opc-tenant:", "opc-identity:"]
                .iter()
                .find_map(|p| name.strip_prefix(p))
                .map(str::to_owned)
        })
        .ok_or_else(|| wrong("the instance's certificate names no tenancy"))?;
    let digest = certificate
        .digest(MessageDigest::sha1())
        .map_err(|_| wrong("the instance's certificate has no fingerprint"))?;
    Ok((tenancy, hex(&digest, true)))
}

/// Returns what stands between the first markers of a PEM text, on one line.
fn body_of_pem(pem: &str) -> String {
    let lines = pem.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN"));
    lines.skip(1).take_while(|line| !line.starts_with("-----END")).collect()
}
