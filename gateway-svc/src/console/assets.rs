//! The files of the console, which are embedded in this binary.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use mesh::hash::Hash;

/// The digits of a file's hash in its URL, so that browsers may keep it.
const HASH_DIGITS: usize = 12;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $content_type:expr;)*) => {
        &[$(Asset { name: $name, content_type: $content_type, content: include_bytes!(concat!("assets/", $name)) }),*]
    };
}

const ASSETS: &[Asset] = assets! {
    "console.css": CSS;
    "console.js": JS;
    "icon.svg": "image/svg+xml";
    "vendor/htmx.min.js": JS;
    "vendor/htmx-sse.min.js": JS;
    "vendor/uplot.min.js": JS;
    "vendor/uplot.min.css": CSS;
};

/// The path of each file, in the order of [`ASSETS`].
static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = |asset: &Asset| {
        let hash = Hash::of(asset.content).to_string();
        format!("/console/assets/{}/{}", &hash[..HASH_DIGITS], asset.name)
    };
    ASSETS.iter().map(path).collect()
});

/// The path of the file with this name.
pub(super) fn path(name: &str) -> &'static str {
    let place = ASSETS.iter().position(|asset| asset.name == name);
    place.map_or("", |place| PATHS[place].as_str())
}

/// Serves `/console/assets/{hash}/{name}`. The hash is for the browser only.
pub(super) async fn serve(Path((_, name)): Path<(String, String)>) -> Result<Response, StatusCode> {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or(StatusCode::NOT_FOUND)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn vendored_files_are_those_of_their_packages() {
        let sums = include_str!("assets/vendor/SHA256SUMS");
        let sums: Vec<_> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
        for asset in ASSETS {
            let Some(name) = asset.name.strip_prefix("vendor/") else { continue };
            let sum = sums.iter().find(|(_, listed)| *listed == name).map(|(sum, _)| *sum);
            assert_eq!(sum, Some(hex::encode(Sha256::digest(asset.content)).as_str()), "{name}");
        }
    }

    #[test]
    fn paths_change_with_the_content() {
        assert!(path("console.css").starts_with("/console/assets/"));
        assert!(path("console.css").ends_with("/console.css"));
        assert_eq!(path("missing"), "");
    }
}
