use chrono::{DateTime, SecondsFormat};

/// Returns the identifier of a sample.
pub fn sample_id(n: u64) -> String {
    format!("evt_{n:012}")
}

/// Makes a record of about a kilobyte, as the API would send it: the same for the same number.
pub fn sample(n: u64, at: i64) -> String {
    let time = DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = sample_id(n);
    let action = ["CREATE", "UPDATE", "DELETE"][(n % 3) as usize];
    let status = if n.is_multiple_of(17) { "FAILURE" } else { "SUCCESS" };
    let blueprint = ["service", "environment", "deployment", "team"][(n % 4) as usize];
    let mut word = n;
    let mut properties = || {
        let mut text = String::new();
        for name in ["language", "repository", "description", "onCall", "tier", "lifecycle"] {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ n;
            text.push_str(&format!(r#""{name}":"value {:x} of \"{name}\"","#, word % 0xff_ffff));
        }
        text
    };
    format!(
        r#"{{"identifier":"{id}","action":"{action}","resourceType":"entity","status":"{status}","trigger":{{"at":"{time}","by":{{"orgId":"org_ABCDEFGHIJ","userId":"auth0|{user:024x}","user":{{"email":"user-{user}@example.com"}}}},"origin":"UI"}},"context":{{"blueprint":"{blueprint}","entity":"{blueprint}-{entity}","runId":null}},"diff":{{"before":{{"identifier":"{blueprint}-{entity}","properties":{{{before}"replicas":{n}}}}},"after":{{"identifier":"{blueprint}-{entity}","properties":{{{after}"replicas":{n}.10}}}}}},"additionalData":{{}},"message":""}}"#,
        user = n % 997,
        entity = n % 10_007,
        before = properties(),
        after = properties(),
    )
}
