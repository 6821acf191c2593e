//! A client of the REST API in this process. Pages have no other way to the mesh, so they can do what REST can do, as
//! the user whose token it presents, and nothing else.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use mesh::auth::Secret;
use mesh::listener::ClientAddress;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;

use super::failure::Failure;

/// The maximum size of a response that is read as a whole. Results are the largest.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    rest: axum::Router,
    authorization: HeaderValue,
    address: Option<ClientAddress>,
}

/// The envelope of responses.
#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// The header with this token. Fails for a text that no header can contain, which is no token.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Api {
    /// A client of `rest` with this header, for a browser at `address`.
    pub(super) fn new(
        rest: axum::Router,
        authorization: HeaderValue,
        address: Option<ClientAddress>,
    ) -> Self {
        Self { rest, authorization, address }
    }

    /// The headers of each request.
    pub(super) fn headers(&self) -> HeaderMap {
        [(AUTHORIZATION, self.authorization.clone())].into_iter().collect()
    }

    /// The `data` of a response to GET.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.get_whole::<Data<T>>(path).await?.data)
    }

    /// The whole body of a response to GET.
    pub(super) async fn get_whole<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parsed(&self.get_bytes(path).await?)
    }

    pub(super) async fn get_bytes(&self, path: &str) -> Result<Bytes, Failure> {
        succeeded(self.send(Method::GET, path, HeaderMap::new(), Body::empty()).await).await
    }

    /// The `data` of a response to POST.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        data(&succeeded(self.post_json(path, body.to_string()).await).await?)
    }

    /// The response to POST with a JSON body.
    pub(super) async fn post_json(&self, path: &str, body: String) -> Response {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, path, HeaderMap::from_iter([json]), Body::from(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Bytes, Failure> {
        succeeded(self.send(Method::DELETE, path, HeaderMap::new(), Body::empty()).await).await
    }

    /// The response to a request.
    pub(super) async fn send(&self, method: Method, path: &str, headers: HeaderMap, body: Body) -> Response {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        if let Some(address) = self.address {
            request.extensions_mut().insert(address);
        }
        match self.rest.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The body of a response, unless it is an error.
pub(super) async fn succeeded(response: Response) -> Result<Bytes, Failure> {
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_RESPONSE_BYTES).await.map_err(Failure::internal)?;
    match head.status.is_success() {
        true => Ok(body),
        false => Err(Failure::of_rest(head.status, &body)),
    }
}

/// The `data` of a body.
pub(super) fn data<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    Ok(parsed::<Data<T>>(body)?.data)
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(Failure::internal)
}
