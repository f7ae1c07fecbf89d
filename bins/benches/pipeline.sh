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

# Prints the best time in seconds, with the processor time and the memory (KiB) of that run.
measure() {
  for _ in $(seq "$runs"); do
    rm -rf "$work"/app.db* "$work/out.ndjson" "$work"/.out.ndjson.* "$work/state"
    cp "$work/full.db" "$work/app.db"
    sync
    /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    [ "$(wc -l < "$work/out.ndjson")" = "$rows" ] || { echo "$* lost rows" >&2; exit 1; }
    awk '{ print $1, $2 + $3, $4 }' "$work/time"
  done | sort -n | head -1
}

report() {
  local name=$1 time=$2 cpu=$3 memory=$4
  awk -v n="$name" -v t="$time" -v c="$cpu" -v m="$memory" -v r="$rows" -v b="$bytes" \
    'BEGIN { printf "%-21s %7.2f s %7.2f s cpu %9d events/s %5.0f MB/s %6.1f MiB\n", n, t, c, r / t, b / t / 1e6, m / 1024 }'
}

read -r floor floor_cpu floor_memory < <(measure "$target/examples/floor" "$work/app.db" "$work/out.ndjson")
read -r mark mark_cpu mark_memory < <(measure "$target/examples/floor" "$work/app.db" "$work/out.ndjson" --mark)
read -r audit audit_cpu audit_memory < <(measure "$target/audit" run --config "$work/audit.toml")
report "floor: read" "$floor" "$floor_cpu" "$floor_memory"
report "floor: read and mark" "$mark" "$mark_cpu" "$mark_memory"
report "audit run" "$audit" "$audit_cpu" "$audit_memory"
ratios() {
  awk -v w="$1" -v a="$2" -v f="$3" -v m="$4" \
    'BEGIN { printf "%s: audit run takes %.2f times that of reading, %.2f times that of reading and marking\n", w, a / f, a / m }'
}
ratios time "$audit" "$floor" "$mark"
ratios cpu "$audit_cpu" "$floor_cpu" "$mark_cpu"

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
