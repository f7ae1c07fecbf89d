# shellcheck shell=bash
# A private certificate authority for one run, with one certificate for the servers and one for the clients.

# The name in the client certificate; databases know a user of this name that needs no password.
readonly CERTIFICATE_USER=audit_cert

make_certificates() {
    local dir=$1
    mkdir -m 0755 "$dir"
    (
        cd "$dir" || exit
        umask 077
        make_certificate ca "Audit test CA" -addext keyUsage=critical,keyCertSign,cRLSign
        make_signed_certificate server localhost serverAuth
        make_signed_certificate client "$CERTIFICATE_USER" clientAuth
        # Nothing else is ever to be signed.
        rm ca.key
        chmod 0644 ./*.crt
    )
}

make_signed_certificate() {
    local name=$1 subject=$2 usage=$3
    make_certificate "$name" "$subject" -CA ca.crt -CAkey ca.key \
        -addext basicConstraints=critical,CA:FALSE \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -addext "extendedKeyUsage=$usage"
}

# make_certificate NAME SUBJECT OPTION...: NAME.key and NAME.crt, on an elliptic curve because RSA keys take seconds.
make_certificate() {
    local name=$1 subject=$2
    shift 2
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$subject" \
        -keyout "$name.key" -out "$name.crt" "$@" 2>openssl.log || die "openssl: $(cat openssl.log)"
    rm openssl.log
}
