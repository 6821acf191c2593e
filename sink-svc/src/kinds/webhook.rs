//! A webhook: each result is posted to a URL.
//!
//! The body is the result itself. The receiver recognises repeats by the `Idempotency-Key`. With a secret,
//! the body is signed: `X-FunLess-Signature` is `sha256=` and the HMAC-SHA256 of the body in hexadecimal
//! digits.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh::auth::Secret;
use mesh::bindings::{BindingParams, refuse_redacted};
use proto::registry::v1::FunctionBinding;
use serde::Deserialize;
use sha2::Sha256;

use super::address::Address;
use super::http::{Answer, refuses_all_requests, send};
use super::network::Connector;
use super::{Away, Delivery, FaultScope, Outcome, Sink};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const INVOCATION: HeaderName = HeaderName::from_static("x-funless-invocation");
const FUNCTION: HeaderName = HeaderName::from_static("x-funless-function");
const SIGNATURE: HeaderName = HeaderName::from_static("x-funless-signature");
/// Headers that a binding cannot set.
const RESERVED_HEADERS: [HeaderName; 8] =
    [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, HOST, IDEMPOTENCY_KEY, INVOCATION, FUNCTION, SIGNATURE];

const MAX_TIMEOUT_MS: u64 = 300_000;
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Only the status matters. The body is read up to this size, so that the connection can be reused.
const MAX_ANSWER: usize = 64 << 10;

/// The parameters of a webhook sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// `http://` or `https://`.
    url: Address,
    /// Signs the bodies, if it is set.
    secret: Option<Secret>,
    /// How long the receiver may take for one result, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    /// Sent with each result.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
}

fn default_timeout_ms() -> u64 {
    10_000
}

impl Params {
    fn check(&self) -> Result<(), String> {
        self.url.check(&["http", "https"], "http://host/path or https://host/path")?;
        if self.timeout_ms == 0 || self.timeout_ms > MAX_TIMEOUT_MS {
            return Err(format!("timeout_ms: expected 1 to {MAX_TIMEOUT_MS}"));
        }
        refuse_redacted([("secret", self.secret.as_ref().map(Secret::expose))])?;
        refuse_redacted(self.headers.iter().map(|(name, value)| (name.as_str(), Some(value.expose()))))
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let header = HeaderName::try_from(name)
                .map_err(|_| format!("headers: {name:?} is not the name of a header"))?;
            if RESERVED_HEADERS.contains(&header) {
                return Err(format!("headers: {name} is not for a binding to set"));
            }
            let value = HeaderValue::try_from(value.expose());
            let mut value =
                value.map_err(|_| format!("headers: the value of {name} is not valid in a header"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

/// A receiver of results.
#[derive(Debug)]
struct Webhook {
    params: Params,
    headers: HeaderMap,
    connector: Connector,
}

/// Opens the receiver that the parameters name, for the results of the binding's function.
pub(super) fn open(
    params: BindingParams<'_>,
    connector: Connector,
    binding: &FunctionBinding,
) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Webhook::new(params, connector, binding)?))
}

impl Webhook {
    fn new(
        params: BindingParams<'_>,
        connector: Connector,
        binding: &FunctionBinding,
    ) -> Result<Self, String> {
        let params: Params = params.own()?;
        let context = |problem| format!("webhook: {problem}");
        params.check().map_err(context)?;
        let mut headers = params.headers().map_err(context)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Names of modules and functions are valid in headers.
        if let Ok(function) = HeaderValue::try_from(format!("{}/{}", binding.module, binding.function)) {
            headers.insert(FUNCTION, function);
        }
        Ok(Self { params, headers, connector })
    }

    fn headers_for(&self, delivery: &Delivery) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(&delivery.invocation_id) {
            headers.insert(IDEMPOTENCY_KEY, id.clone());
            headers.insert(INVOCATION, id);
        }
        if let Some(secret) = self.params.secret.as_ref().map(Secret::expose) {
            let signature = format!("sha256={}", sign(secret, &delivery.result));
            headers.insert(SIGNATURE, HeaderValue::try_from(signature).expect("hexadecimal digits"));
        }
        headers
    }

