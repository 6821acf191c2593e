//! The interfaces that components may import, with what they have: those that workers link.

use std::fmt;

/// Interfaces with their functions. What is indented belongs to the interface before.
const INTERFACES: &str = include_str!("interfaces.txt");
/// The interface that has versions of its own.
const CONFIG: &str = "wasi:config/store";
const CONFIG_VERSION: &str = "0.2.0-rc.1";
/// All versions of WASI that begin with this are compatible.
const WASI_VERSION: &str = "0.2.";

/// The name of an interface, such as `wasi:http/types@0.2.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    version: Option<&'a str>,
}

/// A version of an interface that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(&'static str);

impl<'a> Interface<'a> {
    /// Reads the name of an import or export.
    pub(super) fn parse(text: &'a str) -> Self {
        match text.split_once('@') {
            Some((name, version)) => Self { name, version: Some(version) },
            None => Self { name: text, version: None },
        }
    }

    /// The functions of the interface; `None` if workers do not have it.
    pub(super) fn functions(self) -> Option<impl Iterator<Item = &'static str>> {
        let mut words = INTERFACES.split_ascii_whitespace();
        words.find(|word| word.strip_suffix(':') == Some(self.name))?;
        Some(words.take_while(|word| !word.ends_with(':')))
    }

    /// Whether it is of WASI 0.3.
    pub(super) fn is_of_wasi_3(self) -> bool {
        self.version.is_some_and(|version| version.starts_with("0.3."))
    }

    /// Fails with the version that workers have if it is another one.
    pub(super) fn check_version(self) -> Result<(), Version> {
        let found = self.version.unwrap_or_default();
        if self.name == CONFIG {
            return if found == CONFIG_VERSION { Ok(()) } else { Err(Version(CONFIG_VERSION)) };
        }
        // Versions before a release are compatible with none.
        let patch = found.strip_prefix(WASI_VERSION);
        let is_release = |patch: &str| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
        if patch.is_some_and(is_release) { Ok(()) } else { Err(Version("0.2")) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(name: &str) -> Option<Vec<&'static str>> {
        Some(Interface::parse(name).functions()?.collect())
    }

    #[test]
    fn interfaces_have_what_workers_link() {
        assert_eq!(functions("wasi:config/store@0.2.0-rc.1"), Some(vec!["get", "get-all"]));
        assert_eq!(functions("wasi:cli/stdout"), Some(vec!["get-stdout"]));
        let types = functions("wasi:http/types@0.2.3").expect("it exists");
        assert_eq!((types.len(), types[0], types[50]), (51, "[constructor]fields", "http-error-code"));
        for unknown in ["", "wasi:http/typ", "wasi:http/types:", "get", "wasi:keyvalue/store@0.2.0-draft"] {
            assert_eq!(functions(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn versions() {
        let check = |name| Interface::parse(name).check_version().map_err(|version| version.to_string());
        for known in ["wasi:io/poll@0.2.0", "wasi:io/poll@0.2.99", "wasi:config/store@0.2.0-rc.1"] {
            assert_eq!(check(known), Ok(()), "{known}");
        }
        for (other, expected) in [
            ("wasi:io/poll", "0.2"),
            ("wasi:io/poll@", "0.2"),
            ("wasi:io/poll@0.2", "0.2"),
            ("wasi:io/poll@0.2.", "0.2"),
            ("wasi:io/poll@0.2.0-rc-2023-11-10", "0.2"),
            ("wasi:http/types@0.3.0", "0.2"),
            ("wasi:config/store@0.2.0", "0.2.0-rc.1"),
        ] {
            assert_eq!(check(other), Err(expected.to_owned()), "{other}");
        }
    }
}
