//! Hashes, and the two text forms of bytes that go into ids and URLs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 as base64url.
pub fn hash(text: &str) -> String {
    base64url(&sha256(text.as_bytes()))
}

/// 64 bits of SHA-256: enough to tell two secrets apart, too little to check a guess of a long one.
pub fn short(text: &str) -> String {
    base64url(&sha256(text.as_bytes())[..8])
}

/// HMAC-SHA-256.
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-1, for OAuth 1.0a alone (RFC 5849 section 3.4.2).
pub fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Whether two byte strings are equal, in a time that does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Base64url without padding (RFC 4648 section 5).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Base64 (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64 of either alphabet, padded or not, with white space in it.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=');
    let odd = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'+' | b'/' | b'=');
    if !plain.bytes().any(odd) {
        return URL_SAFE_NO_PAD.decode(plain).ok();
    }
    let text = text.chars().filter(|c| !c.is_whitespace() && *c != '=').map(|c| match c {
        '+' => '-',
        '/' => '_',
        other => other,
    });
    URL_SAFE_NO_PAD.decode(text.collect::<String>()).ok()
}

/// Base32 in lower case without padding, for ids that people read aloud (RFC 4648 section 6).
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut out = String::new();
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(hash(""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
        // RFC 4231, test case 2.
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(from_base64("a-_A\n=="), from_base64("a+/A"));
        assert!(same(b"a", b"a") && !same(b"a", b"b"));
    }
}
