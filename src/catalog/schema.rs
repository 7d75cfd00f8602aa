//! From a tool's parameters to the JSON Schema an agent sees. Build time and tests only.

use super::format::{ParamFile, ToolFile};
use serde_json::{Map, Value, json};

/// The keywords our own check of an input understands (`tool::input`); no other may be used.
const KEYWORDS: &[&str] = &[
    "type",
    "description",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
    "format",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "default",
];
const TYPES: &[&str] = &["string", "integer", "number", "boolean", "array", "object"];
const FORMATS: &[&str] = &["date-time", "date", "time", "email", "uri", "uuid", "ipv4", "byte"];

/// The input schema of a tool.
pub fn input(tool: &ToolFile, pages: bool) -> Value {
    let mut properties = Map::new();
    for (name, param) in &tool.params {
        properties.insert(name.clone(), parameter(param));
    }
    if pages {
        let description = "`next_cursor` of the previous answer, to get the next page.";
        properties.insert("cursor".into(), json!({ "type": "string", "description": description }));
    }
    let required: Vec<_> =
        tool.params.iter().filter(|(_, param)| param.required).map(|(name, _)| name.clone()).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn parameter(param: &ParamFile) -> Value {
    let mut schema = Map::new();
    schema.insert("type".into(), json!(param.kind));
    schema.insert("description".into(), json!(param.description));
    let mut set = |keyword: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(keyword.into(), value);
        }
    };
    set("enum", (!param.choices.is_empty()).then(|| json!(param.choices)));
    set("minimum", param.minimum.clone());
    set("maximum", param.maximum.clone());
    set("minLength", param.min_length.map(|n| json!(n)));
    set("maxLength", param.max_length.map(|n| json!(n)));
    set("minItems", param.min_items.map(|n| json!(n)));
    set("maxItems", param.max_items.map(|n| json!(n)));
    set("pattern", param.pattern.as_ref().map(|p| json!(p)));
    set("format", param.format.as_ref().map(|f| json!(f)));
    set("default", param.default.clone());
    set("items", param.items.clone().map(nested));
    set("properties", param.properties.clone().map(|p| each(p, nested)));
    if param.kind == "object" {
        set("additionalProperties", Some(json!(param.open || param.properties.is_none())));
    }
    Value::Object(schema)
}

/// A schema inside a parameter: JSON Schema as it is, but an object is closed unless it says `open = true`.
fn nested(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    if fields.get("type").and_then(Value::as_str) == Some("object") {
        let open = fields.remove("open").is_some_and(|open| open == json!(true)) || !fields.contains_key("properties");
        fields.entry("additionalProperties").or_insert(json!(open));
    }
    for keyword in ["items", "properties"] {
        if let Some(inner) = fields.remove(keyword) {
            let inner = if keyword == "items" { nested(inner) } else { each(inner, nested) };
            fields.insert(keyword.into(), inner);
        }
    }
    Value::Object(fields)
}

fn each(map: Value, change: fn(Value) -> Value) -> Value {
    match map {
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, change(value))).collect()),
        other => other,
    }
}

/// What a schema uses that we do not understand.
pub fn problems(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}

fn walk(schema: &Value, at: &str, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else {
        found.push(format!("`{at}`: a schema must be a table"));
        return;
    };
    for keyword in fields.keys().filter(|keyword| !KEYWORDS.contains(&keyword.as_str())) {
        found.push(format!("`{at}`: `{keyword}` is not one of {}", KEYWORDS.join(", ")));
    }
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("");
    if !TYPES.contains(&kind) {
        found.push(format!("`{at}`: type `{kind}` is not one of {}", TYPES.join(", ")));
    }
    if let Some(format) = fields.get("format").and_then(Value::as_str)
        && !FORMATS.contains(&format)
    {
        found.push(format!("`{at}`: format `{format}` is not one of {}", FORMATS.join(", ")));
    }
    if kind == "array" && !fields.contains_key("items") {
        found.push(format!("`{at}`: an array needs `items`"));
    }
    if let Some(items) = fields.get("items") {
        walk(items, &format!("{at}/items"), found);
    }
    for (name, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(inner, &format!("{at}/{name}"), found);
    }
}
