use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use audit_core::{ActionKind, AuditEvent, Outcome};

use crate::payload::Payload;
use crate::row::UNKNOWN;
use crate::{Crosstab, Hour, Section};

/// What a report needs to know of an event, borrowed from wherever it was read.
///
/// [`count`](Self::count) is the one place that decides which sections an event is in, for events
/// of a pipeline and for records read straight from files alike.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// When it happened.
    pub hour: Hour,
    /// The method or action: `mds.Authorize`, `LaunchInstance`.
    pub method: Option<&'a str>,
    /// Who did it; the mark `User:` of Kafka principals is left out of labels.
    pub principal: Option<&'a str>,
    /// What kind of event it is, as far as sections differ.
    pub class: Class<'a>,
    /// Whether it was refused or failed.
    pub failed: bool,
    /// Where the request came from.
    pub client: Option<IpAddr>,
}

/// The classes of events that have sections of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class<'a> {
    /// A permission was asked for.
    Authorization {
        /// What for: `Describe`, `AlterConfigs`.
        operation: Option<&'a str>,
    },
    /// An identity was to be proved.
    SignIn {
        /// The user's name for people, usually an e-mail address; else the principal is shown.
        user: Option<&'a str>,
        /// Whether it was; none if the record does not say.
        succeeded: Option<bool>,
        /// The first error's status if not.
        status: Option<&'a str>,
    },
    /// Anything else.
    #[default]
    Other,
}

/// What decides about the class of an event, beside its method, kind and outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Details<'a> {
    /// The operation that a permission was asked for: `Describe`.
    pub operation: Option<&'a str>,
    /// The user's name for people, usually an e-mail address.
    pub user: Option<&'a str>,
    /// The first error's status: `401`.
    pub status: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// Creates the facts of an event of which only the hour is known.
    pub fn new(hour: Hour) -> Self {
        Self {
            hour,
            method: None,
            principal: None,
            class: Class::Other,
            failed: false,
            client: None,
        }
    }

    /// Finds out by the method, which has to be set, which class the event is of, and whether it was
    /// refused or failed. The kind and the outcome are asked for only where `counts` needs them.
    pub fn classify(
        &mut self,
        counts: &Crosstab,
        kind: impl FnOnce() -> ActionKind,
        outcome: impl FnOnce() -> Outcome,
        details: Details<'a>,
    ) {
        let Details { operation, user, status } = details;
        self.class = match self.method {
            Some(AUTHORIZE) => Class::Authorization { operation },
            Some(SIGN_IN) => Class::SignIn { user, succeeded: None, status },
            // Kafka clients authenticate and are authorized all the time: their methods have always
            // been among the other events only.
            Some(method) if is_of_machines(method) => Class::Other,
            method => match kind() {
                ActionKind::Authorize => Class::Authorization { operation: method },
                ActionKind::Login => Class::SignIn { user, succeeded: None, status: None },
                _ => Class::Other,
            },
        };
        let is_sign_in = matches!(self.class, Class::SignIn { .. });
        if is_sign_in || counts.counts(Section::Denied) {
            let verdict = match outcome() {
                Outcome::Success => Some(true),
                Outcome::Failure | Outcome::Denied => Some(false),
                Outcome::Unknown => None,
            };
            self.failed = verdict == Some(false);
            if let Class::SignIn { succeeded, .. } = &mut self.class {
                *succeeded = verdict;
            }
        }
    }

    /// Counts the event in each section it is in.
    pub fn count(&self, crosstab: &mut Crosstab) {
        self.each_label(crosstab, |crosstab, section, label| {
            crosstab.add_joined(section, self.hour, label, 1);
        });
    }

    /// Counts so many alike events in one section only.
    pub(crate) fn count_in(&self, wanted: Section, count: u64, crosstab: &mut Crosstab) {
        self.each_label(crosstab, |crosstab, section, label| {
            if section == wanted {
                crosstab.add_joined(section, self.hour, label, count);
            }
        });
    }

    /// Finds the sections the event is in, and its label there in parts.
    fn each_label(
        &self,
        crosstab: &mut Crosstab,
        mut add: impl FnMut(&mut Crosstab, Section, &[&str]),
    ) {
        let method = self.method.unwrap_or(UNKNOWN);
        let whole = self.principal.unwrap_or(UNKNOWN);
        let principal = &*without_mark(whole);
        add(crosstab, Section::OtherEvents, &[method]);
        add(crosstab, Section::Principals, &[principal]);
        if let Some(client) = self.client.filter(|_| crosstab.counts(Section::ClientAddresses)) {
            add(crosstab, Section::ClientAddresses, &[Address::of(client).as_str()]);
        }
        match self.class {
            Class::Authorization { operation } => {
                let operation = operation.unwrap_or(UNKNOWN);
                add(crosstab, Section::AuthEvents, &[principal, "-", operation]);
            }
            Class::SignIn { user, succeeded: Some(true), .. } => {
                add(crosstab, Section::SigninSuccess, &[user.unwrap_or(principal)]);
            }
            Class::SignIn { user, succeeded: Some(false), status } => {
                let user = user.unwrap_or(principal);
                match status {
                    Some(status) => add(crosstab, Section::SigninFail, &[user, " (", status, ")"]),
                    None => add(crosstab, Section::SigninFail, &[user]),
                }
            }
            Class::SignIn { succeeded: None, .. } | Class::Other => {}
        }
        if self.failed && !matches!(self.class, Class::SignIn { .. }) {
            let operation = match self.class {
                Class::Authorization { operation: Some(operation) } => operation,
                _ => method,
            };
            add(crosstab, Section::Denied, &[principal, "-", operation]);
        }
    }
}

