//! Checks of parameters that have to do with each other: nothing that is given may be dropped. Build time and tests only.

use super::change;
use super::check::{self, Problems};
use super::compile::usual_place;
use super::format::ToolFile;
use crate::template;
use std::collections::BTreeSet;

/// Checks a tool's groups, and that what would replace each other is in one.
pub fn check(tool: &ToolFile, problems: &mut Problems) {
    let lists = tool.one_of.iter().chain(&tool.any_of).chain(&tool.at_most_one);
    for group in lists {
        if group.len() < 2 {
            problems.add("a group names two parameters or more");
        }
        for name in group {
            member(tool, name, problems);
            if tool.params.get(name).is_some_and(|param| param.required) {
                problems.add(&format!("`{name}` is required, so it is no choice of a group"));
            }
        }
    }
    for (name, others) in &tool.requires {
        for name in [name].into_iter().chain(others).flat_map(|name| name.split('|')) {
            member(tool, name, problems);
        }
    }
    for name in tool.changes.iter().flatten().filter(|name| !tool.params.contains_key(*name)) {
        problems.add(&format!("`{name}` of `changes` is not a parameter"));
    }
    if change::is_update(tool) && tool.changes.is_none() && change::changes(tool).is_empty() {
        let free = |(name, param): (&String, &super::format::ParamFile)| {
            (!param.required && param.default.is_none() && !param.modifier && change::carries(name, param, tool))
                .then(|| name.clone())
        };
        let free: Vec<_> = tool.params.iter().filter_map(free).collect();
        let ids_alone = !tool.params.iter().any(|(name, param)| param.required && change::carries(name, param, tool));
        if !free.is_empty() && ids_alone && tool.body.is_none() {
            problems.add(&format!("name what it can change, in `changes`; it may carry {}", free.join(", ")));
        }
    }
    rivals(tool, problems);
    words(tool, problems);
}

/// A member of a group: a parameter, or a value it may have.
fn member(tool: &ToolFile, name: &str, problems: &mut Problems) {
    let (plain, value) = name.split_once('=').unwrap_or((name, ""));
    let pages = tool.paginated || tool.pagination.is_some();
    let Some(param) = tool.params.get(plain) else {
        if plain != "cursor" || !pages {
            problems.add(&format!("`{plain}` of a group is not a parameter"));
        }
        return;
    };
    let items = param.items.as_ref().and_then(|items| items.get("enum")?.as_array()).map_or(&[][..], Vec::as_slice);
    let choices = if param.choices.is_empty() { items } else { &param.choices };
    if !value.is_empty() && !choices.is_empty() && !choices.iter().any(|choice| as_text(choice) == value) {
        problems.add(&format!("`{plain}` of a group has no value `{value}`"));
    }
}

fn as_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether two parameters exclude each other.
fn excluded(tool: &ToolFile, one: &str, other: &str) -> bool {
    let both = |group: &Vec<String>| group.iter().any(|name| name == one) && group.iter().any(|name| name == other);
    tool.one_of.iter().chain(&tool.at_most_one).any(both)
}

