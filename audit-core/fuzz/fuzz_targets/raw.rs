//! A payload is accepted exactly when it is JSON, is kept byte for byte, and its one-line form is
//! the same value.
#![no_main]

use audit_core::{Raw, Text};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    a: Text<'a>,
    #[serde(borrow)]
    b: Option<Inner<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner<'a> {
    #[serde(borrow)]
    c: Text<'a>,
}

fuzz_target!(|text: &str| {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let parsed = Raw::parse(text);
    assert_eq!(parsed.is_ok(), is_json);
    let read = Raw::read(text, |parser| {
        Fields::deserialize(parser)
            .map(|f| (f.a.into_boxed(), f.b.and_then(|inner| inner.c.into_boxed())))
    });
    assert_eq!(read.is_ok(), is_json);
    let Ok(raw) = parsed else { return };
    assert_eq!(raw.get(), text);
    let line = raw.line();
    assert!(!line.contains(['\n', '\r']));
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
});
