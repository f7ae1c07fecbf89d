//! The counts of a scan, checked by somebody else: SQLite reads the same made-up records, a hundredth of
//! them hostile or broken, with its own JSON functions. `AUDIT_SCAN_RECORDS=1000000` for a long run.
#![cfg(all(feature = "source-confluent", feature = "sink-report"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

#[path = "../../audit-source-confluent/examples/generate/records.rs"]
mod records;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};

use audit_sink_report::{Crosstab, Details, Facts, Hour, Section};
use audit_source_confluent::scan::{Record, Scan, ScanConfig, Summary};
use rusqlite::Connection;

/// Counts by section, hour (`2026-11-14 09`) and label.
type Counts = BTreeMap<(String, String, String), i64>;

/// SQLite takes the first of equal names, records mean the last: hence `json_each`, whose last is taken.
const VIEW: &str = "
    CREATE TABLE line (n INTEGER PRIMARY KEY, body TEXT);
    CREATE VIEW envelope AS SELECT n, body,
        (SELECT value FROM json_each(body) WHERE key = 'id' ORDER BY id DESC LIMIT 1) AS event,
        (SELECT value FROM json_each(body) WHERE key = 'data' ORDER BY id DESC LIMIT 1) AS data,
        strftime('%Y-%m-%d %H', body ->> 'time') AS hour
        FROM line WHERE json_valid(body);
    CREATE TABLE record AS SELECT * FROM envelope LIMIT 0;
    CREATE VIEW fact AS SELECT hour,
        (SELECT value FROM json_each(data) WHERE key = 'methodName' ORDER BY id DESC LIMIT 1) AS method,
        data -> '$.authenticationInfo.principal' AS who,
        data ->> '$.authenticationInfo.result' AS proved,
        data ->> '$.authorizationInfo.operation' AS operation,
        data ->> '$.result.status' AS status,
        (SELECT value FROM json_each(data, '$.result') WHERE key = 'data' ORDER BY id DESC LIMIT 1)
            ->> '$.errors[0].status' AS error
        FROM record;
    CREATE VIEW told AS SELECT *, who ->> '$.email' AS email, replace(coalesce(
        CASE json_type(who) WHEN 'text' THEN who ->> '$' END,
        who ->> '$.confluentUser.resourceId', who ->> '$.confluentServiceAccount.resourceId',
        who ->> '$.email', '(unknown)'), 'User:', '') AS principal FROM fact;";

const COUNTS: &str = "
    SELECT 'AUTH_EVENTS', hour, principal || '-' || coalesce(operation, '(unknown)'), count(*) FROM told
        WHERE method = 'mds.Authorize' GROUP BY 2, 3
    UNION ALL SELECT 'SIGNIN_FAIL', hour,
        coalesce(email, principal) || coalesce(' (' || error || ')', ''), count(*) FROM told
        WHERE method = 'SignIn' AND (proved <> 'SUCCESS' OR status <> 'SUCCESS') GROUP BY 2, 3
    UNION ALL SELECT 'SIGNIN_SUCCESS', hour, coalesce(email, principal), count(*) FROM told
        WHERE method = 'SignIn' AND proved = 'SUCCESS' AND status = 'SUCCESS' GROUP BY 2, 3
    UNION ALL SELECT 'OTHER_EVENTS', hour, coalesce(method, '(unknown)'), count(*) FROM told
        GROUP BY 2, 3
    UNION ALL SELECT 'PRINCIPALS', hour, principal, count(*) FROM told GROUP BY 2, 3";

/// What SQLite counts, and how many records and repeats it sees.
fn by_sqlite(lines: &[Vec<u8>]) -> (Counts, u64, u64) {
    let mut database = Connection::open_in_memory().unwrap();
    database.execute_batch(VIEW).unwrap();
    let transaction = database.transaction().unwrap();
    let mut insert = transaction.prepare("INSERT INTO line VALUES (?1, ?2)").unwrap();
    for (n, line) in lines.iter().enumerate() {
        // SQLite does not look whether a text is UTF-8.
        if let Ok(text) = str::from_utf8(line) {
            insert.execute((n as i64, text)).unwrap();
        }
    }
    drop(insert);
    let one = |sql: &str| -> i64 { transaction.query_row(sql, (), |row| row.get(0)).unwrap() };
    let timed = one("SELECT count(*) FROM envelope WHERE hour IS NOT NULL") as u64;
    let first = "INSERT INTO record SELECT n, body, event, data, hour FROM
        (SELECT *, row_number() OVER (PARTITION BY event ORDER BY n) AS place
         FROM envelope WHERE hour IS NOT NULL) WHERE place = 1";
    let records = transaction.execute(first, ()).unwrap() as u64;
    let mut query = transaction.prepare(COUNTS).unwrap();
    let rows =
        query.query_map((), |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
    (rows.unwrap().map(Result::unwrap).collect(), records, timed - records)
}

fn count(crosstab: &mut Crosstab, record: &Record<'_>) {
    let hour = Hour::of(&record.time()).unwrap();
    let (method, principal) = (record.action(), record.principal());
    let (operation, user, status) = (record.operation(), record.email(), record.error_status());
    let mut facts = Facts::new(hour);
    facts.method = method.as_deref();
    facts.principal = principal.as_deref();
    let (operation, user, status) = (operation.as_deref(), user.as_deref(), status.as_deref());
    let details = Details { operation, user, status };
    facts.classify(crosstab, || record.action_kind(), || record.outcome(), details);
    facts.count(crosstab);
}

fn by_scan(lines: &[Vec<u8>], threads: usize) -> (Counts, Summary) {
    const SECTIONS: [Section; 5] = [
        Section::AuthEvents,
        Section::SigninFail,
        Section::SigninSuccess,
        Section::OtherEvents,
        Section::Principals,
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = BufWriter::new(file.as_file());
    lines.iter().for_each(|line| out.write_all(&[line, &b"\n"[..]].concat()).unwrap());
    out.flush().unwrap();
    let mut config = ScanConfig::new([file.path()]);
    config.threads = threads;
    let new = || Crosstab::default().only(&SECTIONS);
    let scanned = Scan::new(config).unwrap().run(new, count, |_| Ok(())).unwrap();
    let mut whole = new();
    scanned.states.iter().for_each(|own| whole.merge(own));
    let mut counts = Counts::new();
    for (day, section) in whole.days().flat_map(|day| SECTIONS.map(|section| (day, section))) {
        for row in whole.rows(day, section) {
            let label = row.label.unwrap().to_owned();
            for (hour, count) in
                row.counts().into_iter().enumerate().filter(|(_, count)| *count > 0)
            {
                let key = (section.name().to_owned(), format!("{day} {hour:02}"), label.clone());
                counts.insert(key, count as i64);
            }
        }
    }
    (counts, scanned.summary)
}

#[test]
fn r01_a_database_counts_the_same() {
    let total = std::env::var("AUDIT_SCAN_RECORDS").map_or(50_000, |text| text.parse().unwrap());
    let mut records = records::Records::new(11);
    let lines: Vec<_> = (0..total).map(|n| records.line(n, total)).collect();
    let (expected, good, repeats) = by_sqlite(&lines);
    for threads in [1, 3] {
        let (counts, summary) = by_scan(&lines, threads);
        let found = (summary.records, summary.repeats, summary.rejected);
        assert_eq!(found, (good, repeats, total - good - repeats));
        for (key, count) in &expected {
            assert_eq!(counts.get(key), Some(count), "{key:?}");
        }
        assert_eq!(counts.len(), expected.len());
    }
    assert!(repeats > 10 && total - good - repeats > 10, "the records are too tame");
}
