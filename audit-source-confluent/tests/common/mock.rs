//! A cluster that is not there: librdkafka's own, with faults on demand.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use audit_source_confluent::ConfluentConfig;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

pub type Cluster = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Cluster) + Send>;

/// Gives orders to the cluster.
#[derive(Clone)]
pub struct Orders(Sender<Option<Order>>);

impl Orders {
    /// Does something to the cluster, and returns when it is done.
    pub fn give(&self, order: impl FnOnce(&Cluster) + Send + 'static) {
        let (tell, told) = channel();
        let order: Order = Box::new(move |cluster| {
            order(cluster);
            tell.send(()).unwrap();
        });
        self.0.send(Some(order)).unwrap();
        told.recv().unwrap();
    }
}

/// A cluster on a thread of its own, which ends with it.
pub struct Mock {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
    pub brokers: String,
}

impl Mock {
    pub fn with_topic(partitions: i32) -> Self {
        let (orders, received) = channel::<Option<Order>>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            cluster.create_topic("audit", partitions, 1).unwrap();
            tell.send(cluster.bootstrap_servers()).unwrap();
            while let Ok(Some(order)) = received.recv() {
                order(&cluster);
            }
        });
        let brokers = told.recv().unwrap();
        Self { orders: Orders(orders), thread: Some(thread), brokers }
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// A configuration for tests: nothing takes long.
    pub fn config(&self) -> ConfluentConfig {
        let mut config = ConfluentConfig::new(&self.brokers);
        config.topic = "audit".to_owned();
        config.timeout = Duration::from_secs(2);
        config.poll_interval = Duration::from_millis(10);
        config.retention = Some(Duration::from_secs(7 * 24 * 60 * 60));
        for (name, value) in [
            ("fetch.wait.max.ms", "20"),
            ("reconnect.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "50"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "50"),
            ("fetch.error.backoff.ms", "10"),
            ("topic.metadata.refresh.fast.interval.ms", "50"),
        ] {
            config.properties.insert(name.to_owned(), value.into());
        }
        config
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.orders.0.send(None).unwrap();
        self.thread.take().map(JoinHandle::join);
    }
}
