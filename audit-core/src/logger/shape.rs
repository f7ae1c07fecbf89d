use std::str::FromStr;

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize, Serializer};

use super::{AuditRecord, json, line};
use crate::{ActionKind, Error, ErrorKind, Outcome, Result, Target};

/// The form a record is written in: always one line of ASCII JSON, with `, ` and `: ` between
/// tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shape {
    /// `{"audit": {...}}` with the seven keys of `datapunt-audit-log`, as its code writes it.
    #[default]
    Audit,
    /// The same with the provider as its README shows it: `provider` and `realm` are plain texts
    /// of the user.
    AuditFlat,
    /// `{"audit_event": {...}}`, the message of the City of Helsinki's `audit_logs` table. It has
    /// no place for the request, the filter and the results.
    AuditEvent,
    /// The event of this workspace, with id, time, actor, action, target and outcome; the line of
    /// [`Audit`](Self::Audit) is its `raw`, the application its `source`.
    Canonical,
}

impl Shape {
    /// Every shape, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Audit, Self::AuditFlat, Self::AuditEvent, Self::Canonical];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::AuditFlat => "audit-flat",
            Self::AuditEvent => "audit-event",
            Self::Canonical => "canonical",
        }
    }

    /// Appends the record to `out` as one line, without a line end.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] when it cannot be written as JSON, with `out` unchanged. Every
    /// part was checked when it was set, so this does not happen.
    #[inline]
    pub fn append_line(self, record: &AuditRecord, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Audit => line::append(out, &record.fields, line::User::Nested),
            Self::AuditFlat => line::append(out, &record.fields, line::User::Flat),
            Self::AuditEvent => return append_message(record, out),
            Self::Canonical => return append_event(record, out),
        }
        Ok(())
    }
}

fn append_message(record: &AuditRecord, out: &mut Vec<u8>) -> Result<()> {
    json::append(out, &Message::of(record)).map_err(|e| cannot_write(record).because(e))
}

fn append_event(record: &AuditRecord, out: &mut Vec<u8>) -> Result<()> {
    let event = record.to_event(record.application().unwrap_or_default(), Shape::Audit)?;
    json::append(out, &event).map_err(|e| cannot_write(record).because(e))
}

pub(super) fn cannot_write(record: &AuditRecord) -> Error {
    Error::new(ErrorKind::Unexpected, "cannot write the record as JSON").with("id", record.id())
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().copied().find(|s| s.as_str() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            Error::new(ErrorKind::Config, "unknown shape")
                .with("shape", name.escape_debug())
                .with_hint(format!("use one of {}", known.join(", ")))
        })
    }
}

#[derive(Serialize)]
struct Message<'a> {
    audit_event: MessageEvent<'a>,
}

#[derive(Serialize)]
struct MessageEvent<'a> {
    origin: &'a str,
    status: &'static str,
    date_time_epoch: i64,
    date_time: String,
    actor: MessageActor<'a>,
    #[serde(serialize_with = "operation")]
    operation: &'a AuditRecord,
    additional_information: &'a str,
    target: MessageTarget<'a>,
}

#[derive(Serialize)]
struct MessageActor<'a> {
    role: &'a str,
    user_id: &'a str,
    provider: &'a str,
    ip_address: &'a str,
}

#[derive(Serialize)]
struct MessageTarget<'a> {
    id: &'a str,
    r#type: &'a str,
}

impl<'a> Message<'a> {
    fn of(record: &'a AuditRecord) -> Self {
        let actor = record.fields.envelope().actor.as_ref();
        let user = record.user();
        let target = record.fields.envelope().target.as_ref();
        let of_target = |part: fn(&Target) -> Option<&str>| target.and_then(part);
        let audit_event = MessageEvent {
            origin: record.application().unwrap_or_default(),
            status: match record.outcome() {
                Outcome::Success => "SUCCESS",
                Outcome::Denied => "FORBIDDEN",
                Outcome::Failure => "FAILURE",
                Outcome::Unknown => "UNKNOWN",
            },
            date_time_epoch: record.time().timestamp_millis(),
            date_time: record.time().to_rfc3339_opts(SecondsFormat::Millis, true),
            actor: MessageActor {
                role: actor
                    .and_then(|a| a.kind.as_deref())
                    .or_else(|| user?.roles.as_ref()?.first().map(String::as_str))
                    .unwrap_or_default(),
                user_id: actor
                    .and_then(|a| a.id.as_deref().or(a.email.as_deref()))
                    .or_else(|| user.map(|u| &*u.email))
                    .unwrap_or_default(),
                provider: user.map(|u| &*u.provider.name).unwrap_or_default(),
                ip_address: user.map(|u| &*u.ip).unwrap_or_default(),
            },
            operation: record,
            additional_information: record.message(),
            target: MessageTarget {
                id: of_target(|t| t.id.as_deref()).unwrap_or_default(),
                r#type: of_target(|t| t.kind.as_deref())
                    .or_else(|| record.filter().map(|f| &*f.object))
                    .unwrap_or_default(),
            },
        };
        Self { audit_event }
    }
}

