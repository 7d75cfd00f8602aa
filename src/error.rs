//! The one error type. What it looks like on the wire is `to_json`; which HTTP status it gets is in `code`.

use crate::code::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;

/// Shorthand for what nearly every function here answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The most problems that are listed at once.
pub const MOST_PROBLEMS: usize = 50;

/// What a caller named, cut to what a message may repeat of it.
pub fn short(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// Whose doing a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The call was wrong.
    Caller,
    /// valetkey, or its operator's settings.
    Platform,
    /// The provider said so.
    Provider,
    /// The provider could not be reached.
    Network,
}

/// Something wrong with one part of a tool's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// JSON Pointer into the input.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub message: String,
}

/// A failure, as data: `code` says what to do, `details` says the rest. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// What went wrong.
    #[serde(with = "code_name")]
    pub code: Code,
    /// One sentence for a person or a language model.
    pub message: String,
    /// Connector id, where one is concerned.
    pub provider: Option<String>,
    /// Everything else.
    pub details: Box<Details>,
}

/// The rest of an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Whose doing it is.
    pub origin: Origin,
    /// Whether the same call may succeed later by itself; none means: as the code says.
    pub retryable: Option<bool>,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
    /// Which limit.
    pub limit_type: Option<String>,
    /// HTTP status of the provider's answer.
    pub provider_status: Option<u16>,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// The provider's answer, cut to a few thousand characters.
    pub provider_response: Option<Value>,
    /// `exec_…`
    pub execution_id: Option<String>,
    /// Where the user connects again.
    pub reauthorize_url: Option<String>,
    /// Where a person can mend it at the provider.
    #[serde(default)]
    pub help_url: Option<String>,
    /// Any one of these scopes would do.
    pub required_scopes: Vec<String>,
    /// Why the account has the status it has.
    pub status_reason: Option<String>,
    /// What is wrong with the input.
    pub problems: Vec<Problem>,
    /// Names that exist and look alike.
    pub suggestions: Vec<String>,
}

impl Error {
    /// A failure whose origin is what the code usually means.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let origin = match code {
            Code::InvalidRequest
            | Code::InvalidToolInput
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::ProviderNotFound
            | Code::ConnectionNotFound
            | Code::ConnectedAccountNotFound
            | Code::ToolNotFound
            | Code::Conflict => Origin::Caller,
            Code::Internal | Code::RateLimitExceeded | Code::ConnectionMisconfigured => Origin::Platform,
            Code::ProviderUnavailable | Code::ProviderTimeout => Origin::Network,
            _ => Origin::Provider,
        };
        Self { code, message: message.into(), provider: None, details: Box::new(Details::of(origin)) }
    }

    /// The failure for what is not as the caller takes it to be: it exists already, or was changed meanwhile.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// A malformed call.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// A failure of ours. The message is shown, so it holds no detail; log that at the place it happens.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Names the provider.
    #[must_use]
    pub fn of(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    /// Sets details.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        change(&mut self.details);
        self
    }

    /// The error object, as it goes to callers (docs/errors.md).
    pub fn to_json(&self) -> Value {
        let d = &self.details;
        let mut details = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                details.insert(key.to_owned(), value);
            }
        };
        set("origin", Some(json!(d.origin)));
        set("retryable", Some(json!(d.retryable.unwrap_or(self.code.retryable()))));
        set("retryAfter", d.retry_after.map(Value::from));
        set("limitType", d.limit_type.clone().map(Value::from));
        set("providerStatus", d.provider_status.map(Value::from));
        set("providerCode", d.provider_code.clone().map(Value::from));
        set("providerResponse", d.provider_response.clone());
        set("executionId", d.execution_id.clone().map(Value::from));
        set("helpUrl", d.help_url.clone().map(Value::from));
        set("statusReason", d.status_reason.clone().map(Value::from));
        if matches!(self.code, Code::ReauthorizationRequired | Code::InsufficientScope) {
            set("reauthorizeUrl", Some(json!(d.reauthorize_url)));
            set("requiredScopes", Some(json!(d.required_scopes)));
        }
        set("problems", (!d.problems.is_empty()).then(|| json!(d.problems)));
        set("suggestions", (!d.suggestions.is_empty()).then(|| json!(d.suggestions)));
        json!({ "error": {
            "code": self.code.name(), "message": self.message, "provider": self.provider, "details": details,
        } })
    }
}

impl Details {
    fn of(origin: Origin) -> Self {
        Self {
            origin,
            retryable: None,
            retry_after: None,
            limit_type: None,
            provider_status: None,
            provider_code: None,
            provider_response: None,
            execution_id: None,
            reauthorize_url: None,
            help_url: None,
            required_scopes: Vec::new(),
            status_reason: None,
            problems: Vec::new(),
            suggestions: Vec::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Error {}

mod code_name {
    use super::Code;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn serialize<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(code.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        let name = String::deserialize(deserializer)?;
        Code::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown code {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_object_has_the_shape_the_documentation_promises() {
        let error = Error::new(Code::RateLimitExceeded, "Provider rate limit exceeded").of("gmail").with(|details| {
            details.origin = Origin::Provider;
            details.retry_after = Some(60);
            details.limit_type = Some("requests_per_minute".into());
        });
        assert_eq!(
            error.to_json(),
            json!({ "error": { "code": "RATE_LIMIT_EXCEEDED", "message": "Provider rate limit exceeded",
                "provider": "gmail", "details": { "origin": "provider", "retryable": true, "retryAfter": 60,
                "limitType": "requests_per_minute" } } })
        );
        let back: Error = serde_json::from_value(serde_json::to_value(&error).unwrap()).unwrap();
        assert_eq!(back, error);
    }
}
