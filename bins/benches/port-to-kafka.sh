#!/usr/bin/env bash
# The whole program against the least that could be done: `port-to-kafka` ships records of about 1 kB
# from a stand-in for Port's API to a broker, next to `examples/kafka_floor.rs`, which fetches the same
# answers and hands the records to librdkafka with the same settings, without any of its duties. Both
# write to a new topic each time, in turns, and each run is checked. Then the Kafka part alone next to a
# bare loop of librdkafka, with a cluster of librdkafka's own.
#
# Usage: bins/benches/port-to-kafka.sh [RECORDS...]        default 20000 1000000
#
# Needs GNU time, and a broker at AUDIT_TEST_KAFKA whose topics may be made and removed. The program the
# 20,000 records are compared with took 1.33 s for them, on a machine like the one the READMEs speak of.
set -euo pipefail
cd "$(dirname "$0")/../.."
brokers=${AUDIT_TEST_KAFKA:?set it to host:port}
[ $# -gt 0 ] || set -- 20000 1000000
port=${AUDIT_BENCH_PORT:-18089} limit=5000

cargo build --quiet --release --locked -p audit-bins --no-default-features \
  --features source-port,sink-kafka --bin port-to-kafka --example kafka_floor
cargo build --quiet --release --locked -p audit-source-port --example fake_port
target=$(realpath "${CARGO_TARGET_DIR:-target}")/release
floor="$target/examples/kafka_floor"
work=$(mktemp -d) topic="audit-bench-$$" server=
clean_up() {
  [ -z "$server" ] || kill "$server"
  "$floor" "$brokers" "$topic" --drop 2> "$work/ignored" || true
  rm -rf "$work"
}
trap clean_up EXIT

# Runs `floor` or `ship` over so many records; adds its seconds, processor seconds and KiB to a file.
once() {
  local name=$1 records=$2 file=$3 delivered
  "$floor" "$brokers" "$topic" --make
  if [ "$name" = floor ]; then
    /usr/bin/time -o "$work/time" -f '%e %U %S %M' \
      "$floor" "$brokers" "$topic" "$port" "$records" "$limit" > "$work/out"
    delivered=$(sed -E 's/ sent//' "$work/out")
  else
    rm -rf "$work/run"; mkdir "$work/run"
    (cd "$work/run" && PORT_API_URL=http://127.0.0.1:$port PORT_API_TOKEN=bench KAFKA_SERVER=$brokers \
      KAFKA_TOPIC=$topic AUDIT_LIMIT=$limit /usr/bin/time -o "$work/time" -f '%e %U %S %M' \
      "$target/port-to-kafka" --kafka-timestamp sent --summary-json --quiet > "$work/out")
    delivered=$(sed -E 's/.*"delivered":([0-9]+).*/\1/' "$work/out")
  fi
  "$floor" "$brokers" "$topic" --drop
  # The floor slices time without the look-back, and may meet a record twice at an edge.
  [ "$delivered" -ge "$records" ] || { echo "$name: $delivered of $records" >&2; exit 1; }
  awk '{ print $1, $2 + $3, $4 }' "$work/time" >> "$file"
}

# Prints the best run of a file, and keeps its time and its processor time.
report() {
  read -r best cpu _ < <(sort -n "$3" | head -1)
  sort -n "$3" | head -1 | awk -v n="$1" -v r="$2" \
    '{ printf "%-14s %9d records %7.2f s %8d records/s %6.2f us cpu/record %7.1f MiB\n", n, r, $1, r / $1, $2 / r * 1e6, $3 / 1024 }'
}

for records in "$@"; do
  "$target/examples/fake_port" "$port" "$records" > "$work/api" &
  server=$!
  until [ -s "$work/api" ]; do sleep 0.1; done
  runs=5
  [ "$records" -le 100000 ] || runs=2
  for _ in $(seq "$runs"); do
    once floor "$records" "$work/floor-$records"
    once ship "$records" "$work/ship-$records"
  done
  report floor "$records" "$work/floor-$records"
  least=$best least_cpu=$cpu
  report port-to-kafka "$records" "$work/ship-$records"
  awk -v a="$best" -v b="$least" -v c="$cpu" -v d="$least_cpu" \
    'BEGIN { printf "%-14s %.2f times the time of the floor, %.2f times its processor time\n", "", a / b, c / d }'
  kill "$server"
  wait "$server" 2> "$work/ignored" || true
  server=
done

echo "The Kafka part alone:"
env -u AUDIT_TEST_KAFKA cargo bench --quiet --locked -p audit-sink-kafka --bench produce -- 1000000
