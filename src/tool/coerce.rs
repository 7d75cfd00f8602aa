//! Values as language models write them, made what the schema wants where that leaves no doubt.
//!
//! `docs/api.md` lists every one. Nothing is coerced that would lose something: no leading zero, no digit of a large number.
//! What cannot be read stays as it was given, and the check that follows says what is wrong with it.

use super::input::{is_a, kinds, problems_of};
use crate::catalog::model::{Encode, Param};
use crate::json;
use crate::timestamp;
use serde_json::{Map, Number, Value, json};
use std::cell::Cell;

/// JSON in a text, in a text, in a text: more often nobody encodes it.
const LEVELS: usize = 3;

/// The most values that are read out of the texts of one input: JSON in a text, and lists with commas.
pub const MOST_READ: u32 = 100_000;

/// The largest whole number a float holds exactly, 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// From here on a number without a point was no 64-bit integer and has lost digits when it was read.
const BEYOND_64_BITS: f64 = 18_446_744_073_709_551_616.0;

/// Whether null means "left out" or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// A strict function has to give everything (`tool::dialect`).
    LeftOut,
    /// Null is a value, and no other than those that may be null has it.
    Meant,
}

/// How many values may still be read out of the texts of an input.
pub struct Budget(Cell<u32>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MOST_READ))
    }
}

impl Budget {
    fn take(&self, values: Option<u32>) -> bool {
        let left = values.and_then(|values| self.0.get().checked_sub(values));
        left.map(|left| self.0.set(left)).is_some()
    }

    fn json(&self, text: &str) -> Option<Value> {
        self.take(json::count(text.as_bytes(), self.0.get())).then(|| serde_json::from_str(text).ok())?
    }

    fn parts<'t>(&self, text: &'t str, separator: char) -> Option<std::str::Split<'t, char>> {
        self.take(u32::try_from(text.matches(separator).count()).ok()).then(|| text.split(separator))
    }
}

/// What depends on how a parameter is written for the provider, before its schema is looked at.
pub fn parameter(param: &Param, schema: &Value, value: &mut Value, budget: &Budget) {
    let wants_text = kinds(schema).contains(&"string");
    match (param.encode, &*value) {
        // The vendor wants JSON in a text, so a text is asked for; what stands in it may come as it is.
        (Encode::JsonText | Encode::ParsedJson, Value::Array(_) | Value::Object(_)) if wants_text => {
            *value = Value::String(value.to_string());
        }
        // The list goes out joined like that.
        (Encode::Csv, Value::String(text)) if !wants_text && text.contains(',') && !text.starts_with('[') => {
            if let Some(parts) = budget.parts(text, ',') {
                *value = parts.map(str::to_owned).collect();
            }
        }
        (Encode::SpaceSeparated, Value::String(text))
            if !wants_text && text.contains(' ') && !text.starts_with('[') =>
        {
            if let Some(parts) = budget.parts(text, ' ') {
                *value = parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
            }
        }
        (Encode::EpochSeconds | Encode::EpochMilliseconds, Value::Number(_) | Value::String(_)) => {
            if let Some(time) = epoch(param.encode, value) {
                *value = Value::String(time);
            }
        }
        _ => {}
    }
}

/// The vendor's own count since 1970, as RFC 3339. Seconds and milliseconds cannot be taken for each other: 10^11 seconds
/// are the year 5138, so many milliseconds 1973.
fn epoch(encode: Encode, value: &Value) -> Option<String> {
    let count: u64 = match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    let milliseconds = match encode {
        Encode::EpochMilliseconds if count >= 100_000_000_000 => count,
        Encode::EpochSeconds if count < 100_000_000_000 => count * 1000,
        _ => return None,
    };
    let seconds = timestamp::format(milliseconds);
    Some(format!("{}.{:03}Z", seconds.trim_end_matches('Z'), milliseconds % 1000))
}

