use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use audit_core::{Error, ErrorKind, Result};
use flate2::bufread::MultiGzDecoder;

const BUFFER: usize = 256 << 10;

/// The lines of a file, plain, gzip or zstd, in bounded memory however long they are.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// Behind the last line, in bytes of the text.
    offset: u64,
    max_bytes: usize,
}

/// A file as it is, or the text that is packed in it.
pub(crate) enum Unpacked {
    Plain(BufReader<File>),
    Packed(Box<dyn BufRead + Send>),
}

/// Finds out by the first bytes whether a file is packed.
pub(crate) fn unpacked(file: File) -> std::io::Result<Unpacked> {
    let mut file = BufReader::with_capacity(BUFFER, file);
    let magic = file.fill_buf()?;
    Ok(if magic.starts_with(&[0x1f, 0x8b]) {
        Unpacked::Packed(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::Decoder::with_buffer(file)?;
        Unpacked::Packed(Box::new(BufReader::with_capacity(BUFFER, decoder)))
    } else {
        Unpacked::Plain(file)
    })
}

/// What was found of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without its line end; of a line that is too long, its beginning.
    pub(crate) body: Vec<u8>,
    /// Where the next one begins.
    pub(crate) end: u64,
}

impl Lines {
    /// Opens a file, at an offset of its text.
    pub(crate) fn open(path: &Path, offset: u64, max_bytes: usize) -> Result<Self> {
        let of_file = |e: std::io::Error| of_io(e, path);
        let file = File::open(path).map_err(of_file)?;
        let length = file.metadata().map_err(of_file)?.len();
        let (mut reader, to): (Box<dyn BufRead + Send>, _) =
            match unpacked(file).map_err(of_file)? {
                Unpacked::Plain(mut file) => {
                    let to = offset.min(length);
                    file.seek(SeekFrom::Start(to)).map_err(of_file)?;
                    (Box::new(file), to)
                }
                Unpacked::Packed(reader) => (reader, 0),
            };
        let skipped = std::io::copy(&mut (&mut reader).take(offset - to), &mut std::io::sink());
        let skipped = if to > 0 { to } else { skipped.map_err(of_file)? };
        Self { reader, offset: skipped, max_bytes }.at(offset, path)
    }

    fn at(self, offset: u64, path: &Path) -> Result<Self> {
        if self.offset < offset {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the file is shorter than what was read of it",
            )
            .with("path", path.display())
            .with("position", offset)
            .with_hint(
                "it is another file: give this run a name of its own, or set its checkpoint anew",
            ));
        }
        Ok(self)
    }

    /// Returns the next line that is not empty.
    pub(crate) fn next(&mut self, path: &Path) -> Result<Option<Line>> {
        loop {
            let first = self.offset == 0;
            let mut body = Vec::new();
            let ended = self.fill(&mut body).map_err(|e| of_io(e, path))?;
            let bom = first && body.starts_with(b"\xef\xbb\xbf");
            if bom {
                drop(body.drain(..3));
            }
            if !body.trim_ascii().is_empty() {
                return Ok(Some(Line { body, end: self.offset }));
            }
            if ended {
                return Ok(None);
            }
        }
    }

    /// Reads up to the next line end, which is left out. Whether the file ended.
    fn fill(&mut self, body: &mut Vec<u8>) -> std::io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(true);
            }
            let (part, used, ended) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (&buffer[..at], at + 1, true),
                None => (buffer, buffer.len(), false),
            };
            // One byte more than allowed tells that it is too long.
            let room = (self.max_bytes + 1).saturating_sub(body.len());
            body.extend_from_slice(&part[..part.len().min(room)]);
            self.reader.consume(used);
            self.offset += used as u64;
            if ended {
                if body.last() == Some(&b'\r') {
                    body.pop();
                }
                return Ok(false);
            }
        }
    }
}

pub(crate) fn of_io(error: std::io::Error, path: &Path) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, message) = match error.kind() {
        Io::NotFound | Io::IsADirectory => (ErrorKind::Config, "there is no such file"),
        Io::PermissionDenied => (ErrorKind::Auth, "the right to read the file is missing"),
        Io::InvalidData | Io::InvalidInput | Io::UnexpectedEof | Io::Other => {
            (ErrorKind::InvalidData, "the compressed file is damaged or cut off")
        }
        _ => (ErrorKind::Unavailable, "the file cannot be read"),
    };
    Error::new(kind, message).with("path", path.display()).because(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8], offset: u64) -> Result<Vec<(String, u64)>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = Lines::open(file.path(), offset, 10)?;
        let mut all = Vec::new();
        while let Some(line) = lines.next(file.path())? {
            all.push((String::from_utf8(line.body).unwrap(), line.end));
        }
        Ok(all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    const TEXT: &[u8] = b"\xef\xbb\xbfone\r\n\n  \ntwo\n0123456789abcdef\nlast";

    #[test]
    fn every_packing_has_the_same_lines_and_offsets() {
        let plain = lines(TEXT, 0).unwrap();
        let texts: Vec<_> = plain.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "0123456789a", "last"]);
        assert_eq!(plain.last().unwrap().1, TEXT.len() as u64);
        let two = [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat();
        let packed = [gzip(TEXT), two, zstd::encode_all(TEXT, 1).unwrap()];
        for bytes in packed {
            assert_eq!(lines(&bytes, 0).unwrap(), plain);
            for (n, (_, end)) in plain.iter().enumerate() {
                assert_eq!(lines(&bytes, *end).unwrap(), plain[n + 1..]);
                assert_eq!(lines(TEXT, *end).unwrap(), plain[n + 1..]);
            }
        }
    }

    #[test]
    fn what_is_damaged_or_shorter_than_it_was_is_an_error() {
        let whole = gzip(TEXT);
        assert_eq!(lines(&whole[..whole.len() / 2], 0).unwrap_err().kind(), ErrorKind::InvalidData);
        for bytes in [TEXT, &whole] {
            let error = lines(bytes, 1000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains("shorter"), "{error}");
        }
        let missing = Lines::open(Path::new("/nowhere/a"), 0, 10).map(drop).unwrap_err();
        assert_eq!(missing.to_string(), "there is no such file (path: /nowhere/a)");
        assert_eq!(missing.kind(), ErrorKind::Config);
    }

    #[test]
    fn n05_a_bomb_of_one_line_takes_no_more_than_a_line_may() {
        let bomb = gzip(&vec![b'x'; 2 << 20]);
        assert_eq!(lines(&bomb, 0).unwrap(), [("x".repeat(11), 2 << 20)]);
    }
}
