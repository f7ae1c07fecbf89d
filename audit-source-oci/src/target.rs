use std::sync::Arc;

use audit_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::client::{Client, Service, read};
use crate::config::OciConfig;
use crate::error::{Failure, of_transport};
use crate::retry::Attempts;

/// The largest page of compartments that is read.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// More pages than this are not believed.
const MAX_PAGES: usize = 10_000;

/// One compartment in one region: what the service is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) region: String,
    pub(crate) compartment: String,
    /// It was deleted: perhaps nothing is there any more.
    pub(crate) deleted: bool,
}

impl Target {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.region, self.compartment)
    }
}

/// Returns a number that tells whether two lists of targets are the same.
pub(crate) fn print_of(targets: &[Arc<Target>]) -> u64 {
    targets.iter().fold(0, |seed, target| xxh3_64_with_seed(target.name().as_bytes(), seed))
}

/// Finds out what is to be read, sorted.
///
/// # Errors
/// Those of the Identity service, if it has to be asked.
pub(crate) async fn discover(client: &Client, config: &OciConfig) -> Result<Vec<Arc<Target>>> {
    let signer = client.signer().await?;
    let regions = if config.all_regions {
        subscribed(client, config, &signer.region, &signer.tenancy).await?
    } else if config.regions.is_empty() {
        vec![signer.region.clone()]
    } else {
        config.regions.iter().map(|region| crate::region::full_name(region)).collect()
    };
    let mut compartments: Vec<(String, bool)> = if config.all_compartments {
        tree(client, config, &signer.region, &signer.tenancy).await?
    } else {
        config.compartments.iter().map(|id| (id.clone(), false)).collect()
    };
    if compartments.is_empty() || config.all_compartments {
        compartments.push((signer.tenancy.clone(), false));
    }
    let of_region = |region: &String| {
        let region = region.clone();
        compartments.iter().map(move |(compartment, deleted)| {
            let (compartment, deleted) = (compartment.clone(), *deleted);
            Arc::new(Target { region: region.clone(), compartment, deleted })
        })
    };
    let mut targets: Vec<_> = regions.iter().flat_map(of_region).collect();
    targets.sort();
    targets.dedup_by(|a, b| a.region == b.region && a.compartment == b.compartment);
    if targets.is_empty() {
        return Err(Error::new(ErrorKind::Config, "the tenancy is subscribed to no region"));
    }
    Ok(targets)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    region_name: String,
    status: String,
}

async fn subscribed(
    client: &Client,
    config: &OciConfig,
    region: &str,
    tenancy: &str,
) -> Result<Vec<String>> {
    let path = format!("/20160918/tenancies/{tenancy}/regionSubscriptions");
    let all: Vec<Subscription> = list(client, config, region, &path, &[]).await?;
    let ready = all.into_iter().filter(|s| s.status.eq_ignore_ascii_case("READY"));
    Ok(ready.map(|subscription| subscription.region_name).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compartment {
    id: String,
    #[serde(default)]
    lifecycle_state: String,
}

/// Those that are deleted are among them: what happened before may not have been read yet.
async fn tree(
    client: &Client,
    config: &OciConfig,
    region: &str,
    tenancy: &str,
) -> Result<Vec<(String, bool)>> {
    let query = [
        ("compartmentId", tenancy),
        ("compartmentIdInSubtree", "true"),
        ("accessLevel", "ANY"),
        ("limit", "1000"),
    ];
    let all: Vec<Compartment> =
        list(client, config, region, "/20160918/compartments", &query).await?;
    let deleted = |state: &str| state.eq_ignore_ascii_case("DELETED");
    Ok(all.into_iter().map(|c| (c.id, deleted(&c.lifecycle_state))).collect())
}

/// Reads all pages of a list of the Identity service.
async fn list<T: DeserializeOwned>(
    client: &Client,
    config: &OciConfig,
    region: &str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = query.to_vec();
        query.extend(token.as_deref().map(|token| ("page", token)));
        let mut attempts = Attempts::new(config);
        let (items, next) = loop {
            match page::<T>(client, region, path, &query).await {
                Ok(page) => break page,
                Err(failure) => attempts
                    .wait(failure)
                    .await
                    .map_err(|f| f.error.while_doing("list compartments and regions"))?,
            }
        };
        all.extend(items);
        if next.is_none() {
            return Ok(all);
        }
        if next == token {
            break;
        }
        token = next;
    }
    Err(Error::new(ErrorKind::InvalidData, "the Identity service's pages have no end")
        .while_doing("list compartments and regions"))
}

async fn page<T: DeserializeOwned>(
    client: &Client,
    region: &str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<(Vec<T>, Option<String>), Failure> {
    let answer = client.get(Service::Identity, region, path, query).await?;
    let body = read(answer.response, MAX_PAGE_BYTES).await;
    let body = body.map_err(|e| of_transport(e, "the Identity service"))?;
    let items = serde_json::from_slice(&body).map_err(|e| {
        let (kind, message) = if e.is_eof() {
            (ErrorKind::Unavailable, "the Identity service's answer is cut off")
        } else {
            (ErrorKind::InvalidData, "the Identity service's answer is not understood")
        };
        Failure::all(Error::new(kind, message).because(e))
    })?;
    Ok((items, answer.next))
}
