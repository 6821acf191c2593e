//! A CouchDB database: each result becomes a document.
//!
//! The document is the result itself, and its `_id` is the invocation's id, so that a repeat is a conflict. A
//! result that is not an object becomes `{"result": ...}`; so does an object with a member whose name begins
//! with `_`, which CouchDB reserves.

use std::collections::HashMap;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use mesh::auth::Secret;
use mesh::bindings::{BindingParams, refuse_redacted};
use proto::registry::v1::FunctionBinding;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use url::Url;

use super::address::Address;
use super::http::{Answer, refuses_all_requests, send};
use super::network::Connector;
use super::{Away, Batch, Delivery, FaultScope, Outcome, Sink};

const FORM: &str = "http://host:5984/database";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than [`TIMEOUT`], since a probe is a small request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_PROBE_ANSWER: usize = 4 << 10;
/// Enough for the outcomes of 500 documents.
const MAX_ANSWER: usize = 1 << 20;

/// The parameters of a CouchDB sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The database: `http://host:5984/name`.
    url: Address,
    /// The user, if the database requires one.
    username: Option<String>,
    /// The user's password.
    password: Option<Secret>,
}

impl Params {
    fn check(&self) -> Result<(), String> {
        self.url.check(&["http", "https"], FORM)?;
        if self.url.url().path() == "/" {
            return Err(format!("url {}: expected {FORM}", self.url));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err("username and password go together".to_owned());
        }
        if self.username.is_some() && self.url.has_user() {
            return Err("username and password stand either in the url or beside it".to_owned());
        }
        refuse_redacted([("password", self.password.as_ref().map(Secret::expose))])
    }
}

/// A CouchDB database.
#[derive(Debug)]
struct Database {
    params: Params,
    bulk: Url,
    connector: Connector,
}

/// CouchDB's answer for one document, or for a whole request that it refuses.
#[derive(Debug, Deserialize)]
struct DocumentError {
    #[serde(default)]
    id: String,
    error: Option<String>,
    #[serde(default)]
    reason: String,
}

impl DocumentError {
    /// Why CouchDB refuses the document. A conflict is not a refusal: CouchDB has the document already.
    fn refusal(&self) -> Option<String> {
        let error = self.error.as_ref().filter(|error| *error != "conflict")?;
        Some(format!("{error}: {}", self.reason))
    }
}

/// Opens the database that the parameters name.
pub(super) fn open(
    params: BindingParams<'_>,
    connector: Connector,
    _: &FunctionBinding,
) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Database::new(params, connector)?))
}

impl Database {
    fn new(params: BindingParams<'_>, connector: Connector) -> Result<Self, String> {
        let params: Params = params.own()?;
        params.check().map_err(|problem| format!("couchdb: {problem}"))?;
        let mut bulk = params.url.url().clone();
        let segments = bulk.path_segments_mut().map(|mut path| {
            path.pop_if_empty().push("_bulk_docs");
        });
        segments.map_err(|()| format!("couchdb: url: expected {FORM}"))?;
        Ok(Self { params, bulk, connector })
    }

    /// Sends a request with the user's credentials. An answer that means that the database is unavailable is
    /// an error.
    async fn ask(&self, request: reqwest::RequestBuilder, max_bytes: usize) -> Result<Answer, Away> {
        let request = match &self.params.username {
            Some(username) => request.basic_auth(username, self.params.password.as_ref().map(Secret::expose)),
            None => request,
        };
        let answer =
            send(&self.connector, request, max_bytes).await.map_err(|away| away.at(&self.params.url))?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Away::new(FaultScope::Binding, &format!("no database {}", self.params.url)));
        }
        match fault_scope(answer.status) {
            Some(scope) => Err(answer.away(scope).at(&self.params.url)),
            None => Ok(answer),
        }
    }

    /// Posts documents in one request.
    async fn post(&self, documents: &[Document<'_>]) -> Result<Answer, Away> {
        let mut body = br#"{"docs":["#.to_vec();
        for (position, document) in documents.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&document.text);
        }
        body.extend_from_slice(b"]}");
        let request = self.connector.request(Method::POST, self.bulk.clone()).timeout(TIMEOUT);
        self.ask(request.header(CONTENT_TYPE, "application/json").body(body), MAX_ANSWER).await
    }
}

/// Whom a status concerns that says nothing about the documents. `None` if the status is about this request.
fn fault_scope(status: StatusCode) -> Option<FaultScope> {
    match status.as_u16() {
        _ if refuses_all_requests(status) => Some(FaultScope::Binding),
        403 | 404 | 405 | 410 => Some(FaultScope::Binding),
        500.. => Some(FaultScope::Unknown),
        _ => None,
    }
}

