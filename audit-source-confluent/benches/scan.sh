#!/usr/bin/env bash
# What a pass over a million made-up records (1.3 GB) costs: `confluent-report analyze` from the file to
# the four classic sections, the scan alone, and beside them a single thread that reads the same fields
# with simd-json (benches/floor) and DuckDB, in turns. Prints wall and CPU seconds and the peak of memory.
#
# Usage: audit-source-confluent/benches/scan.sh [RECORDS [ROUNDS [TIMES]]]     default 1000000 5 1
# TIMES: the scan alone is given the file so many times under other names: its memory must not grow.
# FILE=path takes a file that is there. Needs GNU time; DuckDB is measured if `python3` has it.
#
# DuckDB is asked twice: for one of the four sections, as a person would (`one section`), and for what
# `analyze` does (`all sections`): each id once, four counts by hour and label of one pass. Last comes a
# file in which every label is another one (hostile.awk), for the peak of memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
records=${1:-1000000} rounds=${2:-5} times=${3:-1}
cargo build --quiet --release --locked -p audit-source-confluent --examples
cargo build --quiet --release --locked -p audit-bins --bin confluent-report --no-default-features \
  --features source-confluent,sink-file,sink-report
target=$(realpath "${CARGO_TARGET_DIR:-target}")
CARGO_TARGET_DIR="$target/floor" cargo build --quiet --release \
  --manifest-path audit-source-confluent/benches/floor/Cargo.toml
benches=$PWD/audit-source-confluent/benches
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if [[ -n ${FILE:-} ]]; then ln -s "$(realpath "$FILE")" events; else
  "$target/release/examples/generate" "$records" > events
fi
files=()
for n in $(seq "$times"); do
  ln -s events "$n"
  files+=("$n")
done
measure() {
  local name=$1; shift
  rm -rf reports
  /usr/bin/time -q -f "$name: %e s wall, %U + %S s CPU, %M kB" "$@" > out
}
analyze() {
  # Broken lines are rejected, which its exit code says.
  measure "$1" "$target/release/confluent-report" analyze "$2" --quiet \
    --section auth_events,signin_fail,signin_success,other_events || [[ $? == 9 ]]
}
for _ in $(seq "$rounds"); do
  measure "simd-json, 1 thread      " "$target/floor/release/scan-floor" events
  THREADS=1 measure "scan, 1 thread           " "$target/release/examples/scan" "${files[@]}"
  measure "scan, all cores          " "$target/release/examples/scan" "${files[@]}"
  analyze "analyze, all cores       " events
  if python3 -c 'import duckdb' 2> ignored; then
    measure "DuckDB, one section      " python3 "$benches/duck.py" one events
    measure "DuckDB, all sections     " python3 "$benches/duck.py" all events
  fi
done
if awk --version 2> ignored | grep -q GNU; then
  awk -v N=$((3 * records)) -v DAYS=1 -f "$benches/hostile.awk" > hostile
  analyze "analyze, all labels new  " hostile
fi
