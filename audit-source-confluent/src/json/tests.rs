use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value;

use super::Reader;
use crate::fields::{Fields, Slot};
use crate::view::View;

/// The wanted fields with their paths, as a parser that builds a tree finds them.
const PATHS: [(Slot, &[&[&str]]); 12] = [
    (Slot::ID, &[&["id"]]),
    (Slot::TIME, &[&["time"]]),
    (Slot::METHOD, &[&["data"], &["methodName", "method_name"]]),
    (Slot::PRINCIPAL, &[&["data"], &["authenticationInfo"], &["principal"]]),
    (Slot::EMAIL, &[&["data"], &["authenticationInfo"], &["principal"], &["email"]]),
    (
        Slot::USER,
        &[&["data"], &["authenticationInfo"], &["principal"], &["confluentUser"], &["resourceId"]],
    ),
    (Slot::AUTHENTICATION, &[&["data"], &["authenticationInfo"], &["result"]]),
    (Slot::GRANTED, &[&["data"], &["authorizationInfo"], &["granted"]]),
    (Slot::OPERATION, &[&["data"], &["authorizationInfo"], &["operation"]]),
    (Slot::STATUS, &[&["data"], &["result"], &["status"]]),
    (Slot::ERROR_STATUS, &[&["data"], &["result"], &["data"], &["errors"], &["status"]]),
    (Slot::CLIENT, &[&["data"], &["requestMetadata"], &["clientAddress"], &["ip"]]),
];

/// What a value means as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn expected(root: &Value, path: &[&[&str]], slot: Slot) -> Option<String> {
    let mut value = root;
    for (depth, names) in path.iter().enumerate() {
        let list = value.as_array().filter(|_| depth > 0).and_then(|list| list.first());
        if let Some(first) = list.filter(|first| !first.is_array()) {
            value = first;
        }
        match value.as_object() {
            // Only one spelling is ever in a record of these tests.
            Some(object) => value = names.iter().find_map(|name| object.get(*name))?,
            None if depth + 1 == path.len() && slot == Slot::CLIENT => break,
            None => return None,
        }
    }
    if slot == Slot::PRINCIPAL {
        value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    }
    text(value)
}

/// Reads a line with a reader that has seen others, and one that has not; compares both with the
/// parser that everybody uses.
fn check(reader: &mut Reader, line: &[u8]) -> bool {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
        && str::from_utf8(line).is_ok();
    let shown = String::from_utf8_lossy(line);
    let tree: Option<Value> = serde_json::from_slice(line).ok();
    for reader in [reader, &mut Reader::default()] {
        // Twice, as the second time the shape is known.
        for _ in 0..2 {
            let mut fields = Fields::default();
            assert_eq!(reader.read(line, &mut fields), is_json, "{shown}");
            let Some(tree) = tree.as_ref().filter(|_| is_json) else { continue };
            let view = View::new(line, &fields);
            for (slot, path) in PATHS {
                let found = view.text(slot).map(Cow::into_owned);
                assert_eq!(found, expected(tree, path, slot), "{path:?} in {shown}");
            }
        }
    }
    is_json
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        "-?[1-9][0-9]{0,2}\\.[0-9][1-9]".prop_map(|text| text),
        "[a\"\\\\{},:\\[\\]é😀\n\t/]{0,40}".prop_map(|text| Value::from(text).to_string()),
        r#"(\\u00e9|\\ud83d\\ude00|\\/|\\"|a){0,5}"#.prop_map(|text| format!("\"{text}\"")),
    ]
}

