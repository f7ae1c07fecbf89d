# shellcheck shell=bash
# MariaDB: user audit by password, with or without TLS; user audit_cert by client certificate only.

mariadb_start() {
    local dir=$1 home=$2 user
    user=$(id -un)
    mariadb_files "$home"
    mariadb-install-db --no-defaults --datadir="$home/data" --user="$user" \
        --auth-root-authentication-method=normal --skip-test-db
    # The socket is named relative to the data folder: a whole path may be too long for the kernel.
    launch "$home" mariadbd mariadbd --no-defaults --datadir="$home/data" --user="$user" \
        --bind-address=127.0.0.1 --port="${PORT[mariadb]}" --socket=mariadb.sock --pid-file=mariadbd.pid \
        --character-set-server=utf8mb4 --default-time-zone=+00:00 \
        --max-connections=200 --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 \
        --ssl-ca="$dir/tls/ca.crt" --ssl-cert="$dir/tls/server.crt" --ssl-key="$dir/tls/server.key" \
        --init-file="$home/init.sql"
    wait_until "$home" mariadb_sql "$home" "SELECT 1"

    mariadb_sql "$home" "SELECT VERSION()" | cut -d- -f1 >"$home/version"
    print_export AUDIT_TEST_MARIADB_URL "mysql://audit:$PASSWORD@127.0.0.1:${PORT[mariadb]}/audit" >"$home/env"
}

mariadb_sql() {
    local home=$1 statement=$2
    mariadb --defaults-file="$home/client.cnf" --batch --skip-column-names --execute "$statement"
}

mariadb_files() {
    local home=$1
    # The server takes one statement a line from this file, before it answers anyone.
    install -m 0600 /dev/stdin "$home/init.sql" <<SQL
ALTER USER root@localhost IDENTIFIED BY '$PASSWORD';
CREATE DATABASE audit;
CREATE USER audit@'%' IDENTIFIED BY '$PASSWORD';
GRANT ALL ON *.* TO audit@'%' WITH GRANT OPTION;
CREATE USER $CERTIFICATE_USER@'%' REQUIRE SUBJECT '/CN=$CERTIFICATE_USER';
GRANT ALL ON audit.* TO $CERTIFICATE_USER@'%';
SQL
    install -m 0600 /dev/stdin "$home/client.cnf" <<CONF
[client]
host = 127.0.0.1
port = ${PORT[mariadb]}
user = audit
password = $PASSWORD
ssl-ca = ${home%/*}/tls/ca.crt
CONF
}
