//! From a provider's answer to a result, or to the one error everybody gets.

use super::reading::{LARGEST_FAILURE, MOST_VALUES, Reading};
use crate::catalog::model::{Answer, Effect, Errors, FailedWhen, RetryAfter, RetryUnit, Rule};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::ports::{Body, MAX_ANSWER, Millis, Response, Unanswered};
use crate::scrub::Scrub;
use crate::timestamp;
use serde_json::{Map, Value, json};
use url::Url;

/// Characters of a provider's failure that are kept.
const KEPT: usize = 4_000;
/// Characters of what it says that go into our message, and of its code.
const SAID: usize = 500;

/// What a tool answered.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The useful part; always an object.
    pub data: Value,
    /// The content of a file, beside `data`: it becomes base64 while the answer is sent, so that it is held once.
    pub content: Option<Vec<u8>>,
    /// How the next page is had.
    pub next_cursor: Option<String>,
}

impl Outcome {
    /// All of the useful part, as one value.
    pub fn value(&self) -> Value {
        let mut data = self.data.clone();
        if let (Value::Object(fields), Some(content)) = (&mut data, &self.content) {
            fields.insert("content_base64".into(), Value::String(digest::base64(content)));
        }
        data
    }

    /// The answer to an execution, as it goes to the caller. A large one is made while it is sent.
    pub fn into_body(self, execution_id: &str) -> Body {
        let mut out = Vec::with_capacity(length(&self.data) + 512);
        out.extend_from_slice(b"{\"data\":");
        write(&mut out, &self.data);
        drop(self.data);
        let mut end = Vec::new();
        end.extend_from_slice(b",\"execution_id\":");
        write(&mut end, &Value::from(execution_id));
        if let Some(cursor) = &self.next_cursor {
            end.extend_from_slice(b",\"next_cursor\":");
            write(&mut end, &Value::from(cursor.as_str()));
        }
        end.push(b'}');
        let Some(content) = self.content else {
            out.extend_from_slice(&end);
            return if out.len() <= PIECE {
                Body::Bytes(out)
            } else {
                Body::Pieces(Box::new(Cut { bytes: out, at: 0 }))
            };
        };
        // `data` is an object, and there is at least one member in it beside the content.
        out.pop();
        out.extend_from_slice(b",\"content_base64\":\"");
        end.splice(0..0, *b"\"}");
        let is_short = content.len() <= PIECE;
        let base64 = Cut { bytes: content, at: 0 }.map(|piece| digest::base64(&piece).into_bytes());
        let pieces = std::iter::once(out).chain(base64).chain(std::iter::once(end));
        if is_short { Body::Bytes(pieces.flatten().collect()) } else { Body::Pieces(Box::new(pieces)) }
    }

    /// At least how long the answer is.
    pub fn size(&self) -> usize {
        length(&self.data) + self.content.as_ref().map_or(0, |content| content.len().div_ceil(3) * 4)
    }
}

/// Bytes of a piece of a large answer: a multiple of three, so that the base64 of the pieces is that of the whole.
const PIECE: usize = 192 * 1024;

/// Bytes, piece by piece.
struct Cut {
    bytes: Vec<u8>,
    at: usize,
}

impl Iterator for Cut {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.len().min(self.at + PIECE);
        let piece = self.bytes.get(self.at..end).filter(|piece| !piece.is_empty())?.to_vec();
        self.at = end;
        Some(piece)
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a value is JSON");
}

/// About how long a value is as text: enough not to grow a large answer while it is written.
fn length(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 6,
        Value::Number(_) => 12,
        Value::String(text) => text.len() + text.len() / 32 + 3,
        Value::Array(items) => 2 + items.iter().map(length).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(name, value)| name.len() + 4 + length(value)).sum::<usize>(),
    }
}

/// Reads the body of an answer for what the tool, or a step before it, wants of it. Bytes and text are looked at only for
/// the failure they may be.
pub fn reading(connector: &Connector, wants_json: bool, response: &Response) -> Reading {
    let bytes = response.body.bytes();
    let fine = (200..300).contains(&response.status);
    if fine && wants_json {
        return Reading::of(bytes);
    }
    let looks_like_json = || bytes.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'['));
    if fine && (connector.errors.failed_when.is_empty() || !looks_like_json()) {
        return if bytes.is_empty() { Reading::Nothing } else { Reading::Unread };
    }
    Reading::of_failure(bytes)
}

