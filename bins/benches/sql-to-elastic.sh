#!/usr/bin/env bash
# The whole program against the least that could be done: `sql-to-elastic` ships a table of messages
# of about 600 bytes from PostgreSQL to a fast stand-in for `_bulk` and marks each row, next to
# `examples/sql_floor.rs`, which does the same without any of its duties. Both begin with a fresh copy
# of one database, in turns, and each run is checked: every row is stored once, and is marked.
#
# Usage: bins/benches/sql-to-elastic.sh [compare|flat|latency|faults|all] [ROWS] [RUNS]
#
#   compare   time, processor time of the client and memory, next to the least (the default)
#   flat      the cost of a row with 10,000, 100,000 and 2,000,000 rows
#   latency   compare, with 5 ms for each request
#   faults    20 % of the requests 429, 10 % 503, 5 % of the documents 429 and 1 % 400, next to none
#
# Needs GNU time, and PostgreSQL at AUDIT_TEST_POSTGRES_URL with a user that may create databases.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-compare} rows=${2:-100000} runs=${3:-3}
url=${AUDIT_TEST_POSTGRES_URL:?set it to postgres://user:password@host/database}

cargo build --quiet --release --locked -p audit-bins --no-default-features \
  --features source-sql-sqlite,source-sql-postgres,source-sql-mysql,sink-elastic \
  --bin sql-to-elastic --example sql_floor --example bulk_server
target=${CARGO_TARGET_DIR:-target}/release
floor="$target/examples/sql_floor"
work=$(mktemp -d)
full="audit_bench_$$" copy="audit_bench_$$_copy" server=
clean_up() {
  [ -z "$server" ] || kill "$server"
  "$floor" "$url" --drop "$copy"
  "$floor" "$url" --drop "$full"
  rm -rf "$work"
}
trap clean_up EXIT

# The URL of another database of the same server.
at() { sed -E "s#^([^?]*//[^/?]*)(/[^?]*)?#\1/$1#" <<< "$url"; }

make() {
  "$floor" "$url" --drop "$full"
  "$floor" "$url" --make "$full" "$1"
}

# Starts the stand-in with these options; its URL is in `host` then.
serve() {
  rm -f "$work/url"
  "$target/examples/bulk_server" "$@" > "$work/url" &
  server=$!
  until [ -s "$work/url" ]; do sleep 0.01; done
  host=$(cat "$work/url")
}

stat_of() { curl -sS "$host/stats" | sed -E "s/.*\"$1\":([0-9]+).*/\1/"; }

# Runs `floor` or `ship` over so many rows with these options of the stand-in; adds its seconds,
# processor seconds and KiB to a file.
once() {
  local name=$1 count=$2 file=$3 code=0
  shift 3
  "$floor" "$url" --drop "$copy"
  "$floor" "$url" --copy "$full" "$copy"
  rm -rf "$work/state"
  serve "$@"
  local here; here=$(at "$copy")
  if [ "$name" = floor ]; then
    /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$floor" "$here" "$host" > "$work/log" 2>&1 || code=$?
  else
    DATABASE_URL=$here ELASTICSEARCH_HOST=$host BATCH_LIMIT=0 AUDIT_STATE_DIR=$work/state \
      /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$target/sql-to-elastic" > "$work/log" 2>&1 || code=$?
  fi
  local stored documents refused unsent
  stored=$(stat_of stored) documents=$(stat_of documents) refused=$(stat_of refused)
  unsent=$("$floor" "$here" --unsent)
  kill "$server"; wait "$server" 2> "$work/ignored" || true; server=
  # 9: some records went to the dead letters.
  [ "$code" = 0 ] || { [ "$code" = 9 ] && [ "$refused" -gt 0 ]; } || { tail -20 "$work/log" >&2; exit 1; }
  [ $((stored + refused)) = "$count" ] && [ "$documents" = "$stored" ] && [ "$unsent" = 0 ] ||
    { echo "$name: $stored stored, $documents different, $refused refused, $unsent unsent of $count" >&2; exit 1; }
  tail -1 "$work/time" | awk '{ print $1, $2 + $3, $4 }' >> "$file"
}

# Prints the best run of a file, and keeps its time in `best`.
report() {
  local name=$1 count=$2 file=$3
  best=$(sort -n "$file" | head -1 | cut -d' ' -f1)
  sort -n "$file" | head -1 | awk -v n="$name" -v r="$count" \
    '{ printf "%-24s %7.2f s %9d rows/s %7.2f us cpu/row %7.1f MiB\n", n, $1, r / $1, $2 / r * 1e6, $3 / 1024 }'
}

ratio() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { printf "%-24s %7.2f times the %s\n", "", a / b, t }'; }

# In turns, so that what else the machine does meets both.
compare() {
  rm -f "$work/floor" "$work/ship"
  for _ in $(seq "$runs"); do
    once floor "$rows" "$work/floor" "$@"
    once ship "$rows" "$work/ship" "$@"
  done
  report floor "$rows" "$work/floor"
  local least=$best
  report sql-to-elastic "$rows" "$work/ship"
  ratio "$best" "$least" "time of the floor"
}

flat() {
  for count in 10000 100000 2000000; do
    make "$count"
    rm -f "$work/ship"
    for _ in $(seq "$runs"); do once ship "$count" "$work/ship"; done
    report sql-to-elastic "$count" "$work/ship"
  done
}

faults() {
  rm -f "$work/clean" "$work/faulty"
  for seed in $(seq "$runs"); do
    once ship "$rows" "$work/clean"
    once ship "$rows" "$work/faulty" --seed "$seed" --busy 0.2 --down 0.1 --throttle 0.05 --refuse 0.01
  done
  report "no faults" "$rows" "$work/clean"
  local clean=$best
  report "faults" "$rows" "$work/faulty"
  ratio "$best" "$clean" "time without faults"
}

case $what in
  compare) make "$rows"; compare ;;
  latency) make "$rows"; compare --latency-ms 5 ;;
  faults) make "$rows"; faults ;;
  flat) flat ;;
  all)
    make "$rows"
    compare
    echo "5 ms for each request:"; compare --latency-ms 5
    faults
    flat ;;
  *) sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2 ;;
esac