/// Makes a value what its schema wants. Nulls are kept where they are values, taken away where they mean "left out", and
/// left standing where they are wrong.
pub fn coerce(value: &mut Value, schema: &Value, nulls: Nulls, budget: &Budget) {
    let kinds = kinds(schema);
    let fits = kinds.iter().any(|kind| is_a(value, kind));
    let mut wanted = kinds.iter().filter(|kind| **kind != "null");
    if let (false, Some(kind), None) = (fits, wanted.next(), wanted.next())
        && let Some(better) = read(value, kind, schema, budget)
    {
        *value = better;
    }
    match value {
        Value::Object(fields) => object(fields, schema, nulls, budget),
        Value::Array(items) => items.iter_mut().for_each(|item| coerce(item, &schema["items"], nulls, budget)),
        // 3.0 is an integer in JSON Schema; vendors want 3.
        Value::Number(number) if kinds.contains(&"integer") => {
            if let Some(whole) = number.as_f64().filter(|float| number.is_f64() && float.abs() < EXACT) {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
                let whole = (whole.fract() == 0.0).then_some(whole as i64);
                *number = whole.map_or_else(|| number.clone(), Number::from);
            }
        }
        _ => {}
    }
}

fn object(fields: &mut Map<String, Value>, schema: &Value, nulls: Nulls, budget: &Budget) {
    let Some(known) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array();
    if nulls == Nulls::LeftOut {
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
        fields.retain(|name, value| !value.is_null() || !known.contains_key(name) || is_required(name));
    }
    for (name, value) in fields {
        if let Some(schema) = known.get(name) {
            coerce(value, schema, nulls, budget);
        }
    }
}

/// A value of another type, read as the kind that is wanted.
fn read(value: &Value, kind: &str, schema: &Value, budget: &Budget) -> Option<Value> {
    match (kind, value) {
        ("integer" | "number", Value::String(text)) => number(text, kind),
        ("boolean", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" => Some(json!(true)),
            "false" => Some(json!(false)),
            _ => None,
        },
        ("string", Value::Number(number)) => as_text(number).map(Value::String),
        ("string", Value::Bool(flag)) => Some(Value::String(flag.to_string())),
        ("object" | "array", Value::String(text)) => {
            let inner = unwrapped(text, budget).filter(|inner| is_a(inner, kind));
            inner.or_else(|| if kind == "array" { listed(value, schema, budget) } else { None })
        }
        ("array", _) => listed(value, schema, budget),
        _ => None,
    }
}

/// The JSON in a text, also when it was written twice.
pub fn unwrapped(text: &str, budget: &Budget) -> Option<Value> {
    let mut value = budget.json(text)?;
    for _ in 1..LEVELS {
        let Value::String(inner) = &value else { break };
        value = budget.json(inner)?;
    }
    (value.is_object() || value.is_array()).then_some(value)
}

/// A number written in plain digits: `42`, `-1.50`. Not `007`, which somebody means as it is, and none that would be rounded.
fn number(text: &str, kind: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || whole.len() > 1 && whole.starts_with('0') || part.is_some_and(|part| !all_digits(part)) {
        return None;
    }
    let part = part.map(|part| part.trim_end_matches('0')).filter(|part| !part.is_empty());
    match part {
        None => {
            let text = text.split('.').next()?;
            text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
        }
        Some(part) if kind == "number" && whole.len() + part.len() <= 15 => text.parse::<f64>().ok().map(Value::from),
        Some(_) => None,
    }
}

fn as_text(number: &Number) -> Option<String> {
    let exact = !number.is_f64() || number.as_f64().is_some_and(|float| float.abs() < EXACT);
    exact.then(|| number.to_string())
}

/// Whether a number lost digits when it was read.
pub fn has_lost_digits(number: &Number) -> bool {
    number.is_f64() && number.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() >= BEYOND_64_BITS)
}

