#!/usr/bin/env bash
# The whole program over a backlog: `port-to-kafka` ships records of about 1 kB from a stand-in for
# Port's API to a broker. What the Kafka part costs next to a bare loop of librdkafka:
# `cargo bench -p audit-sink-kafka`.
#
# Usage: bins/benches/port-to-kafka.sh [RECORDS...]        default 20000 1000000
#
# Needs GNU time, and a broker at AUDIT_TEST_KAFKA that makes topics.
set -euo pipefail
cd "$(dirname "$0")/../.."
brokers=${AUDIT_TEST_KAFKA:?set it to host:port}
[ $# -gt 0 ] || set -- 20000 1000000
port=18089

cargo build --quiet --release --locked -p audit-bins --no-default-features \
  --features source-port,sink-kafka --bin port-to-kafka
cargo build --quiet --release --locked -p audit-source-port --example fake_port
target=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d) server=
clean_up() {
  [ -z "$server" ] || kill "$server"
  rm -rf "$work"
}
trap clean_up EXIT

for records in "$@"; do
  "$target/examples/fake_port" "$port" "$records" > "$work/api" &
  server=$!
  until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> "$work/ignored"; do sleep 0.1; done
  for run in 1 2 3; do
    (cd "$work" && PORT_API_URL=http://127.0.0.1:$port PORT_API_TOKEN=bench KAFKA_SERVER=$brokers \
      KAFKA_TOPIC="audit-bench-$$-$records-$run" AUDIT_STATE_DIR="state-$records-$run" \
      LAST_PROCESSED_FILE="last-$records-$run" AUDIT_LIMIT=5000 \
      /usr/bin/time -o "$work/time" -f '%e %U %S %M' \
      "$target/port-to-kafka" --create-topic=3 --kafka-timestamp sent --summary-json --quiet > "$work/out")
    delivered=$(sed -E 's/.*"delivered":([0-9]+).*/\1/' "$work/out")
    [ "$delivered" = "$records" ] || { echo "$delivered of $records delivered" >&2; exit 1; }
    awk '{ print $1, $2 + $3, $4 }' "$work/time"
  done | sort -n | head -1 | awk -v r="$records" \
    '{ printf "%9d records %7.2f s %8d records/s %6.2f us cpu/record %7.1f MiB\n", r, $1, r / $1, $2 / r * 1e6, $3 / 1024 }'
  kill "$server"
  wait "$server" 2> "$work/ignored" || true
  server=
done
