//! Events as a table: one row an event, one column a field, as `pandas.json_normalize` names them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use audit_core::{Error, ErrorKind, Result, durable};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Objects deeper down are written as they stand.
const MAX_DEPTH: usize = 32;

/// Writes the events of an NDJSON file as CSV, compressed as the ending says. Columns are in the
/// order in which they first appear. When it returns, the table is on the disk.
pub(super) fn write(events: &Path, csv: &Path, packed: &str) -> Result<()> {
    let mut columns = Columns::default();
    for_each(events, |event| flatten("", event, MAX_DEPTH, &mut |name, _| columns.add(name)))?;
    let failed = |e: io::Error| durable::io_error(&e, csv).while_doing("write the table");
    let file = durable::create_private(csv).map_err(failed)?;
    let out: Box<dyn Finish> = match packed {
        ".gz" => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())),
        ".zst" => Box::new(zstd::stream::write::Encoder::new(file, 1).map_err(failed)?),
        _ => Box::new(file),
    };
    let mut writer = csv::WriterBuilder::new().buffer_capacity(64 << 10).from_writer(out);
    let wrong = |e: csv::Error| {
        Error::new(ErrorKind::Unavailable, "cannot write the table")
            .with("path", csv.display())
            .because(e)
    };
    writer.write_record(columns.names.iter().map(|name| neutral(name))).map_err(wrong)?;
    let mut row = vec![String::new(); columns.names.len()];
    for_each(events, |event| {
        row.iter_mut().for_each(String::clear);
        let mut result = Ok(());
        flatten("", event, MAX_DEPTH, &mut |name, value| {
            if let Some(cell) = columns.places.get(name).and_then(|place| row.get_mut(*place)) {
                match text(value) {
                    Ok(text) => *cell = text,
                    Err(error) => result = Err(error),
                }
            }
        })?;
        result?;
        writer.write_record(&row).map_err(wrong)
    })?;
    let out = writer.into_inner().map_err(|e| failed(e.into_error()))?;
    out.finish().and_then(|file| file.sync_all()).map_err(failed)
}

/// An output that has an end of its own: who only drops it does not learn that it failed.
trait Finish: Write {
    fn finish(self: Box<Self>) -> io::Result<File>;
}

impl Finish for File {
    fn finish(self: Box<Self>) -> io::Result<File> {
        Ok(*self)
    }
}

impl Finish for flate2::write::GzEncoder<File> {
    fn finish(self: Box<Self>) -> io::Result<File> {
        (*self).finish()
    }
}

impl Finish for zstd::stream::write::Encoder<'_, File> {
    fn finish(self: Box<Self>) -> io::Result<File> {
        (*self).finish()
    }
}

#[derive(Default)]
struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Columns {
    fn add(&mut self, name: &str) {
        if !self.places.contains_key(name) {
            self.places.insert(name.to_owned(), self.names.len());
            self.names.push(name.to_owned());
        }
    }
}

fn for_each(path: &Path, mut each: impl FnMut(&RawValue) -> Result<()>) -> Result<()> {
    let failed = |e: io::Error| durable::io_error(&e, path).while_doing("read the events");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        each(serde_json::from_slice(&line).map_err(no_json)?)?;
        line.clear();
    }
    Ok(())
}

/// Calls `each` with the name and the value of each field that is no object, in their order. Objects
/// `depth` levels down are taken for such a value.
fn flatten(
    prefix: &str,
    value: &RawValue,
    depth: usize,
    each: &mut impl FnMut(&str, &RawValue),
) -> Result<()> {
    if depth == 0 || !value.get().starts_with('{') {
        each(if prefix.is_empty() { "value" } else { prefix }, value);
        return Ok(());
    }
    let fields: Fields<'_> = serde_json::from_str(value.get()).map_err(no_json)?;
    for (key, value) in fields.0 {
        let name = if prefix.is_empty() { key.into_owned() } else { format!("{prefix}.{key}") };
        flatten(&name, value, depth - 1, each)?;
    }
    Ok(())
}

/// The fields of an object in their order.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn no_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "an event is no JSON").because(error)
}

/// Returns a cell: text as such, everything else as it is written.
fn text(value: &RawValue) -> Result<String> {
    match value.get() {
        "null" => Ok(String::new()),
        quoted if quoted.starts_with('"') => {
            serde_json::from_str::<String>(quoted).map(|text| neutral(&text)).map_err(no_json)
        }
        other => Ok(other.to_owned()),
    }
}

/// Makes text that a spreadsheet would take for a formula plain.
fn neutral(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_become_columns_and_formulas_text() {
        let dir = tempfile::tempdir().unwrap();
        let (events, csv) = (dir.path().join("e"), dir.path().join("c"));
        std::fs::write(
            &events,
            concat!(
                r#"{"id":"1","data":{"name":"=1+1","tags":{},"list":[1,"a"]},"n":1.50}"#,
                "\n",
                r#"{"id":"2","data":{"name":"a,\"b\"\n","extra":null,"ok":true}}"#,
                "\n"
            ),
        )
        .unwrap();
        write(&events, &csv, "").unwrap();
        let expected = "id,data.name,data.list,n,data.extra,data.ok\n\
                        1,'=1+1,\"[1,\"\"a\"\"]\",1.50,,\n\
                        2,\"a,\"\"b\"\"\n\",,,,true\n";
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), expected);
    }

    #[test]
    fn n05_an_event_of_nothing_but_brackets_is_a_row_without_a_stack() {
        let dir = tempfile::tempdir().unwrap();
        let (events, csv) = (dir.path().join("e"), dir.path().join("c"));
        let deep = 300_000;
        let event = format!("{}1{}\n", "{\"a\":".repeat(deep), "}".repeat(deep));
        std::fs::write(&events, event).unwrap();
        write(&events, &csv, "").unwrap();
        let text = std::fs::read_to_string(&csv).unwrap();
        let (head, row) = text.split_once('\n').unwrap();
        assert_eq!((head.len(), row.starts_with("\"{")), (2 * MAX_DEPTH - 1, true));
    }

    /// Also for the last bytes, which an encoder holds back until its end.
    #[cfg(target_os = "linux")]
    #[test]
    fn f01_a_full_disk_is_noticed_at_the_very_end() {
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("e");
        std::fs::write(&events, "{\"id\":1}\n").unwrap();
        for packed in ["", ".gz", ".zst"] {
            let error = write(&events, Path::new("/dev/full"), packed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{packed}");
        }
    }
}
