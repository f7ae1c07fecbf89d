//! Looks at what is stored under an id that was taken already.

use audit_core::{Error, ErrorKind, Result, Retry};
use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::Cause;
use crate::body::append_string;
use crate::client::{Client, Reply, Request};
use crate::error;
use crate::verdict::Verdict;

/// A document whose id was taken.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    /// Its place in the body that was sent.
    pub(crate) n: usize,
    /// The concrete index that has the other.
    pub(crate) index: String,
    pub(crate) id: String,
    /// What was to be stored.
    pub(crate) document: &'a [u8],
    /// Its `@timestamp` is not the record's own.
    pub(crate) is_stamped: bool,
}

/// What is stored under the id.
#[derive(Debug)]
pub(crate) enum Found {
    /// The same event.
    Same,
    /// Another event.
    Other,
    /// Something that may not be read, or that keeps no source.
    Unreadable,
    /// Nothing any more.
    Gone,
    /// The look failed, and may be taken again.
    Unknown(Error),
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    docs: Vec<Stored<'a>>,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(default)]
    found: bool,
    #[serde(borrow, default, rename = "_source")]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Compares each document with the one that is stored. Answers come in the order asked for.
pub(crate) async fn look(client: &Client, taken: &[Taken<'_>]) -> Vec<Found> {
    let mut found = Vec::with_capacity(taken.len());
    let mut open = vec![taken];
    while let Some(taken) = open.pop() {
        match ask(client, taken).await {
            Ok(reply) if reply.is_cut && taken.len() > 1 => {
                let (first, second) = taken.split_at(taken.len() / 2);
                open.extend([second, first]);
            }
            // Far longer than what was to be stored.
            Ok(reply) if reply.is_cut && reply.is_success() => found.push(Found::Other),
            Ok(reply) => found.extend(judge(&reply, taken)),
            Err(error) => found.extend(taken.iter().map(|_| unknown(&error))),
        }
    }
    found
}

async fn ask(client: &Client, taken: &[Taken<'_>]) -> Result<Reply> {
    let mut body = b"{\"docs\":[".to_vec();
    for (n, taken) in taken.iter().enumerate() {
        body.extend_from_slice(if n == 0 { b"{\"_index\":" } else { b",{\"_index\":" });
        append_string(&taken.index, &mut body);
        body.extend_from_slice(b",\"_id\":");
        append_string(&taken.id, &mut body);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    let documents: usize = taken.iter().map(|taken| taken.document.len()).sum();
    let request = Request {
        method: Method::POST,
        path: &["_mget"],
        query: &[],
        body: Some(Bytes::from(body)),
        // Room for ids and names, and for fields that a pipeline added.
        max_answer: 2 * documents + 4096 * taken.len() + (64 << 10),
    };
    client.send(request).await
}

fn judge(reply: &Reply, taken: &[Taken<'_>]) -> Vec<Found> {
    let all = |found: &dyn Fn() -> Found| taken.iter().map(|_| found()).collect();
    if !reply.is_success() {
        let error = error::of_reply(reply);
        let passing = Verdict::of_request(reply.status, &Cause::of_body(&reply.body)).is_passing();
        return if passing { all(&|| unknown(&error)) } else { all(&|| Found::Unreadable) };
    }
    match serde_json::from_slice::<Answer<'_>>(&reply.body) {
        Err(error) => all(&|| unknown(&error::of_nonsense(reply, &error))),
        Ok(answer) if answer.docs.len() != taken.len() => {
            let error = Error::new(ErrorKind::Unexpected, "the answer does not fit the question")
                .with_retry(Retry::Backoff);
            all(&|| unknown(&error))
        }
        Ok(answer) => answer.docs.iter().zip(taken).map(|(stored, t)| stored.judge(t)).collect(),
    }
}

impl Stored<'_> {
    fn judge(&self, taken: &Taken<'_>) -> Found {
        match (self.error, self.source) {
            (Some(_), _) => Found::Unreadable,
            (None, _) if !self.found => Found::Gone,
            (None, None) => Found::Unreadable,
            (None, Some(source)) if taken.is_in(source.get().as_bytes()) => Found::Same,
            (None, Some(_)) => Found::Other,
        }
    }
}

fn unknown(error: &Error) -> Found {
    Found::Unknown(Error::new(error.kind(), error.to_string()).with_retry(error.retry()))
}

impl Taken<'_> {
    /// Returns whether what is stored is what was sent: byte for byte, or as JSON with other key
    /// order, number forms and escapes, and perhaps with fields that the cluster added.
    ///
    /// An added time may be spelled otherwise: programs before this one took it as the record has it.
    fn is_in(&self, stored: &[u8]) -> bool {
        if self.document == stored {
            return true;
        }
        let (Some(mut sent), Some(stored)) = (parse(self.document), parse(stored)) else {
            return false;
        };
        if let (true, Some(fields)) = (self.is_stamped, sent.as_object_mut()) {
            fields.remove("@timestamp");
        }
        holds(&stored, &sent)
    }
}

fn parse(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&mend(json))).ok()
}

