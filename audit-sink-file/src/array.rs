//! The array on disk: grows in a hidden file without its closing bracket, and gets its name when
//! it is complete, so that whoever looks finds a valid array or none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use audit_core::{Error, ErrorKind, Result, durable};

use crate::compress::{Codec, Encoder};
use crate::journal::{FileId, Journal};
use crate::paths::{Paths, Seen};
use crate::recover::closing;
use crate::replay::Place;

/// How much text becomes one member when a foreign array is compressed anew.
const MEMBER_BYTES: usize = 4 << 20;

/// More white space than this at the end of an array is not sought through.
const MAX_SPACE: usize = 1 << 20;

/// Ends the partial file and gives it its name.
///
/// Stopped before the rename, what was added is cut off again by the next run; after it, the
/// identity of the published file tells.
pub(crate) fn publish(
    paths: &Paths,
    mut file: File,
    journal: &mut Journal,
    codec: Codec,
) -> Result<()> {
    let end = closing(codec, &paths.data)?;
    // The note that the last batch is durable: behind the bracket its absence would be a riddle.
    journal.sync()?;
    let mut publish = || {
        file.write_all(&end)?;
        file.sync_data()?;
        fs::rename(&paths.data, &paths.output)?;
        durable::sync_directory(&paths.output)
    };
    publish().map_err(|e: io::Error| durable::io_error(&e, &paths.data))?;
    journal.published()
}

/// Publishes an array without elements, unless there is a file already.
pub(crate) fn publish_empty(paths: &Paths, codec: Codec) -> Result<()> {
    if Seen::at(&paths.output)?.is_some() {
        return Ok(());
    }
    let temporary = durable::sibling(&paths.data, ".tmp");
    let publish = || {
        let mut file = durable::create_private(&temporary)?;
        file.write_all(&codec.fixed(b"[]\n")?)?;
        file.sync_all()?;
        fs::rename(&temporary, &paths.output)?;
        durable::sync_directory(&paths.output)
    };
    publish().map_err(|e| durable::io_error(&e, &paths.output))
}

/// Begins the partial file with the elements that are published already.
///
/// Nothing if there are none: then the partial begins empty.
pub(crate) fn seed(paths: &Paths, codec: Codec, journal: &mut Journal) -> Result<Option<Place>> {
    let Some(output) = Seen::at(&paths.output)?.filter(|seen| seen.len > 0) else {
        return Ok(None);
    };
    accept(&output, codec)?;
    let temporary = durable::sibling(&paths.data, ".tmp");
    let failed = |e| durable::io_error(&e, &temporary);
    let mut file = durable::create_private(&temporary).map_err(failed)?;
    file.set_permissions(output.permissions.clone()).map_err(failed)?;
    let ours = closing(codec, &output.path)?;
    let body = output.len.checked_sub(ours.len() as u64);
    let any = match body {
        Some(body) if output.holds_at(body, &ours)? && begins(&output, codec)?.1 => {
            copy(&output.path, body, &mut file)?
        }
        _ => rewrite(&output, codec, &mut file)?,
    };
    if !any {
        file.set_len(0).map_err(failed)?;
        fs::rename(&temporary, &paths.data).map_err(failed)?;
        return Ok(None);
    }
    file.sync_all().map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let (id, len) = (FileId::of(&metadata), metadata.len());
    // Noted first: a partial file that the journal does not know would be a riddle.
    journal.place(id, len)?;
    fs::rename(&temporary, &paths.data).map_err(failed)?;
    Ok(Some(Place { file: id, begin: len, end: len }))
}

/// Makes sure that a published file is an array, as far as its beginning shows.
pub(crate) fn accept(output: &Seen, codec: Codec) -> Result<()> {
    output.accept_head(codec)?;
    match begins(output, codec)? {
        (true, _) => Ok(()),
        (false, _) => Err(not_an_array(&output.path)),
    }
}

/// Returns whether a file begins with `[`, and whether something follows that is not its end.
fn begins(output: &Seen, codec: Codec) -> Result<(bool, bool)> {
    let read = || {
        let mut head = Vec::new();
        let file = File::open(&output.path)?;
        codec.reader(Box::new(file))?.take(4096).read_to_end(&mut head)?;
        Ok(head)
    };
    let head = read().map_err(|e| unreadable(e, &output.path))?;
    let mut tokens = head.iter().filter(|byte| !is_space(**byte));
    Ok((tokens.next() == Some(&b'['), tokens.next().is_some_and(|byte| *byte != b']')))
}

