//! What the stand-in has to tell.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// The events of the stand-in.
#[derive(Default)]
pub struct Records {
    kept: Vec<Kept>,
    /// Events that are made when they are asked for: for benchmarks.
    made: Option<Made>,
}

struct Kept {
    region: String,
    compartment: String,
    processed: DateTime<Utc>,
    text: String,
}

struct Made {
    from: DateTime<Utc>,
    count: i64,
    interval: TimeDelta,
    before: String,
    behind: String,
}

/// The events one request is about.
pub enum Found<'a> {
    Kept(Vec<&'a str>),
    Made(&'a Records, std::ops::Range<i64>),
}

impl Records {
    pub fn add(&mut self, region: &str, compartment: &str, processed: DateTime<Utc>, text: String) {
        let (region, compartment) = (region.to_owned(), compartment.to_owned());
        self.kept.push(Kept { region, compartment, processed, text });
    }

    /// Makes `count` events of `bytes` each, evenly spread over a range.
    pub fn make(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, count: i64, bytes: usize) {
        let interval = (to - from) / i32::try_from(count).unwrap();
        let sample = record("@@", "GetInstance", from);
        let pad = "x".repeat(bytes.saturating_sub(sample.len() + 18));
        let text = sample.replace("\"payload\":{}", &format!("\"payload\":{{\"pad\":\"{pad}\"}}"));
        let (before, behind) = text.split_once("@@").unwrap();
        let (before, behind) = (before.to_owned(), behind.to_owned());
        self.made = Some(Made { from, count, interval, before, behind });
    }

    pub fn find(
        &self,
        region: &str,
        compartment: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Found<'_> {
        if let Some(made) = &self.made {
            let nanos = made.interval.num_nanoseconds().unwrap();
            let number = |time: DateTime<Utc>| {
                let nanos = i128::from((time - made.from).num_seconds()) * 1_000_000_000
                    + i128::from(nanos)
                    - 1;
                let number = nanos.div_euclid(i128::from(made.interval.num_nanoseconds().unwrap()));
                i64::try_from(number).unwrap().clamp(0, made.count)
            };
            return Found::Made(self, number(from)..number(to));
        }
        let mut found: Vec<&Kept> = self
            .kept
            .iter()
            .filter(|r| r.region == region && r.compartment == compartment)
            .filter(|r| (from..to).contains(&r.processed))
            .collect();
        found.sort_by_key(|r| r.processed);
        Found::Kept(found.into_iter().map(|r| r.text.as_str()).collect())
    }
}

impl Found<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Kept(texts) => texts.len(),
            Self::Made(_, numbers) => usize::try_from(numbers.end - numbers.start).unwrap(),
        }
    }

    /// Writes some of them as an array.
    pub fn page(&self, range: std::ops::Range<usize>) -> String {
        match self {
            Self::Kept(texts) => format!("[{}]", texts[range].join(" ,\n ")),
            Self::Made(records, numbers) => {
                let made = records.made.as_ref().unwrap();
                let mut page = String::with_capacity(
                    range.len() * (made.before.len() + made.behind.len() + 40),
                );
                page.push('[');
                for n in range {
                    if page.len() > 1 {
                        page.push(',');
                    }
                    let n = numbers.start + i64::try_from(n).unwrap();
                    page.push_str(&made.before);
                    page.push_str(&format!("{n:08x}-1111-4222-8333-444444444444"));
                    page.push_str(&made.behind);
                }
                page.push(']');
                page
            }
        }
    }
}

/// An event as the service writes it: odd spaces, escapes, numbers and all.
pub fn record(id: &str, name: &str, time: DateTime<Utc>) -> String {
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    format!(
        r#"{{"eventType":"com.oraclecloud.ComputeApi.{name}","cloudEventsVersion":"0.1","eventTypeVersion":"2.0","source":"ComputeApi","eventId":"{id}","eventTime":"{time}","contentType":"application/json","data":{{"eventGroupingId":null,"eventName":"{name}","compartmentId":"ocid1.tenancy.oc1..t","compartmentName":"caf\u00e9 / ünï","resourceName":"my_instance","resourceId":"ocid1.instance.oc1.phx.i","availabilityDomain":"","freeformTags":null,"definedTags":null,"identity":{{"principalName":"ann@example.com","principalId":"ocid1.user.oc1..ann","authType":"natv","callerName":null,"callerId":null,"tenantId":"ocid1.tenancy.oc1..t","ipAddress":"172.24.80.88","credentials":null,"userAgent":"Jersey/2.23 (HttpUrlConnection 1.8.0_212)","consoleSessionId":null}},"request":{{"id":"{id}-r","path":"/20160918/instances/ocid1.instance.oc1.phx.i","action":"GET","parameters":{{}},"headers":{{"Accept":["application/json"],"X-Real-IP":["172.24.80.88"]}}}},"response":{{"status":"200","responseTime":"{time}","headers":{{"Content-Length":["1828"]}},"payload":{{}},"message":null}},"stateChange":{{"previous":null,"current":null}},"additionalDetails":{{"n" : 1.10,"big":12345678901234567890123}}}}}}"#
    )
}
