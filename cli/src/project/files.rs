//! Files and folders.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use include_dir::{Dir, DirEntry};

/// Writes a file and the folders above it.
pub fn write(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    file.parent().map_or(Ok(()), fs::create_dir_all).with_context(cannot)?;
    fs::write(file, content).with_context(cannot)
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in from.read_dir().with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(|| path.display().to_string())?;
        if kind.is_dir() {
            copy(&path, &copied)?;
        } else if kind.is_file() {
            fs::copy(&path, &copied).with_context(|| format!("cannot write {}", copied.display()))?;
        } else {
            // It could lead anywhere.
            bail!("{} is neither a file nor a folder: templates have no links", path.display());
        }
    }
    Ok(())
}

/// What becomes of a file with this path and content. `None`: it is left out.
pub type Change<'a> = dyn FnMut(&Path, &'static [u8]) -> anyhow::Result<Option<Cow<'static, [u8]>>> + 'a;

/// Writes the files of an embedded folder.
pub fn write_embedded(dir: &Dir<'static>, to: &Path, change: &mut Change<'_>) -> anyhow::Result<()> {
    for entry in dir.entries() {
        let to = to.join(entry.path().file_name().unwrap_or_default());
        match entry {
            DirEntry::Dir(dir) => write_embedded(dir, &to, change)?,
            DirEntry::File(file) => {
                if let Some(content) = change(file.path(), file.contents())? {
                    write(&to, &content)?;
                }
            }
        }
    }
    Ok(())
}
