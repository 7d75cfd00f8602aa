//! Logs: one JSON object a line, which Workers Logs indexes. Never a header, a query, a body or a message of a provider.

use serde_json::{Map, Value, json};
use worker::{Env, console_error, console_log};

/// Writes a line.
pub fn line(level: &str, event: &str, fields: &[(&str, Value)]) {
    let mut line = Map::from_iter([("level".to_owned(), json!(level)), ("event".to_owned(), json!(event))]);
    line.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let line = Value::Object(line).to_string();
    if level == "error" {
        console_error!("{line}");
    } else {
        console_log!("{line}");
    }
}

/// One line for a request, with the pattern of its route.
pub fn request(method: &str, route: &str, id: &str, status: u16) {
    let fields = [
        ("http.method", json!(method)),
        ("http.route", json!(route)),
        ("http.status", json!(status)),
        ("request.id", json!(id)),
    ];
    line(if status >= 500 { "error" } else { "info" }, "request", &fields);
}

/// Whether every request gets a line, not only failures of ours: `LOG_LEVEL = "info"`.
pub fn is_verbose(env: &Env) -> bool {
    env.var("LOG_LEVEL").is_ok_and(|level| level.to_string() == "info")
}
