# shellcheck shell=bash
# OpenSearch: one node on plain HTTP, and nginx before it for HTTPS with basic authentication.

opensearch_start() {
    local dir=$1 home=$2 lib java
    lib=$(jars opensearch)
    java=$(find_java)
    opensearch_files "$dir" "$home"
    launch "$home" opensearch "$java" -Xms512m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$lib/classes:$lib/*" \
        TestNode "$home/node" "${PORT[opensearch_http]}" "${PORT[opensearch_transport]}"
    launch "$home" nginx nginx -c "$home/nginx.conf" -p "$home"
    wait_until "$home" opensearch_get "http://127.0.0.1:${PORT[opensearch_http]}/_cluster/health?wait_for_status=yellow"
    wait_until "$home" opensearch_get --cacert "$dir/tls/ca.crt" --config "$home/curl.conf" \
        "https://localhost:${PORT[opensearch_https]}/"

    opensearch_get "http://127.0.0.1:${PORT[opensearch_http]}/" |
        sed -n 's/.*"number" : "\([^"]*\)".*/\1/p' >"$home/version"
    {
        print_export AUDIT_TEST_OPENSEARCH_URL "http://127.0.0.1:${PORT[opensearch_http]}"
        print_export AUDIT_TEST_OPENSEARCH_TLS_URL "https://localhost:${PORT[opensearch_https]}"
        print_export AUDIT_TEST_OPENSEARCH_USER audit
        print_export AUDIT_TEST_OPENSEARCH_PASSWORD "$PASSWORD"
    } >"$home/env"
}

opensearch_get() {
    curl --noproxy '*' --fail --silent --show-error --max-time 5 "$@"
}

opensearch_files() {
    local dir=$1 home=$2
    printf 'audit:%s\n' "$(openssl passwd -apr1 -stdin <<<"$PASSWORD")" | install -m 0600 /dev/stdin "$home/htpasswd"
    printf 'user = "audit:%s"\n' "$PASSWORD" | install -m 0600 /dev/stdin "$home/curl.conf"
    cat >"$home/nginx.conf" <<CONF
daemon off;
worker_processes 1;
$(if ((EUID == 0)); then echo 'user root;'; fi)
pid $home/nginx-master.pid.txt;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path $home/nginx-body;
    proxy_temp_path $home/nginx-proxy;
    fastcgi_temp_path $home/nginx-fastcgi;
    uwsgi_temp_path $home/nginx-uwsgi;
    scgi_temp_path $home/nginx-scgi;
    server {
        listen 127.0.0.1:${PORT[opensearch_https]} ssl;
        ssl_certificate $dir/tls/server.crt;
        ssl_certificate_key $dir/tls/server.key;
        auth_basic audit;
        auth_basic_user_file $home/htpasswd;
        # Limits are for OpenSearch to set and to report.
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_http_version 1.1;
        location / {
            proxy_pass http://127.0.0.1:${PORT[opensearch_http]};
        }
    }
}
CONF
}
