//! From a tool's parameters to the JSON Schema an agent sees. Build time and tests only.

use super::format::{ParamFile, ToolFile};
use super::model::NULL_CLEARS;
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

/// The input schema of a tool, with what goes together.
pub fn input(tool: &ToolFile, pages: bool) -> Value {
    let mut schema = shape(tool, pages);
    let mut rules = rules(tool);
    if rules.len() > 1 {
        schema["allOf"] = json!(rules);
    } else if let (Some(Value::Object(rule)), Some(fields)) = (rules.pop(), schema.as_object_mut()) {
        fields.extend(rule);
    }
    schema
}

/// The same, parameter by parameter.
pub fn shape(tool: &ToolFile, pages: bool) -> Value {
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

/// The groups as JSON Schema. What depends on a value is said in the description alone.
fn rules(tool: &ToolFile) -> Vec<Value> {
    // A strict validator wants to see the property where it is required.
    let given = |names: &[&str]| {
        let known: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
        json!({ "required": names, "properties": known })
    };
    let one_each = |names: &Vec<String>| names.iter().map(|name| given(&[name])).collect::<Vec<_>>();
    let defaulted = |names: &&Vec<String>| {
        names.iter().any(|name| tool.params.get(name).is_some_and(|param| param.default.is_some()))
    };
    let nullable =
        |names: &&Vec<String>| names.iter().any(|name| tool.params.get(name).is_some_and(|param| param.nullable));
    let mut rules = Vec::new();
    let plain = |names: &&Vec<String>| !names.iter().any(|name| name.contains('='));
    for names in tool.one_of.iter().filter(plain) {
        if defaulted(&names) {
            rules.extend(pairs(names).into_iter().map(|pair| json!({ "not": given(&pair) })));
        } else {
            rules.push(json!({ "oneOf": one_each(names) }));
        }
    }
    let any_of = tool.any_of.iter().filter(plain).filter(|names| !defaulted(names));
    rules.extend(any_of.map(|names| json!({ "anyOf": one_each(names) })));
    for names in tool.at_most_one.iter().filter(plain).filter(|names| !nullable(names)) {
        rules.extend(pairs(names).into_iter().map(|pair| json!({ "not": given(&pair) })));
    }
    for (name, others) in tool.requires.iter().filter(|(name, _)| !name.contains('=')) {
        let defaulted = |other: &&String| {
            other.split('|').any(|other| tool.params.get(other).is_some_and(|param| param.default.is_some()))
        };
        for other in others.iter().filter(|other| !other.contains('=') && !defaulted(other)) {
            let mut either = vec![json!({ "not": given(&[name]) })];
            either.extend(other.split('|').map(|other| given(&[other])));
            rules.push(json!({ "anyOf": either }));
        }
    }
    rules
}

fn pairs(names: &[String]) -> Vec<[&str; 2]> {
    let mut pairs = Vec::new();
    for (index, one) in names.iter().enumerate() {
        pairs.extend(names.iter().skip(index + 1).map(|other| [one.as_str(), other.as_str()]));
    }
    pairs
}

fn parameter(param: &ParamFile) -> Value {
    let mut schema = Map::new();
    schema.insert("type".into(), kinds(&param.kind, param.nullable));
    let clears = if param.nullable && !param.required { NULL_CLEARS } else { "" };
    schema.insert("description".into(), json!(format!("{}{clears}", param.description)));
    let mut set = |keyword: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(keyword.into(), value);
        }
    };
    set("enum", (!param.choices.is_empty()).then(|| choices(param.choices.clone(), param.nullable)));
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

/// The types of a value: `scalar` is what a cell of a table may hold.
fn kinds(kind: &str, nullable: bool) -> Value {
    match kind {
        "scalar" => json!(["string", "number", "boolean", "null"]),
        kind if nullable => json!([kind, "null"]),
        kind => json!(kind),
    }
}

fn choices(mut choices: Vec<Value>, nullable: bool) -> Value {
    if nullable {
        choices.push(Value::Null);
    }
    Value::Array(choices)
}

/// A schema inside a parameter: JSON Schema as it is, but an object is closed unless it says `open = true`, null is a value
/// if it says `nullable = true`, and there is the type `scalar`.
fn nested(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    if fields.get("type").and_then(Value::as_str) == Some("object") {
        let open = fields.remove("open").is_some_and(|open| open == json!(true)) || !fields.contains_key("properties");
        fields.entry("additionalProperties").or_insert(json!(open));
    }
    let nullable = fields.remove("nullable").is_some_and(|nullable| nullable == json!(true));
    if let Some(kind) = fields.get("type").and_then(Value::as_str).map(str::to_owned) {
        fields.insert("type".into(), kinds(&kind, nullable));
    }
    if let Some(Value::Array(known)) = fields.get("enum").filter(|_| nullable).cloned() {
        fields.insert("enum".into(), choices(known, true));
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
    let scalar = fields.get("type").is_some_and(|kinds_of| *kinds_of == kinds("scalar", true));
    let kind = match fields.get("type") {
        Some(Value::Array(kinds)) if kinds.len() == 2 && kinds[1] == "null" => kinds[0].as_str().unwrap_or(""),
        kind => kind.and_then(Value::as_str).unwrap_or(""),
    };
    if !scalar && !TYPES.contains(&kind) {
        found.push(format!("`{at}`: type `{kind}` is not one of {}, scalar", TYPES.join(", ")));
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