/// Puts the replacement character for each half of a surrogate pair that stands alone: JSON may hold
/// such escapes, text may not.
fn mend(json: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let length = match (byte, unit(at), unit(at + 6)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                out.extend_from_slice(b"\\ufffd");
                at += 6;
                continue;
            }
            (b'\\', _, _) => 2,
            _ => 1,
        };
        out.extend_from_slice(json.get(at..at + length).unwrap_or_default());
        at += length;
    }
    out
}

fn holds(stored: &Value, sent: &Value) -> bool {
    match (stored, sent) {
        (Value::Object(stored), Value::Object(sent)) => {
            sent.iter().all(|(key, value)| stored.get(key).is_some_and(|s| holds(s, value)))
        }
        (Value::Array(stored), Value::Array(sent)) => {
            stored.len() == sent.len() && stored.iter().zip(sent).all(|(a, b)| holds(a, b))
        }
        // Whole numbers are not compared as what is near them: two keys may be that near.
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        (stored, sent) => stored == sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_is_known_in_another_spelling() {
        let taken = |document: &'static str, is_stamped| Taken {
            n: 0,
            index: String::new(),
            id: String::new(),
            document: document.as_bytes(),
            is_stamped,
        };
        let same = |sent, stored: &str| taken(sent, false).is_in(stored.as_bytes());
        let (sent, old) = (
            r#"{"a":1,"@timestamp":"2020-01-01T00:00:00Z"}"#,
            r#"{"a":1,"@timestamp":"2020-01-01T00:00:00.000+00:00"}"#,
        );
        assert!(taken(sent, true).is_in(old.as_bytes()) && !same(sent, old));
        let sent = r#"{"b":1.10,"a":[{"x":"\u0041"}],"n":123456789012345678901234567890}"#;
        assert!(same(sent, sent));
        assert!(same(sent, r#"{"a":[{"x":"A"}],"n":123456789012345678901234567890,"b":1.1}"#));
        assert!(same(sent, r#"{"a":[{"x":"A","y":1}],"n":1.2345678901234568e29,"b":1.1,"z":2}"#));
        assert!(!same(sent, r#"{"a":[{"x":"B"}],"n":123456789012345678901234567890,"b":1.1}"#));
        assert!(!same(sent, r#"{"a":[],"n":123456789012345678901234567890,"b":1.1}"#));
        assert!(!same(sent, r#"{"b":1.10}"#));
        let key = r#"{"b":2,"key":9007199254740993}"#;
        assert!(same(key, r#"{"key":9007199254740993,"b":2.0}"#));
        assert!(!same(key, r#"{"key":9007199254740992,"b":2}"#));
        assert!(same("{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\"}"), "not text, but the same bytes");
        let broken = r#"{"a":"\\ud800 \ud800 \ud83d\ude00","b":1.10}"#;
        assert!(same(broken, r#"{"a":"\\ud800 \ufffd 😀","b":1.1,"c":2}"#));
        assert!(!same(broken, r#"{"a":"\\ud800 x 😀","b":1.1}"#));
    }
}
