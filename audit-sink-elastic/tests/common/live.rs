//! A real node, if there is one.

use std::sync::atomic::{AtomicUsize, Ordering};

use audit_core::Secret;
use audit_sink_elastic::ElasticConfig;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A real node, and the name of an index that nobody else uses.
#[derive(Clone, Debug)]
pub struct Live {
    url: String,
    pub index: String,
}

impl Live {
    /// Finds the node. Without one the test is skipped, which it says, unless one was promised.
    pub fn find(test: &str) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let url = variable("AUDIT_TEST_OPENSEARCH_URL");
        if url.is_none() {
            println!("{test}: skipped, AUDIT_TEST_OPENSEARCH_URL is not set");
        }
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self { url: url?, index: format!("sink-elastic-{process}-{next}") })
    }

    pub fn config(&self) -> ElasticConfig {
        ElasticConfig::new(&self.url, &self.index).unwrap()
    }

    /// The same node behind TLS and a password.
    pub fn tls_config(&self) -> ElasticConfig {
        let must = |name| variable(name).expect(name);
        let mut config =
            ElasticConfig::new(&must("AUDIT_TEST_OPENSEARCH_TLS_URL"), &self.index).unwrap();
        config.username = Some(must("AUDIT_TEST_OPENSEARCH_USER"));
        config.password = Some(Secret::new(must("AUDIT_TEST_OPENSEARCH_PASSWORD")));
        config.ca_file = Some(format!("{}/ca.crt", must("AUDIT_TEST_TLS_DIR")).into());
        config
    }

    /// Sends a request of the test's own.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let method = method.parse().unwrap();
        let mut request = client.request(method, format!("{}/{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// As [`ask`](Self::ask), and expects success and JSON.
    pub async fn json(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, text) = self.ask(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Returns id and source of every document, byte for byte, by id.
    pub async fn documents(&self) -> Vec<(String, String)> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            hits: Hits<'a>,
        }
        #[derive(Deserialize)]
        struct Hits<'a> {
            #[serde(borrow)]
            hits: Vec<Hit<'a>>,
        }
        #[derive(Deserialize)]
        struct Hit<'a> {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_source", borrow)]
            source: &'a RawValue,
        }
        let (status, text) = self.ask("POST", &format!("{}/_refresh", self.index), None).await;
        if status == 404 {
            return Vec::new();
        }
        assert_eq!(status, 200, "{text}");
        let path = format!("{}/_search?size=10000", self.index);
        let (_, text) = self.ask("GET", &path, None).await;
        let answer: Answer<'_> = serde_json::from_str(&text).unwrap();
        let hits = answer.hits.hits.into_iter();
        let mut all: Vec<_> = hits.map(|hit| (hit.id, hit.source.get().to_owned())).collect();
        all.sort();
        all
    }

    pub async fn count(&self) -> u64 {
        self.json("POST", &format!("{}/_refresh", self.index), None).await;
        let answer = self.json("GET", &format!("{}/_count", self.index), None).await;
        answer["count"].as_u64().unwrap()
    }
}

/// Without the variable the test is skipped, unless `AUDIT_LIVE` promises a server.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    let promised = std::env::var("AUDIT_LIVE").is_ok_and(|live| live == "1");
    assert!(value.is_some() || !promised, "AUDIT_LIVE is set, but {name} is not");
    value
}
