# shellcheck shell=bash
# What every server needs: messages, ports, processes, waiting.

# Servers, and the tools of PostgreSQL, live outside the PATH of ordinary users.
PATH=$PATH:/usr/sbin:/sbin

# The folder made by `up` carries this file, so that `down` removes nothing else.
# shellcheck disable=SC2034 # used by `up` and `down`
readonly MARKER=.audit-servers

# How long one server may take to answer. Warm starts need a tenth of it; a busy, cold machine more.
readonly START_LIMIT_SECONDS=120
readonly STOP_LIMIT_SECONDS=15

say() {
    printf '%s\n' "servers: $*" >&2
}

die() {
    say "error: $*"
    exit 1
}

print_export() {
    printf 'export %s=%q\n' "$1" "$2"
}

# --- ports ---

# shellcheck disable=SC2034 # read by every server
declare -A PORT=()

# Picks below the ephemeral range, where no outgoing connection can take a port between now and the server's bind.
assign_ports() {
    local name port taken=" "
    for name in postgres mariadb kafka_{plain,ssl,sasl_ssl,sasl_plain,controller} opensearch_{http,transport,https}; do
        port=$(free_port "$taken")
        taken+="$port "
        # shellcheck disable=SC2034
        PORT[$name]=$port
    done
}

free_port() {
    local taken=$1 port
    while true; do
        port=$((10000 + RANDOM % 22000))
        [[ $taken != *" $port "* ]] || continue
        is_listening "$port" || break
    done
    echo "$port"
}

is_listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# --- processes ---

# launch HOME NAME COMMAND...: runs COMMAND in the background, its process id in HOME/NAME.pid, its output in HOME/log.
# A session of its own keeps Ctrl-C for the command under test; `down` stops it. HOME must be among the arguments,
# which is how a process is told from a stranger that got the same id later.
launch() {
    local home=$1 name=$2
    shift 2
    setsid "$@" </dev/null >>"$home/log" 2>&1 &
    echo $! >"$home/$name.pid"
}

# The processes of HOME that are alive, one id a line.
processes() {
    local home=$1 file pid
    for file in "$home"/*.pid; do
        [[ -e $file ]] || continue
        pid=$(<"$file")
        if [[ $(command_line "$pid") == *"$home"* ]]; then
            echo "$pid"
        fi
    done
}

command_line() {
    { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
}

is_running() {
    local home=$1 started
    started=$(find "$home" -maxdepth 1 -name '*.pid' 2>/dev/null | wc -l)
    ((started > 0 && $(processes "$home" | wc -l) == started))
}

stop_processes() {
    local home=$1 pid deadline=$((SECONDS + STOP_LIMIT_SECONDS))
    # To PostgreSQL, INT means "now, without waiting for clients", TERM that it should wait; to the others they are alike.
    for pid in $(processes "$home"); do
        kill -s "$(stop_signal "$home")" "$pid" 2>/dev/null || true
    done
    while [[ -n $(processes "$home") ]]; do
        if ((SECONDS >= deadline)); then
            for pid in $(processes "$home"); do
                kill -s KILL "$pid" 2>/dev/null || true
            done
        fi
        sleep 0.1
    done
}

stop_signal() {
    case $1 in
        */postgres) echo INT ;;
        *) echo TERM ;;
    esac
}

# wait_until HOME COMMAND...: repeats COMMAND until it succeeds, the server of HOME ends, or the limit is over.
wait_until() {
    local home=$1 deadline=$((SECONDS + START_LIMIT_SECONDS))
    shift
    until "$@" >/dev/null 2>&1; do
        is_running "$home" || die "${home##*/} ended before it answered"
        ((SECONDS < deadline)) || die "${home##*/} did not answer within $START_LIMIT_SECONDS s"
        sleep 0.2
    done
}

# --- Java ---

# Prints the path of a Java 17 or 21; both servers are tried with these two.
find_java() {
    local java
    for java in /usr/lib/jvm/*/bin/java "${JAVA_HOME:-}/bin/java" "$(command -v java || true)"; do
        if [[ -x $java && $("$java" -version 2>&1) =~ version\ \"(17|21)[.\"] ]]; then
            echo "$java"
            return 0
        fi
    done
    return 1
}
