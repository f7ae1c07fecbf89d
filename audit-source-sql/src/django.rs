//! The record that django-auditlog's columns make, without the SQL that reads them.

use std::borrow::Cow;

use audit_core::{
    Action, ActionKind, Actor, Envelope, Error, ErrorKind, Origin, Outcome, Result, Target,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::{Changes, Operation, SqlConfig};
use crate::row::{Row, Value};

/// The columns of an entry, in the order in which they are read. From version 2 to 3.4 not every
/// version has each; one that is missing counts as NULL.
pub(crate) const ENTRY: [&str; 11] = [
    "timestamp",
    "action",
    "object_pk",
    "object_repr",
    "changes",
    "changes_text",
    "actor_id",
    "content_type_id",
    "remote_addr",
    "cid",
    "actor_email",
];

/// Those without which it is another table.
pub(crate) const NEEDED: [&str; 5] = ["timestamp", "action", "object_pk", "object_repr", "changes"];

/// Stands for the primary key, whatever its name.
pub(crate) const KEY: &str = "";

/// What is read of the user. The key tells that there is one.
pub(crate) const USER: [&str; 4] = [KEY, "first_name", "last_name", "email"];

/// What is read of the content type.
pub(crate) const CONTENT_TYPE: [&str; 2] = ["app_label", "model"];

/// Makes records as the options say.
#[derive(Debug)]
pub(crate) struct Django {
    origin: Box<str>,
    environment: Box<str>,
    operation: Operation,
    changes: Changes,
}

/// An entry's columns as text; NULL is none.
struct Entry<'a> {
    timestamp: Option<Cow<'a, str>>,
    action: Option<Cow<'a, str>>,
    object_pk: Option<Cow<'a, str>>,
    object_repr: Option<Cow<'a, str>>,
    changes: Option<Cow<'a, str>>,
    actor_id: Option<Cow<'a, str>>,
    remote_addr: Option<Cow<'a, str>>,
    cid: Option<Cow<'a, str>>,
    actor_email: Option<Cow<'a, str>>,
    user: Option<User<'a>>,
    content_type: Option<String>,
}

struct User<'a> {
    name: String,
    email: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Document<'a> {
    audit_event: AuditEvent<'a>,
}

/// The order of the fields is that of the payload.
#[derive(Serialize)]
struct AuditEvent<'a> {
    actor: &'a str,
    date_time: &'a str,
    operation: &'a str,
    origin: &'a str,
    target: &'a str,
    environment: &'a str,
    message: Message<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Null,
}

impl Django {
    pub(crate) fn new(config: &SqlConfig) -> Self {
        Self {
            origin: config.origin.as_str().into(),
            environment: config.environment.as_str().into(),
            operation: config.operation,
            changes: config.changes,
        }
    }

    /// Writes the record.
    pub(crate) fn write(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let entry = Entry::of(row);
        let time = entry.time().map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, false));
        let document = Document {
            audit_event: AuditEvent {
                actor: entry.actor(),
                date_time: time.as_deref().or(entry.timestamp.as_deref()).unwrap_or_default(),
                operation: match self.operation {
                    Operation::Words => entry.operation(),
                    Operation::Codes => entry.action.as_deref().unwrap_or_default(),
                },
                origin: &self.origin,
                target: entry.object_repr.as_deref().unwrap_or_default(),
                environment: &self.environment,
                message: match (entry.changes.as_deref(), self.changes) {
                    (None, _) => Message::Null,
                    (Some(text), Changes::Text) => Message::Text(text),
                    // What is not JSON, although it should be, is still what was recorded.
                    (Some(text), Changes::Object) => {
                        serde_json::from_str(text).map_or(Message::Text(text), Message::Json)
                    }
                },
            },
        };
        // Writing to memory does not fail, and every key is a string.
        _ = serde_json::to_writer(out, &document);
    }

    /// Returns what the columns say, also beyond the record.
    ///
    /// # Errors
    /// A column is not UTF-8: then the record holds only nearly what the row does.
    pub(crate) fn envelope(&self, row: &Row<'_>) -> Result<Envelope> {
        for (value, column) in row.content.iter().zip(ENTRY) {
            if let Value::Text(bytes) | Value::Blob(bytes) = value
                && std::str::from_utf8(bytes).is_err()
            {
                return Err(Error::new(ErrorKind::InvalidData, "a column is not UTF-8")
                    .with("column", column));
            }
        }
        let entry = Entry::of(row);
        let operation = entry.operation();
        let name = match &entry.content_type {
            Some(model) => format!("{model}.{operation}").into(),
            None => operation.into(),
        };
        let kind = match operation {
            "create" => ActionKind::Create,
            "update" => ActionKind::Update,
            "delete" => ActionKind::Delete,
            "access" => ActionKind::Read,
            _ => ActionKind::Other,
        };
        let address = entry.remote_addr.as_deref().and_then(|text| text.split('/').next());
        let boxed = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Into::into);
        let actor = Actor {
            id: boxed(entry.actor_id.as_deref()),
            kind: None,
            name: boxed(entry.user.as_ref().map(|user| &*user.name)),
            email: boxed(entry.actor_email.as_deref())
                .or_else(|| boxed(entry.user.as_ref()?.email.as_deref())),
        };
        let target = Target {
            id: boxed(entry.object_pk.as_deref()),
            kind: boxed(entry.content_type.as_deref()),
            name: boxed(entry.object_repr.as_deref()),
            scope: boxed(Some(&self.environment)),
        };
        let time = entry.time();
        Ok(Envelope {
            id: None,
            time,
            action: Action { name: Some(name), kind },
            actor: (actor != Actor::default()).then_some(actor),
            target: Some(target),
            outcome: Outcome::Success,
            origin: Origin {
                ip: address.and_then(|text| text.trim().parse().ok()),
                user_agent: None,
                via: boxed(Some(&self.origin)),
                correlation_id: boxed(entry.cid.as_deref()),
            },
            message: None,
            drift: time.is_none().then_some("timestamp"),
        })
    }
}

