use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Batch, Cursor, Error, ErrorKind, Limit, Read, Result, Source};
use serde::{Deserialize, Serialize};

use crate::lines::Lines;
use crate::record::{Found, Record, Records};
use crate::repeats::Repeats;

const KIND: &str = "confluent-files";
const VERSION: u32 = 1;

/// Which files to read: the options of a [`FilesSource`].
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilesConfig {
    /// The files, in the order of reading: one record a line, plain, gzip or zstd.
    pub files: Vec<PathBuf>,
    /// The source's name in its events. Default `confluent`.
    #[serde(default = "default_name")]
    pub name: String,
    /// A longer line is rejected, with its beginning. Default 8 MiB.
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: u32,
    /// Among how many of the last records repeats are recognised; 0: not at all. Default 100,000,
    /// which takes about 10 MB.
    #[serde(default = "default_repeats")]
    pub repeat_window: usize,
}

impl FilesConfig {
    /// Creates a configuration with every default.
    pub fn new(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            files: files.into_iter().map(Into::into).collect(),
            name: default_name(),
            max_record_bytes: default_record_bytes(),
            repeat_window: default_repeats(),
        }
    }
}

/// # Errors
/// [`ErrorKind::Config`] when there is no file, one twice, or one whose path is not UTF-8.
pub(crate) fn check_names(files: &[PathBuf]) -> Result<()> {
    let bad = |why: &'static str| Error::new(ErrorKind::Config, why).with("option", "files");
    if files.is_empty() {
        return Err(bad("no file is given"));
    }
    for (n, file) in files.iter().enumerate() {
        if file.to_str().is_none() {
            return Err(bad("the path is not UTF-8").with("path", file.display()));
        }
        if files[..n].contains(file) {
            return Err(bad("a file is given twice").with("path", file.display()));
        }
    }
    Ok(())
}

fn default_name() -> String {
    "confluent".to_owned()
}

pub(crate) fn default_record_bytes() -> u32 {
    8 << 20
}

fn default_repeats() -> usize {
    100_000
}

/// Reads files that were downloaded from an audit log topic.
///
/// A line that is no record is rejected, and the rest goes on. The source ends with the last file.
pub struct FilesSource {
    config: Arc<FilesConfig>,
    walk: Option<Walk>,
}

/// Where to go on: behind the line that ends at `offset` of a file's text, unpacked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    file: PathBuf,
    offset: u64,
}

impl FilesSource {
    /// Creates the source of some files. Nothing is opened yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no file, one twice, or one whose path is not UTF-8.
    pub fn new(config: FilesConfig) -> Result<Self> {
        check_names(&config.files)?;
        if config.max_record_bytes < 1000 || config.repeat_window > 100_000_000 {
            return Err(Error::new(
                ErrorKind::Config,
                "must be at least 1000 and at most 100,000,000",
            )
            .with("option", "max_record_bytes, repeat_window"));
        }
        Ok(Self { config: Arc::new(config), walk: None })
    }
}

impl fmt::Debug for FilesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesSource").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for FilesSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.walk = None;
        let (mut file, mut offset) = (0, 0);
        if let Some(cursor) = from {
            let position: Position = cursor.decode(KIND, VERSION)?;
            let place = self.config.files.iter().position(|file| *file == position.file);
            file = place.ok_or_else(|| {
                Error::new(ErrorKind::Config, "the file of the checkpoint is not among the files")
                    .with("path", position.file.display())
                    .with_hint("give it again, in its order, or set the checkpoint anew")
            })?;
            offset = position.offset;
        }
        self.walk = Some(Walk {
            records: Records::new(&self.config.name, self.config.max_record_bytes),
            repeats: Repeats::of(self.config.repeat_window),
            config: Arc::clone(&self.config),
            file,
            offset,
            lines: None,
            held: None,
        });
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        // A read that is dropped takes the walk along; `open` comes next.
        let mut walk = self
            .walk
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "the source was not opened"))?;
        let joined = tokio::task::spawn_blocking(move || {
            let answer = walk.read(limit);
            (walk, answer)
        });
        let (walk, answer) = joined
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "reading was broken off").because(e))?;
        self.walk = Some(walk);
        answer.map_err(|e| e.while_doing("read the files"))
    }

    async fn check(&mut self) -> Result<()> {
        let config = Arc::clone(&self.config);
        let opened = tokio::task::spawn_blocking(move || {
            config.files.iter().try_for_each(|file| Lines::open(file, 0, 0).map(drop))
        });
        opened
            .await
            .unwrap_or_else(|e| Err(Error::new(ErrorKind::Unexpected, "broken off").because(e)))
            .map_err(|e| e.while_doing("check the files"))
    }
}

/// On its way through the files.
struct Walk {
    config: Arc<FilesConfig>,
    records: Records,
    /// Which file is next or open, and how much of it was handed out.
    file: usize,
    offset: u64,
    lines: Option<Lines>,
    /// Read, and too large for the batch before.
    held: Option<(Record, u64)>,
    repeats: Repeats,
}

impl Walk {
    fn read(&mut self, limit: Limit) -> Result<Read> {
        let mut batch = Batch::new(Vec::new(), self.cursor()?);
        let (mut records, mut bytes, mut moved) = (0, 0, false);
        while records < limit.max_events && bytes < limit.max_bytes {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => match self.next() {
                    // First what was read; the next read finds the same again.
                    Err(_) if moved => break,
                    next => next?,
                },
            };
            let Some((record, end)) = next else {
                if self.file + 1 >= self.config.files.len() {
                    break;
                }
                (self.file, self.offset, self.lines) = (self.file + 1, 0, None);
                moved = true;
                continue;
            };
            if records > 0 && bytes + record.size() > limit.max_bytes {
                self.held = Some((record, end));
                break;
            }
            (self.offset, moved) = (end, true);
            bytes += record.size();
            match record {
                Record::Good { event, known, .. } => {
                    if known && self.repeats.is_repeat(&event) {
                        continue;
                    }
                    batch.events.push(event);
                }
                Record::Bad(letter) => batch.rejected.push(letter),
            }
            records += 1;
        }
        if !moved {
            return Ok(Read::End);
        }
        batch.cursor = self.cursor()?;
        Ok(Read::Batch(batch))
    }

    /// Returns the next record of the file, and where it ends.
    fn next(&mut self) -> Result<Option<(Record, u64)>> {
        let path = &self.config.files[self.file];
        let max_bytes = self.config.max_record_bytes as usize;
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => none.insert(Lines::open(path, self.offset, max_bytes)?),
        };
        let read = lines.next(path);
        if read.is_err() {
            self.lines = None;
        }
        let Some(line) = read? else { return Ok(None) };
        let found = Found {
            place: format_args!("{}@{}", path.display(), line.end),
            body: &line.body,
            stored: None,
        };
        Ok(Some((self.records.read(&found), line.end)))
    }

    fn cursor(&self) -> Result<Cursor> {
        let file = self.config.files[self.file].clone();
        Cursor::encode(KIND, VERSION, &Position { file, offset: self.offset })
    }
}
