//! The upload of a function.

use proto::registry::v1::{Limits, Metadata};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::bindings::Bindings;
use super::super::error::ApiError;
use super::super::json;
use super::super::role::Role;
use super::super::upload::{Code, Form};

/// The parts of an upload.
pub(super) struct FunctionForm {
    pub(super) name: Option<String>,
    pub(super) code: Option<Code>,
    /// In an upload, limits are a part of the metadata, and may be absent.
    pub(super) metadata: Option<(Metadata, Option<Limits>)>,
    pub(super) events: Option<Bindings>,
    pub(super) sinks: Option<Bindings>,
    pub(super) wait_for_workers: bool,
}

impl FunctionForm {
    /// Reads the whole upload. Parts with other names are ignored.
    pub(super) async fn read(mut form: Form, max_code_bytes: u64) -> Result<Self, ApiError> {
        let mut read = Self {
            name: None,
            code: None,
            metadata: None,
            events: None,
            sinks: None,
            wait_for_workers: true,
        };
        while let Some((name, part)) = form.next().await? {
            match name.as_str() {
                "name" => read.name = Some(part.text().await?),
                "code" => read.code = Some(part.code(max_code_bytes).await?),
                "metadata" => {
                    // Clients of published FunLess send an empty part if they have no metadata.
                    let text = part.text().await?;
                    read.metadata = (!text.trim().is_empty()).then(|| metadata(&text)).transpose()?;
                }
                "events" => read.events = Some(Bindings::parse(Role::Event, &part.text().await?)?),
                "sinks" => read.sinks = Some(Bindings::parse(Role::Sink, &part.text().await?)?),
                "wait_for_workers" => {
                    read.wait_for_workers = boolean("wait_for_workers", &part.text().await?)?
                }
                // Published FunLess ignores parts with other names, but ignoring these would silently drop
                // bindings.
                _ if name.starts_with("events[") || name.starts_with("sinks[") => {
                    let (list, _) = name.split_once('[').unwrap_or_default();
                    let why = format!("part `{name}`: send one part `{list}` with a JSON list of objects");
                    return Err(ApiError::bad_request(why));
                }
                _ => part.skip().await?,
            }
        }
        if read.code.as_ref().is_some_and(Code::is_empty) {
            return Err(ApiError::field("code", "can't be blank"));
        }
        Ok(read)
    }
}

/// Parses a boolean. Empty text means true, the default.
fn boolean(name: &str, text: &str) -> Result<bool, ApiError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ApiError::field(name, "must be true or false")),
    }
}

/// Reads `{"tag", "capacity", "idempotent", "script", "limits"}`, all optional.
fn metadata(text: &str) -> Result<(Metadata, Option<Limits>), ApiError> {
    let names = ["tag", "capacity", "idempotent", "script", "limits"];
    let [tag, capacity, idempotent, script, limits] = json::members(text, names)
        .map_err(|error| ApiError::bad_request(format!("part `metadata`: {}", json::problem(&error))))?;
    let metadata = Metadata {
        tag: field("tag", tag)?.unwrap_or_default(),
        capacity_kb: field("capacity", capacity)?.unwrap_or_default(),
        idempotent: field("idempotent", idempotent)?.unwrap_or_default(),
        script: field("script", script)?.unwrap_or_default(),
    };
    Ok((metadata, json::present(limits).map(read_limits).transpose()?))
}

fn read_limits(object: &RawValue) -> Result<Limits, ApiError> {
    let names = ["memory_bytes", "timeout_ms", "output_bytes"];
    let [memory_bytes, timeout_ms, output_bytes] =
        json::members(object.get(), names).map_err(|_| ApiError::field("limits", "is invalid"))?;
    Ok(Limits {
        memory_bytes: field("memory_bytes", memory_bytes)?.unwrap_or_default(),
        timeout_ms: field("timeout_ms", timeout_ms)?.unwrap_or_default(),
        output_bytes: field("output_bytes", output_bytes)?.unwrap_or_default(),
    })
}

/// Parses a value; `None` if it is absent or null.
fn field<T: DeserializeOwned>(name: &str, value: Option<&RawValue>) -> Result<Option<T>, ApiError> {
    let Some(value) = json::present(value) else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|_| ApiError::field(name, "is invalid"))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn reads_metadata_and_limits() {
        let (none, no_limits) = metadata("{}").expect("an object");
        assert_eq!((none, no_limits), (Metadata::default(), None));
        let text = r#"{"tag":"edge","capacity":128,"idempotent":true,"script":"s","limits":{"timeout_ms":5},"x":[]}"#;
        let (all, limits) = metadata(text).expect("an object");
        assert_eq!(
            all,
            Metadata { tag: "edge".into(), capacity_kb: 128, idempotent: true, script: "s".into() }
        );
        assert_eq!(limits, Some(Limits { timeout_ms: 5, ..Limits::default() }));
    }

    #[test]
    fn invalid_metadata_is_refused() {
        let cases = [
            ("", 400),
            ("null", 400),
            ("[]", 400),
            ("{", 400),
            (r#"{"tag":1}"#, 422),
            (r#"{"capacity":"64"}"#, 422),
            (r#"{"capacity":-1}"#, 422),
            (r#"{"capacity":1.5}"#, 422),
            (r#"{"idempotent":"yes"}"#, 422),
            (r#"{"script":["s"]}"#, 422),
            (r#"{"limits":1}"#, 422),
            (r#"{"limits":{"memory_bytes":"1"}}"#, 422),
        ];
        for (text, status) in cases {
            let error = metadata(text).expect_err(text);
            assert_eq!(error.into_response().status(), status, "{text}");
        }
    }

    #[test]
    fn booleans_default_to_true_and_other_words_are_refused() {
        let cases = [
            ("false", Some(false)),
            ("0", Some(false)),
            (" False ", Some(false)),
            ("true", Some(true)),
            ("1", Some(true)),
            ("", Some(true)),
            ("maybe", None),
            ("no", None),
        ];
        for (text, expected) in cases {
            assert_eq!(boolean("wait_for_workers", text).ok(), expected, "{text:?}");
        }
    }
}
