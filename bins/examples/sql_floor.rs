//! The least that could be done, to measure `sql-to-elastic` against: one connection copies the
//! unsent rows out in the order of their keys, two post them to `_bulk`, a fourth marks them, 2000 at
//! a time, and all overlap. It has no retries, no checkpoint, no dead letters, looks for no changes
//! since the reading, and would lose or repeat rows when killed.
//!
//! Usage: `sql_floor URL SERVER`; and for what is around it: `sql_floor URL --make DATABASE ROWS`,
//! `--copy TEMPLATE DATABASE`, `--drop DATABASE`, `--unsent`.

#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;
use std::io::Write;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, query, query_scalar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::{Receiver, Sender};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROWS: usize = 2000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [url, ref command @ ..] = args[..] else { return Err("a URL is needed".into()) };
    let url: PgConnectOptions = url.parse()?;
    let mut conn = url.connect().await?;
    match command {
        ["--make", database, rows] => make(conn, &url, database, rows.parse()?).await,
        ["--copy", template, database] => {
            let copy = format!("CREATE DATABASE {database} TEMPLATE {template}");
            conn.execute(AssertSqlSafe(copy)).await?;
            conn.execute("CHECKPOINT").await?;
            Ok(())
        }
        ["--drop", database] => {
            let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
            conn.execute(AssertSqlSafe(drop)).await?;
            Ok(())
        }
        ["--unsent"] => {
            let sql = "SELECT count(*) FROM audit_logs WHERE is_sent IS NOT TRUE";
            let unsent: i64 = query_scalar(sql).fetch_one(&mut conn).await?;
            println!("{unsent}");
            Ok(())
        }
        [server] => ship(conn, url.connect().await?, server.trim_start_matches("http://")).await,
        _ => Err("usage: see the head of examples/sql_floor.rs".into()),
    }
}

/// A body, and the rows that are in it.
#[derive(Default)]
struct Bulk {
    body: Vec<u8>,
    keys: Vec<i64>,
}

async fn ship(reader: PgConnection, marker: PgConnection, server: &str) -> Result {
    let ((one, from_one), (other, from_other)) = (mpsc::channel(2), mpsc::channel(2));
    let (stored, to_mark) = mpsc::channel(4);
    tokio::try_join!(
        read(reader, [one, other]),
        post(server, from_one, stored.clone()),
        post(server, from_other, stored),
        mark(marker, to_mark),
    )?;
    Ok(())
}

async fn read(mut conn: PgConnection, posts: [Sender<Bulk>; 2]) -> Result {
    let sql = "COPY (SELECT id::int8, message::text FROM audit_logs WHERE is_sent IS NOT TRUE \
               ORDER BY id) TO STDOUT (FORMAT binary)";
    let mut rows = conn.copy_out_raw(sql).await?;
    let mut bulk = Bulk::default();
    let mut posts = posts.iter().cycle();
    // A signature of 11 bytes and two numbers are before the first row, each row is a message.
    let mut head = 19;
    while let Some(message) = rows.try_next().await? {
        let row = message.get(std::mem::take(&mut head)..).unwrap_or_default();
        // Two fields: their number, then each with its length. The end is a number below 0.
        let [0, 2, 0, 0, 0, 8, a, b, c, d, e, f, g, h, _, _, _, _, message @ ..] = row else {
            continue;
        };
        let key = i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
        writeln!(bulk.body, r#"{{"create":{{"_id":"{key}"}}}}"#)?;
        bulk.body.extend_from_slice(message);
        bulk.body.push(b'\n');
        bulk.keys.push(key);
        if bulk.keys.len() == ROWS {
            let next = Bulk { body: Vec::with_capacity(bulk.body.len() + 4096), keys: Vec::new() };
            let full = std::mem::replace(&mut bulk, next);
            if let Some(post) = posts.next() {
                post.send(full).await?;
            }
        }
    }
    if let (Some(post), false) = (posts.next(), bulk.keys.is_empty()) {
        post.send(bulk).await?;
    }
    Ok(())
}

async fn post(server: &str, mut bulks: Receiver<Bulk>, stored: Sender<Vec<i64>>) -> Result {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut answer = vec![0; 1 << 20];
    while let Some(Bulk { body, keys }) = bulks.recv().await {
        let head = format!(
            "POST /bench/_bulk?filter_path=errors,items.*.status HTTP/1.1\r\nhost: {server}\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        let answer = read_answer(&mut stream, &mut answer).await?;
        if !answer.starts_with(b"{\"errors\":false") {
            return Err("the server refused something".into());
        }
        stored.send(keys).await?;
    }
    Ok(())
}

async fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        filled += read;
        let end = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = end else {
            if read == 0 {
                return Err("no answer".into());
            }
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end])?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let all = end + 4 + length.ok_or("no length")?.parse::<usize>()?;
        if all > filled {
            stream.read_exact(&mut buffer[filled..all]).await?;
        }
        return Ok(&buffer[end + 4..all]);
    }
}

async fn mark(mut conn: PgConnection, mut stored: Receiver<Vec<i64>>) -> Result {
    while let Some(keys) = stored.recv().await {
        let sql = "UPDATE audit_logs SET is_sent = TRUE WHERE id = ANY($1)";
        query(sql).bind(keys).execute(&mut conn).await?;
    }
    Ok(())
}

/// Makes a database with a table of messages of about 600 bytes, many parts of them random.
async fn make(mut conn: PgConnection, url: &PgConnectOptions, database: &str, rows: i64) -> Result {
    conn.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await?;
    let mut conn = url.clone().database(database).connect().await?;
    conn.execute(
        "CREATE TABLE audit_logs (id bigserial PRIMARY KEY, is_sent boolean NOT NULL DEFAULT false,
             message jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
         CREATE INDEX audit_logs_unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE;",
    )
    .await?;
    let sql = r#"INSERT INTO audit_logs (message, created_at)
        SELECT jsonb_build_object('audit_event', jsonb_build_object(
            'origin', 'library-backoffice', 'environment', 'prod', 'status', 'SUCCESS',
            'date_time_epoch', (extract(epoch FROM t) * 1000)::int8,
            'date_time', to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'actor', jsonb_build_object('role', 'librarian', 'user_id', gen_random_uuid(),
                'provider', 'keycloak', 'ip_address', '192.0.2.' || n % 250),
            'operation', (ARRAY['READ', 'UPDATE', 'CREATE', 'DELETE'])[1 + n % 4],
            'additional_information', jsonb_build_object('request', md5(random()::text),
                'trace', md5(random()::text) || md5(random()::text), 'due', '2026-02-' || 10 + n % 18,
                'note', 'each loan of this patron was extended for another four weeks'),
            'target', jsonb_build_object('id', 'loan-' || n, 'type', 'Loan'))), t
        FROM (SELECT n, timestamptz '2026-01-05 08:00Z' + n * interval '37 ms' AS t
              FROM generate_series(1, $1) AS n) AS s"#;
    query(sql).bind(rows).execute(&mut conn).await?;
    conn.execute("VACUUM (ANALYZE) audit_logs").await?;
    let bytes: i64 = query_scalar("SELECT avg(length(message::text))::int8 FROM audit_logs")
        .fetch_one(&mut conn)
        .await?;
    println!("{rows} rows, {bytes} bytes each");
    Ok(())
}
