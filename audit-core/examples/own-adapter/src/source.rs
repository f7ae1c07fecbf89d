use std::time::Duration;

use async_trait::async_trait;
use audit_core::durable::{check_writable, io_error};
use audit_core::{Batch, Cursor, Error, ErrorKind, EventId, Limit, Read, Result, Source};

use crate::files::{Lines, Position};
use crate::{SpoolConfig, blocking, files, record};

/// Names the cursors of this source.
const KIND: &str = "spool";
/// Grows when the form of [`Position`] changes; older forms have to stay readable.
const VERSION: u32 = 1;
/// When to look into the directory again.
const POLL: Duration = Duration::from_secs(1);

/// Reads the files that programs leave in a directory, one JSON record a line, and removes each once
/// all of it is delivered.
///
/// A program writes a file under another name and renames it to `*.ndjson` when it is finished; a
/// name is used once. Everything else in the directory is left alone.
#[derive(Debug)]
pub struct SpoolSource {
    config: SpoolConfig,
    position: Option<Position>,
}

impl SpoolSource {
    /// Makes the source. Touches nothing outside.
    pub fn new(config: SpoolConfig) -> Self {
        Self { config, position: None }
    }
}

#[async_trait]
impl Source for SpoolSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.position = None;
        let position = from.map(|cursor| cursor.decode(KIND, VERSION)).transpose()?;
        self.position = Some(position.unwrap_or_default());
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let Some(position) = self.position.clone() else {
            return Err(Error::new(ErrorKind::Unexpected, "read before open"));
        };
        let config = self.config.clone();
        let Some((batch, behind)) = blocking::run(move || next(&config, position, limit)).await?
        else {
            return Ok(Read::Idle(POLL));
        };
        // Behind the last await: a read that is dropped leaves the position as it was.
        self.position = Some(behind);
        Ok(Read::Batch(batch))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        // What the cursor says, not where this source stands: that is further on.
        let position: Position = cursor.decode(KIND, VERSION)?;
        let dir = self.config.dir.clone();
        blocking::run(move || files::remove_read(&dir, &position)).await
    }

    async fn check(&mut self) -> Result<()> {
        let dir = self.config.dir.clone();
        blocking::run(move || {
            files::names(&dir)?;
            check_writable(&dir)
        })
        .await
    }
}

/// Reads the next records behind a position; nothing if there are none.
fn next(
    config: &SpoolConfig,
    mut position: Position,
    limit: Limit,
) -> Result<Option<(Batch, Position)>> {
    let names = files::names(&config.dir)?;
    position.retain(|name, _| names.contains(name));
    let (mut events, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0);
    'files: for name in names {
        let path = config.dir.join(&name);
        let read = position.entry(name.clone()).or_default();
        let mut lines = Lines::open(&path, *read, config.max_record_bytes)?;
        while let Some(line) = lines.next().map_err(|e| io_error(&e, &path))? {
            let id = EventId::new(format!("{name}:{}", line.offset));
            let record = record::event(&config.name, id, line.body, line.whole);
            bytes += record.as_ref().map_or_else(|letter| letter.body().len(), |e| e.size());
            let records = events.len() + rejected.len();
            let full = records == limit.max_events || bytes > limit.max_bytes;
            if full && records > 0 {
                break 'files; // this record is read again, as the first of the next batch
            }
            match record {
                Ok(event) => events.push(event),
                Err(letter) => rejected.push(letter),
            }
            *read = lines.offset();
        }
        *read = lines.offset();
    }
    if events.is_empty() && rejected.is_empty() {
        return Ok(None);
    }
    let cursor = Cursor::encode(KIND, VERSION, &position)?;
    Ok(Some((Batch { events, rejected, cursor }, position)))
}
