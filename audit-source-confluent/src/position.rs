use std::collections::BTreeMap;

use audit_core::{Cursor, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

const KIND: &str = "confluent";
const VERSION: u32 = 1;

/// Where to go on: the next offset of every partition that was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(crate) topic: String,
    pub(crate) next: BTreeMap<i32, i64>,
}

impl Position {
    pub(crate) fn encode(&self) -> Result<Cursor> {
        Cursor::encode(KIND, VERSION, self)
    }

    /// # Errors
    /// As [`Cursor::decode`]; [`ErrorKind::Config`] for another topic's.
    pub(crate) fn decode(cursor: &Cursor, topic: &str) -> Result<Self> {
        let position: Self = cursor.decode(KIND, VERSION)?;
        if position.topic != topic {
            return Err(Error::new(ErrorKind::Config, "the checkpoint belongs to another topic")
                .with("expected", topic)
                .with("found", position.topic.escape_debug())
                .with_hint("give this pipeline a name of its own, or set its checkpoint anew"));
        }
        if position.next.iter().any(|(partition, next)| *partition < 0 || *next < 0) {
            return Err(Error::new(ErrorKind::InvalidData, "the checkpoint holds no offsets"));
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_cursor_is_stable_and_another_topics_is_refused() {
        let position = Position { topic: "t".to_owned(), next: BTreeMap::from([(0, 7), (12, 0)]) };
        let cursor = position.encode().unwrap();
        let text = serde_json::to_string(&cursor).unwrap();
        let expected = r#"{"topic":"t","next":{"0":7,"12":0}}"#;
        assert_eq!(text, format!(r#"{{"kind":"confluent","version":1,"position":{expected}}}"#));
        assert_eq!(Position::decode(&cursor, "t").unwrap(), position);
        assert_eq!(Position::decode(&cursor, "u").unwrap_err().kind(), ErrorKind::Config);
        let strange = Position { topic: "t".to_owned(), next: BTreeMap::from([(0, -1)]) };
        let error = Position::decode(&strange.encode().unwrap(), "t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
