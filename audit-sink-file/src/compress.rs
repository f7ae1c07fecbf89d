//! One batch, one gzip member or zstd frame: files of both are the members one after another.

use std::io::{self, BufReader, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How bytes of a batch become bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Plain,
    Gzip(u32),
    Zstd(u32),
}

impl Codec {
    /// Returns its name in configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    /// Reads a file back, all members.
    pub(crate) fn reader(self, file: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Plain => file,
            Self::Gzip(_) => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(256 << 10, file)))
            }
            Self::Zstd(_) => Box::new(zstd::stream::read::Decoder::new(file)?),
        })
    }

    /// Returns the bytes of a short, fixed text, the same at every level.
    pub(crate) fn fixed(self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Plain => out.extend_from_slice(text),
            Self::Gzip(_) => Encoder::new(Self::Gzip(1))?.encode_into(text, &mut out)?,
            Self::Zstd(_) => Encoder::new(Self::Zstd(1))?.encode_into(text, &mut out)?,
        }
        Ok(out)
    }
}

/// Compresses batch after batch into the same buffer.
pub(crate) struct Encoder {
    state: State,
    out: Vec<u8>,
}

enum State {
    Plain,
    Gzip(flate2::Compression),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    pub(crate) fn new(codec: Codec) -> io::Result<Self> {
        let state = match codec {
            Codec::Plain => State::Plain,
            Codec::Gzip(level) => State::Gzip(flate2::Compression::new(level)),
            Codec::Zstd(level) => {
                let level = i32::try_from(level).map_err(io::Error::other)?;
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.include_checksum(true)?;
                State::Zstd(Box::new(compressor))
            }
        };
        Ok(Self { state, out: Vec::new() })
    }

    /// Returns the text as one whole member, or the text itself where nothing is compressed.
    pub(crate) fn encode<'a>(&'a mut self, text: &'a [u8]) -> io::Result<&'a [u8]> {
        if matches!(self.state, State::Plain) {
            return Ok(text);
        }
        let mut out = std::mem::take(&mut self.out);
        let result = self.encode_into(text, &mut out);
        self.out = out;
        result.map(|()| self.out.as_slice())
    }

    fn encode_into(&mut self, text: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        match &mut self.state {
            State::Plain => out.extend_from_slice(text),
            State::Gzip(level) => {
                let mut encoder = GzEncoder::new(out, *level);
                encoder.write_all(text)?;
                encoder.finish()?;
            }
            State::Zstd(compressor) => {
                out.reserve(zstd::zstd_safe::compress_bound(text.len()));
                compressor.compress_to_buffer(text, out)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.state {
            State::Plain => "none",
            State::Gzip(_) => "gzip",
            State::Zstd(_) => "zstd",
        };
        write!(f, "Encoder({name})")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn members_one_after_another_read_as_one_text() {
        for codec in [Codec::Plain, Codec::Gzip(2), Codec::Zstd(1)] {
            let mut file = tempfile::tempfile().unwrap();
            let mut encoder = Encoder::new(codec).unwrap();
            for text in ["one\n", &"two, longer\n".repeat(9999), ""] {
                file.write_all(encoder.encode(text.as_bytes()).unwrap()).unwrap();
            }
            file.write_all(&codec.fixed(b"three\n").unwrap()).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut text = String::new();
            codec.reader(Box::new(file)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("one\n{}three\n", "two, longer\n".repeat(9999)), "{codec:?}");
        }
    }
}
