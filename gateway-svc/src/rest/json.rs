//! Picks members out of a JSON object and skips everything else.
//!
//! No tree is built: a wanted member is a slice of the text, and others are skipped. Neither the depth nor
//! the size of members is limited.

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ApiError;
pub(super) use crate::json::problem;

/// The members of the object `text` with these names, as text. The last one of duplicates counts. Fails if
/// `text` is not a JSON object.
pub(super) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Wanted(names))?;
    deserializer.end()?;
    Ok(members)
}

/// The member, unless it is absent or null.
pub(super) fn present(member: Option<&RawValue>) -> Option<&RawValue> {
    member.filter(|value| value.get() != "null")
}

/// The text of a JSON string; `None` for any other value.
pub(super) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A name; `None` if the member is absent. Fails with 422 if it is null or not a string.
pub(super) fn name(member: Option<&RawValue>) -> Result<Option<String>, ApiError> {
    let Some(value) = member else { return Ok(None) };
    match value.get() {
        "null" => Err(ApiError::field("name", "can't be blank")),
        _ => string(value).map(Some).ok_or_else(|| ApiError::field("name", "is invalid")),
    }
}

/// Like [`name`], for a resource that must have a name.
pub(super) fn required_name(member: Option<&RawValue>) -> Result<String, ApiError> {
    name(member)?.ok_or_else(|| ApiError::field("name", "can't be blank"))
}

struct Wanted<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(position) = map.next_key_seed(PositionIn(&self.0))? {
            match position {
                Some(position) => found[position] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Deserializes a key as its position among the names.
struct PositionIn<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for PositionIn<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PositionIn<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// The entries of the list `text`, as text. Fails if `text` is not a JSON list.
pub(super) fn entries(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let entries = Vec::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<[Option<&str>; 2], String> {
        let found = members(text, ["args", "scheduling"]).map_err(|error| error.to_string())?;
        Ok(found.map(|member| member.map(RawValue::get)))
    }

    #[test]
    fn errors_have_a_position() {
        let cases = [
            (r#"{"args""#, "line 1 column 7: EOF while parsing an object"),
            ("{\n\"args\": nope}", "line 2 column 10: expected ident"),
            ("[]", "line 1 column 0: invalid type: sequence, expected an object"),
            ("{} {}", "line 1 column 4: trailing characters"),
        ];
        for (text, expected) in cases {
            let error = members(text, ["args"]).expect_err(text);
            assert_eq!(problem(&error), expected, "{text}");
        }
    }

    #[test]
    fn members_are_slices_of_the_text() {
        let cases = [
            (r#"{}"#, [None, None]),
            (r#" { "args" : {"b": 1, "a":2.0e1}  } "#, [Some(r#"{"b": 1, "a":2.0e1}"#), None]),
            (
                r#"{"args":123456789012345678901234567890,"x":[{}]}"#,
                [Some("123456789012345678901234567890"), None],
            ),
            (r#"{"scheduling":null,"args":"\ud800"}"#, [Some(r#""\ud800""#), Some("null")]),
            (r#"{"\u0061rgs":1}"#, [Some("1"), None]),
            (r#"{"args":1,"args":2}"#, [Some("2"), None]),
        ];
        for (text, expected) in cases {
            assert_eq!(texts(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_than_objects_are_refused() {
        for text in [
            "",
            " ",
            "[]",
            r#"["args"]"#,
            "1",
            "null",
            "{",
            r#"{"args":}"#,
            r#"{"args":01}"#,
            "{} x",
            r#"{"a":1,}"#,
        ] {
            assert!(texts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_not_limited() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deeper = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        let text = format!(r#"{{"ignored":{deeper},"args":{deep}}}"#);
        assert_eq!(texts(&text), Ok([Some(deep.as_str()), None]));
    }

    #[test]
    fn entries_are_slices_of_the_text() {
        let entries = |text| entries(text).map(|entries| entries.iter().map(|entry| entry.get()).collect());
        assert_eq!(entries(r#" [{"a":1}, 2 ] "#).ok(), Some(vec![r#"{"a":1}"#, "2"]));
        for text in ["", "{}", "null", "[1", "[] []"] {
            assert!(entries(text).is_err(), "{text}");
        }
    }
}
