//! A TOML file whose errors name file, line and key, and never a value that may be a secret.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Deserializer, Spanned};

use super::hint;
use super::interpolate::{content, interpolate, variable};

pub(super) type Table = Spanned<DeTable<'static>>;

/// A file that was parsed.
pub(super) struct Document {
    file: Arc<File>,
    root: Table,
    values: Vec<PathBuf>,
}

/// What is needed to say where something stands.
struct File {
    path: PathBuf,
    text: &'static str,
}

/// A table that belongs to an adapter: its `type`, and the rest, not yet looked at.
#[derive(Clone)]
pub struct Section {
    /// Which adapter it is for.
    pub kind: String,
    at: String,
    dir: PathBuf,
    table: Table,
    file: Arc<File>,
}

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| {
            Error::new(ErrorKind::Config, "cannot read the configuration file")
                .with("path", path.display())
                .because(e)
        })?;
        // A process reads its configuration once, or again when people have changed it, and the
        // tables borrow from it until the end.
        let text: &'static str = text.leak();
        let file = Arc::new(File { path: path.to_owned(), text });
        let mut root = DeTable::parse(text).map_err(|e| file.error("", &e))?;
        let mut values = Vec::new();
        file.interpolate(root.get_mut(), "", &mut values)?;
        Ok(Self { file, root, values })
    }

    /// Returns the files that values were read from.
    pub(super) fn values(&self) -> &[PathBuf] {
        &self.values
    }

    pub(super) fn root(&self) -> &Table {
        &self.root
    }

    /// Reads a table into a type that denies unknown fields.
    pub(super) fn parse<T: DeserializeOwned>(&self, table: &Table, at: &str) -> Result<T> {
        self.file.parse(table.clone(), at)
    }

    /// Takes the tables in the table `key` out of the document.
    pub(super) fn take_tables(&mut self, key: &str) -> Result<Vec<(String, Table)>> {
        let Some(tables) = take(self.root.get_mut(), key) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (name, value) in self.file.table(tables, key)?.into_inner() {
            let name = name.into_inner().into_owned();
            let table = self.file.table(value, &format!("{key}.{name}"))?;
            found.push((name, table));
        }
        Ok(found)
    }

    /// Takes the table `key` out of `table`, if it is there, and reads it.
    pub(super) fn optional<T: DeserializeOwned + Default>(
        &self,
        table: &mut Table,
        at: &str,
        key: &str,
    ) -> Result<T> {
        let at = format!("{at}.{key}");
        match take(table.get_mut(), key) {
            Some(value) => self.file.parse(self.file.table(value, &at)?, &at),
            None => Ok(T::default()),
        }
    }

    /// Takes the adapter's table `key` out of `table`.
    pub(super) fn section(
        &self,
        table: &mut Table,
        at: &str,
        key: &str,
        dir: &Path,
    ) -> Result<Section> {
        let at = format!("{at}.{key}");
        let missing = || {
            Error::new(ErrorKind::Config, format!("{}: no `type`", self.file.path.display()))
                .with("key", &at)
                .with_hint("say which adapter it is for: `type = \"…\"`")
        };
        let value = take(table.get_mut(), key).ok_or_else(missing)?;
        let mut table = self.file.table(value, &at)?;
        let kind = take(table.get_mut(), "type").ok_or_else(missing)?;
        let DeValue::String(kind) = kind.into_inner() else { return Err(missing()) };
        let (kind, file) = (kind.into_owned(), Arc::clone(&self.file));
        Ok(Section { kind, at, dir: dir.to_owned(), table, file })
    }
}

impl Section {
    /// Reads the table into the adapter's own configuration, which denies unknown fields.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with file, line and key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.file.parse(self.table.clone(), &self.at)
    }

    /// Returns the key of the table in the file: `pipelines.orders.source`.
    pub fn key(&self) -> &str {
        &self.at
    }

    /// Returns the directory that relative paths start from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Rewrites the text at a key, if there is one: a relative path, for example.
    pub fn rewrite(&mut self, key: &str, rewrite: impl FnOnce(&str) -> String) {
        let value = self.table.get_mut().iter_mut().find(|(k, _)| k.get_ref() == key);
        if let Some((_, value)) = value
            && let DeValue::String(text) = value.get_mut()
        {
            *text = rewrite(text).into();
        }
    }

    /// Sets the text at a key that is not there.
    pub(super) fn set_default(&mut self, key: &'static str, text: &'static str) {
        let span = self.table.span();
        let table = self.table.get_mut();
        if !table.iter().any(|(k, _)| k.get_ref() == key) {
            let value = Spanned::new(span.clone(), DeValue::String(text.into()));
            table.insert(Spanned::new(span, key.into()), value);
        }
    }

    /// Returns the error of a `type` that nothing in this build answers to.
    pub fn unknown_type(&self, known: &[&str]) -> Error {
        Error::new(ErrorKind::Config, format!("unknown type `{}`", self.kind.escape_debug()))
            .with("key", &self.at)
            .with("file", self.file.path.display())
            .with_hint(hint::suggest(&self.kind, known.iter().copied()))
    }
}

impl File {
    fn parse<T: DeserializeOwned>(&self, table: Table, at: &str) -> Result<T> {
        T::deserialize(Deserializer::from(table)).map_err(|e| self.error(at, &e))
    }

