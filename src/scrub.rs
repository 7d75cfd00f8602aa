//! Secrets cut out of what others say: a provider may repeat whatever it was sent.
//!
//! A [`Scrub`] is made of every secret a request was built from, and is applied before anything is cut, stored, logged or
//! shown. It knows a secret in the spellings that servers repeat one in, and in all that valetkey itself sends: as it is, escaped
//! for a URL or a form, as base64 (also as a part of a longer text, as in HTTP Basic, whose halves are escaped first) and as
//! hex; each of them also with whatever JSON escapes in it. An answer that succeeded is looked through for the same spellings,
//! in a time that grows with its length alone.

use crate::digest;
use crate::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::cell::OnceCell;
use std::iter::Peekable;
use std::ops::Range;
use std::vec::IntoIter;

/// What stands in a secret's place.
const STARS: &str = "***";
/// Shorter texts are no secrets: every sentence holds them.
const SHORTEST: usize = 6;
/// Secrets this long are looked for in an answer that succeeded, too: chance does not write them.
const UNMISTAKABLE: usize = 16;

/// Bytes that one of ours takes at most where JSON escapes it: `\u002f`.
const LONGEST_ESCAPE: usize = 6;

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
        self.escaped(&clean).unwrap_or(clean)
    }

    /// The text without the secrets in which characters are escaped for JSON that need not be, if there are any.
    fn escaped(&self, text: &str) -> Option<String> {
        if !text.contains('\\') {
            return None;
        }
        let plain: String = characters(text).map(|(_, character)| character).collect();
        let forms = self.forms().iter();
        let places = forms.flat_map(|form| plain.match_indices(form.reveal()).map(|(at, form)| at..at + form.len()));
        let mut places: Vec<Range<usize>> = places.collect();
        places.sort_unstable_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
        (!places.is_empty()).then(|| without(text, places.into_iter().peekable()))
    }

    /// The beginning of a text, without the secrets. It is cut after they are out: half a secret is not recognized.
    pub fn beginning(&self, text: &str, characters: usize) -> String {
        let longest = self.forms().first().map_or(0, |form| LONGEST_ESCAPE * form.reveal().len());
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
                if fields.keys().any(|name| self.text(name) != *name) {
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
    let trimmed = Some(text.trim()).filter(|trimmed| *trimmed != text);
    for text in std::iter::once(text).chain(trimmed) {
        add(text.to_owned());
        let escaped = Value::from(text).to_string();
        let escaped = &escaped[1..escaped.len() - 1];
        add(escaped.to_owned());
        // PHP escapes the slash, too.
        add(escaped.replace('/', "\\/"));
        let strict = utf8_percent_encode(text, STRICT).to_string();
        let loose = utf8_percent_encode(text, LOOSE).to_string();
        // What is not a letter or a digit is escaped by one and left by another: `~` by all forms, `*` by none.
        let form: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let mut in_base64 = vec![text, &strict, &form];
        in_base64.dedup();
        for text in in_base64 {
            for before in 0..3 {
                inside_base64(text.as_bytes(), before).into_iter().for_each(&mut add);
            }
        }
        for encoded in [strict, loose, form.replace('+', "%20")] {
            for encoded in [lower_hex(&encoded), encoded] {
                add(encoded.replace("%20", "+"));
                add(encoded);
            }
        }
        let hex = hex(text.as_bytes());
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

/// Whether one of these stands in the places of an answer that succeeded, in any of the spellings that are masked. Only secrets that chance
/// does not write are looked for. No more than a piece of the answer is copied at a time.
pub fn stand_in<'a, 'b>(
    places: impl IntoIterator<Item = &'b [u8]>,
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> bool {
    let scrub = Scrub::of(secrets.into_iter().filter(|secret| secret.reveal().len() >= UNMISTAKABLE));
    let forms: Vec<&str> = scrub.forms().iter().map(Secret::reveal).filter(|form| form.len() >= UNMISTAKABLE).collect();
    let Some(longest) = forms.first().map(|form| form.len()) else { return false };
    let piece = PIECE.max(4 * longest);
    let mut grams = Grams::default();
    places.into_iter().filter(|bytes| bytes.len() >= UNMISTAKABLE).any(|bytes| {
        let mut plain = (0..bytes.len()).step_by(piece).map(|at| &bytes[at..bytes.len().min(at + piece + longest)]);
        plain.any(|piece| grams.has_one(piece, &forms))
            || bytes.contains(&b'\\') && stands_unescaped(bytes, &forms, (piece, longest), &mut grams)
    })
}

/// The same for a JSON text, its escapes taken away.
fn stands_unescaped(bytes: &[u8], forms: &[&str], (piece, longest): (usize, usize), grams: &mut Grams) -> bool {
    let (mut plain, mut rest) = (Vec::with_capacity(piece + longest), bytes);
    while !rest.is_empty() {
        if let Some((taken, character)) = escape(rest) {
            plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[taken..];
        } else {
            let most = rest.len().min(piece);
            let next = rest[1..most].iter().position(|byte| *byte == b'\\').map_or(most, |at| at + 1);
            plain.extend_from_slice(&rest[..next]);
            rest = &rest[next..];
        }
        if plain.len() >= piece + longest || rest.is_empty() {
            if grams.has_one(&plain, forms) {
                return true;
            }
            // What begins in this piece may end in the next.
            plain.drain(..plain.len().saturating_sub(longest));
        }
    }
    false
}

/// Bytes that are looked through at a time, and bits that note which four bytes stand there one after the other.
const PIECE: usize = 64 * 1024;
const GRAM_BITS: u32 = 18;

/// Which four bytes stand in a piece one after the other, as bits by their hashes. Nearly every spelling lacks some of its
/// own in a piece and is not looked for there: an answer is gone through once, and not once for each of a hundred spellings.
struct Grams(Vec<u64>);

impl Default for Grams {
    fn default() -> Self {
        Self(vec![0; 1 << (GRAM_BITS - 6)])
    }
}

impl Grams {
    fn has_one(&mut self, piece: &[u8], forms: &[&str]) -> bool {
        self.0.fill(0);
        for (word, bit) in grams(piece) {
            self.0[word] |= bit;
        }
        let may_stand = |form: &&&str| grams(form.as_bytes()).all(|(word, bit)| self.0[word] & bit != 0);
        // A comparison of texts takes linear time; what is no UTF-8 stands between them.
        forms.iter().filter(may_stand).any(|form| piece.utf8_chunks().any(|chunk| chunk.valid().contains(*form)))
    }
}

/// The word and the bit of each four bytes.
fn grams(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    bytes.windows(4).map(|four| {
        let number = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        // Fibonacci hashing: the highest bits of the product are the best mixed ones.
        let hash = number.wrapping_mul(0x9e37_79b1) >> (32 - GRAM_BITS);
        ((hash >> 6) as usize, 1 << (hash & 63))
    })
}

/// The character that a JSON escape (RFC 8259 section 7) at the beginning is, and its length there. What is no escape is none.
fn escape(bytes: &[u8]) -> Option<(usize, char)> {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    };
    let character = match bytes {
        [b'\\', b'u', ..] => {
            let first = unit(0)?;
            if let Some(character) = char::from_u32(first) {
                return Some((6, character));
            }
            let second = unit(6).filter(|second| first < 0xdc00 && (0xdc00..0xe000).contains(second))?;
            return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|both| (12, both));
        }
        [b'\\', b'b', ..] => '\u{8}',
        [b'\\', b'f', ..] => '\u{c}',
        [b'\\', b'n', ..] => '\n',
        [b'\\', b'r', ..] => '\r',
        [b'\\', b't', ..] => '\t',
        [b'\\', plain @ (b'"' | b'\\' | b'/'), ..] => char::from(*plain),
        _ => return None,
    };
    Some((2, character))
}

/// The characters of a JSON text, each with its spelling there.
fn characters(text: &str) -> impl Iterator<Item = (&str, char)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let own = || rest.chars().next().map(|character| (character.len_utf8(), character));
        let (taken, character) = escape(rest.as_bytes()).or_else(own)?;
        let (spelled, after) = rest.split_at(taken);
        rest = after;
        Some((spelled, character))
    })
}

