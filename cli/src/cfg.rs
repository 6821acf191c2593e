//! `fl cfg`.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::args::{Cfg, ProfileKey};
use crate::profile::{self, write_private};

/// Runs one of the commands with the profile of --config.
pub fn run(command: Cfg, given: Option<&Path>) -> anyhow::Result<()> {
    match command {
        Cfg::Get { key } => {
            let text = profile::read_text(&profile::locate(given))?.unwrap_or_default();
            println!("{}={}", key.as_str(), value_of(&text, key).unwrap_or_default());
        }
        Cfg::Set { key, value } => {
            let path = given.map(Path::to_owned).or_else(profile::of_user);
            let path = path.context("there is no home directory; name a file with --config")?;
            let value = if value == "-" { read_line()? } else { value };
            set(&path, key, &value)?;
            // Secrets do not belong on screens and in logs.
            let shown = if key == ProfileKey::ApiHost { format!(" to {value}") } else { String::new() };
            println!("Key {} set{shown} in config (path {}).", key.as_str(), path.display());
            let used = profile::locate(given);
            if used != path {
                eprintln!("warning: in this folder, {} takes precedence", used.display());
            }
        }
    }
    Ok(())
}

/// A line of the standard input.
fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read the value from the standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn set(path: &Path, key: ProfileKey, value: &str) -> anyhow::Result<()> {
    if value.contains(['\n', '\r']) {
        bail!("{}: expected one line", key.as_str());
    }
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let text = profile::read_text(path)?.unwrap_or_default();
    write_private(path, &with_value(&text, key, value))
}

fn key_of(line: &str) -> &str {
    line.split_once('=').map_or("", |(key, _)| key.trim())
}

fn value_of(text: &str, key: ProfileKey) -> Option<&str> {
    // As for all commands, the last one counts.
    let line = text.lines().rfind(|line| key_of(line) == key.as_str())?;
    line.split_once('=').map(|(_, value)| value.trim())
}

/// The text with this value for this key. Other lines stay as they are.
fn with_value(text: &str, key: ProfileKey, value: &str) -> String {
    let line = format!("{}={value}", key.as_str());
    let is_old = |line: &&str| key_of(line) == key.as_str();
    let place = text.lines().position(|line| is_old(&line));
    let mut lines: Vec<_> = text.lines().filter(|line| !is_old(line)).collect();
    lines.insert(place.unwrap_or(lines.len()), &line);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_value_is_set_and_the_rest_stays() {
        let set = |text: &str| with_value(text, ProfileKey::ApiToken, "t=1");
        assert_eq!(set(""), "api_token=t=1\n");
        assert_eq!(set("api_host=h"), "api_host=h\napi_token=t=1\n");
        assert_eq!(set("# mine\n api_token = old\nother=1\n"), "# mine\napi_token=t=1\nother=1\n");
        let twice = "api_token=a\nother=1\napi_token=b\n";
        assert_eq!(value_of(twice, ProfileKey::ApiToken), Some("b"), "the last one counts");
        assert_eq!(set(twice), "api_token=t=1\nother=1\n");
        assert_eq!(value_of(&set(""), ProfileKey::ApiToken), Some("t=1"));
        assert_eq!(value_of("api_token", ProfileKey::ApiToken), None);
    }

    #[test]
    fn a_profile_is_private() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join(".fl/config");
        set(&path, ProfileKey::ApiHost, "http://h:4000").expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "api_host=http://h:4000\n");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let error = set(&path, ProfileKey::ApiHost, "a\nb").expect_err("two lines");
        assert_eq!(error.to_string(), "api_host: expected one line");
    }
}
