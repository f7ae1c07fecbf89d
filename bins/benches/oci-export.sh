#!/usr/bin/env bash
# The whole program against a stand-in for OCI Audit that checks each signature: `oci-export`, next to the program it
# replaces made to work (`oci_sequential.py`, with Oracle's SDK), and next to the least that could be done (`floor`, the same
# requests and nothing else). Programs run in turns, so that what else the machine does meets all.
#
# Usage: bins/benches/oci-export.sh [compare|latency|memory|all] [EVENTS] [RUNS]      default all 20000 3
#
#   compare   time, processor time and memory, without latency
#   latency   the same with 20 ms a page, and next to the bound: pages / 8 at once, times 20 ms
#   memory    peak memory with 100,000, 1,000,000 and 10,000,000 events, in pages of 1,000 (1.7 MB); the last to /dev/null
#
# Needs GNU time; the replaced program is left out where .ci/python-packages cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-all} events=${2:-20000} runs=${3:-3}
readonly DAYS=304 WINDOWS=22 LATENCY=20

cargo build --quiet --release --locked -p audit-bins --no-default-features --features source-oci,sink-file --bin oci-export
cargo build --quiet --release --locked -p audit-source-oci --example fake_oci --example floor
target=${CARGO_TARGET_DIR:-target}/release
# shellcheck source=/dev/null
source <(.ci/python-packages)
work=$(mktemp -d) servers=()
stop() {
  for server in "${servers[@]}"; do kill "$server"; wait "$server" 2> "$work/ignored" || true; done
  servers=()
}
trap 'stop; rm -rf "$work"' EXIT

# serve PORT EVENTS PAGE LATENCY [open]: starts a stand-in; what a client needs is in `flags` then.
serve() {
  "$target/examples/fake_oci" "127.0.0.1:$1" "$2" "$DAYS" "$3" "$4" "${5:-}" > "$work/options" &
  servers+=($!)
  until [ "$(grep -c "'''" "$work/options")" = 2 ]; do sleep 0.05; done
  option() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$work/options"; }
  sed -n "/^key/,/^'''/p" "$work/options" | grep -v "'''" > "$work/key.pem"
  printf '[DEFAULT]\ntenancy=%s\nuser=%s\nfingerprint=%s\nregion=%s\nkey_file=%s\n' "$(option tenancy)" "$(option user)" \
    "$(option fingerprint)" "$(option region)" "$work/key.pem" > "$work/config"
  flags=(--startdate "$(option start)" --enddate "$(option end)" --ociconfig "$work/config" --endpoint "$(option endpoint)")
}

# once NAME COMMAND...: adds seconds, processor seconds and KiB of a run to a file.
once() {
  local name=$1
  shift
  rm -f "$work/out.json"
  /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" > "$work/log" 2>&1 || { tail -5 "$work/log" >&2; exit 1; }
  tail -1 "$work/time" | awk '{ print $1, $2 + $3, $4 }' >> "$work/$name"
}

# The median of a column of a file.
median() { cut -d' ' -f"$2" "$work/$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

report() {
  printf '%-28s %7.2f s %7.2f s cpu %8.1f MiB\n' "$1" "$(median "$1" 1)" "$(median "$1" 2)" \
    "$(median "$1" 3 | awk '{ print $1 / 1024 }')"
}

ratio() { awk -v t="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%-28s %7.2f\n", t, a / b }'; }

ours() { once "$1" "$target/oci-export" "${flags[@]}" --identity-endpoint http://127.0.0.1:1 --outputfile "$work/out.json" --quiet "${@:2}"; }

compare() {
  local latency=$1
  rm -f "$work"/{oci-export,replaced,floor}
  serve 18223 "$events" 100 "$latency" open
  serve 18222 "$events" 100 "$latency"
  for _ in $(seq "$runs"); do
    if [ -n "${AUDIT_TEST_OCI_PYTHON:-}" ]; then
      once replaced "$AUDIT_TEST_OCI_PYTHON" bins/benches/oci_sequential.py "${flags[@]}" --outputfile "$work/out.json"
      [ "$(grep -c '"event_id"' "$work/out.json")" = "$events" ] || { echo "the replaced program lost events" >&2; exit 1; }
    fi
    ours oci-export
    [ "$(grep -c '"eventId"' "$work/out.json")" = "$events" ] || { echo "oci-export lost events" >&2; exit 1; }
    once floor "$target/examples/floor" 127.0.0.1:18223 "$DAYS" "$WINDOWS" 8
    pages=$(sed -E 's/^([0-9]+) pages.*/\1/' "$work/log")
  done
  stop
  echo "$events events, $latency ms a page"
  for name in replaced oci-export floor; do [ ! -f "$work/$name" ] || report "$name"; done
  if [ -f "$work/replaced" ]; then
    ratio "replaced / ours, time" "$(median replaced 1)" "$(median oci-export 1)"
    ratio "replaced / ours, cpu" "$(median replaced 2)" "$(median oci-export 2)"
  fi
  if [ "$latency" != 0 ]; then
    ratio "ours / bound of $pages pages" "$(median oci-export 1)" \
      "$(awk -v p="$pages" -v l="$latency" 'BEGIN { print int((p + 7) / 8) * l / 1000 }')"
    ratio "one after another / ours" "$(awk -v p="$pages" -v l="$latency" 'BEGIN { print p * l / 1000 }')" \
      "$(median oci-export 1)"
  fi
}

memory() {
  for count in 100000 1000000 10000000; do
    rm -f "$work/$count"
    serve 18224 "$count" 1000 0
    if [ "$count" = 10000000 ]; then
      # shellcheck disable=SC2016 # expanded by the inner shell
      once "$count" bash -c 'exec "$@" > /dev/null' to-null "$target/oci-export" "${flags[@]}" \
        --identity-endpoint http://127.0.0.1:1 --outputfile - --quiet
    else
      ours "$count"
    fi
    stop
    report "$count"
  done
}

case $what in
  compare) compare 0 ;;
  latency) compare "$LATENCY" ;;
  memory) memory ;;
  all) compare 0; compare "$LATENCY"; memory ;;
  *) sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2 ;;
esac
