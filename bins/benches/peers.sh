#!/usr/bin/env bash
# `audit run` next to what else ships records to Kafka and to `_bulk`: rsyslog (omkafka, omelasticsearch)
# with its queue in memory and on disk, kcat, and a loop of curl over bodies that were prepared. The
# peers read lines of a file, `audit run` the same records from a table of SQLite: with `flag` it marks
# each row as sent, with `keyset` it reads only, as the peers do, and with `transaction` it marks and
# sends in transactions. All producers are idempotent and ask for acks=all; all documents have ids and
# are made with `create`. In turns, and what arrived is counted after each run.
#
# Usage: bins/benches/peers.sh [kafka|bulk|opensearch|crash|all] [ROWS] [RUNS]
#
#   kafka        to a broker at AUDIT_TEST_KAFKA, a fresh topic of three partitions each run
#   bulk         to the fast stand-in for `_bulk`
#   opensearch   to a server at AUDIT_TEST_OPENSEARCH_URL, a fresh index each run
#   crash        killed with SIGKILL when a tenth is there, and started again: what is lost or repeated, in sum
#
# Seconds are from the start to the last record being there; processor time and memory are those of the
# whole process, from its start to its end. Needs GNU time, curl and kcat; a peer that is not there is
# left out. On Debian: apt-get install time curl kcat rsyslog-kafka rsyslog-elasticsearch
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-all} rows=${2:-200000} runs=${3:-3}
topic="audit-peers-$$" index="audit-peers-$$" body_rows=2000

case $what in
  kafka | bulk | opensearch | crash | all) ;;
  *) sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2 ;;
esac

need() { type -P "$1" > /dev/null || { echo "$1 is not installed$2" >&2; return 1; }; }
[ -x /usr/bin/time ] || { echo "GNU time is not installed" >&2; exit 1; }
need curl "" || exit 1

cargo build --quiet --release --locked -p audit-bins \
  --bin audit --example floor --example kafka_floor --example bulk_server
target=$(realpath "${CARGO_TARGET_DIR:-target}")/release
admin="$target/examples/kafka_floor"
work=$(mktemp -d) brokers=${AUDIT_TEST_KAFKA:-} opensearch=${AUDIT_TEST_OPENSEARCH_URL:-}
server='' tool='' host=''
clean_up() {
  # The tool's own processes are in a group of their own.
  [ -z "$tool" ] || kill -KILL -- "-$tool" 2> "$work/ignored" || true
  [ -z "$server" ] || kill "$server"
  [ -z "$brokers" ] || drop_topics
  [ -z "$opensearch" ] || curl -sS -o "$work/ignored" -X DELETE "$opensearch/$index?ignore_unavailable=true" || true
  rm -rf "$work"
}
trap clean_up EXIT

drop_topics() {
  local name
  for name in "$topic" "$topic-progress"; do
    "$admin" "$brokers" "$name" --drop 2> "$work/ignored" || true
  done
}

make_input() {
  "$target/examples/floor" "$work/full.db" --make "$rows"
  "$target/examples/floor" "$work/full.db" "$work/events.ndjson"
  mkdir "$work/bodies"
  awk -v n="$body_rows" -v dir="$work/bodies" '
    (NR - 1) % n == 0 { close(file); file = sprintf("%s/%06d", dir, NR) }
    { printf "{\"create\":{\"_id\":\"%d\"}}\n%s\n", NR, $0 > file }' "$work/events.ndjson"
  echo "$rows records, $(($(stat -c %s "$work/events.ndjson") / rows)) bytes each, best of $runs runs"
}

