use std::fmt;
use std::sync::Arc;

use audit_core::logger::{AuditLogger, Level};
use audit_core::{ActionKind, Actor, Error, Outcome, Target};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

type OnError = dyn Fn(&Error) + Send + Sync;

/// A layer for `tracing-subscriber` that makes a record of each event with the target `audit`.
///
/// The fields of the event and of the spans it is in, the innermost first, become parts of the record:
/// `actor` (an id), `action`, `target_type`, `target_id`, `outcome` (`success`, `failure`, `denied`),
/// `correlation_id` or `request_id`; all others its results. Secrets are masked by name.
///
/// An event has no caller to tell that its record was not taken: [`on_error`](Self::on_error) is told.
pub struct AuditTracing {
    logger: AuditLogger,
    target: String,
    on_error: Arc<OnError>,
}

impl AuditTracing {
    /// Sends records as this logger does, each as a copy of it.
    pub fn new(logger: AuditLogger) -> Self {
        let on_error = |error: &Error| tracing::error!(%error, "an audit record was not taken");
        Self { logger, target: "audit".to_owned(), on_error: Arc::new(on_error) }
    }

    /// Takes the events of another target.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Tells of records that were not taken. By default that is an event of level ERROR.
    #[must_use]
    pub fn on_error(mut self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_error = Arc::new(tell);
        self
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for AuditTracing {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != self.target {
            return;
        }
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let mut logger = self.logger.clone();
        fields.fill(&mut logger, level(*event.metadata().level()));
        if let Err(error) = logger.send_log() {
            (self.on_error)(&error);
        }
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str) -> Option<String> {
        Some(match self.0.remove(name)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn fill(mut self, logger: &mut AuditLogger, level: Level) {
        logger.log(level, self.text("message").unwrap_or_default());
        if let Some(id) = self.text("actor") {
            logger.actor(Actor { id: Some(id.into()), ..Actor::default() });
        }
        if let Some(name) = self.text("action") {
            let kind = serde_json::from_value(Value::String(name.to_lowercase()));
            logger.named_action(name, kind.unwrap_or(ActionKind::Other));
        }
        let (kind, id) = (self.text("target_type"), self.text("target_id"));
        if kind.is_some() || id.is_some() {
            let (kind, id) = (kind.map(Into::into), id.map(Into::into));
            logger.target(Target { id, kind, ..Target::default() });
        }
        if let Some(outcome) = self.text("outcome") {
            let known = serde_json::from_value(Value::String(outcome.to_lowercase()));
            logger.outcome(known.unwrap_or(Outcome::Unknown));
        }
        if let Some(id) = self.text("correlation_id").or_else(|| self.text("request_id")) {
            logger.correlation_id(id);
        }
        if !self.0.is_empty() {
            logger.set_results(self.0);
        }
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }
}

impl fmt::Debug for AuditTracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditTracing").field("target", &self.target).finish_non_exhaustive()
    }
}
