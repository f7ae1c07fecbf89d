//! The least that could be done, to measure `audit run` against: reads the rows with the same SQLite
//! in the order of their rowids and writes each message as a line, buffered. With `--mark` it also
//! marks them as sent, 10,000 in a transaction, and syncs the output before, as must be done by
//! anything that may be killed. It has no ids, no checks, no checkpoint, no dead letters.
//!
//! Usage: `floor DATABASE OUTPUT [--mark]`, or `floor DATABASE --make ROWS`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use rusqlite::Connection;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [database, "--make", rows] => make(database, rows.parse()?),
        [database, output] => read(database, output),
        [database, output, "--mark"] => read_and_mark(database, output),
        _ => Err("usage: floor DATABASE OUTPUT [--mark] | floor DATABASE --make ROWS".into()),
    }
}

fn read(database: &str, output: &str) -> Result<(), Box<dyn Error>> {
    let db = Connection::open(database)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(output)?);
    let mut statement =
        db.prepare("SELECT message FROM audit_logs WHERE is_sent IS NOT TRUE ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        out.write_all(row.get_ref(0)?.as_bytes()?)?;
        out.write_all(b"\n")?;
    }
    out.into_inner()?.sync_all()?;
    Ok(())
}

fn read_and_mark(database: &str, output: &str) -> Result<(), Box<dyn Error>> {
    let db = Connection::open(database)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(output)?);
    let mut statement = db.prepare(
        "SELECT id, message FROM audit_logs WHERE is_sent IS NOT TRUE AND id > ?1 ORDER BY id LIMIT 10000",
    )?;
    let mark = "UPDATE OR FAIL audit_logs SET is_sent = 1 WHERE is_sent IS NOT TRUE AND id BETWEEN ?1 AND ?2";
    let mut last: i64 = 0;
    loop {
        let first = last;
        let mut rows = statement.query([first])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            out.write_all(row.get_ref(1)?.as_bytes()?)?;
            out.write_all(b"\n")?;
        }
        drop(rows);
        if last == first {
            return Ok(());
        }
        out.flush()?;
        out.get_ref().sync_data()?;
        db.execute(mark, [first + 1, last])?;
    }
}

/// Makes a table of messages of about 700 bytes.
fn make(database: &str, rows: u32) -> Result<(), Box<dyn Error>> {
    let mut db = Connection::open(database)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN NOT NULL DEFAULT 0,
             message JSON, created_at TEXT NOT NULL);",
    )?;
    let transaction = db.transaction()?;
    {
        let mut insert =
            transaction.prepare("INSERT INTO audit_logs (message, created_at) VALUES (?1, ?2)")?;
        for n in 0..rows {
            let second = n % 60;
            let minute = n / 60 % 60;
            let time = format!("2026-01-05T08:{minute:02}:{second:02}.{:03}Z", n % 1000);
            let note = "looked at the loans of a patron and extended each of them ".repeat(5);
            let message = format!(
                r#"{{"audit_event": {{"origin": "library-backoffice", "status": "SUCCESS", "date_time_epoch": 1767600000{:03}, "date_time": "{time}", "actor": {{"role": "librarian", "user_id": "user-{}@library.example", "provider": "keycloak", "ip_address": "192.0.2.{}"}}, "operation": "UPDATE", "additional_information": "{note}", "target": {{"id": "loan-{n}", "type": "Loan"}}}}}}"#,
                n % 1000,
                n % 977,
                n % 250,
            );
            insert.execute((message, time))?;
        }
    }
    transaction.commit()?;
    db.execute_batch(
        "CREATE INDEX audit_logs_unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE;
         PRAGMA wal_checkpoint(TRUNCATE);",
    )?;
    Ok(())
}
