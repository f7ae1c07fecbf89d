use std::sync::Arc;

use audit_core::{AuditEvent, DeadLetter, Error, ErrorKind, EventId, Result};
use chrono::{DateTime, Utc};

use crate::envelope::{event, hash_id};
use crate::error;
use crate::split::{Broken, Splitter};

/// One record of an answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are events")]
pub(crate) enum Record {
    Event(AuditEvent),
    /// What could not be made an event.
    Rejected(DeadLetter),
}

impl Record {
    pub(crate) fn id(&self) -> &EventId {
        match self {
            Self::Event(event) => &event.id,
            Self::Rejected(letter) => letter.id(),
        }
    }

    /// Returns about how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Event(event) => event.size(),
            Self::Rejected(letter) => size_of::<DeadLetter>() + letter.body().len(),
        }
    }

    pub(crate) fn time(&self, otherwise: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Event(event) => event.time,
            Self::Rejected(_) => otherwise,
        }
    }
}

/// Reads the records of an answer, oldest first, in one pass over its bytes and one over each
/// record. `otherwise` is the time of records that do not say when they happened.
///
/// # Errors
/// When it is not an answer of this API that says `ok`: never an empty list instead.
pub(crate) fn read(
    body: &[u8],
    source: &Arc<str>,
    otherwise: DateTime<Utc>,
) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let (mut refused, mut found) = (false, false);
    let mut splitter = Splitter::new(body);
    let read = splitter.members(|name, rest| match name {
        br#""audits""# if rest.peek() == Some(b'[') => {
            found = true;
            rest.elements(|element| records.push(record(element, source, otherwise)))
        }
        br#""ok""# => {
            refused |= rest.value()? != b"true";
            Ok(())
        }
        _ => rest.value().map(drop),
    });
    match read.and_then(|()| splitter.end()) {
        Err(Broken::Cut) if body.trim_ascii_start().starts_with(b"{") => {
            return Err(error::cut_off());
        }
        Err(_) => return Err(error::not_json(body)),
        Ok(()) if refused => return Err(error::refused(body)),
        Ok(()) if !found => return Err(error::no_records()),
        Ok(()) => {}
    }
    // So that records of one moment come in the order in which they happened, whichever order the
    // answer has.
    let time = |record: Option<&Record>| record.map(|record| record.time(otherwise));
    if time(records.first()) > time(records.last()) {
        records.reverse();
    }
    records.sort_by_key(|record| record.time(otherwise));
    Ok(records)
}

