//! A cluster that is not there: librdkafka's own, with faults on demand.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use audit_sink_kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

pub(crate) type Cluster = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Cluster) + Send>;

/// Gives orders to the cluster.
#[derive(Clone)]
pub(crate) struct Orders(Sender<Option<Order>>);

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
pub(crate) struct Mock {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
    pub brokers: String,
}

impl Mock {
    pub fn start() -> Self {
        let (orders, received) = channel::<Option<Order>>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            tell.send(cluster.bootstrap_servers()).unwrap();
            while let Ok(Some(order)) = received.recv() {
                order(&cluster);
            }
        });
        let brokers = told.recv().unwrap();
        Self { orders: Orders(orders), thread: Some(thread), brokers }
    }

    pub fn with_topic(partitions: i32) -> Self {
        let mock = Self::start();
        mock.order(move |cluster| cluster.create_topic("audit", partitions, 1).unwrap());
        mock
    }

    pub fn order(&self, order: impl FnOnce(&Cluster) + Send + 'static) {
        self.orders().give(order);
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// A configuration for tests: nothing takes long.
    pub fn config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&self.brokers, "audit");
        config.delivery_timeout = Duration::from_secs(1);
        for (name, value) in [
            ("reconnect.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "50"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "50"),
            ("topic.metadata.propagation.max.ms", "300"),
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
