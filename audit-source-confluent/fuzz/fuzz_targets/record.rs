//! A line is a record exactly when `serde_json` says that it is JSON, and says what `serde_json` finds
//! in it, whatever lines were read before.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| audit_source_confluent::scan::check_lines(text));
