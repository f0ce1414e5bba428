//! Golden vectors of another implementation's hash chain, and the rules one by one.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{canonical, is_exact};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn sha256_hex(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The row hash of that chain, whose columns stand side by side with bars between them.
fn row_hash(prev: &str, event: &str, actor: Option<&str>, payload: &Value, time: &str) -> String {
    let actor = actor.unwrap_or("null");
    let payload = canonical(payload);
    sha256_hex(&format!("{prev}|mesh1|{event}|{actor}|{payload}|{time}"))
}

#[test]
fn the_golden_rows_hash_as_they_should() {
    let payload = json!({"restored": true, "pubkey": "abc", "groups": []});
    let first = row_hash(
        "genesis",
        "peer_joined",
        Some("actor"),
        &payload,
        "2026-04-15T12:00:00.000Z",
    );
    assert_eq!(
        first,
        "73bad757dad9b1fee95c3eb00f4a72e7a6d188d8c765d9bcdef4625f267a0a6c"
    );
    let time = "2026-04-15T12:00:01.500Z";
    assert_eq!(
        row_hash(&first, "peer_left", None, &json!({}), time),
        "75a274448fd3651a90b4bb22e7d6890ea64ec6d43820e79672149552ce1bb591"
    );
}

#[test]
fn the_golden_lock_key_comes_out() {
    let hash = digest(&SHA256, b"audit:mesh1");
    let first = u64::from_be_bytes(*hash.as_ref().first_chunk().unwrap());
    assert_eq!(first & (u64::MAX >> 1), 870_734_828_183_836_005);
}

#[test]
fn the_order_of_members_does_not_matter() {
    let one = parse(r#"{"b":1,"a":{"y":[1,2],"x":null}}"#);
    let other = parse(r#" { "a" : {"x":null, "y":[1,2]}, "b" : 1.0 } "#);
    assert_eq!(canonical(&one), r#"{"a":{"x":null,"y":[1,2]},"b":1}"#);
    assert_eq!(canonical(&one), canonical(&other));
}

#[test]
fn the_order_of_items_and_any_value_does_matter() {
    let texts = [
        r#"{"a":[1,2]}"#,
        r#"{"a":[2,1]}"#,
        r#"{"a":[1,3]}"#,
        r#"{"a":["1",2]}"#,
        r#"{"a":[1,2,null]}"#,
        r#"{"b":[1,2]}"#,
        r#"{"a":[[1],2]}"#,
        r#"{"a":[true,2]}"#,
    ];
    let mut forms: Vec<_> = texts.iter().map(|text| canonical(&parse(text))).collect();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), texts.len());
}

#[test]
fn members_stand_in_the_order_of_utf_16() {
    // In UTF-8, and so for Rust's strings, U+FB33 comes before U+1F600; its surrogates come first.
    let value = json!({
        "\u{fb33}": 1, "\u{1f600}": 2, "\u{20ac}": 3, "1": 4, "\r": 5, "\u{f6}": 6, "\u{80}": 7, "": 8,
    });
    assert_eq!(
        canonical(&value),
        "{\"\":8,\"\\r\":5,\"1\":4,\"\u{80}\":7,\"\u{f6}\":6,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
    );
}

#[test]
fn strings_are_escaped_as_javascript_does() {
    let all = "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{2028}\u{2029}\u{e9}\u{1f600}";
    assert_eq!(
        canonical(&json!(all)),
        "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\u{7f}\u{2028}\u{2029}\u{e9}\u{1f600}\""
    );
}

#[test]
fn numbers_are_printed_as_javascript_does() {
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("-1.50", "-1.5"),
        ("1e2", "100"),
        ("123456789012345680000", "123456789012345680000"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("-1.25e300", "-1.25e+300"),
        ("0.000001", "0.000001"),
        ("0.00000123", "0.00000123"),
        ("0.0000001", "1e-7"),
        ("1.5e-10", "1.5e-10"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("0.1", "0.1"),
        ("333333333.33333329", "333333333.3333333"),
        ("4.50", "4.5"),
        ("2e-3", "0.002"),
        ("9007199254740992", "9007199254740992"),
        ("9007199254740993", "9007199254740992"),
        ("18446744073709551615", "18446744073709552000"),
        ("-9223372036854775808", "-9223372036854776000"),
    ];
    for (number, expected) in cases {
        assert_eq!(canonical(&parse(number)), expected, "{number}");
    }
}

#[test]
fn an_integer_that_no_double_holds_is_not_exact() {
    let exact = |text: &str| is_exact(parse(text).as_number().unwrap());
    for number in [
        "0",
        "-1",
        "9007199254740992",
        "-9007199254740992",
        "1e300",
        "0.1",
    ] {
        assert!(exact(number), "{number}");
    }
    for number in [
        "9007199254740993",
        "-9007199254740993",
        "18446744073709551615",
    ] {
        assert!(!exact(number), "{number}");
    }
}

#[test]
fn any_value_keeps_its_meaning_and_its_form() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3000 {
        let value = any_value(&mut random, 4);
        let form = canonical(&value);
        assert_eq!(canonical(&parse(&form)), form);
        assert_eq!(
            canonical(&parse(&serde_json::to_string_pretty(&value).unwrap())),
            form
        );
    }
}

#[test]
fn garbage_that_happens_to_parse_has_a_form() {
    const LETTERS: &[u8] = b"{}[]\",:0123456789.eE+-truefalsn\\u \xc3\xa9";
    let mut random = fastrand::Rng::with_seed(8);
    let mut parsed = 0;
    for _ in 0..50_000 {
        let length = random.usize(0..12);
        let text: Vec<u8> = (0..length)
            .map(|_| LETTERS[random.usize(0..LETTERS.len())])
            .collect();
        if let Ok(value) = serde_json::from_slice::<Value>(&text) {
            let form = canonical(&value);
            assert_eq!(canonical(&parse(&form)), form);
            parsed += 1;
        }
    }
    assert!(parsed > 100, "{parsed}");
}

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.usize(0..if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => {
            // Of two bytes' precision, so that reading it again loses nothing.
            let double = f64::from(random.i16(..)) * 2_f64.powi(random.i32(-30..30));
            json!(double)
        }
        3 => json!(any_string(random)),
        4 => (0..random.usize(0..5))
            .map(|_| any_value(random, depth - 1))
            .collect(),
        _ => Value::Object(
            (0..random.usize(0..5))
                .map(|_| (any_string(random), any_value(random, depth - 1)))
                .collect(),
        ),
    }
}

fn any_string(random: &mut fastrand::Rng) -> String {
    let length = random.usize(0..6);
    (0..length).map(|_| random.char(..)).collect()
}
