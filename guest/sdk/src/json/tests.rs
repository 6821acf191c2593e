use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::from_slice;

/// Both fail, or have the same value.
#[track_caller]
fn same<T: DeserializeOwned + Debug + PartialEq>(json: &[u8]) {
    let (ours, theirs) = (from_slice::<T>(json), serde_json::from_slice::<T>(json));
    let text = String::from_utf8_lossy(json);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{text}"),
        (Err(_), Err(_)) => {}
        _ => panic!("{text}: {ours:?}, but serde_json: {theirs:?}"),
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct All {
    bool: bool,
    byte: u8,
    int: i64,
    large: Option<u128>,
    float: f64,
    small: f32,
    letter: char,
    list: Vec<(i8, String)>,
    map: BTreeMap<i32, Newtype>,
    unit: (),
    #[serde(default)]
    kinds: Vec<Kind>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Newtype(u16);

#[derive(Debug, PartialEq, Deserialize)]
enum Kind {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { a: u8 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    A { a: f64 },
    B,
}

const ALL: &str = r#" {"bool":true,"byte":255,"int":-9223372036854775808,"large":340282366920938463463374607431768211455,
    "float":1.5e3,"small":-0.1,"letter":"\u00e9","list":[[1,"a\n\ud83d\ude00b"],[-128,""]],"map":{"-1":1,"2":65535},
    "unit":null,"unknown":[{"a":[1,2.5,"x",null,false]},{}],
    "kinds":["Unit",{"Unit":null},{"Newtype":1},{"Tuple":[1,2]},{"Struct":{"a":1}}]} "#;

const TEXTS: &[&str] = &[
    ALL,
    "",
    " ",
    "null",
    "nul",
    "nulls",
    "true",
    "false ",
    "0",
    "-0",
    "-0.0",
    "00",
    "-",
    "01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "1E-7",
    "1.25e+3",
    "1e999",
    "-1e999",
    "1e-999",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "0.1",
    "2.2250738585072011e-308",
    "+1",
    "NaN",
    "[]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,2",
    "[[[]]]",
    "{}",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1,\"a\":2}",
    "{\"a\"",
    "]",
    "{]",
    "[}",
    "\"\"",
    "\"a",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\ud83d\"",
    "\"\\ud83dx\"",
    "\"\\ud83d\\n\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ude00\"",
    "\"é😀\u{7f}\"",
    "\"\t\"",
    "\"\u{0}\"",
    "1 1",
    "{} x",
    "\u{feff}1",
    "\u{a0}1",
    "{\"type\":\"A\",\"a\":1}",
    "{\"a\":2.5,\"type\":\"A\"}",
    "{\"type\":\"B\"}",
    "{\"type\":\"C\"}",
    "\"Unit\"",
    "{\"Newtype\":300}",
    "{\"Tuple\":[1]}",
    "{\"Tuple\":[1,2,3]}",
    "{\"Unit\":null,\"Unit\":null}",
    "[true,1,2,3,4,5,\"a\",[],{},null,[]]",
];

fn same_for_all_types(json: &[u8]) {
    same::<Value>(json);
    same::<All>(json);
    same::<Option<Kind>>(json);
    same::<Tagged>(json);
    same::<Vec<u8>>(json);
    same::<BTreeMap<bool, Value>>(json);
    same::<BTreeMap<String, u8>>(json);
    same::<String>(json);
    same::<f64>(json);
    same::<i8>(json);
    same::<serde::de::IgnoredAny>(json);
}

#[test]
fn values_are_those_of_serde_json() {
    for text in TEXTS {
        same_for_all_types(text.as_bytes());
    }
    from_slice::<All>(ALL.as_bytes()).expect("valid");
}

/// Texts that are nearly right: a byte is removed, or replaced by one of another text.
#[test]
fn mutations_are_those_of_serde_json() {
    let mut seed = 1_u32;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for text in TEXTS.iter().filter(|text| !text.is_empty()) {
        for _ in 0..300 {
            let mut json = text.as_bytes().to_vec();
            let at = random(json.len());
            if random(3) == 0 {
                json.remove(at);
            } else {
                json[at] = ALL.as_bytes()[random(ALL.len())];
            }
            // `serde_json` does not look at the encoding of what it ignores.
            if std::str::from_utf8(&json).is_ok() {
                same_for_all_types(&json);
            }
        }
    }
}

#[test]
fn nesting_is_limited() {
    for (depth, accepted) in [(1, true), (127, true), (128, false), (100_000, false)] {
        let json = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(serde_json::from_str::<Value>(&json).is_ok(), accepted);
        assert_eq!(from_slice::<Value>(json.as_bytes()).is_ok(), accepted, "{depth}");
        assert_eq!(from_slice::<serde::de::IgnoredAny>(json.as_bytes()).is_ok(), accepted, "{depth}");
    }
}

#[test]
fn strings_without_escapes_are_borrowed() {
    assert_eq!(from_slice::<&str>(b"\"abc\""), Ok("abc"));
    assert!(from_slice::<&str>(b"\"a\\n\"").is_err());
}

#[test]
fn errors_say_what_and_where() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code)]
        item: String,
        #[expect(dead_code)]
        count: u8,
    }
    let cases = [
        ("", "unexpected end at line 1 column 0"),
        ("{", "unexpected end at line 1 column 1"),
        ("[\"a\"", "unexpected end at line 1 column 4"),
        ("x", "expected a value at line 1 column 0"),
        ("7", "invalid type: integer 7, expected struct Order at line 1 column 1"),
        ("null", "invalid type: null, expected struct Order at line 1 column 0"),
        ("{}", "missing field `item` at line 1 column 1"),
        ("{\n \"item\": 5.5}", "invalid type: floating point number, expected a string at line 2 column 12"),
        ("{\"item\":\"a\",\"count\":300}", "invalid value: integer 300, expected u8 at line 1 column 23"),
        ("{\"item\":\"a\",\"count\":\"b\"}", "invalid type: string \"b\", expected u8 at line 1 column 23"),
        ("{\"x\":1}", "unknown field `x`, expected `item` or `count` at line 1 column 4"),
        ("{\"item\":\"a\",\"count\":1} 2", "unexpected text after the value at line 1 column 23"),
    ];
    for (json, expected) in cases {
        assert_eq!(from_slice::<Order>(json.as_bytes()).expect_err(json), expected, "{json}");
    }
    assert!(from_slice::<String>(b"\"\xff\"").expect_err("no UTF-8").starts_with("invalid utf-8"));
}
