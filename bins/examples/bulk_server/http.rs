//! As much of HTTP/1.1 as clients of `_bulk` use: bodies with a length, plain or gzip.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use flate2::read::GzDecoder;

const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 100 << 20;

pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read: a head, then the body as far as it has come.
    buffer: Vec<u8>,
    filled: usize,
    /// Where the last request ends.
    used: usize,
    plain: Vec<u8>,
}

pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 << 10], filled: 0, used: 0, plain: Vec::new() })
    }

    /// Returns the next request, or nothing when the client has gone.
    pub(crate) fn next(&mut self) -> io::Result<Option<Request<'_>>> {
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        let mut seen = 0;
        let head = loop {
            let found = self.buffer[seen..self.filled].windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(at) = found {
                break seen + at + 4;
            }
            if self.filled > MAX_HEAD {
                return Err(ErrorKind::InvalidData.into());
            }
            seen = self.filled.saturating_sub(3);
            if !self.more()? {
                return Ok(None);
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head]).map_err(io::Error::other)?;
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let length = match header("content-length") {
            Some(length) => length.parse().map_err(io::Error::other)?,
            None if header("transfer-encoding").is_some() => {
                return Err(ErrorKind::Unsupported.into());
            }
            None => 0,
        };
        if length > MAX_BODY {
            return Err(ErrorKind::InvalidData.into());
        }
        let (gzip, expects) =
            (header("content-encoding") == Some("gzip"), header("expect").is_some());
        if expects {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.used = head + length;
        if self.buffer.len() < self.used {
            self.buffer.resize(self.used, 0);
        }
        while self.filled < self.used {
            if !self.more()? {
                return Ok(None);
            }
        }
        let sent = &self.buffer[head..self.used];
        let body = match gzip {
            false => sent,
            true => {
                self.plain.clear();
                let limit = MAX_BODY as u64;
                BufReader::new(GzDecoder::new(sent).take(limit)).read_to_end(&mut self.plain)?;
                &self.plain
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head]).map_err(io::Error::other)?;
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Request { method, path, query, body }))
    }

    fn more(&mut self) -> io::Result<bool> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read > 0)
    }

    pub(crate) fn reply(&mut self, status: u16, head_only: bool, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let body = if head_only { &[] } else { body };
        let written =
            self.stream.write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(body)])?;
        let after_head = written.saturating_sub(head.len());
        self.stream.write_all(&head.as_bytes()[written.min(head.len())..])?;
        self.stream.write_all(&body[after_head..])
    }
}
