//! Swagger UI, whose files are embedded in this binary, so that a browser makes no requests to other hosts.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use utoipa_swagger_ui::{Config, SwaggerFile};

use crate::rest::Rest;
use crate::rest::error::ApiError;

/// The page that loads Swagger UI.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>FunLess Mesh</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/index.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// The content security policy: only this gateway. Swagger UI uses inline styles and `data:` images.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("/v1/openapi.json")
        .use_base_layout()
        .deep_linking(true)
        .display_request_duration(true)
        .try_it_out_enabled(true)
        .default_models_expand_depth(0)
        // By default, the document is sent to a validator on another host.
        .validator_url("none");
    Arc::new(config)
});

pub(super) fn routes() -> Router<Rest> {
    Router::new().route("/docs", get(async || (headers(), Html(PAGE)))).route("/docs/{file}", get(serve))
}

async fn serve(Path(name): Path<String>) -> Result<Response, ApiError> {
    match utoipa_swagger_ui::serve(&name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => Ok(answer(file)),
        Ok(None) => Err(ApiError::not_found(format!("no file {name:?} of the documentation"))),
        Err(error) => Err(ApiError::internal(error)),
    }
}

fn answer(file: SwaggerFile<'static>) -> Response {
    let mut headers = headers();
    if let Ok(content_type) = HeaderValue::try_from(file.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let bytes = match file.bytes {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(made) => made.into(),
    };
    (headers, bytes).into_response()
}

fn headers() -> HeaderMap {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}
