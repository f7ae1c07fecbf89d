use std::sync::Arc;

use chrono::DateTime;

use super::Verdict;
use super::violation::OrViolation;
use crate::{AuditEvent, EventId, Raw};

/// What a careless hand would change in a payload: key order, number forms, doubled keys, escapes.
const DELICATE: [&str; 5] = [
    r#""b":1,"a":2,"a":3"#,
    r#""big":123456789012345678901234567890,"price":1.10,"tiny":1E-7"#,
    r#""escaped":"\u0041\/\ud800 \\n","open":"<&>é✓""#,
    r#""spaced" : [ 1,2 ,  3 ],"empty":{}"#,
    r#""line":"one\ntwo\r\n","tab":"\t","null":null"#,
];

/// Makes `count` events with numbers from `first` on; the same number is the same event each time.
///
/// Ids are `sample-<number>`; times are a second apart; each payload is a JSON object whose first
/// field `id` is the event's id, and holds what a sink may not rewrite.
///
/// # Errors
/// None in practice: the payloads are JSON.
pub fn sample_events(first: usize, count: usize) -> Verdict<Vec<AuditEvent>> {
    (first..first + count)
        .map(|n| sample(n, &format!(r#"{{"id":"sample-{n}",{}}}"#, DELICATE[n % 5])))
        .collect()
}

/// As [`sample_events`], with line breaks between the tokens of each payload.
///
/// # Errors
/// As [`sample_events`].
pub fn sample_events_with_line_breaks(first: usize, count: usize) -> Verdict<Vec<AuditEvent>> {
    let breaks = ["\n", "\r\n", "\n\n", "\r"];
    (first..first + count)
        .map(|n| {
            let b = breaks[n % 4];
            sample(n, &format!(r#"{{{b}"id":"sample-{n}",{b}{}{b}}}"#, DELICATE[n % 5]))
        })
        .collect()
}

/// Returns the id that a payload of [`sample_events`] names; for harnesses whose destination keeps
/// no id beside the payload.
pub fn sample_id(payload: &str) -> Option<EventId> {
    let (_, rest) = payload.split_once(r#""id":""#)?;
    let (id, _) = rest.split_once('"')?;
    Some(EventId::new(id))
}

fn sample(number: usize, payload: &str) -> Verdict<AuditEvent> {
    let time = DateTime::from_timestamp(1_700_000_000 + number as i64, 0).unwrap_or_default();
    let raw = Raw::parse(payload).or_violation("making a sample payload")?;
    let id = EventId::new(format!("sample-{number}"));
    Ok(AuditEvent::new(id, Arc::from("testkit"), time, raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_name_their_id() {
        let mut events = sample_events(0, 7).unwrap();
        events.extend(sample_events_with_line_breaks(7, 7).unwrap());
        for event in events {
            assert_eq!(sample_id(event.raw.get()).unwrap(), event.id);
            assert_eq!(sample_id(&event.raw.line()).unwrap(), event.id);
        }
    }
}
