use std::io::{self, Write};

use audit_core::{Error, ErrorKind, Result};
use flate2::write::GzDecoder;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;

use crate::error;

/// The body of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Whole(Vec<u8>),
    /// It is larger than was allowed; this is its beginning.
    TooLarge(Vec<u8>),
}

impl Body {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::TooLarge(bytes) => bytes,
        }
    }
}

/// Reads a body, unpacks it if it is packed, and never holds more than `limit` bytes of it.
pub(crate) async fn read(mut response: Response, limit: usize, host: &str) -> Result<Body> {
    let packed = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
    let told = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut unpacker = Unpacker::new(packed, limit, told);
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if let Err(error) = unpacker.push(&piece) {
                    return unpacker.stop(error, host);
                }
            }
            Ok(None) => return unpacker.finish(host),
            Err(error) => return Err(error::of_transport(error, host)),
        }
    }
}

enum Unpacker {
    Packed(Box<GzDecoder<Bounded>>),
    Plain(Bounded),
}

impl Unpacker {
    fn new(packed: bool, limit: usize, told: usize) -> Self {
        // What is promised and does not come takes addresses, and no memory.
        let bytes = Vec::with_capacity(told.min(limit).min(64 << 20));
        let bounded = Bounded { bytes, limit, is_full: false };
        if packed { Self::Packed(Box::new(GzDecoder::new(bounded))) } else { Self::Plain(bounded) }
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Packed(decoder) => decoder.write_all(piece),
            Self::Plain(bounded) => bounded.write_all(piece),
        }
    }

    fn stop(&mut self, error: io::Error, host: &str) -> Result<Body> {
        let bounded = match self {
            Self::Packed(decoder) => decoder.get_mut(),
            Self::Plain(bounded) => bounded,
        };
        if bounded.is_full {
            return Ok(Body::TooLarge(std::mem::take(&mut bounded.bytes)));
        }
        Err(Error::new(ErrorKind::Unavailable, "the packed answer is cut off or damaged")
            .with("host", host)
            .because(error))
    }

    fn finish(&mut self, host: &str) -> Result<Body> {
        let ended = match self {
            Self::Packed(decoder) => decoder.try_finish(),
            Self::Plain(_) => Ok(()),
        };
        if let Err(error) = ended {
            return self.stop(error, host);
        }
        let bounded = match self {
            Self::Packed(decoder) => decoder.get_mut(),
            Self::Plain(bounded) => bounded,
        };
        Ok(Body::Whole(std::mem::take(&mut bounded.bytes)))
    }
}

/// Bytes up to a limit; what would go beyond it is an error.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.bytes.len();
        if room == 0 && !piece.is_empty() {
            self.is_full = true;
            return Err(io::Error::other("larger than allowed"));
        }
        let fits = piece.get(..room).unwrap_or(piece);
        self.bytes.extend_from_slice(fits);
        Ok(fits.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn unpack(packed: bool, pieces: &[&[u8]], limit: usize) -> Result<Body> {
        let mut unpacker = Unpacker::new(packed, limit, usize::MAX);
        for piece in pieces {
            if let Err(error) = unpacker.push(piece) {
                return unpacker.stop(error, "h");
            }
        }
        unpacker.finish("h")
    }

    fn pack(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_packed_bodies_are_the_same() {
        let text = b"{\"ok\":true,\"audits\":[]}".repeat(100);
        let packed = pack(&text);
        let (head, tail) = packed.split_at(packed.len() / 2);
        assert_eq!(unpack(true, &[head, tail], 9_999).unwrap(), Body::Whole(text.clone()));
        assert_eq!(unpack(false, &[&text], 9_999).unwrap(), Body::Whole(text.clone()));
        assert_eq!(unpack(false, &[&text], text.len()).unwrap(), Body::Whole(text));
        assert_eq!(unpack(false, &[], 9).unwrap(), Body::Whole(Vec::new()));
    }

    #[test]
    fn n05_a_bomb_is_stopped_at_the_limit() {
        let bomb = pack(&vec![b' '; 4 << 20]);
        assert!(bomb.len() < 10_000);
        for (packed, bytes) in [(true, bomb), (false, vec![b' '; 1001])] {
            let Body::TooLarge(bytes) = unpack(packed, &[&bytes], 1000).unwrap() else {
                panic!("not stopped");
            };
            assert_eq!(bytes.len(), 1000);
        }
    }

    #[test]
    fn d19_a_packed_body_that_is_cut_or_damaged_is_an_error() {
        let packed = pack(b"{\"ok\":true,\"audits\":[]}");
        for end in [0, 1, packed.len() / 2, packed.len() - 1] {
            let error = unpack(true, &[&packed[..end]], 1000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{end}");
        }
        assert!(unpack(true, &[b"<html>not packed at all</html>"], 1000).is_err());
    }
}
