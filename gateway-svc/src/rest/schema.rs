//! Shapes of bodies that several routes share, and of those that are read member by member and so
//! have no type but for the documentation.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The envelope of every answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// Something by its name.
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

/// A name to give, or none.
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

/// A name to give.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct NewName {
    /// Alphanumeric characters and underscores.
    #[schema(min_length = 1, max_length = 160, pattern = "^[_a-zA-Z0-9]+$")]
    name: String,
}

/// What to invoke a function with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct InvokeBody {
    /// The function's input, handed to it as it stands. Absent or null: `{}`.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"name": "FunLess"}))]
    args: (),
    /// Which policy chooses the worker. Absent or null: the function's own script, and if it has none the
    /// default policy.
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

/// A function to create or to change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct FunctionUpload {
    /// Needed to create. To change: the new name.
    #[schema(min_length = 1, max_length = 160, pattern = "^[_a-zA-Z0-9]+$")]
    name: Option<String>,
    /// The WebAssembly binary. Needed to create.
    #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/wasm")]
    code: (),
    /// Whether to answer only when every worker has the code. `false` and `0` mean no.
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

/// A script to look at.
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
    /// Without slashes, control characters, and white space around.
    #[schema(min_length = 1, max_length = 160)]
    name: String,
    /// The script: YAML, UTF-8.
    #[schema(value_type = String, format = Binary)]
    file: (),
}

/// How a script is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteScriptQuery {
    /// Delete it though functions use it: their invocations fail until a script has the name again.
    #[serde(default)]
    pub(super) force: bool,
}
