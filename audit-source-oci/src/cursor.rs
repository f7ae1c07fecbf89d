use audit_core::{Cursor, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::report::Gap;

const KIND: &str = "oci";
const VERSION: u32 = 1;

/// How far reading has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    /// All that was processed before this instant is accounted for, in all compartments.
    pub(crate) closed: DateTime<Utc>,
    /// The window behind it, if a part of it is accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Open>,
    /// What of all this could not be read. It is known here alone: the next process would else take
    /// it for read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<Gap>,
}

/// A window, one compartment of which after the other is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    pub(crate) to: DateTime<Utc>,
    /// How many compartments are done.
    pub(crate) done: usize,
    /// Tells whether they are still the first so many of all.
    #[serde(with = "hex")]
    pub(crate) print: u64,
    /// Where in the next one reading is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<At>,
}

/// A place within one compartment of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct At {
    /// Region and compartment.
    pub(crate) target: String,
    /// The page, by its token; the first has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<String>,
    /// How many records of the page are accounted for.
    pub(crate) records: u64,
    /// Tells whether the last of them is still the one it was.
    #[serde(with = "hex")]
    pub(crate) last: u64,
}

impl Position {
    /// All before an instant is read.
    pub(crate) fn at(closed: DateTime<Utc>) -> Self {
        Self { closed, window: None, gaps: Vec::new() }
    }

    pub(crate) fn encode(&self) -> Result<Cursor> {
        Cursor::encode(KIND, VERSION, self)
    }

    pub(crate) fn decode(cursor: &Cursor) -> Result<Self> {
        cursor.decode(KIND, VERSION)
    }
}

/// As sixteen hexadecimal digits: JSON readers may round an integer of 64 bits.
mod hex {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{n:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use audit_core::ErrorKind;
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn has_the_documented_form() {
        let closed = DateTime::from_timestamp(1_704_067_200, 0).unwrap();
        let mut position = Position::at(closed);
        let text =
            |position: &Position| serde_json::to_string(&position.encode().unwrap()).unwrap();
        assert_eq!(
            text(&position),
            r#"{"kind":"oci","version":1,"position":{"closed":"2024-01-01T00:00:00Z"}}"#
        );
        let at = At { target: "r/c".into(), page: Some("t".into()), records: 7, last: 255 };
        let to = closed + TimeDelta::days(14);
        position.window = Some(Open { to, done: 1, print: 16, at: Some(at) });
        let written = text(&position);
        assert_eq!(
            written,
            r#"{"kind":"oci","version":1,"position":{"closed":"2024-01-01T00:00:00Z","window":{"to":"2024-01-15T00:00:00Z","done":1,"print":"0000000000000010","at":{"target":"r/c","page":"t","records":7,"last":"00000000000000ff"}}}}"#
        );
        let cursor: Cursor = serde_json::from_str(&written).unwrap();
        assert_eq!(Position::decode(&cursor).unwrap(), position);
        let other = Cursor::encode("port", 1, &1).unwrap();
        assert_eq!(Position::decode(&other).unwrap_err().kind(), ErrorKind::Config);
    }
}
