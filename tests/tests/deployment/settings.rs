//! Settings of services in deployments: do the services accept them?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::process::{repository, workspace_binary};

/// The services.
pub const SERVICES: [&str; 6] = ["gateway", "registry", "scheduler", "worker", "connector", "sink"];
/// The end of variables that name a file with a value.
const FILE: &str = "_FILE";

/// The environment of a service in a deployment.
#[derive(Debug, Default)]
pub struct Settings(pub BTreeMap<String, String>);

/// The part of a name or an image that is a service, such as `gateway` in `funless/gateway-svc:1.0`.
pub fn service_of(text: &str) -> Option<&'static str> {
    SERVICES.into_iter().find(|service| text.contains(&format!("{service}-svc")))
}

impl Settings {
    /// The value of a key.
    pub fn value(&self, service: &str, key: &str) -> Option<&str> {
        self.0.get(&format!("FUNLESS_{}_{key}", service.to_uppercase())).map(String::as_str)
    }

    /// The paths of files with values.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(name, _)| name.ends_with(FILE)).map(|(_, path)| path.as_str())
    }

    /// The ports where the service listens.
    pub fn ports(&self, service: &str) -> BTreeSet<u16> {
        let port = |key: &str| -> Option<u16> {
            let address = self.value(service, key)?;
            Some(address.rsplit(':').next()?.parse().expect("a port"))
        };
        let main = port("SERVER__LISTEN").unwrap_or_else(|| panic!("{service} listens on loopback"));
        let admin = port("SERVER__ADMIN_LISTEN").unwrap_or(main + 100);
        [main, admin].into_iter().chain(port("GRPC_LISTEN")).collect()
    }

    /// Fails unless the service's program accepts these settings.
    pub fn check(&self, service: &str, origin: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(workspace_binary(&format!("{service}-svc")));
        command.arg("healthcheck").env_clear();
        for (name, value) in &self.0 {
            let file = name.strip_suffix(FILE).map(|key| folder.path().join(write_value(folder.path(), key)));
            command.env(name, file.map_or(value.into(), |path| path.into_os_string()));
        }
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        // The settings are read before the service is asked, which does not run.
        let accepted =
            output.status.success() || said.contains("does not answer") || said.contains("not ready");
        assert!(accepted, "{origin}: {service}: {said}\n{self:?}");
    }
}

/// Writes a file with a value for a variable. Returns its name.
fn write_value(folder: &Path, variable: &str) -> String {
    let value = match variable.rsplit_once("_DATABASE_URL").or(variable.rsplit_once("_ENCRYPTION_KEY")) {
        None => "hunter2".to_owned(),
        Some(_) if variable.ends_with("URL") => "postgres://funless:hunter2@db/funless".to_owned(),
        Some(_) => "0123456789abcdef".repeat(4),
    };
    fs::write(folder.join(variable), value).expect("a file");
    variable.to_owned()
}

/// The variables of services in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part =
        |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    let words = text.split(|character| !is_part(character));
    let wanted = words.filter(|word| word.starts_with("FUNLESS_") && !word.ends_with('_'));
    wanted.map(str::to_owned).collect()
}

/// All files below a folder, except those that programs have written.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// In files that no other test reads, in comments, and in the guide.
#[test]
fn all_variables_in_deploy_exist() {
    let mut found = BTreeMap::new();
    let guide = repository().join("docs/operations.md");
    for path in files(&repository().join("deploy")).into_iter().chain([guide]) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        found.extend(variables(&text).into_iter().map(|variable| (variable, path.clone())));
    }
    assert!(found.len() > 30, "{found:?}");
    for (variable, path) in found {
        let lower = variable.to_lowercase();
        let service = SERVICES.into_iter().find(|service| lower.starts_with(&format!("funless_{service}_")));
        let service = service.unwrap_or_else(|| panic!("{}: {variable}", path.display()));
        let name = variable.strip_suffix(FILE).unwrap_or(&variable);
        // Nothing accepts this value, so the error is about the key if it exists.
        let output = Command::new(workspace_binary(&format!("{service}-svc")))
            .arg("healthcheck")
            .env_clear()
            .env(name, "[[[]]]")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let key = name.to_lowercase().replacen(&format!("funless_{service}_"), "", 1).replace("__", ".");
        assert!(said.starts_with(&format!("error: {key}")), "{}: {variable}: {said}", path.display());
    }
}
