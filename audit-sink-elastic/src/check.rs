use audit_core::{Error, ErrorKind, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, info};

use crate::answer::shown;
use crate::client::{Client, Reply, Request};
use crate::config::Settings;
use crate::error;

/// The largest answer read here.
const MAX_ANSWER: usize = 4 << 20;

/// What the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) is_opensearch: bool,
    /// Major and minor.
    pub(crate) version: (u32, u32),
}

/// Sends a request without a body.
pub(crate) async fn get(
    client: &Client,
    method: Method,
    path: &[&str],
    query: &[(&str, &str)],
) -> Result<Reply> {
    client.send(Request { method, path, query, body: None, max_answer: MAX_ANSWER }).await
}

/// Finds out whether events could be written: changes nothing.
pub(crate) async fn check(client: &Client, settings: &Settings) -> Result<()> {
    let doing = |e: Error| e.while_doing("check the cluster");
    product(client).await.map_err(doing)?;
    index(client, settings).await.map_err(doing)?;
    pipeline(client, settings).await.map_err(doing)
}

/// Asks who is there; none if the credentials may write but not ask.
pub(crate) async fn product(client: &Client) -> Result<Option<Product>> {
    #[derive(Deserialize)]
    struct Root {
        version: Version,
        #[serde(default)]
        cluster_name: String,
    }
    #[derive(Deserialize)]
    struct Version {
        number: String,
        #[serde(default)]
        distribution: String,
    }
    let reply = get(client, Method::GET, &[], &[]).await?;
    match reply.status {
        200..=299 => {}
        // Rights to write do not include this one, and some services have no such address.
        403 | 404 => {
            debug!(host = reply.host, reply.status, "the cluster does not say what it is");
            return Ok(None);
        }
        _ => return Err(error::of_reply(&reply)),
    }
    let root: Root = serde_json::from_slice(&reply.body).map_err(|_| {
        Error::new(ErrorKind::Config, "neither Elasticsearch nor OpenSearch answers there")
            .with("host", &reply.host)
    })?;
    let mut numbers = root.version.number.split('.').map(|n| n.parse().unwrap_or(0));
    let product = Product {
        is_opensearch: root.version.distribution == "opensearch",
        version: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
    };
    info!(
        product = if product.is_opensearch { "OpenSearch" } else { "Elasticsearch" },
        version = shown(&root.version.number),
        cluster = shown(&root.cluster_name),
        host = reply.host,
        "connected"
    );
    if !product.is_opensearch && product.version.0 < 7 {
        return Err(Error::new(ErrorKind::Config, "Elasticsearch is older than 7")
            .with("version", shown(&root.version.number)));
    }
    Ok(Some(product))
}

/// Looks whether the index, data stream or alias is there, or would be made by the first write.
async fn index(client: &Client, settings: &Settings) -> Result<()> {
    let name = settings.index.wildcard();
    let query = [("allow_no_indices", "false")];
    let reply = get(client, Method::HEAD, &[&name], &query).await?;
    match reply.status {
        200..=299 => Ok(()),
        403 => {
            debug!(index = name, "the credentials may not see the index; it may be there");
            Ok(())
        }
        404 => may_be_created(client, settings, &name).await,
        _ => Err(error::of_reply(&reply)),
    }
}

async fn may_be_created(client: &Client, settings: &Settings, name: &str) -> Result<()> {
    let query = [
        ("include_defaults", "true"),
        ("flat_settings", "true"),
        ("filter_path", "*.action.auto_create_index"),
    ];
    let reply = get(client, Method::GET, &["_cluster", "settings"], &query).await?;
    if !reply.is_success() {
        debug!(index = name, "not there; whether it would be made cannot be asked");
        return Ok(());
    }
    let all: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let setting = ["transient", "persistent", "defaults"]
        .iter()
        .find_map(|level| all.get(level)?.get("action.auto_create_index")?.as_str())
        .unwrap_or("true");
    // Any date will do: patterns are about the beginning of a name.
    if creates(setting, &settings.index.at(chrono::DateTime::UNIX_EPOCH)) {
        info!(index = name, "not there yet; the first write creates it");
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "the index is not there, and the cluster does not make it")
        .with("index", name)
        .with("action.auto_create_index", shown(setting))
        .with_hint("create the index, or allow its name in `action.auto_create_index`"))
}

/// Returns whether `action.auto_create_index` lets an index of this name be made: a boolean, or
/// patterns of which the first that fits decides, `-` in front forbids, and none means no.
fn creates(setting: &str, name: &str) -> bool {
    if let Ok(all) = setting.trim().parse() {
        return all;
    }
    let mut patterns = setting.trim_matches(['[', ']']).split(',').map(str::trim);
    patterns
        .find_map(|pattern| {
            let (allowed, pattern) = match pattern.strip_prefix('-') {
                Some(rest) => (false, rest),
                None => (true, pattern.strip_prefix('+').unwrap_or(pattern)),
            };
            fits(pattern, name).then_some(allowed)
        })
        .unwrap_or(false)
}

/// Returns whether a name fits a pattern, in which `*` stands for anything. In one pass: the pattern
/// is somebody else's.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // What fits earlier leaves more room for the parts behind it.
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

async fn pipeline(client: &Client, settings: &Settings) -> Result<()> {
    let Some(name) = &settings.pipeline else { return Ok(()) };
    let reply = get(client, Method::GET, &["_ingest", "pipeline", name], &[]).await?;
    match reply.status {
        404 => Err(Error::new(ErrorKind::Config, "there is no such ingest pipeline")
            .with("pipeline", shown(name))),
        200..=299 | 403 => Ok(()),
        _ => Err(error::of_reply(&reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_for_new_indices_is_understood() {
        for (setting, name, may) in [
            ("true", "audit", true),
            ("false", "audit", false),
            ("audit-*", "audit-2026", true),
            ("logs-*,-audit*,+*", "audit", false),
            ("logs-*,-audit*,+*", "other", true),
            ("[logs-*, +a*t]", "audit", true),
            ("logs-*", "audit", false),
            ("-audit", "audit-2026", false),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("*b*b*", "ab", false),
            ("*", "audit", true),
        ] {
            assert_eq!(creates(setting, name), may, "{setting} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_one_of_few() {
        let name = "a".repeat(255);
        assert!(!fits(&("*a".repeat(60) + "*b"), &name));
        assert!(fits(&"*".repeat(4 << 20), &name));
    }
}