/// The outcomes of the documents in a request that was accepted as a whole, by invocation id.
fn read_outcomes(answer: &Answer) -> Result<HashMap<String, Outcome>, Away> {
    let documents: Vec<DocumentError> = serde_json::from_slice(&answer.body)
        .map_err(|_| Away::new(FaultScope::Unknown, "it broke off its answer, or does not speak CouchDB"))?;
    let outcomes = documents.into_iter().map(|document| {
        let outcome = document.refusal().map_or(Outcome::Delivered, |reason| Outcome::refused(&reason));
        (document.id, outcome)
    });
    Ok(outcomes.collect())
}

#[tonic::async_trait]
impl Sink for Database {
    fn destination(&self) -> String {
        self.params.url.origin()
    }

    fn batch(&self) -> Batch {
        Batch { rows: 500, bytes: 4 << 20, in_flight: 2 }
    }

    async fn probe(&self) -> Result<(), Away> {
        let request =
            self.connector.request(Method::GET, self.params.url.url().clone()).timeout(PROBE_TIMEOUT);
        let answer = self.ask(request, MAX_PROBE_ANSWER).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(answer.away(FaultScope::Binding).at(&self.params.url)),
        }
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Away> {
        let mut outcomes = HashMap::new();
        let mut documents = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match Document::of(delivery) {
                Ok(document) => documents.push(document),
                Err(problem) => {
                    outcomes.insert(delivery.invocation_id.clone(), Outcome::refused(&problem));
                }
            }
        }
        let mut parts = vec![documents.as_slice()];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let answer = self.post(part).await?;
            if matches!(answer.status, StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK) {
                outcomes.extend(read_outcomes(&answer).map_err(|away| away.at(&self.params.url))?);
            } else if part.len() > 1 && !answer.status.is_redirection() {
                // One document makes the whole request fail: it is found by bisection.
                let (front, back) = part.split_at(part.len() / 2);
                parts.extend([front, back]);
            } else {
                let detail = serde_json::from_slice::<DocumentError>(&answer.body).ok();
                let refusal = answer.refusal(detail.and_then(|error| error.refusal()));
                let refused =
                    part.iter().map(|document| (document.invocation_id.to_owned(), refusal.clone()));
                outcomes.extend(refused);
            }
        }
        let missing = || Outcome::refused("it did not say what became of this document");
        let outcome =
            |delivery: &Delivery| outcomes.get(&delivery.invocation_id).cloned().unwrap_or_else(missing);
        Ok(deliveries.iter().map(outcome).collect())
    }
}

/// A document as JSON text.
struct Document<'a> {
    invocation_id: &'a str,
    text: Vec<u8>,
}

