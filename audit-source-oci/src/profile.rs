use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, Secret};

/// The largest configuration or token file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The keys of one profile of `~/.oci/config`, with those of `DEFAULT` where it has none.
pub(crate) struct Profile {
    path: PathBuf,
    name: String,
    keys: BTreeMap<String, Secret>,
}

impl Profile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it cannot be read, or has no such profile.
    pub(crate) fn load(path: &Path, name: &str) -> Result<Self> {
        let text = read_text(path, "the configuration file")
            .map_err(|e| e.with_hint("create it with `oci setup config`, or give `config_file`"))?;
        Self::parse(&text, path, name)
    }

    fn parse(text: &str, path: &Path, name: &str) -> Result<Self> {
        let mut profiles: BTreeMap<String, BTreeMap<String, Secret>> = BTreeMap::new();
        let mut current: Option<String> = None;
        let wrong = |number: usize, message: &str| {
            // Not the line itself: it may hold a pass phrase.
            Error::new(ErrorKind::Config, message.to_owned())
                .with("path", path.display())
                .with("line", number + 1)
        };
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let Some((section, _)) = rest.split_once(']') else {
                    return Err(wrong(number, "a profile's name has no closing bracket"));
                };
                profiles.entry(section.to_owned()).or_default();
                current = Some(section.to_owned());
                continue;
            }
            let Some(keys) = current.as_ref().and_then(|section| profiles.get_mut(section)) else {
                return Err(wrong(number, "a key stands before the first profile"));
            };
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(wrong(number, "neither a profile nor `key = value`"));
            };
            keys.insert(key.trim().to_ascii_lowercase(), Secret::new(value.trim()));
        }
        let names = profiles.keys().map(|name| name.escape_debug().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        let mut keys = profiles.remove("DEFAULT");
        if name != "DEFAULT" {
            keys = profiles.remove(name).map(|own| {
                let mut all = keys.unwrap_or_default();
                all.extend(own);
                all
            });
        }
        let keys = keys.ok_or_else(|| {
            Error::new(ErrorKind::Config, "no such profile")
                .with("profile", name.escape_debug())
                .with("path", path.display())
                .with_hint(format!("it has: {names}"))
        })?;
        Ok(Self { path: path.to_owned(), name: name.to_owned(), keys })
    }

    /// Returns a key's value, if it has one.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.secret(key).map(Secret::expose)
    }

    pub(crate) fn secret(&self, key: &str) -> Option<&Secret> {
        self.keys.get(key).filter(|value| !value.expose().is_empty())
    }

    /// The error for a key that is needed and not there.
    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::Config, format!("the profile has no `{key}`"))
            .with("profile", &self.name)
            .with("path", self.path.display())
    }
}

/// Replaces a leading `~` by the home directory.
pub(crate) fn expand(path: &Path, home: Option<&Path>) -> Result<PathBuf> {
    let Ok(rest) = path.strip_prefix("~") else {
        return Ok(path.to_owned());
    };
    home.map(|home| home.join(rest)).ok_or_else(|| {
        Error::new(ErrorKind::Config, "the home directory is not known")
            .with("path", path.display())
            .with_hint("give an absolute path, or set `home`")
    })
}

/// Reads a small file of text.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String> {
    let failed = |why: &str| {
        Error::new(ErrorKind::Config, format!("{what} {why}")).with("path", path.display())
    };
    let size = std::fs::metadata(path).map_err(|e| failed("cannot be read").because(e))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed("is too large"));
    }
    std::fs::read_to_string(path).map_err(|e| failed("cannot be read").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{feff}# made by hand\r\n\
        [DEFAULT]\r\nuser=ocid1.user.oc1..ann\nRegion = eu-frankfurt-1\npass_phrase=ca=na:ry\n\
        ; more\n[ADMIN] # the other\nuser : ocid1.user.oc1..bob\nregion=\n";

    fn parse(text: &str, name: &str) -> Result<Profile> {
        Profile::parse(text, Path::new("/home/ann/.oci/config"), name)
    }

    #[test]
    fn profiles_inherit_from_default() {
        let default = parse(FILE, "DEFAULT").unwrap();
        assert_eq!(default.get("user"), Some("ocid1.user.oc1..ann"));
        assert_eq!(default.get("region"), Some("eu-frankfurt-1"));
        let admin = parse(FILE, "ADMIN").unwrap();
        assert_eq!(admin.get("user"), Some("ocid1.user.oc1..bob"));
        assert_eq!(admin.get("pass_phrase"), Some("ca=na:ry"));
        assert_eq!(admin.get("region"), None, "empty is absent");
    }

    #[test]
    fn mistakes_are_named_without_their_text() {
        let error = |text, name| parse(text, name).err().unwrap();
        let unknown = error(FILE, "PROD");
        assert_eq!(unknown.hint(), Some("it has: ADMIN, DEFAULT"));
        for text in ["user=canary", "[DEFAULT]\ncanary", "[DEFAULT\nx=canary"] {
            let error = error(text, "DEFAULT");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("line: "), "{error}");
            assert!(!format!("{error:?}").contains("canary"), "{error}");
        }
        assert!(parse("[PROD]\nuser=x\n", "PROD").is_ok(), "a file without DEFAULT");
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = Some(Path::new("/home/ann"));
        let path =
            |text: &str, home| expand(Path::new(text), home).map(|p| p.display().to_string());
        assert_eq!(path("~/.oci/key.pem", home).unwrap(), "/home/ann/.oci/key.pem");
        assert_eq!(path("/etc/~/key.pem", home).unwrap(), "/etc/~/key.pem");
        assert_eq!(path("~/x", None).unwrap_err().kind(), ErrorKind::Config);
    }
}
