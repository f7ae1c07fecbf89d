#!/usr/bin/env bash
# The whole program against the least that could be done: `audit run` over a table of a million
# messages of about 700 bytes, next to `examples/floor.rs`, which reads (and marks) the same rows.
#
# Usage: bins/benches/pipeline.sh [ROWS] [RUNS]        (needs GNU time and 3 GB in $TMPDIR)
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=${1:-1000000} runs=${2:-3}

cargo build --quiet --release --locked -p audit-bins --bin audit --example floor
target=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$target/examples/floor" "$work/full.db" --make "$rows"
bytes=$("$target/examples/floor" "$work/full.db" "$work/all" && stat -c %s "$work/all")
echo "$rows rows, $((bytes / rows)) bytes each, best of $runs runs"

cat > "$work/audit.toml" <<TOML
[pipelines.bench]
[pipelines.bench.source]
type = "sql"
url = "sqlite://app.db"
[pipelines.bench.sink]
type = "file"
path = "out.ndjson"
TOML

# Prints the best time in seconds, and the memory of that run in KiB.
measure() {
  for _ in $(seq "$runs"); do
    rm -rf "$work"/app.db* "$work/out.ndjson" "$work"/.out.ndjson.* "$work/state"
    cp "$work/full.db" "$work/app.db"
    sync
    /usr/bin/time -o "$work/time" -f '%e %M' "$@" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    [ "$(wc -l < "$work/out.ndjson")" = "$rows" ] || { echo "$* lost rows" >&2; exit 1; }
    cat "$work/time"
  done | sort -n | head -1
}

report() {
  local name=$1 time=$2 memory=$3
  awk -v n="$name" -v t="$time" -v m="$memory" -v r="$rows" -v b="$bytes" \
    'BEGIN { printf "%-22s %7.2f s %10d events/s %7.0f MB/s %7.1f MiB\n", n, t, r / t, b / t / 1e6, m / 1024 }'
}

read -r floor floor_memory < <(measure "$target/examples/floor" "$work/app.db" "$work/out.ndjson")
read -r mark mark_memory < <(measure "$target/examples/floor" "$work/app.db" "$work/out.ndjson" --mark)
read -r audit audit_memory < <(measure "$target/audit" run --config "$work/audit.toml")
report "floor: read" "$floor" "$floor_memory"
report "floor: read and mark" "$mark" "$mark_memory"
report "audit run" "$audit" "$audit_memory"
awk -v a="$audit" -v f="$floor" -v m="$mark" \
  'BEGIN { printf "audit run takes %.2f times as long as reading, %.2f times as long as reading and marking\n", a / f, a / m }'

# Nothing to do: start-up alone.
rm -rf "$work"/app.db* "$work/out.ndjson" "$work"/.out.ndjson.* "$work/state"
"$target/examples/floor" "$work/app.db" --make 1
"$target/audit" run --quiet --config "$work/audit.toml"
best=$(for _ in $(seq 20); do
  start=$(date +%s%N)
  /usr/bin/time -o "$work/time" -f '%M' "$target/audit" run --quiet --config "$work/audit.toml"
  echo "$(($(date +%s%N) - start)) $(cat "$work/time")"
done | sort -n | head -1)
awk -v b="$best" 'BEGIN { split(b, p, " "); printf "nothing to do          %7.1f ms %38.1f MiB\n", p[1] / 1e6, p[2] / 1024 }'
