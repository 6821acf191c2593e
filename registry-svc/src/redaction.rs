//! Redacts the secrets in parameters of bindings.

use std::ops::Range;

use mesh::auth::REDACTED;
use serde_json::Value;

/// A parameter is a secret if its name contains one of these. Case, `_` and `-` are ignored: `access_token`
/// and `accessToken` are the same.
const IN_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "cookie",
    "seed",
    "connectionstring",
];
/// A parameter with one of these names is a secret.
const NAMES: [&str; 7] = ["pass", "pwd", "auth", "bearer", "jwt", "creds", "dsn"];
/// A parameter whose name ends with this is a secret, too...
const KEY: &str = "key";
/// ...except these.
const KEYS_IN_CLEAR: [&str; 6] =
    ["dedupekey", "idempotencykey", "orderingkey", "partitionkey", "publickey", "routingkey"];
/// The parameter whose member names are public and whose values are secrets.
const HEADERS: &str = "headers";

/// The parameters of a binding with all secrets replaced, safe for every caller.
pub(crate) fn redact(params: &str) -> String {
    match serde_json::from_str(params) {
        Ok(params) => redact_value(params).to_string(),
        Err(_) => Value::from(REDACTED).to_string(),
    }
}

/// Whether a secret in these parameters is the redaction placeholder. If stored, it would overwrite the
/// actual secret.
pub(crate) fn is_redacted(params: &Value) -> bool {
    match params {
        Value::Object(members) => members.iter().any(|(name, value)| match exposure(name) {
            Exposure::Secret | Exposure::Headers => holds_redacted(value),
            Exposure::Clear => is_redacted(value),
        }),
        Value::Array(items) => items.iter().any(is_redacted),
        Value::String(text) => url_secrets(text).iter().any(|at| text[at.clone()].ends_with(REDACTED)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn holds_redacted(secret: &Value) -> bool {
    match secret {
        Value::Object(members) => members.values().any(holds_redacted),
        Value::Array(items) => items.iter().any(holds_redacted),
        Value::String(text) => text == REDACTED,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What callers may see of a member of an object.
enum Exposure {
    Clear,
    Headers,
    Secret,
}

fn exposure(name: &str) -> Exposure {
    let name: String = name.chars().filter(|character| !matches!(character, '_' | '-')).collect();
    let name = name.to_ascii_lowercase();
    let is_secret = IN_NAMES.iter().any(|part| name.contains(part))
        || NAMES.contains(&&*name)
        || (name.ends_with(KEY) && !KEYS_IN_CLEAR.contains(&&*name));
    match name.as_str() {
        HEADERS => Exposure::Headers,
        _ if is_secret => Exposure::Secret,
        _ => Exposure::Clear,
    }
}

fn redact_value(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let value = match exposure(&name) {
                    Exposure::Clear => redact_value(value),
                    Exposure::Headers => redact_headers(value),
                    Exposure::Secret => Value::from(REDACTED),
                };
                (name, value)
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.into_iter().map(redact_value).collect(),
        Value::String(text) => Value::String(redact_urls(&text)),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar,
    }
}

fn redact_headers(headers: Value) -> Value {
    match headers {
        Value::Object(members) => {
            members.into_iter().map(|(name, _)| (name, Value::from(REDACTED))).collect()
        }
        _ => Value::from(REDACTED),
    }
}

/// Replaces every `scheme://user:password@host?token=secret` in `text` with `scheme://***@host?token=***`.
fn redact_urls(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = 0;
    for secret in url_secrets(text) {
        redacted.push_str(&text[rest..secret.start]);
        redacted.push_str(REDACTED);
        rest = secret.end;
    }
    redacted.push_str(&text[rest..]);
    redacted
}

/// The ranges of secrets in the URLs in `text`, in order: userinfo and query parameters.
fn url_secrets(text: &str) -> Vec<Range<usize>> {
    const SCHEME_END: &str = "://";
    let mut secrets = Vec::new();
    let mut parts = text.split(SCHEME_END);
    let mut start = parts.next().unwrap_or_default().len();
    for part in parts {
        start += SCHEME_END.len();
        let authority = part.find(['/', '?', '#', ',', ' ']).unwrap_or(part.len());
        // A password that is not percent-encoded may contain any of these.
        let userinfo = part[..authority].rfind('@').or_else(|| part.rfind('@'));
        if let Some(end) = userinfo {
            secrets.push(start..start + end);
        }
        let mut at = start + userinfo.unwrap_or_default();
        for item in text[at..start + part.len()].split_inclusive(['?', '&', '#']) {
            let parameter = item.trim_end_matches(['?', '&', '#']);
            if let Some((name, _)) = parameter.split_once('=')
                && matches!(exposure(name), Exposure::Secret)
            {
                secrets.push(at + name.len() + 1..at + parameter.len());
            }
            at += item.len();
        }
        start += part.len();
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted() {
        let cases = [
            (r#"{"host":"h","port":1883}"#, r#"{"host":"h","port":1883}"#),
            (r#"{"password":"p","username":"u"}"#, r#"{"password":"***","username":"u"}"#),
            (r#"{"Token":1,"a":[{"API_KEY":{"x":1}}]}"#, r#"{"Token":"***","a":[{"API_KEY":"***"}]}"#),
            (r#"{"accessToken":"p","client-secret":"p"}"#, r#"{"accessToken":"***","client-secret":"***"}"#),
            (r#"{"nkey":"p","private_key":"p"}"#, r#"{"nkey":"***","private_key":"***"}"#),
            (r#"{"dedupe_key":"/id","monkey":"p"}"#, r#"{"dedupe_key":"/id","monkey":"***"}"#),
            (r#"{"headers":{"X-Any":"p","Y":["p"]}}"#, r#"{"headers":{"X-Any":"***","Y":"***"}}"#),
            (r#"{"headers":["Authorization: p"]}"#, r#"{"headers":"***"}"#),
            (r#"{"url":"http://u:p@h:5984/db"}"#, r#"{"url":"http://***@h:5984/db"}"#),
            (r#"{"url":"http://h/a@b"}"#, r#"{"url":"http://***@b"}"#),
            (r#"{"url":"http://u:p/w@h/db"}"#, r#"{"url":"http://***@h/db"}"#),
            (r#"{"urls":"a://u:p@h,b://v:q@i/x"}"#, r#"{"urls":"a://***@h,b://***@i/x"}"#),
            (r#"{"url":"http://h/x?a=1&token=p#f"}"#, r#"{"url":"http://h/x?a=1&token=***#f"}"#),
            (r#"{"url":"http://h?m=a@b&api_key=p"}"#, r#"{"url":"http://***@b&api_key=***"}"#),
            (r#"{"mail":"a@b.c","é":"ü://é:ö@ß?token=ä"}"#, r#"{"mail":"a@b.c","é":"ü://***@ß?token=***"}"#),
        ];
        for (params, expected) in cases {
            assert_eq!(redact(params), expected);
        }
    }

    #[test]
    fn redacted_secrets_are_detected() {
        let cases = [
            (r#"{"password":"***"}"#, true),
            (r#"{"a":[{"headers":{"X":"***"}}]}"#, true),
            (r#"{"auth":{"user":"u","pw":"***"}}"#, true),
            (r#"{"url":"http://***@h/db"}"#, true),
            (r#"{"url":"http://u:***@h/db"}"#, true),
            (r#"{"url":"http://h/db?token=***"}"#, true),
            (r#"{"topic":"***","password":"p***"}"#, false),
            (r#"{"url":"http://u:p@h/***"}"#, false),
        ];
        for (params, expected) in cases {
            let value: Value = serde_json::from_str(params).expect("valid JSON");
            assert_eq!(is_redacted(&value), expected, "{params}");
            let redacted: Value = serde_json::from_str(&redact(params)).expect("valid JSON");
            assert!(is_redacted(&redacted) || redacted == value, "{redacted}");
        }
    }
}
