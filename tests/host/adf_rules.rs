//! The rules of the Atlassian Document Format, to check what we write of it.

use serde_json::Value;

/// What ADF allows where, from the vendor's JSON Schema (`@atlaskit/adf-schema`, full.json): the part of it that we write.
pub fn problems(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if document["type"] != "doc" || document["version"] != 1 || !document["content"].is_array() {
        problems.push("not a document".into());
    }
    check(document, &mut problems);
    problems
}

const BLOCKS: &[&str] =
    &["paragraph", "heading", "bulletList", "orderedList", "taskList", "blockquote", "codeBlock", "rule", "table"];
const INLINE: &[&str] = &["text", "hardBreak", "mention"];

/// Node, its attributes (with `!` those that must be there), what may stand inside, and whether something must.
fn rules(kind: &str) -> Option<(&'static [&'static str], &'static [&'static str], bool)> {
    Some(match kind {
        "doc" => (&[], BLOCKS, false),
        "paragraph" => (&[], INLINE, false),
        "heading" => (&["!level"], INLINE, false),
        "bulletList" => (&[], &["listItem"], true),
        "orderedList" => (&["order"], &["listItem"], true),
        "listItem" | "blockquote" => (&[], &["paragraph", "bulletList", "orderedList", "codeBlock"], true),
        "taskList" => (&["!localId"], &["taskItem", "taskList"], true),
        "taskItem" => (&["!localId", "!state"], INLINE, false),
        "codeBlock" => (&["language"], &["text"], false),
        "rule" | "hardBreak" | "text" => (&[], &[], false),
        "table" => (&[], &["tableRow"], true),
        "tableRow" => (&[], &["tableHeader", "tableCell"], true),
        "tableHeader" | "tableCell" => (
            &[],
            &["paragraph", "heading", "bulletList", "orderedList", "taskList", "blockquote", "codeBlock", "rule"],
            true,
        ),
        "mention" => (&["!id"], &[], false),
        _ => return None,
    })
}

fn check(node: &Value, problems: &mut Vec<String>) {
    let kind = node["type"].as_str().unwrap_or("none");
    let Some((attributes, inside, must)) = rules(kind) else {
        problems.push(format!("no node {kind}"));
        return;
    };
    let known = ["type", "content", "attrs", "marks", "text", "version"];
    let wrong = node.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str()));
    problems.extend(wrong.map(|key| format!("{kind} has `{key}`")));
    let given = node["attrs"].as_object().cloned().unwrap_or_default();
    for attribute in attributes.iter().filter_map(|attribute| attribute.strip_prefix('!')) {
        if !given.contains_key(attribute) {
            problems.push(format!("{kind} lacks {attribute}"));
        }
    }
    for name in given.keys().filter(|name| !attributes.iter().any(|known| known.trim_start_matches('!') == *name)) {
        problems.push(format!("{kind} has no attribute {name}"));
    }
    let children = node["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    if must && children.is_empty() {
        problems.push(format!("{kind} is empty"));
    }
    let first = children.first().map(|first| first["type"].as_str().unwrap_or_default());
    if kind == "listItem" && !matches!(first, Some("paragraph" | "codeBlock")) {
        problems.push("an item begins with text or code".into());
    }
    if kind == "taskList" && first != Some("taskItem") {
        problems.push("a list of tasks begins with one".into());
    }
    for child in children {
        let name = child["type"].as_str().unwrap_or("none");
        if !inside.contains(&name) {
            problems.push(format!("{name} inside {kind}"));
        }
        if kind == "codeBlock" && !child["marks"].is_null() {
            problems.push("marks in a block of code".into());
        }
        check(child, problems);
    }
    if kind == "text" {
        check_text(node, problems);
    } else if !node["marks"].is_null() {
        problems.push(format!("{kind} with marks"));
    }
}

fn check_text(node: &Value, problems: &mut Vec<String>) {
    if node["text"].as_str().is_none_or(str::is_empty) {
        problems.push("an empty text".into());
    }
    let marks = node["marks"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = marks.iter().map(|mark| mark["type"].as_str().unwrap_or_default()).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() != names.len() || (!node["marks"].is_null() && names.is_empty()) {
        problems.push(format!("marks twice or none: {names:?}"));
    }
    if names.contains(&"code") && names.iter().any(|name| !matches!(*name, "code" | "link")) {
        problems.push(format!("code together with {names:?}"));
    }
    for mark in &marks {
        let attributes: Vec<_> =
            mark["attrs"].as_object().map(|attrs| attrs.keys().cloned().collect()).unwrap_or_default();
        let fine = match mark["type"].as_str() {
            Some("link") => {
                mark["attrs"]["href"].is_string()
                    && attributes.iter().all(|name| matches!(name.as_str(), "href" | "title"))
            }
            Some("strong" | "em" | "strike" | "code") => attributes.is_empty(),
            _ => false,
        };
        if !fine {
            problems.push(format!("mark {mark}"));
        }
    }
}