# What each tool runs. `prepare` forgets what the last run left; `command` is what to start then.
prepare() {
  rm -rf "$work/run"; mkdir "$work/run"
  case $1 in
    audit-*)
      cp "$work/full.db" "$work/run/app.db"
      write_audit "$1" "$2" > "$work/run/audit.toml"
      command=("$target/audit" run --quiet --config "$work/run/audit.toml") ;;
    rsyslog-*)
      write_rsyslog "$1" "$2" > "$work/run/rsyslog.conf"
      command=(rsyslogd -n -f "$work/run/rsyslog.conf" -i "$work/run/pid") ;;
    kcat)
      command=(kcat -P -b "$brokers" -t "$topic" -X enable.idempotence=true -X acks=all -l "$work/events.ndjson") ;;
    curl)
      # shellcheck disable=SC2016 # for the inner shell
      command=(bash -c 'for body in "$1"/*; do
        answer=$(curl -sS --fail -H content-type:application/x-ndjson --data-binary "@$body" "$2?filter_path=errors")
        [[ $answer = "{\"errors\":false"* ]] || { echo "$answer"; exit 1; }
      done' loop "$work/bodies" "$host/$index/_bulk") ;;
  esac
  sync
}

write_audit() {
  local mode=flag
  [ "$1" != audit-keyset ] || mode=keyset
  printf '[pipelines.bench]\n[pipelines.bench.source]\ntype = "sql"\nurl = "sqlite://app.db"\nmode = "%s"\n' "$mode"
  printf '[pipelines.bench.sink]\n'
  if [ "$2" = kafka ]; then
    printf 'type = "kafka"\nbrokers = "%s"\ntopic = "%s"\n' "$brokers" "$topic"
    [ "$1" != audit-transaction ] ||
      printf 'transaction = { checkpoint_topic = "%s" }\ncreate_topic = { partitions = 3 }\n' "$topic-progress"
  else
    printf 'type = "elastic"\nhosts = ["%s"]\nindex = "%s"\n' "$host" "$index"
  fi
}

# A document's id is the place of its line in the file, so that a line read twice is one document.
write_rsyslog() {
  local module=omkafka action queue address=${host#http://}
  if [ "$2" = kafka ]; then
    action="broker=[\"$brokers\"] topic=\"$topic\" partitions.auto=\"on\" topicConfParam=[\"acks=all\"]
      confParam=[\"enable.idempotence=true\"] resubmitOnFailure=\"on\" keepFailedMessages=\"on\"
      failedMsgFile=\"$work/run/failed\" closeTimeout=\"60000\""
  else
    module=omelasticsearch
    action="server=\"${address%:*}\" serverport=\"${address#*:}\" searchIndex=\"$index\" esVersion.major=\"8\"
      bulkMode=\"on\" maxBytes=\"5m\" writeOperation=\"create\" bulkId=\"id\" dynBulkId=\"on\" errorFile=\"$work/run/errors\""
  fi
  case $1 in
    rsyslog-memory) queue='queue.type="LinkedList" queue.size="50000" queue.workerThreads="2"' ;;
    # Written, but not synced: with queue.syncQueueFiles each record is, and 250 a second is all it does.
    rsyslog-disk) queue='queue.type="Disk" queue.filename="ship" queue.checkpointInterval="1000"' ;;
  esac
  cat << CONF
global(workDirectory="$work/run" maxMessageSize="64k")
module(load="imfile")
module(load="$module")
template(name="line" type="string" string="%msg%")
template(name="id" type="string" string="%\$!metadata!fileoffset%")
input(type="imfile" file="$work/events.ndjson" tag="audit" ruleset="ship" addMetadata="on" persistStateInterval="1000")
ruleset(name="ship" $queue queue.dequeueBatchSize="$body_rows") {
  action(type="$module" template="line" action.resumeRetryCount="-1" $action)
}
CONF
}

# Where records go: made empty, counted while a tool runs, and closed.
open_sink() {
  case $1 in
    kafka) "$admin" "$brokers" "$topic" --make ;;
    bulk)
      rm -f "$work/url"
      "$target/examples/bulk_server" > "$work/url" & server=$!
      until [ -s "$work/url" ]; do sleep 0.01; done
      host=$(cat "$work/url") ;;
    opensearch)
      host=$opensearch
      curl -sS --fail -o "$work/ignored" -X PUT "$host/$index" -H content-type:application/json \
        -d '{"settings":{"number_of_shards":1,"number_of_replicas":0}}' ;;
  esac
}

