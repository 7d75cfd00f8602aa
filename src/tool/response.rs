//! From a provider's answer to a result, or to the one error everybody gets.

use crate::catalog::model::{Answer, Errors, FailedWhen, RetryAfter, RetryUnit, Rule};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::ports::{Millis, Response, Unanswered};
use crate::timestamp;
use serde_json::{Map, Value, json};

/// Characters of a provider's failure that are kept.
const KEPT: usize = 4_000;

/// What a tool answered.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The useful part; always an object.
    pub data: Value,
    /// How the next page is had.
    pub next_cursor: Option<String>,
}

/// Reads the answer to a tool's request.
pub fn read(
    connector: &Connector,
    tool: &Tool,
    input: &Map<String, Value>,
    response: &Response,
    now: Millis,
) -> Result<Outcome> {
    let body = body(response);
    if let Some(error) = failure(connector, response, &body, now) {
        return Err(with_scopes(error, tool));
    }
    let next_cursor = tool.page.as_ref().and_then(|page| super::page::next(page, input, response, &body));
    let data = match tool.answer {
        Answer::JsonAnswer => object(json::find(&body, tool.result).cloned().unwrap_or_default(), tool.result),
        Answer::TextAnswer => json!({ "text": String::from_utf8_lossy(response.body.bytes()) }),
        Answer::BytesAnswer => {
            let kind = response.header("content-type").unwrap_or("application/octet-stream");
            bytes(response.body.bytes(), Some(kind))
        }
        Answer::Base64UrlAnswer => {
            let text = json::find(&body, tool.result).and_then(Value::as_str).unwrap_or_default();
            bytes(&digest::from_base64(text).unwrap_or_default(), None)
        }
    };
    let mut data = data;
    for (name, header) in tool.result_headers.iter() {
        if let Some(value) = response.header(header) {
            data[*name] = json!(value);
        }
    }
    Ok(Outcome { data, next_cursor })
}

fn bytes(bytes: &[u8], kind: Option<&str>) -> Value {
    let mut data = json!({ "content_base64": digest::base64(bytes), "size_bytes": bytes.len() });
    if let Some(kind) = kind {
        data["mime_type"] = json!(kind);
    }
    data
}

/// Callers always get an object: a list or a scalar is put under the name it had.
fn object(value: Value, pointer: &str) -> Value {
    match value {
        Value::Object(_) => value,
        Value::Null => json!({}),
        other => {
            let name = pointer.rsplit('/').next().filter(|name| !name.is_empty() && !name.starts_with(['*', '-', '[']));
            json!({ name.unwrap_or(if other.is_array() { "items" } else { "value" }): other })
        }
    }
}

/// The body as JSON; null when it is none.
pub fn body(response: &Response) -> Value {
    serde_json::from_slice(response.body.bytes()).unwrap_or_default()
}

/// Names the tool's scopes on a failure that lacks one.
pub fn with_scopes(error: Error, tool: &Tool) -> Error {
    if error.code != Code::InsufficientScope || !error.details.required_scopes.is_empty() {
        return error;
    }
    error.with(|details| details.required_scopes = tool.scopes.iter().map(|scope| (*scope).to_owned()).collect())
}

/// The failure that an answer is, if it is one.
pub fn failure(connector: &Connector, response: &Response, body: &Value, now: Millis) -> Option<Error> {
    let errors = &connector.errors;
    let fine = (200..300).contains(&response.status) && !errors.failed_when.iter().any(|when| holds(when, body));
    if fine {
        return None;
    }
    let provider_code = json::find_text(body, &errors.code);
    let said = json::find_text(body, &errors.message).filter(|text| !text.trim().is_empty());
    let said = said.or_else(|| plain_text(response, body));
    let rule = errors.rules.iter().find(|rule| applies(rule, response, provider_code.as_deref(), said.as_deref()));
    let code = rule.and_then(|rule| Code::parse(rule.error)).unwrap_or_else(|| by_status(response.status));
    let said = said.unwrap_or_else(|| provider_code.clone().unwrap_or_else(|| format!("HTTP {}", response.status)));
    let said: String = said.chars().take(500).collect();
    let error = Error::new(code, format!("{}: {said}", connector.name)).of(connector.id);
    Some(error.with(|details| {
        details.origin = Origin::Provider;
        details.provider_status = Some(response.status);
        details.provider_code = provider_code;
        details.provider_response = kept(response, body);
        if code == Code::InsufficientScope {
            details.required_scopes = needed_scopes(errors, body);
        }
        let wait = || rule.and_then(|rule| rule.wait).map(u64::from);
        if matches!(code, Code::RateLimitExceeded | Code::QuotaExceeded) {
            let named = rule.map(|rule| rule.limit_type).filter(|name| !name.is_empty());
            details.limit_type = Some(named.unwrap_or("requests").to_owned());
            details.retry_after = retry_after(errors, response, body, now).or_else(wait).or(Some(DEFAULT_WAIT));
        } else if code.retryable() {
            details.retry_after = retry_after(errors, response, body, now).or_else(wait);
        }
    }))
}

/// The provider's words where it answers in plain text; a page is none.
fn plain_text(response: &Response, body: &Value) -> Option<String> {
    let is_page = response.header("content-type").is_some_and(|kind| kind.contains("html") || kind.contains("xml"));
    let text = std::str::from_utf8(response.body.bytes()).ok()?.trim();
    let fits = body.is_null() && !is_page && !text.is_empty() && text.len() <= 300 && !text.starts_with('<');
    fits.then(|| text.to_owned())
}

/// The scopes a provider says were missing.
fn needed_scopes(errors: &Errors, body: &Value) -> Vec<String> {
    let text = json::find_text(body, &errors.scopes).unwrap_or_default();
    text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
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
    let header = name.is_empty() || response.header(name) == Some(wanted);
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

fn kept(response: &Response, body: &Value) -> Option<Value> {
    let text = String::from_utf8_lossy(response.body.bytes());
    if text.is_empty() {
        None
    } else if !body.is_null() && text.len() <= KEPT {
        Some(body.clone())
    } else {
        Some(Value::String(text.chars().take(KEPT).collect()))
    }
}

/// Seconds to wait, from the first place that says so.
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
        // A wait of a day or more is a mistake of ours or theirs; so is one in the past.
        Some(whole_seconds(millis.clamp(0.0, 86_400_000.0)))
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
            (Code::ProviderError, format!("{name}'s answer is larger than a tool may return; use /proxy for it"))
        }
    };
    Error::new(code, message).of(connector.id).with(|details| {
        details.origin = Origin::Network;
        if unanswered == Unanswered::TooLarge {
            details.retryable = Some(false);
        }
    })
}
