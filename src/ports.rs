//! What the domain needs from outside: each trait is one thing, with one real and one in-memory implementation.

use crate::code::Code;
use crate::error::{Error, Result, short};
use ::http::HeaderMap;
use async_trait::async_trait;
use std::any::Any;
use std::rc::Rc;

/// Milliseconds since 1970.
pub type Millis = u64;

/// What time it is.
pub trait Clock {
    /// Now.
    fn now(&self) -> Millis;
}

/// Randomness fit for keys.
pub trait Random {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// `N` random bytes.
pub fn random<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// Signatures with other people's private keys.
#[async_trait(?Send)]
pub trait Signer {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2); the key is PKCS#8 DER. None when that is no RSA key.
    async fn rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>>;
}

/// The body of a request or an answer.
#[derive(Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// All of it.
    Bytes(Vec<u8>),
    /// All of it, made piece by piece while it is sent, so that a large one is never there as a whole.
    Pieces(Pieces),
    /// A stream of the platform, passed through without being read.
    Stream(Rc<dyn Any>),
}

/// The pieces of a body, in order.
pub type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

impl Body {
    /// The bytes; none for what is not there as a whole.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Empty | Self::Pieces(_) | Self::Stream(_) => &[],
        }
    }

    /// The bytes, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Pieces(pieces) => pieces.flatten().collect(),
            Self::Empty | Self::Stream(_) => Vec::new(),
        }
    }
}

/// An HTTP request, ours or a caller's.
#[derive(Default)]
pub struct Request {
    /// Verb.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Body,
    /// Milliseconds until it is given up.
    pub timeout_ms: u32,
    /// The platform's own headers that `headers` were read from, if they were: a value that is no UTF-8 can be handed on
    /// byte for byte from there alone.
    pub received: Option<Rc<dyn Any>>,
}

impl Request {
    /// Sets a header that is written in the program.
    pub fn header(&mut self, name: &'static str, value: &'static str) {
        put(&mut self.headers, name, value);
    }

    /// Sets a header that is made of data. What cannot be one is a failure, never a request without it: it may be the
    /// credential.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<()> {
        let header = ::http::HeaderName::try_from(name).ok().zip(::http::HeaderValue::try_from(value).ok());
        let Some((name, value)) = header else {
            // The value may be a secret, and is not shown.
            let message = format!("what should go into the header `{}` cannot stand in one", short(name));
            return Err(Error::new(Code::InvalidToolInput, message));
        };
        self.headers.insert(name, value);
        Ok(())
    }
}

/// An HTTP answer, a provider's or ours.
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Body,
}

impl Response {
    /// An answer with these bytes.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        put(&mut headers, "content-type", content_type);
        Self { status, headers, body: Body::Bytes(body.into()) }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        put(&mut self.headers, name, value);
        self
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        get(&self.headers, name)
    }
}

/// Sets a header; names and values that cannot be one are left out.
pub fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (::http::HeaderName::try_from(name), ::http::HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

/// A header's value, if it is text: UTF-8, which ASCII is.
pub fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

/// A header of ours that names something, which may be written in any alphabet: as UTF-8, or percent-encoded where a
/// client can send ASCII alone. A `%` that begins no two digits stands for itself. What cannot be read is a failure, since
/// a name that is left out is another request.
pub fn text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let unreadable = || Error::invalid(format!("the header {name} is not UTF-8; send it percent-encoded"));
    let value = std::str::from_utf8(value.as_bytes()).map_err(|_| unreadable())?;
    // The platform has put U+FFFD where bytes were no UTF-8.
    if value.contains('\u{fffd}') {
        return Err(unreadable());
    }
    let is_encoded = value.contains('%')
        && value.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()));
    if !is_encoded {
        return Ok(Some(value.to_owned()));
    }
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8().map_err(|_| unreadable())?;
    Ok(Some(decoded.into_owned()))
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Not within its time.
    TimedOut,
    /// Refused, cut off, unknown host.
    Unreachable,
    /// More bytes than we read.
    TooLarge,
}

/// The network. Redirects are never followed.
#[async_trait(?Send)]
pub trait Http {
    /// Sends and reads the whole answer, up to [`MAX_ANSWER`] bytes, in an object up to [`MAX_ANSWER_TO_OBJECT`].
    async fn send(&self, request: Request) -> std::result::Result<Response, Unanswered>;
    /// Sends and hands the answer's body on as a stream; the time limit ends with its headers.
    async fn stream(&self, request: Request) -> std::result::Result<Response, Unanswered>;
    /// Looks at the beginning of a streamed answer: the whole body if it has at most `most` bytes and comes soon, else none.
    /// The answer itself stays as it was, to be handed on whole.
    async fn peek(&self, answer: &mut Response, most: usize) -> Option<Vec<u8>>;
}

/// The most bytes read of a provider's answer to a tool: what base64 and JSON make of it still fits the isolate's memory.
pub const MAX_ANSWER: usize = 20 * 1024 * 1024;

/// The most bytes read of an answer to an account's object: tokens, and who somebody is. An object has one memory for all
/// that asks it.
pub const MAX_ANSWER_TO_OBJECT: usize = 2 * 1024 * 1024;

/// A page of keys.
pub struct Page {
    /// Key and its metadata.
    pub keys: Vec<(String, Option<String>)>,
    /// How to get the next page.
    pub cursor: Option<String>,
}

/// A Workers KV namespace, or something like it: eventually consistent, no compare-and-set.
#[async_trait(?Send)]
pub trait Store {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<String>>;
    /// Sets a key, with up to 1024 bytes of metadata that lists bring along.
    async fn put(&self, key: &str, value: &str, metadata: Option<&str>) -> Result<()>;
    /// Forgets a key.
    async fn delete(&self, key: &str) -> Result<()>;
    /// The keys below a prefix.
    async fn list(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<Page>;
}

/// The own storage of one Durable Object. Synchronous: what stands between two awaits happens as a whole.
///
/// A record either stays until it is deleted, or is due at a time that storage knows beside it: so nobody reads a value to
/// learn when it ends, and an object full of large values can still count them, wake up and forget them.
pub trait Storage {
    /// The value of a key.
    fn get(&self, key: &str) -> Option<String>;
    /// Sets a key that stays.
    fn put(&self, key: &str, value: &str);
    /// Sets a key that is due at a time. It stays readable until somebody who asks for [`Storage::due`] deletes it.
    fn put_until(&self, key: &str, value: &str, due_at: Millis);
    /// Forgets a key.
    fn delete(&self, key: &str);
    /// Forgets all keys below a prefix.
    fn delete_below(&self, prefix: &str);
    /// The keys below a prefix, what is due first before the others. Values are not loaded.
    fn keys(&self, prefix: &str) -> Vec<String>;
    /// How much stands below a prefix. Values are not loaded.
    fn usage(&self, prefix: &str) -> Usage;
    /// The same, key by key with the bytes of each value, what is due first before the others.
    fn sizes(&self, prefix: &str) -> Vec<(String, u64)>;
    /// The first so many keys that are due by a time, the longest overdue first. Values are not loaded.
    fn due(&self, by: Millis, most: u32) -> Vec<String>;
    /// When the first record is due.
    fn next_due(&self) -> Option<Millis>;
    /// When the last one is.
    fn last_due(&self) -> Option<Millis>;
}

/// Records below a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub records: u64,
    /// The bytes of their values.
    pub bytes: u64,
}
