//! Checking a tool's input against its schema.
//!
//! The schemas are ours and use a small part of JSON Schema, which the build enforces (`catalog::schema`); this is that
//! part. A general validator would bring a regular-expression engine of 270 KB gzip along.

use super::coerce::{self, Budget, Nulls};
use super::dialect;
use super::findings::Findings;
use super::together;
use crate::catalog::Tool;
use crate::catalog::model::{CLEAR_FIELDS, Encode, Param};
use crate::code::Code;
use crate::error::{Error, Problem, Result};
use crate::timestamp;
use serde_json::{Map, Value};
use std::fmt::Display;

/// The failure for an input in which these problems are.
pub fn refused(tool: &Tool, problems: Vec<Problem>) -> Error {
    let first = problems.first().map(|first| {
        if first.path.is_empty() { first.message.clone() } else { format!("{}: {}", first.path, first.message) }
    });
    let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
    let first = first.unwrap_or_default();
    Error::new(Code::InvalidToolInput, format!("the input of {} is not valid: {first}{more}", tool.name))
        .with(|details| details.problems = problems)
}

/// The input with other names of parameters replaced, values read as what is wanted and defaults filled in, or an error that
/// lists every problem.
pub fn check(tool: &Tool, input: Value) -> Result<Map<String, Value>> {
    let refused = |problems: Vec<Problem>| refused(tool, problems);
    let budget = Budget::default();
    let input = match &input {
        Value::String(text) => coerce::unwrapped(text, &budget).unwrap_or(input),
        _ => input,
    };
    let mut fields = match input {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        _ => return Err(refused(vec![Problem { path: String::new(), message: "must be an object".into() }])),
    };
    let schema: Value =
        serde_json::from_str(tool.input_schema).map_err(|_| Error::internal("a tool's schema is not JSON"))?;
    let mut findings = Findings::default();
    rename(tool, &mut fields, &mut findings);
    for param in tool.params.iter() {
        if let Some(value) = fields.get_mut(param.name) {
            coerce::parameter(param, &schema["properties"][param.name], value, &budget);
        }
    }
    // Page numbers are numbers to some callers; a cursor is text.
    if let Some(Value::Number(number)) = fields.get("cursor").filter(|_| tool.page.is_some()) {
        let text = number.to_string();
        fields.insert("cursor".into(), Value::String(text));
    }
    // A document in ADF is as good as one in Markdown, and is told apart again where it is written.
    for param in tool.params.iter().filter(|param| param.encode == Encode::Adf) {
        if let Some(value) = fields.get_mut(param.name).filter(|value| super::adf::is_document(value)) {
            *value = Value::String(value.to_string());
        }
    }
    let emptied = fields.remove(CLEAR_FIELDS);
    let nulls = if emptied.is_some() { Nulls::LeftOut } else { Nulls::Meant };
    let mut input = Value::Object(fields);
    coerce::coerce(&mut input, &schema, nulls, &budget);
    if let Some(emptied) = emptied {
        dialect::empty(&emptied, &schema, &mut input, &mut findings);
    }
    walk(&input, &schema, &mut findings);
    let Value::Object(mut fields) = input else { return Ok(Map::new()) };
    findings.extend(together::problems(tool, &fields));
    let problems = findings.into_problems();
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    let is_missing = |param: &&Param| {
        let counts = param.default_with.is_empty() || fields.contains_key(param.default_with);
        counts && !fields.contains_key(param.name) && together::may_default(tool, param.name, &fields)
    };
    let defaults = tool.params.iter().filter(|param| !param.default.is_empty()).filter(is_missing);
    let default = |param: &Param| Some((param.name.to_owned(), serde_json::from_str(param.default).ok()?));
    let defaults: Vec<_> = defaults.filter_map(default).collect();
    fields.extend(defaults);
    let problems = super::computed::fill(tool, &mut fields);
    if problems.is_empty() { Ok(fields) } else { Err(refused(problems)) }
}

/// Gives parameters the names the tool knows them by.
fn rename(tool: &Tool, fields: &mut Map<String, Value>, findings: &mut Findings<'_>) {
    for param in tool.params.iter() {
        for alias in param.aliases.iter() {
            let Some(value) = fields.remove(*alias) else { continue };
            if fields.get(param.name).is_some_and(|given| *given != value) {
                let message = format!("is another name of {}, which is given too with another value", param.name);
                findings.within(alias, |findings| findings.add(message));
            } else {
                fields.insert(param.name.to_owned(), value);
            }
        }
    }
}