impl<'a> Entry<'a> {
    fn of(row: &Row<'a>) -> Self {
        let mut content = row.content.iter().copied().map(text);
        let mut next = || content.next().flatten();
        let (timestamp, action, object_pk, object_repr) = (next(), next(), next(), next());
        // Version 3 moves the old text to `changes_text`, and may fill `changes` much later.
        let (json, old) = (next(), next());
        let changes = json.or(old).filter(|text| !text.is_empty());
        let (actor_id, _content_type) = (next(), next());
        let (remote_addr, cid, actor_email) = (next(), next(), next());
        let mut others = row.others.iter().copied().map(text);
        let mut next = || others.next().flatten();
        let (user, first, last, email) = (next(), next(), next(), next());
        let user = user.map(|_| {
            let [first, last] = [first, last].map(Option::unwrap_or_default);
            User { name: format!("{first} {last}").trim().to_owned(), email }
        });
        let content_type = next().zip(next()).map(|(app, model)| format!("{app}.{model}"));
        Self {
            timestamp,
            action,
            object_pk,
            object_repr,
            changes,
            actor_id,
            remote_addr,
            cid,
            actor_email,
            user,
            content_type,
        }
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        self.timestamp.as_deref().and_then(crate::time::parse)
    }

    /// Returns the full name, else the e-mail address, of the user; nobody is `unknown`.
    fn actor(&self) -> &str {
        match &self.user {
            None => "unknown",
            Some(user) if user.name.is_empty() => user.email.as_deref().unwrap_or_default(),
            Some(user) => &user.name,
        }
    }

    /// Returns the operation in words; a code of later versions stays a code.
    fn operation(&self) -> &str {
        match self.action.as_deref().unwrap_or_default() {
            "0" => "create",
            "1" => "update",
            "2" => "delete",
            "3" => "access",
            code => code,
        }
    }
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::Text(bytes) | Value::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
        number => Some(String::from_utf8_lossy(&number.bytes()).into_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use audit_core::Raw;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn written(django: &Django, content: &[Value<'_>], others: &[Value<'_>]) -> String {
        let row = Row { key: Value::Int(1), id: None, content, others };
        let mut out = Vec::new();
        django.write(&row, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(text: &Option<String>) -> Value<'_> {
        text.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes()))
    }

    proptest! {
        #[test]
        fn any_columns_make_one_json_document_that_holds_them(
            texts in prop::collection::vec(prop::option::of("\\PC*"), ENTRY.len()),
            user in prop::collection::vec(prop::option::of(".*"), USER.len()),
            as_text: bool,
        ) {
            let mut config = SqlConfig::new("a.db");
            config.changes = if as_text { Changes::Text } else { Changes::Object };
            let content: Vec<_> = texts.iter().map(value).collect();
            let others: Vec<_> = user.iter().map(value).collect();
            let document = written(&Django::new(&config), &content, &others);
            prop_assert!(Raw::parse(document.clone()).is_ok(), "{}", document);
            let json: Json = serde_json::from_str(&document).unwrap();
            let event = json["audit_event"].as_object().unwrap();
            prop_assert_eq!(event["target"].as_str(), Some(texts[3].as_deref().unwrap_or_default()));
            if let (true, Some(changes)) = (as_text, texts[4].as_deref().filter(|t| !t.is_empty())) {
                prop_assert_eq!(event["message"].as_str(), Some(changes));
            }
        }

        #[test]
        fn changes_that_are_json_are_spliced(numbers in prop::collection::vec(any::<f64>(), 0..9)) {
            let changes = serde_json::to_string_pretty(&numbers).unwrap();
            let mut content = [Value::Null; ENTRY.len()];
            content[4] = Value::Text(changes.as_bytes());
            let document = written(&Django::new(&SqlConfig::new("a.db")), &content, &[]);
            let end = format!("\"message\":{changes}}}}}");
            prop_assert!(document.ends_with(&end), "{}", document);
        }
    }
}