    async fn post(&self, delivery: &Delivery) -> Result<Outcome, Away> {
        let request = self.connector.request(Method::POST, self.params.url.url().clone());
        let request = request.timeout(Duration::from_millis(self.params.timeout_ms));
        let request = request.headers(self.headers_for(delivery)).body(delivery.result.clone());
        judge(&send(&self.connector, request, MAX_ANSWER).await?)
    }
}

/// The outcome of the posted result. Other statuses, such as 403 or 404, may be about this result, so they
/// are refusals.
fn judge(answer: &Answer) -> Result<Outcome, Away> {
    match answer.status {
        status if status.is_success() => Ok(Outcome::Delivered),
        status if refuses_all_requests(status) => Err(answer.away(FaultScope::Binding)),
        _ => Ok(answer.refusal(None)),
    }
}

/// The HMAC-SHA256 of a body, in hexadecimal digits.
fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[tonic::async_trait]
impl Sink for Webhook {
    fn destination(&self) -> String {
        self.params.url.origin()
    }

    /// Checks only that something listens. Whether results are accepted shows with the first one: there is no
    /// request that is known to have no effect.
    async fn probe(&self) -> Result<(), Away> {
        let connect = self.connector.connect(self.params.url.url());
        match tokio::time::timeout(PROBE_TIMEOUT, connect).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Away::not_connected(&error).at(self.destination())),
            Err(_) => {
                let reason = "it did not answer in time";
                Err(Away::new(FaultScope::Destination, reason).at(self.destination()))
            }
        }
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Away> {
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let outcome = self.post(delivery).await;
            outcomes.push(outcome.map_err(|away| away.at(self.destination()))?);
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kinds::Policy;
    use crate::kinds::network::tests::denying;

    fn open(params: &str) -> Result<Webhook, String> {
        let binding =
            FunctionBinding { module: "shop".into(), function: "order".into(), ..FunctionBinding::default() };
        BindingParams::parse("webhook", params, &Policy::NAMES)
            .and_then(|params| Webhook::new(params, denying().of("webhook", &binding), &binding))
    }

    #[test]
    fn signatures_match_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn headers() {
        let params = r#"{"url":"http://h/","secret":"s","headers":{"Authorization":"Bearer hunter2"}}"#;
        let webhook = open(params).expect("valid");
        let delivery = Delivery { invocation_id: "i1".into(), result: Bytes::from_static(b"1") };
        let headers = webhook.headers_for(&delivery);
        assert_eq!(headers["idempotency-key"], "i1");
        assert_eq!(headers["x-funless-invocation"], "i1");
        assert_eq!(headers["x-funless-function"], "shop/order");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["authorization"], "Bearer hunter2");
        assert!(headers["x-funless-signature"].to_str().expect("text").starts_with("sha256="));
        assert!(!format!("{webhook:?} {headers:?}").contains("hunter2"));
        let unsigned = open(r#"{"url":"http://h/"}"#).expect("valid").headers_for(&delivery);
        assert!(!unsigned.contains_key("x-funless-signature"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (params, expected) in [
            (r#"{"url":"ws://h/"}"#, "url: unknown scheme \"ws\"; expected http://host/path"),
            (r#"{"url":"http://h/","timeout_ms":0}"#, "timeout_ms: expected 1 to 300000"),
            (r#"{"url":"http://h/","headers":{"a b":"c"}}"#, "\"a b\" is not the name of a header"),
            (r#"{"url":"http://h/","headers":{"A":"\n"}}"#, "the value of A is not valid in a header"),
            (r#"{"url":"http://h/","headers":{"Content-Type":"x"}}"#, "not for a binding to set"),
            (r#"{"url":"http://h/","headers":{"A":"***"}}"#, "write the secret itself"),
            (r#"{"url":"http://h/","method":"PUT"}"#, "unknown field `method`"),
        ] {
            let error = open(params).expect_err(params);
            assert!(
                error.starts_with("webhook: ") && error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }
}