fn copy(from: &Path, len: u64, to: &mut File) -> Result<bool> {
    let mut copy = || {
        let copied = io::copy(&mut File::open(from)?.take(len), to)?;
        if copied == len { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    copy().map_err(|e| durable::io_error(&e, from))
}

/// Copies an array somebody else wrote, less its closing bracket; returns whether it has elements.
fn rewrite(output: &Seen, codec: Codec, to: &mut File) -> Result<bool> {
    let open = || {
        let reader = codec.reader(Box::new(File::open(&output.path)?))?;
        Ok((reader, Encoder::new(codec)?))
    };
    let (mut reader, mut encoder) = open().map_err(|e| unreadable(e, &output.path))?;
    let mut text = Vec::new();
    let mut any = false;
    loop {
        let before = text.len();
        let member = reader.by_ref().take(MEMBER_BYTES as u64).read_to_end(&mut text);
        member.map_err(|e| unreadable(e, &output.path))?;
        let last = text.len() == before;
        let body = text.len() - end_of_array(&text);
        if text.len() - body > MAX_SPACE || (last && !text[body..].contains(&b']')) {
            return Err(not_an_array(&output.path));
        }
        let tokens = text[..body].iter().filter(|byte| !is_space(**byte));
        // The first token of all is the opening bracket.
        any = any || tokens.take(2).count() == 2;
        if body > 0 && (any || last) {
            let member = encoder.encode(&text[..body]).and_then(|member| to.write_all(member));
            member.map_err(|e| durable::io_error(&e, &output.path))?;
            text.drain(..body);
        }
        if last {
            return Ok(any);
        }
    }
}

/// Returns how many bytes at the end may be the end of the array: a bracket and space around it.
fn end_of_array(text: &[u8]) -> usize {
    let spaces = |text: &[u8]| text.iter().rev().take_while(|byte| is_space(**byte)).count();
    let after = spaces(text);
    match text.split_at(text.len() - after).0 {
        [before @ .., b']'] => after + 1 + spaces(before),
        _ => after,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn unreadable(error: io::Error, path: &Path) -> Error {
    match error.raw_os_error() {
        Some(_) => durable::io_error(&error, path),
        None => Error::new(ErrorKind::InvalidData, "the compressed file is cut off or damaged")
            .with("path", path.display())
            .with_hint("mend it, or move it away")
            .because(error),
    }
}

fn not_an_array(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidData, "the file is not a JSON array")
        .with("path", path.display())
        .with_hint("mend it, or move it away; or write one event a line (layout `ndjson`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_an_array() {
        for (text, end) in
            [("[1]", 1), ("[1 ]\n", 3), ("[[1]]", 1), ("[1, ", 1), ("[\"]\"", 0), ("[1]x", 0)]
        {
            assert_eq!(end_of_array(text.as_bytes()), end, "{text}");
        }
    }

    #[test]
    fn rewrites_the_arrays_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let big = format!("[{} \"]\"\n]  ", "\"x\", ".repeat(3 << 20));
        for (text, expected) in [
            ("[1, 2]", Some("[1, 2")),
            (" [\n  {\"a\": []}\n  ]\n", Some(" [\n  {\"a\": []}")),
            ("[ \n ]", None),
            (big.as_str(), Some(big.trim_end().trim_end_matches("\n]"))),
        ] {
            fs::write(&path, text).unwrap();
            let seen = Seen::at(&path).unwrap().unwrap();
            let to = dir.path().join("to");
            let any = rewrite(&seen, Codec::Plain, &mut File::create(&to).unwrap()).unwrap();
            assert_eq!(any, expected.is_some());
            if let Some(expected) = expected {
                assert!(fs::read_to_string(&to).unwrap() == expected, "{}", expected.len());
            }
        }
        for text in ["[1, 2", "[", "[1]x"] {
            fs::write(&path, text).unwrap();
            let seen = Seen::at(&path).unwrap().unwrap();
            let error = rewrite(&seen, Codec::Plain, &mut tempfile::tempfile().unwrap());
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
        }
    }
}
