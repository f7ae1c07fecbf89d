use audit_core::{Cursor, Error, ErrorKind, Result, Revision, Saved, StreamId};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

/// The value of a checkpoint's record: the content of a checkpoint file of `audit-core`, so that
/// [`Saved::parse`] reads it and finds damage.
#[derive(Serialize)]
struct Envelope<'a> {
    version: u32,
    crc32: u32,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct Body<'a> {
    stream: &'a str,
    revision: u64,
    saved_at: DateTime<Utc>,
    cursor: &'a Cursor,
}

const VERSION: u32 = 1;

pub(crate) fn encode(
    stream: &StreamId,
    cursor: &Cursor,
    revision: Revision,
    saved_at: DateTime<Utc>,
) -> Result<String> {
    let unexpected =
        |e| Error::new(ErrorKind::Unexpected, "cannot write the checkpoint as JSON").because(e);
    let body = Body { stream: stream.as_str(), revision: revision.0, saved_at, cursor };
    let body = serde_json::value::to_raw_value(&body).map_err(unexpected)?;
    let crc32 = crc32fast::hash(body.get().as_bytes());
    let envelope = Envelope { version: VERSION, crc32, body: &body };
    serde_json::to_string(&envelope).map_err(unexpected)
}

pub(crate) fn decode(value: &[u8], stream: &StreamId, topic: &str) -> Result<(Cursor, Revision)> {
    let saved = Saved::parse(value, stream).map_err(|e| {
        e.while_doing("load the checkpoint").with("topic", topic).with("stream", stream).with_hint(
            "set the checkpoint anew; a record with the stream as its key and no value makes \
                 the stream start over",
        )
    })?;
    Ok((saved.cursor, saved.revision))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn c06_no_changed_byte_makes_another_position(at in 0_usize..400, to: u8, n: u32) {
            let stream: StreamId = "orders".parse().unwrap();
            let cursor = Cursor::encode("test", 1, &n).unwrap();
            let text = encode(&stream, &cursor, Revision(7), DateTime::UNIX_EPOCH).unwrap();
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(read) = decode(&bytes, &stream, "checkpoints") {
                prop_assert_eq!(read, (cursor, Revision(7)));
            }
        }
    }

    #[test]
    fn c06_what_was_saved_is_read_and_what_was_changed_is_not() {
        let stream: StreamId = "orders".parse().unwrap();
        let cursor = Cursor::encode("test", 1, &[1, 2]).unwrap();
        let at = DateTime::UNIX_EPOCH;
        let text = encode(&stream, &cursor, Revision(7), at).unwrap();
        let read = |text: &str| decode(text.as_bytes(), &stream, "checkpoints");
        assert_eq!(read(&text).unwrap(), (cursor, Revision(7)));
        for changed in [
            String::new(),
            text.replace("[1,2]", "[1,3]"),
            text.replace("\"version\":1,\"crc", "\"version\":2,\"crc"),
            text.chars().take(text.len() - 3).collect(),
            text.replace("orders", "others"),
        ] {
            assert_eq!(read(&changed).unwrap_err().kind(), ErrorKind::InvalidData, "{changed}");
        }
    }
}
