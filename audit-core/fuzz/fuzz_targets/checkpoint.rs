//! Any content of a checkpoint file reads or is refused, without a panic.
#![no_main]

use audit_core::{Saved, StreamId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let stream: StreamId = "orders".parse().unwrap();
    let _ = Saved::parse(text, &stream);
});