/// Whether the tool's own answer has to be JSON.
pub fn wants_json(tool: &Tool) -> bool {
    matches!(tool.answer, Answer::JsonAnswer | Answer::Base64UrlAnswer)
}

/// What a tool makes of an answer that is no failure.
pub fn read(
    connector: &Connector,
    tool: &Tool,
    input: &Map<String, Value>,
    mut response: Response,
    body: Reading,
    scrub: &dyn Fn() -> Scrub,
) -> Result<Outcome> {
    let unreadable = |body: &Reading| {
        let error = unreadable(connector, &response, body, &scrub());
        // What was written may be there all the same.
        if tool.effect == Effect::Read { error } else { error.with(|details| details.retryable = Some(false)) }
    };
    if wants_json(tool) && body.is_unreadable() {
        return Err(unreadable(&body));
    }
    let next_cursor = tool.page.as_ref().and_then(|page| super::page::next(page, input, &response, body.value()));
    let headers: Vec<(&str, String)> = tool
        .result_headers
        .iter()
        .filter_map(|(name, header)| Some((*name, response.header(header)?.to_owned())))
        .collect();
    let kind = response.header("content-type").unwrap_or("application/octet-stream").to_owned();
    let mut content = None;
    let mut data = match tool.answer {
        Answer::JsonAnswer => {
            // Held once: what was read takes the place of what came.
            response.body = Body::Empty;
            object(json::take(body.into_value(), tool.result).unwrap_or_default(), tool.result)
        }
        Answer::TextAnswer => {
            let text = String::from_utf8(std::mem::take(&mut response.body).into_bytes())
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            named("text", Value::String(text))
        }
        Answer::BytesAnswer => {
            let bytes = std::mem::take(&mut response.body).into_bytes();
            let data = json!({ "mime_type": kind, "size_bytes": bytes.len() });
            content = Some(bytes);
            data
        }
        Answer::Base64UrlAnswer => {
            let bytes = match json::find(body.value(), tool.result) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::String(text)) => digest::from_base64(text).ok_or_else(|| unreadable(&body))?,
                Some(_) => return Err(unreadable(&body)),
            };
            let data = json!({ "size_bytes": bytes.len() });
            content = Some(bytes);
            data
        }
    };
    for (name, value) in headers {
        data[name] = Value::String(value);
    }
    Ok(Outcome { data, content, next_cursor })
}

/// The failure of an answer that is a success by its status, and cannot be read.
pub fn unreadable(connector: &Connector, response: &Response, body: &Reading, scrub: &Scrub) -> Error {
    let name = connector.name;
    let message = if *body == Reading::TooMany {
        format!(
            "{name}'s answer has more than {MOST_VALUES} values, which is more than a tool takes apart; ask for fewer at a time, or use /proxy"
        )
    } else {
        format!("{name} answered {} with something that cannot be read; it stands in providerResponse", response.status)
    };
    let too_many = *body == Reading::TooMany;
    Error::new(Code::ProviderError, message).of(connector.id).with(|details| {
        details.origin = Origin::Provider;
        details.provider_status = Some(response.status);
        details.provider_response = kept(response, &Reading::Unread, scrub);
        if too_many {
            // The same call has the same answer.
            details.retryable = Some(false);
        }
    })
}

/// Callers always get an object: a list or a scalar is put under the name it had.
fn object(value: Value, pointer: &str) -> Value {
    match value {
        Value::Object(_) => value,
        Value::Null => json!({}),
        other => {
            let name = pointer.rsplit('/').next().filter(|name| !name.is_empty() && !name.starts_with(['*', '-', '[']));
            let name = name.unwrap_or(if other.is_array() { "items" } else { "value" });
            named(name, other)
        }
    }
}

