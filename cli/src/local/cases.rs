//! The test cases of a function: the files `tests/*.json` in its folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::worker::Failure;

/// The folder of the files, in that of the function.
const FOLDER: &str = "tests";

/// One case.
#[derive(Debug)]
pub struct Case {
    /// The name of the file, with the number of the case if it has several.
    pub name: String,
    /// JSON text.
    pub args: String,
    pub expected: Expected,
}

/// How an invocation should end.
#[derive(Debug, PartialEq)]
pub enum Expected {
    /// With this result.
    Result(Value),
    /// With an error whose message contains this text.
    Error(String),
}

/// How an invocation ended that should have ended otherwise.
#[derive(Debug, PartialEq)]
pub enum Mismatch {
    /// With another result than the first.
    Result(Value, Value),
    /// With a result, and not with an error that contains this text.
    NoError(String, Value),
    /// With another error.
    Error(String, String),
    /// With an error, and not with a result.
    Failed(String),
    /// With a result that is no JSON.
    NoJson(String),
}

/// A case as it is written. Exactly one of `result` and `error` is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    args: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<String>,
}

/// A value that is there, also if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Case {
    /// All cases of the function in this folder, possibly none, in the order of the names of their files.
    pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut cases = Vec::new();
        for file in files(folder)? {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("cannot read {}", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let read = Self::read(&name, &text).map_err(|problem| anyhow!("{}: {problem}", file.display()));
            cases.extend(read?);
        }
        Ok(cases)
    }

    /// The cases in the text of a file: one, or a list.
    fn read(name: &str, text: &str) -> anyhow::Result<Vec<Self>> {
        if !text.trim_start().starts_with('[') {
            return Ok(vec![Self::of(name.to_owned(), serde_json::from_str(text)?)?]);
        }
        let list: Vec<Written> = serde_json::from_str(text)?;
        ensure!(!list.is_empty(), "expected at least one case");
        let numbered = (1..).zip(list).map(|(number, written)| {
            Self::of(format!("{name} ({number})"), written)
                .map_err(|problem| anyhow!("case {number}: {problem}"))
        });
        numbered.collect()
    }

    fn of(name: String, written: Written) -> anyhow::Result<Self> {
        let args = written.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned());
        let expected = match (written.result, written.error) {
            (Some(result), None) => Expected::Result(result),
            (None, Some(error)) => Expected::Error(error),
            _ => bail!("expected one of `result` and `error`"),
        };
        Ok(Self { name, args, expected })
    }
}

/// The files with cases, sorted.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = folder.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Expected {
    /// Compares with how the invocation ended.
    #[allow(clippy::result_large_err, reason = "there are few, and each is shown at once")]
    pub fn check(&self, ended: Result<String, Failure>) -> Result<(), Mismatch> {
        let ended = match ended {
            Ok(text) => match serde_json::from_str::<Value>(&text) {
                Ok(result) => Ok(result),
                Err(_) => return Err(Mismatch::NoJson(text)),
            },
            Err(Failure::Function(message) | Failure::Run(message)) => Err(message),
        };
        match (self, ended) {
            (Self::Result(expected), Ok(result)) if same(expected, &result) => Ok(()),
            (Self::Result(expected), Ok(result)) => Err(Mismatch::Result(expected.clone(), result)),
            (Self::Result(_), Err(message)) => Err(Mismatch::Failed(message)),
            (Self::Error(part), Err(message)) if message.contains(part) => Ok(()),
            (Self::Error(part), Err(message)) => Err(Mismatch::Error(part.clone(), message)),
            (Self::Error(part), Ok(result)) => Err(Mismatch::NoError(part.clone(), result)),
        }
    }
}

/// Whether two values are the same in JSON, where 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && a.is_f64() != b.is_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<Case>, String> {
        Case::read("a.json", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_one_case_or_several() {
        let one = read(r#"{"args": {"b":1.0, "a":2}, "result": null}"#).expect("a case");
        let [Case { name, args, expected }] = &one[..] else { panic!("{one:?}") };
        assert_eq!((&**name, &**args), ("a.json", r#"{"b":1.0, "a":2}"#));
        assert_eq!(*expected, Expected::Result(Value::Null));
        let two = read(r#" [{"result": 1}, {"args": [], "error": "no"}]"#).expect("cases");
        assert_eq!(two.iter().map(|case| &*case.name).collect::<Vec<_>>(), ["a.json (1)", "a.json (2)"]);
        assert_eq!((&*two[0].args, &two[1].expected), ("{}", &Expected::Error("no".into())));
        for (text, problem) in [
            ("{}", "expected one of `result` and `error`"),
            (r#"{"result": 1, "error": "x"}"#, "expected one of `result` and `error`"),
            (r#"[{"result": 1}, {"args": 1}]"#, "case 2: expected one of"),
            (
                r#"{"input": 1, "result": 1}"#,
                "unknown field `input`, expected one of `args`, `result`, `error`",
            ),
            ("[]", "expected at least one case"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn files_are_read_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Case::read_all(folder.path()).expect("no folder is no error").len(), 0);
        let tests = folder.path().join(FOLDER);
        std::fs::create_dir(&tests).expect("a folder");
        std::fs::write(tests.join("README.md"), "").expect("a file");
        assert_eq!(Case::read_all(folder.path()).expect("other files are not read").len(), 0);
        for name in ["b", "a"] {
            std::fs::write(tests.join(format!("{name}.json")), r#"{"result": 1}"#).expect("a file");
        }
        let cases = Case::read_all(folder.path()).expect("cases");
        assert_eq!(cases.iter().map(|case| &*case.name).collect::<Vec<_>>(), ["a.json", "b.json"]);
        std::fs::write(tests.join("c.json"), "{").expect("a file");
        let error = Case::read_all(folder.path()).expect_err("no JSON").to_string();
        assert!(error.contains("tests/c.json: EOF"), "{error}");
    }

    #[test]
    fn ends_are_compared() {
        let result = |value: Value| Expected::Result(value);
        let error = |part: &str| Expected::Error(part.to_owned());
        let failed = |message: &str| Err(Failure::Function(message.to_owned()));
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(result(json!({"a": [1, 2.5]})).check(ok(r#"{ "a": [1.0, 2.5] }"#)), Ok(()));
        assert_eq!(result(json!(1)).check(ok("2")), Err(Mismatch::Result(json!(1), json!(2))));
        assert_eq!(result(json!([1])).check(ok("[1,1]")), Err(Mismatch::Result(json!([1]), json!([1, 1]))));
        assert_eq!(result(json!(1)).check(failed("no")), Err(Mismatch::Failed("no".into())));
        assert_eq!(result(json!(1)).check(ok("1 2")), Err(Mismatch::NoJson("1 2".into())));
        assert_eq!(error("blank").check(failed("name can't be blank")), Ok(()));
        assert_eq!(error("time limit").check(Err(Failure::Run("its time limit of 1 ms".into()))), Ok(()));
        assert_eq!(error("x").check(failed("y")), Err(Mismatch::Error("x".into(), "y".into())));
        assert_eq!(error("x").check(ok("1")), Err(Mismatch::NoError("x".into(), json!(1))));
    }
}
