//! Bodies that several routes share, and types that exist only for the documentation, of bodies that are read
//! member by member.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The envelope of every response.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// The name of a resource.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Name {
    #[schema(example = "hello")]
    pub(super) name: String,
}

/// `{"module": {"name": ...}}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct ModuleBody {
    module: NewName,
}

/// `{"module": {"name": ...}}`, where an absent name changes nothing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct RenameModuleBody {
    module: OptionalName,
}

/// A new name, or none.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct OptionalName {
    /// Alphanumeric characters and underscores.
    #[schema(min_length = 1, max_length = 160, pattern = "^[_a-zA-Z0-9]+$", nullable = false)]
    name: Option<String>,
}

/// `{"subject": {"name": ...}}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct SubjectBody {
    subject: NewName,
}

/// A new name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct NewName {
    /// Alphanumeric characters and underscores.
    #[schema(min_length = 1, max_length = 160, pattern = "^[_a-zA-Z0-9]+$")]
    name: String,
}

/// The arguments of an invocation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct InvokeBody {
    /// The function's input, passed on unchanged. Absent or null: `{}`.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"name": "FunLess"}))]
    args: (),
    /// The policy that chooses the worker. Absent or null: the function's own script, or the default policy
    /// if it has none.
    scheduling: Option<Scheduling>,
}

/// `{"language": "none"}`, the default policy, or `{"language": "app", "script": NAME}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct Scheduling {
    #[schema(example = "app")]
    language: String,
    /// The name of an APP script.
    script: Option<String>,
}

/// A function to create or update.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct FunctionUpload {
    /// Required to create a function. In an update: the new name.
    #[schema(min_length = 1, max_length = 160, pattern = "^[_a-zA-Z0-9]+$")]
    name: Option<String>,
    /// The WebAssembly binary. Required to create a function.
    #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/wasm")]
    code: (),
    /// Whether to respond only after every worker has the code. `false` and `0` mean no.
    #[schema(default = true)]
    wait_for_workers: Option<bool>,
    /// JSON text: `{"tag": "...", "capacity": KB, "script": "...", "idempotent": false, "limits":
    /// {"memory_bytes": ..., "timeout_ms": ..., "output_bytes": ...}}`, all optional. The script schedules
    /// invocations that name no policy themselves, such as those by events.
    #[schema(example = r#"{"tag": "edge", "capacity": 64, "script": "near"}"#)]
    metadata: Option<String>,
    /// JSON text: a list of event sources.
    #[schema(example = r#"[{"type": "mqtt", "params": {"host": "broker", "port": 1883, "topic": "t"}}]"#)]
    events: Option<String>,
    /// JSON text: a list of stores for the results.
    #[schema(example = r#"[{"type": "couchdb", "params": {"url": "http://couchdb:5984/db"}}]"#)]
    sinks: Option<String>,
}

/// A script to check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LintBody {
    /// The script: YAML.
    #[schema(example = "- default:\n  - workers: \"*\"\n")]
    pub(super) content: String,
}

/// A script to store.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct ScriptUpload {
    /// Without slashes, control characters, and leading or trailing white space.
    #[schema(min_length = 1, max_length = 160)]
    name: String,
    /// The script: YAML, UTF-8.
    #[schema(value_type = String, format = Binary)]
    file: (),
}

/// Options of the deletion of a script.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteScriptQuery {
    /// Delete the script even if functions use it: their invocations fail until there is a script with its
    /// name again.
    #[serde(default)]
    pub(super) force: bool,
}