fn operation<S: Serializer>(record: &&AuditRecord, serializer: S) -> Result<S::Ok, S::Error> {
    let action = record.action();
    serializer.serialize_str(match (action.kind, action.name.as_deref()) {
        (ActionKind::Create, _) => "CREATE",
        (ActionKind::Read, _) => "READ",
        (ActionKind::Update, _) => "UPDATE",
        (ActionKind::Delete, _) => "DELETE",
        (_, Some(name)) => name,
        (ActionKind::Authorize, None) => "AUTHORIZE",
        (ActionKind::Execute, None) => "EXECUTE",
        (ActionKind::Login, None) => "LOGIN",
        (_, None) => "OTHER",
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::Actor;
    use crate::logger::{AuditLogger, User};

    #[test]
    fn the_outbox_message_is_helsinki_s() {
        let mut logger = AuditLogger::new();
        let mut user = User::anonymous().ip("1.2.3.4");
        user = user.provider("django.contrib.auth.backends.ModelBackend");
        logger
            .application("structured-log-transfer-test")
            .user(user)
            .actor(Actor { id: Some("42".into()), kind: Some("SYSTEM".into()), ..Actor::default() })
            .target(Target {
                id: Some("42".into()),
                kind: Some("User".into()),
                ..Target::default()
            })
            .action(ActionKind::Update)
            .outcome(Outcome::Success)
            .time(DateTime::from_timestamp_millis(1_665_664_496_789).unwrap())
            .info("phone number changed");
        assert_eq!(
            logger.record().unwrap().to_line(Shape::AuditEvent).unwrap(),
            concat!(
                r#"{"audit_event": {"origin": "structured-log-transfer-test", "status": "SUCCESS", "#,
                r#""date_time_epoch": 1665664496789, "date_time": "2022-10-13T12:34:56.789Z", "#,
                r#""actor": {"role": "SYSTEM", "user_id": "42", "#,
                r#""provider": "django.contrib.auth.backends.ModelBackend", "#,
                r#""ip_address": "1.2.3.4"}, "operation": "UPDATE", "#,
                r#""additional_information": "phone number changed", "#,
                r#""target": {"id": "42", "type": "User"}}}"#,
            )
        );
    }

    #[test]
    fn an_empty_outbox_message_has_all_its_keys() {
        let mut logger = AuditLogger::new();
        let time = DateTime::from_timestamp_millis(-1).unwrap();
        let line = logger.time(time).record().unwrap();
        assert_eq!(
            line.to_line(Shape::AuditEvent).unwrap(),
            concat!(
                r#"{"audit_event": {"origin": "", "status": "UNKNOWN", "date_time_epoch": -1, "#,
                r#""date_time": "1969-12-31T23:59:59.999Z", "actor": {"role": "", "user_id": "", "#,
                r#""provider": "", "ip_address": ""}, "operation": "OTHER", "#,
                r#""additional_information": "", "target": {"id": "", "type": ""}}}"#,
            )
        );
    }

    #[test]
    fn the_flat_shape_is_the_readme_s() {
        let mut logger = AuditLogger::new();
        logger.set_user(true, "oidc", "a@b", Some(&["r"]), "::1", "main");
        let line = logger.record().unwrap().to_line(Shape::AuditFlat).unwrap();
        let user = concat!(
            r#""user": {"authenticated": true, "provider": "oidc", "realm": "main", "#,
            r#""email": "a@b", "roles": ["r"], "ip": "::1"}, "#,
        );
        assert!(line.contains(user), "{line}");
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for shape in Shape::ALL {
            assert_eq!(shape.as_str().parse::<Shape>().unwrap(), *shape);
            let text = serde_json::to_string(shape).unwrap();
            assert_eq!(text, format!("\"{}\"", shape.as_str()));
        }
        let error = "xml".parse::<Shape>().unwrap_err();
        assert_eq!(error.hint(), Some("use one of audit, audit-flat, audit-event, canonical"));
    }
}
