//! What the body of a provider's answer says, read once and handed on. That it cannot be read and that it says nothing are
//! different things.

use crate::json;
use serde_json::Value;

/// The most values of a JSON answer that are taken apart. Each takes up to a hundred bytes, whatever it was in the text.
pub const MOST_VALUES: u32 = 250_000;
/// The most bytes of an answer that are read for the failure it may be: nobody writes longer ones.
pub const LARGEST_FAILURE: usize = 256 * 1024;

/// A body, read.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// It is empty.
    Nothing,
    /// JSON.
    Json(Value),
    /// It is no JSON: a page, a text, JSON cut short.
    NotJson,
    /// JSON of more than [`MOST_VALUES`] values.
    TooMany,
    /// Nobody needs to know.
    Unread,
}

impl Reading {
    /// Reads a body.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
        if bytes.is_empty() {
            return Self::Nothing;
        }
        // The shortest value takes two bytes, `0,`: less than that cannot be too many, and is not counted.
        if bytes.len() > 2 * MOST_VALUES as usize {
            match json::count(bytes, MOST_VALUES) {
                Some(values) if values > MOST_VALUES => return Self::TooMany,
                Some(_) => {}
                None => return Self::NotJson,
            }
        }
        json::parse(bytes).map_or(Self::NotJson, Self::Json)
    }

    /// Reads a body that may be a failure, and is nothing that is handed on as JSON.
    pub fn of_failure(bytes: &[u8]) -> Self {
        if bytes.len() <= LARGEST_FAILURE { Self::of(bytes) } else { Self::Unread }
    }

    /// What it says; null when that is nothing.
    pub fn value(&self) -> &Value {
        match self {
            Self::Json(value) => value,
            _ => &Value::Null,
        }
    }

    /// The same, taken out.
    pub fn into_value(self) -> Value {
        match self {
            Self::Json(value) => value,
            _ => Value::Null,
        }
    }

    /// Whether something came that should have been JSON and is none.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::NotJson | Self::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_something_and_what_cannot_be_read_are_three_things() {
        for (body, wanted) in [
            ("", Reading::Nothing),
            (" \r\n", Reading::Nothing),
            ("\u{feff}", Reading::Nothing),
            ("\u{feff}{\"a\":1}", Reading::Json(json!({ "a": 1 }))),
            ("null", Reading::Json(Value::Null)),
            ("<html><h1>Your instance is hibernating</h1></html>", Reading::NotJson),
            ("{\"id\": 1, \"na", Reading::NotJson),
            ("{} {}", Reading::NotJson),
            ("OK", Reading::NotJson),
        ] {
            assert_eq!(Reading::of(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn values_are_counted_before_they_are_taken_apart() {
        let list = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        let most = MOST_VALUES as usize;
        assert!(matches!(Reading::of(list(most - 1).as_bytes()), Reading::Json(_)));
        assert_eq!(Reading::of(list(most).as_bytes()), Reading::TooMany);
        let members = format!("{{\"a\":1{}}}", ",\"b\":{\"c\":[]}".repeat(most / 2));
        assert_eq!(Reading::of(members.as_bytes()), Reading::TooMany);
        // Few values may be long.
        let long = json!(["x".repeat(3 * most), null, true, 1.5, -1, { "a": "b" }]).to_string();
        assert_eq!(crate::json::count(long.as_bytes(), MOST_VALUES), Some(8));
        assert!(matches!(Reading::of(long.as_bytes()), Reading::Json(_)));
        assert_eq!(Reading::of(&long.as_bytes()[..long.len() - 1]), Reading::NotJson);
    }

    #[test]
    fn a_failure_is_read_only_while_it_is_short() {
        assert_eq!(Reading::of_failure(b"{}"), Reading::Json(json!({})));
        assert_eq!(Reading::of_failure(json!("x".repeat(LARGEST_FAILURE)).to_string().as_bytes()), Reading::Unread);
    }
}
