//! Which parameters of an update change something. Build time and tests only.
//!
//! A PATCH with nothing but ids in it is answered with a success for a change that nobody made. So what an update can change
//! is known, and an input without any of it is refused (`tool::together`).

use super::check;
use super::compile::usual_place;
use super::format::{ParamFile, ToolFile};
use super::model::Place;
use crate::template;
use serde_json::Value;

/// The parameters of which an update must have one; empty for tools that are complete without.
pub fn changes(tool: &ToolFile) -> Vec<&str> {
    if let Some(given) = &tool.changes {
        return given.iter().map(String::as_str).collect();
    }
    if !is_update(tool) || says_something(tool) {
        return Vec::new();
    }
    let carried = tool.params.iter().filter(|(name, param)| carries(name, param, tool));
    let free = carried.filter(|(_, param)| !param.required && !param.modifier && param.default.is_none());
    free.map(|(name, _)| name.as_str()).collect()
}

/// Whether it is an update whose request always carries something: a required value, or a fixed one.
fn says_something(tool: &ToolFile) -> bool {
    let required = tool
        .params
        .iter()
        .any(|(name, param)| param.required && !param.modifier && carries(name, param, tool) && !is_id(name));
    required || tool.body.as_ref().is_some_and(fixed)
}

/// PATCH and PUT, and what is called an update.
pub fn is_update(tool: &ToolFile) -> bool {
    let (method, _) = tool.request.split_once(' ').unwrap_or_default();
    let named = tool.name.split('_').any(|word| matches!(word, "update" | "edit" | "modify"));
    // An update of monday, Asana or Linear is a message, and making one is no update.
    let made = tool.name.split('_').next_back().is_some_and(|word| matches!(word, "create" | "delete" | "like"));
    tool.effect != "read" && (matches!(method, "PATCH" | "PUT") || named && !made)
}

/// Whether a parameter stands in what the vendor is told to change, rather than in its address.
pub fn carries(name: &str, param: &ParamFile, tool: &ToolFile) -> bool {
    let place = match param.place.as_deref() {
        None => usual_place(name, param, tool),
        Some("body") => Place::InBody,
        Some("variables") => Place::InVariables,
        Some("template") => Place::InTemplate,
        Some(_) => Place::InQuery,
    };
    let written = || check::contents(tool).iter().any(|text| template::names(text).contains(&name));
    matches!(place, Place::InBody | Place::InVariables) || place == Place::InTemplate && written()
}

/// Whether a body has a part that is there whatever the input: a word of the format (`@odata.type`) is none.
fn fixed(body: &Value) -> bool {
    match body {
        Value::String(text) => template::names(text).is_empty() && !text.starts_with("#microsoft.graph."),
        Value::Array(items) => items.iter().any(fixed),
        Value::Object(fields) => fields.values().any(fixed),
        _ => true,
    }
}

fn is_id(name: &str) -> bool {
    ["id", "ids", "gid", "ts", "channel", "key"]
        .iter()
        .any(|end| name == *end || name.ends_with(&format!("_{end}")) || name.ends_with("Id") || name.ends_with("ID"))
}
