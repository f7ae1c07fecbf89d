use audit_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::facts::MACHINES;
use crate::{Class, Crosstab, Day, Facts, Hour, Section};

/// How many counts an answer holds by default; servers refuse more than 65,536 by default.
const PAGE: usize = 10_000;

/// The counts of one section, asked of Elasticsearch or OpenSearch instead of counted here.
///
/// One query a section: a composite aggregation over hour and label, which the server answers in
/// pages. Sending the requests is the caller's: post what [`request`](Self::request) returns to
/// `/INDEX/_search`, hand the answer to [`read`](Self::read), until there is no request any more.
#[derive(Clone, Debug)]
pub struct Aggregation {
    fields: Fields,
    section: Section,
    first: Day,
    last: Day,
    page: usize,
    after: Option<Value>,
    done: bool,
}

/// Where an index has what a report needs: names of fields, and which documents belong to a section.
///
/// The fields of labels have to be of type `keyword` (or `ip`), that of the time `date`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fields {
    /// When it happened.
    pub time: String,
    /// The method or action.
    pub method: String,
    /// Who did it.
    pub principal: String,
    /// The user's name for people.
    pub user: String,
    /// What a permission was asked for; without it the method is shown.
    pub operation: Option<String>,
    /// The status of a failed sign-in.
    pub status: Option<String>,
    /// The client's address.
    pub client: String,
    /// The query for requests for a permission.
    pub authorizations: Value,
    /// The query for sign-ins.
    pub signins: Value,
    /// The query for what succeeded.
    pub succeeded: Value,
    /// The query for what was refused or failed.
    pub failed: Value,
}

impl Fields {
    /// The fields of events that were indexed in the format `canonical`.
    pub fn canonical() -> Self {
        let (method, kind) = ("action.name", "action.kind");
        Self {
            time: "time".to_owned(),
            method: method.to_owned(),
            principal: "actor.id".to_owned(),
            user: "actor.email".to_owned(),
            operation: None,
            status: None,
            client: "origin.ip".to_owned(),
            authorizations: people(method, "mds.Authorize", &json!({"term": {kind: "authorize"}})),
            signins: people(method, "SignIn", &json!({"term": {kind: "login"}})),
            succeeded: json!({"term": {"outcome": "success"}}),
            failed: json!({"terms": {"outcome": ["denied", "failure"]}}),
        }
    }

    /// The fields of events that were indexed in the format `ecs`, the Elastic Common Schema.
    pub fn ecs() -> Self {
        let method = "event.action";
        let login = json!({"term": {"event.category": "authentication"}});
        Self {
            time: "@timestamp".to_owned(),
            method: method.to_owned(),
            principal: "user.id".to_owned(),
            user: "user.email".to_owned(),
            operation: None,
            status: None,
            client: "source.ip".to_owned(),
            authorizations: json!({"term": {method: "mds.Authorize"}}),
            signins: people(method, "SignIn", &login),
            succeeded: json!({"term": {"event.outcome": "success"}}),
            failed: json!({"term": {"event.outcome": "failure"}}),
        }
    }

    /// The fields of Confluent Cloud records that were indexed as received, without a template: texts
    /// have a field `keyword` beside them.
    pub fn confluent() -> Self {
        let keyword = |name: &str| format!("data.{name}.keyword");
        let (method, status) = (keyword("methodName"), keyword("result.status"));
        let result = keyword("authenticationInfo.result");
        let refused = json!([
            {"term": {"data.authorizationInfo.granted": false}},
            {"term": {keyword("authorizationInfo.result"): "DENY"}},
            {"bool": {"filter": {"exists": {"field": &status}},
                      "must_not": {"term": {&status: "SUCCESS"}}}},
            {"term": {&result: "FAILURE"}},
        ]);
        Self {
            time: "time".to_owned(),
            principal: keyword("authenticationInfo.principal"),
            user: keyword("authenticationInfo.principal.email"),
            operation: Some(keyword("authorizationInfo.operation")),
            status: Some(keyword("result.data.errors.status")),
            client: keyword("requestMetadata.clientAddress.ip"),
            authorizations: json!({"term": {&method: "mds.Authorize"}}),
            signins: json!({"term": {&method: "SignIn"}}),
            succeeded: json!({"term": {&result: "SUCCESS"}}),
            failed: json!({"bool": {"should": refused}}),
            method,
        }
    }
}

/// The query for documents of a kind, without what machines do all the time.
fn people(method: &str, named: &str, kind: &Value) -> Value {
    let machines: Vec<_> =
        MACHINES.iter().map(|service| json!({"prefix": {method: format!("{service}.")}})).collect();
    json!({"bool": {"should": [
        {"term": {method: named}},
        {"bool": {"filter": kind, "must_not": machines}},
    ]}})
}

