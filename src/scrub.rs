//! Secrets cut out of what others say: a provider may repeat whatever it was sent.
//!
//! A [`Scrub`] is made of every secret a request was built from, and is applied before anything is cut, stored, logged or
//! shown. It knows a secret in the spellings that servers repeat one in: as it is, escaped for JSON or for a URL, as base64
//! (also as a part of a longer text, as in HTTP Basic) and as hex. Nothing is computed until something was said, so a call
//! that goes well pays nothing.

use crate::digest;
use crate::error::Error;
use crate::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::cell::OnceCell;

/// What stands in a secret's place.
const STARS: &str = "***";
/// Shorter texts are no secrets: every sentence holds them.
const SHORTEST: usize = 6;
/// Secrets this long are looked for in an answer that succeeded, too: chance does not write them.
const UNMISTAKABLE: usize = 16;

/// RFC 3986 unreserved characters stay; and what `encodeURIComponent` leaves beside them.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const LOOSE: &AsciiSet = &STRICT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');

/// The secrets of one request.
#[derive(Default, Clone)]
pub struct Scrub {
    secrets: Vec<Secret>,
    /// Every spelling, the longest first: made when it is first needed.
    forms: OnceCell<Vec<Secret>>,
}

impl Scrub {
    /// Learns a secret.
    pub fn know(&mut self, secret: &Secret) -> &mut Self {
        if secret.reveal().trim().len() >= SHORTEST {
            self.secrets.push(secret.clone());
            self.forms = OnceCell::new();
        }
        self
    }

