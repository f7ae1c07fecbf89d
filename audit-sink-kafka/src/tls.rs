use std::path::{Path, PathBuf};
use std::time::SystemTime;

use audit_core::{Error, ErrorKind, Result};

use crate::config::TlsConfig;

/// The files that the trust of a connection rests on, by the options that name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles(Vec<(&'static str, PathBuf)>);

/// What tells whether the files have changed.
pub(crate) type Stamp = Vec<Option<(SystemTime, u64)>>;

impl TlsFiles {
    pub(crate) fn of(config: Option<&TlsConfig>) -> Result<Self> {
        let Some(tls) = config else {
            return Ok(Self::default());
        };
        if tls.client_cert_file.is_some() != tls.client_key_file.is_some() {
            return Err(Error::new(ErrorKind::Config, "a certificate needs its key")
                .with_hint("give both `client_cert_file` and `client_key_file`"));
        }
        let files = [
            ("tls.ca_file", &tls.ca_file),
            ("tls.client_cert_file", &tls.client_cert_file),
            ("tls.client_key_file", &tls.client_key_file),
        ];
        let given =
            |(option, path): (&'static str, &Option<PathBuf>)| Some((option, path.clone()?));
        Ok(Self(files.into_iter().filter_map(given).collect()))
    }

    /// Returns when and how large the files are; nothing to compare if there are none.
    pub(crate) fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        self.0.iter().map(|(_, path)| stamp(path)).collect()
    }

    /// Names the file that cannot be read, which librdkafka would not.
    pub(crate) fn check(&self) -> Result<()> {
        for (option, path) in &self.0 {
            std::fs::File::open(path).map_err(|e| {
                Error::new(ErrorKind::Config, "cannot read the file")
                    .with("option", option)
                    .with("path", path.display())
                    .because(e)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_its_key_and_a_missing_file_are_named() {
        let mut tls = TlsConfig { client_cert_file: Some("c.pem".into()), ..TlsConfig::default() };
        assert_eq!(TlsFiles::of(Some(&tls)).unwrap_err().kind(), ErrorKind::Config);
        tls.client_key_file = Some("/nowhere/k.pem".into());
        tls.client_cert_file = Some("/dev/null".into());
        let text = TlsFiles::of(Some(&tls)).unwrap().check().unwrap_err().to_string();
        let expected = "cannot read the file (option: tls.client_key_file, path: /nowhere/k.pem)";
        assert_eq!(text, expected);
    }

    #[test]
    fn n03_a_file_that_changes_changes_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let tls = TlsConfig { ca_file: Some(path.clone()), ..TlsConfig::default() };
        let files = TlsFiles::of(Some(&tls)).unwrap();
        let missing = files.stamp();
        std::fs::write(&path, "one").unwrap();
        let first = files.stamp();
        assert_eq!(first, files.stamp());
        std::fs::write(&path, "other").unwrap();
        assert!(missing != first && first != files.stamp());
    }
}
