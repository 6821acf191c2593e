//! A CouchDB database: each result becomes a document.

use mesh::auth::Secret;
use serde::Deserialize;
use url::Url;

/// Which database, and as whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The database: `http://host:5984/name`.
    pub url: Url,
    /// The user, if the database asks for one.
    pub username: Option<String>,
    /// His password.
    pub password: Option<Secret>,
}

impl Params {
    /// Reads the parameters' JSON text.
    pub fn parse(params: &str) -> Result<Self, String> {
        let params: Self = serde_json::from_str(params).map_err(|error| format!("couchdb: {error}"))?;
        if !matches!(params.url.scheme(), "http" | "https") || params.url.path() == "/" {
            return Err(format!("couchdb: url {}: expected http://host:5984/database", shown(&params.url)));
        }
        if params.username.is_some() != params.password.is_some() {
            return Err("couchdb: username and password go together".into());
        }
        Ok(params)
    }
}

/// The URL without the password that may be in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn funless_own_form() {
        let params =
            Params::parse(r#"{"url":"http://h:5984/db","username":"u","password":"p"}"#).expect("valid");
        assert_eq!(params.password.expect("given").expose(), "p");
        assert!(Params::parse(r#"{"url":"http://h:5984/db"}"#).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (params, expected) in [
            ("{}", "missing field `url`"),
            (r#"{"url":"db"}"#, "couchdb: "),
            (r#"{"url":"ftp://h/db"}"#, "expected http://host:5984/database"),
            (r#"{"url":"http://h:5984/"}"#, "expected http://host:5984/database"),
            (r#"{"url":"http://h/db","username":"u"}"#, "username and password go together"),
            (r#"{"url":"http://h/db","bulk":true}"#, "unknown field `bulk`"),
        ] {
            let error = Params::parse(params).expect_err(params);
            assert!(error.contains(expected), "{error:?} says {expected:?}");
        }
    }

    #[test]
    fn an_error_shows_no_password() {
        let error = Params::parse(r#"{"url":"http://u:hunter2@h/"}"#).expect_err("no database");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
