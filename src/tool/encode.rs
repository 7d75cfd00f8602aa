//! The few ways a value may be written other than as it is.

use crate::catalog::model::{Encode, Param};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Problem, Result};
use crate::json;
use crate::timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// A parameter's value as the provider wants it.
pub fn encode(param: &Param, value: Value) -> Result<Value> {
    // Null clears a field, and there is nothing of it to write in another way.
    if value.is_null() {
        let instead = (!param.null_as.is_empty()).then(|| serde_json::from_str(param.null_as).ok()).flatten();
        return Ok(instead.unwrap_or_default());
    }
    let value = mapped(param, value);
    let value = match param.encode {
        Encode::Plain | Encode::PathSegments => value,
        Encode::Csv => joined(&value, ","),
        Encode::SpaceSeparated => joined(&value, " "),
        Encode::JsonText => match value {
            Value::String(_) => value,
            other => Value::String(other.to_string()),
        },
        Encode::ParsedJson => parsed(param, value)?,
        Encode::Base64 => Value::String(digest::base64(text(&value).as_bytes())),
        Encode::Base64Url => Value::String(digest::base64url(text(&value).as_bytes())),
        Encode::EpochSeconds => json!(instant(param, &value)? / 1000),
        Encode::EpochMilliseconds => json!(instant(param, &value)?),
        Encode::Adf => match value {
            Value::String(markdown) => super::adf::document(&markdown)?,
            written => written,
        },
        Encode::NullIfEmpty => Some(value).filter(|value| *value != json!("")).unwrap_or_default(),
        Encode::Lower => Value::String(text(&value).to_lowercase()),
        Encode::SlashesTwice => slashes_twice(value),
    };
    let value = wrapped(param, value);
    let plain = param.template.is_empty() && param.escape.is_empty() && param.double.is_empty();
    Ok(if plain { value } else { Value::String(around(param, &text(&value))) })
}

/// The provider's values for ours; what is not in the list stays.
fn mapped(param: &Param, value: Value) -> Value {
    if param.values.is_empty() {
        return value;
    }
    let known: Value = serde_json::from_str(param.values).unwrap_or_default();
    let one = |value: Value| known.get(text(&value)).cloned().unwrap_or(value);
    match value {
        Value::Array(items) => items.into_iter().map(one).collect(),
        other => one(other),
    }
}

fn text(value: &Value) -> String {
    json::to_text(value).unwrap_or_else(|| value.to_string())
}

fn joined(value: &Value, separator: &str) -> Value {
    match value {
        Value::Array(items) => Value::String(items.iter().map(text).collect::<Vec<_>>().join(separator)),
        other => other.clone(),
    }
}

fn parsed(param: &Param, value: Value) -> Result<Value> {
    match value {
        Value::String(text) => match super::coerce::unwrapped(&text, &super::coerce::Budget::default()) {
            Some(inner) => Ok(inner),
            None => serde_json::from_str(&text).map_err(|error| wrong(param, &format!("is not JSON: {error}"))),
        },
        other => Ok(other),
    }
}

/// Zoom finds a meeting by a UUID that begins with `/` or has `//` only if that is percent-encoded twice.
fn slashes_twice(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with('/') || text.contains("//") => {
            Value::String(utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string())
        }
        other => other,
    }
}

fn instant(param: &Param, value: &Value) -> Result<u64> {
    match value {
        Value::Number(number) => {
            number.as_u64().and_then(|seconds| seconds.checked_mul(1000)).ok_or_else(|| wrong(param, "is no time"))
        }
        other => {
            timestamp::parse(&text(other)).ok_or_else(|| wrong(param, "must be a date-time, e.g. 2027-01-15T08:00:00Z"))
        }
    }
}

fn wrong(param: &Param, what: &str) -> Error {
    let problem = Problem { path: format!("/{}", param.name), message: what.to_owned() };
    Error::new(Code::InvalidToolInput, format!("{} {what}", param.name))
        .with(|details| details.problems = vec![problem])
}

/// `each = "/email"` makes an object of every item.
fn wrapped(param: &Param, value: Value) -> Value {
    match value {
        Value::Array(items) if !param.each.is_empty() => items
            .into_iter()
            .map(|item| {
                let mut object = json!({});
                json::place(&mut object, param.each, item);
                object
            })
            .collect(),
        other => other,
    }
}

fn around(param: &Param, value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if param.escape.contains(c) {
            escaped.push('\\');
        }
        if param.double.contains(c) {
            escaped.push(c);
        }
        escaped.push(c);
    }
    if param.template.is_empty() { escaped } else { param.template.replace("{}", &escaped) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::{List, Place};

    fn param(encode: Encode) -> Param {
        Param {
            name: "p",
            aliases: List(&[]),
            place: Place::InBody,
            at: "/p",
            encode,
            values: "",
            each: "",
            template: "",
            escape: "",
            double: "",
            null_as: "",
            null_at: "",
            computed: "",
            default: "",
            default_with: "",
        }
    }

    #[test]
    fn values_are_written_as_declared() {
        assert_eq!(encode(&param(Encode::Csv), json!(["a", 2])).unwrap(), json!("a,2"));
        assert_eq!(encode(&param(Encode::JsonText), json!({ "a": 1 })).unwrap(), json!("{\"a\":1}"));
        assert_eq!(encode(&param(Encode::Base64), json!("hi")).unwrap(), json!("aGk="));
        assert_eq!(encode(&param(Encode::EpochSeconds), json!("1970-01-01T00:01:00Z")).unwrap(), json!(60));
        assert!(encode(&param(Encode::ParsedJson), json!("{")).is_err());
        assert_eq!(encode(&param(Encode::NullIfEmpty), json!("")).unwrap(), json!(null));
        let values = Param { values: r#"{"high":1,"true":"yes"}"#, ..param(Encode::Plain) };
        assert_eq!(encode(&values, json!("high")).unwrap(), json!(1));
        assert_eq!(encode(&values, json!([true, "low"])).unwrap(), json!(["yes", "low"]));
        let each = Param { each: "/email", ..param(Encode::Plain) };
        assert_eq!(encode(&each, json!(["a"])).unwrap(), json!([{ "email": "a" }]));
        let template = Param { template: "name contains '{}'", escape: "'\\", ..param(Encode::Plain) };
        assert_eq!(encode(&template, json!("it's")).unwrap(), json!("name contains 'it\\'s'"));
        let doubled = Param { double: "'", ..param(Encode::Plain) };
        assert_eq!(encode(&doubled, json!("Bryan's")).unwrap(), json!("Bryan''s"));
        let null = Param { null_as: "\"\"", values: r#"{"null":1}"#, ..param(Encode::Csv) };
        assert_eq!(encode(&null, json!(null)).unwrap(), json!(""));
        assert_eq!(encode(&param(Encode::EpochSeconds), json!(null)).unwrap(), json!(null));
        let odata = Param { double: "'", template: "contains(tolower(title),'{}')", ..param(Encode::Lower) };
        assert_eq!(encode(&odata, json!("Bryan's")).unwrap(), json!("contains(tolower(title),'bryan''s')"));
        for (uuid, sent) in [("/a==", "%2Fa%3D%3D"), ("a//b", "a%2F%2Fb"), ("a/b==", "a/b=="), ("%2Fa", "%2Fa")] {
            assert_eq!(encode(&param(Encode::SlashesTwice), json!(uuid)).unwrap(), json!(sent), "{uuid}");
        }
    }
}