/// An object with one member. (`json!` would copy the value.)
fn named(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// Names the tool's scopes on a failure that lacks one.
pub fn with_scopes(error: Error, tool: &Tool) -> Error {
    if error.code != Code::InsufficientScope || !error.details.required_scopes.is_empty() {
        return error;
    }
    error.with(|details| details.required_scopes = tool.scopes.iter().map(|scope| (*scope).to_owned()).collect())
}

/// The failure that an answer is, if it is one, without the secrets of the request that it answers.
pub fn failure(
    connector: &Connector,
    response: &Response,
    body: &Reading,
    scrub: &dyn Fn() -> Scrub,
    now: Millis,
) -> Option<Error> {
    let errors = &connector.errors;
    let json = body.value();
    let fine = (200..300).contains(&response.status) && !errors.failed_when.iter().any(|when| holds(when, json));
    if fine {
        return None;
    }
    let scrub = scrub();
    let hides_its_reason = hides_its_reason(errors, response, body);
    let Said { provider_code, words, rule } = said(errors, response, body);
    let mut code = rule.and_then(|rule| Code::parse(rule.error)).unwrap_or_else(|| by_status(response.status));
    if code == Code::ReauthorizationRequired && hides_its_reason {
        code = Code::ProviderError;
    }
    let mut missing = needed_scopes(errors, json);
    if matches!(code, Code::ResourceNotFound | Code::ProviderPermissionDenied)
        && let Some(needed) = missing_scopes(errors, response)
    {
        (code, missing) = (Code::InsufficientScope, needed);
    }
    let words = words.or_else(|| provider_code.clone()).unwrap_or_else(|| format!("HTTP {}", response.status));
    let mut message = format!("{}: {}", connector.name, scrub.beginning(&words, SAID));
    if let Some(place) = new_place(response) {
        message.push_str(&format!("; it is at {} now", scrub.beginning(&place, SAID)));
    }
    let error = Error::new(code, message).of(connector.id);
    Some(error.with(|details| {
        details.origin = Origin::Provider;
        details.provider_status = Some(response.status);
        // The same request has the same answer.
        if code == Code::ProviderError && (response.status < 400 || response.status == 501) {
            details.retryable = Some(false);
        }
        details.provider_code = provider_code.map(|code| scrub.beginning(&code, SAID));
        details.provider_response = kept(response, body, &scrub);
        details.help_url = help(errors, response, json).map(|url| scrub.text(&url));
        if code == Code::InsufficientScope {
            details.required_scopes = missing.iter().map(|scope| scrub.text(scope)).collect();
        }
        let wait = || rule.and_then(|rule| rule.wait).map(u64::from);
        if matches!(code, Code::RateLimitExceeded | Code::QuotaExceeded) {
            let named = rule.map(|rule| rule.limit_type).filter(|name| !name.is_empty());
            details.limit_type = Some(named.unwrap_or("requests").to_owned());
            details.retry_after = retry_after(errors, response, json, now).or_else(wait).or(Some(DEFAULT_WAIT));
        } else if code.retryable() {
            details.retry_after = retry_after(errors, response, json, now).or_else(wait);
        }
    }))
}

/// Whether an answer, bounded and whole, says that the token is dead: by the connector's rules, not by its status alone.
pub fn ends_token(connector: &Connector, response: &Response, now: Millis) -> bool {
    let body = Reading::of_failure(response.body.bytes());
    let failure = failure(connector, response, &body, &Scrub::default, now);
    failure.is_some_and(|error| error.code == Code::ReauthorizationRequired)
}

/// Whether a failure may mean that the token has ended although it does not say so: some answer "not there" then, and a 401
/// may be of one that stands before the API.
pub fn doubts_token(connector: &Connector, response: &Response, body: &Reading) -> bool {
    let errors = &connector.errors;
    hides_its_reason(errors, response, body)
        || errors.rules.iter().any(|rule| rule.renew)
            && said(errors, response, body).rule.is_some_and(|rule| rule.renew)
}

/// Whether a 401 cannot be read although the connector tells by codes or words which of them mean a dead token. It may be of
/// an edge before the API, or packed in a way that is not unpacked here, and must not end an account.
fn hides_its_reason(errors: &Errors, response: &Response, body: &Reading) -> bool {
    const UNAUTHORIZED: u16 = 401;
    let tells_apart = |rule: &Rule| {
        let dead = rule.status.is_empty() && Code::parse(rule.error) == Some(Code::ReauthorizationRequired);
        let concerned = dead || rule.status.contains(&UNAUTHORIZED);
        concerned && !(rule.codes.is_empty() && rule.message_contains.is_empty())
    };
    let is_readable = || match body {
        Reading::Json(_) | Reading::Nothing => true,
        Reading::NotJson | Reading::TooMany | Reading::Unread => {
            let claims_json = response.header("content-type").is_some_and(|kind| kind.contains("json"));
            !claims_json && plain_text(response, body).is_some()
        }
    };
    // A header is read in any case, and words that are known have been, whatever the answer calls itself.
    let by_rule =
        |rule: &Rule| !(rule.header.0.is_empty() && rule.codes.is_empty() && rule.message_contains.is_empty());
    let is_known = || said(errors, response, body).rule.is_some_and(by_rule);
    response.status == UNAUTHORIZED && errors.rules.iter().any(tells_apart) && !is_readable() && !is_known()
}

/// A provider's failure in its own words, and the rule that knows it.
struct Said<'a> {
    provider_code: Option<String>,
    words: Option<String>,
    rule: Option<&'a Rule>,
}