impl Aggregation {
    /// Prepares the query for a section from the first day to the last, both counted. A section of
    /// what is new has no counts of its own: it follows from all others.
    pub fn new(fields: Fields, section: Section, first: Day, last: Day) -> Self {
        let section = section.counted_as();
        Self { fields, section, first, last, page: PAGE, after: None, done: false }
    }

    /// Sets how many counts an answer holds at most; default 10,000, at least 1.
    #[must_use]
    pub fn page(mut self, counts: usize) -> Self {
        self.page = counts.max(1);
        self
    }

    /// Returns the body of the next search; none when all has been read.
    pub fn request(&self) -> Option<Value> {
        if self.done {
            return None;
        }
        let Fields { time, method, principal, user, client, operation, status, .. } = &self.fields;
        let (from, to) = (self.first.hour(0).unix_millis(), self.last.next().hour(0).unix_millis());
        let range = json!({"gte": from, "lt": to, "format": "epoch_millis"});
        let mut filter = vec![json!({"range": {time: range}})];
        let signins = &self.fields.signins;
        let mut sources =
            vec![json!({"hour": {"date_histogram": {"field": time, "fixed_interval": "1h"}}})];
        let mut source = |name: &str, field: &str| {
            let terms = json!({"terms": {"field": field, "missing_bucket": true}});
            sources.push(json!({name: terms}));
        };
        match self.section {
            Section::AuthEvents => {
                filter.push(self.fields.authorizations.clone());
                source("principal", principal);
                source("operation", operation.as_ref().unwrap_or(method));
            }
            Section::SigninFail | Section::SigninSuccess => {
                let success = self.section == Section::SigninSuccess;
                let Fields { succeeded, failed, .. } = &self.fields;
                filter.push(signins.clone());
                filter.push(if success { succeeded.clone() } else { failed.clone() });
                source("user", user);
                source("principal", principal);
                if let Some(status) = status.as_ref().filter(|_| !success) {
                    source("status", status);
                }
            }
            Section::Denied => {
                filter.push(self.fields.failed.clone());
                filter.push(json!({"bool": {"must_not": signins}}));
                source("principal", principal);
                source("method", method);
                operation.iter().for_each(|operation| source("operation", operation));
            }
            Section::ClientAddresses => {
                filter.push(json!({"exists": {"field": client}}));
                source("client", client);
            }
            Section::Principals | Section::NewPrincipals => source("principal", principal),
            Section::OtherEvents | Section::NewMethods => source("method", method),
        }
        let mut composite = json!({"size": self.page, "sources": sources});
        if let Some(after) = &self.after {
            composite["after"] = after.clone();
        }
        Some(json!({
            "size": 0,
            "track_total_hits": false,
            "query": {"bool": {"filter": filter}},
            "aggs": {"report": {"composite": composite}},
        }))
    }

    /// Counts what an answer says, and learns where the next page begins.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] for an answer that is not complete (a shard failed, time ran out),
    /// [`ErrorKind::InvalidData`] for one that cannot be understood. Nothing was counted then.
    pub fn read(&mut self, answer: &[u8], crosstab: &mut Crosstab) -> Result<()> {
        self.take(answer, crosstab)
            .map_err(|e| e.while_doing("read the counts of an index").with("section", self.section))
    }

    fn take(&mut self, answer: &[u8], crosstab: &mut Crosstab) -> Result<()> {
        let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what);
        let answer: Answer = serde_json::from_slice(answer)
            .map_err(|e| invalid("not the answer of an aggregation").because(e))?;
        if answer.timed_out || answer.shards.failed > 0 {
            return Err(Error::new(ErrorKind::Unavailable, "the answer is not complete")
                .with("failed shards", answer.shards.failed)
                .with_hint("ask again; a part of the counts would look like a report"));
        }
        let report = answer.aggregations.report;
        if report.after_key.is_some() && report.after_key == self.after {
            return Err(invalid("the pages do not advance"));
        }
        let mut page = Crosstab::new(crosstab.limit());
        for Bucket { key, doc_count } in &report.buckets {
            let millis = key.get("hour").and_then(Value::as_i64);
            let hour = millis.and_then(|ms| Hour::of_unix_seconds(ms.div_euclid(1000)));
            let hour = hour.ok_or_else(|| invalid("a count without an hour"))?;
            self.count(hour, key, *doc_count, &mut page);
        }
        crosstab.take(&mut page);
        self.done = report.buckets.is_empty() || report.after_key.is_none();
        self.after = report.after_key;
        Ok(())
    }

    /// Counts a bucket as the events themselves would be.
    fn count(&self, hour: Hour, key: &Map<String, Value>, count: u64, crosstab: &mut Crosstab) {
        let text = |name: &str| {
            let text = key.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        let (operation, status, user) = (text("operation"), text("status"), text("user"));
        let mut facts = Facts::new(hour);
        facts.principal = text("principal");
        facts.method = text("method");
        facts.client = text("client").and_then(|ip| ip.trim_start_matches('/').parse().ok());
        facts.failed = self.section == Section::Denied;
        facts.class = match self.section {
            Section::AuthEvents => Class::Authorization { operation },
            Section::Denied if operation.is_some() => Class::Authorization { operation },
            Section::SigninFail => Class::SignIn { user, succeeded: Some(false), status },
            Section::SigninSuccess => Class::SignIn { user, succeeded: Some(true), status: None },
            _ => Class::Other,
        };
        facts.count_in(self.section, count, crosstab);
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards", default)]
    shards: Shards,
    aggregations: Aggregations,
}

#[derive(Default, Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Aggregations {
    report: Composite,
}

