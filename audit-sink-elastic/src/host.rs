use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Result, Secret};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::{Deserialize, Deserializer};

/// One node, or a load balancer before several: `https://es.example:9200`, with a path if the
/// cluster is behind one.
///
/// `es.example:9200`, `[2001:db8::1]:9200` and `2001:db8::1` mean `https`. A name and password in the
/// URL (`https://ann:secret@es.example`) are taken out of it and used as if configured.
#[derive(Clone)]
pub struct Host {
    url: Url,
    login: Option<(String, Secret)>,
}

impl Host {
    /// Returns the address, ending with a slash, without name and password.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the name and password that the URL held.
    pub(crate) fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }

    /// Returns whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
        host == "localhost" || ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

impl FromStr for Host {
    type Err = Error;

    /// Parses an address; the message of an error does not repeat it, since it may hold a password.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let whole = match text {
            _ if text.contains("://") => text.to_owned(),
            _ if text.parse::<Ipv6Addr>().is_ok() => format!("https://[{text}]"),
            _ => format!("https://{text}"),
        };
        let mut url = Url::parse(&whole).map_err(|e| invalid("not a URL").with("cause", e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("neither http nor https")
                .with("scheme", url.scheme())
                .with_hint("write `https://es.example:9200`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a query or fragment has no meaning here"));
        }
        let user = decode(url.username());
        let password = decode(url.password().unwrap_or_default());
        let login =
            (!user.is_empty() || !password.is_empty()).then_some((user, Secret::new(password)));
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(invalid("no host name"));
        }
        let path = url.path().trim_end_matches('/').to_owned() + "/";
        url.set_path(&path);
        Ok(Self { url, login })
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("invalid host: {why}"))
        .with_hint("give `https://es.example:9200`, optionally with a path, or `es.example:9200`")
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Host>().unwrap().to_string()
    }

    #[test]
    fn all_common_spellings_are_understood() {
        for (text, url) in [
            ("https://es.example:9200", "https://es.example:9200"),
            ("http://es.example/", "http://es.example"),
            ("es.example:9200", "https://es.example:9200"),
            ("es.example", "https://es.example"),
            ("h:443", "https://h"),
            ("10.0.0.1:9200", "https://10.0.0.1:9200"),
            ("[2001:db8::1]:9200", "https://[2001:db8::1]:9200"),
            ("2001:db8::1", "https://[2001:db8::1]"),
            ("http://[::1]:9200/es/a//", "http://[::1]:9200/es/a"),
            (" https://proxy.example/search ", "https://proxy.example/search"),
        ] {
            assert_eq!(shown(text), url, "{text}");
        }
        assert!("http://[::1]:9200".parse::<Host>().unwrap().is_loopback());
        assert!("127.0.0.1:9200".parse::<Host>().unwrap().is_loopback());
        assert!(!"es.example".parse::<Host>().unwrap().is_loopback());
    }

    #[test]
    fn a_password_in_the_url_shows_nowhere() {
        let host: Host = "https://ann:can%40ry@es.example:9200/x".parse().unwrap();
        let (user, password) = host.login().unwrap();
        assert_eq!((user, password.expose()), ("ann", "can@ry"));
        assert_eq!(format!("{host} {:?}", host.url().as_str()).matches("ry").count(), 0);
        for bad in ["ftp://ann:canary@h", "https://ann:canary@h:99999", "http://ann:canary@h?x=1"] {
            let error = bad.parse::<Host>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        assert!("".parse::<Host>().is_err() && "http://".parse::<Host>().is_err());
    }
}
