//! Runs every `connectors/*/cases.toml`: arguments in, exact request out; answer in, result or error out.

use crate::support::{Deployment, NOW, connected, deployment};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use valetkey::access::{Named, find};
use valetkey::ports::{Body, Request, Response};
use valetkey::tool::execute::{self, Effects};
use valetkey::{catalog, connection, digest};

const TOKEN: &str = "the-access-token";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    tool: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    account: BTreeMap<String, String>,
    method: Option<String>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    before: Vec<Exchange>,
    sends: Option<Sends>,
    answer: Option<Reply>,
    result: Option<Value>,
    next_cursor: Option<String>,
    error: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    sends: Option<Sends>,
    answer: Reply,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sends {
    method: String,
    url: String,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    form: Option<Map<String, Value>>,
    text: Option<String>,
    base64: Option<String>,
    variables: Option<Value>,
    #[serde(default = "yes")]
    credential: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    text: Option<String>,
    base64: Option<String>,
}

fn yes() -> bool {
    true
}

/// TOML has no null, so arguments and bodies that have one are written as JSON text.
fn written(value: &Value) -> Value {
    let read = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    read.filter(|inner| inner.is_object() || inner.is_array()).unwrap_or_else(|| value.clone())
}

fn ok() -> u16 {
    200
}

impl Reply {
    fn response(&self) -> Response {
        let (kind, body) = match (&self.json, &self.text, &self.base64) {
            (Some(json), ..) => ("application/json", json.to_string().into_bytes()),
            (_, Some(text), _) => ("text/plain", text.clone().into_bytes()),
            (.., Some(base64)) => ("application/octet-stream", digest::from_base64(base64).unwrap()),
            _ => ("text/plain", Vec::new()),
        };
        let response = Response::new(self.status, kind, body);
        self.headers.iter().fold(response, |response, (name, value)| response.with_header(name, value))
    }
}

#[test]
fn every_case_of_every_connector() {
    let (mut run, mut failed) = (0, Vec::new());
    let only = std::env::var("CASES").unwrap_or_default();
    for connector in catalog::CONNECTORS.iter().filter(|connector| only.is_empty() || connector.id == only) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors").join(connector.id).join("cases.toml");
        let cases: Cases = toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in cases.case {
            run += 1;
            let label = format!("{}: {}", connector.id, case.name);
            failed.extend(
                pollster::block_on(check(connector.id, case)).into_iter().map(|problem| format!("{label}: {problem}")),
            );
        }
    }
    assert!(failed.is_empty(), "{} of {run} cases fail:\n{}", failed.len(), failed.join("\n"));
    assert!(run > 0, "there are no cases");
}

async fn check(connector: &str, case: Case) -> Vec<String> {
    let mut answers: VecDeque<Response> = case.before.iter().map(|exchange| exchange.answer.response()).collect();
    answers.extend(case.answer.iter().map(Reply::response));
    let world = deployment(move |_| {
        Ok(answers.pop_front().unwrap_or_else(|| Response::new(500, "text/plain", "no more answers in the case")))
    });
    let named = account(&world, connector, &case).await;
    let mut problems = Vec::new();
    let Some((_, tool)) = catalog::find_tool(&case.tool) else { return vec![format!("no tool {}", case.tool)] };
    let used = find(&world.app, &named, None, &|_| true).await.unwrap();
    let outcome = execute::execute(&world.app, tool, &used, written(&case.arguments), &Effects::default()).await;
    let sent = world.http.sent.borrow();
    let expected = case.before.iter().map(|exchange| exchange.sends.as_ref()).chain([case.sends.as_ref()]);
    for (index, sends) in expected.enumerate() {
        match (sends, sent.get(index)) {
            (Some(sends), Some(request)) => compare(sends, request, tool.call.graphql, &mut problems),
            (Some(_), None) => problems.push(format!("request {} was not sent; {outcome:?}", index + 1)),
            (None, _) => {}
        }
    }
    match outcome {
        Ok(outcome) => {
            if let Some(error) = &case.error {
                problems.push(format!("expected the error {error:?}, got {}", outcome.value()));
            }
            if let Some(result) = case.result.filter(|result| !same(result, &outcome.value())) {
                problems.push(format!("result is {}\n    expected {result}", outcome.value()));
            }
            if case.next_cursor != outcome.next_cursor
                && (case.next_cursor.is_some() || case.error.is_none() && case.answer.is_some())
            {
                problems.push(format!("next_cursor is {:?}, expected {:?}", outcome.next_cursor, case.next_cursor));
            }
        }
        Err(error) => {
            let object = error.to_json()["error"].clone();
            match &case.error {
                None => problems.push(format!("failed with {object}")),
                Some(expected) => compare_error(expected, &object, &mut problems),
            }
        }
    }
    problems
}

