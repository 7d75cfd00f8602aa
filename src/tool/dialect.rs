//! A tool as the makers of language models want it told: the same schema in the part of JSON Schema that each accepts.
//!
//! Sources: <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>,
//! <https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use>,
//! <https://ai.google.dev/api/caching#FunctionDeclaration>.

use crate::catalog::Tool;
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
        let (name, description) = (tool.name, tool.description);
        match self {
            Self::OpenAi => {
                json!({ "type": "function", "name": name, "description": description, "parameters": strict(schema), "strict": true })
            }
            Self::Anthropic => json!({ "name": name, "description": description, "input_schema": schema }),
            Self::Gemini => json!({ "name": name, "description": description, "parameters": plain(schema) }),
        }
    }
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
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| !STRICT_FORMATS.contains(&format)) {
        fields.remove("format");
    }
    if is_open(&fields) {
        let described = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{described} Written as JSON.").trim_start().to_owned();
        return json!({ "type": "string", "description": description });
    }
    if let Some(items) = fields.remove("items") {
        fields.insert("items".into(), strict(items));
    }
    if fields.get("type").and_then(Value::as_str) == Some("object") {
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
    fields.get("type").and_then(Value::as_str) == Some("object")
        && fields.get("additionalProperties") != Some(&json!(false))
}

fn or_null(mut schema: Value) -> Value {
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
}
