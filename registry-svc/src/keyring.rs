//! Encrypts the stored parameters of bindings: XChaCha20-Poly1305 with a random nonce. The binding's id is
//! associated data, so that one binding's ciphertext is not valid for another binding.
//!
//! The stored text is `v1:<key id>:<base64 of nonce and ciphertext>`. Text that begins with `{` was stored in
//! plaintext by a version that did not encrypt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mesh::auth::Secret;
use mesh::hash::Hash;

const VERSION: &str = "v1";
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
/// The length of a key's id, which identifies the key and reveals nothing about it.
const ID_DIGITS: usize = 8;

/// The registry's encryption keys.
pub(crate) struct Keyring {
    /// Encrypts new values. Absent: no secrets can be stored.
    current: Option<Key>,
    /// Only used to decrypt.
    former: Vec<Key>,
}

struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

/// Why stored text cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(
        "it is encrypted under the key {0}, which is neither encryption_key nor among former_encryption_keys"
    )]
    UnknownKey(String),
    #[error("it has been damaged, or was written for another binding")]
    Damaged,
}

impl Keyring {
    /// Parses the keys, 64 hexadecimal digits each. An error names the configuration key.
    pub(crate) fn new(current: Option<&Secret>, former: &[Secret]) -> Result<Self, String> {
        let current = current.map(|key| Key::parse("encryption_key", key)).transpose()?;
        let former = former.iter().map(|key| Key::parse("former_encryption_keys", key));
        Ok(Self { current, former: former.collect::<Result<_, _>>()? })
    }

    /// Whether there is a key to encrypt with.
    pub(crate) fn has_key(&self) -> bool {
        self.current.is_some()
    }

    /// Whether `stored` is encrypted with the current key.
    pub(crate) fn is_current(&self, stored: &str) -> bool {
        let key = split(stored).map(|(key, _)| key);
        key.is_some() && key == self.current.as_ref().map(|current| &*current.id)
    }

    /// Encrypts the parameters of the binding `id` for storage; `None` without a key.
    pub(crate) fn seal(&self, id: &str, params: &str) -> Option<String> {
        let key = self.current.as_ref()?;
        let nonce = XNonce::generate();
        let payload = Payload { msg: params.as_bytes(), aad: id.as_bytes() };
        // Fails for more than 256 GiB.
        let ciphertext = key.cipher.encrypt(&nonce, payload).ok()?;
        let sealed = STANDARD.encode([&nonce[..], &ciphertext].concat());
        Some(format!("{VERSION}:{}:{sealed}", key.id))
    }

    /// Decrypts the stored parameters of the binding `id`.
    pub(crate) fn open(&self, id: &str, stored: &str) -> Result<String, Unreadable> {
        if is_clear(stored) {
            return Ok(stored.to_owned());
        }
        let (key_id, sealed) = split(stored).ok_or(Unreadable::Damaged)?;
        let key = self.current.iter().chain(&self.former).find(|key| key.id == key_id);
        let key = key.ok_or_else(|| Unreadable::UnknownKey(key_id.to_owned()))?;
        key.open(id, sealed).ok_or(Unreadable::Damaged)
    }
}

impl Key {
    /// An error names the configuration key, never the secret.
    fn parse(name: &str, secret: &Secret) -> Result<Self, String> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(secret.expose(), &mut bytes)
            .map_err(|_| format!("{name}: expected {} hexadecimal digits", 2 * KEY_BYTES))?;
        let id = Hash::of(&bytes).to_string()[..ID_DIGITS].to_owned();
        Ok(Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) })
    }

    fn open(&self, id: &str, sealed: &str) -> Option<String> {
        let sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: ciphertext, aad: id.as_bytes() };
        let params = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(params).ok()
    }
}

/// Whether `stored` is plaintext.
pub(crate) fn is_clear(stored: &str) -> bool {
    stored.trim_start().starts_with('{')
}

/// Splits stored text into the key's id and the encoded ciphertext.
fn split(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(VERSION)?.strip_prefix(':')?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(current: &Secret, former: &[Secret]) -> Keyring {
        Keyring::new(Some(current), former).expect("valid keys")
    }

    #[test]
    fn sealed_params_open_only_for_their_binding_and_key() {
        let (key, other) = (Secret::random(), Secret::random());
        let keys = keyring(&key, &[]);
        let params = r#"{"password":"hunter2"}"#;
        let sealed = keys.seal("a", params).expect("a key");
        assert!(sealed.starts_with("v1:") && !sealed.contains("hunter2") && keys.is_current(&sealed));
        assert_ne!(keys.seal("a", params).expect("a key"), sealed, "the nonce is random");
        assert_eq!(keys.open("a", &sealed), Ok(params.to_owned()));
        assert_eq!(keys.open("b", &sealed), Err(Unreadable::Damaged));

        let rotated = keyring(&other, &[key]);
        assert_eq!(rotated.open("a", &sealed), Ok(params.to_owned()));
        assert!(!rotated.is_current(&sealed));
        for keys in [keyring(&other, &[]), Keyring::new(None, &[]).expect("no keys")] {
            assert!(matches!(keys.open("a", &sealed), Err(Unreadable::UnknownKey(_))));
        }
    }

    #[test]
    fn damaged_text_is_refused_without_a_panic() {
        let keys = keyring(&Secret::random(), &[]);
        let sealed = keys.seal("a", "{}").expect("a key");
        let damaged = format!("{}AAAA{}", &sealed[..20], &sealed[24..]);
        let short = format!("{}AAAA", &sealed[..12]);
        for stored in ["", "v1", "v1:", "v1::", "nonsense", &sealed[..sealed.len() - 4], &damaged, &short] {
            assert!(keys.open("a", stored).is_err(), "{stored}");
        }
        assert_eq!(keys.open("a", "{}"), Ok("{}".to_owned()), "stored by a version that did not encrypt");
        assert!(!keys.is_current("{}"));
    }

    #[test]
    fn errors_about_keys_hide_the_keys() {
        for wrong in ["", "hunter2", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            let error = Keyring::new(Some(&Secret::new(wrong)), &[]).err().expect("refused");
            assert_eq!(error, "encryption_key: expected 64 hexadecimal digits");
            let error = Keyring::new(None, &[Secret::new(wrong)]).err().expect("refused");
            assert_eq!(error, "former_encryption_keys: expected 64 hexadecimal digits");
        }
        assert!(Keyring::new(None, &[]).expect("no key is valid").seal("a", "{}").is_none());
    }
}