impl<'a> Document<'a> {
    /// Builds the document from the result's text, which is kept as it is.
    fn of(delivery: &'a Delivery) -> Result<Self, String> {
        let result = delivery.result.trim_ascii();
        let is_document =
            is_document(result).map_err(|error| format!("the result is not valid JSON: {error}"))?;
        let id = serde_json::to_string(&delivery.invocation_id).map_err(|error| error.to_string())?;
        let mut text = Vec::with_capacity(result.len() + id.len() + 20);
        text.extend_from_slice(br#"{"_id":"#);
        text.extend_from_slice(id.as_bytes());
        match result.strip_prefix(b"{") {
            Some(members) if is_document => {
                if members.trim_ascii_start() != b"}" {
                    text.push(b',');
                }
                text.extend_from_slice(members);
            }
            _ => {
                text.extend_from_slice(br#","result":"#);
                text.extend_from_slice(result);
                text.push(b'}');
            }
        }
        Ok(Self { invocation_id: &delivery.invocation_id, text })
    }
}

/// Whether a JSON text is an object without members that CouchDB reserves.
fn is_document(text: &[u8]) -> serde_json::Result<bool> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
            let mut all_allowed = true;
            // Escapes in names are decoded, as CouchDB does.
            while let Some((name, IgnoredAny)) = members.next_entry::<String, _>()? {
                all_allowed &= !name.starts_with('_');
            }
            Ok(all_allowed)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let is_document = if text.starts_with(b"{") {
        reader.deserialize_map(Members)?
    } else {
        IgnoredAny::deserialize(&mut reader)?;
        false
    };
    reader.end()?;
    Ok(is_document)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kinds::Policy;
    use crate::kinds::network::tests::denying;

    fn open(params: &str) -> Result<Database, String> {
        let connector = denying().of("couchdb", &FunctionBinding::default());
        BindingParams::parse("couchdb", params, &Policy::NAMES)
            .and_then(|params| Database::new(params, connector))
    }

    #[test]
    fn valid_parameters() {
        let params = r#"{"url":"http://h:5984/db","username":"u","password":"p"}"#;
        let database = open(params).expect("valid");
        assert_eq!(database.params.password.as_ref().map(Secret::expose), Some("p"));
        assert_eq!(database.destination(), "http://h:5984");
        for url in ["http://h:5984/db", "http://h:5984/db/"] {
            let database = open(&format!(r#"{{"url":"{url}"}}"#)).expect("valid");
            assert_eq!(database.bulk.as_str(), "http://h:5984/db/_bulk_docs");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (params, expected) in [
            ("{}", "missing field `url`"),
            (r#"{"url":"db"}"#, "couchdb: "),
            (r#"{"url":"ftp://h/db"}"#, "expected http://host:5984/database"),
            (r#"{"url":"http://h:5984/"}"#, "expected http://host:5984/database"),
            (r#"{"url":"http://h/db","username":"u"}"#, "username and password go together"),
            (r#"{"url":"http://v:q@h/db","username":"u","password":"p"}"#, "either in the url or beside it"),
            (r#"{"url":"http://h/db","username":"u","password":"***"}"#, "write the secret itself"),
            (r#"{"url":"http://***@h/db"}"#, "write the secret itself"),
            (r#"{"url":"http://h/db","bulk":true}"#, "unknown field `bulk`"),
        ] {
            let error = open(params).expect_err(params);
            assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        }
    }

    #[test]
    fn errors_do_not_show_passwords() {
        for params in [r#"{"url":"http://u:hunter2@h/"}"#, r#"{"url":"http://u:hunter2@h:x/db"}"#] {
            let error = open(params).expect_err("an invalid URL");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn documents() {
        let long = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        let long_document = long.replacen('{', r#"{"_id":"i\"1","#, 1);
        for (result, expected) in [
            (r#"{"a":1}"#, r#"{"_id":"i\"1","a":1}"#),
            (r#" { "a" : {"_b": 1} } "#, r#"{"_id":"i\"1", "a" : {"_b": 1} }"#),
            ("{}", r#"{"_id":"i\"1"}"#),
            ("{ }", r#"{"_id":"i\"1" }"#),
            (r#"{"a":1,"a":2}"#, r#"{"_id":"i\"1","a":1,"a":2}"#),
            ("[1,2]", r#"{"_id":"i\"1","result":[1,2]}"#),
            ("null", r#"{"_id":"i\"1","result":null}"#),
            (r#""{""#, r#"{"_id":"i\"1","result":"{"}"#),
            (r#"{"_id":"mine"}"#, r#"{"_id":"i\"1","result":{"_id":"mine"}}"#),
            (r#"{"\u005frev":1}"#, r#"{"_id":"i\"1","result":{"\u005frev":1}}"#),
            (long.as_str(), long_document.as_str()),
        ] {
            let result = Bytes::copy_from_slice(result.as_bytes());
            let delivery = Delivery { invocation_id: "i\"1".into(), result };
            let document = Document::of(&delivery).expect("JSON");
            assert_eq!(String::from_utf8(document.text).expect("text"), expected);
        }
        for broken in ["", "{", r#"{"a":1}{"#, r#"{"a":1},"#, "nul", r#"{"a":1,}"#] {
            let delivery = Delivery { invocation_id: "i".into(), result: Bytes::from(broken) };
            assert!(Document::of(&delivery).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn fault_scopes_of_statuses() {
        for (status, expected) in [
            (201, None),
            (302, None),
            (400, None),
            (413, None),
            (401, Some(FaultScope::Binding)),
            (403, Some(FaultScope::Binding)),
            (404, Some(FaultScope::Binding)),
            (429, Some(FaultScope::Binding)),
            (503, Some(FaultScope::Binding)),
            (500, Some(FaultScope::Unknown)),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(fault_scope(status), expected, "{status}");
        }
    }

    #[test]
    fn refusals_of_documents() {
        let body = r#"[{"ok":true,"id":"a","rev":"1-x"},{"id":"b","error":"conflict","reason":"Document update conflict."},
            {"id":"c","error":"forbidden","reason":"not today"}]"#;
        let documents: Vec<DocumentError> = serde_json::from_str(body).expect("CouchDB's format");
        let refusals: Vec<_> = documents.iter().map(DocumentError::refusal).collect();
        assert_eq!(refusals, [None, None, Some("forbidden: not today".to_owned())]);
    }
}