fn record(element: &[u8], source: &Arc<str>, otherwise: DateTime<Utc>) -> Record {
    let bad =
        |error: Error| Record::Rejected(DeadLetter::record(hash_id(element), element, &error));
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what);
    if !element.starts_with(b"{") {
        return bad(invalid("the record is not an object"));
    }
    match std::str::from_utf8(element) {
        Ok(text) => event(text, source, otherwise).map_or_else(bad, Record::Event),
        Err(e) => bad(invalid("the record is not UTF-8").with("byte", e.valid_up_to())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(body: &str) -> Result<Vec<Record>> {
        read(body.as_bytes(), &"port".into(), DateTime::UNIX_EPOCH)
    }

    fn at(id: &str, second: u32) -> String {
        format!(r#"{{"identifier":"{id}","trigger":{{"at":"2026-01-01T00:00:{second:02}Z"}}}}"#)
    }

    fn ids(records: &[Record]) -> Vec<&str> {
        records.iter().map(|record| record.id().as_str()).collect()
    }

    #[test]
    fn fault_10_records_come_oldest_first_whatever_the_order_of_the_answer() {
        let mut records = [at("a", 1), at("b", 2), at("c", 2), at("d", 3)];
        for _ in 0..2 {
            let body = format!(r#"{{"ok":true,"audits":[{}]}}"#, records.join(","));
            assert_eq!(ids(&page(&body).unwrap()), ["a", "b", "c", "d"]);
            records.reverse();
        }
    }

    #[test]
    fn members_come_in_any_order_and_unknown_ones_are_passed_over() {
        let body = format!(r#" {{"x":[{{}}], "audits" : [ {} ],"ok":true,"n":1}} "#, at("a", 1));
        assert_eq!(ids(&page(&body).unwrap()), ["a"]);
        assert!(page(r#"{"ok":true,"audits":[]}"#).unwrap().is_empty());
        assert!(page(r#"{"audits":[]}"#).unwrap().is_empty());
    }

    #[test]
    fn a_bad_record_is_rejected_with_its_bytes_and_its_neighbours_pass() {
        let mut body = format!(r#"{{"ok":true,"audits":[{},null,{{"n":NaN}},"x","#, at("a", 1));
        body += &format!("7,[],{}]}}", at("b", 2));
        let mut bytes = body.into_bytes();
        let place = bytes.windows(3).position(|w| w == b"\"x\"").unwrap();
        bytes[place + 1] = 0xff;
        let records = read(&bytes, &"port".into(), DateTime::UNIX_EPOCH).unwrap();
        let (bad, good): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| matches!(record, Record::Rejected(_)));
        assert_eq!(ids(&good), ["a", "b"]);
        let bodies = bad.iter().map(|record| match record {
            Record::Rejected(letter) => letter.body(),
            Record::Event(_) => unreachable!(),
        });
        let mut bodies: Vec<_> = bodies.collect();
        bodies.sort_unstable();
        assert_eq!(bodies, [&b"\"\xff\""[..], b"7", b"[]", b"null", b"{\"n\":NaN}"]);
    }

    #[test]
    fn d19_what_is_no_answer_is_an_error_of_its_own_and_never_an_empty_page() {
        let cases = [
            ("", ErrorKind::Unavailable, "empty"),
            (" \n", ErrorKind::Unavailable, "empty"),
            ("<!doctype html><title>Port</title>", ErrorKind::Unavailable, "not JSON"),
            (r#"{"ok":true,"audits":[{"a":1},{"b"#, ErrorKind::Unavailable, "cut off"),
            (r#"{"ok":true,"audits":["#, ErrorKind::Unavailable, "cut off"),
            (r#"{"ok":false,"error":"busy","message":"later"}"#, ErrorKind::Unavailable, "later"),
            (r#"{"ok":true,"audits":null}"#, ErrorKind::InvalidData, "audits"),
            (r#"{"ok":true}"#, ErrorKind::InvalidData, "audits"),
            (r#"{"ok":true,"audits":{"0":{}}}"#, ErrorKind::InvalidData, "audits"),
            (r#"[{"identifier":"a"}]"#, ErrorKind::Unavailable, "not JSON"),
            (r#"{"ok":true,"audits":[]}{}"#, ErrorKind::Unavailable, "not JSON"),
        ];
        for (body, kind, text) in cases {
            let error = page(body).map(|records| records.len()).unwrap_err();
            assert_eq!(error.kind(), kind, "{body}");
            assert!(error.to_string().contains(text), "{body}: {error}");
        }
    }

    #[test]
    fn n05_a_page_of_nothing_but_brackets_is_refused_without_a_stack() {
        let deep = "{\"audits\":".repeat(300_000);
        assert!(page(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(body: Vec<u8>, inside: Vec<u8>) {
            let read = |body: &[u8]| read(body, &"port".into(), DateTime::UNIX_EPOCH).is_ok();
            read(&body);
            let body = [b"{\"ok\":true,\"audits\":[", &inside[..], b"]}"].concat();
            read(&body);
        }

        #[test]
        fn a_page_cut_anywhere_is_never_an_answer(end in 0..200_usize) {
            let body = format!(r#"{{"ok":true,"audits":[{},{}]}}"#, at("a", 1), at("b", 2));
            let end = end.min(body.len() - 1);
            prop_assert!(page(body.get(..end).unwrap()).is_err());
        }
    }
}
