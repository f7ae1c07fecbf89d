//! Where the events of a cell go to, and what is there then.

use std::fs;
use std::path::Path;

use rdkafka::ClientConfig;
use serde_json::Value;

use crate::elastic::Cluster;
use crate::origin::{unique, variable};
use crate::port::reading::{Isolation, read};

/// A sink.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    File,
    Elastic,
    /// Events and checkpoint in one transaction.
    Kafka,
    Report,
}

/// A sink that is there.
pub(crate) struct Place {
    pub config: String,
    kind: Kind,
}

enum Kind {
    File,
    Elastic(Cluster),
    Kafka { brokers: String, topic: String },
    Report,
}

impl Effect {
    pub(crate) const ALL: [Self; 4] = [Self::File, Self::Elastic, Self::Kafka, Self::Report];

    /// What stands in the pipeline's own table.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Self::Report => "",
            _ => "format = \"canonical\"",
        }
    }

    pub(crate) fn place(self) -> Option<Place> {
        let (kind, config) = match self {
            Self::File => (Kind::File, "type = \"file\"\npath = \"out.ndjson\"".to_owned()),
            Self::Elastic => {
                let cluster = Cluster::start();
                let config = format!(
                    "type = \"elastic\"\nhosts = [\"{}\"]\nindex = \"cell\"",
                    cluster.url()
                );
                (Kind::Elastic(cluster), config)
            }
            Self::Kafka => {
                let brokers = variable("AUDIT_TEST_KAFKA")?;
                let topic = unique("matrix-sink");
                let config = format!(
                    "type = \"kafka\"\nbrokers = [\"{brokers}\"]\ntopic = \"{topic}\"\n\
                     create_topic = {{ partitions = 2, replication = 1 }}\n\
                     transaction = {{ checkpoint_topic = \"{topic}-progress\" }}"
                );
                (Kind::Kafka { brokers, topic }, config)
            }
            Self::Report => (
                Kind::Report,
                "type = \"report\"\npath = \"reports\"\nformats = [\"json\"]".to_owned(),
            ),
        };
        Some(Place { config, kind })
    }
}

impl Place {
    /// Returns the ids of the events that are there; of counts, one for each event counted.
    pub(crate) fn ids(&self, dir: &Path) -> Vec<String> {
        let id = |text: &str| {
            let event: Value = serde_json::from_str(text).unwrap();
            event["id"].as_str().unwrap().to_owned()
        };
        match &self.kind {
            Kind::File => {
                let text = fs::read_to_string(dir.join("out.ndjson")).unwrap();
                text.lines().map(id).collect()
            }
            Kind::Elastic(cluster) => {
                cluster.documents().iter().map(|(_, _, document)| id(document)).collect()
            }
            Kind::Kafka { brokers, topic } => {
                let mut config = ClientConfig::new();
                config.set("bootstrap.servers", brokers);
                let stored = read(&config, topic, Isolation::Committed);
                stored.iter().map(|record| id(&record.value)).collect()
            }
            Kind::Report => {
                let files = fs::read_dir(dir.join("reports")).unwrap().map(|f| f.unwrap().path());
                let reports = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
                let mut counted = 0;
                for report in reports {
                    let text = fs::read_to_string(report).unwrap();
                    let counts: Vec<Value> = serde_json::from_str(&text).unwrap();
                    let every = counts.iter().filter(|c| c["section"] == "OTHER_EVENTS");
                    counted += every.map(|c| c["count"].as_u64().unwrap()).sum::<u64>();
                }
                (0..counted).map(|n| n.to_string()).collect()
            }
        }
    }
}
