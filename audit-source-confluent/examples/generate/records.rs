//! Audit records as Confluent Cloud writes them, made up: the same for the same seed.
#![allow(dead_code, unreachable_pub, reason = "each user takes a part")]

/// Makes records, one line each without its end; of every hundred one is hostile or broken, and one in
/// two hundred comes again.
#[derive(Clone, Debug)]
pub struct Records {
    state: u64,
    text: String,
}

const PRINCIPALS: u64 = 300;
const DAYS: u64 = 7;
/// 2026-11-14T00:00:00Z.
const START: i64 = 1_794_614_400;

const OPERATIONS: [&str; 8] = [
    "Describe",
    "AlterConfigs",
    "Create",
    "Delete",
    "Read",
    "Write",
    "CloudClusterAdmin",
    "AccessWithToken",
];
const REQUESTS: [&str; 10] = [
    "CreateKafkaCluster",
    "DeleteAPIKey",
    "CreateAPIKey",
    "GetEnvironment",
    "ListEnvironments",
    "UpdateConnector",
    "CreateRoleBinding",
    "DeleteServiceAccount",
    "InviteUser",
    "GetKafkaClusters",
];
const SERVICE: [&str; 4] =
    ["kafka.CreateTopics", "kafka.DeleteTopics", "kafka.IncrementalAlterConfigs", "kafka.Produce"];

