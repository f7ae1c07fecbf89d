//! The directory of downloads: `ORGANIZATION_audit_logs_YYYYMMDDhhmmss`, as it always was.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, durable};
use chrono::{DateTime, Utc};

const MARK: &str = "_audit_logs_";
/// The end of the hidden directory in which this program keeps the state of a download.
const STATE: &str = ".download";

/// The directory of downloads.
#[derive(Clone, Debug)]
pub(super) struct Data<'a> {
    dir: &'a Path,
}

/// One file of records, and the files beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    /// When its download began; before the name, so that files are in the order of time.
    stamp: String,
    name: String,
    dir: PathBuf,
}

impl<'a> Data<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    /// Returns the newest file that can be analysed, whoever wrote it.
    pub(super) fn newest(&self) -> Result<Option<PathBuf>> {
        let is_file = |name: &str| fs::metadata(self.dir.join(name)).is_ok_and(|m| m.is_file());
        let names = self.names()?.into_iter().filter(|name| is_file(name));
        Ok(names.filter_map(|name| self.file(&name)).max().map(|file| file.path()))
    }

    /// Returns the files that this program downloads or downloaded, oldest first. They need not be
    /// there yet.
    pub(super) fn own(&self) -> Result<Vec<File>> {
        let mut files = Vec::new();
        for name in self.names()? {
            let inner = name.strip_prefix('.').and_then(|name| name.strip_suffix(STATE));
            let file = inner.and_then(|name| self.file(name));
            files.extend(file.filter(|file| is_directory(&file.state())));
        }
        files.sort();
        Ok(files)
    }

    /// Returns the newest download of an organization that this program can continue.
    pub(super) fn current(&self, organization: &str) -> Result<Option<File>> {
        let name = |file: &File| format!("{organization}{MARK}{}", file.stamp);
        Ok(self.own()?.into_iter().rev().find(|file| file.name == name(file)))
    }

    /// Names a new download.
    pub(super) fn fresh(&self, organization: &str, now: DateTime<Utc>) -> File {
        let mut now = now;
        loop {
            let stamp = now.format("%Y%m%d%H%M%S").to_string();
            let name = format!("{organization}{MARK}{stamp}");
            let file = File { stamp, name, dir: self.dir.to_owned() };
            if !file.path().exists() && !file.state().exists() {
                return file;
            }
            now += chrono::TimeDelta::seconds(1);
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = |e: io::Error| durable::io_error(&e, self.dir);
        let entries = match fs::read_dir(self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is not UTF-8 is not named like a download.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    /// Reads a name; nothing if it is not that of a download.
    fn file(&self, name: &str) -> Option<File> {
        let packed = [".gz", ".zst"].into_iter().find_map(|ending| name.strip_suffix(ending));
        let (organization, stamp) = packed.unwrap_or(name).rsplit_once(MARK)?;
        let is_time = stamp.len() == 14 && stamp.bytes().all(|b| b.is_ascii_digit());
        (is_time && !organization.starts_with('.')).then(|| File {
            stamp: stamp.to_owned(),
            name: name.to_owned(),
            dir: self.dir.to_owned(),
        })
    }
}

impl File {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Returns the directory of what is known about the download. It is made before the file.
    pub(super) fn state(&self) -> PathBuf {
        self.dir.join(format!(".{}{STATE}", self.name))
    }

    /// Returns the file of the records that are no JSON.
    pub(super) fn dead_letters(&self) -> PathBuf {
        self.dir.join(format!("{}.dead-letters.ndjson", self.name))
    }

    /// Returns the journal of the file.
    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join(format!(".{}.journal", self.name))
    }
}

/// Makes the name of an organization one of a file. Blanks are left out, as always.
pub(super) fn organization(name: &str) -> Result<String> {
    let name: String = name.chars().filter(|c| !c.is_whitespace()).collect();
    let unusable = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || name.contains(unusable) {
        return Err(Error::new(ErrorKind::Config, "not a name that a file can have")
            .with("option", "--organization")
            .with("name", name.escape_debug())
            .with_hint("use up to 100 letters, digits, dashes and the like"));
    }
    Ok(name)
}

/// Whether it is a directory itself, not a link to one.
pub(super) fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

/// Whether it is a file itself, not a link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

/// Returns the path with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_time_and_never_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let data = Data::new(dir.path());
        assert_eq!(data.newest().unwrap(), None);
        for name in [
            "zeta_audit_logs_20260101000000",
            "acme_audit_logs_20260102000000.gz",
            "cc_audit_logs_20260109000000.dbf",
            "acme_audit_logs_20260109000000.dead-letters.ndjson",
            ".acme_audit_logs_20260109000000",
            "acme_audit_logs_2026",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("acme_audit_logs_20260110000000")).unwrap();
        let newest = data.newest().unwrap().unwrap();
        assert!(newest.ends_with("acme_audit_logs_20260102000000.gz"), "{}", newest.display());
    }

    #[test]
    fn only_an_own_download_of_the_same_organization_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let data = Data::new(dir.path());
        let now = "2026-11-21T10:11:12Z".parse().unwrap();
        let first = data.fresh("acme", now);
        assert_eq!(first.name, "acme_audit_logs_20261121101112");
        fs::write(first.path(), "").unwrap();
        assert_eq!(data.current("acme").unwrap(), None, "somebody else's");
        let second = data.fresh("acme", now);
        assert_eq!(second.name, "acme_audit_logs_20261121101113");
        fs::create_dir(second.state()).unwrap();
        assert_eq!(data.current("acme").unwrap(), Some(second));
        assert_eq!(data.current("acm").unwrap(), None);
    }

    #[test]
    fn an_organization_leaves_its_directory_by_no_name() {
        assert_eq!(organization(" My Org ").unwrap(), "MyOrg");
        for name in ["", " ", "../x", "a/b", "..", "c:\\x", "a\u{1b}b", &"x".repeat(101)] {
            assert_eq!(organization(name).unwrap_err().kind(), ErrorKind::Config, "{name:?}");
        }
    }
}
