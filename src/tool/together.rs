//! What of an input goes together, and that an update changes something.

use crate::catalog::Tool;
use crate::catalog::model::{Group, GroupRule};
use crate::error::Problem;
use crate::json;
use serde_json::{Map, Value};

/// Every rule the input breaks.
pub fn problems(tool: &Tool, input: &Map<String, Value>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = tool.groups.iter().filter_map(|group| broken(tool, group, input)).collect();
    if problems.is_empty() && !tool.changes.is_empty() && !tool.changes.iter().any(|name| input.contains_key(*name)) {
        let message = format!("changes nothing; give at least one of {}", tool.changes.join(", "));
        problems.push(Problem { path: String::new(), message });
    }
    problems
}

/// Whether a default may be filled in: not where another of a group was given that excludes it.
pub fn may_default(tool: &Tool, name: &str, input: &Map<String, Value>) -> bool {
    let excludes = |rule| matches!(rule, GroupRule::ExactlyOne | GroupRule::AtMostOne);
    let mut groups = tool.groups.iter().filter(|group| excludes(group.rule) && group.names.contains(&name));
    !groups.any(|group| group.names.iter().any(|other| *other != name && input.contains_key(*other)))
}

fn broken(tool: &Tool, group: &Group, input: &Map<String, Value>) -> Option<Problem> {
    let given: Vec<&str> = group.names.iter().copied().filter(|name| is_given(input, name)).collect();
    // Null empties one place beside the value of another, so it excludes nothing: timed events become all-day ones by it.
    let set: Vec<&str> =
        given.iter().copied().filter(|name| input.get(*name).is_none_or(|value| !value.is_null())).collect();
    let by_default = || {
        group.names.iter().any(|name| tool.params.iter().any(|param| param.name == *name && !param.default.is_empty()))
    };
    let all = group.names.join(", ");
    let (path, message) = match group.rule {
        GroupRule::ExactlyOne | GroupRule::AtMostOne if set.len() > 1 => {
            let message =
                format!("{} and {} exclude each other; give one of {}", said(set[0]), said(set[1]), said(&all));
            (set[1].split('=').next().unwrap_or_default(), message)
        }
        GroupRule::ExactlyOne if given.is_empty() && !by_default() => ("", format!("give one of {all}")),
        GroupRule::AtLeastOne if given.is_empty() && !by_default() => ("", format!("give at least one of {all}")),
        // A value that is there by default counts; a parameter that is there by default was not asked for.
        GroupRule::Needs
            if set.first() == group.names.first()
                || group.names.first().is_some_and(|first| first.contains('=') && is_there(tool, input, first)) =>
        {
            let (first, others) = group.names.split_first()?;
            let missing = others.iter().find(|other| !other.split('|').any(|name| is_there(tool, input, name)))?;
            let message = format!("{} needs {} too", said(first), said(missing));
            return Some(Problem { path: String::new(), message });
        }
        _ => return None,
    };
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    Some(Problem { path, message })
}

fn said(names: &str) -> String {
    names.replace('=', " = ").replace('|', " or ")
}

/// Whether a parameter is given, or has the value: `state=3`. Of a list one item is enough.
fn is_given(input: &Map<String, Value>, name: &str) -> bool {
    let Some((name, wanted)) = name.split_once('=') else { return input.contains_key(name) };
    let is = |value: &Value| json::to_text(value).as_deref() == Some(wanted);
    match input.get(name) {
        Some(Value::Array(items)) => items.iter().any(is),
        value => value.is_some_and(is),
    }
}

/// Given, or there by its default.
fn is_there(tool: &Tool, input: &Map<String, Value>, name: &str) -> bool {
    let plain = name.split('=').next().unwrap_or(name);
    let default = tool.params.iter().find(|param| param.name == plain && !param.default.is_empty());
    let by_default = || {
        let value = default.and_then(|param| serde_json::from_str::<Value>(param.default).ok());
        let filled: Map<_, _> = value.into_iter().map(|value| (plain.to_owned(), value)).collect();
        !input.contains_key(plain) && is_given(&filled, name)
    };
    is_given(input, name) || by_default()
}

/// The rules in words, for makers of models whose schemas cannot say them. What needs the same stands in one sentence.
pub fn in_words(tool: &Tool) -> String {
    let mut words = String::new();
    let mut needs: Vec<(Vec<&str>, &[&str])> = Vec::new();
    for group in tool.groups.iter() {
        let all = said(&group.names.join(", "));
        words.push_str(&match group.rule {
            GroupRule::ExactlyOne => format!(" Give exactly one of {all}."),
            GroupRule::AtLeastOne => format!(" Give at least one of {all}."),
            GroupRule::AtMostOne => format!(" Give at most one of {all}."),
            GroupRule::Needs => {
                let Some((first, others)) = group.names.split_first() else { continue };
                match needs.iter_mut().find(|(_, known)| *known == others) {
                    Some((names, _)) => names.push(first),
                    None => needs.push((vec![*first], others)),
                }
                continue;
            }
        });
    }
    for (names, others) in needs {
        let verb = if names.len() == 1 { "needs" } else { "need" };
        words.push_str(&format!(" {} {verb} {}.", said(&names.join(", ")), said(&others.join(" and "))));
    }
    words
}