impl Records {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, text: String::new() }
    }

    /// A number below a bound (SplitMix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    /// Returns the next line, out of `total`; their times go on from the first to the last.
    pub fn line(&mut self, n: u64, total: u64) -> Vec<u8> {
        let again = self.below(200) == 0 && n > 100;
        let id = if again { n - 1 - self.below(100) } else { n };
        // What comes again is the same record: it depends on its id alone.
        let mut own = Self::new(self.state_of(id));
        let seconds = START + (id as i64) * (DAYS as i64 * 86_400) / (total.max(1) as i64);
        own.record(id, seconds);
        let text = std::mem::take(&mut own.text);
        if own.below(100) == 0 { own.spoilt(&text) } else { text.into_bytes() }
    }

    fn state_of(&self, id: u64) -> u64 {
        id.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(17) ^ 0x5eed
    }

    fn id(id: u64) -> String {
        let mixed = Self::new(id).below(u64::MAX);
        let (a, b, c) = (mixed >> 32, mixed >> 16 & 0xffff, mixed & 0xfff);
        format!("{a:08x}-{b:04x}-4{c:03x}-9b1d-{id:012x}")
    }

    fn time(seconds: i64, nanos: u64) -> String {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // All days are of one month.
        let day = days - START / 86_400 + 14;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }

    fn record(&mut self, id: u64, seconds: i64) {
        let nanos = self.below(1_000_000_000);
        let (id, time) = (Self::id(id), Self::time(seconds, nanos));
        match self.below(20) {
            0..=7 => self.authorization(&id, &time),
            8..=11 => self.authentication(&id, &time),
            12..=13 => self.management(&id, &time),
            14..=17 => self.request(&id, &time),
            _ => self.sign_in(&id, &time),
        }
    }

    fn principal(&mut self) -> String {
        let n = self.below(PRINCIPALS);
        if n.is_multiple_of(3) { format!("sa-{n:05}") } else { format!("u-{n:05}") }
    }

    fn head(&mut self, subject: &str, class: &str, data: &str, id: &str, time: &str) {
        let cluster = self.below(4);
        let source = format!("crn://confluent.cloud/kafka=lkc-{cluster:05}");
        self.text = format!(
            r#"{{"datacontenttype":"application/json","data":{data},"subject":"{subject}","specversion":"1.0","id":"{id}","source":"{source}","time":"{time}","type":"io.confluent.{class}"}}"#
        );
    }

    fn authorization(&mut self, id: &str, time: &str) {
        let (user, operation) = (self.principal(), self.pick(&OPERATIONS));
        let (topic, host, correlation) = (self.below(500), self.below(250), self.below(1_000_000));
        let granted = self.below(20) != 0;
        let crn = format!(
            "crn://confluent.cloud/organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff/environment=env-p8q2z/cloud-cluster=lkc-{:05}/kafka=lkc-00001/topic=orders.{topic}",
            topic % 4
        );
        let data = format!(
            r#"{{"serviceName":"crn://confluent.cloud/","methodName":"mds.Authorize","resourceName":"{crn}","authenticationInfo":{{"principal":"User:{user}","principalResourceId":"{user}","identity":"crn://confluent.cloud/organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff/identity-provider=Confluent/identity={user}"}},"authorizationInfo":{{"granted":{granted},"operation":"{operation}","resourceType":"Topic","resourceName":"orders.{topic}","patternType":"LITERAL","rbacAuthorization":{{"role":"CloudClusterAdmin","scope":{{"outerScope":["organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff","environment=env-p8q2z"],"clusters":{{"kafkaCluster":"lkc-00001"}}}},"actingPrincipal":"User:{user}"}},"assignedPrincipals":["User:{user}","group-A1b2"]}},"request":{{"correlationId":"{correlation}","clientId":"adminclient-{host}"}},"requestMetadata":{{"client_address":"/192.0.2.{host}","request_id":"{correlation:016x}"}}}}"#
        );
        self.head(&crn, "kafka.server/authorization", &data, id, time);
    }

    fn authentication(&mut self, id: &str, time: &str) {
        let (user, host, key) = (self.principal(), self.below(250), self.below(PRINCIPALS));
        let fine = self.below(25) != 0;
        let status = if fine { "SUCCESS" } else { "UNAUTHENTICATED" };
        let crn = "crn://confluent.cloud/organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff/environment=env-p8q2z/cloud-cluster=lkc-00001/kafka=lkc-00001";
        let data = format!(
            r#"{{"serviceName":"{crn}","methodName":"kafka.Authentication","resourceName":"{crn}","authenticationInfo":{{"principal":"User:{user}","principalResourceId":"{user}","metadata":{{"mechanism":"SASL_SSL/PLAIN","identifier":"KEY{key:013}"}},"identity":"crn://confluent.cloud/organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff/service-account={user}/api-key=KEY{key:013}"}},"requestMetadata":{{"client_address":"/198.51.100.{host}","client_trace_id":"{key:032x}"}},"result":{{"status":"{status}","message":""}}}}"#
        );
        self.head(crn, "kafka.server/authentication", &data, id, time);
    }

    fn management(&mut self, id: &str, time: &str) {
        let (user, method) = (self.principal(), self.pick(&SERVICE));
        let (topic, host) = (self.below(500), self.below(250));
        let fine = self.below(15) != 0;
        let result = if fine {
            r#"{"status":"SUCCESS"}"#
        } else {
            r#"{"status":"FAILURE","data":{"errorType":"TOPIC_AUTHORIZATION_FAILED"},"message":"Topic authorization failed."}"#
        };
        let data = format!(
            r#"{{"serviceName":"crn://confluent.cloud/organization=1f2e3d4c-5b6a-4788-9900-aabbccddeeff/environment=env-p8q2z/cloud-cluster=lkc-00001/kafka=lkc-00001","methodName":"{method}","cloudResources":[{{"scope":{{"resources":[{{"type":"ORGANIZATION","resourceId":"1f2e3d4c-5b6a-4788-9900-aabbccddeeff"}},{{"type":"ENVIRONMENT","resourceId":"env-p8q2z"}},{{"type":"CLOUD_CLUSTER","resourceId":"lkc-00001"}}]}},"resource":{{"type":"TOPIC","resourceId":"orders.{topic}"}}}}],"authenticationInfo":{{"principal":{{"confluentServiceAccount":{{"resourceId":"{user}"}}}},"result":"SUCCESS","identity":"crn://confluent.cloud/service-account={user}"}},"authorizationInfo":{{"result":"ALLOW","operation":"Create","resourceType":"Topic"}},"request":{{"accessType":"MODIFICATION","data":{{"topics":[{{"name":"orders.{topic}","num_partitions":6,"replication_factor":-1}}],"validate_only":false,"timeout_ms":30000}}}},"requestMetadata":{{"connectionId":"192.0.2.1:9092-198.51.100.{host}:41234-77","requestId":["{topic}"],"clientId":"rdkafka","clientAddress":[{{"ip":"198.51.100.{host}","port":41234}}]}},"result":{result}}}"#
        );
        self.head("crn://confluent.cloud/", "kafka.server/request", &data, id, time);
    }

    fn request(&mut self, id: &str, time: &str) {
        let (user, method, host) = (self.principal(), self.pick(&REQUESTS), self.below(250));
        let number = self.below(u64::MAX);
        let status = if self.below(30) == 0 { "PERMISSION_DENIED" } else { "SUCCESS" };
        let access = if method.starts_with("Get") { "READ_ONLY" } else { "MODIFICATION" };
        let data = format!(
            r#"{{"serviceName":"crn://confluent.cloud/","methodName":"{method}","cloudResources":[{{"scope":{{"resources":[{{"type":"ORGANIZATION","resourceId":"1f2e3d4c-5b6a-4788-9900-aabbccddeeff"}},{{"type":"ENVIRONMENT","resourceId":"env-p8q2z"}}]}},"resource":{{"type":"KAFKA_CLUSTER","resourceId":"lkc-{host:05}"}}}}],"authenticationInfo":{{"principal":{{"confluentUser":{{"resourceId":"{user}"}},"email":"{user}@example.com"}},"result":"SUCCESS","credentials":{{"idTokenCredentials":{{"type":"JWT","issuer":"Confluent","subject":"{user}","audience":["control-plane"]}},"mechanism":"HTTP_BEARER"}}}},"authorizationInfo":{{"result":"ALLOW","operation":"{method}","rbacAuthorization":{{"role":"OrganizationAdmin","cloudScope":{{"resources":[{{"type":"ORGANIZATION","resourceId":"1f2e3d4c-5b6a-4788-9900-aabbccddeeff"}}]}}}}}},"request":{{"accessType":"{access}","data":{{"spec":{{"display_name":"cluster \u00e9 {host}","cloud":"AWS","region":"eu-central-1"}}}}}},"requestMetadata":{{"requestId":["{number:032x}"],"clientAddress":[{{"ip":"203.0.113.{host}"}}],"clientTraceId":"{number:016x}"}},"result":{{"status":"{status}","data":{{"id":"{number:x}"}}}}}}"#
        );
        self.head("crn://confluent.cloud/", "cloud/request", &data, id, time);
    }

    fn sign_in(&mut self, id: &str, time: &str) {
        let (user, host) = (self.principal(), self.below(250));
        let fine = self.below(5) != 0;
        let (status, result) = if fine {
            ("SUCCESS", r#"{"status":"SUCCESS","data":{}}"#)
        } else {
            (
                "FAILURE",
                r#"{"status":"FAILURE","data":{"errors":[{"id":"e1","status":"401","detail":"Username or password is invalid."}]}}"#,
            )
        };
        let data = format!(
            r#"{{"serviceName":"crn://confluent.cloud/","methodName":"SignIn","cloudResources":[{{"scope":{{"resources":[{{"type":"ORGANIZATION","resourceId":"1f2e3d4c-5b6a-4788-9900-aabbccddeeff"}}]}},"resource":{{"type":"USER","resourceId":"{user}"}}}}],"authenticationInfo":{{"principal":{{"confluentUser":{{"resourceId":"{user}"}},"email":"{user}@example.com"}},"result":"{status}","exposure":"CUSTOMER"}},"requestMetadata":{{"clientAddress":[{{"ip":"203.0.113.{host}"}}],"requestId":["{host:032x}"]}},"result":{result}}}"#
        );
        self.head("crn://confluent.cloud/", "cloud/authentication", &data, id, time);
    }

    /// Makes a record hostile: still JSON, but as nobody would write it; or broken.
    fn spoilt(&mut self, text: &str) -> Vec<u8> {
        let inner = text.strip_prefix('{').unwrap_or(text);
        let deep = "[".repeat(300) + &"]".repeat(300);
        let spoilt = match self.below(18) {
            0 => text.replace(r#""methodName""#, r#""method\u004eame""#),
            1 => text
                .replace(r#""methodName":""#, r#""methodName":"not this", "methodName" : ""#)
                .replace(r#"" : "mds."#, r#"" : "\u006dds."#),
            2 => format!(r#"{{"x":"\",\"data\":{{\"methodName\":\"no\"}}\\",{inner}"#),
            3 => format!(
                r#"{{"nested":{{"data":{{"methodName":"no"}},"id":"no","time":"no"}},{inner}"#
            ),
            4 => text.replace(r#"":""#, "\" :\t\"").replace(r#"","#, "\" , "),
            5 => text.replace("lkc-00001", r"\ud83d\ude00 \u00fc"),
            6 => text.replace("Confluent", "Confluent\u{1f600}é"),
            7 => format!(
                r#"{{"deep":{deep},"n":[-0.0e+1,1E400,123456789012345678901234567890],{inner}"#
            ),
            8 => text.replace(r#""data":{"#, r#""data":{"methodName":"other"},"data":{"#),
            9 => format!(r#"{{"odd":"half \ud800",{inner}"#),
            10 => "Headers: [{\"Key\":\"content-type\"}]".to_owned(),
            11 => text.chars().take(400).collect(),
            12 => text.replace(r#""1.0""#, "NaN"),
            13 => format!("{text}}}"),
            14 => text.replace("example.com", "exa\tmple.com").replace("lkc-00001", "\u{1}"),
            15 => text.replace(r#""time":"2026"#, r#""time":"+999999999-12-31 2026"#),
            16 => text.replace(r#","id""#, r#",,"id""#),
            _ => {
                let mut bytes = text.to_owned().into_bytes();
                if let Some(byte) = bytes.get_mut(200) {
                    *byte = 0xff;
                }
                return bytes;
            }
        };
        spoilt.into_bytes()
    }
}
