//! In steady state, a record costs no allocation. A program of its own, since the count is of the whole
//! process.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

use std::alloc::System;
use std::fs::OpenOptions;
use std::sync::Arc;

use audit_core::logger::LineWriter;
use audit_logger::{AuditLogger, Emitter};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations(mut event: impl FnMut()) -> usize {
    (0..1000).for_each(|_| event());
    let region = Region::new(ALLOCATOR);
    (0..1000).for_each(|_| event());
    let change = region.change();
    change.allocations + change.reallocations
}

fn readme(audit: &mut AuditLogger) {
    audit
        .set_http_request("GET", "https://localhost", "Test")
        .info("This is a log message")
        .send_log()
        .unwrap();
}

fn everything(audit: &mut AuditLogger) {
    audit
        .set_http_request("GET", "https://shop.example/books/é", "curl/8")
        .set_http_response(200, "OK", Some(&[("content-type", "text/html"), ("vary", "accept")]))
        .set_user(true, "oidc", "ada@example.com", Some(&["staff", "admin"]), "10.0.0.1", "main")
        .set_filter("Book", [("title", "rust"), ("\"quoted\"", "\n")])
        .set_results([1.5, 2.5])
        .warning("List books")
        .send_log()
        .unwrap();
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_record_costs_no_allocation_in_steady_state() {
    let null = || OpenOptions::new().write(true).open("/dev/null").unwrap();
    let direct: Arc<dyn Emitter> = Arc::new(LineWriter::new(null()));
    let buffered: Arc<dyn Emitter> = Arc::new(LineWriter::new(null()).buffered(64 << 10));
    for emitter in [direct, buffered] {
        let template = AuditLogger::new().with_emitter(emitter.clone());
        let mut audit = template.clone();
        let new = || AuditLogger::new().with_emitter(emitter.clone());
        assert_eq!(allocations(|| readme(&mut audit)), 0, "one logger");
        assert_eq!(allocations(|| readme(&mut template.clone())), 0, "a copy each");
        assert_eq!(allocations(|| readme(&mut new())), 0, "a logger each");
        assert_eq!(allocations(|| everything(&mut audit)), 0, "one logger, every part");
    }
}