fn said<'a>(errors: &'a Errors, response: &Response, body: &Reading) -> Said<'a> {
    let provider_code = json::find_text(body.value(), &errors.code);
    let words = json::find_text(body.value(), &errors.message).filter(|text| !text.trim().is_empty());
    let words = words.or_else(|| plain_text(response, body));
    let rule = errors.rules.iter().find(|rule| applies(rule, response, provider_code.as_deref(), words.as_deref()));
    Said { provider_code, words, rule }
}

/// The scopes of which the request needs one and the token has none, where a provider tells both in headers.
fn missing_scopes(errors: &Errors, response: &Response) -> Option<Vec<String>> {
    let (needed, granted) = errors.scope_headers;
    if needed.is_empty() {
        return None;
    }
    let list = |name: &str| Some(words_of(response.header(name)?));
    let (needed, granted) = (list(needed)?, list(granted)?);
    (!needed.is_empty() && !needed.iter().any(|scope| granted.contains(scope))).then_some(needed)
}

/// Where a person can mend it at the provider, if it says so: the first address at the places the connector names.
fn help(errors: &Errors, response: &Response, body: &Value) -> Option<String> {
    errors.help.iter().find_map(|place| {
        let text = match place.strip_prefix("header:") {
            Some(header) => response.header(header)?.to_owned(),
            None => json::find(body, place).and_then(json::to_text)?,
        };
        let at = text.find("https://")?;
        let url = text[at..].split(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | ';' | ',')).next()?;
        Url::parse(url).ok().map(String::from)
    })
}

/// Where a redirect that was not followed leads, without what may sign it.
fn new_place(response: &Response) -> Option<String> {
    let moved = matches!(response.status, 301 | 302 | 307 | 308);
    let location = response.header("location").filter(|_| moved)?;
    Some(location.split(['?', '#']).next()?.to_owned()).filter(|place| !place.is_empty())
}

/// The provider's words where it answers in plain text; a page is none.
fn plain_text(response: &Response, body: &Reading) -> Option<String> {
    let is_page = response.header("content-type").is_some_and(|kind| kind.contains("html") || kind.contains("xml"));
    if is_page || !body.value().is_null() || response.body.bytes().len() > 400 {
        return None;
    }
    let text = std::str::from_utf8(response.body.bytes()).ok()?.trim();
    let fits = !text.is_empty() && text.len() <= 300 && !text.starts_with('<');
    fits.then(|| text.to_owned())
}

/// The scopes a provider says were missing.
fn needed_scopes(errors: &Errors, body: &Value) -> Vec<String> {
    words_of(&json::find_text(body, &errors.scopes).unwrap_or_default())
}

