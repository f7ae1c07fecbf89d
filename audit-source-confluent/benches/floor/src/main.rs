//! Reads each line of a file with simd-json, looks at the fields that reports are made of, and counts
//! how many records are alike: `scan-floor FILE`. One thread; prints records, bad lines, groups.

use simd_json::{Buffers, prelude::*, tape::Value};
use std::io::Read;
fn add(h: &mut u64, v: Option<Value<'_, '_>>) {
    if let Some(v) = v {
        if let Some(s) = v.as_str() {
            for b in s.as_bytes().chunks(8) {
                let mut x = [0u8; 8];
                x[..b.len()].copy_from_slice(b);
                *h = (*h ^ u64::from_le_bytes(x)).wrapping_mul(0x9e3779b97f4a7c15).rotate_left(23);
            }
        } else if let Some(b) = v.as_bool() {
            *h = h.wrapping_mul(31) ^ b as u64;
        }
    }
}
fn main() {
    let mut file = std::fs::File::open(std::env::args().nth(1).unwrap()).unwrap();
    let mut buffers = Buffers::new(1 << 16);
    let mut counts: std::collections::HashMap<u64, u64> = Default::default();
    let (mut n, mut bad, mut len) = (0u64, 0u64, 0usize);
    let mut text = vec![0u8; 1 << 20];
    loop {
        let got = file.read(&mut text[len..]).unwrap();
        if got == 0 {
            break;
        }
        len += got;
        let last = (0..len).rev().find(|i| text[*i] == b'\n').unwrap();
        let mut at = 0;
        while at <= last {
            let end = at + memchr::memchr(b'\n', &text[at..=last]).unwrap();
            let line = &mut text[at..end];
            at = end + 1;
            if line.is_empty() {
                continue;
            }
            let Ok(tape) = simd_json::to_tape_with_buffers(line, &mut buffers) else {
                bad += 1;
                continue;
            };
            let v = tape.as_value();
            let mut h = 0u64;
            // hour of time
            if let Some(t) = v.get("time") {
                if let Some(t) = t.as_str() {
                    for b in t.bytes().take(13) {
                        h = h.wrapping_mul(31) ^ b as u64;
                    }
                }
            }
            let mut id = 0;
            add(&mut id, v.get("id"));
            std::hint::black_box(id);
            let d = v.get("data");
            if let Some(d) = &d {
                add(&mut h, d.get("methodName"));
                if let Some(a) = d.get("authenticationInfo") {
                    if let Some(p) = a.get("principal") {
                        if p.as_str().is_some() {
                            add(&mut h, Some(p));
                        } else {
                            add(&mut h, p.get("email"));
                            if let Some(s) = p.get("confluentServiceAccount") {
                                add(&mut h, s.get("resourceId"));
                            }
                            if let Some(s) = p.get("confluentUser") {
                                add(&mut h, s.get("resourceId"));
                            }
                        }
                    }
                    add(&mut h, a.get("result"));
                }
                if let Some(z) = d.get("authorizationInfo") {
                    add(&mut h, z.get("operation"));
                    add(&mut h, z.get("granted"));
                    add(&mut h, z.get("result"));
                }
                if let Some(r) = d.get("result") {
                    add(&mut h, r.get("status"));
                }
            }
            *counts.entry(h).or_default() += 1;
            n += 1;
        }
        text.copy_within(last + 1..len, 0);
        len -= last + 1;
    }
    println!("{n} {bad} {}", counts.len());
}
