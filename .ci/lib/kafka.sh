# shellcheck shell=bash
# Apache Kafka, one broker that is its own controller: plain, TLS with client certificate, and SASL with and without TLS.

kafka_start() {
    local dir=$1 home=$2
    local java
    java=(
        "$(find_java)" -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$(jars kafka)/*"
    )
    kafka_files "$dir" "$home"
    "${java[@]}" kafka.tools.StorageTool format --cluster-id "$(kafka_cluster_id)" --config "$home/server.properties" \
        --add-scram "SCRAM-SHA-512=[name=audit,password=$PASSWORD]"
    launch "$home" kafka "${java[@]}" kafka.Kafka "$home/server.properties"
    wait_until "$home" kafka_answers "$home"

    basename "$(jars kafka)"/kafka_2.13-*.jar .jar | cut -d- -f2 >"$home/version"
    {
        print_export AUDIT_TEST_KAFKA "127.0.0.1:${PORT[kafka_plain]}"
        print_export AUDIT_TEST_KAFKA_SSL "localhost:${PORT[kafka_ssl]}"
        print_export AUDIT_TEST_KAFKA_SASL_SSL "localhost:${PORT[kafka_sasl_ssl]}"
        print_export AUDIT_TEST_KAFKA_SASL_PLAINTEXT "127.0.0.1:${PORT[kafka_sasl_plain]}"
        print_export AUDIT_TEST_KAFKA_SASL_USER audit
        print_export AUDIT_TEST_KAFKA_SASL_PASSWORD "$PASSWORD"
    } >"$home/env"
}

# 16 random bytes in base64 without padding, and without the letters that differ between its alphabets.
kafka_cluster_id() {
    openssl rand -base64 16 | tr '+/' 'Aa' | tr -d '='
}

# The broker says so once it has caught up with its own metadata; a listener alone is open earlier.
kafka_answers() {
    grep -q 'Kafka Server started' "$1/log" && is_listening "${PORT[kafka_plain]}" && is_listening "${PORT[kafka_sasl_ssl]}"
}

kafka_files() {
    local dir=$1 home=$2
    local plain='org.apache.kafka.common.security.plain.PlainLoginModule'
    local scram='org.apache.kafka.common.security.scram.ScramLoginModule'
    cat "$dir/tls/server.key" "$dir/tls/server.crt" "$dir/tls/ca.crt" | install -m 0600 /dev/stdin "$home/server.pem"
    install -m 0600 /dev/stdin "$home/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${PORT[kafka_controller]}
log.dirs=$home/data

listeners=PLAINTEXT://127.0.0.1:${PORT[kafka_plain]},SSL://127.0.0.1:${PORT[kafka_ssl]},SASL_SSL://127.0.0.1:${PORT[kafka_sasl_ssl]},SASL_PLAINTEXT://127.0.0.1:${PORT[kafka_sasl_plain]},CONTROLLER://127.0.0.1:${PORT[kafka_controller]}
advertised.listeners=PLAINTEXT://127.0.0.1:${PORT[kafka_plain]},SSL://localhost:${PORT[kafka_ssl]},SASL_SSL://localhost:${PORT[kafka_sasl_ssl]},SASL_PLAINTEXT://127.0.0.1:${PORT[kafka_sasl_plain]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT

ssl.keystore.type=PEM
ssl.keystore.location=$home/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.crt
listener.name.ssl.ssl.client.auth=required

sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=$plain required user_audit="$PASSWORD";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.sasl_plaintext.plain.sasl.jaas.config=$plain required user_audit="$PASSWORD";
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=$scram required;

# One broker holds every copy there is.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Few partitions, small buffers and no waiting for further group members: quick and small.
num.partitions=3
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
CONF
    cat >"$home/log4j2.properties" <<'CONF'
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=INFO
CONF
}
