//! What the files say: modules, scripts and functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::manifest::Manifest as MeshManifest;
use super::record::RECORD;
use crate::project::Manifest;

/// Folders that hold what tools make.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// All that is wanted.
#[derive(Debug, Default)]
pub struct Tree {
    /// By name.
    pub modules: BTreeMap<String, Module>,
    /// By name.
    pub scripts: BTreeMap<String, Script>,
    /// By module and name.
    pub functions: BTreeMap<(String, String), Function>,
}

#[derive(Debug)]
pub struct Module {
    pub origin: Origin,
}

#[derive(Debug)]
pub struct Script {
    pub origin: Origin,
    pub file: PathBuf,
    pub content: String,
}

#[derive(Debug)]
pub struct Function {
    pub origin: Origin,
    pub manifest: Manifest,
    /// Where its source is.
    pub folder: PathBuf,
}

/// Where something is described.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The folder that is applied.
    pub root: PathBuf,
    pub file: PathBuf,
}

impl Tree {
    /// Reads folders and files. The error has all that is wrong with them.
    pub fn read(given: &[PathBuf]) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in given {
            let metadata = fs::metadata(path).with_context(|| format!("--file {}", path.display()))?;
            let before = files.len();
            if metadata.is_dir() {
                let root = path.clone();
                find(path, &mut |file| files.push(Origin { root: root.clone(), file }))?;
            } else {
                let root = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                files.push(Origin { root: root.unwrap_or(Path::new(".")).to_owned(), file: path.clone() });
            }
            // What is left to do may be to delete all that was there.
            if files.len() == before && !path.join(RECORD).exists() {
                bail!(
                    "--file {}: there is no {} and no {} in this folder",
                    path.display(),
                    Manifest::FILE,
                    MeshManifest::FILE
                );
            }
        }
        let (mut tree, mut problems) = (Self::default(), Vec::new());
        for origin in files {
            if let Err(error) = tree.add(origin) {
                problems.push(format!("{error:#}"));
            }
        }
        tree.add_modules_of_functions();
        match problems.len() {
            0 => Ok(tree),
            1 => bail!("{}", problems.remove(0)),
            count => bail!("{count} things are wrong:\n  {}", problems.join("\n  ")),
        }
    }

    /// The folders that are applied, each of which has a record.
    pub fn roots(&self, given: &[PathBuf]) -> BTreeSet<PathBuf> {
        let origins = self.modules.values().map(|module| &module.origin);
        let origins = origins.chain(self.scripts.values().map(|script| &script.origin));
        let origins = origins.chain(self.functions.values().map(|function| &function.origin));
        let folders = given.iter().filter(|path| path.is_dir()).cloned();
        origins.map(|origin| origin.root.clone()).chain(folders).collect()
    }

    fn add(&mut self, origin: Origin) -> anyhow::Result<()> {
        let folder = origin.file.parent().unwrap_or(Path::new("")).to_owned();
        let name = origin.file.file_name().unwrap_or_default();
        if name == Manifest::FILE {
            let manifest = Manifest::read(&folder)?;
            let key = (manifest.module.clone(), manifest.name.clone());
            if let Some(other) = self.functions.get(&key) {
                // A file that is in two of the folders is one function.
                return unless_same(&other.origin, &origin, &format!("function {}/{}", key.0, key.1));
            }
            self.functions.insert(key, Function { origin, manifest, folder });
            return Ok(());
        }
        if name != MeshManifest::FILE {
            bail!(
                "--file {}: expected a folder, or a file {} or {}",
                origin.file.display(),
                Manifest::FILE,
                MeshManifest::FILE
            );
        }
        let MeshManifest { modules, scripts } = MeshManifest::read(&origin.file)?;
        for module in modules {
            Manifest::check_name(&module.name)
                .map_err(|why| anyhow::anyhow!("{}: modules: {why}", origin.file.display()))?;
            self.modules.entry(module.name).or_insert_with(|| Module { origin: origin.clone() });
        }
        for script in scripts {
            let file = folder.join(&script.file);
            let content = fs::read_to_string(&file)
                .with_context(|| format!("{}: cannot read {}", origin.file.display(), file.display()))?;
            if let Some(other) = self.scripts.get(&script.name) {
                unless_same(&other.origin, &origin, &format!("script {}", script.name))?;
                continue;
            }
            self.scripts.insert(script.name, Script { origin: origin.clone(), file, content });
        }
        Ok(())
    }

    fn add_modules_of_functions(&mut self) {
        for ((module, _), function) in &self.functions {
            if module != Manifest::DEFAULT_MODULE {
                let of_function = || Module { origin: function.origin.clone() };
                self.modules.entry(module.clone()).or_insert_with(of_function);
            }
        }
        // It is always there.
        self.modules.remove(Manifest::DEFAULT_MODULE);
    }
}

