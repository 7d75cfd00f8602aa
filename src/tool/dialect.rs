//! A tool as the makers of language models want it told: the same schema in the part of JSON Schema that each accepts.
//!
//! Sources: <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>,
//! <https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use>,
//! <https://ai.google.dev/api/caching#FunctionDeclaration>.

use super::coerce::{self, Budget};
use super::findings::Findings;
use super::input::kinds;
use super::together;
use crate::catalog::Tool;
use crate::catalog::model::{CLEAR_FIELDS, NULL_CLEARS};
use crate::json;
use serde_json::{Map, Value, json};

/// Whose tool format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A function of OpenAI's Responses API, strict: what comes back fits the schema.
    OpenAi,
    /// A tool of Anthropic's Messages API.
    Anthropic,
    /// A function declaration of Google's Gemini API.
    Gemini,
}

impl Dialect {
    /// Names on the wire.
    pub const ALL: [(&'static str, Self); 3] =
        [("openai", Self::OpenAi), ("anthropic", Self::Anthropic), ("gemini", Self::Gemini)];

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, dialect)| *dialect)
    }

    /// The definition of a tool.
    pub fn define(self, tool: &Tool) -> Value {
        let schema: Value = serde_json::from_str(tool.input_schema).unwrap_or_default();
        // None of them takes a choice at the top level of a schema, so what goes together is said in words.
        let schema = without_choices(schema);
        let (name, description) = (tool.name, format!("{}{}", tool.description, together::in_words(tool)));
        match self {
            Self::OpenAi => {
                json!({ "type": "function", "name": name, "description": description, "parameters": marked(schema), "strict": true })
            }
            Self::Anthropic => json!({ "name": name, "description": description, "input_schema": schema }),
            Self::Gemini => json!({ "name": name, "description": description, "parameters": plain(schema) }),
        }
    }
}

/// What a strict function answers where nothing can be emptied.
const NOTHING: &str = "none";

/// The strict schema, with the word that marks its inputs.
fn marked(schema: Value) -> Value {
    let mut emptiable = Vec::new();
    paths(&schema, "", &mut emptiable);
    let marks = has_optional(&schema);
    let mut strict = strict(schema);
    if marks {
        strict["properties"][CLEAR_FIELDS] = if emptiable.is_empty() {
            json!({ "type": "string", "enum": [NOTHING] })
        } else {
            let description = "Fields to empty. Null elsewhere only leaves a field as it is.";
            json!({ "type": "array", "description": description, "items": { "type": "string", "enum": emptiable } })
        };
        if let Some(required) = strict["required"].as_array_mut() {
            required.push(json!(CLEAR_FIELDS));
        }
    }
    strict
}

/// Whether strict mode has to let something be null that may be left out.
fn has_optional(schema: &Value) -> bool {
    let inside = schema["properties"].as_object().into_iter().flatten();
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    schema["items"].is_object() && has_optional(&schema["items"])
        || inside.into_iter().any(|(name, inner)| !is_required(name) || has_optional(inner))
}

/// What may be left out and may be null, by its path. Inside a list there is no path to it.
fn paths(schema: &Value, at: &str, found: &mut Vec<String>) {
    let required = schema["required"].as_array();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
        let is_required = required.is_some_and(|names| names.iter().any(|known| known == name));
        if !is_required && kinds(inner).contains(&"null") {
            found.push(path.clone());
        }
        if inner["additionalProperties"] == json!(false) {
            paths(inner, &path, found);
        }
    }
}