/// The types a schema allows.
pub fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What is wrong with a value.
pub fn problems_of(value: &Value, schema: &Value) -> Vec<Problem> {
    let mut findings = Findings::default();
    walk(value, schema, &mut findings);
    findings.into_problems()
}

fn walk<'s>(value: &Value, schema: &'s Value, findings: &mut Findings<'s>) {
    let kinds = kinds(schema);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_a(value, kind)) {
        findings.add(format!("must be {}, not {}", wanted(&kinds), name_of(value)));
        return;
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        findings.add(format!("must be one of {}", choices.join(", ")));
    }
    match value {
        Value::Number(number) => {
            if coerce::has_lost_digits(number) {
                findings.add("is larger than can be kept exactly; where text is wanted, give it in quotes");
            }
            let number = number.as_f64().unwrap_or_default();
            let bound = |keyword: &str| schema[keyword].as_f64();
            if let Some(least) = bound("minimum").filter(|least| number < *least) {
                findings.add(format!("must be at least {least}"));
            }
            if let Some(most) = bound("maximum").filter(|most| number > *most) {
                findings.add(format!("must be at most {most}"));
            }
        }
        Value::String(text) => check_text(text, schema, findings),
        Value::Array(items) => {
            // Of a list that is too long nobody needs to know what is wrong in it.
            if length(items.len(), "Items", "items", schema, findings) && schema["items"].is_object() {
                each(items.iter().enumerate(), findings, |item, findings| walk(item, &schema["items"], findings));
            }
        }
        Value::Object(fields) => check_object(fields, schema, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Checks one after the other, until there is no use in it.
fn each<'v, 's, N: Display>(
    values: impl Iterator<Item = (N, &'v Value)>,
    findings: &mut Findings<'s>,
    check: impl Fn(&Value, &mut Findings<'s>),
) {
    for (name, value) in values {
        if findings.is_full() {
            return;
        }
        findings.within(name, |findings| check(value, findings));
    }
}

fn check_text<'s>(text: &str, schema: &'s Value, findings: &mut Findings<'s>) {
    if let Some(pattern) = schema["pattern"].as_str()
        && !findings.fits(pattern, text)
    {
        findings.add(format!("must match {pattern}"));
    }
    if let Some(format) = schema["format"].as_str()
        && let Some(example) = wanted_instead(text, format)
    {
        findings.add(format!("must be a {format}, e.g. {example}"));
    }
    length(text.chars().count(), "Length", "characters", schema, findings);
}

fn check_object<'s>(fields: &Map<String, Value>, schema: &'s Value, findings: &mut Findings<'s>) {
    let known = schema["properties"].as_object();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            findings.within(name, |findings| findings.add("is required"));
        }
    }
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let is_closed = schema["additionalProperties"] == Value::Bool(false);
    for (name, value) in fields {
        if findings.is_full() {
            return;
        }
        findings.within(name, |findings| match known.and_then(|known| known.get(name)) {
            // To a language model null is nothing; to a vendor it may empty a field. Neither is guessed.
            Some(schema) if value.is_null() && !kinds(schema).contains(&"null") && !is_required(name) => {
                findings.add("cannot be cleared by null here; leave it out");
            }
            Some(schema) => walk(value, schema, findings),
            None if is_closed => {
                let names: Vec<_> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                findings.add(match names.as_slice() {
                    [] => "is not known here, and there is nothing to give; leave it out".to_owned(),
                    names => format!("is not known here; there are {}", names.join(", ")),
                });
            }
            None => lost_digits(value, findings),
        });
    }
}

/// In an open object no type is known, but a number that was altered when it was read is told all the same.
fn lost_digits(value: &Value, findings: &mut Findings<'_>) {
    match value {
        Value::Object(fields) => each(fields.iter(), findings, lost_digits),
        Value::Array(items) => each(items.iter().enumerate(), findings, lost_digits),
        Value::Number(_) => walk(value, &Value::Null, findings),
        _ => {}
    }
}

/// Whether it is not too long.
fn length(length: usize, suffix: &str, what: &str, schema: &Value, findings: &mut Findings<'_>) -> bool {
    let bound = |end: &str| schema[format!("{end}{suffix}")].as_u64().and_then(|n| usize::try_from(n).ok());
    if let Some(least) = bound("min").filter(|least| length < *least) {
        findings.add(format!("must have at least {least} {what}"));
    }
    let too_long = bound("max").filter(|most| length > *most);
    if let Some(most) = too_long {
        findings.add(format!("must have at most {most} {what}"));
    }
    too_long.is_none()
}