    fn table(&self, value: Spanned<DeValue<'static>>, at: &str) -> Result<Table> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Spanned::new(span, table)),
            other => {
                let place = self.place(Some(span));
                Err(Error::new(
                    ErrorKind::Config,
                    format!("{place}: expected a table, found a {}", other.type_str()),
                )
                .with("key", at))
            }
        }
    }

    /// Replaces the variables in all values below a table, and notes the files it has read.
    fn interpolate(
        &self,
        table: &mut DeTable<'static>,
        at: &str,
        files: &mut Vec<PathBuf>,
    ) -> Result<()> {
        for (key, value) in table.iter_mut() {
            self.interpolate_value(value, &join(at, key.get_ref()), files)?;
        }
        Ok(())
    }

    fn interpolate_value(
        &self,
        value: &mut Spanned<DeValue<'static>>,
        at: &str,
        files: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                let lookup = |name: &str| match name.strip_prefix("file:") {
                    Some(path) => {
                        let path = self.path.parent().unwrap_or(Path::new("")).join(path);
                        let found = content(&path);
                        files.push(path);
                        found
                    }
                    None => variable(name),
                };
                let replaced = interpolate(text, lookup).map_err(|e| {
                    e.while_doing("read the configuration")
                        .with("key", at)
                        .with("at", self.place(Some(span)))
                })?;
                if let Some(replaced) = replaced {
                    *text = replaced.into();
                }
                Ok(())
            }
            DeValue::Table(table) => self.interpolate(table, at, files),
            DeValue::Array(array) => {
                array.iter_mut().try_for_each(|value| self.interpolate_value(value, at, files))
            }
            _ => Ok(()),
        }
    }

    /// Turns an error of the parser into one that says where, what and what else.
    fn error(&self, at: &str, error: &toml::de::Error) -> Error {
        let place = self.place(error.span());
        let message = error.message();
        let unknown = message.strip_prefix("unknown field ").map(|rest| ("key", rest));
        let unknown = unknown
            .or_else(|| message.strip_prefix("unknown variant ").map(|rest| ("value", rest)));
        let Some((what, rest)) = unknown else {
            let text = without_values(message.trim_end());
            let made =
                Error::new(ErrorKind::Config, format!("{place}: {}", text.replace('\n', ", ")));
            return match (self.key_at(error.span()), text.strip_prefix("missing field `")) {
                (_, Some(missing)) => {
                    let missing = missing.trim_end_matches('`');
                    let within = if at.is_empty() { "the file" } else { at };
                    made.with("key", join(at, missing))
                        .with_hint(format!("`{missing}` has to be in {within}"))
                }
                (Some(key), _) => {
                    made.with("key", join(at, key)).with_hint(format!("correct the value of `{key}`"))
                }
                (None, _) if at.is_empty() => {
                    made.with_hint("the file is TOML: `[pipelines.NAME]` begins a table, `name = value` sets a key")
                }
                (None, _) => made.with("key", at),
            };
        };
        // Serde writes: `word`, expected one of `a`, `b`
        let mut words = rest.split('`').skip(1).step_by(2);
        let word = words.next().unwrap_or_default();
        // What was meant to be a choice may be a misplaced secret, so only keys are repeated.
        let shown = match (what, self.key_at(error.span())) {
            ("key", _) => format!(" `{}`", word.escape_debug()),
            (_, Some(key)) => format!(" of `{key}`"),
            (_, None) => String::new(),
        };
        let within = if at.is_empty() { "at the top".to_owned() } else { format!("in [{at}]") };
        let valid: Vec<_> = words.filter(|w| !w.is_empty()).collect();
        Error::new(ErrorKind::Config, format!("{place}: unknown {what}{shown} {within}"))
            .with_hint(hint::suggest(word, valid.into_iter()))
    }

    /// Returns the key in whose line something stands, if that is where it begins.
    fn key_at(&self, span: Option<Range<usize>>) -> Option<&str> {
        let before = self.text.get(..span?.start)?;
        let line = before.get(before.rfind('\n').map_or(0, |n| n + 1)..)?;
        let key = line.split_once('=')?.0.trim();
        // Of `limits.max_bytes` the table is known already.
        let key = key.rsplit('.').next()?;
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!key.is_empty() && key.chars().all(usable)).then_some(key)
    }

    /// Returns `file:line`.
    fn place(&self, span: Option<Range<usize>>) -> String {
        let path = self.path.display();
        match span {
            Some(span) => {
                let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
                let line = 1 + before.iter().filter(|b| **b == b'\n').count();
                format!("{path}:{line}")
            }
            None => path.to_string(),
        }
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("key", &self.at).field("type", &self.kind).finish()
    }
}

/// Takes the value found out of a message of serde: `invalid type: string "hunter2", expected …`.
fn without_values(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            let before = message.get(..first).unwrap_or_default().trim_end();
            format!("{before}{}", message.get(last + 1..).unwrap_or_default())
        }
        _ => message.to_owned(),
    }
}

/// Adds the files that a table of an adapter names: certificates, keys, secrets.
pub(super) fn named_files(table: &Table, dir: &Path, found: &mut Vec<PathBuf>) {
    fn walk(table: &DeTable<'static>, in_tls: bool, dir: &Path, found: &mut Vec<PathBuf>) {
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(table) => walk(table, key == "tls", dir, found),
                DeValue::String(path)
                    if key.ends_with("_file")
                        || (in_tls && matches!(key, "ca" | "cert" | "key")) =>
                {
                    found.push(dir.join(path.as_ref()));
                }
                _ => {}
            }
        }
    }
    walk(table.get_ref(), false, dir, found);
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn take(table: &mut DeTable<'static>, key: &str) -> Option<Spanned<DeValue<'static>>> {
    let key = table.keys().find(|k| k.get_ref() == key)?.clone();
    table.remove(&key)
}