fn words_of(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Seconds to wait when a provider limits and does not say for how long.
const DEFAULT_WAIT: u64 = 30;

fn holds(when: &FailedWhen, body: &Value) -> bool {
    match json::find(body, when.at) {
        None => false,
        Some(value) if when.equals.is_empty() => !value.is_null() && *value != json!([]),
        Some(value) => serde_json::from_str::<Value>(when.equals).is_ok_and(|wanted| wanted == *value),
    }
}

fn applies(rule: &Rule, response: &Response, code: Option<&str>, message: Option<&str>) -> bool {
    let status = rule.status.is_empty() || rule.status.contains(&response.status);
    let code = rule.codes.is_empty() || code.is_some_and(|code| rule.codes.contains(&code));
    let message = rule.message_contains.is_empty()
        || message.is_some_and(|text| text.to_lowercase().contains(rule.message_contains));
    let (name, wanted) = rule.header;
    let has = |value: &str| if rule.header_begins { value.starts_with(wanted) } else { value == wanted };
    let header = name.is_empty() || response.header(name).is_some_and(has);
    status && code && message && header
}

fn by_status(status: u16) -> Code {
    match status {
        // A 2xx comes here when the body calls it a failure and no rule knows more.
        200..=299 | 400 | 405 | 406 | 411 | 413 | 414 | 415 | 416 | 422 => Code::ProviderInvalidRequest,
        401 => Code::ReauthorizationRequired,
        402 => Code::FeatureRestricted,
        403 => Code::ProviderPermissionDenied,
        404 | 410 => Code::ResourceNotFound,
        409 | 412 | 423 => Code::ProviderConflict,
        429 => Code::RateLimitExceeded,
        503 => Code::ProviderUnavailable,
        408 | 504 => Code::ProviderTimeout,
        // A redirect is here too: it is not followed, the credential would go along.
        _ => Code::ProviderError,
    }
}

/// The provider's answer as it is kept: whole if it is short, else its beginning.
fn kept(response: &Response, body: &Reading, scrub: &Scrub) -> Option<Value> {
    let bytes = response.body.bytes();
    if bytes.is_empty() {
        return None;
    }
    if let Reading::Json(value) = body
        && bytes.len() <= KEPT
        && !value.is_null()
    {
        let mut value = value.clone();
        scrub.value(&mut value);
        return Some(value);
    }
    // What a cut through a character leaves is far behind what is kept.
    let head = &bytes[..bytes.len().min(LARGEST_FAILURE)];
    Some(Value::String(scrub.beginning(&String::from_utf8_lossy(head), KEPT)))
}

/// Seconds to wait, from the first place that says so. A time in the past, or a wait of nothing, says nothing: there may be
/// more at the next place, and what was learnt before is not undone by it.
pub fn retry_after(errors: &Errors, response: &Response, body: &Value, now: Millis) -> Option<u64> {
    const USUAL: RetryAfter = RetryAfter { header: "retry-after", at: "", unit: RetryUnit::WaitSeconds };
    errors.retry_after.iter().chain([&USUAL]).find_map(|place| {
        let text = match place.at {
            "" => response.header(place.header)?.trim().to_owned(),
            at => json::find(body, at).and_then(json::to_text)?,
        };
        let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0);
        let millis = match place.unit {
            RetryUnit::WaitSeconds => match number {
                Some(seconds) => seconds * 1000.0,
                None => until(timestamp::parse_http(&text)?, now),
            },
            RetryUnit::WaitMilliseconds => number?,
            RetryUnit::AtEpochSeconds => number? * 1000.0 - as_f64(now),
            RetryUnit::AtEpochMilliseconds => number? - as_f64(now),
            RetryUnit::AtTimestamp => until(timestamp::parse(&text)?, now),
        };
        // A wait of a day or more is a mistake of ours or theirs.
        (millis > 0.0).then(|| whole_seconds(millis.min(86_400_000.0)))
    })
}

fn until(at: Millis, now: Millis) -> f64 {
    as_f64(at) - as_f64(now)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
fn as_f64(at: Millis) -> f64 {
    at as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole_seconds(millis: f64) -> u64 {
    (millis / 1000.0).ceil() as u64
}

/// The failure that no answer is.
pub fn unanswered(connector: &Connector, unanswered: Unanswered, timeout_ms: u32) -> Error {
    let name = connector.name;
    let (code, message) = match unanswered {
        Unanswered::TimedOut => {
            (Code::ProviderTimeout, format!("{name} did not answer within {} s", timeout_ms / 1000))
        }
        Unanswered::Unreachable => (Code::ProviderUnavailable, format!("{name} cannot be reached")),
        Unanswered::TooLarge => {
            let most = MAX_ANSWER / 1024 / 1024;
            (
                Code::ProviderError,
                format!("{name}'s answer is larger than the {most} MB a tool takes; use /proxy for it"),
            )
        }
    };
    Error::new(code, message).of(connector.id).with(|details| {
        details.origin = Origin::Network;
        if unanswered == Unanswered::TooLarge {
            details.retryable = Some(false);
        }
    })
}