/// Whether a value is of a type.
pub fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        // 3.0 is an integer in JSON Schema.
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The types in words: a string, a number or null.
fn wanted(kinds: &[&str]) -> String {
    let word = |kind: &&str| match *kind {
        "null" => "null".to_owned(),
        "array" => "an array, e.g. [\"a\", \"b\"]".to_owned(),
        kind if kind.starts_with(['i', 'o']) => format!("an {kind}"),
        kind => format!("a {kind}"),
    };
    let words: Vec<_> = kinds.iter().map(word).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

/// An example of the format, when the text does not have it.
fn wanted_instead(text: &str, format: &str) -> Option<&'static str> {
    let (fine, example) = match format {
        "date-time" => (timestamp::parse(text).is_some(), "2027-01-15T08:00:00Z"),
        "date" => (timestamp::parse(&format!("{text}T00:00:00Z")).is_some(), "2027-01-15"),
        "time" => (
            timestamp::parse(&format!("2000-01-01T{text}Z")).is_some()
                || timestamp::parse(&format!("2000-01-01T{text}")).is_some(),
            "08:00:00",
        ),
        "email" => (
            text.split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains([',', '@', ';'])),
            "jo@example.com",
        ),
        "uri" => (url::Url::parse(text).is_ok(), "https://example.com"),
        "uuid" => (
            text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
            "123e4567-e89b-12d3-a456-426614174000",
        ),
        "byte" => (crate::digest::from_base64(text).is_some(), "aGVsbG8="),
        "ipv4" => (text.parse::<std::net::Ipv4Addr>().is_ok(), "192.0.2.1"),
        _ => (true, ""),
    };
    (!fine).then_some(example)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(value: &Value, schema: &Value) -> Vec<String> {
        problems_of(value, schema).into_iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn every_problem_is_listed_with_its_place() {
        let schema = json!({ "type": "object", "required": ["to"], "additionalProperties": false, "properties": {
            "to": { "type": "string" }, "n": { "type": "integer", "minimum": 1, "maximum": 5 },
            "list": { "type": "array", "maxItems": 1, "items": { "type": "string", "enum": ["a"] } },
            "when": { "type": "string", "format": "date-time" }, "p": { "type": "string", "pattern": "^x$", "maxLength": 2 } } });
        let value = json!({ "n": 9, "list": ["a", "b"], "when": "tomorrow", "p": "yyy", "toe": 1 });
        assert_eq!(
            problems(&value, &schema),
            [
                "/to is required",
                "/n must be at most 5",
                "/list must have at most 1 items",
                "/when must be a date-time, e.g. 2027-01-15T08:00:00Z",
                "/p must match ^x$",
                "/p must have at most 2 characters",
                "/toe is not known here; there are to, n, list, when, p",
            ]
        );
        let mut loose = json!({ "to": "x", "list": "[\"a\"]" });
        coerce::coerce(&mut loose, &schema, Nulls::Meant, &Budget::default());
        assert_eq!(loose, json!({ "to": "x", "list": ["a"] }));
        assert!(problems(&json!({ "to": "x", "n": 3.0 }), &schema).is_empty());
        assert_eq!(problems(&json!({ "to": 1 }), &schema), ["/to must be a string, not a number"]);
    }

    #[test]
    fn null_is_a_value_or_a_mistake_and_never_nothing() {
        let schema = json!({ "type": "object", "required": ["to"], "additionalProperties": false, "properties": {
            "to": { "type": "string" }, "n": { "type": "integer" }, "due": { "type": ["string", "null"], "format": "date" },
            "cells": { "type": "array", "items": { "type": ["string", "number", "boolean", "null"] } } } });
        let mut value = json!({ "to": null, "n": null, "due": null, "cells": [1, null, {}], "toe": null });
        coerce::coerce(&mut value, &schema, Nulls::Meant, &Budget::default());
        assert_eq!(
            problems(&value, &schema),
            [
                "/to must be a string, not null",
                "/n cannot be cleared by null here; leave it out",
                "/cells/2 must be a string, a number, a boolean or null, not an object",
                "/toe is not known here; there are to, n, due, cells",
            ]
        );
        let mut strict = json!({ "to": "x", "n": null, "due": null, "cells": [null] });
        coerce::coerce(&mut strict, &schema, Nulls::LeftOut, &Budget::default());
        assert_eq!(strict, json!({ "to": "x", "cells": [null] }));
        let large = json!({ "open": 123_456_789_012_345_678_901_234_567_890_f64 });
        assert_eq!(problems(&large, &json!({ "type": "object" })).len(), 1);
    }
}