fn unless_same(one: &Origin, other: &Origin, name: &str) -> anyhow::Result<()> {
    let is_same = one.root != other.root
        && match (fs::canonicalize(&one.file), fs::canonicalize(&other.file)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
    match is_same {
        true => Ok(()),
        false => bail!("{}: {name} is in {}, too", other.file.display(), one.file.display()),
    }
}

/// Finds the manifests below a folder, in the order of their paths.
fn find(folder: &Path, found: &mut impl FnMut(PathBuf)) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let is_skipped = name.to_string_lossy().starts_with('.') || SKIPPED.iter().any(|one| name == *one);
        // Links are not followed: they could lead in circles.
        if entry.file_type()?.is_dir() {
            if !is_skipped {
                find(&entry.path(), found)?;
            }
        } else if name == Manifest::FILE || name == MeshManifest::FILE {
            found(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("written");
        }
    }

    #[test]
    fn a_tree_has_what_its_files_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [
            (
                "mesh.toml",
                "[[modules]]\nname = \"empty\"\n[[scripts]]\nname = \"near\"\nfile = \"s/near.yml\"\n",
            ),
            ("s/near.yml", "- default:\n"),
            ("a/function.toml", "name = \"f\"\nmodule = \"shop\"\n"),
            ("b/c/function.toml", "name = \"f\"\n"),
            ("b/target/function.toml", "name = \"made\"\n"),
            (".hidden/function.toml", "name = \"hidden\"\n"),
        ];
        write(folder.path(), &files);
        let root = folder.path().to_owned();
        // What is in two of the folders is one.
        let tree = Tree::read(&[root.clone(), root.join("a")]).expect("a tree");
        assert_eq!(tree.modules.keys().collect::<Vec<_>>(), ["empty", "shop"]);
        assert_eq!(tree.scripts["near"].content, "- default:\n");
        let functions: Vec<_> = tree.functions.keys().map(|(m, f)| format!("{m}/{f}")).collect();
        assert_eq!(functions, ["_/f", "shop/f"]);
        assert!(tree.functions.values().all(|function| function.origin.root == root));
        let one = Tree::read(&[root.join("a/function.toml")]).expect("a function");
        assert_eq!((one.functions.len(), one.scripts.len(), one.modules.len()), (1, 0, 1));
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir_in(folder.path()).expect("a folder");
            write(root.path(), files);
            format!("{:#}", Tree::read(&[root.path().to_owned()]).expect_err("it is wrong"))
        };
        let twice = read(&[("a/function.toml", "name = \"f\""), ("b/function.toml", "name = \"f\"")]);
        assert!(
            twice.contains("b/function.toml: function _/f is in") && twice.ends_with("a/function.toml, too")
        );
        let two = read(&[("a/function.toml", "nam = \"f\""), ("mesh.toml", "[[modules]]\nname = \"a b\"")]);
        assert!(two.starts_with("2 things are wrong:\n  ") && two.contains("\"a b\""), "{two}");
        assert!(read(&[]).contains("there is no function.toml and no mesh.toml"));
        let missing = "[[scripts]]\nname = \"s\"\nfile = \"none.yml\"\n";
        assert!(read(&[("mesh.toml", missing)]).contains("none.yml"));
        let other = folder.path().join("Cargo.toml");
        fs::write(&other, "").expect("written");
        let error = Tree::read(&[other]).expect_err("no manifest").to_string();
        assert!(error.contains("expected a folder, or a file function.toml or mesh.toml"), "{error}");
    }
}
