//! The deployment's keys, and what is made with them: sealed texts, tickets, signatures.
//!
//! Each account, and each connection, is sealed with a key of its own, derived from the deployment's: so no one key seals so
//! many texts that AES-GCM's random nonces could meet.
//!
//! Several keys can be given; the last one seals and signs, all of them open. So a key is rotated by adding a new one,
//! waiting until everything was sealed again, and taking the old one away (docs/storage.md).

use crate::digest;
use crate::error::{Error, Result};
use crate::ports::{Random, random};
use crate::secret::Secret;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

/// Length of an AES-GCM nonce.
const NONCE: usize = 12;
/// First part of every sealed text: the format's version.
const VERSION: &str = "v2";
/// The version before, in which all was sealed with one key. It is still opened.
const ONE_KEY: &str = "v1";

/// All keys of a deployment.
pub struct Keys {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    root: Hkdf<Sha256>,
    signing: [u8; 32],
}

impl Keys {
    /// Reads `id:base64,id:base64`, each key 32 bytes. The error says what is wrong and how to make a key.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        const HOW: &str = "set the secret VALETKEY_KEYS to `k1:` and the output of `openssl rand -base64 32`";
        let mut keys: Vec<Key> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (id, key) = part.split_once(':').ok_or(format!("a key in VALETKEY_KEYS has no id; {HOW}"))?;
            if id.is_empty() || id.len() > 16 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err("a key id in VALETKEY_KEYS must be 1 to 16 letters and digits".into());
            }
            let bytes = digest::from_base64(key).filter(|bytes| bytes.len() == 32);
            let bytes = bytes.ok_or(format!("key `{id}` in VALETKEY_KEYS is not 32 bytes of base64; {HOW}"))?;
            if keys.iter().any(|known| known.id == id) {
                return Err(format!("key id `{id}` stands twice in VALETKEY_KEYS"));
            }
            keys.push(Key::new(id, &bytes));
        }
        if keys.is_empty() { Err(format!("no key: {HOW}")) } else { Ok(Self { keys }) }
    }

    fn newest(&self) -> &Key {
        self.keys.last().expect("parse refuses an empty list")
    }

    /// Seals a text, bound to `context` (`<owner>/<field>`): `v2.<key id>.<base64url of nonce and ciphertext>`.
    pub fn seal(&self, context: &str, text: &Secret, source: &dyn Random) -> String {
        let key = self.newest();
        let nonce: [u8; NONCE] = random(source);
        let payload = Payload { msg: text.reveal().as_bytes(), aad: context.as_bytes() };
        let sealed =
            key.of_owner(context).encrypt(&Nonce::from(nonce), payload).expect("AES-GCM seals any text below 64 GB");
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        format!("{VERSION}.{}.{}", key.id, digest::base64url(&bytes))
    }

    /// Opens a sealed text. Fails when it was sealed for another context, by an unknown key, or was changed.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Secret> {
        self.try_open(context, sealed).ok_or_else(|| {
            Error::internal("a stored secret cannot be opened: is the key that sealed it still in VALETKEY_KEYS?")
        })
    }

    fn try_open(&self, context: &str, sealed: &str) -> Option<Secret> {
        let mut parts = sealed.splitn(3, '.');
        let (version, id) = (parts.next()?, parts.next()?);
        let bytes = digest::from_base64(parts.next()?)?;
        let key = self.keys.iter().find(|key| key.id == id)?;
        let (nonce, text) = bytes.split_at_checked(NONCE)?;
        let nonce = Nonce::try_from(nonce).ok()?;
        let sealing = match version {
            VERSION => key.of_owner(context),
            ONE_KEY => key.of_all(),
            _ => return None,
        };
        let plain = sealing.decrypt(&nonce, Payload { msg: text, aad: context.as_bytes() }).ok()?;
        String::from_utf8(plain).ok().map(Secret::new)
    }

    /// Whether a sealed text was sealed by another key than the newest, or in a form before this one.
    pub fn is_outdated(&self, sealed: &str) -> bool {
        !sealed.strip_prefix(&self.seals_as()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// How everything sealed from now on begins: the form and the newest key's id.
    pub fn seals_as(&self) -> String {
        format!("{VERSION}.{}", self.newest().id)
    }

    /// Signs `text` for one purpose: key id and 128 bits of HMAC-SHA-256.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let key = self.newest();
        format!("{}-{}", key.id, key.signature(purpose, text))
    }

    /// Whether `signature` was made by `sign` for the same purpose and text, with any of the keys.
    pub fn is_signed(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let Some((id, mac)) = signature.split_once('-') else { return false };
        let key = self.keys.iter().find(|key| key.id == id);
        key.is_some_and(|key| digest::same(key.signature(purpose, text).as_bytes(), mac.as_bytes()))
    }
}

impl Key {
    fn new(id: &str, secret: &[u8]) -> Self {
        let root = Hkdf::<Sha256>::new(None, secret);
        Self { id: id.to_owned(), signing: expand(&root, "valetkey/sign/v1"), root }
    }