/// Callers always get an object, so a list stands under a name; a case may write the list alone.
fn same(expected: &Value, data: &Value) -> bool {
    let alone = data.as_object().filter(|fields| fields.len() == 1 && !expected.is_object());
    expected == data || alone.and_then(|fields| fields.values().next()) == Some(expected)
}

/// A fresh UUID is `{uuid}` to a case.
fn without_uuids(value: Value) -> Value {
    let is_uuid = |text: &str| text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    match value {
        Value::String(text) if is_uuid(&text) => json!("{uuid}"),
        Value::Array(items) => items.into_iter().map(without_uuids).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, without_uuids(value))).collect(),
        other => other,
    }
}

fn compare_error(expected: &Map<String, Value>, object: &Value, problems: &mut Vec<String>) {
    for (name, wanted) in expected {
        let got = object.get(name).or_else(|| object["details"].get(name)).unwrap_or(&Value::Null);
        let fine = match (name.as_str(), wanted, got) {
            // Messages are ours around the provider's words; the words must be there.
            ("message", Value::String(wanted), Value::String(got)) => got.contains(wanted.as_str()),
            _ => got == wanted,
        };
        if !fine {
            problems.push(format!("error's {name} is {got}, expected {wanted} (all: {object})"));
        }
    }
}

/// A connection named like the connector, and an active account on it, as KV holds them.
async fn account(world: &Deployment, connector: &str, case: &Case) -> Named {
    let app = &world.app;
    let mut connection = connection::fresh(connector, connector, &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.method.clone_from(&case.method);
    connection.set_fields(case.secrets.clone(), &app.keys, &*app.random);
    // The account knows a token that cannot be renewed, for cases in which the provider refuses it.
    let id = connected(world, &connection, &case.account, (TOKEN, None), NOW).await;
    Named { id: Some(id.to_string()), ..Named::default() }
}

fn compare(sends: &Sends, request: &Request, graphql: &str, problems: &mut Vec<String>) {
    let mut differ = |what: &str, got: &Value, wanted: &Value| {
        if got != wanted {
            problems.push(format!("{what} is {got}\n    expected {wanted}"));
        }
    };
    let url = url::Url::parse(&request.url).unwrap();
    let mut bare = url.clone();
    bare.set_query(None);
    let (wanted_url, inline) = sends.url.split_once('?').map_or((sends.url.as_str(), ""), |(url, query)| (url, query));
    differ("method", &json!(request.method), &json!(sends.method));
    differ("url", &json!(bare.as_str()), &json!(wanted_url));
    let mut wanted_query = pairs(form_urlencoded::parse(inline.as_bytes()).into_owned());
    wanted_query.extend(sends.query.iter().map(|(name, value)| (name.clone(), texts(value))));
    differ("query", &Value::Object(pairs(url.query_pairs().into_owned())), &Value::Object(wanted_query));
    let header =
        |name: &str| request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    for (name, wanted) in &sends.headers {
        differ(&format!("header {name}"), &json!(header(name)), &json!(wanted));
    }
    let carried = request.headers.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(TOKEN));
    differ("the credential is sent", &json!(carried), &json!(sends.credential));
    let bytes = match &request.body {
        Body::Bytes(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
    if let Some(variables) = &sends.variables {
        differ("variables", &body["variables"], &written(variables));
        differ("document", &body["query"], &json!(graphql));
    } else if let Some(json) = &sends.json {
        differ("body", &without_uuids(body), &written(json));
    } else if let Some(form) = &sends.form {
        let wanted: Map<_, _> = form.iter().map(|(name, value)| (name.clone(), texts(value))).collect();
        differ("form", &Value::Object(pairs(form_urlencoded::parse(&bytes).into_owned())), &Value::Object(wanted));
    } else if let Some(wanted) = &sends.text {
        differ(
            "body",
            &json!(without_boundary(&text, header("content-type").as_deref())),
            &json!(wanted.replace("\r\n", "\n")),
        );
    } else if let Some(base64) = &sends.base64 {
        differ("body", &json!(digest::base64(&bytes)), &json!(base64));
    } else {
        differ("body", &json!(text), &json!(""));
    }
}

/// A multipart boundary is random; cases call it `valetkey`.
fn without_boundary(text: &str, content_type: Option<&str>) -> String {
    let boundary = content_type.and_then(|kind| kind.split("boundary=").nth(1)).unwrap_or("\0");
    text.replace(boundary, "valetkey").replace("\r\n", "\n")
}

fn texts(value: &Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) if items.len() == 1 => json!(text(&items[0])),
        Value::Array(items) => items.iter().map(text).collect(),
        other => json!(text(other)),
    }
}

fn pairs(pairs: impl Iterator<Item = (String, String)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in pairs {
        match map.get_mut(&name) {
            None => {
                map.insert(name, json!(value));
            }
            Some(Value::Array(items)) => items.push(json!(value)),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    map
}
