//! What an operator watches while pipelines run: Prometheus metrics, liveness and readiness.

mod certificates;
mod server;
mod vitals;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use audit_core::{Clock, Error, ErrorKind, Result, StreamId};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use self::server::Serve;
pub(crate) use self::server::Server;
pub use self::vitals::Vitals;

/// From 1 ms, what a local file takes, to the time by which most operators have been called.
const BATCH_SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of all pipelines of a process.
pub struct Board {
    registry: Registry,
    families: Families,
    files: Vec<(StreamId, PathBuf)>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPipeline {
    pipeline: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    pipeline: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCertificate {
    pipeline: String,
    file: String,
}

/// One family a metric; the pipelines are its labels, and there are as many as in the configuration.
struct Families {
    read: Family<OfPipeline, Counter>,
    delivered: Family<OfPipeline, Counter>,
    duplicate: Family<OfPipeline, Counter>,
    dead_lettered: Family<OfPipeline, Counter>,
    filtered: Family<OfPipeline, Counter>,
    drifted: Family<OfPipeline, Counter>,
    retries: Family<OfPipeline, Counter>,
    bytes: Family<OfPipeline, Counter>,
    batch: Family<OfPipeline, Histogram, fn() -> Histogram>,
    state: Family<InState, Gauge>,
    latest: Family<OfPipeline, Seconds>,
    saved: Family<OfPipeline, Seconds>,
    contact: Family<OfPipeline, Seconds>,
    kept_until: Family<OfPipeline, Seconds>,
    certificate: Family<OfCertificate, Seconds>,
}

impl Board {
    /// Creates it, without pipelines.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("audit");
        let families = Families {
            read: Family::default(),
            delivered: Family::default(),
            duplicate: Family::default(),
            dead_lettered: Family::default(),
            filtered: Family::default(),
            drifted: Family::default(),
            retries: Family::default(),
            bytes: Family::default(),
            batch: Family::new_with_constructor(|| Histogram::new(BATCH_SECONDS)),
            state: Family::default(),
            latest: Family::default(),
            saved: Family::default(),
            contact: Family::default(),
            kept_until: Family::default(),
            certificate: Family::default(),
        };
        let f = &families;
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
        for (name, help, family) in [
            ("events_read", "Records that the source handed out and that are settled", &f.read),
            ("events_delivered", "Events that came into the sink", &f.delivered),
            ("events_duplicate", "Events that were in the sink already", &f.duplicate),
            ("events_dead_lettered", "Records kept in the dead letters", &f.dead_lettered),
            ("events_filtered", "Events left out by a filter", &f.filtered),
            ("events_drifted", "Events without a field that their source always had", &f.drifted),
            ("retries", "Calls that failed and were made again", &f.retries),
            ("read_bytes", "Payload bytes of the records that are settled", &f.bytes),
        ] {
            registry.register(name, help, family.clone());
        }
        let help = "How long a batch took to deliver and to save, with all retries";
        registry.register_with_unit("batch_duration", help, Unit::Seconds, f.batch.clone());
        let help = "Which state a pipeline is in: 1 for that one, 0 for the others";
        registry.register("pipeline_state", help, f.state.clone());
        for (name, help, family) in [
            ("latest_event_timestamp", "The latest time of an event that is settled", &f.latest),
            ("checkpoint_timestamp", "When a checkpoint was last saved", &f.saved),
            ("contact_timestamp", "When a batch was last settled or nothing was new", &f.contact),
            (
                "source_kept_until_timestamp",
                "When the upstream's retention reaches what was not read yet",
                &f.kept_until,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        }
        let help = "When the first certificate of a file expires";
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            f.certificate.clone(),
        );
        Self { registry, families, files: Vec::new() }
    }

    /// Adds a pipeline. `files` are those it reads certificates from, among others.
    pub fn pipeline(&mut self, stream: &StreamId, files: Vec<PathBuf>) -> Vitals {
        self.files.extend(files.into_iter().map(|file| (stream.clone(), file)));
        Vitals::new(stream, &self.families)
    }

    /// Writes all metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`], from the encoder.
    pub fn encode(&self) -> Result<String> {
        for (stream, file) in &self.files {
            let labels =
                OfCertificate { pipeline: stream.to_string(), file: file.display().to_string() };
            // Read each time, since they are renewed while this runs.
            match certificates::first_expiry(file) {
                Some(left) => {
                    let at = seconds(Clock::system().now().timestamp_millis()) + left.as_secs_f64();
                    self.families.certificate.get_or_create(&labels).set(at);
                }
                None => drop(self.families.certificate.remove(&labels)),
            }
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "cannot write the metrics").because(e)
        })?;
        Ok(text)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