/// One thing where a list of such things is wanted; or several with commas, if they can be nothing else.
fn listed(value: &Value, schema: &Value, budget: &Budget) -> Option<Value> {
    let items = &schema["items"];
    let one = |value: Value| {
        let mut value = value;
        coerce(&mut value, items, Nulls::Meant, budget);
        problems_of(&value, items).is_empty().then_some(value)
    };
    let alone = |value: &Value| one(value.clone()).map(|item| json!([item]));
    match value {
        Value::String(text) if kinds(items).iter().any(|kind| matches!(*kind, "object" | "array")) => {
            unwrapped(text, budget).filter(Value::is_object).and_then(|inner| alone(&inner))
        }
        // Empty is none or one, and what begins like this was to be JSON.
        Value::String(text) if text.is_empty() || text.starts_with(['[', '{', '"']) => None,
        Value::String(text) if text.contains(',') => {
            let free = ["enum", "pattern", "format"].iter().all(|keyword| items[keyword].is_null());
            if kinds(items).contains(&"string") && (free || alone(value).is_some()) {
                // "Smith, Jo" may be one name or two.
                return None;
            }
            let parts: Option<Vec<_>> = budget.parts(text, ',')?.map(|part| one(json!(part.trim()))).collect();
            parts.map(Value::Array)
        }
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => alone(value),
        Value::Null | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coerced(value: Value, schema: &Value) -> Value {
        let mut value = value;
        coerce(&mut value, schema, Nulls::Meant, &Budget::default());
        value
    }

    #[test]
    fn scalars_become_what_is_wanted_when_nothing_is_lost() {
        for (kind, given, wanted) in [
            ("integer", json!("42"), json!(42)),
            ("integer", json!("-7"), json!(-7)),
            ("integer", json!("42.0"), json!(42)),
            ("integer", json!(3.0), json!(3)),
            ("integer", json!("18446744073709551615"), json!(u64::MAX)),
            ("integer", json!("18446744073709551616"), json!("18446744073709551616")),
            ("integer", json!("4.5"), json!("4.5")),
            ("integer", json!("007"), json!("007")),
            ("integer", json!("1e3"), json!("1e3")),
            ("integer", json!(" 42"), json!(" 42")),
            ("integer", json!(""), json!("")),
            ("integer", json!(true), json!(true)),
            ("number", json!("4.50"), json!(4.5)),
            ("number", json!("0.1234567890123456789"), json!("0.1234567890123456789")),
            ("boolean", json!("true"), json!(true)),
            ("boolean", json!("False"), json!(false)),
            ("boolean", json!("yes"), json!("yes")),
            ("boolean", json!(1), json!(1)),
            ("string", json!(85_746_065_432_u64), json!("85746065432")),
            ("string", json!(u64::MAX), json!("18446744073709551615")),
            ("string", json!(4.5), json!("4.5")),
            ("string", json!(1e300), json!(1e300)),
            ("string", json!(true), json!("true")),
            ("string", json!(null), json!(null)),
            ("string", json!({}), json!({})),
            ("object", json!("{\"a\":1}"), json!({ "a": 1 })),
            ("object", json!("\"{\\\"a\\\":1}\""), json!({ "a": 1 })),
            ("object", json!("[1]"), json!("[1]")),
        ] {
            assert_eq!(coerced(given.clone(), &json!({ "type": kind })), wanted, "{given} as {kind}");
        }
        let either = json!({ "type": ["string", "number", "boolean", "null"] });
        for value in [json!("4.50"), json!(4.5), json!(true), json!(null)] {
            assert_eq!(coerced(value.clone(), &either), value);
        }
    }

    #[test]
    fn a_list_is_made_only_of_what_can_be_nothing_else() {
        let list = |items: Value| json!({ "type": "array", "items": items });
        let (texts, numbers) = (list(json!({ "type": "string" })), list(json!({ "type": "integer" })));
        let words = list(json!({ "type": "string", "enum": ["open", "done"] }));
        let mails = list(json!({ "type": "string", "format": "email" }));
        let rows = list(json!({ "type": "object", "additionalProperties": true }));
        for (schema, given, wanted) in [
            (&texts, json!("a"), json!(["a"])),
            (&texts, json!(5), json!(["5"])),
            (&texts, json!("[\"a\"]"), json!(["a"])),
            (&texts, json!("\"[\\\"a\\\"]\""), json!(["a"])),
            (&texts, json!("Smith, Jo"), json!("Smith, Jo")),
            (&texts, json!(""), json!("")),
            (&texts, json!("[broken"), json!("[broken")),
            (&numbers, json!("1, 2"), json!([1, 2])),
            (&numbers, json!(["1", 2]), json!([1, 2])),
            (&words, json!("open,done"), json!(["open", "done"])),
            (&words, json!("open,shut"), json!("open,shut")),
            (&mails, json!("a@b.example,c@d.example"), json!(["a@b.example", "c@d.example"])),
            (&rows, json!({ "a": 1 }), json!([{ "a": 1 }])),
            (&rows, json!("{\"a\":1}"), json!([{ "a": 1 }])),
        ] {
            assert_eq!(coerced(given.clone(), schema), wanted, "{given}");
        }
    }
}