close_sink() {
  case $1 in
    kafka) drop_topics ;;
    bulk) kill "$server"; wait "$server" 2> "$work/ignored" || true; server='' ;;
    opensearch) curl -sS --fail -o "$work/ignored" -X DELETE "$host/$index" ;;
  esac
}

present() {
  case $1 in
    kafka) kcat -Q -b "$brokers" -t "$topic:0:-1" -t "$topic:1:-1" -t "$topic:2:-1" |
      awk '{ sum += $NF } END { print sum + 0 }' ;;
    bulk) curl -sS "$host/stats" | sed -E 's/.*"stored":([0-9]+).*/\1/' ;;
    opensearch) curl -sS "$host/$index/_stats/indexing?filter_path=_all.primaries.indexing.index_total" |
      sed -E 's/[^0-9]+//g' ;;
  esac
}

# What is there in the end: all records, and those that differ.
stored() {
  case $1 in
    kafka) kcat -C -e -q -b "$brokers" -t "$topic" -o beginning | grep -o '"loan-[0-9]*"' |
      awk '{ all++; if (!seen[$0]++) different++ } END { print all + 0, different + 0 }' ;;
    bulk) curl -sS "$host/stats" | sed -E 's/.*"stored":([0-9]+),"documents":([0-9]+).*/\1 \2/' ;;
    opensearch)
      curl -sS --fail -o "$work/ignored" -X POST "$host/$index/_refresh"
      curl -sS "$host/$index/_count" | sed -E 's/.*"count":([0-9]+).*/\1 \1/' ;;
  esac
}

# Starts `command`, in a group of processes of its own.
start() {
  (cd "$work/run" && exec setsid "$@" > "$work/log" 2>&1) & tool=$!
}

# Waits until so many records are there, or the tool has ended.
await() {
  until [ "$(present "$1")" -ge "$2" ]; do
    kill -0 "$tool" 2> "$work/ignored" || return 0
    [ "$SECONDS" -lt "$3" ] || { echo "not done in time: $(present "$1") of $2" >&2; tail -20 "$work/log" >&2; exit 1; }
    sleep 0.02
  done
}

# Ends what would wait for more lines.
finish() {
  if [ -s "$work/run/pid" ]; then kill -TERM "$(cat "$work/run/pid")"; fi
  wait "$tool" || { tail -20 "$work/log" >&2; exit 1; }
  tool=''
}

# Runs a tool once; adds its seconds, processor seconds and KiB to a file.
once() {
  local name=$1 sink=$2 begun seconds all different enough=$rows
  # The markers of transactions are counted as records: then until its end.
  [ "$name" != audit-transaction ] || enough=$((rows * 2))
  open_sink "$sink"
  prepare "$name" "$sink"
  begun=$(date +%s%N)
  start /usr/bin/time -o "$work/time" -f '%U %S %M' "${command[@]}"
  await "$sink" "$enough" $((SECONDS + 300))
  seconds=$(awk -v n=$(($(date +%s%N) - begun)) 'BEGIN { print n / 1e9 }')
  finish
  read -r all different <<< "$(stored "$sink")"
  [ "$all" = "$rows" ] && [ "$different" = "$rows" ] ||
    { echo "$name: $all there, $different of them different, of $rows" >&2; exit 1; }
  close_sink "$sink"
  tail -1 "$work/time" | awk -v s="$seconds" '{ print s, $1 + $2, $3 }' >> "$work/$sink-$name"
}

