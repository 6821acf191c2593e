//! The caller of a request: another service of the mesh, or the user on whose behalf it calls.
//!
//! A shared secret or mutual TLS proves that a call comes from inside the mesh. The gateway verifies the
//! user's token and passes on the user's name and role; a call without a user is a service's own. A server
//! may trust these headers only if it checks the secret, requires mutual TLS, or cannot be reached from
//! outside the mesh.

use http::{HeaderMap, HeaderValue};
use proto::registry::v1::Role;
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;

use crate::error::{Error, Reason};

/// Replaces a secret in output.
pub const REDACTED: &str = "***";
/// The error for a request that sends [`REDACTED`] back as a secret.
pub const REDACTED_GIVEN: &str = "*** stands for a secret that is not shown; write the secret itself";

const SUBJECT: &str = "x-funless-subject";
const ROLE: &str = "x-funless-role";
const SECRET: &str = "x-funless-secret";

/// The user or service on whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A service of the mesh, on its own behalf.
    Service,
    /// A user with access to their own modules and to shared ones.
    Subject(String),
    /// An administrator, with access to everything.
    Admin(String),
}

impl Caller {
    /// The caller of a request that passed the server stack.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or(Self::Service)
    }

    /// Whether the caller has access to what belongs to `owner`. Resources with an empty owner are shared
    /// with all users.
    pub fn reaches(&self, owner: &str) -> bool {
        match self {
            Self::Service | Self::Admin(_) => true,
            Self::Subject(name) => owner.is_empty() || owner == name,
        }
    }

    /// Whether the caller may change and delete a function, and read its logs: administrators, and the subject of
    /// [`owner_of_function`].
    pub fn may_change_function(&self, module_owner: &str, creator: &str) -> bool {
        match self {
            Self::Service | Self::Admin(_) => true,
            Self::Subject(name) => name == owner_of_function(module_owner, creator),
        }
    }

    /// Returns `PermissionDenied` for users: only services of the mesh may call.
    pub fn only_services(&self) -> Result<(), Error> {
        match self {
            Self::Service => Ok(()),
            Self::Subject(_) | Self::Admin(_) => {
                Err(Error::new(Reason::PermissionDenied, "this is for the mesh's own services"))
            }
        }
    }

    /// The owner of resources that this caller creates; empty for a service.
    pub fn owner(&self) -> &str {
        match self {
            Self::Service => "",
            Self::Subject(name) | Self::Admin(name) => name,
        }
    }

    /// The user with this role; `None` for an unspecified role.
    pub fn user(role: Role, name: String) -> Option<Self> {
        match role {
            Role::Unspecified => None,
            Role::Subject => Some(Self::Subject(name)),
            Role::Admin => Some(Self::Admin(name)),
        }
    }

    /// Writes this caller into the headers, replacing any other.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.remove(SUBJECT);
        headers.remove(ROLE);
        let (name, role) = match self {
            Self::Service => return,
            Self::Subject(name) => (name, Role::Subject),
            Self::Admin(name) => (name, Role::Admin),
        };
        // Names of subjects are alphanumeric.
        if let Ok(name) = HeaderValue::from_str(name) {
            headers.insert(SUBJECT, name);
        }
        headers.insert(ROLE, HeaderValue::from_static(role.as_str_name()));
    }

    /// Makes `request` on behalf of this caller.
    pub fn attach<T>(&self, mut request: tonic::Request<T>) -> tonic::Request<T> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        self.put(&mut headers);
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        request
    }

    /// Reads the headers that [`Caller::put`] writes. `None` if they contradict each other.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        match (text(SUBJECT), text(ROLE)) {
            (None, None) => Some(Self::Service),
            (Some(name), Some(role)) if !name.is_empty() => {
                Self::user(Role::from_str_name(role)?, name.to_owned())
            }
            _ => None,
        }
    }
}

/// The subject that a function belongs to, with its events, results, dead letters and logs: the owner of its module,
/// or in a shared module its creator. Empty: unknown.
pub fn owner_of_function<'a>(module_owner: &'a str, creator: &'a str) -> &'a str {
    if module_owner.is_empty() { creator } else { module_owner }
}