    /// The key of whom a context belongs to: the account or connection, which stands before the first slash.
    fn of_owner(&self, context: &str) -> Aes256Gcm {
        let owner = context.split('/').next().unwrap_or_default();
        Aes256Gcm::new(&expand(&self.root, &format!("valetkey/seal/v2/{owner}")).into())
    }

    /// The one key of the version before.
    fn of_all(&self) -> Aes256Gcm {
        Aes256Gcm::new(&expand(&self.root, "valetkey/seal/v1").into())
    }

    fn signature(&self, purpose: &str, text: &str) -> String {
        digest::base64url(&digest::hmac(&self.signing, format!("{purpose}\n{text}").as_bytes())[..16])
    }
}

fn expand(root: &Hkdf<Sha256>, purpose: &str) -> [u8; 32] {
    let mut key = [0; 32];
    root.expand(purpose.as_bytes(), &mut key).expect("32 bytes are within HKDF's range");
    key
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Counting(pub std::cell::Cell<u8>);
    impl Random for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            self.0.set(self.0.get().wrapping_add(1));
            buffer.fill(self.0.get());
        }
    }

    fn keys(text: &str) -> Keys {
        Keys::parse(text).ok().unwrap()
    }

    const ONE: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const BOTH: &str =
        "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=, k2:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn a_sealed_text_opens_in_its_own_context_alone() {
        let keys = keys(ONE);
        let sealed = keys.seal("ca_1/access", &Secret::new("token"), &Counting(0.into()));
        assert!(sealed.starts_with("v2.k1.") && !sealed.contains("token"));
        assert_eq!(keys.open("ca_1/access", &sealed).unwrap().reveal(), "token");
        assert!(keys.open("ca_2/access", &sealed).is_err());
        assert!(keys.open("ca_1/access", &format!("{sealed}A")).is_err());
        assert!(keys.open("ca_1/access", "v1.k1.AAAA").is_err());
    }

    #[test]
    fn the_stored_form_does_not_change() {
        let sealed = keys(ONE).seal("ca_1/access", &Secret::new("token"), &Counting(0.into()));
        assert_eq!(sealed, "v2.k1.AQEBAQEBAQEBAQEBRH5Fe0TjTOQuds7plXxddeE1qp2_");
        assert!(!keys(ONE).is_outdated(&sealed));
    }

    #[test]
    fn what_the_version_before_sealed_opens_and_is_outdated() {
        let keys = keys(ONE);
        let sealed = "v1.k1.AQEBAQEBAQEBAQEBcbpO7wSdtL1yETI8iZ-r_kHaw4hX";
        assert_eq!(keys.open("ca_1/access", sealed).unwrap().reveal(), "token");
        assert!(keys.open("ca_2/access", sealed).is_err() && keys.open("ca_1/refresh", sealed).is_err());
        assert!(keys.is_outdated(sealed));
        // The forms are not taken for one another.
        assert!(keys.open("ca_1/access", &sealed.replace("v1.", "v2.")).is_err());
    }

    #[test]
    fn no_two_owners_are_sealed_with_one_key() {
        let keys = keys(ONE);
        let key = |context: &str| {
            let sealing = keys.newest().of_owner(context);
            let payload = Payload { msg: &[0; 32], aad: b"" };
            sealing.encrypt(&Nonce::from([0; NONCE]), payload).unwrap()
        };
        assert_eq!(key("ca_1/access"), key("ca_1/refresh"));
        assert_ne!(key("ca_1/access"), key("ca_2/access"));
        assert_ne!(key("ca_1/access"), key("conn_1/client_secret"));
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let old = keys(ONE).seal("x", &Secret::new("t"), &Counting(0.into()));
        let both = keys(BOTH);
        assert_eq!(both.open("x", &old).unwrap().reveal(), "t");
        assert!(both.is_outdated(&old));
        let new = both.seal("x", &Secret::new("t"), &Counting(0.into()));
        assert!(new.starts_with("v2.k2.") && !both.is_outdated(&new));
        assert!(keys(ONE).open("x", &new).is_err());
        assert!(both.is_signed("state", "a", &keys(ONE).sign("state", "a")));
    }

    #[test]
    fn signatures_hold_for_one_purpose_and_text() {
        let keys = keys(ONE);
        let signature = keys.sign("state", "ca_1.x");
        assert!(keys.is_signed("state", "ca_1.x", &signature));
        assert!(!keys.is_signed("link", "ca_1.x", &signature));
        assert!(!keys.is_signed("state", "ca_1.y", &signature));
        assert!(!keys.is_signed("state", "ca_1.x", ""));
    }

    #[test]
    fn a_wrong_setting_says_what_to_do() {
        for wrong in ["", "abc", "k1:AAAA", "k 1:AAAA", &format!("{ONE},{ONE}")] {
            let problem = Keys::parse(wrong).err().unwrap();
            assert!(problem.contains("VALETKEY_KEYS"), "{problem}");
        }
    }
}