/// JSON as somebody would write it who wants to be misunderstood.
fn record() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "id",
        "time",
        "data",
        "methodName",
        "authenticationInfo",
        "principal",
        "email",
        "confluentUser",
        "resourceId",
        "result",
        "authorizationInfo",
        "granted",
        "operation",
        "status",
        "errors",
        "requestMetadata",
        "clientAddress",
        "ip",
        "x",
        "d\\u0061ta",
        "res\\u0075lt",
        "\\\"data",
        "",
    ]);
    let blank = prop::sample::select(vec!["", "", "", " ", "\t ", "\r"]);
    let known = prop_oneof![
        leaf(),
        Just(r#"{"methodName":"m","authenticationInfo":{"principal":"p","result":"SUCCESS"}}"#.to_owned()),
        Just(r#"{"data":{"methodName":"no"},"result":[{"status":7},{"status":8}],"principal":{"email":"e"}}"#.to_owned()),
    ];
    let value = known.prop_recursive(5, 40, 5, move |inner| {
        let member = (name.clone(), blank.clone(), inner.clone())
            .prop_map(|(name, blank, value)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"));
        prop_oneof![
            3 => prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
            1 => prop::collection::vec(inner, 0..3).prop_map(|all| format!("[{}]", all.join(","))),
        ]
    });
    // So that the wanted paths are there often.
    (value.clone(), value.clone(), value).prop_map(|(a, b, c)| {
        format!(r#"{{"id":"1","data":{{"authenticationInfo":{a},"result":{b},"methodName":"m"}},"rest":{c}}}"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn m06_every_record_is_read_as_a_full_parser_reads_it(records in prop::collection::vec(record(), 1..4)) {
        let mut reader = Reader::default();
        for record in &records {
            prop_assert!(check(&mut reader, record.as_bytes()), "{record}");
        }
    }

    #[test]
    fn n05_whatever_is_broken_in_a_record_of_a_known_shape_is_noticed(
        record in record(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..3),
    ) {
        let mut reader = Reader::default();
        check(&mut reader, record.as_bytes());
        let mut line = record.into_bytes();
        for (place, byte, how) in places {
            let place = place.index(line.len());
            let byte = *br#""\{}[],:01e-.tfn a"#.get(usize::from(byte)).unwrap_or(&byte);
            match how {
                0 => line[place] = byte,
                1 => line.insert(place, byte),
                _ => drop(line.remove(place)),
            }
        }
        check(&mut reader, &line);
    }
}

#[test]
fn n05_records_that_would_trip_a_search_for_keys() {
    let mut reader = Reader::default();
    for line in [
        r#"{"x":"\"id\":\"no\"","id":"yes","data":{"x":{"methodName":"no"},"methodName":"yes"}}"#,
        r#"{"id":"1","id":"2","data":{"methodName":"no"},"data":{}}"#,
        r#"{"data":{"result":{"status":"no"},"result":7,"methodName":["m"]}}"#,
        r#" { "id" :	"1" , "data" : [ { "methodName" : "m" } , { "methodName" : "no" } ] } "#,
        r#"{"data":[[{"methodName":"no"}]]}"#,
        r#"[{"id":"no"}]"#,
        r#""id""#,
        "7",
        r#"{"id":"\u0000"}"#,
        r#"{"a":[],"b":{},"c":[[],{}],"id":-0.0}"#,
        "{\"id\":\"\u{7f}\u{80}\u{10ffff}\"}",
    ] {
        assert!(check(&mut reader, line.as_bytes()), "{line}");
    }
    for line in [
        "",
        " ",
        "{",
        "}",
        r#"{"id":1,}"#,
        r#"{"id" 1}"#,
        r#"{id:1}"#,
        r#"{"id":01}"#,
        r#"{"id":1.}"#,
        r#"{"id":+1}"#,
        r#"{"id":.5}"#,
        r#"{"id":1e}"#,
        r#"{"id":tru}"#,
        r#"{"id":truex}"#,
        "[1,]",
        "[1 2]",
        "[}",
        "{]",
        r#"{"id":"a"#,
        r#"{"id":"\x"}"#,
        r#"{"id":"\u12"}"#,
        "{\"id\":\"\t\"}",
        "{} {}",
        "nul",
        "NaN",
        "-",
        "\u{feff}{}",
        r#"{"id":1}}"#,
        r#"{"a":1 "b":2}"#,
        "[1:2]",
        r#"{"a":,}"#,
    ] {
        assert!(!check(&mut reader, line.as_bytes()), "{line}");
    }
    assert!(!check(&mut reader, b"{\"id\":\"\xff\"}"));
    assert!(!check(&mut reader, b"{\"id\":\"\xed\xa0\x80\"}"), "half a pair as bytes");
}

#[test]
fn half_of_a_surrogate_pair_costs_only_its_field() {
    let line = br#"{"id":"\ud800","time":"t","\ud800":1}"#;
    let mut fields = Fields::default();
    assert!(Reader::default().read(line, &mut fields));
    let view = View::new(line, &fields);
    assert_eq!((view.text(Slot::ID), view.text(Slot::TIME).as_deref()), (None, Some("t")));
}

#[test]
fn n05_more_shapes_than_are_remembered_are_read_all_the_same() {
    let mut reader = Reader::default();
    for n in 0..9000 {
        let line = format!(
            r#"{{"k{}":{{"k{n}":1}},"id":"{n}","x":[{}]}}"#,
            n % 7,
            "1,".repeat(n % 50) + "2"
        );
        let mut fields = Fields::default();
        assert!(reader.read(line.as_bytes(), &mut fields));
        let id = View::new(line.as_bytes(), &fields).text(Slot::ID).unwrap().into_owned();
        assert_eq!(id, n.to_string());
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(reader.read(deep.as_bytes(), &mut Fields::default()));
}
