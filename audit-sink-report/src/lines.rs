//! How state is stored: lines of JSON, each behind the XXH3 of its text.
//!
//! ```text
//! 0f8d…c3 {"version":1,…}
//! ```

use std::path::Path;

use audit_core::{Error, ErrorKind, Result, durable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// Appends a value as a line.
pub(crate) fn append(out: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[b' '; 17]);
    serde_json::to_writer(&mut *out, value).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "the state cannot be written as JSON").because(e)
    })?;
    let (_, line) = out.split_at_mut(start);
    let (head, text) = line.split_at_mut(17);
    head[..16].copy_from_slice(format!("{:016x}", xxh3_64(text)).as_bytes());
    out.push(b'\n');
    Ok(())
}

/// Returns the text of a line, if the line is whole.
pub(crate) fn checked(line: &[u8]) -> Option<&[u8]> {
    let (sum, text) = line.split_at_checked(17)?;
    let sum = u64::from_str_radix(str::from_utf8(sum.strip_suffix(b" ")?).ok()?, 16).ok()?;
    (sum == xxh3_64(text)).then_some(text)
}

/// Understands the text of a line; `path` is only named.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8], path: &Path) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| {
        let newer = e.to_string().contains("version");
        let what = if newer { "of another version" } else { "not as this version writes it" };
        unusable(path, what)
    })
}

/// Reads a file of one line. No file is nothing.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(durable::io_error(&e, path)),
    };
    let text = bytes.strip_suffix(b"\n").and_then(checked);
    text.map_or_else(|| Err(unusable(path, "damaged")), |text| parse(text, path).map(Some))
}

/// Replaces a file by one line.
pub(crate) fn replace(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut line = Vec::new();
    append(&mut line, value)?;
    durable::replace(path, &line)
}

/// The error of a file that may not be taken for an empty one.
pub(crate) fn unusable(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the state of the reports is {what}"))
        .with("path", path.display())
        .with_hint(
            "restore it, or run the version that wrote it; or move the whole directory of reports \
             away to begin anew",
        )
}
