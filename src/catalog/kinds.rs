//! Kinds of mistakes that a definition was once found to have, each kept out for good. Build time and tests only.

use super::check::Problems;
use super::format::{ConnectorFile, RevokeFile, ToolFile};
use crate::template;
use serde_json::Value;

/// Checks `connector.toml`.
pub fn connector(file: &ConnectorFile, problems: &mut Problems) {
    let auth = &file.auth;
    let revokes = auth.oauth2.iter().filter_map(|oauth2| oauth2.revoke.as_ref());
    for revoke in revokes.chain(auth.oauth1.iter().filter_map(|oauth1| oauth1.revoke.as_ref())) {
        check_revoke(revoke, problems);
    }
}

/// A hole that nothing fills would be left out, and the request would go without it.
fn check_revoke(revoke: &RevokeFile, problems: &mut Problems) {
    let mut texts = vec![revoke.request.as_str()];
    revoke.form.iter().chain(&revoke.json).for_each(|value| strings(value, &mut texts));
    for name in texts.into_iter().flat_map(template::names) {
        if !matches!(name, "token" | "access_token" | "client_id") && !name.starts_with("account.") {
            problems.add(&format!(
                "`{{{name}}}` of revoke is none of {{token}}, {{access_token}}, {{client_id}}, {{account.…}}; the client's secret goes by `auth`"
            ));
        }
    }
}

fn strings<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, out)),
        _ => {}
    }
}

/// Checks one tool.
pub fn tool(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    steps(tool, problems);
    pages(tool, connector, problems);
    computed(tool, problems);
    for (name, param) in &tool.params {
        let schema = serde_json::json!({ "type": param.kind, "enum": param.choices, "pattern": param.pattern,
            "items": param.items, "properties": param.properties });
        walk(name, name, &schema, tool, connector, problems);
    }
}

/// Which item of a list is meant has to be said: the first or last may be one that nobody meant, a draft for instance.
fn steps(tool: &ToolFile, problems: &mut Problems) {
    for step in &tool.before {
        for at in step.save.values() {
            if at.split('/').any(|token| matches!(token, "-" | "*")) {
                problems.add(&format!("`{at}` takes whatever item comes first or last: say which one with `pick`"));
            }
        }
        for name in [&step.when, &step.unless].into_iter().filter(|name| !name.is_empty()) {
            if !tool.params.contains_key(name) {
                problems.add(&format!("`{name}` of a step's when or unless is no parameter"));
            }
        }
        let Some(pick) = &step.pick else { continue };
        if pick.conditions.is_empty() || pick.conditions.iter().any(|c| c.is.is_empty() == c.lacks.is_empty()) {
            problems.add("each condition of `pick` says what the item `is` or what it `lacks`");
        }
    }
}

/// A cursor of several values has as many places it comes from as it goes to, and a path to go on at belongs to the same API.
fn pages(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    let usual = connector.pagination.as_ref().filter(|_| tool.paginated);
    let Some(page) = tool.pagination.as_ref().or(usual) else { return };
    if page.style == "cursor" && page.send.matches(',').count() != page.next.matches(',').count() {
        problems.add("pagination: `send` and `next` name different numbers of values");
    }
    if page.send.contains(',') && (tool.graphql.is_some() || page.place.as_deref() == Some("body")) {
        problems.add("pagination: a cursor of several values goes into the query alone");
    }
    if !page.continue_at.is_empty() && !page.continue_at.starts_with('/') {
        problems.add(&format!("pagination: continue_at `{}` must be a path below base_url", page.continue_at));
    }
}

fn computed(tool: &ToolFile, problems: &mut Problems) {
    let has_content = tool.content.is_some() || tool.before.iter().any(|step| step.content.is_some());
    for (name, param) in tool.params.iter().filter(|(_, param)| !param.computed.is_empty()) {
        if param.kind != "integer" || param.required {
            problems.add(&format!("`{name}`: a computed value is an integer that nobody has to give"));
        }
        for word in param.computed.split(' ') {
            let known = matches!(word, "+" | "-")
                || word.parse::<i64>().is_ok()
                || word == "content.size" && has_content
                || tool.params.get(word).is_some_and(|other| other.kind == "integer" && other.required);
            if !known {
                problems.add(&format!(
                    "`{name}`: `{word}` of computed is no whole number, +, -, required integer, nor content.size of a tool with content"
                ));
            }
        }
    }
    for (name, param) in tool.params.iter().filter(|(_, param)| !param.default_with.is_empty()) {
        if param.default.is_none() || !tool.params.contains_key(&param.default_with) {
            problems.add(&format!("`{name}`: default_with names a parameter, and goes with a default"));
        }
    }
    for (name, param) in &tool.params {
        let asks_for_length =
            param.kind == "integer" && param.description.to_lowercase().contains("size of the content");
        if asks_for_length && has_content && param.computed.is_empty() {
            problems.add(&format!("`{name}`: nobody can be asked to count bytes; use computed = \"content.size\""));
        }
    }
}

/// What holds for a parameter and for all that is inside it.
fn walk(path: &str, name: &str, schema: &Value, tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    let free = schema["enum"].as_array().is_none_or(Vec::is_empty) && !schema["pattern"].is_string();
    if schema["type"] == "string" && free && is_media_type(name, tool) {
        problems.add(&format!(
            "`{path}`: a media type needs a pattern, since a header cannot carry everything: {MEDIA_TYPE}"
        ));
    }
    if matches!(schema["type"].as_str(), Some("integer" | "number")) && is_id(name) && !is_small(name, connector) {
        problems.add(&format!(
            "`{path}`: an id of 2^53 or more loses digits in many JSON readers: make it a string, or say in [small_ids] of connector.toml why it is never so large"
        ));
    }
    if schema["items"].is_object() {
        walk(path, name, &schema["items"], tool, connector, problems);
    }
    for (inner, schema) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}/{inner}"), inner, schema, tool, connector, problems);
    }
}

/// A media type with its parameters (RFC 9110 section 8.3.1), unquoted.
const MEDIA_TYPE: &str = "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?[A-Za-z0-9-]+=[A-Za-z0-9_.:-]+)*$";

fn is_media_type(name: &str, tool: &ToolFile) -> bool {
    let contents = tool.content.iter().chain(tool.before.iter().filter_map(|step| step.content.as_ref()));
    let mut types = contents.flat_map(|content| template::names(&content.media_type));
    matches!(name, "mime_type" | "mimeType" | "content_type" | "contentType" | "media_type") || types.any(|n| n == name)
}

fn is_small(name: &str, connector: &ConnectorFile) -> bool {
    connector.small_ids.contains_key(name) || connector.small_ids.contains_key("*")
}

fn is_id(name: &str) -> bool {
    let endings = ["_id", "_ids", "Id", "Ids"];
    matches!(name, "id" | "ids") || endings.iter().any(|ending| name.ends_with(ending))
}