/// Empties what a strict function names, or says why not.
pub(super) fn empty(named: &Value, schema: &Value, input: &mut Value, findings: &mut Findings<'_>) {
    let mut emptiable = Vec::new();
    paths(schema, "", &mut emptiable);
    let named = match named {
        Value::String(text) => match coerce::unwrapped(text, &Budget::default()) {
            Some(Value::Array(names)) => names,
            _ if text == NOTHING || text.is_empty() => Vec::new(),
            _ => vec![json!(text)],
        },
        Value::Array(names) => names.clone(),
        Value::Null => Vec::new(),
        other => vec![other.clone()],
    };
    for (index, name) in named.iter().enumerate() {
        if findings.is_full() {
            return;
        }
        let mut wrong = |message: String| {
            findings.within(CLEAR_FIELDS, |findings| findings.within(index, |findings| findings.add(message)));
        };
        let Some(name) = name.as_str().filter(|name| emptiable.iter().any(|known| known == name)) else {
            let known = if emptiable.is_empty() { "nothing here can".to_owned() } else { emptiable.join(", ") };
            wrong(format!("cannot be emptied; what can: {known}"));
            continue;
        };
        let place = format!("/{name}");
        if input.pointer(&place).is_some() {
            wrong(format!("{name} is given a value too; either empty it or set it"));
        } else {
            json::place(input, &place, Value::Null);
        }
    }
}

fn without_choices(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        for keyword in ["oneOf", "anyOf", "allOf", "not"] {
            fields.shift_remove(keyword);
        }
    }
    schema
}

/// What OpenAI's strict mode takes of a string's format.
const STRICT_FORMATS: &[&str] = &["date-time", "time", "date", "email", "uuid", "ipv4"];

/// Every property is required, and one that may be left out may be null; no object is open. An open object is asked for as
/// JSON in a text, which the input's check reads.
fn strict(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    for keyword in ["default", "minLength", "maxLength"] {
        fields.remove(keyword);
    }
    // Here null means "left out", and clear_fields clears.
    if let Some(Value::String(description)) = fields.get_mut("description")
        && let Some(shorter) = description.strip_suffix(NULL_CLEARS).map(str::to_owned)
    {
        *description = shorter;
    }
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| !STRICT_FORMATS.contains(&format)) {
        fields.remove("format");
    }
    if is_open(&fields) {
        let described = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{described} Written as JSON.").trim_start().to_owned();
        let kind = if has_kind(&fields, "null") { json!(["string", "null"]) } else { json!("string") };
        return json!({ "type": kind, "description": description });
    }
    if let Some(items) = fields.remove("items") {
        fields.insert("items".into(), strict(items));
    }
    if has_kind(&fields, "object") {
        let required = fields.remove("required").unwrap_or_default();
        let properties = fields.remove("properties").and_then(object).unwrap_or_default();
        let is_required = |name: &str| required.as_array().is_some_and(|names| names.contains(&json!(name)));
        let properties: Map<_, _> = properties
            .into_iter()
            .map(|(name, inner)| {
                let inner = strict(inner);
                let inner = if is_required(&name) { inner } else { or_null(inner) };
                (name, inner)
            })
            .collect();
        fields.insert("required".into(), properties.keys().map(|name| json!(name)).collect());
        fields.insert("properties".into(), Value::Object(properties));
        fields.insert("additionalProperties".into(), json!(false));
    }
    Value::Object(fields)
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn is_open(fields: &Map<String, Value>) -> bool {
    has_kind(fields, "object") && fields.get("additionalProperties") != Some(&json!(false))
}

fn has_kind(fields: &Map<String, Value>, kind: &str) -> bool {
    match fields.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
        known => known.and_then(Value::as_str) == Some(kind),
    }
}

fn or_null(mut schema: Value) -> Value {
    if kinds(&schema).contains(&"null") {
        return schema;
    }
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    if let Some(choices) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        choices.push(Value::Null);
    }
    schema
}