#[derive(Deserialize)]
struct Composite {
    after_key: Option<Value>,
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    key: Map<String, Value>,
    doc_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregation(section: Section) -> Aggregation {
        let day: Day = "2026-11-20".parse().unwrap();
        Aggregation::new(Fields::confluent(), section, day, day)
    }

    fn answer(buckets: &Value, after: &Value) -> Vec<u8> {
        json!({
            "timed_out": false,
            "_shards": {"total": 1, "failed": 0},
            "aggregations": {"report": {"after_key": after, "buckets": buckets}},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn pages_are_asked_for_until_there_is_none() {
        let hour = 1_795_132_800_000_i64 + 9 * 3_600_000;
        let mut crosstab = Crosstab::default();
        let mut query = aggregation(Section::AuthEvents);
        let key = |operation: Option<&str>| json!({"hour": hour, "principal": "User:u-1", "operation": operation});
        let first = query.request().unwrap();
        assert!(first["aggs"]["report"]["composite"].get("after").is_none());
        let range = &first["query"]["bool"]["filter"][0]["range"]["time"];
        assert_eq!(range["lt"].as_i64().unwrap() - range["gte"].as_i64().unwrap(), 86_400_000);
        let buckets = json!([{"key": key(Some("Alter")), "doc_count": 7}]);
        query.read(&answer(&buckets, &key(Some("Alter"))), &mut crosstab).unwrap();
        let second = query.request().unwrap();
        assert_eq!(second["aggs"]["report"]["composite"]["after"], key(Some("Alter")));
        let buckets = json!([{"key": key(None), "doc_count": 2}]);
        query.read(&answer(&buckets, &Value::Null), &mut crosstab).unwrap();
        assert_eq!(query.request(), None);
        let day = "2026-11-20".parse().unwrap();
        let rows = crosstab.rows(day, Section::AuthEvents);
        let rows: Vec<_> = rows.iter().map(|r| (r.label.unwrap(), r.counts()[9])).collect();
        assert_eq!(rows, [("u-1-(unknown)", 2), ("u-1-Alter", 7)]);
        assert_eq!(crosstab.events(day), 0, "one section at a time");
    }

    #[test]
    fn every_section_is_asked_for_what_its_labels_need() {
        for section in Section::ALL {
            let request = aggregation(*section).request().unwrap();
            let sources = request["aggs"]["report"]["composite"]["sources"].as_array().unwrap();
            assert!(sources.len() >= 2 && sources[0].get("hour").is_some(), "{section}");
        }
    }

    #[test]
    fn what_is_not_whole_or_not_an_answer_counts_nothing() {
        let whole = json!({"hour": 0, "method": "a"});
        let cases = [
            ("{}".to_owned(), ErrorKind::InvalidData),
            (r#"{"error":"x","status":404}"#.to_owned(), ErrorKind::InvalidData),
            (
                r#"{"timed_out":true,"aggregations":{"report":{"buckets":[]}}}"#.to_owned(),
                ErrorKind::Unavailable,
            ),
            (
                r#"{"_shards":{"failed":1},"aggregations":{"report":{"buckets":[]}}}"#.to_owned(),
                ErrorKind::Unavailable,
            ),
            (
                json!({"aggregations": {"report": {"buckets": [
                    {"key": whole, "doc_count": 1}, {"key": {"hour": "x"}, "doc_count": 1},
                ]}}})
                .to_string(),
                ErrorKind::InvalidData,
            ),
        ];
        for (text, kind) in cases {
            let mut crosstab = Crosstab::default();
            let error = aggregation(Section::OtherEvents).read(text.as_bytes(), &mut crosstab);
            assert_eq!(error.unwrap_err().kind(), kind, "{text}");
            assert_eq!(crosstab, Crosstab::default());
        }
        let buckets = json!([{"key": whole, "doc_count": 1}]);
        let (mut query, mut crosstab) = (aggregation(Section::OtherEvents), Crosstab::default());
        query.read(&answer(&buckets, &whole), &mut crosstab).unwrap();
        let stuck = query.read(&answer(&buckets, &whole), &mut crosstab).unwrap_err();
        assert!(stuck.to_string().contains("do not advance"), "{stuck}");
    }
}