/// Two parameters for one place, or for one hole: the second would be lost without a word.
fn rivals(tool: &ToolFile, problems: &mut Problems) {
    let is_param = |name: &&str| tool.params.contains_key(*name);
    let holes = || {
        let texts = check::templates(tool).into_iter().chain([tool.request.as_str()]);
        texts.flat_map(template::pieces).filter_map(|piece| match piece {
            template::Piece::Hole(hole) => Some(hole),
            template::Piece::Text(_) => None,
        })
    };
    // What has a hole of its own besides is not lost: `{title|file_name}` is a default.
    let elsewhere = |name: &str| holes().any(|hole| hole.split('|').next() == Some(name));
    let mut found = BTreeSet::new();
    for hole in holes() {
        let names: Vec<_> = hole.split('|').filter(is_param).collect();
        for (index, one) in names.iter().enumerate() {
            let later = names.iter().skip(index + 1).filter(|other| !elsewhere(other));
            found.extend(later.map(|other| ((*one).to_owned(), (*other).to_owned())));
        }
    }
    let contents = tool.content.iter().chain(tool.before.iter().filter_map(|step| step.content.as_ref()));
    for content in contents {
        for one in template::names(&content.base64).into_iter().filter(is_param) {
            let texts = template::names(&content.text);
            found.extend(texts.into_iter().filter(is_param).map(|other| (one.to_owned(), other.to_owned())));
        }
    }
    let placed: Vec<_> = tool
        .params
        .iter()
        .filter_map(|(name, param)| {
            let usual = || format!("{:?}", usual_place(name, param, tool)).replace("In", "").to_lowercase();
            let place = param.place.clone().unwrap_or_else(usual);
            let at = param.at.as_ref().unwrap_or(name).trim_start_matches('/').to_owned();
            (!matches!(place.as_str(), "template" | "path")).then_some((name, place, at))
        })
        .collect();
    for (index, (one, place, at)) in placed.iter().enumerate() {
        for (other, _, _) in placed.iter().skip(index + 1).filter(|(_, where_, there)| where_ == place && there == at) {
            found.insert(((*one).clone(), (*other).clone()));
        }
    }
    for (one, other) in found {
        let has_default = |name: &str| tool.params.get(name).is_some_and(|param| param.default.is_some());
        if !excluded(tool, &one, &other) {
            problems.add(&format!(
                "`{one}` and `{other}` go to one place: put them into a group, one_of or at_most_one, or one is lost"
            ));
        } else if [&one, &other].iter().any(|name| tool.params.get(*name).is_some_and(|param| param.nullable)) {
            problems
                .add(&format!("`{one}` and `{other}` go to one place, where the null of one would replace the other"));
        } else if has_default(&one) && has_default(&other) {
            problems.add(&format!("`{one}` and `{other}` exclude each other and both have a default"));
        }
    }
}

/// What a description says of another parameter in these words must be a group, so that it is checked and not only said.
const SAID: &[&str] = &[
    "this or ",
    "instead of ",
    "not with ",
    "not together with ",
    "together with ",
    "or give ",
    "only with ",
    "; with ",
    "needs ",
    "needed with ",
    "with ",
];

fn words(tool: &ToolFile, problems: &mut Problems) {
    let grouped = |one: &str, other: &str| {
        let has = |names: &[&str], name: &str| {
            names.iter().flat_map(|word| word.split('|')).any(|word| word.split('=').next() == Some(name))
        };
        let lists = tool.one_of.iter().chain(&tool.any_of).chain(&tool.at_most_one);
        let mut lists: Vec<Vec<&str>> = lists.map(|names| names.iter().map(String::as_str).collect()).collect();
        for (name, others) in &tool.requires {
            lists.push([name.as_str()].into_iter().chain(others.iter().map(String::as_str)).collect());
        }
        lists.iter().any(|names| has(names, one) && has(names, other))
    };
    for (name, param) in &tool.params {
        let said = param.description.to_lowercase();
        let others = tool.params.iter().filter(|(other, about)| *other != name && !param.required && !about.required);
        for (other, _) in others {
            // A name that is a word of the language says too little.
            let is_word = !other.contains('_') && !other.chars().any(char::is_uppercase);
            if is_word && !is_named(&said, other) {
                continue;
            }
            let mentioned = SAID.iter().any(|words| {
                let wanted = format!("{words}{}", other.to_lowercase());
                said.match_indices(&wanted).any(|(at, _)| {
                    let (before, after) = (&said[..at], &said[at + wanted.len()..]);
                    !before.ends_with(|c: char| c.is_alphanumeric())
                        && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
                })
            });
            if mentioned && !grouped(name, other) {
                problems.add(&format!(
                    "`{name}` says in words how it goes with `{other}`: say it as one_of, any_of, at_most_one or requires"
                ));
            }
        }
    }
}

/// Whether a text is about a parameter whose name is a plain word: only in phrases that cannot mean the word.
fn is_named(said: &str, name: &str) -> bool {
    ["this or ", "not with ", "not together with "].iter().any(|words| said.contains(&format!("{words}{name}")))
}