    /// Learns several.
    #[must_use]
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut scrub = Self::default();
        for secret in secrets {
            scrub.know(secret);
        }
        scrub
    }

    /// The text without the secrets.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for form in self.forms() {
            if clean.contains(form.reveal()) {
                clean = clean.replace(form.reveal(), STARS);
            }
        }
        clean
    }

    /// The beginning of a text, without the secrets. It is cut after they are out: half a secret is not recognized.
    pub fn beginning(&self, text: &str, characters: usize) -> String {
        let longest = self.forms().first().map_or(0, |form| form.reveal().len());
        // Far more than is kept, so that what is taken out does not let the cut end come near.
        let (head, cut) = head(text, 4 * characters + 2 * longest);
        let mut clean = self.text(head);
        if cut {
            // A secret that the cut went through stands in the last of it.
            let end = head_length(&clean, clean.len().saturating_sub(longest));
            clean.truncate(end);
        }
        if let Some((end, _)) = clean.char_indices().nth(characters) {
            clean.truncate(end);
        }
        clean
    }

    /// The same for every text in a value, its names and its numbers too.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                let named = |name: &String| self.forms().iter().any(|form| name.contains(form.reveal()));
                if fields.keys().any(named) {
                    let old = std::mem::take(fields);
                    fields.extend(old.into_iter().map(|(name, value)| (self.text(&name), value)));
                }
                fields.values_mut().for_each(|field| self.value(field));
            }
            Value::Number(number) => {
                let text = number.to_string();
                let clean = self.text(&text);
                if clean != text {
                    *value = Value::String(clean);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The same for an error: everything in it that a provider may have written.
    #[must_use]
    pub fn error(&self, mut error: Error) -> Error {
        error.message = self.text(&error.message);
        let details = &mut *error.details;
        let clean = |text: &mut Option<String>| *text = text.take().map(|text| self.text(&text));
        clean(&mut details.provider_code);
        clean(&mut details.limit_type);
        if let Some(response) = &mut details.provider_response {
            self.value(response);
        }
        details.required_scopes.iter_mut().for_each(|scope| *scope = self.text(scope));
        for problem in &mut details.problems {
            problem.message = self.text(&problem.message);
        }
        error
    }

    fn forms(&self) -> &[Secret] {
        self.forms.get_or_init(|| {
            let mut forms = Vec::new();
            for secret in self.secrets.iter().flat_map(parts) {
                spell(secret.reveal(), &mut forms);
            }
            forms.sort_by(|a, b| b.reveal().len().cmp(&a.reveal().len()).then_with(|| a.reveal().cmp(b.reveal())));
            forms.dedup();
            forms
        })
    }
}

/// The secret, and what it is made of: the inside of a base64 key (`email:key`), the private key of a key file.
fn parts(secret: &Secret) -> Vec<Secret> {
    let mut parts = vec![secret.clone()];
    let text = secret.reveal();
    let raw = digest::from_base64(text).and_then(|bytes| String::from_utf8(bytes).ok());
    let readable = |text: &String| text.len() >= SHORTEST && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if let Some(raw) = raw.filter(readable) {
        if let Some((before, after)) = raw.split_once(':') {
            // Most write `name:secret`, some `key:x`.
            parts.push(Secret::new(if after.len() >= SHORTEST { after } else { before }));
        }
        parts.push(Secret::new(raw));
    }
    if let Ok(Value::Object(fields)) = serde_json::from_str(text) {
        let is_secret = |name: &str, text: &str| {
            text.contains("PRIVATE KEY") || ["secret", "password", "private_key"].iter().any(|end| name.ends_with(end))
        };
        for (name, value) in &fields {
            parts.extend(value.as_str().filter(|text| is_secret(name, text)).map(Secret::new));
        }
        let documents = fields.values().filter_map(Value::as_str).filter(|text| text.trim_start().starts_with('{'));
        parts.extend(documents.flat_map(|text| self::parts(&Secret::new(text))));
    }
    parts
}

/// The spellings of one secret.
fn spell(text: &str, forms: &mut Vec<Secret>) {
    let mut add = |form: String| {
        if form.len() >= SHORTEST {
            forms.push(Secret::new(form));
        }
    };
    for text in [text, text.trim()] {
        add(text.to_owned());
        let escaped = Value::from(text).to_string();
        let escaped = escaped.trim_matches('"');
        add(escaped.to_owned());
        // PHP escapes the slash, too.
        add(escaped.replace('/', "\\/"));
        for set in [STRICT, LOOSE] {
            let encoded = utf8_percent_encode(text, set).to_string();
            add(encoded.replace("%20", "+"));
            add(lower_hex(&encoded));
            add(encoded);
        }
        let bytes = text.as_bytes();
        for before in 0..3 {
            inside_base64(bytes, before).into_iter().for_each(&mut add);
        }
        let hex = hex(bytes);
        add(hex.to_uppercase());
        add(hex);
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("four bits are one digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `%2F` as `%2f`.
fn lower_hex(encoded: &str) -> String {
    let mut pieces = encoded.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_at(2.min(piece.len()));
        out.push('%');
        out.push_str(&hex.to_ascii_lowercase());
        out.push_str(rest);
    }
    out
}

/// What of a text's base64 is the same whatever stands around it, `before` bytes after a boundary of three; both alphabets.
fn inside_base64(bytes: &[u8], before: usize) -> Vec<String> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(bytes);
    let whole = padded.len() * 8 / 6;
    // Characters that hold bits of what stands before.
    let skip = (before * 8).div_ceil(6);
    let cut = |text: &str| text.get(skip..whole).filter(|form| form.len() >= SHORTEST + 2).map(str::to_owned);
    [digest::base64(&padded), digest::base64url(&padded)].iter().filter_map(|text| cut(text)).collect()
}

/// Whether one of these stands in an answer that succeeded, as it is: a look at the bytes, without an allocation. Only
/// secrets that chance does not write are looked for.
pub fn stands_in<'a>(bytes: &[u8], secrets: impl IntoIterator<Item = &'a Secret>) -> bool {
    let mut long = secrets.into_iter().filter(|secret| secret.reveal().len() >= UNMISTAKABLE);
    long.any(|secret| contains(bytes, secret.reveal().as_bytes()))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(wanted) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

fn head(text: &str, most: usize) -> (&str, bool) {
    let end = head_length(text, most);
    (&text[..end], end < text.len())
}

/// The largest length up to `most` that does not go through a character.
fn head_length(text: &str, most: usize) -> usize {
    let most = most.min(text.len());
    (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use serde_json::json;

    const KEY: &str = "s3cr/et+\"ö\" k?y=_0123456789";

    fn scrub(text: &str) -> Scrub {
        Scrub::of([&Secret::new(text)])
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let scrub = scrub(KEY);
        let basic = digest::base64(format!("client-id:{KEY}").as_bytes());
        for spelled in [
            KEY.to_owned(),
            json!(KEY).to_string(),
            json!(KEY).to_string().replace('/', "\\/"),
            utf8_percent_encode(KEY, STRICT).to_string(),
            lower_hex(&utf8_percent_encode(KEY, STRICT).to_string()),
            utf8_percent_encode(KEY, LOOSE).to_string(),
            form_urlencoded::byte_serialize(KEY.as_bytes()).collect(),
            digest::base64(KEY.as_bytes()),
            digest::base64url(KEY.as_bytes()),
            hex(KEY.as_bytes()),
            basic,
        ] {
            let clean = scrub.text(&format!("said {spelled} again"));
            assert!(clean.contains("***") && clean.len() < 40, "{spelled}: {clean}");
        }
        for before in ["", "a", "ab", "abc", "abcd"] {
            let clean = scrub.text(&digest::base64(format!("{before}{KEY}{before}").as_bytes()));
            assert!(clean.contains("***") && clean.len() < 20, "{before}: {clean}");
        }
    }

    #[test]
    fn what_a_key_is_made_of_is_a_secret_too() {
        let zendesk = scrub(&digest::base64(b"jo@example.com/token:AbCdEf0123456789"));
        assert_eq!(
            zendesk.text("key AbCdEf0123456789 of jo@example.com is wrong"),
            "key *** of jo@example.com is wrong"
        );
        let freshdesk = scrub(&digest::base64(b"AbCdEf0123456789:X"));
        assert_eq!(freshdesk.text("key AbCdEf0123456789"), "key ***");
        let file = json!({ "client_email": "a@b.example", "private_key": "-----BEGIN PRIVATE KEY-----\nMIIB\n" });
        let typed = scrub(&json!({ "key_file": file.to_string() }).to_string());
        let clean = typed.text(&format!("{} for a@b.example", json!("-----BEGIN PRIVATE KEY-----\nMIIB\n")));
        assert_eq!(clean, "\"***\" for a@b.example");
    }

    #[test]
    fn it_is_cut_after_the_secret_is_out() {
        let token = "ya29.0123456789012345678901234567";
        let scrub = scrub(token);
        for before in 0..120 {
            let text = format!("{}{token} and more, and more {token}{token}", "x".repeat(before));
            let clean = scrub.beginning(&text, 50);
            assert!(!clean.contains("ya29") && clean.chars().count() <= 50, "{clean}");
        }
        // However often it stands there: what is cut off is never half of it.
        let many = token.repeat(2_000);
        for most in [1, 10, 100, 1_000] {
            let clean = scrub.beginning(&many, most);
            assert!(clean.chars().all(|c| c == '*'), "{clean}");
        }
        assert_eq!(scrub.beginning("äöü", 2), "äö");
        assert_eq!(Scrub::default().beginning("plain", 4_000), "plain");
    }

    #[test]
    fn errors_and_values_are_cleaned_everywhere() {
        let scrub = scrub("1234567890123456");
        let mut value =
            json!({ "a": ["1234567890123456", 1_234_567_890_123_456_u64], "1234567890123456": true, "b": 1 });
        scrub.value(&mut value);
        assert_eq!(value, json!({ "a": ["***", "***"], "***": true, "b": 1 }));
        let error = Error::new(Code::ProviderError, "no 1234567890123456").with(|details| {
            details.provider_code = Some("1234567890123456".into());
            details.provider_response = Some(json!("x1234567890123456"));
        });
        let text = scrub.error(error).to_json().to_string();
        assert!(!text.contains("1234567890123456"), "{text}");
    }

    #[test]
    fn short_words_are_left_and_long_ones_are_seen_in_answers() {
        assert_eq!(scrub("admin").text("admin"), "admin");
        let stands = |secret: &str, bytes: &[u8]| stands_in(bytes, [&Secret::new(secret)]);
        assert!(stands("the-access-token", b"{\"a\":\"the-access-token\"}"));
        assert!(!stands("the-access-token", b"the-access-toke"));
        assert!(!stands("password", b"password"));
    }
}
