//! Sessions: a token and a secret against forged forms, in a cookie that only this gateway can read or make.
//!
//! The gateway keeps no sessions: the cookie is sealed with XChaCha20-Poly1305 under the console's key. Whoever has a
//! cookie has the session until it expires or its token is revoked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use mesh::auth::Secret;
use mesh::clock::now_ms;
use serde::{Deserialize, Serialize};

/// The name of the cookie.
const NAME: &str = "funless_console";
/// How long a session lasts, in seconds.
const MAX_AGE_S: i64 = 12 * 3600;
const NONCE_BYTES: usize = 24;
/// Binds what is sealed to its purpose.
const PURPOSE: &[u8] = b"funless console session v1";

/// The session of a browser.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) token: Secret,
    /// What each form of the session contains.
    pub(super) csrf: Secret,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    token: String,
    csrf: String,
    /// Unix time in milliseconds.
    expires_at_ms: i64,
}

/// Seals and opens sessions.
#[derive(Clone)]
pub(super) struct Sealer(XChaCha20Poly1305);

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer")
    }
}

impl Sealer {
    pub(super) fn random_key() -> [u8; 32] {
        Key::generate().into()
    }

    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// The header that begins a session with `token`.
    pub(super) fn begin(&self, token: &str) -> Option<HeaderValue> {
        let expires_at_ms = now_ms() + 1000 * MAX_AGE_S;
        let csrf = Secret::random().expose().to_owned();
        let sealed = self.seal(&Sealed { token: token.to_owned(), csrf, expires_at_ms })?;
        cookie(&sealed, MAX_AGE_S)
    }

    /// The session in the cookies of a request.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == NAME)?;
        let Sealed { token, csrf, expires_at_ms } = self.open(value)?;
        (now_ms() < expires_at_ms).then(|| Session { token: Secret::new(token), csrf: Secret::new(csrf) })
    }

    fn seal(&self, session: &Sealed) -> Option<String> {
        let nonce = XNonce::generate();
        let text = serde_json::to_vec(session).ok()?;
        let ciphertext = self.0.encrypt(&nonce, Payload { msg: &text, aad: PURPOSE }).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &ciphertext].concat()))
    }

    fn open(&self, sealed: &str) -> Option<Sealed> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: ciphertext, aad: PURPOSE };
        serde_json::from_slice(&self.0.decrypt(&XNonce::from(*nonce), payload).ok()?).ok()
    }
}

/// The header that ends a session.
pub(super) fn end() -> HeaderValue {
    cookie("", 0).unwrap_or_else(|| HeaderValue::from_static(""))
}

/// Browsers keep `Secure` cookies of loopback addresses without TLS, too.
fn cookie(value: &str, max_age_s: i64) -> Option<HeaderValue> {
    let text =
        format!("{NAME}={value}; Path=/console; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Strict");
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &str) -> HeaderMap {
        [(COOKIE, HeaderValue::from_str(cookies).expect("a header"))].into_iter().collect()
    }

    #[test]
    fn a_session_opens_with_its_key_only() {
        let (sealer, other) = (Sealer::new([1; 32]), Sealer::new([2; 32]));
        let set = sealer.begin("token").expect("a cookie");
        let set = set.to_str().expect("ASCII");
        assert!(!set.contains("token="), "{set}");
        assert!(set.ends_with("; Path=/console; Max-Age=43200; Secure; HttpOnly; SameSite=Strict"), "{set}");
        let pair = set.split(';').next().expect("a pair");
        let cookies = headers(&format!("a=b; {pair}; c=d"));
        let session = sealer.session(&cookies).expect("its own");
        assert_eq!((session.token.expose(), session.csrf.expose().len()), ("token", 64));
        assert!(other.session(&cookies).is_none());
        let changed = format!("{}A{}", &pair[..NAME.len() + 5], &pair[NAME.len() + 6..]);
        for wrong in ["", "funless_console=", "funless_console=AAAA", "other=x", &changed[..40]] {
            assert!(sealer.session(&headers(wrong)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn sessions_expire() {
        let sealer = Sealer::new([1; 32]);
        for (expires_at_ms, is_valid) in [(now_ms() - 1, false), (now_ms() + 60_000, true)] {
            let sealed = Sealed { token: "t".into(), csrf: "c".into(), expires_at_ms };
            let cookies = headers(&format!("{NAME}={}", sealer.seal(&sealed).expect("sealed")));
            assert_eq!(sealer.session(&cookies).is_some(), is_valid);
        }
    }
}
