use proptest::prelude::*;
use serde_json::Value;

use super::Reader;
use super::oracle::check;
use crate::fields::{Fields, Slot};
use crate::view::View;

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?".prop_map(|text| text),
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
        "method_name",
        "authentication_info",
        "identity_pool",
        "subject",
        "message",
        "cloudResources",
        "resource",
        "type",
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
    #![proptest_config(ProptestConfig::with_cases(256))]

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

    #[test]
    fn m06_no_bytes_make_it_panic_or_disagree(
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                "([{}\\[\\]\",:\\\\ 01e.-]|null|true|\"id\"|\"data\"|\"methodName\"|\\\\u00e9){0,40}"
                    .prop_map(String::into_bytes),
            ],
            1..4,
        ),
    ) {
        let mut reader = Reader::default();
        for line in &lines {
            check(&mut reader, line);
        }
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
