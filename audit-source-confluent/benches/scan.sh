#!/usr/bin/env bash
# A scan of a million made-up records (1.3 GB) next to a single thread that reads the same fields with
# simd-json (benches/floor), in turns. Prints wall and CPU seconds and the peak of memory of each run.
# With `duckdb` in Python's reach, its equivalent query on as many cores is measured too; it has to be
# told to go on at broken lines.
#
# Usage: audit-source-confluent/benches/scan.sh [RECORDS [ROUNDS [TIMES]]]     default 1000000 5 1
# TIMES: the file is given so many times under other names, for memory that must not grow.
#
# Needs GNU time.
set -euo pipefail
cd "$(dirname "$0")/../.."
records=${1:-1000000} rounds=${2:-5} times=${3:-1}
cargo build --quiet --release --locked -p audit-source-confluent --examples
target=$(realpath "${CARGO_TARGET_DIR:-target}")
CARGO_TARGET_DIR="$target/floor" cargo build --quiet --release \
  --manifest-path audit-source-confluent/benches/floor/Cargo.toml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$target/release/examples/generate" "$records" > "$work/events"
files=()
for n in $(seq "$times"); do
  ln -s events "$work/$n"
  files+=("$work/$n")
done
measure() {
  local name=$1; shift
  /usr/bin/time -f "$name: %e s wall, %U + %S s CPU, %M kB" "$@" > "$work/out"
}
cat > "$work/query.py" <<'PY'
import sys, duckdb
print(duckdb.sql(f"""SELECT data.methodName, substr(time, 1, 13) AS hour, count(*) FROM read_json('{sys.argv[1]}',
  format='newline_delimited', ignore_errors=true, columns={{'id': 'VARCHAR', 'time': 'VARCHAR', 'data':
  'STRUCT(methodName VARCHAR, authenticationInfo STRUCT(principal JSON, result VARCHAR),
  authorizationInfo STRUCT(granted BOOLEAN, operation VARCHAR), result STRUCT(status VARCHAR))'}})
  GROUP BY ALL""").fetchall()[:3])
PY
for _ in $(seq "$rounds"); do
  measure "simd-json, 1 thread " "$target/floor/release/scan-floor" "$work/events"
  THREADS=1 measure "scan, 1 thread      " "$target/release/examples/scan" "${files[@]}"
  measure "scan, all cores     " "$target/release/examples/scan" "${files[@]}"
  if python3 -c 'import duckdb' 2> "$work/ignored"; then
    measure "DuckDB, all cores   " python3 "$work/query.py" "$work/events"
  fi
done
