# shellcheck shell=bash
# PostgreSQL: user audit by password, with or without TLS; user audit_cert by client certificate only.

# The newest of the installed versions.
postgres_bin() {
    local bins
    bins=$(compgen -G '/usr/lib/postgresql/*/bin/initdb') || return 1
    dirname "$(sort -V <<<"$bins" | tail -n 1)"
}

# PostgreSQL refuses to run as root.
as_postgres() {
    if ((EUID == 0)); then
        setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        "$@"
    fi
}

postgres_start() {
    local dir=$1 home=$2 bin
    bin=$(postgres_bin)
    postgres_files "$dir" "$home"
    if ((EUID == 0)); then
        chown -R postgres: "$home"
    fi
    cd "$home" || return
    as_postgres "$bin/initdb" --pgdata=data --username=audit --pwfile=password --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync
    postgres_launch "$home" "$bin/postgres" -D "$home/data" -c config_file="$home/postgresql.conf"
    wait_until "$home" postgres_sql postgres "SELECT 1"
    postgres_sql postgres "CREATE ROLE $CERTIFICATE_USER LOGIN" "CREATE DATABASE audit" \
        "GRANT ALL ON DATABASE audit TO $CERTIFICATE_USER"
    postgres_sql audit "GRANT ALL ON SCHEMA public TO $CERTIFICATE_USER"

    postgres_sql audit "SHOW server_version" | awk '{ print $1 }' >"$home/version"
    print_export AUDIT_TEST_POSTGRES_URL "postgres://audit:$PASSWORD@127.0.0.1:${PORT[postgres]}/audit" >"$home/env"
}

# `as_postgres` is a function and so no argument for `launch`.
postgres_launch() {
    local home=$1
    shift
    if ((EUID == 0)); then
        set -- setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    fi
    launch "$home" postgres "$@"
}

# postgres_sql DATABASE STATEMENT...
postgres_sql() {
    local database=$1 statement options=()
    shift
    for statement in "$@"; do
        options+=(--command "$statement")
    done
    PGPASSWORD=$PASSWORD psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
        --host 127.0.0.1 --port "${PORT[postgres]}" --username audit --dbname "$database" "${options[@]}"
}

postgres_files() {
    local dir=$1 home=$2
    install -m 0600 /dev/stdin "$home/password" <<<"$PASSWORD"
    install -m 0600 "$dir/tls/server.key" "$home/server.key"
    cp "$dir/tls/server.crt" "$dir/tls/ca.crt" "$home"
    cat >"$home/pg_hba.conf" <<CONF
hostssl   all $CERTIFICATE_USER 127.0.0.1/32 cert
hostnossl all $CERTIFICATE_USER 127.0.0.1/32 reject
host      all all              127.0.0.1/32 scram-sha-256
CONF
    # No socket file: its path may be too long for the kernel. No fsync: nothing here outlives the run.
    cat >"$home/postgresql.conf" <<CONF
data_directory = '$home/data'
hba_file = '$home/pg_hba.conf'
listen_addresses = '127.0.0.1'
port = ${PORT[postgres]}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = off
full_page_writes = off
synchronous_commit = off
timezone = 'UTC'
ssl = on
ssl_ca_file = '$home/ca.crt'
ssl_cert_file = '$home/server.crt'
ssl_key_file = '$home/server.key'
CONF
}
