//! Any line of a dead-letter file reads or is refused; one that reads survives being written again.
#![no_main]

use audit_core::DeadLetter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(letter) = DeadLetter::parse_line(line) else { return };
    let mut again = Vec::new();
    letter.append_line(&mut again).unwrap();
    let end = again.pop();
    assert_eq!(end, Some(b'\n'));
    assert!(!again.contains(&b'\n'));
    let once_more = DeadLetter::parse_line(&again).unwrap();
    assert_eq!((once_more.id(), once_more.attempts), (letter.id(), letter.attempts));
});
