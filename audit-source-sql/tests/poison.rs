//! bad rows are handed on with a reason, and hold up nobody.
#![cfg(feature = "sqlite")]

mod common;

use audit_core::{ErrorKind, Limit, Source};

use common::{CLASSIC, Db, batch, limit, message, pass};

#[tokio::test]
async fn q06_bad_rows_are_rejected_with_table_row_and_reason_and_others_pass() {
    let db = Db::new("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent, message)");
    let bad: [(&str, &[u8]); 9] = [
        ("NULL", b""),
        ("''", b""),
        ("'{\"cut\":'", b"{\"cut\":"),
        ("'<html>'", b"<html>"),
        ("x'00ff'", b"\x00\xff"),
        ("CAST(x'7b22ff227d' AS TEXT)", b"{\"\xff\"}"),
        ("CAST(x'7b7d00' AS TEXT)", b"{}\0"),
        ("jsonb('{\"a\":1}')", &[0x4c, 0x17, b'a', 0x13, b'1']),
        ("'{\"big\":\"' || hex(zeroblob(600)) || '\"}'", b""),
    ];
    for (n, (value, _)) in bad.iter().enumerate() {
        db.insert(n as i64 * 10 + 5, &message(n as i64));
        let sql = format!("INSERT INTO audit_logs VALUES ({}, 0, {value})", n * 10);
        db.execute(&sql, []);
    }
    let mut config = db.config();
    config.max_event_bytes = 1000;
    let mut source = audit_source_sql::SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let all = pass(&mut source, 4, true).await;
    assert_eq!(all.raw(), (0..9).map(message).collect::<Vec<_>>());
    assert_eq!(all.rejected.len(), bad.len());
    for (n, (letter, (value, body))) in all.rejected.iter().zip(bad).enumerate() {
        assert_eq!(letter.kind, ErrorKind::InvalidData);
        let reason = &letter.reason;
        assert!(
            reason.contains("audit_logs") && reason.contains(&format!("row: {}", n * 10)),
            "{reason}"
        );
        assert!(letter.id().as_str().starts_with(&format!("audit_logs:{}:", n * 10)));
        if n < 8 {
            assert_eq!(letter.body(), body, "{value}");
            assert!(!reason.contains("cut\""), "no payload in the reason: {reason}");
        } else {
            assert_eq!(letter.body().len(), 1210, "whole, however large");
            assert!(reason.contains("max_event_bytes"), "{reason}");
        }
    }
    assert_eq!(db.unsent(), 0, "accounted for: they are in the dead letters");
}

#[tokio::test]
async fn thousands_of_bad_rows_at_the_head_starve_nobody() {
    let db = Db::new(CLASSIC);
    db.app
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO audit_logs (id, is_sent, message) SELECT i, 0, 'bad' FROM n",
        )
        .unwrap();
    db.insert(6000, &message(1));
    let mut source = db.opened().await;
    // Never committed: nothing could be delivered. The good one comes all the same.
    let all = pass(&mut source, 100, false).await;
    assert_eq!((all.events.len(), all.rejected.len()), (1, 5000));
}

#[tokio::test]
async fn a_large_row_comes_alone_and_nothing_at_the_edge_is_lost() {
    let db = Db::new(CLASSIC);
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(10 << 20));
    for id in 1..=9 {
        let text = if id % 3 == 0 { large.clone() } else { message(id) };
        db.insert(id, &text);
    }
    let mut source = db.opened().await;
    let (mut sizes, mut seen) = (Vec::new(), 0);
    while let Some(read) = batch(&mut source, Limit::default().bytes(1 << 20)).await {
        sizes.push(read.events.len());
        for event in &read.events {
            seen += 1;
            let expected = if seen % 3 == 0 { large.clone() } else { message(seen) };
            assert_eq!(event.raw.get(), expected);
        }
        source.committed(&read.cursor).await.unwrap();
    }
    assert_eq!(sizes, [2, 1, 2, 1, 2, 1]);
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn deep_nesting_and_odd_shapes_are_good_records() {
    let db = Db::new("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent, message)");
    let records = [
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        "7".to_owned(),
        "null".to_owned(),
        "{\"audit_event\":\"text\",\"audit_event\":{\"actor\":[{}]}}".to_owned(),
        " {\"b\": 1.10,\n\"a\":123456789012345678901234567890, \"s\":\"\\u0041\\/\"} ".to_owned(),
    ];
    for (n, record) in records.iter().enumerate() {
        db.insert(n as i64, record);
    }
    db.execute("INSERT INTO audit_logs VALUES (90, 0, 12)", []);
    let all = pass(&mut db.opened().await, 100, true).await;
    assert_eq!(all.raw()[..5], records);
    assert_eq!(all.raw()[5], "12");
    assert!(all.rejected.is_empty());
}

#[tokio::test]
async fn a_bad_row_mended_later_is_delivered() {
    let db = Db::new(CLASSIC);
    db.insert(1, "bad");
    let mut source = db.opened().await;
    let read = batch(&mut source, limit(10)).await.unwrap();
    assert_eq!(read.rejected.len(), 1);
    db.execute("UPDATE audit_logs SET message = '{}'", []);
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(pass(&mut source, 10, true).await.raw(), ["{}"]);
}
