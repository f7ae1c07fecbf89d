use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{Error, ErrorKind, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::info;

use crate::client::{Context, retire};
use crate::config::CreateTopic;
use crate::error;
use crate::settings::Settings;

/// How long the brokers have to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Events,
    Checkpoints,
}

/// Runs what blocks on a thread where that hurts nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|e| Error::new(ErrorKind::Unexpected, "a thread ended early").because(e))?
}

/// Returns the number of partitions of a topic; nothing if it is not there. Never makes it.
///
/// # Errors
/// What the connections came across, with a hint.
pub(crate) async fn look(settings: &Arc<Settings>, topic: &str) -> Result<Option<i32>> {
    let (settings, topic) = (Arc::clone(settings), topic.to_owned());
    blocking(move || {
        settings.tls.check()?;
        let mut config = settings.reader();
        // Asked for by a producer, a missing topic would come to be.
        config.set("allow.auto.create.topics", "false");
        let client: ThreadedProducer<Context> = config
            .create_with_context(Context::default())
            .map_err(|e| error::of_kafka(&e, None))?;
        let found = look_with(&client, &topic);
        retire(client);
        found.map_err(|e| e.with("topic", &topic))
    })
    .await
}

fn look_with(client: &ThreadedProducer<Context>, topic: &str) -> Result<Option<i32>> {
    let began = Instant::now();
    let mut slice = Duration::from_millis(250);
    loop {
        // In slices: a refusal arrives beside the question, and is not worth waiting for the end.
        let answer = client.client().fetch_metadata(Some(topic), slice);
        let waiting =
            |code: Code| matches!(code, Code::LeaderNotAvailable) && began.elapsed() < PATIENCE;
        match answer {
            Ok(metadata) => {
                let Some(found) = metadata.topics().first() else { return Ok(None) };
                match found.error().map(Code::from) {
                    Some(code) if waiting(code) => std::thread::sleep(Duration::from_millis(50)),
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
                    Some(code) => return Err(error::of_code(code, None)),
                    None => {
                        let partitions = found.partitions();
                        if let Some(orphan) = partitions.iter().find(|p| p.leader() < 0) {
                            return Err(Error::new(ErrorKind::Unavailable, "it has no leader")
                                .with("partition", orphan.id()));
                        }
                        return Ok(Some(i32::try_from(partitions.len()).unwrap_or(i32::MAX)));
                    }
                }
            }
            Err(error) => {
                let context = client.context();
                if context.is_refused() || began.elapsed() >= PATIENCE {
                    return Err(context.explain(&error));
                }
                slice = (slice * 2).min(PATIENCE.saturating_sub(began.elapsed()));
                slice = slice.max(Duration::from_millis(250));
            }
        }
    }
}

/// Makes a topic that is not there, if the configuration allows it.
///
/// # Errors
/// [`ErrorKind::Config`] when it is not there and may not be made.
pub(crate) async fn ensure(settings: &Arc<Settings>, topic: &str, purpose: Use) -> Result<()> {
    let Some(create) = settings.create_topic else { return Ok(()) };
    if look(settings, topic).await?.is_some() {
        return Ok(());
    }
    make(settings, topic, create, purpose)
        .await
        .map_err(|e| e.while_doing("create the topic").with("topic", topic))
}

/// The error for a topic that is not there and may not be made.
pub(crate) fn missing(topic: &str) -> Error {
    Error::new(ErrorKind::Config, "there is no such topic")
        .with("topic", topic)
        .with_hint("create it, or let it be created with `create_topic`")
}

async fn make(
    settings: &Arc<Settings>,
    topic: &str,
    create: CreateTopic,
    purpose: Use,
) -> Result<()> {
    let admin: AdminClient<Context> = settings
        .reader()
        .create_with_context(Context::default())
        .map_err(|e| error::of_kafka(&e, None))?;
    // -1: as the cluster says.
    let replication = TopicReplication::Fixed(create.replication.map_or(-1, i32::from));
    let new = match purpose {
        Use::Events => NewTopic::new(topic, i32::from(create.partitions), replication),
        // One partition, so that one look finds all; small segments, so that few records are left
        // to read after a compaction.
        Use::Checkpoints => NewTopic::new(topic, 1, replication)
            .set("cleanup.policy", "compact")
            .set("segment.bytes", "16777216"),
    };
    let options =
        AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let answer = admin.create_topics([&new], &options).await;
    retire(admin);
    for made in answer.map_err(|e| error::of_kafka(&e, None))? {
        match made {
            Ok(_) => info!(topic, "topic created"),
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
                return Err(Error::new(ErrorKind::Auth, "the right to create it is missing")
                    .with_hint("grant CREATE on the topic, or create it by hand"));
            }
            Err((_, code)) => return Err(error::of_code(code, None)),
        }
    }
    Ok(())
}
