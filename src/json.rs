//! Places in JSON, and JSON with holes.
//!
//! Places are JSON Pointers (RFC 6901) with three additions: `*` is the first value of an object or array, `-` the last
//! item of an array, and `[name=Subject]` the first item whose member `name` is `Subject`, in any case.

mod count;

pub use count::count;

use crate::template::{self, Piece};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value};

/// Reads bytes that should be JSON. By way of a text: a reader of texts and one of bytes would both be in the Worker, for each
/// type that is read.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}

/// The value at a place.
pub fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() {
        return Some(value);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(value, |value, token| step(value, &unescape(token)))
}

fn step<'a>(value: &'a Value, token: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(token).or_else(|| fields.values().next().filter(|_| token == "*")),
        Value::Array(items) => match token {
            "*" => items.first(),
            "-" => items.last(),
            _ => match token.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.split_once('=')) {
                Some((member, wanted)) => items.iter().find(|item| {
                    item.get(member).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(wanted))
                }),
                None => items.get(token.parse::<usize>().ok()?),
            },
        },
        _ => None,
    }
}

/// The value at a place, taken out of what is around it.
pub fn take(value: Value, pointer: &str) -> Option<Value> {
    if pointer.is_empty() {
        return Some(value);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(value, |value, token| step_into(value, &unescape(token)))
}

fn step_into(mut value: Value, token: &str) -> Option<Value> {
    // The same step as `find` makes, so that both end at the same place.
    let found: *const Value = step(&value, token)?;
    match &mut value {
        Value::Object(fields) => fields.values_mut().find(|field| std::ptr::eq(*field, found)).map(Value::take),
        Value::Array(items) => items.iter_mut().find(|item| std::ptr::eq(*item, found)).map(Value::take),
        _ => None,
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The first of these places that holds something other than null, as text.
pub fn find_text(value: &Value, pointers: &[&str]) -> Option<String> {
    pointers.iter().find_map(|pointer| find(value, pointer).and_then(to_text))
}

/// A scalar as text; none for null, objects and arrays.
pub fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A place makes no list longer than this; a larger number is a member's name.
const LONGEST: usize = 1_000;

/// Puts a value at a place, making the objects and arrays on the way: a number makes an array.
pub fn place(root: &mut Value, pointer: &str, new: Value) {
    let tokens: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
    let mut at = root;
    for token in &tokens {
        if let Some(index) = token.parse().ok().filter(|index| *index < LONGEST && !at.is_object()) {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            let Value::Array(items) = at else { return };
            while items.len() <= index {
                items.push(Value::Null);
            }
            at = &mut items[index];
        } else {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(fields) = at else { return };
            at = fields.entry(token.clone()).or_insert(Value::Null);
        }
    }
    *at = new;
}

/// Lays `over` on `under`, member by member.
pub fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// Fills the holes of a JSON template. A string that is one hole takes the value as it is; members and items whose
/// hole has no value are left out; an object that loses all its members goes too. `{"$join": " and ", "$of": […]}` is a text
/// of those items that have a value.
pub fn fill(template: &Value, value: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    match template {
        Value::String(text) => fill_text(text, value),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(|item| fill(item, value)).collect())),
        Value::Object(fields) if fields.contains_key("$join") => {
            let filled = fill(fields.get("$of")?, value)?;
            let texts: Vec<_> = filled.as_array()?.iter().filter_map(to_text).collect();
            let join = fields.get("$join")?.as_str()?;
            (!texts.is_empty()).then(|| Value::String(texts.join(join)))
        }
        Value::Object(fields) => {
            let filled: Map<_, _> =
                fields.iter().filter_map(|(name, field)| Some((name.clone(), fill(field, value)?))).collect();
            (fields.is_empty() || !filled.is_empty()).then_some(Value::Object(filled))
        }
        other => Some(other.clone()),
    }
}

fn fill_text(text: &str, value: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    match template::pieces(text).as_slice() {
        [Piece::Hole(names)] => names.split('|').find_map(value),
        _ => template::fill(text, |name| value(name).as_ref().and_then(to_text)).map(Value::String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_found() {
        let value = json!({ "a": [{ "name": "Subject", "value": "x" }, { "name": "To" }], "b~/": 1 });
        assert_eq!(find(&value, "/a/[name=subject]/value"), Some(&json!("x")));
        assert_eq!(find(&value, "/a/-/name"), Some(&json!("To")));
        assert_eq!(find(&value, "/*/*/name"), Some(&json!("Subject")));
        assert_eq!(find(&value, "/b~0~1"), Some(&json!(1)));
        assert_eq!(find(&value, ""), Some(&value));
        assert_eq!(find(&value, "/a/7"), None);
        for place in ["/a/[name=subject]/value", "/a/-/name", "/*/*/name", "/b~0~1", "", "/a", "/a/7", "/x/y"] {
            assert_eq!(take(value.clone(), place).as_ref(), find(&value, place), "{place}");
        }
        assert_eq!(find_text(&value, &["/x", "/b~0~1"]).as_deref(), Some("1"));
    }

    #[test]
    fn places_are_made() {
        let mut value = json!({});
        place(&mut value, "/requests/0/insertText/location/index", json!(3));
        place(&mut value, "/requests/0/insertText/text", json!("hi"));
        assert_eq!(value, json!({ "requests": [{ "insertText": { "location": { "index": 3 }, "text": "hi" } }] }));
    }

    #[test]
    fn holes_keep_types_and_missing_ones_vanish() {
        let value = |name: &str| match name {
            "labels" => Some(json!(["a"])),
            "n" => Some(json!(3)),
            _ => None,
        };
        let template =
            json!({ "l": "{labels}", "t": "n={n}", "gone": "{x}", "deep": { "y": "{x}" }, "z": "{x|n}", "k": true });
        let join = |of: Value| fill(&json!({ "$join": " and ", "$of": of }), &value);
        assert_eq!(join(json!(["a = {n}", "b = {x}", "c"])), Some(json!("a = 3 and c")));
        assert_eq!(join(json!(["b = {x}"])), None);
        assert_eq!(fill(&template, &value), Some(json!({ "l": ["a"], "t": "n=3", "z": 3, "k": true })));
    }
}