/// A JSON text without some places, which are counted in the bytes of its characters, in their order.
fn without(text: &str, mut places: Peekable<IntoIter<Range<usize>>>) -> String {
    let (mut clean, mut at, mut masked) = (String::with_capacity(text.len()), 0, 0);
    for (spelled, character) in characters(text) {
        while let Some(place) = places.next_if(|place| place.start <= at) {
            // What goes over into the one before belongs to its stars.
            if place.start >= masked {
                clean.push_str(STARS);
            }
            masked = masked.max(place.end);
        }
        if at >= masked {
            clean.push_str(spelled);
        }
        at += character.len_utf8();
    }
    clean
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
    use crate::catalog::CONNECTORS;
    use crate::oauth::{Client, token};
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
    fn values_are_cleaned_everywhere() {
        let scrub = scrub("1234567890123456");
        let mut value =
            json!({ "a": ["1234567890123456", 1_234_567_890_123_456_u64], "1234567890123456": true, "b": 1 });
        scrub.value(&mut value);
        assert_eq!(value, json!({ "a": ["***", "***"], "***": true, "b": 1 }));
    }

    #[test]
    fn short_words_are_left_and_long_ones_are_seen_in_answers() {
        assert_eq!(scrub("admin").text("admin"), "admin");
        let stands = |secret: &str, bytes: &[u8]| stand_in([bytes], [&Secret::new(secret)]);
        assert!(stands("the-access-token", b"{\"a\":\"the-access-token\"}"));
        assert!(!stands("the-access-token", b"the-access-toke"));
        assert!(!stands("password", b"password"));
    }

    /// Numbers that are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % most
        }

        /// Of all printable ASCII, seldom a letter.
        fn secret(&mut self, shortest: usize) -> String {
            let length = shortest + self.below(40);
            let any = |n: usize| char::from(b' ' + u8::try_from(n).unwrap());
            (0..length).map(|_| any(self.below(95))).collect()
        }

        /// The text as one in JSON, each character escaped in one of the ways there are.
        fn escaped(&mut self, text: &str) -> String {
            let mut out = String::new();
            for c in text.chars() {
                let code = u32::from(c);
                match (c, self.below(3)) {
                    (_, 0) => out.push_str(&format!("\\u{code:04x}")),
                    (_, 1) => out.push_str(&format!("\\u{code:04X}")),
                    ('"' | '\\' | '/', _) => out.extend(['\\', c]),
                    _ => out.push(c),
                }
            }
            out
        }
    }

    #[test]
    fn whatever_a_secret_is_made_of_no_place_of_a_token_request_gives_it_away() {
        let mut numbers = Numbers(1);
        for n in 0..300 {
            let (secret, token) = (numbers.secret(UNMISTAKABLE), numbers.secret(UNMISTAKABLE));
            let client = Client { id: "i~d".repeat(1 + n % 4) + &"x".repeat(n % 3), secret: Secret::new(&*secret) };
            let refresh = Secret::new(&*token);
            let scrub = Scrub::of([&client.secret, &refresh]);
            let stars = Client { id: client.id.clone(), secret: Secret::new(STARS) };
            for oauth2 in CONNECTORS.iter().filter_map(|connector| connector.auth.oauth2.as_ref()) {
                let built = |client, token| token::refresh(oauth2, "https://a.example/".into(), client, token, &[]);
                let request = built(&client, &refresh);
                let wanted = String::from_utf8(built(&stars, &Secret::new(STARS)).body.bytes().to_vec()).unwrap();
                let body = scrub.text(std::str::from_utf8(request.body.bytes()).unwrap());
                assert_eq!(body, wanted, "{secret:?} {token:?}");
                if let Some(header) = crate::ports::get(&request.headers, "authorization") {
                    // Its first and its last bytes share a character with what stands beside it.
                    let clean = scrub.text(header);
                    let (before, after) = clean.split_once(STARS).unwrap_or_else(|| panic!("{secret:?}: {header}"));
                    let most = "Basic ".len() + (client.id.len() + 1).div_ceil(3) * 4;
                    assert!(before.len() <= most && after.len() <= 4, "{secret:?}: {header} {clean}");
                }
            }
        }
    }

    #[test]
    fn a_secret_is_noticed_and_masked_however_an_answer_escapes_it() {
        let mut numbers = Numbers(2);
        for n in 0..1_000 {
            let secret = numbers.secret(UNMISTAKABLE);
            let known = Secret::new(&*secret);
            let answer = format!("{}{{\"a\\n\":\"{}\"}}", " ".repeat(n), numbers.escaped(&secret));
            assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({ "a\n": secret }), "{answer}");
            assert!(stand_in([answer.as_bytes()], [&known]), "{answer}");
            let clean = Scrub::of([&known]).text(&answer);
            assert_eq!(clean.trim_start(), "{\"a\\n\":\"***\"}", "{answer}");
            let other = Secret::new(numbers.secret(UNMISTAKABLE));
            assert!(!stand_in([answer.as_bytes()], [&other]));
            // Also as it goes out, and as one text in another.
            for spelled in [
                form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
                digest::base64(["i", secret.as_str()].join(":").as_bytes()),
                json!({ "inside": json!({ "a": secret }).to_string() }).to_string(),
            ] {
                assert!(stand_in([spelled.as_bytes()], [&known]), "{secret:?}: {spelled}");
            }
        }
        // Characters of two halves, and what is no escape.
        let known = Secret::new("a secret \u{1f511} of some length");
        assert!(stand_in([br#"\x "a secret \ud83d\uDD11 of some length" \u12"#.as_slice()], [&known]));
        assert_eq!(Scrub::of([&known]).text(r"\ud83d\u \\ a secret \ud83d\udd11 of some length\"), r"\ud83d\u \\ ***\");
    }

    #[test]
    fn a_secret_is_noticed_wherever_it_stands_in_a_long_answer_and_the_time_is_linear() {
        let known = Secret::new("the/access+token-0123456789~".repeat(3));
        for spelled in [known.reveal().to_owned(), Numbers(3).escaped(known.reveal())] {
            for before in (0..300_000).step_by(9_973) {
                let mut answer = vec![0xff; before];
                answer.extend_from_slice(spelled.as_bytes());
                answer.extend_from_slice(&[b'\\'; 1_000]);
                assert!(stand_in([answer.as_slice()], [&known]), "{before}");
            }
        }
        // Everything but the last character, over and over: a comparison at each place would take minutes.
        let (known, many) = (Secret::new("a".repeat(16_000) + "b"), "a".repeat(2_000_000));
        assert!(!stand_in([many.as_bytes()], [&known]));
    }
}