/// A secret that never appears in logs or in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    /// The error for a value that is not a string does not contain the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Other(serde::de::IgnoredAny),
        }
        match Given::deserialize(deserializer)? {
            Given::Text(text) => Ok(Self(text)),
            Given::Other(_) => Err(serde::de::Error::custom("a secret is text; put quotes around it")),
        }
    }
}

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new secret of 256 random bits, as 64 hexadecimal digits.
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 32]>()))
    }

    /// The maximum entropy, in bits, of a text of this length and these kinds of characters. A secret that a
    /// person chose has far less.
    pub fn max_entropy_bits(&self) -> u32 {
        let has = |is_of_kind: fn(&char) -> bool| self.0.chars().any(|character| is_of_kind(&character));
        let size = |is_of_kind, size| if has(is_of_kind) { size } else { 0 };
        let alphabet = match self.0.chars().all(|character| character.is_ascii_hexdigit()) {
            true => 16,
            false => {
                size(char::is_ascii_digit, 10)
                    + size(char::is_ascii_lowercase, 26)
                    + size(char::is_ascii_uppercase, 26)
                    + size(|character| !character.is_ascii_alphanumeric(), 32)
            }
        };
        (self.0.chars().count() as f64 * f64::from(u32::max(alphabet, 1)).log2()) as u32
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        if let Ok(mut value) = HeaderValue::from_str(&self.0) {
            value.set_sensitive(true);
            headers.insert(SECRET, value);
        }
    }

    /// Whether the headers carry this secret.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.get(SECRET).is_some_and(|value| self.is(value.as_bytes()))
    }

    /// Whether this is the secret. The comparison's timing reveals nothing about it but its length.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_have_little_entropy() {
        for (text, expected) in
            [("", 0), ("x", 4), ("hunter2", 36), ("correct horse battery", 123), ("0123abcd", 32)]
        {
            assert_eq!(Secret::new(text).max_entropy_bits(), expected, "{text}");
        }
        assert_eq!(Secret::random().max_entropy_bits(), 256);
    }

    #[test]
    fn a_caller_is_sent_in_headers_and_replaces_a_forged_one() {
        for caller in [Caller::Service, Caller::Subject("ann".into()), Caller::Admin("root".into())] {
            let mut headers = HeaderMap::new();
            headers.insert(SUBJECT, HeaderValue::from_static("forged"));
            caller.put(&mut headers);
            assert_eq!(Caller::read(&headers), Some(caller));
        }
    }

    #[test]
    fn contradicting_headers_have_no_caller() {
        let mut headers = HeaderMap::new();
        headers.insert(SUBJECT, HeaderValue::from_static("ann"));
        assert_eq!(Caller::read(&headers), None);
    }

    #[test]
    fn callers_have_access_to_their_own_and_to_shared_resources() {
        let ann = Caller::Subject("ann".into());
        assert!(ann.reaches("") && ann.reaches("ann") && !ann.reaches("bob"));
        assert!(Caller::Admin("root".into()).reaches("bob") && Caller::Service.reaches("bob"));
    }

    #[test]
    fn a_function_belongs_to_the_owner_of_its_module_or_else_to_its_creator() {
        let cases = [
            ("ann", "root", true),
            ("", "ann", true),
            ("bob", "ann", false),
            ("", "bob", false),
            ("", "", false),
        ];
        for (module_owner, creator, expected) in cases {
            let may = |caller: Caller| caller.may_change_function(module_owner, creator);
            assert_eq!(may(Caller::Subject("ann".into())), expected, "{module_owner} {creator}");
            assert!(may(Caller::Admin("root".into())) && may(Caller::Service));
        }
    }

    #[test]
    fn a_numeric_secret_is_refused_without_being_shown() {
        assert_eq!(serde_json::from_str::<Secret>("\"12345\"").expect("text").expose(), "12345");
        let error = serde_json::from_str::<Secret>("12345").expect_err("a number").to_string();
        assert!(error.contains("quotes") && !error.contains("12345"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        let mut headers = HeaderMap::new();
        assert!(!secret.is_in(&headers));
        secret.put(&mut headers);
        assert!(secret.is_in(&headers) && !format!("{headers:?}").contains("hunter2"));
    }
}
