//! Where an id is asked for, its description says where it comes from: a tool that returns it, an example, or the place
//! where a person finds it. A model that has to guess an id guesses wrong.

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// Every tool of every connector, as written.
fn tools() -> Vec<(String, Table)> {
    let mut found = Vec::new();
    for folder in fs::read_dir("connectors").unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let connector = folder.file_name().unwrap().to_string_lossy().into_owned();
        for file in fs::read_dir(folder.join("tools")).unwrap().flatten() {
            found.extend(read(&file.path()).into_iter().map(|tool| (connector.clone(), tool)));
        }
    }
    found
}

fn read(file: &Path) -> Vec<Table> {
    let mut file: Table = toml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let Some(Value::Array(tools)) = file.remove("tool") else { return Vec::new() };
    tools.into_iter().filter_map(|tool| tool.try_into().ok()).collect()
}

/// Each parameter by its path, with what is said of it and of what it is a part of.
fn walk(params: &Table, path: &str, above: &str, visit: &mut dyn FnMut(&str, &str, &Table, &str)) {
    for (name, param) in params {
        let Some(param) = param.as_table() else { continue };
        let said = param.get("description").and_then(Value::as_str).unwrap_or_default();
        let said = format!("{above} {said}");
        let path = format!("{path}/{name}");
        visit(name, &path, param, &said);
        let items = param.get("items").and_then(Value::as_table).and_then(|items| items.get("properties"));
        for inside in param.get("properties").into_iter().chain(items).filter_map(Value::as_table) {
            walk(inside, &path, &said, visit);
        }
    }
}

#[test]
fn every_id_says_where_it_comes_from() {
    let tools = tools();
    let names: BTreeSet<_> = tools.iter().filter_map(|(_, tool)| tool.get("name")?.as_str()).collect();
    assert!(names.len() > 2000, "{}", names.len());
    let is_id = Regex::new("_(id|ids|gid|gids|key|keys)$|^(id|ids|gid)$|[a-z](Id|Ids)$").unwrap();
    let example = Regex::new(r"\b[eE]\.g\.|such as|as in <").unwrap();
    let word = Regex::new("[a-z0-9]+(?:_[a-z0-9]+)+").unwrap();
    // Where a person, the caller's own system or an answer before has it.
    let place = Regex::new(
        r"\bURL\b|/d/|/folders/|operation_url|\b[Oo]wn\b|(?:your|another) system|in the CRM|, from |\bFrom |parentReference|requested_dates",
    )
    .unwrap();
    let (mut seen, mut bare) = (0, Vec::new());
    for (_, tool) in &tools {
        let Some(params) = tool.get("params").and_then(Value::as_table) else { continue };
        walk(params, "", "", &mut |name, path, param, said| {
            let known = ["enum", "default", "const"].iter().any(|key| param.contains_key(*key));
            if !is_id.is_match(name) || known || param.get("type").and_then(Value::as_str) == Some("boolean") {
                return;
            }
            seen += 1;
            let told = word.find_iter(said).any(|word| names.contains(word.as_str()));
            if !told && !example.is_match(said) && !place.is_match(said) {
                bare.push(format!("{}: {path}: {said}", tool["name"]));
            }
        });
    }
    assert!(seen > 2000, "{seen}");
    assert!(bare.is_empty(), "ids of which nobody says where they come from:\n{}", bare.join("\n"));
}

#[test]
fn a_tool_that_a_description_names_exists() {
    let tools = tools();
    let names: BTreeSet<_> = tools.iter().filter_map(|(_, tool)| tool.get("name")?.as_str()).collect();
    let named = Regex::new(r"\b([a-z]+)_[a-z0-9]+(?:_[a-z0-9]+)*").unwrap();
    let mut dangling = Vec::new();
    for (connector, tool) in &tools {
        let mut said = vec![tool.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()];
        let Some(params) = tool.get("params").and_then(Value::as_table) else { continue };
        walk(params, "", "", &mut |_, _, _, words| said.push(words.to_owned()));
        for found in said.iter().flat_map(|words| named.captures_iter(words)) {
            let (name, first) = (found.get(0).unwrap().as_str(), &found[1]);
            // A property of HubSpot's own.
            let is_tool = name != "hubspot_owner_id";
            if first == connector && is_tool && !names.contains(name) {
                dangling.push(format!("{}: {name}", tool["name"]));
            }
        }
    }
    assert!(dangling.is_empty(), "there is no such tool:\n{}", dangling.join("\n"));
}
