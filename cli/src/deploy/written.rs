//! The files in a folder: those of this version, except where somebody has edited them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mesh::hash::Hash;

use super::embedded::File;
use crate::profile::read_text;

/// The hashes of the files as they were written.
const WRITTEN: &str = ".written.json";

/// Writes the files. Returns those that were edited, which stay as they are unless `overwrites`.
pub fn write(folder: &Path, files: &[File], overwrites: bool) -> anyhow::Result<Vec<PathBuf>> {
    let record = folder.join(WRITTEN);
    let mut hashes: BTreeMap<String, String> = match read_text(&record)? {
        Some(text) => serde_json::from_str(&text).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    let hash_of = |text: &str| Hash::of(text.as_bytes()).to_string();
    let mut kept = Vec::new();
    for (path, text) in files {
        let file = folder.join(path);
        let old = read_text(&file)?.map(|old| hash_of(&old));
        let is_edited =
            old.as_ref().is_some_and(|old| *old != hash_of(text) && hashes.get(*path) != Some(old));
        if is_edited && !overwrites {
            kept.push(file);
            continue;
        }
        if old.as_ref() != Some(&hash_of(text)) {
            write_file(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        hashes.insert((*path).to_owned(), hash_of(text));
    }
    let text = serde_json::to_string_pretty(&hashes)?;
    fs::write(&record, text).with_context(|| format!("cannot write {}", record.display()))?;
    Ok(kept)
}

fn write_file(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)?;
    match text.starts_with("#!") {
        true => fs::set_permissions(file, fs::Permissions::from_mode(0o755)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edited_files_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("d/b"));
        let write = |files: &[File], overwrites| write(folder.path(), files, overwrites).expect("written");
        assert!(write(&[("a", "1"), ("d/b", "#!/bin/sh")], false).is_empty());
        assert_eq!(fs::metadata(&b).expect("there").permissions().mode() & 0o111, 0o111, "it can be run");
        fs::write(&a, "mine").expect("edited");
        // A new version.
        assert_eq!(write(&[("a", "2"), ("d/b", "2")], false), std::slice::from_ref(&a));
        assert_eq!(
            (&*fs::read_to_string(&a).expect("there"), &*fs::read_to_string(&b).expect("there")),
            ("mine", "2")
        );
        assert!(write(&[("a", "2"), ("d/b", "2")], true).is_empty());
        assert_eq!(fs::read_to_string(&a).expect("there"), "2");
        assert!(write(&[("a", "3"), ("d/b", "3")], false).is_empty(), "it is no longer edited");
        assert_eq!(fs::read_to_string(&a).expect("there"), "3");
    }
}
