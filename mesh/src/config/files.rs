//! Values in files: a variable `FUNLESS_<SERVICE>_<KEY>_FILE` names a file with the value of the key. So container
//! runtimes and systemd pass secrets.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

/// The end of such a variable's key. No key of a service ends like this.
const SUFFIX: &str = "_file";

/// The value of a key, from a file.
#[derive(Debug)]
pub(super) struct ValueInFile {
    key: String,
    value: Value,
    path: PathBuf,
}

impl Provider for ValueInFile {
    fn metadata(&self) -> Metadata {
        Metadata::from("a file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = figment::util::nest(&self.key, self.value.clone()).into_dict();
        Ok(Map::from([(Profile::Default, dict.unwrap_or_default())]))
    }
}

/// Whether the variable with this key names a file.
pub(super) fn names_a_file(key: &str) -> bool {
    key.to_lowercase().ends_with(SUFFIX)
}

/// The key and its value, if the variable with the key `key` names a file; without whitespace around the value.
pub fn value_in_file(variable: &str, key: &str, path: &OsStr) -> Result<Option<(String, String)>, String> {
    let Some(key) = key.strip_suffix(SUFFIX) else { return Ok(None) };
    let path = Path::new(path);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((key.to_owned(), text.trim().to_owned()))),
        Err(error) => Err(format!("{variable}: cannot read {}: {error}", path.display())),
    }
}

/// A list, a table or quoted text is parsed as in a variable; all else is text, even if it consists of digits.
fn parse(text: &str) -> Value {
    if !text.starts_with(['[', '{', '"']) {
        return Value::from(text);
    }
    let Ok(value) = text.parse();
    value
}

/// The values in files of the service called `service`.
pub(super) fn values_in_files(
    service: &str,
    variables: &[(OsString, OsString)],
) -> Result<Vec<ValueInFile>, String> {
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for (variable, path) in variables {
        let variable = variable.to_string_lossy();
        let Some((owner, key)) = super::service_of_variable(&variable)? else { continue };
        if owner != service {
            continue;
        }
        if let Some((key, text)) = value_in_file(&variable, &key, path)? {
            values.push((variable, ValueInFile { key, value: parse(&text), path: path.into() }));
        } else {
            keys.push(key);
        }
    }
    let twice = values.iter().find(|(_, value)| keys.contains(&value.key));
    if let Some((variable, ValueInFile { key, .. })) = twice {
        return Err(format!("{variable}: expected either this variable or the one with the value of {key}"));
    }
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<(String, Value)>, String> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let values = values_in_files("worker", &variables)?;
        Ok(values.into_iter().map(|value| (value.key, value.value)).collect())
    }

    #[test]
    fn secrets_of_digits_are_text() {
        for (text, expected) in [("0000", Value::from("0000")), ("true", Value::from("true"))] {
            assert_eq!(parse(text), expected);
        }
        assert_eq!(parse(r#"["a", "b"]"#), Value::from(vec!["a", "b"]));
    }

    #[test]
    fn variables_name_files_with_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "hunter2\n").expect("a file");
        let path = path.to_str().expect("UTF-8");
        let secret = "FUNLESS_WORKER_SERVER__SECRET_FILE";
        let found = read(&[(secret, path), ("FUNLESS_SINK_SERVER__SECRET_FILE", "/none"), ("PATH", "/bin")]);
        assert_eq!(found, Ok(vec![("server.secret".to_owned(), Value::from("hunter2"))]));
        let error = read(&[(secret, path), ("FUNLESS_WORKER_SERVER__SECRET", "x")]).expect_err("twice");
        assert!(error.starts_with(secret) && error.contains("either"), "{error}");
        let error = read(&[(secret, "/nonexistent")]).expect_err("no file");
        assert!(error.starts_with(&format!("{secret}: cannot read /nonexistent: ")), "{error}");
    }
}
