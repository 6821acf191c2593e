//! What was expected and what came instead, for people.

use std::fmt;

use mesh::printable;
use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::cases::Mismatch;

/// Lines around a difference that are shown, too.
const CONTEXT: usize = 3;

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result(expected, result) => {
                writeln!(formatter, "the result differs: - expected, + returned")?;
                formatter.write_str(&difference(&pretty(expected), &pretty(result)))
            }
            Self::NoError(part, result) => {
                writeln!(formatter, "expected an error that contains {part:?}; it returned")?;
                writeln!(formatter, "{}", pretty(result))
            }
            Self::Error(part, message) => {
                writeln!(formatter, "expected an error that contains {part:?}; it is")?;
                writeln!(formatter, "{}", printable::lines(message))
            }
            Self::Failed(message) => {
                writeln!(formatter, "expected a result; there is an error")?;
                writeln!(formatter, "{}", printable::lines(message))
            }
            Self::NoJson(text) => {
                writeln!(formatter, "expected JSON; it returned")?;
                writeln!(formatter, "{}", printable::lines(text))
            }
        }
    }
}

/// The lines that differ, and those around them.
fn difference(expected: &str, found: &str) -> String {
    let diff = TextDiff::from_lines(expected, found);
    let mut text = String::new();
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            text.push_str("  ...\n");
        }
        for change in group.iter().flat_map(|change| diff.iter_changes(change)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push_str(&format!("{sign} {}\n", change.value().trim_end_matches('\n')));
        }
    }
    text
}

/// A member or an entry a line, members by name: their order means nothing.
fn pretty(value: &Value) -> String {
    printable::lines(&format!("{:#}", sorted(value)))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(entries) => entries.iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Map::from_iter(members).into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_compared_line_by_line() {
        let expected = json!({"name": "Ada", "payload": "Hello Ada!"});
        let mismatch = Mismatch::Result(expected, json!({"payload": "Hello ada!", "name": "Ada"}));
        let shown = "\
the result differs: - expected, + returned
  {
    \"name\": \"Ada\",
-   \"payload\": \"Hello Ada!\"
+   \"payload\": \"Hello ada!\"
  }
";
        assert_eq!(mismatch.to_string(), shown);
        let long =
            |changed: usize| (0..40).map(|n| if n == changed { json!("x") } else { json!(n) }).collect();
        let shown = Mismatch::Result(long(5), long(35)).to_string();
        assert_eq!(shown.lines().filter(|line| *line == "  ...").count(), 1, "{shown}");
        assert!(shown.contains("-   \"x\",\n+   5,\n") && shown.contains("-   35,\n+   \"x\",\n"), "{shown}");
        assert!(!shown.contains(" 20"), "{shown}");
    }

    #[test]
    fn other_ends_are_told() {
        for (mismatch, shown) in [
            (
                Mismatch::NoError("blank".into(), json!([1])),
                "expected an error that contains \"blank\"; it returned\n[\n  1\n]\n",
            ),
            (
                Mismatch::Error("blank".into(), "too\nlong\u{1b}".into()),
                "expected an error that contains \"blank\"; it is\ntoo\nlong\\u{1b}\n",
            ),
            (Mismatch::Failed("no".into()), "expected a result; there is an error\nno\n"),
            (Mismatch::NoJson("1 2".into()), "expected JSON; it returned\n1 2\n"),
        ] {
            assert_eq!(mismatch.to_string(), shown);
        }
    }
}