/// What Gemini's schema has: no `additionalProperties`, few formats, and `enum` for texts alone.
fn plain(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    fields.remove("additionalProperties");
    fields.remove("default");
    if let Some(Value::Array(kinds)) = fields.get("type").cloned() {
        let mut kinds: Vec<_> = kinds.into_iter().filter(|kind| kind != "null").collect();
        if kinds.len() > 1 {
            // Several types are branches, and beside branches nothing else may stand.
            let branch = |(at, kind): (usize, &Value)| {
                if at == 0 { json!({ "type": kind, "nullable": true }) } else { json!({ "type": kind }) }
            };
            return json!({ "anyOf": kinds.iter().enumerate().map(branch).collect::<Vec<_>>() });
        }
        fields.insert("type".into(), kinds.pop().unwrap_or_default());
        fields.insert("nullable".into(), json!(true));
        if let Some(Value::Array(choices)) = fields.get_mut("enum") {
            choices.retain(|choice| !choice.is_null());
        }
    }
    if fields.get("format").and_then(Value::as_str) != Some("date-time") {
        fields.remove("format");
    }
    if fields.get("type").and_then(Value::as_str) != Some("string") {
        fields.remove("enum");
    }
    if let Some(items) = fields.remove("items") {
        fields.insert("items".into(), plain(items));
    }
    if let Some(properties) = fields.remove("properties").and_then(object) {
        let properties: Map<_, _> = properties.into_iter().map(|(name, inner)| (name, plain(inner))).collect();
        // An object without any would be refused.
        if !properties.is_empty() {
            fields.insert("properties".into(), Value::Object(properties));
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_asks_for_everything_and_allows_null() {
        let schema = json!({ "type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": { "type": "string", "format": "uri", "minLength": 1 },
            "b": { "type": "string", "enum": ["x"], "default": "x" },
            "c": { "type": "object", "description": "Anything.", "additionalProperties": true },
            "d": { "type": "array", "items": { "type": "object", "additionalProperties": false, "properties": { "e": { "type": "integer" } } } } } });
        assert_eq!(
            strict(schema),
            json!({ "type": "object", "required": ["a", "b", "c", "d"], "additionalProperties": false, "properties": {
                "a": { "type": "string" },
                "b": { "type": ["string", "null"], "enum": ["x", null] },
                "c": { "type": ["string", "null"], "description": "Anything. Written as JSON." },
                "d": { "type": ["array", "null"], "items": { "type": "object", "required": ["e"], "additionalProperties": false,
                    "properties": { "e": { "type": ["integer", "null"] } } } } } })
        );
    }

    #[test]
    fn gemini_gets_what_its_schema_has() {
        let schema = json!({ "type": "object", "additionalProperties": false, "properties": {
            "a": { "type": "integer", "enum": [1, 2], "default": 1 }, "b": { "type": "string", "format": "uri", "enum": ["x"] } } });
        assert_eq!(
            plain(schema),
            json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "string", "enum": ["x"] } } })
        );
    }

    #[test]
    fn each_dialect_says_null_in_its_own_way() {
        let schema = json!({ "type": "object", "additionalProperties": false, "required": ["id", "owner"],
            "anyOf": [{ "required": ["due"], "properties": { "due": true } }], "properties": {
                "id": { "type": "string" }, "owner": { "type": ["string", "null"] },
                "due": { "type": ["string", "null"], "description": "Its day. Null clears it.", "enum": ["a", null] },
                "cells": { "type": "array", "items": { "type": ["string", "number", "boolean", "null"] } },
                "place": { "type": "object", "additionalProperties": false, "properties": { "room": { "type": ["integer", "null"] } } } } });
        let schema = without_choices(schema);
        assert!(schema.get("anyOf").is_none());
        let strict = marked(schema.clone());
        assert_eq!(strict["required"], json!(["id", "owner", "due", "cells", "place", "clear_fields"]));
        assert_eq!(strict["properties"]["clear_fields"]["items"]["enum"], json!(["due", "place/room"]));
        assert_eq!(
            strict["properties"]["due"],
            json!({ "type": ["string", "null"], "description": "Its day.", "enum": ["a", null] })
        );
        let gemini = plain(schema.clone());
        assert_eq!(
            gemini["properties"]["due"],
            json!({ "type": "string", "description": "Its day. Null clears it.", "enum": ["a"], "nullable": true })
        );
        assert_eq!(
            gemini["properties"]["cells"]["items"],
            json!({ "anyOf": [{ "type": "string", "nullable": true }, { "type": "number" }, { "type": "boolean" }] })
        );
        let mut input = json!({ "id": "1", "owner": null });
        let mut findings = Findings::default();
        empty(&json!(["place/room", "id"]), &schema, &mut input, &mut findings);
        assert_eq!(input, json!({ "id": "1", "owner": null, "place": { "room": null } }));
        assert_eq!(findings.into_problems()[0].path, "/clear_fields/1");
        let all = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } }, "additionalProperties": false });
        assert_eq!(marked(all)["required"], json!(["a"]));
    }
}
