//! Validates the names of modules, functions, subjects and scripts, and other short text.

use std::cmp::Ordering;

use crate::error::{RegistryError, Result};

/// The module that exists from the start.
pub(crate) const DEFAULT_MODULE: &str = "_";

const MAX_CHARS: usize = 160;

/// Validates the name of a module, function or subject. Errors list everything that is wrong with the field
/// `name`.
pub(crate) fn check(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(RegistryError::field("name", "can't be blank"));
    }
    let mut wrong = Vec::new();
    if !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        wrong.push(("name", "must contain only alphanumeric characters and underscores".to_owned()));
    }
    if name.chars().count() > MAX_CHARS {
        wrong.push(("name", format!("should be at most {MAX_CHARS} character(s)")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(RegistryError::InvalidFields(wrong)) }
}

/// Whether this is a valid name of a module, function or subject. Invalid names are not looked up: the
/// database does not accept every string.
pub(crate) fn is_name(name: &str) -> bool {
    check(name).is_ok()
}

/// Validates the name of a script. As in published FunLess, nearly any text is valid.
pub(crate) fn check_script(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(RegistryError::field("name", "can't be blank"));
    }
    check_text("name", name)?;
    if name.trim() != name {
        return Err(RegistryError::field("name", "must not begin or end with white space"));
    }
    // The name is one segment of a URL path; HTTP clients normalize `.` and `..`.
    if name.contains(['/', '\\']) || matches!(name, "." | "..") {
        return Err(RegistryError::field("name", "must not contain slashes, or be . or .."));
    }
    Ok(())
}

/// Whether this is a valid name of a script.
pub(crate) fn is_script(name: &str) -> bool {
    check_script(name).is_ok()
}

/// Validates short text without control characters.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<()> {
    if text.chars().count() > MAX_CHARS {
        return Err(RegistryError::field(field, format!("should be at most {MAX_CHARS} character(s)")));
    }
    if text.chars().any(char::is_control) {
        return Err(RegistryError::field(field, "must not contain control characters"));
    }
    Ok(())
}

/// The order of lists: the default module first, then by bytes. Databases would sort by locale.
pub(crate) fn order(a: &str, b: &str) -> Ordering {
    (a != DEFAULT_MODULE, a).cmp(&(b != DEFAULT_MODULE, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(checked: Result<()>) -> Vec<String> {
        match checked {
            Ok(()) => Vec::new(),
            Err(RegistryError::InvalidFields(fields)) => {
                fields.into_iter().map(|(_, message)| message).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_are_validated() {
        let blank = "can't be blank";
        let characters = "must contain only alphanumeric characters and underscores";
        let length = "should be at most 160 character(s)";
        let longest = "a".repeat(160);
        let too_long = "a".repeat(161);
        let both = "é".repeat(161);
        let cases: [(&str, &[&str]); 12] = [
            ("hello", &[]),
            ("_", &[]),
            ("Aa_09", &[]),
            (&longest, &[]),
            (&too_long, &[length]),
            (&both, &[characters, length]),
            ("", &[blank]),
            (" \n", &[blank]),
            ("a.b", &[characters]),
            ("a/b", &[characters]),
            ("name\n", &[characters]),
            ("na\0me", &[characters]),
        ];
        for (name, expected) in cases {
            assert_eq!(messages(check(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn names_of_scripts_are_validated() {
        let slashes = "must not contain slashes, or be . or ..";
        let around = "must not begin or end with white space";
        let controls = "must not contain control characters";
        let cases: [(&str, &[&str]); 16] = [
            ("hello", &[]),
            ("a-b c", &[]),
            ("a.b", &[]),
            ("größe?#%", &[]),
            (&"é".repeat(160), &[]),
            (&"é".repeat(161), &["should be at most 160 character(s)"]),
            ("", &["can't be blank"]),
            (" \n", &["can't be blank"]),
            (" a", &[around]),
            ("a ", &[around]),
            ("a/b", &[slashes]),
            ("a\\b", &[slashes]),
            (".", &[slashes]),
            ("..", &[slashes]),
            ("a\nb", &[controls]),
            ("a\0b", &[controls]),
        ];
        for (name, expected) in cases {
            assert_eq!(messages(check_script(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn the_default_module_comes_first() {
        let mut names = ["b", "_a", "_", "B", "a"];
        names.sort_by(|a, b| order(a, b));
        assert_eq!(names, ["_", "B", "_a", "a", "b"]);
    }
}