/// Leaves out the mark of Kafka principals, wherever it is.
fn without_mark(principal: &str) -> Cow<'_, str> {
    const MARK: &str = "User:";
    let rest = principal.strip_prefix(MARK).unwrap_or(principal);
    if memchr::memchr(b':', rest.as_bytes()).is_none() {
        return Cow::Borrowed(rest);
    }
    Cow::Owned(principal.replace(MARK, ""))
}

/// The text of an address, without an allocation.
struct Address {
    bytes: [u8; 64],
    len: usize,
}

impl Address {
    fn of(client: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 64], len: 0 };
        // An IPv4 client of an IPv6 socket is the same client. No address is longer than the buffer.
        if write!(text, "{}", client.to_canonical()).is_err() {
            text.len = 0;
        }
        text
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl std::fmt::Write for Address {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Counts an event of any source.
///
/// Most is in the envelope. The payload is read for what the classic sections of Confluent Cloud
/// show beyond it, and when the envelope does not even have an action or an actor.
pub(crate) fn count(event: &AuditEvent, hour: Hour, crosstab: &mut Crosstab) {
    let payload = Payload::of(&event.raw);
    let bare = event.action.name.is_none();
    let method = event.action.name.as_deref().map(Cow::Borrowed);
    let method = method.or_else(|| payload.method());
    let actor = event.actor.as_ref();
    let fields = actor.iter().flat_map(|a| [&a.id, &a.name, &a.email]);
    let principal = fields.flatten().next().map(|id| Cow::Borrowed(&**id));
    let name = actor.and_then(|a| a.email.as_deref().or(a.name.as_deref())).map(Cow::Borrowed);
    let (mut outcome, mut operation, mut user, mut status) = (event.outcome, None, name, None);
    match method.as_deref() {
        Some(AUTHORIZE) => operation = payload.operation(),
        Some(SIGN_IN) => {
            user = user.or_else(|| payload.email());
            status = payload.first_error();
            outcome = known(outcome, || payload.signed_in());
        }
        _ => {}
    }
    if bare {
        outcome = known(outcome, || payload.failed().then_some(false));
    }
    let mut facts = Facts::new(hour);
    facts.method = method.as_deref();
    let (user, status) = (user.as_deref(), status.as_deref());
    let details = Details { operation: operation.as_deref(), user, status };
    facts.classify(crosstab, || event.action.kind, || outcome, details);
    let told = match facts.class {
        Class::Other if !bare => None,
        _ if principal.is_some() => None,
        _ => payload.principal(),
    };
    facts.principal = principal.as_deref().or(told.as_deref());
    facts.client = match event.origin.ip {
        None if bare => payload.client(),
        known => known,
    };
    facts.count(crosstab);
}

fn known(outcome: Outcome, succeeded: impl FnOnce() -> Option<bool>) -> Outcome {
    match outcome {
        Outcome::Unknown => succeeded().map_or(outcome, |succeeded| match succeeded {
            true => Outcome::Success,
            false => Outcome::Failure,
        }),
        known => known,
    }
}

/// The method by which programs ask for a permission.
const AUTHORIZE: &str = "mds.Authorize";
/// The method by which people sign in.
const SIGN_IN: &str = "SignIn";

/// The services whose clients are programs: the beginnings of their methods.
pub(crate) const MACHINES: [&str; 6] =
    ["kafka", "schema-registry", "ksql", "flink", "ip-filter", "mds"];

fn is_of_machines(method: &str) -> bool {
    let mut services = MACHINES.iter().filter_map(|service| method.strip_prefix(service));
    services.any(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use audit_core::{Action, Actor, EventId, Raw};
    use serde_json::{Value, json};

    use super::*;

    /// An event, at ten past midnight of 2026-11-21.
    fn event(raw: &Value) -> AuditEvent {
        let raw = Raw::parse(raw.to_string()).unwrap();
        let time = "2026-11-21T00:10:00Z".parse().unwrap();
        AuditEvent::new(EventId::new("1"), Arc::from("test"), time, raw)
    }

    fn counted(event: &AuditEvent) -> Vec<(Section, String)> {
        let mut crosstab = Crosstab::default();
        let hour = Hour::of(&event.time).unwrap();
        count(event, hour, &mut crosstab);
        let own = Section::ALL.iter().filter(|s| s.counted_as() == **s);
        own.flat_map(|section| {
            let rows = crosstab.rows(hour.day(), *section).into_iter();
            rows.map(|row| (*section, row.label.unwrap().to_owned())).collect::<Vec<_>>()
        })
        .collect()
    }

    fn is(section: Section, label: &str) -> (Section, String) {
        (section, label.to_owned())
    }

    #[test]
    fn a_bare_confluent_record_is_counted_by_its_payload() {
        let authorize = event(&json!({"data": {
            "methodName": "mds.Authorize",
            "authenticationInfo": {"principal": "User:u-User:1"},
            "authorizationInfo": {"granted": false, "operation": "Describe"},
            "requestMetadata": {"client_address": "/192.0.2.7"},
        }}));
        let expected = [
            is(Section::AuthEvents, "u-1-Describe"),
            is(Section::OtherEvents, "mds.Authorize"),
            is(Section::Denied, "u-1-Describe"),
            is(Section::ClientAddresses, "192.0.2.7"),
            is(Section::Principals, "u-1"),
        ];
        assert_eq!(counted(&authorize), expected);

        let mut failed = event(&json!({"data": {
            "methodName": "SignIn",
            "authenticationInfo": {
                "principal": {"email": "ann@b.example", "confluentUser": {"resourceId": "u-9"}},
                "result": "FAILURE",
            },
            "result": {"status": "FAILURE", "data": {"errors": [{"status": "401"}]}},
        }}));
        let expected = [
            is(Section::SigninFail, "ann@b.example (401)"),
            is(Section::OtherEvents, "SignIn"),
            is(Section::Principals, "u-9"),
        ];
        assert_eq!(counted(&failed), expected);
        failed.raw = Raw::parse(failed.raw.get().replace("FAILURE", "SUCCESS")).unwrap();
        assert_eq!(counted(&failed)[0], is(Section::SigninSuccess, "ann@b.example"));
    }

    #[test]
    fn the_envelope_is_enough_for_any_source() {
        let mut login = event(&json!({"x": 1}));
        login.action = Action { name: Some("login".into()), kind: ActionKind::Login };
        login.outcome = Outcome::Failure;
        login.actor =
            Some(Actor { id: Some("7".into()), name: Some("Ann".into()), ..Actor::default() });
        login.origin.ip = Some("::ffff:192.0.2.1".parse().unwrap());
        let expected = [
            is(Section::SigninFail, "Ann"),
            is(Section::OtherEvents, "login"),
            is(Section::ClientAddresses, "192.0.2.1"),
            is(Section::Principals, "7"),
        ];
        assert_eq!(counted(&login), expected);
        login.action = Action { name: Some("DeleteBucket".into()), kind: ActionKind::Delete };
        login.outcome = Outcome::Denied;
        assert!(counted(&login).contains(&is(Section::Denied, "7-DeleteBucket")));
        login.action.kind = ActionKind::Authorize;
        assert!(counted(&login).contains(&is(Section::AuthEvents, "7-DeleteBucket")));
    }

    #[test]
    fn kafka_clients_are_no_sign_ins_and_failed_requests_are_denied() {
        let mut produce = event(&json!({"data": {"result": {"status": "FAILURE"}}}));
        produce.action = Action { name: Some("kafka.Produce".into()), kind: ActionKind::Other };
        produce.outcome = Outcome::Failure;
        assert!(counted(&produce).contains(&is(Section::Denied, "(unknown)-kafka.Produce")));
        produce.action =
            Action { name: Some("kafka.Authentication".into()), kind: ActionKind::Login };
        produce.outcome = Outcome::Success;
        assert_eq!(counted(&produce).len(), 2, "of all events and by principal");
    }

    #[test]
    fn an_event_that_says_nothing_is_counted_all_the_same() {
        let expected = [is(Section::OtherEvents, UNKNOWN), is(Section::Principals, UNKNOWN)];
        assert_eq!(counted(&event(&json!([]))), expected);
    }

    #[test]
    fn the_longest_address_fits() {
        let mut longest = event(&json!({}));
        longest.origin.ip = Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe".parse().unwrap());
        assert_eq!(counted(&longest)[1].1, longest.origin.ip.unwrap().to_string());
    }

    proptest::proptest! {
        #[test]
        fn r01_facts_read_elsewhere_are_counted_as_the_event_is(
            method in proptest::sample::select(
                vec!["mds.Authorize", "SignIn", "kafka.Authentication", "CreateTopic", "login"],
            ),
            kind in proptest::sample::select(
                vec![ActionKind::Authorize, ActionKind::Login, ActionKind::Create],
            ),
            outcome in proptest::sample::select(
                vec![Outcome::Success, Outcome::Failure, Outcome::Denied, Outcome::Unknown],
            ),
            principal in proptest::option::of("(User:)?[a-c]{1,2}(User:)?"),
            (user, operation, status) in proptest::prelude::any::<(bool, bool, bool)>(),
        ) {
            let user = user.then_some("ann@b.example").filter(|_| principal.is_some());
            let (operation, status) = (operation.then_some("Read"), status.then_some("401"));
            let mut event = event(&json!({"data": {
                "authorizationInfo": {"operation": operation},
                "result": {"data": {"errors": [{"status": status}]}},
            }}));
            event.action = Action { name: Some(method.into()), kind };
            event.outcome = outcome;
            event.actor = principal.as_deref().map(|id| Actor {
                id: Some(id.into()),
                email: user.map(Into::into),
                ..Actor::default()
            });
            event.origin.ip = "192.0.2.1".parse().ok();
            let hour = Hour::of(&event.time).unwrap();
            let (mut one, mut two) = (Crosstab::default(), Crosstab::default());
            count(&event, hour, &mut one);
            let mut facts = Facts::new(hour);
            (facts.method, facts.principal) = (Some(method), principal.as_deref());
            facts.client = event.origin.ip;
            let details = Details { operation, user, status };
            facts.classify(&two, || kind, || outcome, details);
            facts.count(&mut two);
            proptest::prop_assert_eq!(one, two);
        }
    }
}
