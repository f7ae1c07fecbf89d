use audit_core::{Cursor, Result};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;

const KIND: &str = "sql.flag";
const VERSION: u32 = 1;

/// A position in a table whose rows carry a flag: the rows that were handed out but are not marked
/// yet. Everything else the flag itself says.
///
/// Integer keys stay a few runs however many rows they are; other keys are as many as there are
/// rows in flight, since marked rows drop out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    /// The rows handed out, by their keys.
    pub(crate) rows: Keys,
    /// The sum of their checksums: tells later whether they are still what was handed out.
    #[serde(with = "sum")]
    pub(crate) sum: u64,
}

impl Position {
    pub(crate) fn encode(&self) -> Result<Cursor> {
        Cursor::encode(KIND, VERSION, self)
    }

    pub(crate) fn decode(cursor: &Cursor) -> Result<Self> {
        cursor.decode(KIND, VERSION)
    }

    /// Adds the rows of a later batch.
    pub(crate) fn extend(&mut self, later: &Self) {
        self.rows.extend(&later.rows);
        self.sum = self.sum.wrapping_add(later.sum);
    }
}

/// As sixteen hexadecimal digits: JSON readers may round an integer of 64 bits.
mod sum {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(sum: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{sum:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use audit_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Key;

    #[test]
    fn has_the_documented_form() {
        let rows = (1..=6000).chain([6002]).map(Key::Int).collect();
        let cursor = Position { rows, sum: 255 }.encode().unwrap();
        assert_eq!(
            serde_json::to_string(&cursor).unwrap(),
            r#"{"kind":"sql.flag","version":1,"position":{"rows":[[1,6000],6002],"sum":"00000000000000ff"}}"#
        );
        let other = Cursor::encode("port", 1, &1).unwrap();
        assert_eq!(Position::decode(&other).unwrap_err().kind(), ErrorKind::Config);
    }

    proptest! {
        #[test]
        fn survives_its_json_text(keys in prop::collection::vec(any::<i64>(), 0..50), sum in any::<u64>()) {
            let position = Position { rows: keys.into_iter().map(Key::Int).collect(), sum };
            let text = serde_json::to_string(&position.encode().unwrap()).unwrap();
            let cursor: Cursor = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Position::decode(&cursor).unwrap(), position);
        }
    }
}
