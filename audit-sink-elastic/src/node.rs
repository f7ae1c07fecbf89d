use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::Host;

/// How long a host that failed is left alone the first time; doubled each time, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The hosts of the cluster, which take turns.
#[derive(Debug)]
pub(crate) struct Nodes {
    all: Vec<Node>,
    next: AtomicUsize,
}

/// One host and how it is doing.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) url: Url,
    pub(crate) name: String,
    pub(crate) authorization: Option<HeaderValue>,
    failing: Mutex<Option<Failing>>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    until: Instant,
    rest: Duration,
}

impl Nodes {
    pub(crate) fn new(hosts: &[(Host, Option<HeaderValue>)]) -> Self {
        let node = |(host, authorization): &(Host, Option<HeaderValue>)| {
            if authorization.is_some() && host.url().scheme() == "http" && !host.is_loopback() {
                warn!(%host, "credentials are sent without TLS");
            }
            Node {
                url: host.url().clone(),
                name: host.to_string(),
                authorization: authorization.clone(),
                failing: Mutex::new(None),
            }
        };
        Self { all: hosts.iter().map(node).collect(), next: AtomicUsize::new(0) }
    }

    /// Returns the hosts in the order in which one request tries them: in turn, first those that are
    /// well, then those whose rest ends soonest.
    pub(crate) fn in_turn(&self) -> Vec<&Node> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        let (before, from) = self.all.split_at(first);
        let mut nodes: Vec<_> = from.iter().chain(before).collect();
        let now = Instant::now();
        nodes.sort_by_key(|node| node.lock().map(|f| f.until).filter(|until| *until > now));
        nodes
    }
}

impl Node {
    /// Notes that it did not answer as a working host does.
    pub(crate) fn failed(&self) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = failing.map_or(FIRST_REST, |f| (f.rest * 2).min(LONGEST_REST));
        if failing.is_none() {
            warn!(host = self.name, "host fails and is avoided for a while");
        }
        *failing = Some(Failing { until: Instant::now() + rest, rest });
    }

    /// Notes that it works.
    pub(crate) fn works(&self) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.take().is_some() {
            info!(host = self.name, "host works again");
        }
    }

    fn lock(&self) -> Option<Failing> {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(nodes: &Nodes) -> Vec<&str> {
        nodes.in_turn().iter().map(|node| node.url.host_str().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_take_turns_and_failing_ones_come_last() {
        let hosts = ["a", "b", "c"].map(|h| (h.parse::<Host>().unwrap(), None));
        let nodes = Nodes::new(&hosts);
        assert_eq!(order(&nodes), ["a", "b", "c"]);
        assert_eq!(order(&nodes), ["b", "c", "a"]);
        nodes.all[0].failed();
        nodes.all[0].failed();
        nodes.all[2].failed();
        assert_eq!(order(&nodes), ["b", "c", "a"]);
        assert_eq!(order(&nodes), ["b", "c", "a"]);
        tokio::time::advance(FIRST_REST + Duration::from_millis(1)).await;
        assert_eq!(order(&nodes), ["b", "c", "a"], "a rests longer");
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(order(&nodes), ["c", "a", "b"]);
        nodes.all[0].works();
        for _ in 0..20 {
            nodes.all[1].failed();
        }
        tokio::time::advance(LONGEST_REST + Duration::from_millis(1)).await;
        assert_eq!(order(&nodes), ["a", "b", "c"], "no rest is longer than the longest");
    }
}
