use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Raw, Result};

/// A source's position: opaque to everybody else, named and versioned JSON.
///
/// It is data, not a timestamp: each kind of source writes what it needs to go on without loss
/// (a window and the ids at its edge, an offset per partition, the rows last handed out).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    kind: Cow<'static, str>,
    version: u32,
    position: Raw,
}

impl Cursor {
    /// Encodes a position.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] when the position cannot be written as JSON.
    pub fn encode<T: Serialize>(kind: &'static str, version: u32, position: &T) -> Result<Self> {
        let text = serde_json::to_string(position).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "cannot encode the cursor")
                .with("kind", kind)
                .because(e)
        })?;
        Ok(Self { kind: Cow::Borrowed(kind), version, position: Raw::parse(text)? })
    }

    /// Decodes a position of this kind, written by this version or an earlier one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for another source's cursor, [`ErrorKind::InvalidData`] for a newer
    /// version or a position that does not read. Never "start over".
    pub fn decode<T: DeserializeOwned>(&self, kind: &'static str, version: u32) -> Result<T> {
        if self.kind != kind {
            return Err(Error::new(ErrorKind::Config, "the checkpoint belongs to another source")
                .with("expected", kind)
                .with("found", &self.kind)
                .with_hint("give this pipeline a name of its own, or set its checkpoint anew"));
        }
        if self.version > version {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the checkpoint was written by a newer version of this program",
            )
            .with("kind", kind)
            .with("understood", version)
            .with("found", self.version)
            .with_hint("run the newer version again, or set the checkpoint anew"));
        }
        serde_json::from_str(self.position.get()).map_err(|e| {
            Error::new(ErrorKind::InvalidData, "the checkpoint's position cannot be read")
                .with("kind", kind)
                .with("version", self.version)
                .because(e)
        })
    }

    /// Returns which kind of source wrote it.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the version of its form, for sources that read older forms.
    pub fn version(&self) -> u32 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_source_and_a_newer_version_are_errors_not_a_new_start() {
        let cursor = Cursor::encode("port", 2, &[1, 2]).unwrap();
        assert_eq!(cursor.decode::<Vec<u8>>("port", 2).unwrap(), [1, 2]);
        assert_eq!(cursor.decode::<Vec<u8>>("oci", 2).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(cursor.decode::<Vec<u8>>("port", 1).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(cursor.decode::<String>("port", 2).unwrap_err().kind(), ErrorKind::InvalidData);
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(text, r#"{"kind":"port","version":2,"position":[1,2]}"#);
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
    }
}
