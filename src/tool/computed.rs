//! Values that follow from others: a model that counts bytes is wrong sooner or later, so nobody has to.

use super::encode;
use crate::catalog::Tool;
use crate::digest;
use crate::error::Problem;
use crate::json;
use crate::template;
use serde_json::{Map, Value, json};

/// Fills in what follows from the rest of the input. A given value that is another one is a problem.
pub fn fill(tool: &Tool, input: &mut Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for param in tool.params.iter().filter(|param| !param.computed.is_empty()) {
        let Some(value) = sum(param.computed, tool, input) else {
            let message =
                format!("is counted by {}, and there is nothing to count: no content was given", param.computed);
            problems.push(Problem { path: format!("/{}", param.name), message });
            continue;
        };
        match input.get(param.name).and_then(Value::as_i64) {
            None => drop(input.insert(param.name.to_owned(), json!(value))),
            Some(given) if given == value => {}
            Some(given) => problems.push(Problem {
                path: format!("/{}", param.name),
                message: format!(
                    "is {given}, but by what was given with it ({}) it is {value}; leave it out",
                    param.computed
                ),
            }),
        }
    }
    problems
}

/// Length in bytes of what the tool, or a step before it, sends; none without content.
pub fn content_size(tool: &Tool, input: &Map<String, Value>) -> Option<usize> {
    let mut calls = [&tool.call].into_iter().chain(tool.before.iter().map(|step| &step.call));
    let content = calls.find_map(|call| call.content.as_ref())?;
    let value = |name: &str| {
        let value = input.get(name)?.clone();
        let param = tool.params.iter().find(|param| param.name == name)?;
        json::to_text(&encode::encode(param, value).ok()?)
    };
    let text = |template: &str| (!template.is_empty()).then(|| template::fill(template, value)).flatten();
    match text(content.base64) {
        Some(base64) => digest::from_base64(&base64).map(|bytes| bytes.len()),
        None => text(content.text).map(|text| text.len()),
    }
}

/// `first_byte + content.size - 1`: names and whole numbers with `+` and `-` between.
fn sum(expression: &str, tool: &Tool, input: &Map<String, Value>) -> Option<i64> {
    let (mut total, mut sign) = (0_i64, 1);
    for word in expression.split(' ') {
        match word {
            "+" => sign = 1,
            "-" => sign = -1,
            "content.size" => total += sign * i64::try_from(content_size(tool, input)?).ok()?,
            word => total += sign * word.parse::<i64>().ok().or_else(|| input.get(word)?.as_i64())?,
        }
    }
    Some(total)
}