# Kills a tool when a tenth is there, starts it again, and adds to a file what was there when it was
# killed, what is lost and what is repeated once nothing more comes.
crash() {
  local name=$1 sink=$2 before='' killed now all different
  open_sink "$sink"
  prepare "$name" "$sink"
  start "${command[@]}"
  await "$sink" $((rows / 10)) $((SECONDS + 300))
  kill -KILL -- "-$tool"
  wait "$tool" 2> "$work/ignored" || true
  killed=$(present "$sink") now=$killed
  start "${command[@]}"
  # rsyslogd does not end by itself: it is done when nothing came for a while.
  until [ "$now" = "$before" ]; do
    before=$now
    sleep 5
    now=$(present "$sink")
  done
  finish
  read -r all different <<< "$(stored "$sink")"
  echo "$killed $((rows - different)) $((all - different))" >> "$work/crash-$sink-$name"
  close_sink "$sink"
}

installed() {
  case $1 in
    rsyslog-*)
      local module=omkafka
      [ "$2" = kafka ] || module=omelasticsearch
      need rsyslogd ": rsyslog is left out" || return 1
      [ -n "$(find /usr/lib /usr/lib64 -path "*/rsyslog/$module.so" -print -quit 2> "$work/ignored")" ] ||
        { echo "rsyslog's $module is not installed: rsyslog is left out" >&2; return 1; } ;;
  esac
}

# Whether there is a server for this sink, and what counts in it.
served() {
  local url=here option=
  case $1 in
    kafka)
      need kcat ": nothing can be counted in Kafka" || return 1
      url=$brokers option=AUDIT_TEST_KAFKA ;;
    opensearch) url=$opensearch option=AUDIT_TEST_OPENSEARCH_URL ;;
  esac
  [ -n "$url" ] || { echo "$option is not set: $1 is left out" >&2; return 1; }
}

tools() {
  for name in "${@:2}"; do
    ! installed "$name" "$1" || echo "$name"
  done
}

# The best run of a tool, and what it takes next to the first one.
report() {
  local sink=$1 name=$2
  sort -n "$work/$sink-$name" | head -1 > "$work/best-$name"
  awk -v t="$sink" -v n="$name" -v r="$rows" '
    NR == 1 { time = $1; cpu = $2; next }
    { printf "%-11s %-17s %6.2f s %8d a second %6.2f us cpu each %6.1f MiB %6.2f times the seconds %6.2f times the cpu\n",
        t, n, $1, r / $1, $2 / r * 1e6, $3 / 1024, $1 / time, $2 / cpu }' "$work/best-audit-flag" "$work/best-$name"
}

compare() {
  local sink=$1 names
  served "$sink" || return 0
  mapfile -t names < <(tools "$@")
  for _ in $(seq "$runs"); do
    for name in "${names[@]}"; do once "$name" "$sink"; done
  done
  for name in "${names[@]}"; do report "$sink" "$name"; done
}

crashes() {
  local sink=$1 names
  served "$sink" || return 0
  mapfile -t names < <(tools "$@")
  for name in "${names[@]}"; do
    for _ in $(seq "$runs"); do crash "$name" "$sink"; done
    awk -v t="$sink" -v n="$name" '{ killed += $1; lost += $2; again += $3 }
      END { printf "%-11s %-17s %3d kills, at %7d on average %8d lost %8d repeated\n", t, n, NR, killed / NR, lost, again }' \
      "$work/crash-$sink-$name"
  done
}

kafka() { compare kafka audit-flag audit-keyset audit-transaction kcat rsyslog-memory rsyslog-disk; }
bulk() { compare bulk audit-flag audit-keyset curl rsyslog-memory rsyslog-disk; }
opensearch() { compare opensearch audit-flag audit-keyset curl rsyslog-memory rsyslog-disk; }
crash_all() {
  crashes kafka audit-flag audit-keyset audit-transaction kcat rsyslog-memory rsyslog-disk
  crashes bulk audit-flag audit-keyset rsyslog-memory rsyslog-disk
}

make_input
case $what in
  kafka | bulk | opensearch) "$what" ;;
  crash) crash_all ;;
  all) kafka; bulk; opensearch; crash_all ;;
esac
